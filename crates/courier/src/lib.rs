//! The courier: brings events to whoever subscribed to them.
//!
//! Letters stand in the ledger's outbox, written with what they tell of. The courier claims those that are due, sends
//! them signed as the Standard Webhooks specification says, and settles each claim. It shares nothing with the worker
//! but the ledger, so a receiver that hangs holds up no assignment. Delivery is at least once: a courier that dies
//! between sending and settling leaves a claim that runs out, and the letter goes out again under the same id.
//!
//! [`Guard`] decides which addresses may be called at all.

mod courier;
mod guard;
pub mod metrics;
mod payload;
mod queue;
mod sender;
mod signature;
mod watch;

pub use courier::{Courier, CourierError, CourierSettings};
pub use guard::{Guard, Refused};
pub use queue::Queue;
