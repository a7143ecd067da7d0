//! Section `admin`: where operators ask, and what they bring.

use std::net::SocketAddr;

use sebastian_ingest::Scope;
use secrecy::SecretString;

use super::{
    parsed,
    reader::{Reader, read_secret},
    source::Table,
};

/// What operators may ask, and from where.
#[derive(Debug, Clone)]
pub struct Admin {
    /// Where they are answered; without it, where webhooks come in.
    pub listen: Option<SocketAddr>,
    /// What opens; none: only this machine is answered.
    pub tokens: Vec<Token>,
}

/// What an operator's program brings.
#[derive(Debug, Clone)]
pub struct Token {
    /// Who its bearer is.
    pub name: String,
    /// What is brought.
    pub text: SecretString,
    /// What its bearer may do.
    pub scope: Scope,
}

/// Longest name of a token, in characters.
const NAME_CHARS_MAX: usize = 64;

const SCOPES: &[(&str, Scope)] = &[("read", Scope::Read), ("operate", Scope::Operate)];

impl Admin {
    pub(super) fn read(from: &mut Reader) -> Self {
        let address = "an address such as 127.0.0.1:3001";
        let listen = from.optional("admin.listen", address, parsed);
        let first = from.secret("admin.token", "admin.token_file");
        let first = first.map(|text| Token { name: "admin".to_owned(), text, scope: Scope::Operate });
        let others = from.tables("admin.tokens", token);
        let tokens: Vec<Token> = first.into_iter().chain(others).collect();
        for (i, token) in tokens.iter().enumerate() {
            if tokens[..i].iter().any(|earlier| earlier.name == token.name) {
                from.problem(format!("two admin tokens have the name `{}`: give each its own", token.name));
            }
        }
        Self { listen, tokens }
    }
}

/// A token and how to show it. No problem quotes a value: the keys may have slipped.
fn token(table: &Table) -> Result<(Token, String), String> {
    let (mut name, mut text, mut file, mut scope) = (None, None, None, Scope::Read);
    for (key, value) in table {
        match key.as_str() {
            "name" => name = Some(value.clone()),
            "token" => text = Some(value.clone()).filter(|text| !text.is_empty()),
            "token_file" => file = Some(value.clone()).filter(|file| !file.is_empty()),
            "scope" => {
                let known = SCOPES.iter().find(|(word, _)| word == value);
                scope = known.ok_or("`admin.tokens`: a `scope` must be `read` or `operate`")?.1;
            }
            _ => {
                return Err(
                    "`admin.tokens`: each has `name`, `token` or `token_file`, and `scope`".to_owned()
                );
            }
        }
    }
    let is_name = |name: &String| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
        !name.is_empty() && name.len() <= NAME_CHARS_MAX && name.chars().all(is_plain)
    };
    let name = name.filter(is_name).ok_or_else(|| {
        format!("`admin.tokens`: a `name` is 1 to {NAME_CHARS_MAX} of A-Z a-z 0-9 - _ . @, and each has one")
    })?;
    let text: SecretString = match (text, file) {
        (Some(text), None) => text.into(),
        (None, Some(path)) => {
            read_secret(&path).map_err(|reason| format!("`admin.tokens`: the file of `{name}` {reason}"))?
        }
        _ => return Err(format!("`admin.tokens`: `{name}` needs one of `token` and `token_file`")),
    };
    let word = SCOPES.iter().find(|(_, known)| *known == scope).map_or("", |(word, _)| word);
    let shown = format!("{name} ({word})");
    Ok((Token { name, text, scope }, shown))
}
