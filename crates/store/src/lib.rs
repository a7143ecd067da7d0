//! The ledger: what was accepted, in which order, and what became of it.
//!
//! [`Store`] is the port. [`postgres`] is the ledger of a running desk, [`memory`] the reference model that tests
//! and the demo use; one conformance suite runs on both. The rules themselves live in the core: a store loads
//! rows, calls them under the account's lock, and writes what changed.

pub mod memory;
mod port;
pub mod postgres;

pub use memory::MemoryStore;
pub use port::{
    Attempt, Counts, Decide, DecideRule, Decided, Listed, Page, Pause, PauseReason, Reservation, Selection,
    Store, StoreError, Suspect,
};
pub use postgres::PostgresStore;
