//! The product's mind: what a conversation is, who may be given one, and which agent gets it.
//!
//! Pure code. Nothing here performs I/O, reads a clock or draws a random number: times and seeds come in as
//! values, so every rule can be tested by example, by property and by replay, and a stored decision
//! decides the same way again.

pub mod conversation;
pub mod event;
pub mod ids;
pub mod roster;
pub mod time;

pub use conversation::{Closed, Conversation, Origin, Park, ParkReason, State};
pub use event::{Event, EventKind, LatestService, NewEvent, Source};
pub use ids::{
    AccountId, AgentId, ConversationId, IdError, InboxId, QueueId, RoomId, Seq, ServiceId, TeamId,
};
pub use roster::{Agent, Presence, Role, Roster};
pub use time::Timestamp;
