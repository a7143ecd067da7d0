//! Webhooks on their way: sent as the platform sends them, once and never again, unless they are to be lost, doubled or
//! late.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

/// How long the platform waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Allocate,
    Resolve,
}

impl Kind {
    pub fn path(self) -> &'static str {
        match self {
            Self::Allocate => "webhook-incoming-message",
            Self::Resolve => "webhook-mark-as-resolved",
        }
    }

    /// As the ledger writes it.
    pub fn column(self) -> &'static str {
        match self {
            Self::Allocate => "allocate",
            Self::Resolve => "resolve",
        }
    }
}

/// How many of a hundred webhooks go astray now.
#[derive(Debug, Clone, Copy, Default)]
pub struct Weather {
    pub lost: u64,
    pub doubled: u64,
    pub late: u64,
}

/// What became of the webhooks.
#[derive(Debug, Default)]
pub struct Mail {
    /// How many were accepted, by kind and room.
    pub accepted: BTreeMap<(Kind, String), u64>,
    /// Sessions of which an allocation was accepted.
    pub heard_of: BTreeSet<i64>,
    /// From the moment each accepted one was due to its answer.
    pub took: Vec<Duration>,
    /// Answered with another status than 2xx.
    pub refused: BTreeMap<u16, u64>,
    /// Not answered.
    pub unanswered: u64,
    pub lost: u64,
    pub doubled: u64,
    pub late: u64,
}

/// A webhook to be sent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Letter {
    pub kind: Kind,
    pub room: String,
    pub session: i64,
    /// JSON.
    pub body: String,
}

/// The way from the platform to the ingest.
pub struct Post {
    client: reqwest::Client,
    address: Mutex<String>,
    weather: Mutex<Weather>,
    mail: Mutex<Mail>,
}

impl Post {
    pub fn to(address: &str) -> Self {
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        Self {
            client,
            address: Mutex::new(address.to_owned()),
            weather: Mutex::default(),
            mail: Mutex::default(),
        }
    }

    /// Where the ingest listens from now on.
    pub fn moved(&self, address: &str) {
        *self.address.lock().unwrap() = address.to_owned();
    }

    pub fn weather(&self) -> MutexGuard<'_, Weather> {
        self.weather.lock().unwrap()
    }

    pub fn mail(&self) -> MutexGuard<'_, Mail> {
        self.mail.lock().unwrap()
    }

    /// Sends one that is due at `due`, and writes down what became of it.
    pub async fn send(&self, letter: Letter, due: Instant) {
        let Letter { kind, room, session, body } = letter;
        let url = format!("http://{}/{}", self.address.lock().unwrap(), kind.path());
        let request = self.client.post(url).header("content-type", "application/json").body(body);
        let status = match request.send().await {
            // Read to its end, so that the connection serves again.
            Ok(answer) => {
                let status = answer.status();
                answer.bytes().await.is_ok().then_some(status)
            }
            Err(_) => None,
        };
        let took = due.elapsed();
        let mut mail = self.mail();
        match status {
            Some(status) if status.is_success() => {
                *mail.accepted.entry((kind, room)).or_default() += 1;
                if kind == Kind::Allocate {
                    mail.heard_of.insert(session);
                }
                mail.took.push(took);
            }
            Some(status) => *mail.refused.entry(status.as_u16()).or_default() += 1,
            None => mail.unanswered += 1,
        }
    }
}
