//! What the roster cache and the doorbell promise, held against the in-process ones and real Redis servers.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod cache;
mod desk;
mod redis_wakes;
mod wakes;
