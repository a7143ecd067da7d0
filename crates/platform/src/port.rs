//! The port to a platform: what the worker asks of one, and the four ways an answer can be no plain success.

use std::time::Duration;

use async_trait::async_trait;
use sebastian_core::{Agent, AgentId, InboxId, RoomId};

/// A platform's API. Every call ends within the client's timeouts; none is retried inside.
#[async_trait]
pub trait Platform: Send + Sync {
    /// The platform's word for itself, as metrics label it (`qiscus`).
    fn name(&self) -> &'static str;

    /// Every agent of the account, all pages, or an error: never a part of the roster.
    /// `listed` is false and `online_since` is `None` in the answer; the poller knows better.
    async fn agents(&self) -> Result<Vec<Agent>, PlatformError>;

    /// The agents the platform would let into `room`, online or not.
    async fn agents_for(&self, room: &RoomId) -> Result<Vec<Agent>, PlatformError>;

    /// Puts `agent` into `room` unless somebody else is already there (a compare-and-set on platforms that
    /// offer one); in the place of `replacing`, when they are the one who is there. Success means the platform named this
    /// very agent.
    async fn assign(
        &self,
        room: &RoomId,
        agent: AgentId,
        replacing: Option<AgentId>,
    ) -> Result<(), PlatformError>;

    /// Whom the platform itself would give `room` now. `None`: nobody. Changes nothing.
    async fn propose(&self, room: &RoomId) -> Result<Option<AgentId>, PlatformError>;

    /// Reads one room back.
    async fn room(&self, room: &RoomId) -> Result<RoomStatus, PlatformError>;

    /// Every unresolved room `agent` serves.
    async fn rooms_served_by(&self, agent: AgentId) -> Result<Vec<Room>, PlatformError>;

    /// Every room that waits for an agent.
    async fn rooms_waiting(&self) -> Result<Vec<Room>, PlatformError>;

    /// Where the platform sends its webhooks now.
    async fn webhook_urls(&self) -> Result<WebhookUrls, PlatformError>;

    /// Points one webhook at `url` and enables it. Overwrites whatever stood there.
    async fn set_webhook(&self, hook: Webhook, url: &str) -> Result<(), PlatformError>;
}

/// A room as lists show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    /// Which room.
    pub id: RoomId,
    /// Its inbox, when the row names one.
    pub inbox: Option<InboxId>,
}

/// What a read-back of one room says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoomStatus {
    /// Nobody serves it and its customer waits.
    Waiting {
        /// Its inbox, when the row names one.
        inbox: Option<InboxId>,
    },
    /// Some agent serves it; the row does not say who.
    Served,
    /// Its session is over.
    Resolved,
    /// The platform does not know it.
    NotFound,
}

/// A webhook Sebastian needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Webhook {
    /// A customer wrote and no agent serves the room.
    Allocate,
    /// A room was resolved.
    Resolve,
}

/// Where webhooks go now; `None` when unset or disabled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WebhookUrls {
    /// The allocation webhook.
    pub allocate: Option<String>,
    /// The resolve webhook.
    pub resolve: Option<String>,
}

/// Why a platform call did not give a plain success. The caller acts on the class alone.
#[derive(Debug, thiserror::Error)]
pub enum PlatformError {
    /// The platform understood and said no; the same call would fail again.
    #[error("platform refused: {0}")]
    Rejected(Refusal),
    /// Too many calls: back off for the whole account, keep the order.
    #[error("platform busy")]
    Busy {
        /// What `Retry-After` asked for, capped at ten minutes.
        after: Option<Duration>,
    },
    /// Our credentials or our subscription are not accepted (401, 402, 403): pause the account and alert.
    /// Never means "no agents", never permanent.
    #[error("platform denied access with status {status}")]
    Denied {
        /// The HTTP status.
        status: u16,
    },
    /// Sent, or perhaps sent, and no answer that tells the outcome: verify before anything else.
    #[error("outcome unknown")]
    Unknown(#[source] UnknownOutcome),
    /// This client, as configured, has no way to do that; the text says what is missing. Nothing was changed.
    #[error("not possible: {0}")]
    Unsupported(&'static str),
}

/// What the platform refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Someone is in the room already; sometimes a passing lie about a fresh room. Read the room back.
    #[error("the room has an agent")]
    RoomTaken,
    /// The room's session is over.
    #[error("the room is resolved")]
    RoomResolved,
    /// The platform does not know the room.
    #[error("the room is unknown")]
    RoomUnknown,
    /// This agent may not serve this room: gone, not in its inbox, or refused for a reason not told.
    #[error("the agent may not serve the room")]
    Agent,
    /// The request itself is wrong; status as given.
    #[error("status {0}")]
    Other(u16),
}

/// Why an outcome is unknown. Never carries a body, a header or a URL: those may hold secrets.
#[derive(Debug, thiserror::Error)]
pub enum UnknownOutcome {
    /// No answer in time.
    #[error("no answer in time")]
    Timeout,
    /// The connection failed.
    #[error("connection failed")]
    Connection,
    /// An answer of a class that tells nothing (any 5xx on a write).
    #[error("status {0}")]
    Status(u16),
    /// A success whose body does not say what it should.
    #[error("answer not understood")]
    Body,
    /// The answer is larger than the cap.
    #[error("answer larger than {0} bytes")]
    TooLarge(usize),
}
