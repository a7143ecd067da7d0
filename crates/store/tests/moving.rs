//! A ledger that grows out of its file: what is in PostgreSQL afterwards answers and goes on as the file would have.

use std::{collections::BTreeSet, path::Path, sync::Mutex, time::Duration};

use rand::{SeedableRng, rngs::StdRng};
use sebastian_core::{NoticeKind, Outcome, Timing, decide};
use sebastian_store::{
    Fate, Keep, NewSubscription, PostgresStore, Selection, Store, StoreError, SubscriptionChange,
    moving::{self, MoveError, Moved, Progress, Step, move_ledger},
};
use sebastian_testkit::{Database, eventually};
use secrecy::ExposeSecret;

use crate::{
    SOON,
    desk::*,
    model::{Caller, a_call},
};

/// Accounts of the ledger that is moved, each with a history of its own.
const ACCOUNTS: u64 = 6;

/// Calls before the move, and after it.
const CALLS: usize = 80;

const ALL: [Selection; 7] = [
    Selection::Unresolved,
    Selection::Waiting,
    Selection::Parked,
    Selection::Reserved,
    Selection::Closing,
    Selection::Assigned,
    Selection::Resolved,
];

async fn moved(from: &Path, database: &TimedDatabase) -> Result<Moved, MoveError> {
    move_ledger(from, &database.store(1), &|_| ()).await
}

async fn subscribe(desk: &Desk) {
    let url = "https://desk.example/hook?a=\"b\"&c=ü".to_owned();
    let wanted = NewSubscription { url, events: NoticeKind::ALL.into(), secret: "whsec_c2VjcmV0".into() };
    let made = desk.outbox.subscribe(desk.account, wanted).await.unwrap().unwrap();
    let secret = Some(("whsec_b3RoZXI".into(), SECOND * 60));
    let rotated = SubscriptionChange { secret, ..SubscriptionChange::default() };
    desk.outbox.change_subscription(desk.account, made.id, rotated).await.unwrap().unwrap();
}

/// Lets the first letter due be given up.
async fn give_one_up(desk: &Desk) {
    for subscription in desk.outbox.subscriptions(desk.account).await.unwrap() {
        let claimed = desk.outbox.claim(desk.account, subscription.id, 1, SECOND).await.unwrap();
        for letter in claimed.map_or(vec![], |claimed| claimed.letters) {
            let dead = Fate::Dead { trouble: "status 500".into() };
            assert!(desk.outbox.settle_letter(desk.account, &letter.claim, dead).await.unwrap());
        }
    }
}

/// Everything the API can be asked, numbers of conversations included.
async fn answers(desk: &Desk) -> String {
    let (store, account) = (&desk.store, desk.account);
    let mut answers = format!("{:?}\n", store.counts(account).await.unwrap());
    let mut ids = BTreeSet::new();
    for selection in &ALL {
        let page = store.list(account, selection, 1_000).await.unwrap();
        ids.extend(page.conversations.iter().map(|listed| listed.conversation.id));
        answers += &format!("{selection:?} {page:?}\n");
    }
    for id in ids {
        for recorded in store.decisions(account, id, 100).await.unwrap() {
            answers += &format!("{recorded:?}\n");
            let again = decide(&recorded.snapshot, &recorded.policy, recorded.at).into_iter();
            let again = again.filter(|one| one.conversation == id).find_map(|one| match one.outcome {
                Outcome::Reserve { agent, .. } => Some(agent),
                Outcome::Pass | Outcome::Ask | Outcome::Park(_) => None,
            });
            assert_eq!(again, Some(recorded.agent), "a decision that was moved decides the same again");
        }
    }
    let rules = store.rulebook(account).await.unwrap();
    for version in 0..=rules.version {
        answers += &format!("{:?}\n", store.rulebook_at(account, version).await.unwrap());
    }
    answers += &format!("{:?}\n", store.audit(account, None, 1_000).await.unwrap());
    answers += &format!("{:?}\n", store.facts(account, desk.now(), &Crew::of(0).policy).await.unwrap());
    answers += &format!("{:?}\n", store.first_reservations(account, 1_000).await.unwrap());
    for subscription in desk.outbox.subscriptions(account).await.unwrap() {
        let secrets = subscription.previous.as_ref().map(|(secret, _)| secret.expose_secret());
        answers += &format!("{subscription:?} {} {secrets:?}\n", subscription.secret.expose_secret());
        let dead = desk.outbox.dead_letters(account, subscription.id, None, 100).await.unwrap();
        answers += &format!("{dead:?}\n");
    }
    answers += &format!("{:?}\n", desk.outbox.due(account).await.unwrap());
    answers + &format!("{:?}\n", desk.outbox.queues(account).await.unwrap())
}

/// A file with everything in it: histories of several accounts, events yet to be folded, letters due, late and dead.
async fn with_histories(
    rng: &mut StdRng,
) -> (Caller, Vec<(sebastian_core::AccountId, Vec<sebastian_store::Attempt>)>) {
    let desk = Ledger::Sqlite.desk().await;
    let mut caller = Caller { ledger: Ledger::Sqlite, desk, attempts: Vec::new() };
    let mut accounts = Vec::new();
    for n in 0..ACCOUNTS {
        let tenant = format!("tenant {n}");
        caller.desk.account = caller.desk.store.open_account("qiscus", &tenant).await.unwrap();
        subscribe(&caller.desk).await;
        for n in 0..CALLS {
            caller.call(&a_call(rng)).await;
            if n % 20 == 0 {
                give_one_up(&caller.desk).await;
            }
        }
        caller.desk.accept([allocate(&room(1)), resolve_session(&room(2), 3)]).await;
        accounts.push((caller.desk.account, std::mem::take(&mut caller.attempts)));
    }
    (caller, accounts)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_was_moved_answers_and_goes_on_as_the_one_it_was() {
    let seed =
        std::env::var("SEBASTIAN_SEED").ok().map_or_else(rand::random, |seed| seed.parse::<u64>().unwrap());
    println!("replay: SEBASTIAN_SEED={seed} cargo test -p sebastian-store --test main moving");
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut file, accounts) = with_histories(&mut rng).await;
    // Leases are not moved: whoever held one is gone.
    file.desk.pass(2 * SECOND).await;
    let database = TimedDatabase::create().await;

    let moved = moved(&file.desk.file(), &database).await.unwrap();

    assert!(!moved.is_again && moved.tables.iter().all(|(_, rows)| *rows > 0), "{moved:?}");
    let desk = file.desk.in_database(database).await;
    let mut grown = Caller { ledger: Ledger::Postgres, desk, attempts: Vec::new() };
    for (account, attempts) in accounts {
        for caller in [&mut file, &mut grown] {
            caller.desk.account = account;
            caller.attempts = attempts.clone();
        }
        assert_eq!(answers(&grown.desk).await, answers(&file.desk).await);
        for _ in 0..CALLS {
            let call = a_call(&mut rng);
            assert_eq!(grown.call(&call).await, file.call(&call).await, "{call:?}");
        }
        assert_eq!(grown.state().await, file.state().await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_given_out_before_the_move_are_not_given_out_again() {
    let desk = Ledger::Sqlite.desk().await;
    for n in 0..5 {
        desk.accept([allocate(&room(n))]).await;
        desk.assign(&Crew::of(3)).await;
        desk.accept([resolve(&room(n))]).await;
    }
    desk.fold().await;
    let last = desk.latest(&room(4)).await;
    desk.pass(SECOND * 100).await;
    let none = Keep { ledger: SECOND, decisions: SECOND };
    while desk.store.purge(desk.account, none, 100).await.unwrap() > 0 {}
    assert_eq!(desk.find(&room(4)).await, None);
    let database = TimedDatabase::create().await;

    moved(&desk.file(), &database).await.unwrap();

    let grown = desk.in_database(database).await;
    grown.accept([allocate(&room(9))]).await;
    assert_eq!(grown.fold().await.folded, 1, "the next event comes after those that are gone");
    let next = grown.latest(&room(9)).await;
    assert!(next.id > last.id && next.position > last.position, "{next:?} after {last:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_repeated_takes_the_place_of_the_one_before() {
    let desk = Ledger::Sqlite.desk().await;
    desk.accept([allocate(&room(1)), allocate(&room(2))]).await;
    desk.assign(&Crew::of(1).capacity(1)).await;
    let database = TimedDatabase::create().await;

    assert!(!moved(&desk.file(), &database).await.unwrap().is_again);
    assert!(moved(&desk.file(), &database).await.unwrap().is_again);
    // The folder served on, for another day.
    desk.accept([resolve(&room(1))]).await;
    desk.assign(&Crew::of(1).capacity(1)).await;
    let again = moved(&desk.file(), &database).await.unwrap();

    assert!(again.is_again);
    let count = |state: &str| again.states.iter().find(|(name, _)| name == state).map(|(_, count)| *count);
    assert_eq!((count("resolved"), count("assigned"), count("waiting")), (Some(1), Some(1), None));
    let grown = desk.in_database(database).await;
    assert_eq!(answers(&grown).await, answers(&desk).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_holds_anything_else_is_refused_and_left_as_it_is() {
    let desk = Ledger::Sqlite.desk().await;
    desk.accept([allocate(&room(1))]).await;
    let database = TimedDatabase::create().await;
    moved(&desk.file(), &database).await.unwrap();

    let another = Ledger::Sqlite.desk().await;
    let refused = moved(&another.file(), &database).await.unwrap_err();
    let told = "the database holds a ledger already (accounts: 1, events: 1): move into an empty database, or drop this \
                one and make it anew";
    assert_eq!(refused.to_string(), told);

    let client = connect(&database.url()).await;
    client.batch_execute("UPDATE accounts SET failures = 1").await.unwrap();
    let refused = moved(&desk.file(), &database).await;
    assert!(matches!(refused, Err(MoveError::Occupied(_))), "{refused:?}");
    let row = client.query_one("SELECT failures FROM accounts", &[]).await.unwrap();
    assert_eq!(row.get::<_, i32>(0), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_in_use_is_refused() {
    let desk = Ledger::Sqlite.desk().await;
    let database = TimedDatabase::create().await;
    let process = database.store(1);
    process.ping().await.unwrap();

    let refused = moved(&desk.file(), &database).await.unwrap_err();

    let told = "the database is in use: processes of Sebastian hold 1 connections to it; stop them all first";
    assert_eq!(refused.to_string(), told);
    drop(process);
    moved(&desk.file(), &database).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_without_a_schema_is_given_one() {
    let desk = Ledger::Sqlite.desk().await;
    let database = Database::create().await;
    let store = PostgresStore::new(&database.url(), 1, Timing::default()).unwrap();

    move_ledger(&desk.file(), &store, &|_| ()).await.unwrap();

    store.check_schema().await.unwrap();
    assert_eq!(store.open_account("qiscus", "test").await.unwrap(), desk.account);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_does_not_add_up_stays_where_it_is() {
    let desk = Ledger::Sqlite.desk().await;
    desk.accept([allocate(&room(1))]).await;
    desk.assign(&Crew::of(1)).await;
    let file = rusqlite::Connection::open(desk.file()).unwrap();
    file.execute_batch("UPDATE agent_loads SET open = 2").unwrap();
    let database = TimedDatabase::create().await;

    let refused = moved(&desk.file(), &database).await.unwrap_err();

    let told = "nothing was moved, since not everything adds up: I9 of account 1: agent 1 is counted 2 slots and holds 1";
    assert_eq!(refused.to_string(), told);
    assert!(is_empty(&database).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_is_cut_short_leaves_the_database_as_it_was() {
    let desk = Ledger::Sqlite.desk().await;
    for n in 0..2_000 {
        desk.accept([allocate(&room(n))]).await;
    }
    let database = TimedDatabase::create().await;
    for step in [Step::Copying, Step::Copied, Step::Verifying] {
        let (reached, cut) = tokio::sync::oneshot::channel();
        let reached = Mutex::new(Some(reached));
        let (file, store) = (desk.file(), database.store(1));
        let moving = tokio::spawn(async move {
            let stop = |progress: Progress| {
                if progress.step == step && progress.table == "events" {
                    let _told = reached.lock().unwrap().take().map(|reached| reached.send(()));
                }
            };
            move_ledger(&file, &store, &stop).await
        });
        cut.await.unwrap();
        moving.abort();
        let ended = moving.await;
        if ended.is_ok() {
            // It was quicker than the axe.
            continue;
        }
        eventually("the database is empty", SOON, async || {
            is_empty(&database).await.then_some(()).ok_or("it is not")
        })
        .await;
    }

    // Nothing of it is in the way.
    let again = moved(&desk.file(), &database).await.unwrap();
    assert_eq!(again.tables[1], ("events", 2_000));
}

async fn is_empty(database: &TimedDatabase) -> bool {
    let client = connect(&database.url()).await;
    let mut rows = 0;
    for table in columns_of_file().into_iter().map(|(table, _)| table).collect::<BTreeSet<_>>() {
        let count = format!("SELECT COUNT(*) FROM {table}");
        rows += client.query_one(&count, &[]).await.unwrap().get::<_, i64>(0);
    }
    rows == 0
}

fn columns_of_file() -> BTreeSet<(String, String)> {
    moving::columns().map(|(table, column)| (table.to_owned(), column.to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_column_of_either_ledger_is_moved() {
    let database = TimedDatabase::create().await;
    let client = connect(&database.url()).await;
    let all = "SELECT table_name::text, column_name::text FROM information_schema.columns
               WHERE table_schema = 'public'
                 AND table_name NOT IN ('leases', 'moves', 'refinery_schema_history', 'test_clock')";
    let rows = client.query(all, &[]).await.unwrap();
    let mut there: BTreeSet<(String, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    // What a worker of the first version charged.
    there.remove(&("conversations".to_owned(), "turn_charge".to_owned()));
    assert_eq!(columns_of_file(), there);

    let desk = Ledger::Sqlite.desk().await;
    let file = rusqlite::Connection::open(desk.file()).unwrap();
    let all = "SELECT t.name, c.name FROM sqlite_schema t JOIN pragma_table_info(t.name) c
               WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite%'
                 AND t.name NOT IN ('leases', 'refinery_schema_history')";
    let mut statement = file.prepare(all).unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let mut there: BTreeSet<(String, String)> = rows.map(Result::unwrap).collect();
    there.remove(&("queues".to_owned(), "rotation".to_owned()));
    there.extend(["turn_agents", "turns"].map(|column| ("queues".to_owned(), column.to_owned())));
    assert_eq!(columns_of_file(), there);
}

#[tokio::test(flavor = "multi_thread")]
async fn schemas_of_another_program_are_refused_on_either_side() {
    let newer = "INSERT INTO refinery_schema_history VALUES (999, 'newer', '2030-01-01T00:00:00Z', '1')";
    let told = "is at version 999";
    let says = |refused: MoveError| std::error::Error::source(&refused).unwrap().to_string();
    let desk = Ledger::Sqlite.desk().await;
    let database = TimedDatabase::create().await;
    connect(&database.url()).await.batch_execute(newer).await.unwrap();
    let refused = moved(&desk.file(), &database).await.unwrap_err();
    assert!(matches!(&refused, MoveError::Target(_)) && says(refused).contains(told));

    rusqlite::Connection::open(desk.file()).unwrap().execute_batch(newer).unwrap();
    let refused = moved(&desk.file(), &TimedDatabase::create().await).await.unwrap_err();
    assert!(matches!(&refused, MoveError::Source(_)) && says(refused).contains(told));

    let nowhere = desk.file().with_file_name("absent.db");
    let refused = moved(&nowhere, &TimedDatabase::create().await).await.unwrap_err();
    assert!(
        matches!(refused, MoveError::Source(StoreError::Broken(..) | StoreError::Unavailable(_))),
        "{refused:?}"
    );
    assert!(!nowhere.exists());
}

/// How long a ledger of 100,000 conversations takes. A figure, not a promise; wants `--release` and nobody beside it:
/// `cargo test --release -p sebastian-store --test main moving::a_hundred_thousand -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn a_hundred_thousand_conversations_are_moved() {
    let desk = Ledger::Sqlite.desk().await;
    let crew = Crew::of(300).capacity(20);
    let began = std::time::Instant::now();
    for n in (0..100_000).step_by(250) {
        desk.accept((n..n + 250).map(|n| allocate_naming(&room(n), n, false))).await;
        desk.assign(&crew).await;
        if n >= 2_000 {
            desk.accept((n - 2_000..n - 1_750).map(|n| resolve_session(&room(n), n))).await;
        }
    }
    desk.fold().await;
    println!("filled in {:?}", began.elapsed());
    let database = TimedDatabase::create().await;
    let began = std::time::Instant::now();
    let moved = moved(&desk.file(), &database).await.unwrap();
    println!("moved in {:?}: {moved:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(60));
    let grown = desk.in_database(database).await;
    assert_eq!(answers(&grown).await, answers(&desk).await);
}
