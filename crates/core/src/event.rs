//! What a platform told us, as stored: one row per webhook, in order of acceptance.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{InboxId, Priority, RoomId, Seq, ServiceId, Status, TeamId, Timestamp, conversation::Label};

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
        /// What else the event tells of where the conversation comes from.
        hints: Hints,
    },
    /// The room's session was resolved.
    Resolve {
        /// Which session. Without it the resolve is taken to mean the open one.
        service: Option<ServiceId>,
    },
    /// Somebody changed what the room's open conversation carries.
    Update(Update),
}

/// What routes go by, beside the inbox.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hints {
    /// The kind of channel (`wa`, `fb`).
    pub source: Option<String>,
    /// Tags, which become labels.
    pub tags: BTreeSet<Label>,
}

/// A change of what a conversation carries. `None` leaves a thing as it is; of a `Some(None)` nothing is left.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Update {
    /// All of its labels from now on.
    pub labels: Option<BTreeSet<Label>>,
    /// How pressing it is.
    #[serde(with = "cleared", skip_serializing_if = "Option::is_none")]
    pub priority: Option<Option<Priority>>,
    /// Which team serves it. An agent who is not in it gives it back.
    #[serde(with = "cleared", skip_serializing_if = "Option::is_none")]
    pub team: Option<Option<TeamId>>,
    /// Which language it is in.
    #[serde(with = "cleared", skip_serializing_if = "Option::is_none")]
    pub language: Option<Option<String>>,
    /// Whether it is being worked on.
    pub status: Option<Status>,
    /// When a snoozed one is taken up again.
    pub snoozed_until: Option<Timestamp>,
    /// Its agent gives it back. Nothing while the platform is still being told of one.
    pub unassign: bool,
    /// It is tried again at once: what it sat out for, and whom the platform refused for it, is forgotten.
    pub retry: bool,
}

/// Tells an absent field from one that is null.
mod cleared {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<T: Serialize, S: Serializer>(
        value: &Option<Option<T>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.as_ref().and_then(Option::as_ref).serialize(serializer)
    }

    pub fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Option<T>>, D::Error> {
        Option::deserialize(deserializer).map(Some)
    }
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
    /// An operator, by the API.
    Operator,
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
