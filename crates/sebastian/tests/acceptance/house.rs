//! A desk of real processes on real servers, or of one process on a data folder, with default settings, at the simulated
//! platform.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use rusqlite::{Connection, OpenFlags, types::ValueRef};
use sebastian_core::{
    AccountId, AgentId, InboxId, RoomId, Timestamp, Timing,
    invariants::{self, Violation},
};
use sebastian_platform::simulated::{Applied, By, Change, Simulated, SimulatedConfig, State};
use sebastian_store::{PostgresStore, SqliteStore, Store};
use sebastian_testkit::{ChaosProxy, Child, Database, Durability, Postgres, Redis, eventually};
use tokio_postgres::{NoTls, SimpleQueryMessage, SimpleQueryRow};

use crate::processes::{Folder, SOON, address};

pub const WA: InboxId = InboxId(88_121);

/// How long the product may take to recover from a fault.
pub const RECOVERY: Duration = Duration::from_secs(20);

/// Long enough for a loaded machine; nothing waits this long when all is well.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Webhooks under way at once.
const SENDERS: usize = 32;

/// Settings, as the environment of every process of a house.
pub type Settings = &'static [(&'static str, &'static str)];

/// Calls that are given up after 250 ms and reservations that last 500 ms: what a fault leaves behind is settled within
/// seconds, by the same steps as with the defaults.
pub const QUICK: Settings = &[
    ("SEBASTIAN__QISCUS__TIMEOUT_MS", "250"),
    ("SEBASTIAN__QISCUS__CONNECT_TIMEOUT_MS", "250"),
    ("SEBASTIAN__WORKER__RESERVATION_MS", "500"),
    ("SEBASTIAN__WORKER__SWEEP_MS", "100"),
    ("SEBASTIAN__WORKER__GRACE_MS", "3000"),
    ("SEBASTIAN__POLLER__INTERVAL_MS", "500"),
    ("SEBASTIAN__RECONCILE__SETTLE_WINDOW_MS", "500"),
];

/// The data folder, beside the settings.
pub const DATA: &str = "data";

/// What a house stands on.
enum Ground {
    /// Any number of processes, on servers.
    Servers { database: Database, redis: Redis },
    /// One process, which takes webhooks and assigns, on the folder `data`.
    Folder,
}

pub struct House {
    pub platform: Simulated,
    pub postgres: Option<Postgres>,
    /// On a folder it is the worker too.
    pub ingest: Child,
    pub ingest_address: String,
    pub workers: Vec<Child>,
    pub tenant: SimulatedConfig,
    pub capacity: u32,
    settings: Settings,
    /// Where the next process is to take webhooks; 0 for wherever it likes.
    port: String,
    ground: Ground,
    folder: Folder,
}

impl House {
    /// `agents` agents of one inbox with room for `capacity` each, one ingest and `workers` workers.
    pub async fn open(agents: u32, capacity: u32, workers: usize) -> Self {
        Self::of(SimulatedConfig::desk(agents), capacity, workers, None).await
    }

    /// On a PostgreSQL of its own that flushes to disk, so that it may be killed.
    pub async fn on_own_postgres(agents: u32, capacity: u32, workers: usize) -> Self {
        let postgres = Postgres::private(Durability::Fsync).await;
        Self::of(SimulatedConfig::desk(agents), capacity, workers, Some(postgres)).await
    }

    pub async fn of(
        tenant: SimulatedConfig,
        capacity: u32,
        workers: usize,
        postgres: Option<Postgres>,
    ) -> Self {
        Self::with(tenant, capacity, workers, postgres, &[]).await
    }

    /// With other settings than the defaults.
    pub async fn with(
        tenant: SimulatedConfig,
        capacity: u32,
        workers: usize,
        postgres: Option<Postgres>,
        settings: Settings,
    ) -> Self {
        let database = match &postgres {
            Some(own) => Database::create_at(&own.url()).await,
            None => Database::create().await,
        };
        let redis = Redis::start().await;
        let servers = format!(
            "db: {{ connection_string: \"{}\" }}\nredis: {{ url: \"{}\" }}\n",
            database.url(),
            redis.url()
        );
        let ground = Ground::Servers { database, redis };
        let mut house = Self::build(tenant, capacity, settings, (ground, &servers), &[]).await;
        house.postgres = postgres;
        for _ in 0..workers {
            house.add_worker().await;
        }
        house
    }

    /// One process with a ledger of its own in a folder, and with more in its environment than those to come.
    pub async fn embedded(
        tenant: SimulatedConfig,
        capacity: u32,
        settings: Settings,
        first: &[(&str, &str)],
    ) -> Self {
        let mut house = Self::build(tenant, capacity, settings, (Ground::Folder, ""), first).await;
        // Those to come take its place, for the platform too.
        let (_, port) = house.ingest_address.rsplit_once(':').unwrap();
        house.port = port.to_owned();
        house
    }

    async fn build(
        tenant: SimulatedConfig,
        capacity: u32,
        settings: Settings,
        (ground, servers): (Ground, &str),
        first: &[(&str, &str)],
    ) -> Self {
        let platform = Simulated::start(tenant.clone()).unwrap();
        let SimulatedConfig { app_id, secret_key, admin_email, admin_password, .. } = &tenant;
        // The keys of the Go original, and a port that is free.
        let folder = Folder::with(&format!(
            "{servers}listen: {{ host: 127.0.0.1, port: 0 }}\n\
             events: {{ allow_private: true }}\n\
             webhook: {{ base_url: \"https://desk.example\", max_current_customer: {capacity} }}\n\
             qiscus: {{ base_url: \"{}\", app_id: {app_id}, secret_key: {secret_key}, email: {admin_email}, \
             password: {admin_password} }}\n",
            platform.url(),
        ));
        let ingest = folder.start_with(ground.ingest(), &[settings, first].concat());
        let ingest_address = address(&ingest).await;
        platform.send_webhooks_to(&format!("http://{ingest_address}"));
        Self {
            platform,
            postgres: None,
            ingest,
            ingest_address,
            workers: Vec::new(),
            tenant,
            capacity,
            settings,
            port: "0".to_owned(),
            ground,
            folder,
        }
    }

    /// Starts one more worker and waits until it is up. On a folder there is room for one, in place of one that died.
    pub async fn add_worker(&mut self) {
        if let Ground::Folder = self.ground {
            return self.replace_ingest().await;
        }
        let worker = self.start_worker(&[]);
        address(&worker).await;
        self.workers.push(worker);
    }

    /// Starts a worker with more in its environment than the others, to be looked after by the test.
    pub fn start_worker(&self, more: &[(&str, &str)]) -> Child {
        match self.ground {
            Ground::Servers { .. } => {
                self.folder.start_with(&["-e", "worker"], &[self.settings, more].concat())
            }
            Ground::Folder => self.start_ingest(more),
        }
    }

    fn start_ingest(&self, more: &[(&str, &str)]) -> Child {
        let port = [("SEBASTIAN__LISTEN__PORT", &*self.port)];
        self.folder.start_with(self.ground.ingest(), &[self.settings, &port, more].concat())
    }

    /// Kills the process that takes webhooks and waits for its end, after which it holds no folder.
    pub async fn kill_ingest(&self) {
        self.ingest.kill9();
        self.ingest.wait(SOON).await;
    }

    /// Starts a command by hand.
    pub fn start(&self, words: &[&str]) -> Child {
        self.folder.start(words)
    }

    /// Starts another ingest in place of the one there is, and points the platform's webhooks at it.
    pub async fn replace_ingest(&mut self) {
        self.replace_ingest_with(&[]).await;
    }

    /// The same, with more in its environment.
    pub async fn replace_ingest_with(&mut self, more: &[(&str, &str)]) {
        self.ingest = self.start_ingest(more);
        self.ingest_address = address(&self.ingest).await;
        self.platform.send_webhooks_to(&format!("http://{}", self.ingest_address));
    }

    /// Customers write in these rooms, many at once; every webhook must be accepted.
    pub async fn customers_write(&self, rooms: &[String]) {
        let sent = stream::iter(rooms).map(|room| self.platform.customer_writes(room, WA));
        let refused: Vec<_> = sent
            .buffer_unordered(SENDERS)
            .filter(|sent| std::future::ready(!is_accepted(sent)))
            .collect()
            .await;
        assert!(refused.is_empty(), "{refused:?}");
    }

    /// Whoever serves the room resolves it; the webhook must be accepted.
    pub async fn resolve(&self, room: &str) {
        let sent = self.platform.agent_resolves(room).await;
        assert!(is_accepted(&sent), "{room}: {sent:?}");
    }

    /// Waits until the platform has made `count` assignments for us.
    pub async fn assigned(&self, count: usize, within: Duration) {
        let enough = self.platform.wait_until(within, |state| ours(state).count() >= count).await;
        assert!(enough.is_ok(), "{} of {count} within {within:?}\n{}", self.count(), self.said());
    }

    /// How many assignments the platform has made for us.
    pub fn count(&self) -> usize {
        self.platform.read(|state| ours(state).count())
    }

    /// Those who are dealt conversations.
    pub fn agents(&self) -> Vec<AgentId> {
        let dealt = self.tenant.agents.iter().filter(|agent| agent.role == sebastian_core::Role::Agent);
        dealt.map(|agent| agent.id).collect()
    }

    fn database(&self) -> &Database {
        let Ground::Servers { database, .. } = &self.ground else { panic!("this house is on a folder") };
        database
    }

    /// The Redis of a house on servers.
    pub fn redis(&self) -> &Redis {
        let Ground::Servers { redis, .. } = &self.ground else { panic!("this house is on a folder") };
        redis
    }

    /// Where the ledger of a house on servers is, for what a test does to it from outside.
    pub fn database_url(&self) -> String {
        self.database().url()
    }

    /// A bad network before the ledger, and the ledger's URL through it.
    pub async fn proxied_database(&self) -> (ChaosProxy, String) {
        let proxy = ChaosProxy::start(self.database().address()).await;
        let url = self.database().url_via(proxy.address());
        (proxy, url)
    }

    /// Where the ledger of a house on a folder is.
    pub fn ledger_file(&self) -> Option<PathBuf> {
        match self.ground {
            Ground::Servers { .. } => None,
            Ground::Folder => Some(self.folder.path().join(DATA).join("ledger.db")),
        }
    }

    /// What the ledger answers to a question both kinds understand, as text, whatever the columns.
    pub async fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        let Some(file) = self.ledger_file() else {
            let (client, connection) = tokio_postgres::connect(&self.database_url(), NoTls).await.unwrap();
            tokio::spawn(connection);
            let messages = client.simple_query(sql).await.unwrap();
            let texts = |row: &SimpleQueryRow| {
                (0..row.len()).map(|at| row.get(at).unwrap_or_default().to_owned()).collect()
            };
            return messages
                .iter()
                .filter_map(
                    |message| {
                        if let SimpleQueryMessage::Row(row) = message { Some(texts(row)) } else { None }
                    },
                )
                .collect();
        };
        let connection = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        let mut statement = connection.prepare(sql).unwrap();
        let columns = statement.column_count();
        let texts = |row: &rusqlite::Row<'_>| {
            (0..columns)
                .map(|at| {
                    Ok(match row.get_ref(at)? {
                        ValueRef::Integer(number) => number.to_string(),
                        ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
                        ValueRef::Null | ValueRef::Real(_) | ValueRef::Blob(_) => String::new(),
                    })
                })
                .collect()
        };
        let rows = statement.query_map([], texts).unwrap();
        rows.collect::<rusqlite::Result<_>>().unwrap()
    }

    /// The ledger, as the test itself reads it.
    pub async fn ledger(&self) -> (Arc<dyn Store>, AccountId) {
        let store: Arc<dyn Store> = match &self.ground {
            Ground::Servers { database, .. } => {
                Arc::new(PostgresStore::new(&database.url(), 2, Timing::default()).unwrap())
            }
            Ground::Folder => {
                Arc::new(SqliteStore::open(&self.ledger_file().unwrap(), Timing::default()).unwrap())
            }
        };
        let account = store.open_account("qiscus", &self.tenant.app_id).await.unwrap();
        (store, account)
    }

    /// What the ledger says each agent holds.
    pub async fn loads(&self) -> BTreeMap<AgentId, u32> {
        let (store, account) = self.ledger().await;
        let loads = store.loads(account, Timestamp::default()).await.unwrap();
        loads.into_iter().map(|(agent, load)| (agent, load.open)).filter(|(_, open)| *open > 0).collect()
    }

    /// Waits until our ledger, too, calls `count` conversations assigned and nothing is under way.
    pub async fn settled(&self, count: u64, within: Duration) {
        self.settled_with(count, 0, within).await;
    }

    /// The same with `waiting` conversations left in line.
    pub async fn settled_with(&self, count: u64, waiting: u64, within: Duration) {
        let (store, account) = self.ledger().await;
        eventually("the ledger is settled", within, async || {
            let counts = store.counts(account).await.unwrap();
            let is_settled = (counts.assigned, counts.waiting) == (count, waiting)
                && counts.reserved + counts.unfolded == 0;
            if is_settled { Ok(()) } else { Err(counts) }
        })
        .await;
    }

    /// Every promise that can be read off the two ledgers.
    pub async fn violations(&self) -> Vec<Violation> {
        let applied = self.platform.applied();
        let rooms: Vec<(RoomId, i64, AgentId)> = applied.iter().filter_map(assignment).collect();
        let highest: BTreeMap<AgentId, u32> =
            self.agents().into_iter().map(|agent| (agent, self.platform.max_load_seen(agent))).collect();
        let (store, account) = self.ledger().await;
        let reserved = store.first_reservations(account, 100_000).await.unwrap();
        let mut violations =
            invariants::one_agent_each(rooms.iter().map(|(room, service, agent)| (room, *service, *agent)));
        violations.extend(invariants::never_over_capacity(&highest, self.capacity));
        violations.extend(invariants::first_come_first_served(&reserved));
        violations
    }

    /// Everything the processes have logged.
    pub fn said(&self) -> String {
        let all = std::iter::once(&self.ingest).chain(&self.workers);
        all.map(Child::output).collect::<Vec<_>>().join("\n--\n")
    }
}

impl Ground {
    /// The words that start the process that takes webhooks.
    fn ingest(&self) -> &'static [&'static str] {
        match self {
            Self::Servers { .. } => &["-e", "webhook"],
            Self::Folder => &["-e", "all", "--data", DATA],
        }
    }
}

pub fn rooms(count: usize) -> Vec<String> {
    (1..=count).map(|n| format!("{}", 470_000_000 + n)).collect()
}

pub fn is_accepted(sent: &Option<sebastian_platform::simulated::Delivery>) -> bool {
    // Without a delivery an agent is in the room already: no webhook was due.
    sent.as_ref().is_none_or(|delivery| delivery.accepted())
}

pub fn ours(state: &State) -> impl Iterator<Item = &Applied> {
    state.applied().iter().filter(|change| matches!(change.change, Change::Assigned { by: By::Api, .. }))
}

fn assignment(change: &Applied) -> Option<(RoomId, i64, AgentId)> {
    let Change::Assigned { agent, by: By::Api, .. } = change.change else { return None };
    Some((RoomId::parse(&change.room).unwrap(), change.service, agent))
}

/// The rooms we were given agents for, in the order in which the platform did it.
pub fn served(house: &House) -> Vec<Arc<str>> {
    house.platform.read(|state| ours(state).map(|change| change.room.clone()).collect())
}
