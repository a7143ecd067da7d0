//! The product's mind: what a conversation is, who may be given one, and which agent gets it.
//!
//! Pure code. Nothing here performs I/O, reads a clock or draws a random number: times and seeds come in as
//! values, so every rule can be tested by example, by property and by replay, and a stored decision
//! decides the same way again.

pub mod adopt;
mod beside;
mod candidates;
mod chain;
pub mod conversation;
pub mod decide;
pub mod event;
pub mod explain;
mod fold;
pub mod ids;
pub mod invariants;
pub mod load;
pub mod notice;
pub mod order;
pub mod policy;
pub mod rooms;
pub mod roster;
pub mod rotation;
pub mod routes;
pub mod rulebook;
pub mod settle;
pub mod time;
mod update;
pub mod window;

pub use adopt::{Adopted, Listing};
pub use chain::chain;
pub use conversation::{
    Closed, Conversation, Label, Origin, Park, ParkReason, Priority, State, Status, Traits, Turn,
};
pub use decide::{
    Answers, Decision, Head, Outcome, QueueKey, Rate, Rejection, Rejections, Snapshot, Standpoint, Verdicts,
    decide,
};
pub use event::{Event, EventKind, Hints, LatestService, NewEvent, Source, Update};
pub use explain::{
    Candidate, Case, Dealt, Excluded, Explanation, Governed, Held, Key, Lately, Named, NoRoster, Past,
};
pub use ids::{
    AccountId, AgentId, CapacityPolicyId, ConversationId, IdError, InboxId, InboxLimitId, LeaveId, PolicyId,
    QueueId, RoomId, Seq, ServiceId, TeamId,
};
pub use load::AgentLoad;
pub use notice::{Attendance, Notice, NoticeKind};
pub use policy::{
    AbsenceRule, FairDistribution, Order, Policy, Preset, ReassignOffline, SlotRule, Strategy, Timing,
};
pub use rooms::{AgentChange, Changes, Rooms};
pub use roster::{Agent, Presence, Role, Roster};
pub use rotation::Rotation;
pub use rulebook::{Exclusion, Hold, QueueRules, Rulebook};
pub use settle::{Seen, Settled, Settlement, Verdict};
pub use time::Timestamp;
pub use update::Astray;
pub use window::RateWindow;
