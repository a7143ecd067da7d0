//! A whole ledger in the operator's hands: copied, put back, moved to PostgreSQL, by the real program.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::Output,
    time::Duration,
};

use sebastian_core::{AccountId, EventKind, Hints, NewEvent, RoomId, Source, Timing};
use sebastian_store::{SqliteStore, Store};
use sebastian_testkit::{Child, Database, binary, eventually};
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

/// For anything a busy machine may take its time over; only failures wait this long.
const SOON: Duration = Duration::from_secs(60);

/// A data folder with an account whose customers wait.
struct Desk {
    home: TempDir,
    store: SqliteStore,
    account: AccountId,
}

impl Desk {
    async fn with(customers: usize) -> Self {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("desk");
        fs::create_dir(&folder).unwrap();
        let store = SqliteStore::open(&folder.join("ledger.db"), Timing::default()).unwrap();
        store.migrate().await.unwrap();
        let account = store.open_account("qiscus", "desk-1").await.unwrap();
        let desk = Self { home, store, account };
        desk.accept(0..customers).await;
        desk
    }

    async fn accept(&self, rooms: std::ops::Range<usize>) {
        let event = |n: usize| NewEvent {
            room: RoomId::parse(&format!("room-{n}")).unwrap(),
            kind: EventKind::Allocate { inbox: None, latest_service: None, hints: Hints::default() },
            source: Source::Webhook,
        };
        let events: Vec<NewEvent> = rooms.map(event).collect();
        for some in events.chunks(5_000) {
            self.store.accept(self.account, some).await.unwrap();
        }
    }

    fn folder(&self) -> PathBuf {
        self.home.path().join("desk")
    }

    fn command(&self, words: &[&str]) -> std::process::Command {
        let mut command = binary("sebastian");
        command.args(words).current_dir(self.home.path());
        command
    }

    /// The command on this folder, without servers: its code and what it printed.
    fn run(&self, words: &[&str]) -> (Option<i32>, String) {
        told(self.command(words).env("SEBASTIAN_DATA", self.folder()).output().unwrap())
    }

    /// Moves it to `database`.
    fn moving(&self, database: &Database) -> std::process::Command {
        let mut command = self.command(&["move", "--from", "desk"]);
        command.env("SEBASTIAN__DB__CONNECTION_STRING", database.url());
        command
    }

    async fn unfolded(&self) -> u64 {
        self.store.counts(self.account).await.unwrap().unfolded
    }

    /// Nobody has the file open any more.
    async fn close(&mut self) {
        let elsewhere = self.home.path().join("elsewhere.db");
        self.store = SqliteStore::open(&elsewhere, Timing::default()).unwrap();
    }

    async fn open(&mut self) {
        self.store = SqliteStore::open(&self.folder().join("ledger.db"), Timing::default()).unwrap();
    }
}

fn told(Output { status, stdout, stderr }: Output) -> (Option<i32>, String) {
    (status.code(), String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap())
}

async fn connect(database: &Database) -> Client {
    let (client, connection) = tokio_postgres::connect(&database.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Events and conversations in the database; zero while there is no schema.
async fn rows(database: &Database) -> i64 {
    let client = connect(database).await;
    let is_made = client.query_one("SELECT to_regclass('events')::text", &[]).await.unwrap();
    if is_made.get::<_, Option<&str>>(0).is_none() {
        return 0;
    }
    let count = "SELECT (SELECT COUNT(*) FROM events) + (SELECT COUNT(*) FROM accounts)";
    client.query_one(count, &[]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_is_copied_while_it_is_open_and_put_back() {
    let mut desk = Desk::with(3).await;
    let (code, copied) = desk.run(&["backup", "monday.db"]);
    assert!(code == Some(0) && copied.starts_with("copied and checked: monday.db, "), "{copied}");
    desk.accept(3..5).await;
    let (code, refused) = desk.run(&["backup", "monday.db"]);
    let exists = "sebastian: monday.db is there already: name another file, or replace it with --force\n";
    assert_eq!((code, refused.as_str()), (Some(1), exists));

    // Whoever serves holds this.
    let lock = File::create(desk.folder().join("lock")).unwrap();
    lock.lock().unwrap();
    let (code, refused) = desk.run(&["restore", "monday.db"]);
    assert!(code == Some(1) && refused.contains(" is in use by "), "{refused}");
    drop(lock);
    assert_eq!(desk.unfolded().await, 5);
    desk.close().await;
    let (code, restored) = desk.run(&["restore", "monday.db"]);
    assert!(code == Some(0) && restored.contains("the ledger that was there is "), "{restored}");
    desk.open().await;
    assert_eq!(desk.unfolded().await, 3);

    desk.close().await;
    fs::write(desk.home.path().join("monday.db"), "scratched").unwrap();
    let (code, refused) = desk.run(&["restore", "monday.db"]);
    assert!(code == Some(1) && refused.contains("monday.db is not a ledger that can be read"), "{refused}");
    desk.open().await;
    assert_eq!(desk.unfolded().await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_servers_the_commands_of_postgresql_are_named_without_the_password() {
    let desk = Desk::with(0).await;
    let url = "postgres://ayu:CANARY@db.example:5433/desk";
    for (words, told_of) in [
        (["backup", "f.db"], "pg_dump --format=custom --file=f.db postgres://ayu@db.example:5433/desk"),
        (
            ["restore", "f.db"],
            "pg_restore --clean --if-exists --single-transaction --dbname=postgres://ayu@db.example",
        ),
    ] {
        let output = desk.command(&words).env("SEBASTIAN__DB__CONNECTION_STRING", url).output().unwrap();
        let (code, said) = told(output);
        assert!(code == Some(2) && said.contains(told_of) && !said.contains("CANARY"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_without_a_ledger_has_nothing_to_copy_or_move() {
    let desk = Desk::with(0).await;
    let (code, said) = desk.run(&["backup", "f.db", "--data", "elsewhere"]);
    assert!(code == Some(2) && said.contains("there is no ledger in "), "{said}");
    let (code, said) = desk.run(&["move", "--from", "elsewhere", "--to", "postgres://127.0.0.1:9/desk"]);
    assert!(code == Some(2) && said.contains("there is no ledger in "), "{said}");
    assert!(!desk.home.path().join("elsewhere").exists());
    let (code, said) = desk.run(&["move", "--from", "desk"]);
    assert!(code == Some(2) && said.contains("nothing says where to: "), "{said}");
    let (code, said) = desk.run(&["move", "--from", "desk", "--to", "CANARY=x"]);
    assert!(
        code == Some(2) && said.contains("must be a postgres:// URL") && !said.contains("CANARY"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_desk_grows_up_and_its_folder_serves_no_more() {
    let desk = Desk::with(7).await;
    let database = Database::create().await;
    let file = desk.home.path().join("db.url");
    fs::write(&file, format!("{}\n", database.url())).unwrap();

    let (code, said) = desk.run(&["move", "--from", "desk", "--to-file", "db.url"]);

    assert_eq!(code, Some(0), "{said}");
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[..2], ["copied accounts: 1 rows", "copied events: 7 rows"], "{said}");
    assert!(said.contains("\nmoved to postgres://") && said.contains("\n  7 unfolded\n"), "{said}");
    assert_eq!(rows(&database).await, 8);
    assert_eq!(desk.unfolded().await, 7, "the folder is as it was");

    let platform = [("QISCUS__APP_ID", "desk-1"), ("QISCUS__SECRET_KEY", "x"), ("LISTEN__PORT", "0")];
    let mut serving = desk.command(&["-e", "all", "--data", "desk"]);
    serving.envs(platform.map(|(key, value)| (format!("SEBASTIAN__{key}"), value)));
    let (code, refused) = told(serving.output().unwrap());
    assert!(code == Some(2) && refused.contains(" was moved to postgres://"), "{refused}");

    let (code, said) = told(desk.moving(&database).output().unwrap());
    assert!(code == Some(0) && said.contains(", in the place of an earlier move: "), "{said}");
    connect(&database).await.batch_execute("UPDATE accounts SET failures = 1").await.unwrap();
    let (code, said) = told(desk.moving(&database).output().unwrap());
    let occupied = "sebastian: the database holds a ledger already (accounts: 1, events: 7): ";
    assert!(code == Some(1) && said.contains(occupied), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_served_from_is_not_moved() {
    let desk = Desk::with(1).await;
    let database = Database::create().await;
    let lock = File::create(desk.folder().join("lock")).unwrap();
    lock.lock().unwrap();
    let (code, said) = told(desk.moving(&database).output().unwrap());
    assert!(code == Some(1) && said.contains(" is in use by "), "{said}");
    assert_eq!(rows(&database).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_is_killed_leaves_the_database_empty_and_is_done_by_the_next() {
    let desk = Desk::with(20_000).await;
    let database = Database::create().await;
    let moving = Child::spawn(&mut desk.moving(&database));
    moving.line("the first table", SOON, |line| line.starts_with("copied accounts").then_some(())).await;
    moving.kill9();
    let status = moving.wait(SOON).await;
    assert_eq!(status.code(), None, "it was killed before its end");
    no_rows(&database).await;
    assert!(!desk.folder().join("moved").exists());

    let (code, said) = told(desk.moving(&database).output().unwrap());
    assert!(code == Some(0) && said.contains("copied events: 20000 rows"), "{said}");
    assert_eq!(rows(&database).await, 20_001);
}

#[cfg(feature = "crash-points")]
#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_dies_between_two_rows_or_before_its_commit_leaves_the_database_empty() {
    for point in ["moving:2", "moving:4", "moved"] {
        let desk = Desk::with(3_000).await;
        let database = Database::create().await;
        let mut moving = desk.moving(&database);
        let (code, said) = told(moving.env("SEBASTIAN_CRASH_POINT", point).output().unwrap());
        assert!(code.is_none() && said.contains("crash point mov"), "{said}");
        no_rows(&database).await;
        assert!(!desk.folder().join("moved").exists(), "{point}");
        let (code, said) = told(desk.moving(&database).output().unwrap());
        assert_eq!(code, Some(0), "{point}: {said}");
    }
}

/// The server notices that its client is gone, and takes everything back.
async fn no_rows(database: &Database) {
    eventually("the database is empty", SOON, async || match rows(database).await {
        0 => Ok(()),
        rows => Err(format!("{rows} rows")),
    })
    .await;
}
