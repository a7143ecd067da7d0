//! The configuration: built-in defaults < the file < the environment, checked as a whole before anything starts.
//!
//! `config.example.yml` documents every key and is itself the layer of defaults.

mod admin;
mod check;
mod policy;
mod problem;
mod reader;
mod source;

use std::{
    ffi::OsString,
    fs,
    io::ErrorKind,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use sebastian_core::{InboxId, Policy, Timing};
use secrecy::SecretString;

pub(crate) use self::source::variable;
pub use self::{
    admin::{Admin, Token},
    problem::{Origin, Problem, Problems},
    reader::Shown,
};
pub(crate) use self::{
    check::{goes_in_clear, http_url},
    reader::{HIDDEN, read_secret},
};
use self::{
    reader::{Findings, Reader},
    source::Layer,
};

const DEFAULTS: &str = include_str!("../../../../config.example.yml");

/// The file read when none is named; it need not exist.
pub const DEFAULT_FILE: &str = "config.yml";

/// Everything that can be set. Secrets are redacted in `Debug`.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where webhooks come in.
    pub listen: Listen,
    /// The webhooks themselves.
    pub webhook: Webhook,
    /// The ledger.
    pub db: Db,
    /// Where Redis is, as `host:port` or a URL; may hold a password.
    pub redis_url: Option<SecretString>,
    /// The data folder, where `--data` or the environment names one. No key of the file: the file may lie in the folder.
    pub data: Option<PathBuf>,
    /// The platform.
    pub qiscus: Qiscus,
    /// The worker.
    pub worker: Worker,
    /// How often the roster is polled.
    pub poll_interval: Duration,
    /// How often the ledger is compared with the platform.
    pub reconcile_interval: Duration,
    /// Who is given conversations.
    pub policy: Policy,
    /// How long things take to be believed.
    pub timing: Timing,
    /// Events out.
    pub events: Events,
    /// The log.
    pub log: Log,
    /// The operators' calls.
    pub admin: Admin,
}

/// Where webhooks come in.
#[derive(Debug, Clone)]
pub struct Listen {
    /// The interface.
    pub host: IpAddr,
    /// The port; 0 for any free one.
    pub port: u16,
    /// Threads that answer; `None` for one a core.
    pub workers: Option<u32>,
}

/// How the platform reaches us.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// Our own address as the platform sees it, without a trailing slash.
    pub base_url: Option<String>,
    /// What webhooks must bring.
    pub secret: Option<SecretString>,
}

/// The ledger.
#[derive(Debug, Clone)]
pub struct Db {
    /// A PostgreSQL URL or keywords; may hold a password.
    pub connection_string: Option<SecretString>,
    /// Most connections.
    pub pool_size: u32,
    /// Whether to run migrations on start.
    pub migrate: bool,
    /// How long what is done with is kept.
    pub retention: Duration,
    /// How long it is kept why each agent was chosen. Zero: it is not recorded.
    pub decisions_retention: Duration,
}

/// The Qiscus app.
#[derive(Debug, Clone)]
pub struct Qiscus {
    /// Where its API is, without a trailing slash.
    pub base_url: String,
    /// The app id.
    pub app_id: Option<String>,
    /// The app's secret key.
    pub secret_key: Option<SecretString>,
    /// The inbox assumed for a webhook that names none.
    pub inbox: Option<InboxId>,
    /// An admin's address: not a secret, yet a person's.
    pub email: Option<SecretString>,
    /// That admin's password.
    pub password: Option<SecretString>,
    /// Longest a call may take in all.
    pub timeout: Duration,
    /// Longest the connecting may take.
    pub connect_timeout: Duration,
}

/// The worker.
#[derive(Debug, Clone)]
pub struct Worker {
    /// Where its health and metrics are.
    pub listen: SocketAddr,
    /// Most assignments on their way at once.
    pub max_inflight: u32,
    /// Most assignments of one round.
    pub batch_limit: u32,
    /// How often to look for work unasked.
    pub sweep: Duration,
    /// How long calls under way may take to finish on stopping.
    pub grace: Duration,
    /// How often a sample of the ledger is held against what is promised.
    pub audit_interval: Duration,
}

/// Events out.
#[derive(Debug, Clone, Copy)]
pub struct Events {
    /// A conversation that waits for longer is told of.
    pub waiting_too_long: Duration,
    /// Whether subscribers may be at private addresses.
    pub allow_private: bool,
}

/// The log.
#[derive(Debug, Clone)]
pub struct Log {
    /// For people or for programs.
    pub format: LogFormat,
    /// What is worth a line.
    pub level: tracing::Level,
}

/// For whom log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// People.
    Pretty,
    /// Log collectors: one JSON object a line.
    Json,
}

/// A configuration and what there is to say of it.
#[derive(Debug)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// Each setting in force, where it comes from, and no secret.
    pub shown: Vec<Shown>,
    /// What will do, but is worth a line.
    pub warnings: Vec<Problem>,
    /// Every key there is.
    pub known: Vec<&'static str>,
}

/// Loads `file`, or `config.yml` if that exists, and the variables of this process.
pub fn load(file: Option<&Path>) -> Result<Loaded, Problems> {
    let (path, is_named) = match file {
        Some(path) => (path.to_owned(), true),
        None => (PathBuf::from(DEFAULT_FILE), false),
    };
    let text = match fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == ErrorKind::NotFound && !is_named => None,
        Err(error) => return Err(Problem::new(format!("{} cannot be read: {error}", path.display())).into()),
    };
    load_from(text.as_deref().map(|text| (path.as_path(), text)), std::env::vars_os())
}

/// Loads from the text of a file, named for messages, and from `environment`.
pub fn load_from(
    file: Option<(&Path, &str)>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Loaded, Problems> {
    let mut layers = vec![Layer::environment(environment)?];
    if let Some((path, text)) = file {
        layers.push(Layer::yaml(text, Some(path))?);
    }
    layers.push(Layer::yaml(DEFAULTS, None)?);
    let mut reader = Reader::new(layers);
    let config = Config::read(&mut reader);
    check::check(&config, &mut reader);
    let Findings { problems, warnings, shown, known } = reader.finish();
    Problems::none(problems)?;
    Ok(Loaded { config, shown, warnings, known })
}

impl Config {
    /// Reads every key there is. Ranges are wide enough for any desk, and narrow enough to catch a wrong unit.
    fn read(from: &mut Reader) -> Self {
        let listen = Listen::read(from);
        let webhook_base_url = from.optional("webhook.base_url", HTTP_URL, check::http_url);
        let capacity = from.optional_number("webhook.max_current_customer", 0..=10_000);
        let webhook = Webhook {
            base_url: webhook_base_url,
            secret: from.secret("webhook.secret", "webhook.secret_file"),
        };
        let db = Db::read(from);
        let redis_url = from.secret("redis.url", "redis.url_file");
        let qiscus = Qiscus::read(from);
        let worker_listen = from.defaulted("worker.listen", ADDRESS, parsed);
        let max_inflight = from.number("worker.max_inflight", 1..=10_000);
        let sweep = from.millis("worker.sweep_ms", 10..=60_000);
        let reservation = from.millis("worker.reservation_ms", 100..=600_000);
        let grace = from.millis("worker.grace_ms", 0..=600_000);
        let audit_interval = from.millis("worker.audit_interval_ms", 100..=86_400_000);
        let poll_interval = from.millis("poller.interval_ms", 50..=600_000);
        let staleness_max = from.millis("poller.staleness_max_ms", 100..=3_600_000);
        let reconcile_interval = from.millis("reconcile.interval_ms", 50..=3_600_000);
        let settle_window = from.millis("reconcile.settle_window_ms", 50..=600_000);
        let policy = policy::read(from, capacity, staleness_max);
        let batch_limit = from.number("policy.batch_limit", 1..=10_000);
        Self {
            listen,
            webhook,
            db,
            redis_url,
            data: None,
            qiscus,
            worker: Worker { listen: worker_listen, max_inflight, batch_limit, sweep, grace, audit_interval },
            poll_interval,
            reconcile_interval,
            policy,
            timing: Timing { settle_window, reservation, ..Timing::default() },
            events: Events::read(from),
            log: Log { format: from.choice("log.format", FORMATS), level: from.choice("log.level", LEVELS) },
            admin: Admin::read(from),
        }
    }
}

impl Listen {
    fn read(from: &mut Reader) -> Self {
        Self {
            host: from.defaulted("listen.host", "an IP address such as 0.0.0.0", parsed),
            port: from.defaulted("listen.port", "a port from 0 to 65535", parsed),
            workers: from.optional_number("listen.workers", 1..=1_024),
        }
    }
}

impl Db {
    fn read(from: &mut Reader) -> Self {
        Self {
            connection_string: from.secret("db.connection_string", "db.connection_string_file"),
            pool_size: from.number("db.pool_size", 1..=1_000),
            migrate: from.flag("db.migrate"),
            retention: DAY * from.number("db.retention_days", 1..=3_650),
            decisions_retention: DAY * from.number("decisions.retention_days", 0..=3_650),
        }
    }
}

impl Events {
    fn read(from: &mut Reader) -> Self {
        Self {
            waiting_too_long: Duration::from_secs(
                from.number("events.waiting_too_long_s", 1..=604_800).into(),
            ),
            allow_private: from.flag("events.allow_private"),
        }
    }
}

impl Qiscus {
    fn read(from: &mut Reader) -> Self {
        let base_url = from.defaulted("qiscus.base_url", HTTP_URL, check::http_url);
        let app_id = from.text("qiscus.app_id");
        let secret_key = from.secret("qiscus.secret_key", "qiscus.secret_key_file");
        let channel_id = from.optional("qiscus.channel_id", "a number", |text| Some(text.parse::<i64>()));
        if let Some(Err(_)) = channel_id {
            from.warn("qiscus.channel_id", "`qiscus.channel_id` is ignored: it is not a number");
        }
        Self {
            base_url,
            app_id,
            secret_key,
            // The Go original's default, 0, means none.
            inbox: channel_id.and_then(Result::ok).filter(|id| *id > 0).map(InboxId),
            email: from.personal("qiscus.email"),
            password: from.secret("qiscus.password", "qiscus.password_file"),
            timeout: from.millis("qiscus.timeout_ms", 50..=60_000),
            connect_timeout: from.millis("qiscus.connect_timeout_ms", 50..=60_000),
        }
    }
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What a base URL must be; completes "it must be …".
pub(crate) const HTTP_URL: &str =
    "a URL that starts with http:// or https://, without user, query or fragment";
const ADDRESS: &str = "an address such as 127.0.0.1:9464";

const FORMATS: &[(&str, LogFormat)] = &[("pretty", LogFormat::Pretty), ("json", LogFormat::Json)];
const LEVELS: &[(&str, tracing::Level)] = &[
    ("error", tracing::Level::ERROR),
    ("warn", tracing::Level::WARN),
    ("info", tracing::Level::INFO),
    ("debug", tracing::Level::DEBUG),
    ("trace", tracing::Level::TRACE),
];

fn parsed<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}
