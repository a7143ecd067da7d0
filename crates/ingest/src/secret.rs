//! Secrets that callers present to us.

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// A secret a caller must know: the webhook secret or the admin token. `Debug` does not show it.
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
