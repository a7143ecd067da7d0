//! A ledger with one account, its clock, and short words for what a test does with them.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use sebastian_core::{
    AccountId, Agent, AgentId, Answers, Conversation, ConversationId, EventKind, FairDistribution, Hints,
    InboxId, LatestService, NewEvent, Policy, Presence, Role, RoomId, Roster, Rulebook, ServiceId, Settled,
    Settlement, Source, State, Strategy, Timestamp, Timing, Update, Verdict, decide,
};
use sebastian_store::{
    Attempt, AuditEntry, Counts, Decide, Decided, MemoryStore, Outbox, PostgresStore, Recorded, Reservation,
    SqliteStore, Store,
};
use sebastian_testkit::Database;
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

pub const ANA: AgentId = AgentId(1);
pub const BUDI: AgentId = AgentId(2);
pub const SALES: InboxId = InboxId(7);
pub const SUPPORT: InboxId = InboxId(8);
pub const SECOND: Duration = Duration::from_secs(1);
/// Longer than the settle window, the reservation, and the refusal.
pub const SETTLED: Duration = Duration::from_secs(11);
pub const OVERDUE: Duration = Duration::from_secs(9);
pub const FORGIVEN: Duration = Duration::from_secs(301);

/// When tests begin.
const DAWN: i64 = 1_700_000_000_000;

/// A clock that the test moves, in the place of the server's own: `pg_catalog` comes last in the search path.
const TEST_CLOCK: &str = "
    CREATE TABLE public.test_clock (at TIMESTAMPTZ NOT NULL);
    INSERT INTO public.test_clock VALUES (to_timestamp(1700000000));
    CREATE FUNCTION public.clock_timestamp() RETURNS TIMESTAMPTZ LANGUAGE sql VOLATILE
        AS 'SELECT at FROM public.test_clock'";

/// Which ledger a promise is tried on.
#[derive(Debug, Clone, Copy)]
pub enum Ledger {
    Memory,
    Postgres,
    Sqlite,
}

impl Ledger {
    pub async fn desk(self) -> Desk {
        let time = Arc::new(AtomicI64::new(DAWN));
        let (store, outbox, place): (Arc<dyn Store>, Arc<dyn Outbox>, _) = match self {
            Self::Memory => {
                let clock = time.clone();
                let now = move || Timestamp::from_millis(clock.load(Ordering::SeqCst));
                let store = Arc::new(MemoryStore::with_clock(Timing::default(), now));
                (store.clone(), store, Place::Here)
            }
            Self::Postgres => {
                let database = TimedDatabase::create().await;
                let store = Arc::new(database.store(8));
                (store.clone(), store, Place::Database(database))
            }
            Self::Sqlite => {
                let file = TimedFile::create(time.clone()).await;
                let store = Arc::new(file.store());
                (store.clone(), store, Place::File(file))
            }
        };
        let account = store.open_account("qiscus", "test").await.unwrap();
        Desk { store, outbox, account, time, place }
    }
}

/// A migrated database whose clock stands still.
pub struct TimedDatabase {
    admin: Client,
    database: Database,
}

impl TimedDatabase {
    pub async fn create() -> Self {
        let database = Database::create().await;
        let admin = connect(&database.url()).await;
        admin.batch_execute(TEST_CLOCK).await.unwrap();
        let timed = Self { admin, database };
        timed.store(1).migrate().await.unwrap();
        timed
    }

    /// A store with a pool of its own.
    pub fn store(&self, pool_size: usize) -> PostgresStore {
        let url = format!("{}?options=-c%20search_path%3Dpublic,pg_catalog", self.database.url());
        PostgresStore::new(&url, pool_size, Timing::default()).unwrap()
    }

    pub fn url(&self) -> String {
        self.database.url()
    }

    pub async fn set_clock(&self, ms: i64) {
        let set = "UPDATE public.test_clock SET at = to_timestamp($1::bigint / 1000.0)";
        self.admin.execute(set, &[&ms]).await.unwrap();
    }
}

/// A migrated file on a clock of the test's.
pub struct TimedFile {
    folder: TempDir,
    time: Arc<AtomicI64>,
}

impl TimedFile {
    pub async fn create(time: Arc<AtomicI64>) -> Self {
        let file = Self { folder: tempfile::tempdir().unwrap(), time };
        file.store().migrate().await.unwrap();
        file
    }

    /// A store with connections of its own.
    pub fn store(&self) -> SqliteStore {
        let time = self.time.clone();
        let now = move || Timestamp::from_millis(time.load(Ordering::SeqCst));
        SqliteStore::with_clock(&self.path(), Timing::default(), now).unwrap()
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("ledger.db")
    }
}

/// Where a ledger is kept.
enum Place {
    Here,
    Database(TimedDatabase),
    File(TimedFile),
}

pub async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// One account of a fresh ledger.
pub struct Desk {
    pub store: Arc<dyn Store>,
    pub outbox: Arc<dyn Outbox>,
    pub account: AccountId,
    time: Arc<AtomicI64>,
    place: Place,
}

impl Desk {
    /// Another process's way to the same ledger.
    pub fn another(&self) -> Arc<dyn Store> {
        match &self.place {
            Place::Here => self.store.clone(),
            Place::Database(database) => Arc::new(database.store(4)),
            Place::File(file) => Arc::new(file.store()),
        }
    }

    /// The file of a ledger in a file.
    pub fn file(&self) -> PathBuf {
        let Place::File(file) = &self.place else { panic!("this ledger is in no file") };
        file.path()
    }

    /// Lets go of the file: the process that served from it has ended.
    pub fn close(&mut self) {
        let nowhere = Arc::new(MemoryStore::with_clock(Timing::default(), || Timestamp::from_millis(0)));
        (self.store, self.outbox) = (nowhere.clone(), nowhere);
    }

    /// The same account, at the same time, of the ledger in a database.
    pub async fn in_database(&self, database: TimedDatabase) -> Self {
        database.set_clock(self.now().as_millis()).await;
        let store = Arc::new(database.store(4));
        let time = Arc::new(AtomicI64::new(self.now().as_millis()));
        Self {
            store: store.clone(),
            outbox: store,
            account: self.account,
            time,
            place: Place::Database(database),
        }
    }

    pub fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.time.load(Ordering::SeqCst))
    }

    pub async fn pass(&self, span: Duration) {
        let now = (self.now() + span).as_millis();
        self.set_clock(now).await;
    }

    /// The clock is put back, as after a failover to a server whose clock is behind.
    pub async fn step_back(&self, span: Duration) {
        let now = (self.now() - span).as_millis();
        self.set_clock(now).await;
    }

    async fn set_clock(&self, now: i64) {
        self.time.store(now, Ordering::SeqCst);
        if let Place::Database(database) = &self.place {
            database.set_clock(now).await;
        }
    }

    /// An operator changes the rulebook.
    pub async fn amend(&self, mut change: impl FnMut(&mut Rulebook) + Send) -> Arc<Rulebook> {
        let mut amend = |rules: &mut Rulebook, _| {
            change(rules);
            vec![entry("1")]
        };
        self.store.amend(self.account, "test", &mut amend).await.unwrap()
    }

    pub async fn decisions(&self, id: ConversationId) -> Vec<Recorded> {
        self.store.decisions(self.account, id, 100).await.unwrap()
    }

    pub async fn accept(&self, events: impl IntoIterator<Item = NewEvent>) {
        let events: Vec<NewEvent> = events.into_iter().collect();
        self.store.accept(self.account, &events).await.unwrap();
    }

    pub async fn decide(&self, crew: &Crew, limit: u32) -> Decided {
        crew.decide(&*self.store, self.account, self.now(), limit).await
    }

    /// Folds what was accepted and gives nothing out.
    pub async fn fold(&self) -> Decided {
        self.decide(&Crew::of(0), 1).await
    }

    /// Reserves for everyone who waits, as far as there is room.
    pub async fn reserve(&self, crew: &Crew) -> Vec<Reservation> {
        self.decide(crew, u32::MAX).await.reserved
    }

    pub async fn confirm(&self, reserved: &[Reservation]) {
        let attempts: Vec<Attempt> = reserved.iter().map(|one| one.attempt).collect();
        let confirmed = self.store.confirm(self.account, &attempts).await.unwrap();
        assert_eq!(confirmed.len(), attempts.len());
    }

    /// Reserves for everyone who waits, and the platform agrees.
    pub async fn assign(&self, crew: &Crew) -> Vec<Reservation> {
        let reserved = self.reserve(crew).await;
        self.confirm(&reserved).await;
        reserved
    }

    pub async fn settle(&self, attempt: Attempt, verdict: Verdict) -> Settled {
        let settlement = Settlement { conversation: attempt.conversation, attempt: attempt.number, verdict };
        self.store.settle(self.account, &[settlement]).await.unwrap()[0]
    }

    pub async fn release(&self, reserved: &[Reservation], refused: bool) {
        for one in reserved {
            assert_eq!(self.settle(one.attempt, Verdict::Released { refused }).await, Settled::Applied);
        }
    }

    pub async fn open_of(&self, agent: AgentId) -> u32 {
        let loads = self.store.loads(self.account, self.now()).await.unwrap();
        loads.get(&agent).map_or(0, |load| load.open)
    }

    pub async fn counts(&self) -> Counts {
        self.store.counts(self.account).await.unwrap()
    }

    pub async fn latest(&self, room: &RoomId) -> Conversation {
        self.find(room).await.unwrap_or_else(|| panic!("room {room} has no conversation"))
    }

    pub async fn find(&self, room: &RoomId) -> Option<Conversation> {
        self.store.latest_in(self.account, room).await.unwrap()
    }

    pub async fn is_waiting(&self, room: &RoomId) -> bool {
        self.latest(room).await.state == State::Waiting { park: None }
    }
}

/// Agents and how they are dealt to.
#[derive(Debug, Clone)]
pub struct Crew {
    pub agents: Vec<Agent>,
    pub policy: Policy,
    pub answers: Answers,
}

impl Crew {
    /// Agents 1 to `n`, online in [`SALES`], three conversations each.
    pub fn of(n: i64) -> Self {
        let agents = (1..=n).map(agent).collect();
        Self { agents, policy: Policy::default(), answers: Answers::default() }
    }

    pub fn capacity(mut self, capacity: u32) -> Self {
        self.policy.capacity = Some(capacity);
        self
    }

    pub fn round_robin(mut self) -> Self {
        self.policy.strategy = Strategy::RoundRobin;
        self
    }

    pub fn fair(mut self, limit: u32, window: Duration) -> Self {
        self.policy.fair_distribution = Some(FairDistribution { limit, window });
        self
    }

    pub async fn decide(&self, store: &dyn Store, account: AccountId, now: Timestamp, limit: u32) -> Decided {
        let roster = Arc::new(Roster::new(1, now, self.agents.clone()));
        let answers = Arc::new(self.answers.clone());
        let request = Decide { account, roster, answers, policy: &self.policy, limit, record: true };
        store.decide(&request, &|snapshot, now| decide(snapshot, &self.policy, now)).await.unwrap()
    }
}

pub fn agent(id: i64) -> Agent {
    Agent {
        id: AgentId(id),
        name: String::new(),
        role: Role::Agent,
        presence: Presence::Online,
        forced_offline: false,
        inboxes: Some(vec![SALES]),
        reported_load: Some(0),
        listed: false,
        online_since: None,
    }
}

pub fn room(n: usize) -> RoomId {
    RoomId::parse(&format!("room-{n}")).unwrap()
}

pub fn session(n: usize) -> ServiceId {
    ServiceId::parse(&format!("session-{n}")).unwrap()
}

fn event(room: &RoomId, kind: EventKind) -> NewEvent {
    NewEvent { room: room.clone(), kind, source: Source::Webhook }
}

pub fn allocate(room: &RoomId) -> NewEvent {
    allocate_in(room, Some(SALES))
}

pub fn allocate_in(room: &RoomId, inbox: Option<InboxId>) -> NewEvent {
    event(room, EventKind::Allocate { inbox, latest_service: None, hints: Hints::default() })
}

/// The allocation of a customer whose latest session is `n`.
pub fn allocate_naming(room: &RoomId, n: usize, resolved: bool) -> NewEvent {
    let latest_service = Some(LatestService { id: session(n), resolved });
    event(room, EventKind::Allocate { inbox: Some(SALES), latest_service, hints: Hints::default() })
}

/// An operator changes what the conversation in `room` carries.
pub fn update(room: &RoomId, update: Update) -> NewEvent {
    NewEvent { source: Source::Operator, ..event(room, EventKind::Update(update)) }
}

pub fn entry(id: &str) -> AuditEntry {
    AuditEntry { action: "update", resource: "rulebook", id: id.to_owned(), before: None, after: None }
}

pub fn resolve(room: &RoomId) -> NewEvent {
    event(room, EventKind::Resolve { service: None })
}

pub fn resolve_session(room: &RoomId, n: usize) -> NewEvent {
    event(room, EventKind::Resolve { service: Some(session(n)) })
}

pub fn rooms_of(reserved: &[Reservation]) -> Vec<RoomId> {
    reserved.iter().map(|one| one.room.clone()).collect()
}

pub fn agents_of(reserved: &[Reservation]) -> Vec<AgentId> {
    reserved.iter().map(|one| one.agent).collect()
}
