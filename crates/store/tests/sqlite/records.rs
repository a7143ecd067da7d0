//! How recorded rounds lie in the file: agents once, and gone when nobody names them.

use std::sync::{Arc, atomic::AtomicI64, atomic::Ordering};

use rusqlite::Connection;
use sebastian_core::{AccountId, Timestamp};
use sebastian_store::{Keep, Reservation, SqliteStore, Store};

use crate::desk::*;

struct House {
    file: TimedFile,
    time: Arc<AtomicI64>,
    store: SqliteStore,
    account: AccountId,
}

impl House {
    async fn new() -> Self {
        let time = Arc::new(AtomicI64::new(1_700_000_000_000));
        let file = TimedFile::create(time.clone()).await;
        let store = file.store();
        let account = store.open_account("qiscus", "test").await.unwrap();
        Self { file, time, store, account }
    }

    /// One recorded round over one new conversation.
    async fn round(&self, crew: &Crew, n: usize) -> Vec<Reservation> {
        self.store.accept(self.account, &[allocate(&room(n))]).await.unwrap();
        let now = Timestamp::from_millis(self.time.load(Ordering::SeqCst));
        crew.decide(&self.store, self.account, now, 10).await.reserved
    }

    fn rosters(&self) -> i64 {
        let file = Connection::open(self.file.path()).unwrap();
        file.query_row("SELECT COUNT(*) FROM rosters", [], |row| row.get(0)).unwrap()
    }
}

#[tokio::test]
async fn agents_are_stored_once_for_all_rounds_that_saw_the_same() {
    let house = House::new().await;
    let mut crew = Crew::of(3);

    house.round(&crew, 1).await;
    // The platform has caught up: what it counts adds nothing.
    crew.agents[0].reported_load = Some(1);
    house.round(&crew, 2).await;
    assert_eq!(house.rosters(), 1);
    crew.agents[2].forced_offline = true;
    let reserved = house.round(&crew, 3).await;

    assert_eq!(house.rosters(), 2);
    let id = reserved[0].attempt.conversation;
    let recorded = house.file.store().decisions(house.account, id, 10).await.unwrap();
    assert!(recorded[0].snapshot.roster.agents[2].forced_offline);
}

#[tokio::test]
async fn agents_go_with_the_last_round_that_names_them_and_come_back() {
    let house = House::new().await;
    house.round(&Crew::of(2), 1).await;
    house.time.fetch_add(100_000, Ordering::SeqCst);

    let keep = Keep { ledger: SECOND * 1_000, decisions: SECOND * 10 };
    assert_eq!(house.store.purge(house.account, keep, 100).await.unwrap(), 1);
    assert_eq!(house.rosters(), 0);
    let reserved = house.round(&Crew::of(2), 2).await;
    assert_eq!(house.store.purge(house.account, keep, 100).await.unwrap(), 0);

    let id = reserved[0].attempt.conversation;
    assert_eq!(house.store.decisions(house.account, id, 10).await.unwrap().len(), 1);
}
