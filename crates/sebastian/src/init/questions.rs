//! What a new desk needs to know, from flags or a person, and checked at the platform as soon as it can be.

use std::path::PathBuf;

use sebastian_core::Policy;
use sebastian_platform::{
    Platform,
    qiscus::{Qiscus, QiscusConfig},
};
use secrecy::{ExposeSecret, SecretString};

use super::{
    Init,
    file::{Answers, Kept},
    terminal::{Left, Terminal},
};
use crate::{
    config::{self, goes_in_clear, http_url},
    failure::{Failure, Usage},
    print,
    probe::{Trouble, of_keys, of_login},
};

/// Somebody who is refused this often has the wrong page before them.
const TRIES_MAX: usize = 10;

const PORT: u16 = 3_000;

impl From<Left> for Failure {
    fn from(_: Left) -> Self {
        Self::Left
    }
}

/// Whoever answers: flags first, then the person at the terminal, if there is one.
pub(super) struct Questions<'a> {
    init: &'a Init,
    pub terminal: Option<Terminal>,
    base_url: String,
}

/// What opens the account.
struct Keys {
    base_url: String,
    app_id: String,
    secret_key: Kept,
}

impl<'a> Questions<'a> {
    /// Without a terminal, fails at once with the flags that are missing.
    pub fn new(init: &'a Init) -> Result<Self, Failure> {
        let terminal = Terminal::of_this_process();
        let missing = missing(init);
        if terminal.is_none() && !missing.is_empty() {
            return Err(usage(format!(
                "there is no terminal to ask at, and these flags are missing: {}; see `sebastian init --help`",
                missing.join(", ")
            )));
        }
        let base_url = config::load_from(None, [])?.config.qiscus.base_url;
        Ok(Self { init, terminal, base_url })
    }

    /// Everything, checked at the platform unless that was not wanted.
    pub async fn answers(&self) -> Result<Answers, Failure> {
        let keys = self.keys().await?;
        let login = self.login(&keys).await?;
        let public_url = self.public_url()?;
        let servers = self.init.postgres.clone().zip(self.init.redis.clone());
        for url in servers.iter().flat_map(|(postgres, redis)| [postgres, redis]) {
            one_line("--postgres or --redis", url.expose_secret())?;
        }
        let Keys { base_url, app_id, secret_key } = keys;
        let port = self.init.port.unwrap_or(PORT);
        Ok(Answers { base_url, app_id, secret_key, login, public_url, port, servers })
    }

    async fn keys(&self) -> Result<Keys, Failure> {
        let mut refused: Option<Keys> = None;
        for _ in 0..TRIES_MAX {
            let keys = match &refused {
                None => self.first_keys()?,
                Some(refused) => self.other_keys(refused)?,
            };
            if self.init.offline {
                return Ok(keys);
            }
            print(&format!("Asking {} …\n", keys.base_url));
            match check_keys(&keys).await {
                Ok(found) => {
                    print(&format!("{found}\n\n"));
                    return Ok(keys);
                }
                Err(trouble) => self.once_more(trouble)?,
            }
            refused = Some(keys);
        }
        Err(Failure::Left)
    }

    fn first_keys(&self) -> Result<Keys, Failure> {
        let Self { init, terminal, .. } = self;
        let base_url = match (&init.base_url, terminal) {
            (Some(given), _) => given.clone(),
            (None, None) => self.base_url.clone(),
            (None, Some(terminal)) => url(terminal, "Where the Qiscus account lives", Some(&self.base_url))?,
        };
        let app_id = match (&init.app_id, terminal) {
            (Some(given), _) => given.clone(),
            (None, Some(terminal)) => terminal.line("App id, from Settings > App Information", None)?,
            (None, None) => return Err(Failure::Left),
        };
        one_line("--app-id", &app_id)?;
        let given = kept("--secret-key", init.secret_key.as_ref(), init.secret_key_file.as_ref())?;
        let secret_key = match (given, terminal) {
            (Some(given), _) => given,
            (None, Some(terminal)) => unseen(terminal, "Secret key, from the same page (not shown)")?,
            (None, None) => return Err(Failure::Left),
        };
        Ok(Keys { base_url, app_id, secret_key })
    }

    /// The same questions to somebody whose answers were not accepted; each may stay as it was.
    fn other_keys(&self, refused: &Keys) -> Result<Keys, Failure> {
        let terminal = self.terminal.as_ref().ok_or(Failure::Left)?;
        let base_url = url(terminal, "Where the Qiscus account lives", Some(&refused.base_url))?;
        let app_id = terminal.line("App id", Some(&refused.app_id))?;
        let secret_key = match terminal.secret("Secret key (not shown; empty: the same again)")? {
            Some(text) => Kept { text, file: None },
            None => refused.secret_key.clone(),
        };
        Ok(Keys { base_url, app_id, secret_key })
    }

    async fn login(&self, keys: &Keys) -> Result<Option<(String, Kept)>, Failure> {
        let Self { init, terminal, .. } = self;
        let mut given = init.email.clone();
        for _ in 0..TRIES_MAX {
            let (email, is_given) = match (given.take(), terminal) {
                (Some(email), _) => (email, true),
                (None, Some(terminal)) => {
                    print(
                        "Qiscus shows registered webhooks to an admin only. Without a login they can be set, not verified.\n",
                    );
                    match terminal.line_or_nothing("Admin's e-mail (empty: without)")? {
                        Some(email) => (email, false),
                        None => return Ok(None),
                    }
                }
                (None, None) => return Ok(None),
            };
            one_line("--email", &email)?;
            let password = if is_given {
                kept("--password", init.password.as_ref(), init.password_file.as_ref())?
            } else {
                None
            };
            let password = match (password, terminal) {
                (Some(password), _) => password,
                (None, Some(terminal)) => unseen(terminal, "Password (not shown)")?,
                (None, None) => return Err(Failure::Left),
            };
            if init.offline {
                return Ok(Some((email, password)));
            }
            match check_login(keys, &email, &password).await {
                Ok(()) => {
                    print("Qiscus accepts the login.\n\n");
                    return Ok(Some((email, password)));
                }
                Err(trouble) => self.once_more(trouble)?,
            }
        }
        Err(Failure::Left)
    }

    fn public_url(&self) -> Result<String, Failure> {
        let public_url = match (&self.init.public_url, &self.terminal) {
            (Some(given), _) => given.clone(),
            (None, Some(terminal)) => {
                url(terminal, "Public URL, as Qiscus reaches this desk (https://…)", None)?
            }
            (None, None) => return Err(Failure::Left),
        };
        if goes_in_clear(&public_url) {
            print("Note: without https:// customers' names and numbers cross the network readable to all.\n");
        }
        Ok(public_url)
    }

    /// Tells a person what was wrong, so that they can answer again; without one that is the end.
    fn once_more(&self, trouble: Trouble) -> Result<(), Failure> {
        let Trouble { found, mend } = trouble;
        if self.terminal.is_none() {
            return Err(Failure::NotAccepted { found, mend });
        }
        print(&format!("{found}:\n{mend}. Once more; Ctrl-C leaves.\n\n"));
        Ok(())
    }
}

/// The flags without which a desk cannot be set up unasked.
fn missing(init: &Init) -> Vec<&'static str> {
    let has_key = init.secret_key.is_some() || init.secret_key_file.is_some();
    let has_password = init.password.is_some() || init.password_file.is_some();
    [
        ("--app-id", init.app_id.is_some()),
        ("--secret-key-file", has_key),
        ("--public-url", init.public_url.is_some()),
        ("--password-file", has_password || init.email.is_none()),
    ]
    .into_iter()
    .filter(|(_, is_given)| !is_given)
    .map(|(flag, _)| flag)
    .collect()
}

async fn check_keys(keys: &Keys) -> Result<String, Trouble> {
    let agents = client(keys, None)?.agents().await.map_err(|error| of_keys(&error, &keys.base_url))?;
    let policy = Policy::default();
    let ready = agents.iter().filter(|agent| policy.deals_to(agent)).count();
    Ok(format!(
        "Qiscus accepts the keys: {} people in the account, {ready} of them online and fit to be given chats.",
        agents.len()
    ))
}

async fn check_login(keys: &Keys, email: &str, password: &Kept) -> Result<(), Trouble> {
    let client = client(keys, Some((email, password)))?;
    client.webhook_urls().await.map(|_| ()).map_err(|error| of_login(&error, &keys.base_url))
}

fn client(keys: &Keys, login: Option<(&str, &Kept)>) -> Result<Qiscus, Trouble> {
    let bare = QiscusConfig::new(&keys.base_url, &keys.app_id, keys.secret_key.text.clone());
    let config = QiscusConfig {
        email: login.map(|(email, _)| email.to_owned()),
        password: login.map(|(_, password)| password.text.clone()),
        ..bare
    };
    let wrong = |error| Trouble { found: format!("{error}"), mend: "type it again".to_owned() };
    Qiscus::new(config).map_err(wrong)
}

/// A secret from a flag or a file. Settings name a file that stays; what comes through a pipe they hold themselves.
fn kept(flag: &str, text: Option<&SecretString>, file: Option<&PathBuf>) -> Result<Option<Kept>, Failure> {
    let kept = match (text, file) {
        (Some(text), _) => Kept { text: text.clone(), file: None },
        (None, Some(path)) => {
            let unreadable = |reason: String| usage(format!("{flag}-file: {} {reason}", path.display()));
            let text = config::read_secret(&path.to_string_lossy()).map_err(unreadable)?;
            let stays = path.metadata().is_ok_and(|found| found.is_file());
            Kept { text, file: std::path::absolute(path).ok().filter(|_| stays) }
        }
        (None, None) => return Ok(None),
    };
    one_line(flag, kept.text.expose_secret())?;
    Ok(Some(kept))
}

fn unseen(terminal: &Terminal, question: &str) -> Result<Kept, Left> {
    loop {
        if let Some(text) = terminal.secret(question)? {
            return Ok(Kept { text, file: None });
        }
    }
}

fn url(terminal: &Terminal, question: &str, default: Option<&str>) -> Result<String, Left> {
    loop {
        match http_url(&terminal.line(question, default)?) {
            Some(url) => return Ok(url),
            None => print(&format!("That must be {}.\n", config::HTTP_URL)),
        }
    }
}

/// Refuses what no settings file could give back as it was. Does not quote it: it may be a secret.
fn one_line(flag: &str, text: &str) -> Result<(), Failure> {
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(usage(format!("{flag}: it must be one line of text, and not empty")));
    }
    Ok(())
}

pub(super) fn usage(text: String) -> Failure {
    Usage(text).into()
}
