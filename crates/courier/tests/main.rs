//! Couriers over real HTTP, on the ledger in memory.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod delivering;
mod desk;
mod failing;
mod queue;
mod receiver;
mod watching;
