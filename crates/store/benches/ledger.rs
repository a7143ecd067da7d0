//! What the ledger takes for a conversation's way through it, by how many more wait: accepting a batch of webhooks, folding
//! it and reserving as many slots, confirming them, closing them. On PostgreSQL with `fsync`, and in a file. As many come
//! as go, so each cycle finds the same.
//!
//! `cargo bench -p sebastian-store --bench ledger -- reserve` times one step.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sebastian_core::{
    AccountId, Agent, AgentId, EventKind, Hints, InboxId, NewEvent, Policy, Presence, Role, RoomId, Roster,
    Source, Timing, decide,
};
use sebastian_store::{Decide, Decided, PostgresStore, Reservation, SqliteStore, Store};
use sebastian_testkit::{Database, Durability, Postgres};
use tempfile::TempDir;
use tokio::runtime::Runtime;

const WAITING: [u64; 3] = [100, 10_000, 100_000];
const BATCHES: [u64; 2] = [1, 64];
const AGENTS: i64 = 400;
const CAPACITY: u32 = 6;
const INBOX: InboxId = InboxId(1);
const HOUR: Duration = Duration::from_secs(3_600);
/// Webhooks that fill the ledger come so many at a time.
const FILL: u64 = 500;

/// A ledger, and what has to live as long.
struct Ledger {
    store: Arc<dyn Store>,
    account: AccountId,
    roster: Arc<Roster>,
    policy: Policy,
    rooms: std::ops::RangeFrom<u64>,
    _place: Place,
}

#[expect(dead_code, reason = "held until the bench is over")]
enum Place {
    Server(Postgres, Database),
    Folder(TempDir),
}

#[derive(Clone, Copy)]
enum Step {
    Accept,
    Reserve,
    Confirm,
    Close,
}

const STEPS: [(&str, Step); 4] = [
    ("accept", Step::Accept),
    ("reserve", Step::Reserve),
    ("confirm", Step::Confirm),
    ("close", Step::Close),
];

fn agent(n: i64) -> Agent {
    Agent {
        id: AgentId(n),
        name: String::new(),
        role: Role::Agent,
        presence: Presence::Online,
        forced_offline: false,
        // Known, or each of their chats would be asked about first.
        inboxes: Some([INBOX].into()),
        reported_load: Some(0),
        listed: false,
        online_since: None,
    }
}

impl Ledger {
    async fn in_postgres() -> Self {
        let server = Postgres::private(Durability::Fsync).await;
        let database = Database::create_at(&server.url()).await;
        let store = PostgresStore::new(&database.url(), 4, Timing::default()).expect("the URL is made here");
        store.migrate().await.expect("a new database");
        Self::on(Arc::new(store), Place::Server(server, database)).await
    }

    async fn in_file() -> Self {
        let folder = TempDir::new().expect("a folder for a while");
        let store =
            SqliteStore::open(&folder.path().join("ledger.db"), Timing::default()).expect("a new file");
        store.migrate().await.expect("a new file");
        Self::on(Arc::new(store), Place::Folder(folder)).await
    }

    async fn on(store: Arc<dyn Store>, place: Place) -> Self {
        let account = store.open_account("qiscus", "bench").await.expect("an account");
        let polled_at = store.now().await.expect("a clock");
        let roster = Roster::new(1, polled_at, (1..=AGENTS).map(agent).collect());
        let policy = Policy { capacity: Some(CAPACITY), staleness_max: HOUR, ..Policy::default() };
        Self { store, account, roster: roster.into(), policy, rooms: 1.., _place: place }
    }

    /// Fills the queue.
    async fn fill(&mut self, waiting: u64) {
        for filled in (0..waiting).step_by(FILL as usize) {
            self.write(FILL.min(waiting - filled)).await;
            self.decide(0).await;
        }
    }

    async fn write(&mut self, count: u64) {
        let kind = EventKind::Allocate { inbox: Some(INBOX), latest_service: None, hints: Hints::default() };
        let rooms: Vec<RoomId> = self.rooms.by_ref().take(count as usize).map(room).collect();
        self.accept(rooms, &kind).await;
    }

    async fn accept(&self, rooms: Vec<RoomId>, kind: &EventKind) {
        let event = |room| NewEvent { room, kind: kind.clone(), source: Source::Webhook };
        let events: Vec<NewEvent> = rooms.into_iter().map(event).collect();
        self.store.accept(self.account, &events).await.expect("the ledger accepts");
    }

    async fn decide(&self, limit: u64) -> Decided {
        let request = Decide {
            account: self.account,
            roster: self.roster.clone(),
            answers: Arc::default(),
            policy: &self.policy,
            limit: limit as u32,
            record: true,
        };
        let decided = self.store.decide(&request, &|snapshot, now| decide(snapshot, &self.policy, now)).await;
        decided.expect("the ledger decides")
    }

    /// Customers write, are given agents, and are resolved; returns how long `step` took.
    async fn cycle(&mut self, batch: u64, step: Step) -> Duration {
        let mut took = [Duration::ZERO; STEPS.len()];
        let began = Instant::now();
        self.write(batch).await;
        took[Step::Accept as usize] = began.elapsed();

        let began = Instant::now();
        let reserved = self.decide(batch).await.reserved;
        took[Step::Reserve as usize] = began.elapsed();
        assert_eq!(reserved.len() as u64, batch);

        let began = Instant::now();
        let attempts: Vec<_> = reserved.iter().map(|reservation| reservation.attempt).collect();
        let confirmed = self.store.confirm(self.account, &attempts).await.expect("the ledger confirms");
        took[Step::Confirm as usize] = began.elapsed();
        assert_eq!(confirmed.len() as u64, batch);

        let served = reserved.into_iter().map(|Reservation { room, .. }| room).collect();
        self.accept(served, &EventKind::Resolve { service: None }).await;
        let began = Instant::now();
        self.decide(0).await;
        took[Step::Close as usize] = began.elapsed();
        took[step as usize]
    }
}

fn room(n: u64) -> RoomId {
    RoomId::parse(&n.to_string()).expect("a number is an id")
}

fn steps(c: &mut Criterion) {
    let runtime = Runtime::new().expect("threads");
    for (name, in_file) in [("postgres", false), ("file", true)] {
        for waiting in WAITING {
            let mut ledger = runtime.block_on(async {
                let mut ledger = if in_file { Ledger::in_file().await } else { Ledger::in_postgres().await };
                ledger.fill(waiting).await;
                ledger
            });
            for (step_name, step) in STEPS {
                let mut group = c.benchmark_group(format!("{step_name}/{name}"));
                group
                    .sample_size(20)
                    .warm_up_time(Duration::from_millis(500))
                    .measurement_time(Duration::from_secs(2));
                for batch in BATCHES {
                    group.throughput(Throughput::Elements(batch));
                    let id = BenchmarkId::new(format!("{batch} of"), waiting);
                    group.bench_function(id, |bencher| {
                        bencher.iter_custom(|cycles| {
                            runtime.block_on(async {
                                let mut sum = Duration::ZERO;
                                for _ in 0..cycles {
                                    sum += ledger.cycle(batch, step).await;
                                }
                                sum
                            })
                        });
                    });
                }
                group.finish();
            }
        }
    }
}

criterion_group!(benches, steps);
criterion_main!(benches);
