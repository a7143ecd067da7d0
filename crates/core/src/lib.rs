//! The product's mind: what a conversation is, who may be given one, and which agent gets it.
//!
//! Pure code. Nothing here performs I/O, reads a clock or draws a random number: times and seeds come in as
//! values, so every rule can be tested by example, by property and by replay, and a stored decision
//! decides the same way again.

pub mod adopt;
pub mod conversation;
pub mod decide;
pub mod event;
pub mod explain;
pub mod ids;
pub mod invariants;
pub mod load;
pub mod policy;
pub mod rooms;
pub mod roster;
pub mod rotation;
mod seat;
pub mod settle;
pub mod time;

pub use adopt::{Adopted, Listing};
pub use conversation::{Closed, Conversation, Origin, Park, ParkReason, State};
pub use decide::{Answers, Decision, Head, Outcome, Rejection, Rejections, Snapshot, decide};
pub use event::{Event, EventKind, LatestService, NewEvent, Source};
pub use explain::{Candidate, Case, Explanation, NoRoster};
pub use ids::{
    AccountId, AgentId, ConversationId, IdError, InboxId, QueueId, RoomId, Seq, ServiceId, TeamId,
};
pub use load::AgentLoad;
pub use policy::{Policy, Strategy, Timing};
pub use rooms::{AgentChange, Changes, Rooms};
pub use roster::{Agent, Presence, Role, Roster};
pub use rotation::Rotation;
pub use settle::{Seen, Settled, Settlement, Verdict};
pub use time::Timestamp;
