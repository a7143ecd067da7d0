//! The settings file as `init` writes it.

use std::{
    fmt::Write as _,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use secrecy::{ExposeSecret, SecretString};

/// For its owner alone: it holds secrets.
const MODE: u32 = 0o600;

/// 128 bits, as the check of settings asks for.
const SECRET_BYTES: usize = 16;

/// Everything the file says.
pub(super) struct Answers {
    pub base_url: String,
    pub app_id: String,
    pub secret_key: Kept,
    pub login: Option<(String, Kept)>,
    pub public_url: String,
    pub port: u16,
    /// PostgreSQL and Redis; without them the ledger is in a data folder.
    pub servers: Option<(SecretString, SecretString)>,
}

/// A secret, and where settings find it.
#[derive(Clone)]
pub(super) struct Kept {
    pub text: SecretString,
    /// The file it stays in, by a path that holds from everywhere; without one it stands in the settings themselves.
    pub file: Option<PathBuf>,
}

/// The whole file, with a new webhook secret and a new admin token.
pub(super) fn text(answers: &Answers) -> Result<SecretString, getrandom::Error> {
    let (webhook_secret, admin_token) = (random()?, random()?);
    let Answers { base_url, app_id, secret_key, login, public_url, port, servers } = answers;
    let mut text = format!(
        "# Settings of Sebastian, written by `sebastian init`. What is not here has its default: `sebastian check-config`\n\
         # shows all that is in force, config.example.yml explains it. This file holds secrets: keep it to yourself.\n\
         \n\
         listen:\n\
         \x20 # Where webhooks come in, on every interface. A proxy that ends TLS leads here.\n\
         \x20 port: {port}\n\
         \n\
         webhook:\n\
         \x20 # How Qiscus reaches this process from outside.\n\
         \x20 base_url: {}\n\
         \x20 # Part of the registered URLs, as Qiscus signs nothing. After a change: `sebastian set-webhook`.\n\
         \x20 secret: {webhook_secret}\n\
         \x20 # Most open chats an agent may hold, where no policy says otherwise.\n\
         \x20 #max_current_customer: 3\n\n",
        scalar(public_url),
    );
    text += &match servers {
        Some((postgres, redis)) => format!(
            "db:\n  # The ledger.\n  connection_string: {}\n\nredis:\n  url: {}\n\n",
            scalar(postgres.expose_secret()),
            scalar(redis.expose_secret())
        ),
        None => "# Neither `db` nor `redis`: `sebastian -e all` keeps everything in a data folder (`--data DIR`).\n\n"
            .to_owned(),
    };
    let _infallible = write!(
        text,
        "qiscus:\n  base_url: {}\n  # Settings > App Information.\n  app_id: {}\n  {}\n",
        scalar(base_url),
        scalar(app_id),
        secret_key.line("secret_key")
    );
    if let Some((email, password)) = login {
        let _infallible = write!(
            text,
            "  # An admin, to whom Qiscus shows the registered webhooks. Used by `set-webhook` and `doctor` only.\n  \
             email: {}\n  {}\n",
            scalar(email),
            password.line("password")
        );
    }
    let _infallible = write!(
        text,
        "\nadmin:\n  # What operators' programs bring: `Authorization: Bearer …` for /api/v1, /agents, /set-webhook.\n  \
         token: {admin_token}\n"
    );
    Ok(text.into())
}

impl Kept {
    fn line(&self, key: &str) -> String {
        match &self.file {
            Some(file) => format!("{key}_file: {}", scalar(&file.to_string_lossy())),
            None => format!("{key}: {}", scalar(self.text.expose_secret())),
        }
    }
}

/// Text as one YAML scalar: plain where that can be read as nothing else, else quoted.
fn scalar(text: &str) -> String {
    let is_plain_letter = |c: char| c.is_ascii_alphanumeric() || "-_.~/:@%+".contains(c);
    let starts_plain = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/');
    let is_word = |word: &str| text.eq_ignore_ascii_case(word);
    let is_plain =
        starts_plain && text.chars().all(is_plain_letter) && !text.ends_with(':') && !is_word("null");
    if is_plain { text.to_owned() } else { format!("'{}'", text.replace('\'', "''")) }
}

fn random() -> Result<String, getrandom::Error> {
    let mut bytes = [0; SECRET_BYTES];
    getrandom::fill(&mut bytes)?;
    Ok(bytes.iter().fold(String::with_capacity(2 * SECRET_BYTES), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    }))
}

/// Writes `text` to `path` in one step: whoever looks sees the whole file or none. It is on the disk when this returns.
pub(super) fn write_whole(path: &Path, text: &SecretString) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    let beside = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let written = write_new(&beside, text)
        .and_then(|()| fs::rename(&beside, path))
        .and_then(|()| File::open(folder)?.sync_all());
    if written.is_err() {
        // It may never have been made.
        let _absent = fs::remove_file(&beside);
    }
    written
}

fn write_new(path: &Path, text: &SecretString) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(path)?;
    file.write_all(text.expose_secret().as_bytes())?;
    file.sync_all()
}
