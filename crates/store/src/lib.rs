//! The ledger: what was accepted, in which order, and what became of it.
//!
//! [`Store`] is the port. [`postgres`] is the ledger of a running desk, [`memory`] the reference model that tests
//! and the demo use; one conformance suite runs on both. The rules themselves live in the core: a store loads
//! rows, calls them under the account's lock, and writes what changed.

pub mod crash;
pub mod memory;
pub mod outbox;
mod port;
pub mod postgres;
mod round;

pub use memory::MemoryStore;
pub use outbox::{
    Claim, Claimed, DeadLetter, DisabledReason, Fate, Letter, NewSubscription, Outbox, Subscription,
    SubscriptionChange, SubscriptionId, WaitingQueue,
};
pub use port::{
    AUDIT_KEPT, Amendment, Attempt, AuditEntry, Audited, Counts, Decide, DecideRule, Decided, Facts, Keep,
    Listed, Page, Pause, PauseReason, Recorded, Reservation, Selection, Store, StoreError, Suspect,
};
pub use postgres::PostgresStore;
