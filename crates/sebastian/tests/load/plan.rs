//! What is to be measured, as `cargo xtask bench` hands it over: one variable of the environment for each setting.

use std::{env, time::Duration};

use sebastian_platform::simulated::{Fault, FaultKind, Target};

/// How long the platform takes for each call.
#[derive(Debug, Clone, Copy)]
pub enum Latency {
    Fixed(Duration),
    Lognormal { median: Duration, sigma: f64 },
}

impl Latency {
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(',');
        let span = Duration::from_micros(words.next()?.parse().ok()?);
        Some(match words.next() {
            None => Self::Fixed(span),
            Some(sigma) => Self::Lognormal { median: span, sigma: sigma.parse().ok()? },
        })
    }

    /// As the simulated platform is told of it.
    pub fn fault(self) -> Option<Fault> {
        match self {
            Self::Fixed(Duration::ZERO) => None,
            Self::Fixed(span) => Some(Fault::latency(Target::Everything, span)),
            Self::Lognormal { median, sigma } => {
                Some(Fault::new(Target::Everything, FaultKind::LognormalLatency { median, sigma }))
            }
        }
    }
}

/// What the webhooks are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mix {
    /// Of distinct rooms, with nobody online: nothing but acceptance, and folding where there is a worker.
    Webhooks,
    /// Chats that are assigned, served and resolved.
    Chats,
}

/// How webhooks come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// So many a second, whatever the answers.
    Open { rate: u32 },
    /// Each connection sends its next when it has its answer.
    Closed,
}

/// A run.
#[derive(Debug)]
pub struct Plan {
    /// What repeats it.
    pub command: String,
    pub mix: Mix,
    pub pace: Pace,
    /// How long is measured, after the warm-up.
    pub span: Duration,
    pub connections: usize,
    pub workers: usize,
    /// Whether one process does it all, on a ledger in a folder.
    pub is_embedded: bool,
    pub agents: u32,
    pub capacity: u32,
    /// How long an agent serves a chat, in ms.
    pub serve_ms: (u64, u64),
    pub latency: Latency,
    /// Chats that wait before the measurement begins.
    pub backlog: usize,
    /// In force in the processes, over their defaults.
    pub settings: Vec<(String, String)>,
    /// Whether PostgreSQL is to say which statements took how long.
    pub statements: bool,
    pub seed: u64,
}

/// A variable of the environment, without the prefix that all of them have.
pub fn given(key: &str) -> Option<String> {
    env::var(format!("SEBASTIAN_BENCH_{key}")).ok()
}

fn number<T: std::str::FromStr>(key: &str) -> Option<T> {
    given(key)?.parse().ok()
}

impl Plan {
    /// `None` when somebody other than `cargo xtask bench` started this.
    pub fn given() -> Option<Self> {
        let serve = given("SERVE_MS")?;
        let (least, most) = serve.split_once(',')?;
        let settings = given("SET")?;
        let settings = settings.lines().filter_map(|line| line.split_once('='));
        Some(Self {
            command: given("COMMAND")?,
            mix: if given("MIX")? == "webhooks" { Mix::Webhooks } else { Mix::Chats },
            pace: match number("RATE")? {
                0 => Pace::Closed,
                rate => Pace::Open { rate },
            },
            span: Duration::from_secs(number("SECONDS")?),
            connections: number("CONNECTIONS")?,
            workers: number("WORKERS")?,
            is_embedded: given("LEDGER")? == "embedded",
            agents: number("AGENTS")?,
            capacity: number("CAPACITY")?,
            serve_ms: (least.parse().ok()?, most.parse().ok()?),
            latency: Latency::parse(&given("LATENCY")?)?,
            backlog: number("BACKLOG")?,
            settings: settings.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
            statements: given("STATEMENTS")? == "true",
            seed: number("SEED")?,
        })
    }
}
