//! What every ledger promises, tried on the one in memory, on a real PostgreSQL and on a file alike.
//!
//! The ledger's clock stands still until a test moves it, in PostgreSQL too: see [`desk`].

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod backup;
mod desk;
mod faults;
mod model;
mod moving;
mod promises;
mod records;
mod sql;
mod sqlite;
mod tls;
mod upgrade;

use std::time::Duration;

/// For anything a busy machine may take its time over; only failures wait this long.
const SOON: Duration = Duration::from_secs(20);
