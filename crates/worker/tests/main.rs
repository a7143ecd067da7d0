//! Workers over real HTTP against the simulated platform, on the in-memory ledger.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod crowd;
mod desk;
mod faults;
mod flow;
mod loads;
mod pauses;
mod proposals;
mod roster;
mod strays;
mod twice;
mod uncertain;
mod wrapped;
