//! A desk of real processes on real servers, with default settings, at the simulated platform.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use sebastian_core::{
    AccountId, AgentId, InboxId, RoomId, Timestamp, Timing,
    invariants::{self, Violation},
};
use sebastian_platform::simulated::{Applied, By, Change, Simulated, SimulatedConfig, State};
use sebastian_store::{PostgresStore, Store};
use sebastian_testkit::{ChaosProxy, Child, Database, Durability, Postgres, Redis, eventually};

use crate::processes::{Folder, address};

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

pub struct House {
    pub platform: Simulated,
    pub postgres: Option<Postgres>,
    pub redis: Redis,
    pub ingest: Child,
    pub ingest_address: String,
    pub workers: Vec<Child>,
    pub tenant: SimulatedConfig,
    pub capacity: u32,
    settings: Settings,
    database: Database,
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
        let platform = Simulated::start(tenant.clone()).unwrap();
        let database = match &postgres {
            Some(own) => Database::create_at(&own.url()).await,
            None => Database::create().await,
        };
        let redis = Redis::start().await;
        let SimulatedConfig { app_id, secret_key, admin_email, admin_password, .. } = &tenant;
        // The keys of the Go original, and a port that is free.
        let folder = Folder::with(&format!(
            "listen: {{ host: 127.0.0.1, port: 0 }}\n\
             db: {{ connection_string: \"{}\" }}\n\
             redis: {{ url: \"{}\" }}\n\
             events: {{ allow_private: true }}\n\
             webhook: {{ base_url: \"https://desk.example\", max_current_customer: {capacity} }}\n\
             qiscus: {{ base_url: \"{}\", app_id: {app_id}, secret_key: {secret_key}, email: {admin_email}, \
             password: {admin_password} }}\n",
            database.url(),
            redis.url(),
            platform.url(),
        ));
        let ingest = folder.start_with(&["-e", "webhook"], settings);
        let ingest_address = address(&ingest).await;
        platform.send_webhooks_to(&format!("http://{ingest_address}"));
        let mut house = Self {
            platform,
            postgres,
            redis,
            ingest,
            ingest_address,
            workers: Vec::new(),
            tenant,
            capacity,
            settings,
            database,
            folder,
        };
        for _ in 0..workers {
            house.add_worker().await;
        }
        house
    }

    /// Starts one more worker and waits until it is up.
    pub async fn add_worker(&mut self) {
        let worker = self.start_worker(&[]);
        address(&worker).await;
        self.workers.push(worker);
    }

    /// Starts a worker with more in its environment than the others, to be looked after by the test.
    pub fn start_worker(&self, more: &[(&str, &str)]) -> Child {
        self.folder.start_with(&["-e", "worker"], &[self.settings, more].concat())
    }

    /// Starts another ingest in place of the one there is, and points the platform's webhooks at it.
    pub async fn replace_ingest(&mut self) {
        self.replace_ingest_with(&[]).await;
    }

    /// The same, with more in its environment.
    pub async fn replace_ingest_with(&mut self, more: &[(&str, &str)]) {
        self.ingest = self.folder.start_with(&["-e", "webhook"], &[self.settings, more].concat());
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

    /// Where the ledger is, for what a test does to it from outside.
    pub fn database_url(&self) -> String {
        self.database.url()
    }

    /// A bad network before the ledger, and the ledger's URL through it.
    pub async fn proxied_database(&self) -> (ChaosProxy, String) {
        let proxy = ChaosProxy::start(self.database.address()).await;
        let url = self.database.url_via(proxy.address());
        (proxy, url)
    }

    /// The ledger, as the test itself reads it.
    pub async fn ledger(&self) -> (PostgresStore, AccountId) {
        let store = PostgresStore::new(&self.database.url(), 2, Timing::default()).unwrap();
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
        let (store, account) = self.ledger().await;
        eventually("the ledger is settled", within, async || {
            let counts = store.counts(account).await.unwrap();
            let is_settled =
                counts.assigned == count && counts.reserved + counts.waiting + counts.unfolded == 0;
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
