//! The roster cache and the doorbell: what makes several workers one, and what wakes them.
//!
//! Neither holds truth. A cache that is empty, stale or gone sends the worker back to the platform; a wake-up
//! that is lost, doubled or late is caught by the sweep.

mod backend;
mod health;
mod in_process;
mod pending;
mod port;
mod redis_cache;
mod redis_doorbell;
mod redis_memory;
mod redis_reader;
mod redis_server;
mod saved;

pub use backend::{Handler, OneRunPerAccount, WakeUps, WakeUpsConfig};
pub use health::WakeHealth;
pub use in_process::InProcessRosterCache;
pub use pending::LocalBell;
pub use port::{CacheError, Doorbell, DoorbellError, RosterCache, WakeReason, WakeUp};
pub use redis_cache::RedisRosterCache;
pub use redis_doorbell::RedisDoorbell;
pub use redis_memory::MemoryRule;
pub use redis_server::{RedisServer, RedisUrlError};
pub use saved::SavedRosterCache;
