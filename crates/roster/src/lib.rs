//! The roster cache and the doorbell: what makes several workers one, and what wakes them.
//!
//! Neither holds truth. A cache that is empty, stale or gone sends the worker back to the platform; a wake-up
//! that is lost, doubled or late is caught by the sweep.

mod port;

pub use port::{CacheError, Doorbell, DoorbellError, RosterCache, WakeReason, WakeUp};
