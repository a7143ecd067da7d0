//! How recorded rounds lie in PostgreSQL: small, and gone when they are old.

use std::{sync::Arc, time::Instant};

use sebastian_core::{AccountId, Answers, Roster, decide};
use sebastian_store::{Decide, Keep, PostgresStore, Reservation, Store};
use tokio_postgres::Client;

use crate::desk::*;

struct House {
    database: TimedDatabase,
    client: Client,
    store: PostgresStore,
    account: AccountId,
}

impl House {
    async fn new() -> Self {
        let database = TimedDatabase::create().await;
        let (client, store) = (connect(&database.url()).await, database.store(2));
        let account = store.open_account("qiscus", "test").await.unwrap();
        Self { database, client, store, account }
    }

    /// One round over one new conversation, recorded or not.
    async fn round(&self, crew: &Crew, n: usize, record: bool) -> Vec<Reservation> {
        self.store.accept(self.account, &[allocate(&room(n))]).await.unwrap();
        let roster = Arc::new(Roster::new(1, self.store.now().await.unwrap(), crew.agents.clone()));
        let answers = Arc::new(Answers::default());
        let (account, policy) = (self.account, &crew.policy);
        let request = Decide { account, roster, answers, policy, limit: 10, record };
        self.store.decide(&request, &|snapshot, now| decide(snapshot, policy, now)).await.unwrap().reserved
    }

    async fn count(&self, sql: &str) -> i64 {
        self.client.query_one(sql, &[]).await.unwrap().get(0)
    }
}

#[tokio::test]
async fn agents_are_stored_once_for_all_rounds_that_saw_the_same() {
    let house = House::new().await;
    let mut crew = Crew::of(3);

    house.round(&crew, 1, true).await;
    // The platform has caught up: what it counts adds nothing.
    crew.agents[0].reported_load = Some(1);
    house.round(&crew, 2, true).await;
    assert_eq!(house.count("SELECT COUNT(*) FROM rosters").await, 1);
    crew.agents[2].forced_offline = true;
    let reserved = house.round(&crew, 3, true).await;

    assert_eq!(house.count("SELECT COUNT(*) FROM rosters").await, 2);
    let id = reserved[0].attempt.conversation;
    let recorded = house.database.store(1).decisions(house.account, id, 10).await.unwrap();
    assert!(recorded[0].snapshot.roster.agents[2].forced_offline);
}

#[tokio::test]
async fn agents_go_with_the_last_round_that_names_them_and_come_back() {
    let house = House::new().await;
    house.round(&Crew::of(2), 1, true).await;
    house.database.set_clock(1_700_000_100_000).await;

    let keep = Keep { ledger: SECOND * 1_000, decisions: SECOND * 10 };
    assert_eq!(house.store.purge(house.account, keep, 100).await.unwrap(), 1);
    assert_eq!(house.count("SELECT COUNT(*) FROM rosters").await, 0);
    let reserved = house.round(&Crew::of(2), 2, true).await;
    assert_eq!(house.store.purge(house.account, keep, 100).await.unwrap(), 0);

    let id = reserved[0].attempt.conversation;
    assert_eq!(house.store.decisions(house.account, id, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_decision_whose_rules_were_purged_is_gone() {
    let house = House::new().await;
    let mut change = |rules: &mut sebastian_core::Rulebook, _| {
        rules.last_id += 1;
        vec![entry("1")]
    };
    house.store.amend(house.account, "test", &mut change).await.unwrap();
    let reserved = house.round(&Crew::of(1), 1, true).await;
    // As between the two reads of one question.
    house.client.batch_execute("DELETE FROM rulebooks").await.unwrap();

    let id = reserved[0].attempt.conversation;
    let recorded = house.database.store(1).decisions(house.account, id, 10).await.unwrap();

    assert_eq!(recorded, []);
}

#[tokio::test]
async fn a_recorded_round_takes_few_bytes() {
    const ROUNDS: usize = 60;
    for (agents, most) in [(50, 4_096), (1_000, 20_480)] {
        let house = House::new().await;
        let mut crew = Crew::of(agents).capacity(20);
        for (n, agent) in (1..).zip(&mut crew.agents) {
            agent.online_since = Some(sebastian_core::Timestamp::from_millis(1_699_990_000_000 + n * 7_919));
            agent.inboxes = Some((0..n % 5).map(|m| sebastian_core::InboxId(SALES.0 + m)).collect());
        }
        let busy = format!(
            "INSERT INTO agent_loads (account_id, agent_id, open, shift, shift_assignments, last_assigned_at)
             SELECT {}, n, 3 + n * 7 % 5, to_timestamp((1699990000000 + n * 7919) / 1000.0), n * 31 % 60,
                    to_timestamp((1699995000000 + n * 104729 % 5000000) / 1000.0)
             FROM generate_series(1::bigint, {agents}) n",
            house.account
        );
        house.client.batch_execute(&busy).await.unwrap();
        let mut took = Vec::new();
        for record in [false, true] {
            house.round(&crew, 0, record).await;
            let began = Instant::now();
            for n in 1..=ROUNDS {
                house.round(&crew, n + if record { 1_000 } else { 0 }, record).await;
            }
            took.push(began.elapsed() / ROUNDS as u32);
        }
        let bytes = "SELECT (SUM(pg_column_size(r.*)) / COUNT(*))::bigint FROM decision_rounds r";
        let (bytes, rosters) = (house.count(bytes).await, house.count("SELECT COUNT(*) FROM rosters").await);
        let roster = house.count("SELECT SUM(pg_column_size(body))::bigint FROM rosters").await;
        println!(
            "{agents} agents: {bytes} B a round, {rosters} rosters of {roster} B in all; {took:?} without, with"
        );
        assert!(bytes < most && rosters == 1, "{agents} agents: {bytes} B a round, {rosters} rosters");
    }
}
