//! Real servers, real processes and a bad network, for tests only.
//!
//! Every server is private to its test (Redis, a crash-test PostgreSQL) or holds a private database
//! (the shared PostgreSQL), listens on 127.0.0.1 and dies with the test process, even when that is killed.
//! This is a test library: what cannot be set up panics, with the server's own last words.

mod chaos;
mod database;
mod eventually;
pub mod hostile;
mod postgres;
mod process;
mod redis;
mod run;
mod running;
#[cfg(feature = "world")]
pub mod world;

pub use chaos::{ChaosProxy, Fault};
pub use database::Database;
pub use eventually::{Observation, eventually};
pub use postgres::{Durability, Postgres};
pub use process::{Child, binary, raise_open_files};
pub use redis::Redis;

/// Names an admin database's URL: [`Database::create`] uses that server instead of starting one.
///
/// `cargo xtask test` sets it, so that a whole run shares one cluster.
pub const POSTGRES_ENV: &str = "SEBASTIAN_TEST_POSTGRES";

/// Whether the programs of PostgreSQL (`initdb`, `postgres`) are on this machine.
pub fn has_postgres() -> bool {
    postgres::binaries().is_ok()
}

/// Whether `redis-server` is on this machine.
pub fn has_redis() -> bool {
    run::program("redis-server").is_some()
}

/// The library `libfaketime`, to be named in `LD_PRELOAD` of a process whose clock is to be wrong. `None`: not installed.
pub fn faketime() -> Option<std::path::PathBuf> {
    run::faketime()
}
