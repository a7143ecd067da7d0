//! The two ports: [`RosterCache`] and [`Doorbell`].

use async_trait::async_trait;
use sebastian_core::{AccountId, Roster, Timestamp};
use serde::{Deserialize, Serialize};

/// Holds the newest roster of each account for every process that wants it.
#[async_trait]
pub trait RosterCache: Send + Sync {
    /// Stores `roster` unless one of the same or a newer version is there. Returns whether it was stored.
    async fn publish(&self, account: AccountId, roster: &Roster) -> Result<bool, CacheError>;

    /// The stored roster when its version is above `known`; `None` when it is not, or when none is stored.
    async fn newer_than(&self, account: AccountId, known: u64) -> Result<Option<Roster>, CacheError>;

    /// Whether the cache answers, for readiness.
    async fn ping(&self) -> Result<(), CacheError>;
}

/// Why the cache gave no answer. The caller goes on with what it has.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// No answer in time, or no connection.
    #[error("roster cache is not reachable")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The stored value is not a roster.
    #[error("stored roster is not readable")]
    Corrupt(#[source] serde_json::Error),
}

/// Wakes a worker.
#[async_trait]
pub trait Doorbell: Send + Sync {
    /// Rings once. Bounded in time; a failure costs latency, never a chat, so callers log it and go on.
    async fn ring(&self, wake: WakeUp) -> Result<(), DoorbellError>;
}

/// The bell could not be rung.
#[derive(Debug, thiserror::Error)]
#[error("doorbell is not reachable")]
pub struct DoorbellError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// A reason to look at an account. Carries no truth: the ledger has that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WakeUp {
    /// Which account to look at.
    pub account: AccountId,
    /// What happened; for logs and metrics only.
    pub reason: WakeReason,
    /// When it was rung, by the ringer's clock; for the lag metric only.
    pub rung_at: Timestamp,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WakeReason {
    /// An allocation event was accepted.
    Allocate,
    /// A resolve event was accepted.
    Resolve,
    /// A slot was freed, a settlement was made, or a call finished while more was waiting.
    Freed,
    /// A new roster was published.
    Roster,
    /// An operator changed the rules.
    Rules,
    /// Time passed: the sweep, a park that ended, a pause that ended.
    Timer,
}

impl WakeReason {
    /// The word logs and metrics use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allocate => "allocate",
            Self::Resolve => "resolve",
            Self::Freed => "freed",
            Self::Roster => "roster",
            Self::Rules => "rules",
            Self::Timer => "timer",
        }
    }
}
