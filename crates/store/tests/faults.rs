//! PostgreSQL and the way to it fail: calls end in time, say so rightly, and the same store goes on afterwards.

use std::{
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use sebastian_core::{AccountId, Decision, Roster, Timing};
use sebastian_store::{Decide, PostgresStore, Store, StoreError};
use sebastian_testkit::{ChaosProxy, Database, Durability, Fault, Postgres, eventually};
use tokio::time::timeout;
use tokio_postgres::Client;

use crate::{SOON, desk::*};

/// A store on a migrated database on the real clock.
async fn store_at(url: &str, pool_size: usize) -> (PostgresStore, AccountId) {
    let store = PostgresStore::new(url, pool_size, Timing::default()).unwrap();
    store.migrate().await.unwrap();
    let account = store.open_account("qiscus", "test").await.unwrap();
    (store, account)
}

async fn decide(store: &PostgresStore, account: AccountId) -> Result<u32, StoreError> {
    decide_by(store, account, &|| ()).await
}

/// Decides over whoever waits, with a pause for thought that the test controls.
async fn decide_by(
    store: &PostgresStore,
    account: AccountId,
    think: &(dyn Fn() + Send + Sync),
) -> Result<u32, StoreError> {
    let crew = Crew::of(1);
    let roster = Arc::new(Roster::new(1, store.now().await?, crew.agents));
    let request =
        Decide { account, roster, answers: Arc::default(), policy: &crew.policy, limit: 1, record: true };
    let rule = |_: &_, _| -> Vec<Decision> {
        think();
        Vec::new()
    };
    Ok(store.decide(&request, &rule).await?.folded)
}

fn is_unavailable<T>(answer: &Result<T, StoreError>) -> bool {
    matches!(answer, Err(StoreError::Unavailable(_)))
}

fn is_contended<T>(answer: &Result<T, StoreError>) -> bool {
    matches!(answer, Err(StoreError::Contended(_)))
}

/// Holds what `sql` locks until the transaction ends.
async fn hold(client: &Client, sql: &str) {
    client.batch_execute(&format!("BEGIN; {sql}")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn migrators_at_once_all_finish_and_one_did_it() {
    let database = Database::create().await;
    let mut migrators = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let store = PostgresStore::new(&database.url(), 1, Timing::default()).unwrap();
        migrators.spawn(async move {
            let migrated = store.migrate().await.unwrap();
            store.check_schema().await.unwrap();
            migrated.applied.len()
        });
    }

    let applied = migrators.join_all().await;

    assert_eq!(applied.iter().filter(|applied| **applied > 0).count(), 1, "{applied:?}");
}

#[tokio::test]
async fn a_schema_that_is_behind_is_named() {
    let database = Database::create().await;
    let store = PostgresStore::new(&database.url(), 1, Timing::default()).unwrap();

    let before = store.check_schema().await;
    let migrated = store.migrate().await.unwrap();

    let needed = migrated.version;
    assert!(matches!(before, Err(StoreError::Schema { found: 0, needed: n }) if n == needed), "{before:?}");
    store.check_schema().await.unwrap();
}

#[tokio::test]
async fn a_schema_of_a_newer_program_is_left_alone() {
    let database = Database::create().await;
    let (store, _) = store_at(&database.url(), 1).await;
    let newer = "INSERT INTO refinery_schema_history VALUES (999, 'newer', '2030-01-01T00:00:00Z', '1')";
    connect(&database.url()).await.batch_execute(newer).await.unwrap();

    let migrated = store.migrate().await.unwrap();

    assert!(migrated.applied.is_empty());
    store.check_schema().await.unwrap();
}

#[tokio::test]
async fn a_migration_given_up_lets_the_next_one_in() {
    let database = Database::create().await;
    let admin = connect(&database.url()).await;
    hold(&admin, "SELECT pg_advisory_lock(1589270298)").await;
    let store = PostgresStore::new(&database.url(), 1, Timing::default()).unwrap();
    let waiting = timeout(Duration::from_millis(100), store.migrate()).await;
    assert!(waiting.is_err(), "somebody else is migrating: {waiting:?}");

    admin.batch_execute("COMMIT; SELECT pg_advisory_unlock_all()").await.unwrap();

    timeout(SOON, store.migrate()).await.expect("the lock is free").unwrap();
}

#[tokio::test]
async fn the_same_store_goes_on_when_its_server_is_back() {
    let postgres = Postgres::private(Durability::Fsync).await;
    let database = Database::create_at(&postgres.url()).await;
    let (store, account) = store_at(&database.url(), 4).await;
    store.accept(account, &[allocate(&room(1))]).await.unwrap();

    postgres.kill9();
    let refused =
        [store.accept(account, &[allocate(&room(2))]).await, decide(&store, account).await.map(drop)];
    postgres.start().await;

    assert!(refused.iter().all(is_unavailable), "{refused:?}");
    let again = async || store.accept(account, &[allocate(&room(3))]).await;
    eventually("events are accepted again", SOON, again).await;
    assert!(decide(&store, account).await.unwrap() >= 2);
    for n in [1, 3] {
        assert!(store.latest_in(account, &room(n)).await.unwrap().is_some(), "accepted means durable");
    }
}

/// A server process that is stopped until this is dropped.
struct Stopped(Pid);

impl Stopped {
    /// The one that serves the store's connection; its pool has no other.
    async fn serving(database: &Database) -> Self {
        let admin = connect(&database.url()).await;
        let pid = "SELECT pid FROM pg_stat_activity WHERE application_name = 'sebastian' AND datname = current_database()";
        let pid: i32 = admin.query_one(pid, &[]).await.unwrap().get(0);
        let pid = Pid::from_raw(pid).unwrap();
        kill_process(pid, Signal::STOP).unwrap();
        Self(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        kill_process(self.0, Signal::CONT).ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_server_costs_a_call_no_more_than_its_limit() {
    let database = Database::create().await;
    let (store, account) = store_at(&database.url(), 1).await;
    let stopped = Stopped::serving(&database).await;
    let began = Instant::now();

    let call = async {
        let answer = decide(&store, account).await;
        (answer, began.elapsed())
    };
    let behind = async {
        let answer = store.ping().await;
        (answer, began.elapsed())
    };
    let ((answer, took), (no_connection, waited)) = tokio::join!(call, behind);
    drop(stopped);

    assert!(is_unavailable(&answer) && took < Duration::from_secs(10), "{answer:?} after {took:?}");
    assert!(
        is_unavailable(&no_connection) && waited < Duration::from_secs(5),
        "{no_connection:?} after {waited:?}"
    );
    eventually("the store goes on", SOON, async || store.ping().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_black_hole_on_the_way_costs_a_call_no_more_than_its_limit() {
    let database = Database::create().await;
    let proxy = ChaosProxy::start(database.address()).await;
    let (store, account) = store_at(&database.url_via(proxy.address()), 2).await;
    proxy.set(Fault::BlackHole).await;
    let (events, began) = ([allocate(&room(1))], Instant::now());

    let answers = tokio::join!(store.accept(account, &events), decide(&store, account));
    let took = began.elapsed();
    proxy.set(Fault::Pass).await;

    assert!(is_unavailable(&answers.0) && is_unavailable(&answers.1), "{answers:?}");
    assert!(took < Duration::from_secs(20), "two calls, one after the other: {took:?}");
    eventually("the store goes on", SOON, async || decide(&store, account).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_account_is_contended_in_time_and_stops_neither_events_nor_answers() {
    let database = Database::create().await;
    let (store, account) = store_at(&database.url(), 4).await;
    let admin = connect(&database.url()).await;
    hold(&admin, &format!("SELECT FROM accounts WHERE id = {account} FOR UPDATE")).await;
    let began = Instant::now();

    store.accept(account, &[allocate(&room(1))]).await.unwrap();
    store.confirm(account, &[]).await.unwrap();
    let beside = began.elapsed();
    let decided = decide(&store, account).await;

    assert!(beside < Duration::from_secs(1), "{beside:?}");
    assert!(is_contended(&decided) && began.elapsed() < Duration::from_secs(4), "{decided:?}");
    admin.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(decide(&store, account).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_decider_that_froze_lets_go_of_the_account() {
    let database = Database::create().await;
    let (store, account) = store_at(&database.url(), 4).await;
    store.accept(account, &[allocate(&room(1))]).await.unwrap();
    let ((entered, is_in), (wake, sleep)) = (mpsc::channel(), mpsc::channel::<()>());
    let frozen = tokio::spawn({
        let (store, sleep) = (store.clone(), std::sync::Mutex::new(sleep));
        async move {
            let think = move || {
                entered.send(()).unwrap();
                tokio::task::block_in_place(|| sleep.lock().unwrap().recv().ok());
            };
            decide_by(&store, account, &think).await
        }
    });
    tokio::task::spawn_blocking(move || is_in.recv_timeout(SOON).unwrap()).await.unwrap();
    let began = Instant::now();

    let other = decide(&store, account).await;
    let waited = began.elapsed();
    wake.send(()).unwrap();

    assert_eq!(other.unwrap(), 1, "nothing of the frozen one stayed");
    assert!(waited < Duration::from_secs(2), "{waited:?}");
    let woken = frozen.await.unwrap();
    assert!(is_unavailable(&woken), "{woken:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accept_whose_reply_was_lost_is_safe_to_repeat() {
    let database = Database::create().await;
    let proxy = ChaosProxy::start(database.address()).await;
    let (store, account) = store_at(&database.url_via(proxy.address()), 1).await;
    store.accept(account, &[allocate(&room(1))]).await.unwrap();

    proxy.set(Fault::CutReplyAfter(0)).await;
    let unheard = store.accept(account, &[allocate(&room(2))]).await;
    proxy.set(Fault::Pass).await;
    let again = async || store.accept(account, &[allocate(&room(2))]).await;
    eventually("the repeat is accepted", SOON, again).await;

    assert!(is_unavailable(&unheard), "{unheard:?}");
    assert!(decide(&store, account).await.unwrap() >= 2);
    assert_eq!(store.counts(account).await.unwrap().waiting, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accept_given_up_is_done_whole() {
    let database = Database::create().await;
    let (store, account) = store_at(&database.url(), 1).await;
    store.accept(account, &[allocate(&room(1))]).await.unwrap();
    let admin = connect(&database.url()).await;
    hold(&admin, &format!("SELECT pg_advisory_xact_lock(1, {account})")).await;

    let events = [allocate(&room(2)), allocate(&room(3))];
    let given_up = timeout(Duration::from_millis(100), store.accept(account, &events)).await;
    admin.batch_execute("COMMIT").await.unwrap();

    assert!(given_up.is_err());
    eventually("both are in", SOON, async || store.counts(account).await.unwrap().unfolded == 3).await;
    store.accept(account, &[allocate(&room(4))]).await.unwrap();
    assert_eq!(decide(&store, account).await.unwrap(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_given_up_leaves_no_trace() {
    let database = Database::create().await;
    let (store, account) = store_at(&database.url(), 1).await;
    store.accept(account, &[allocate(&room(1))]).await.unwrap();
    let admin = connect(&database.url()).await;
    hold(&admin, &format!("SELECT FROM accounts WHERE id = {account} FOR UPDATE")).await;

    let given_up = timeout(Duration::from_millis(100), decide(&store, account)).await;
    admin.batch_execute("COMMIT").await.unwrap();

    assert!(given_up.is_err());
    assert_eq!(decide(&store, account).await.unwrap(), 1);
}

#[tokio::test]
async fn an_account_that_is_not_there_is_no_outage() {
    let database = Database::create().await;
    let (store, _) = store_at(&database.url(), 1).await;

    let answer = decide(&store, AccountId(999)).await;

    assert!(matches!(answer, Err(StoreError::Broken(..))), "{answer:?}");
}
