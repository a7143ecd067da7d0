//! The adapters an operator's settings call for. Making them connects to nothing.

use sebastian_ingest::{AdminToken, Secret, Targets};
use sebastian_platform::qiscus::{Qiscus, QiscusConfig};
use sebastian_roster::RedisServer;
use sebastian_store::PostgresStore;
use secrecy::ExposeSecret;

use crate::config::{Config, Problem, Problems};

/// Before every key of ours in Redis.
const REDIS_PREFIX: &str = "sebastian";

/// What every process is made of.
pub(crate) struct Parts {
    pub store: PostgresStore,
    pub redis: RedisServer,
    pub qiscus: Qiscus,
    pub app_id: String,
}

impl Parts {
    /// Fails with everything that is missing or unusable at once.
    pub fn new(config: &Config) -> Result<Self, Problems> {
        let (store, redis, qiscus) = (store(config), redis(config), qiscus(config));
        match (store, redis, qiscus) {
            (Ok(store), Ok(redis), Ok((app_id, qiscus))) => Ok(Self { store, redis, qiscus, app_id }),
            (store, redis, qiscus) => {
                let problems = [store.err(), redis.err()].into_iter().flatten();
                Err(problems.chain(qiscus.err().into_iter().flatten()).collect())
            }
        }
    }
}

/// The ledger.
pub(crate) fn store(config: &Config) -> Result<PostgresStore, Problem> {
    const KEY: &str = "db.connection_string";
    let connection_string = config.db.connection_string.as_ref().ok_or_else(|| Problem::missing(KEY))?;
    let pool_size = usize::try_from(config.db.pool_size).unwrap_or(usize::MAX);
    // The reason might quote the password.
    PostgresStore::new(connection_string.expose_secret(), pool_size, config.timing)
        .map(|store| store.governed_by(config.policy.clone()))
        .map_err(|_| Problem::new(format!("`{KEY}` must be a postgres:// URL or `host=… user=… dbname=…`")))
}

/// Where rosters are shared and wake-ups rung.
pub(crate) fn redis(config: &Config) -> Result<RedisServer, Problem> {
    const KEY: &str = "redis.url";
    let url = config.redis_url.as_ref().ok_or_else(|| Problem::missing(KEY))?;
    RedisServer::parse(url.expose_secret(), REDIS_PREFIX)
        .map_err(|_| Problem::new(format!("`{KEY}` must be host:port, a redis:// URL or a unix:// path")))
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
