//! What can happen to the file: each gets the error that says what to do, and nothing that was answered is lost.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use rusqlite::Connection;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sebastian_core::{AccountId, Decision, Roster, Snapshot, Timestamp, Timing};
use sebastian_store::{Decide, Decided, SqliteStore, Store, StoreError};
use sebastian_testkit::Child;

use super::store_at;
use crate::{SOON, desk::*};

/// Names the file of the ledger to a test that another started.
const FILE: &str = "SEBASTIAN_TEST_FILE";

/// Runs an ignored test of this module, over `file`, as a process of its own; a file that grows too large is an error
/// there instead of the end.
fn elsewhere(test: &str, file: &Path) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", r#"trap "" XFSZ; exec "$0" "$@""#])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &format!("sqlite::faults::{test}"), "--ignored", "--nocapture"])
        .env(FILE, file);
    command
}

fn file_to_use() -> PathBuf {
    std::env::var_os(FILE).unwrap().into()
}

async fn unfolded(store: &SqliteStore, account: AccountId) -> usize {
    usize::try_from(store.counts(account).await.unwrap().unfolded).unwrap()
}

fn is_damaged<T>(answer: &Result<T, StoreError>) -> bool {
    matches!(answer, Err(StoreError::Broken(what, Some(_))) if what.contains("damaged: restore a backup"))
}

async fn decide_by(
    store: &SqliteStore,
    account: AccountId,
    rule: impl Fn(&Snapshot, Timestamp) -> Vec<Decision> + Send + Sync,
) -> Result<Decided, StoreError> {
    let crew = Crew::of(1);
    let roster = Arc::new(Roster::new(1, store.now().await?, crew.agents));
    let request =
        Decide { account, roster, answers: Arc::default(), policy: &crew.policy, limit: 1, record: true };
    store.decide(&request, &rule).await
}

#[tokio::test]
async fn a_writer_that_is_killed_loses_nothing_it_answered() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ledger.db");
    let writer = Child::spawn(&mut elsewhere("accepts_until_it_is_killed", &file));
    writer.line("fifty events", SOON, |line| line.contains("accepted 50").then_some(())).await;
    writer.kill9();
    writer.wait(SOON).await;
    let answered = writer.output().matches("accepted").count();

    let (store, account) = store_at(&file).await;

    let found = unfolded(&store, account).await;
    assert!(found == answered || found == answered + 1, "{found} of {answered}");
    let whole = Connection::open(&file).unwrap();
    let whole: String = whole.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(whole, "ok");
    store.accept(account, &[allocate(&room(0))]).await.unwrap();
}

#[tokio::test]
#[ignore = "run by a_writer_that_is_killed_loses_nothing_it_answered"]
async fn accepts_until_it_is_killed() {
    let (store, account) = store_at(&file_to_use()).await;
    for n in 1.. {
        store.accept(account, &[allocate(&room(n))]).await.unwrap();
        println!("accepted {n}");
    }
}

#[tokio::test]
async fn a_disk_that_is_full_is_an_outage_and_the_same_store_goes_on_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ledger.db");
    let writer = Child::spawn(&mut elsewhere("accepts_until_the_disk_is_full", &file));

    let ended = writer.wait(SOON).await;

    assert!(ended.success(), "{}", writer.output());
    assert!(writer.output().contains("1 passed"), "{}", writer.output());
}

#[tokio::test]
#[ignore = "run by a_disk_that_is_full_is_an_outage_and_the_same_store_goes_on_afterwards"]
async fn accepts_until_the_disk_is_full() {
    let (store, account) = store_at(&file_to_use()).await;
    let room_again = getrlimit(Resource::Fsize);
    setrlimit(Resource::Fsize, Rlimit { current: Some(1 << 20), ..room_again }).unwrap();
    let mut answered = 0;
    let refused = loop {
        match store.accept(account, &[allocate(&room(answered))]).await {
            Ok(()) => answered += 1,
            Err(refused) => break refused,
        }
    };
    assert!(matches!(refused, StoreError::Unavailable(_)), "{refused:?} after {answered}");
    assert_eq!(unfolded(&store, account).await, answered, "readers go on");
    assert!(answered > 0 && decide_by(&store, account, |_, _| Vec::new()).await.is_err());

    setrlimit(Resource::Fsize, room_again).unwrap();

    store.accept(account, &[allocate(&room(answered))]).await.unwrap();
    assert_eq!(unfolded(&store, account).await, answered + 1);
    let decided = decide_by(&store, account, |_, _| Vec::new()).await.unwrap();
    assert_eq!(usize::try_from(decided.folded).unwrap(), answered + 1);
}

#[tokio::test]
async fn a_file_that_is_no_ledger_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ledger.db");
    fs::write(&file, "a letter to the editor, longer than the head of a page".repeat(100)).unwrap();

    let opened = SqliteStore::open(&file, Timing::default()).map(drop);

    assert!(is_damaged(&opened), "{opened:?}");
}

#[tokio::test]
async fn a_page_that_does_not_read_is_damage_and_no_outage() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ledger.db");
    let (store, account) = store_at(&file).await;
    store.accept(account, &[allocate(&room(1))]).await.unwrap();
    drop(store);
    let page = "SELECT rootpage FROM sqlite_schema WHERE name = 'events'";
    let page = Connection::open(&file).unwrap().query_row(page, [], |row| row.get::<_, u32>(0)).unwrap();
    let page = usize::try_from(page).unwrap();
    let mut pages = fs::read(&file).unwrap();
    pages[4_096 * (page - 1)..4_096 * page].fill(0x5a);
    fs::write(&file, pages).unwrap();
    let store = SqliteStore::open(&file, Timing::default()).unwrap();

    let accepted = store.accept(account, &[allocate(&room(2))]).await;
    let decided = decide_by(&store, account, |_, _| Vec::new()).await;

    assert!(is_damaged(&accepted) && is_damaged(&decided), "{accepted:?} {decided:?}");
    assert!(store.ping().await.is_ok(), "the rest of it reads");
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gone").join("ledger.db");

    let opened = SqliteStore::open(&file, Timing::default()).map(drop);

    let named = matches!(&opened, Err(StoreError::Broken(what, _)) if what.contains(file.to_str().unwrap()));
    assert!(named, "{opened:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_another_process_writes_is_contended_in_time_and_read_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ledger.db");
    let (store, account) = store_at(&file).await;
    store.accept(account, &[allocate(&room(1))]).await.unwrap();
    let other = Connection::open(&file).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let began = Instant::now();

    assert_eq!(unfolded(&store, account).await, 1);
    let beside = began.elapsed();
    let accepted = store.accept(account, &[allocate(&room(2))]).await;

    assert!(beside < Duration::from_secs(1), "{beside:?}");
    assert!(matches!(accepted, Err(StoreError::Contended(_))), "{accepted:?}");
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    other.execute_batch("ROLLBACK").unwrap();
    store.accept(account, &[allocate(&room(2))]).await.unwrap();
    assert_eq!(unfolded(&store, account).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_that_panics_leaves_no_trace_and_nobody_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let (store, account) = store_at(&folder.path().join("ledger.db")).await;
    store.accept(account, &[allocate(&room(1))]).await.unwrap();

    let panicking = tokio::spawn({
        let store = store.clone();
        async move { decide_by(&store, account, |_, _| panic!("a rule with a mistake")).await }
    });

    assert!(panicking.await.unwrap_err().is_panic());
    assert_eq!(unfolded(&store, account).await, 1);
    assert_eq!(decide_by(&store, account, |_, _| Vec::new()).await.unwrap().folded, 1);
}

#[tokio::test]
async fn an_account_that_is_not_there_is_no_outage() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = store_at(&folder.path().join("ledger.db")).await;

    let decided = decide_by(&store, AccountId(999), |_, _| Vec::new()).await;

    assert!(matches!(decided, Err(StoreError::Broken(..))), "{decided:?}");
}
