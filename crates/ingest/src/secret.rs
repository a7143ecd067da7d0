//! Secrets that callers present to us.

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// A secret a caller must know: the webhook secret. `Debug` does not show it.
#[derive(Debug, Clone)]
pub struct Secret {
    text: SecretString,
    digest: Digest32,
}

/// An empty secret would let everybody in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the secret is empty")]
pub struct EmptySecret;

#[derive(Clone)]
struct Digest32([u8; 32]);

impl std::fmt::Debug for Digest32 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[REDACTED]")
    }
}

impl Secret {
    /// Takes `text` as it is, white space and all. Fails when it is empty.
    pub fn new(text: SecretString) -> Result<Self, EmptySecret> {
        if text.expose_secret().is_empty() {
            return Err(EmptySecret);
        }
        let digest = Digest32(sha256(text.expose_secret().as_bytes()));
        Ok(Self { text, digest })
    }

    /// The secret itself, for the URL that carries it.
    pub(crate) fn expose(&self) -> &str {
        self.text.expose_secret()
    }
}

/// What an operator's program brings to be let in, and what it may do then. Only its digest is kept.
#[derive(Debug, Clone)]
pub struct AdminToken {
    name: String,
    scope: Scope,
    digest: Digest32,
}

/// What a token lets its bearer do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Look.
    Read,
    /// Look and change.
    Operate,
}

impl AdminToken {
    /// Takes `text` as it is. `name` stands in the audit for whoever brings it. Fails when the text is empty.
    pub fn new(name: &str, text: &SecretString, scope: Scope) -> Result<Self, EmptySecret> {
        if text.expose_secret().is_empty() {
            return Err(EmptySecret);
        }
        let digest = Digest32(sha256(text.expose_secret().as_bytes()));
        Ok(Self { name: name.to_owned(), scope, digest })
    }

    /// Who its bearer is.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it lets its bearer do.
    #[must_use]
    pub fn scope(&self) -> Scope {
        self.scope
    }
}

/// The one of `tokens` that was presented. All are compared, by digest and in constant time.
pub(crate) fn find_token<'a>(tokens: &'a [AdminToken], presented: &[u8]) -> Option<&'a AdminToken> {
    let digest = sha256(presented);
    let compare = |found: Option<&'a AdminToken>, token: &'a AdminToken| {
        let is_it: bool = digest.ct_eq(&token.digest.0).into();
        if is_it { Some(token) } else { found }
    };
    tokens.iter().fold(None, compare)
}

/// Whether `presented` is one of `secrets`. Digests are compared, all of them and in constant time, so the answer's
/// timing tells neither a prefix, nor a length, nor which one it was.
pub(crate) fn is_one_of(secrets: &[Secret], presented: &[u8]) -> bool {
    let digest = sha256(presented);
    let compare = |found, secret: &Secret| found | digest.ct_eq(&secret.digest.0);
    secrets.iter().fold(Choice::from(0), compare).into()
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}
