//! The adapters an operator's settings call for. Making them connects to nothing.

use sebastian_ingest::{AdminToken, Secret, Targets};
use sebastian_platform::qiscus::{Qiscus, QiscusConfig};
use sebastian_roster::RedisServer;
use sebastian_store::PostgresStore;
use secrecy::ExposeSecret;

use super::{
    folder::DataFolder,
    storage::{Servers, Storage},
};
use crate::{
    cli::Process,
    config::{Config, Problem, Problems},
};

/// Before every key of ours in Redis.
const REDIS_PREFIX: &str = "sebastian";

const DB: &str = "db.connection_string";
const REDIS: &str = "redis.url";

/// What every process is made of.
pub(crate) struct Parts {
    pub storage: Storage,
    pub qiscus: Qiscus,
    pub app_id: String,
}

impl Parts {
    /// What `process` is made of. Fails with everything that is missing or unusable at once.
    pub fn new(config: &Config, process: Process) -> Result<Self, Problems> {
        match (storage(config, Some(process)), qiscus(config)) {
            (Ok(storage), Ok((app_id, qiscus))) => Ok(Self { storage, qiscus, app_id }),
            (storage, qiscus) => {
                let problems = storage.err().into_iter().flatten();
                Err(problems.chain(qiscus.err().into_iter().flatten()).collect())
            }
        }
    }
}

/// Where the ledger is, for `process` or, without one, for a command by hand: on servers when both are set, in a folder
/// when neither is. Half of the servers is refused, and so is a folder for a process that is one of several.
pub(crate) fn storage(config: &Config, process: Option<Process>) -> Result<Storage, Problems> {
    let half = |missing: &str, set: &str| {
        let variable = crate::config::variable(missing);
        Problem::new(format!(
            "`{missing}` is not set, and `{set}` is: write it in the config file, or set {variable}; or leave both out, \
             and `-e all` keeps its ledger in a folder"
        ))
    };
    match (&config.db.connection_string, &config.redis_url, process) {
        (Some(_), Some(_), _) => match (postgres(config), redis(config)) {
            (Ok(store), Ok(redis)) => Ok(Storage::Servers(Box::new(Servers { store, redis }))),
            (store, redis) => Err([store.err(), redis.err()].into_iter().flatten().collect()),
        },
        (Some(_), None, _) => Err(half(REDIS, DB).into()),
        (None, Some(_), _) => Err(half(DB, REDIS).into()),
        (None, None, Some(process @ (Process::Webhook | Process::Worker))) => {
            let (db, redis) = (crate::config::variable(DB), crate::config::variable(REDIS));
            let process = process.as_str();
            Err(Problem::new(format!(
                "`-e {process}` shares PostgreSQL and Redis with other processes, and neither is set: set `{DB}` ({db}) and \
                 `{REDIS}` ({redis}), or run `sebastian -e all`, which needs no servers"
            ))
            .into())
        }
        (None, None, Some(Process::All) | None) => {
            Ok(Storage::Folder(DataFolder::of(config.data.as_deref())?))
        }
    }
}

/// The ledger on its server.
pub(crate) fn postgres(config: &Config) -> Result<PostgresStore, Problem> {
    let connection_string = config.db.connection_string.as_ref().ok_or_else(|| Problem::missing(DB))?;
    let pool_size = usize::try_from(config.db.pool_size).unwrap_or(usize::MAX);
    // The reason might quote the password.
    PostgresStore::new(connection_string.expose_secret(), pool_size, config.timing)
        .map(|store| store.governed_by(config.policy.clone()))
        .map_err(|_| Problem::new(format!("`{DB}` must be a postgres:// URL or `host=… user=… dbname=…`")))
}

/// Where rosters are shared and wake-ups rung.
pub(crate) fn redis(config: &Config) -> Result<RedisServer, Problem> {
    let url = config.redis_url.as_ref().ok_or_else(|| Problem::missing(REDIS))?;
    RedisServer::parse(url.expose_secret(), REDIS_PREFIX)
        .map_err(|_| Problem::new(format!("`{REDIS}` must be host:port, a redis:// URL or a unix:// path")))
}

/// The app's id and its client.
pub(crate) fn qiscus(config: &Config) -> Result<(String, Qiscus), Problems> {
    let qiscus = &config.qiscus;
    let missing = |key| Problem::missing(key);
    let (app_id, secret_key) = match (&qiscus.app_id, &qiscus.secret_key) {
        (Some(app_id), Some(secret_key)) => (app_id.clone(), secret_key.clone()),
        (app_id, secret_key) => {
            let keys = [("qiscus.app_id", app_id.is_some()), ("qiscus.secret_key", secret_key.is_some())];
            return Err(keys
                .into_iter()
                .filter(|(_, is_set)| !is_set)
                .map(|(key, _)| missing(key))
                .collect());
        }
    };
    let client = Qiscus::new(QiscusConfig {
        base_url: qiscus.base_url.clone(),
        app_id: app_id.clone(),
        secret_key,
        email: qiscus.email.as_ref().map(|email| email.expose_secret().to_owned()),
        password: qiscus.password.clone(),
        connect_timeout: qiscus.connect_timeout,
        timeout: qiscus.timeout,
    });
    match client {
        Ok(client) => Ok((app_id, client)),
        Err(error) => Err(Problem::new(format!("section `qiscus`: {error}")).into()),
    }
}

/// What webhooks must bring, if anything.
pub(crate) fn webhook_secret(config: &Config) -> Result<Option<Secret>, Problem> {
    secret("webhook.secret", config.webhook.secret.as_ref())
}

/// What operators must bring, if anything. The tokens themselves are wiped: from now on only their digests are known.
pub(crate) fn take_admin_tokens(config: &mut Config) -> Result<Vec<AdminToken>, Problem> {
    let tokens = std::mem::take(&mut config.admin.tokens).into_iter();
    let token = |token: crate::config::Token| AdminToken::new(&token.name, &token.text, token.scope);
    let empty = |error| Problem::new(format!("section `admin`: {error}"));
    tokens.map(token).collect::<Result<_, _>>().map_err(empty)
}

fn secret(key: &str, text: Option<&secrecy::SecretString>) -> Result<Option<Secret>, Problem> {
    text.map(|text| Secret::new(text.clone()))
        .transpose()
        .map_err(|error| Problem::new(format!("`{key}`: {error}")))
}

/// The URLs the platform is to call; `None` when `webhook.base_url` is not set.
pub(crate) fn targets(config: &Config, app_id: &str) -> Result<Option<Targets>, Problem> {
    let Some(base_url) = &config.webhook.base_url else { return Ok(None) };
    match Targets::new(base_url, app_id, webhook_secret(config)?.as_ref()) {
        Ok(targets) => Ok(Some(targets)),
        Err(error) => Err(Problem::new(format!("`webhook.base_url` {error}"))),
    }
}
