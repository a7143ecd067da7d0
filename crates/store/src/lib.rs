//! The ledger: what was accepted, in which order, and what became of it.
//!
//! [`Store`] is the port. [`postgres`] is the ledger of a desk served by several processes, [`sqlite`] of one process
//! without servers, [`memory`] the reference model; one conformance suite runs on all. The
//! rules themselves live in the core: a store loads rows, calls them under the account's lock, and writes what changed.

pub mod backup;
pub mod crash;
mod known;
pub mod memory;
pub mod moving;
pub mod outbox;
mod port;
pub mod postgres;
mod round;
mod schema;
pub mod sqlite;
mod stored;
mod words;

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
pub use schema::{Migrated, SchemaVersion};
pub use sqlite::SqliteStore;
