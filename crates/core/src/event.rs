//! What a platform told us, as stored: one row per webhook, in order of acceptance.

use serde::{Deserialize, Serialize};

use crate::{InboxId, RoomId, Seq, ServiceId, Timestamp};

/// What happened in a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum EventKind {
    /// A customer wrote and no agent serves the room.
    Allocate {
        /// The inbox the room belongs to, when the event names it.
        inbox: Option<InboxId>,
        /// The session the event calls the latest, and whether it is resolved. For a returning customer
        /// this is the session *before* the one that now opens.
        latest_service: Option<LatestService>,
    },
    /// The room's session was resolved.
    Resolve {
        /// Which session. Without it the resolve is taken to mean the open one.
        service: Option<ServiceId>,
    },
}

/// The last session a room had, as an allocation event names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatestService {
    /// Which session.
    pub id: ServiceId,
    /// Whether it was over when the event was sent.
    pub resolved: bool,
}

/// Who noticed: a webhook, or ourselves comparing with the platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The platform called us.
    Webhook,
    /// The reconciler found a room whose webhook never came.
    Reconcile,
}

/// An event on its way into the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// Where it happened.
    pub room: RoomId,
    /// What happened.
    pub kind: EventKind,
    /// Who noticed.
    pub source: Source,
}

/// An event in the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its place in the account's order of acceptance.
    pub seq: Seq,
    /// When it was accepted, by the ledger's clock.
    pub received_at: Timestamp,
    /// Where it happened.
    pub room: RoomId,
    /// What happened.
    pub kind: EventKind,
    /// Who noticed.
    pub source: Source,
}
