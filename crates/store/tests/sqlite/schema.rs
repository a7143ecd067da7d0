//! The schema of the file comes up to date at every start, and is never taken back.

use rusqlite::Connection;
use sebastian_core::Timing;
use sebastian_store::{SqliteStore, Store, StoreError};

use super::store_at;
use crate::desk::*;

#[tokio::test]
async fn a_schema_that_is_behind_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("ledger.db"), Timing::default()).unwrap();

    let before = store.check_schema().await;
    let migrated = store.migrate().await.unwrap();

    let needed = migrated.version;
    assert!(matches!(before, Err(StoreError::Schema { found: 0, needed: n }) if n == needed), "{before:?}");
    assert_eq!(store.check_schema().await.unwrap().found, needed);
}

#[tokio::test]
async fn a_file_opened_again_has_everything_and_nothing_to_migrate() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ledger.db");
    let (store, account) = store_at(&file).await;
    store.accept(account, &[allocate(&room(1))]).await.unwrap();
    drop(store);

    let store = SqliteStore::open(&file, Timing::default()).unwrap();

    assert!(store.migrate().await.unwrap().applied.is_empty());
    assert_eq!(store.open_account("qiscus", "test").await.unwrap(), account);
    assert_eq!(store.counts(account).await.unwrap().unfolded, 1);
}

#[tokio::test]
async fn a_schema_of_a_newer_program_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ledger.db");
    let (store, _) = store_at(&file).await;
    let newer = "INSERT INTO refinery_schema_history VALUES (999, 'newer', '2030-01-01T00:00:00Z', '1')";
    Connection::open(&file).unwrap().execute_batch(newer).unwrap();

    let migrated = store.migrate().await.unwrap();

    assert!(migrated.applied.is_empty());
    assert_eq!(store.check_schema().await.unwrap().found, 999);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn migrators_at_once_all_finish_and_one_did_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut migrators = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let file = folder.path().join("ledger.db");
        migrators.spawn(async move {
            let store = SqliteStore::open(&file, Timing::default()).unwrap();
            let migrated = store.migrate().await.unwrap();
            store.check_schema().await.unwrap();
            migrated.applied.len()
        });
    }

    let applied = migrators.join_all().await;

    assert_eq!(applied.iter().filter(|applied| **applied > 0).count(), 1, "{applied:?}");
}
