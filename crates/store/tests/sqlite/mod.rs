//! The ledger in a file: its statements, its schema, and what happens to the file.

mod faults;
mod records;
mod schema;
mod sql;

use std::path::Path;

use sebastian_core::{AccountId, Timing};
use sebastian_store::{SqliteStore, Store};

/// A store on a migrated file on the real clock.
async fn store_at(file: &Path) -> (SqliteStore, AccountId) {
    let store = SqliteStore::open(file, Timing::default()).unwrap();
    store.migrate().await.unwrap();
    let account = store.open_account("qiscus", "test").await.unwrap();
    (store, account)
}
