//! A simulated desk with workers at it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use sebastian_core::{
    AccountId, AgentId, Conversation, InboxId, Policy, Role, RoomId, Timing,
    invariants::{self, Violation},
};
use sebastian_platform::{
    qiscus::{Qiscus, QiscusConfig, parse_allocation, parse_resolve},
    simulated::{Applied, By, Change, Simulated, SimulatedConfig, State},
};
use sebastian_roster::{
    Doorbell, InProcessRosterCache, LocalBell, WakeReason, WakeUp, WakeUps, WakeUpsConfig,
};
use sebastian_store::{MemoryStore, Store};
use sebastian_worker::{Worker, WorkerError, WorkerSettings};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// Long enough for a loaded machine; nothing waits this long when all is well.
pub const SOON: Duration = Duration::from_secs(20);

pub const WA: InboxId = InboxId(88121);

/// Times short enough to watch in a test.
pub const QUICK: Timing = Timing {
    settle_window: Duration::from_millis(400),
    reservation: Duration::from_millis(1_500),
    refusal: Duration::from_secs(300),
};

pub struct Desk {
    pub platform: Simulated,
    pub store: Arc<MemoryStore>,
    pub account: AccountId,
    pub policy: Policy,
    config: SimulatedConfig,
    cache: InProcessRosterCache,
    workers: Vec<Running>,
    started: AtomicU32,
}

struct Running {
    stop: CancellationToken,
    bell: LocalBell,
    run: JoinHandle<Result<(), WorkerError>>,
}

impl Desk {
    /// `agents` agents of one inbox, each with room for `capacity`, and no worker yet.
    pub async fn of(agents: u32, capacity: u32) -> Self {
        Self::on(SimulatedConfig::desk(agents), capacity).await
    }

    pub async fn on(config: SimulatedConfig, capacity: u32) -> Self {
        let _ = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::from_default_env())
            .with_test_writer()
            .try_init();
        let platform = Simulated::start(config.clone()).unwrap();
        let store = Arc::new(MemoryStore::new(QUICK));
        let account = store.open_account("qiscus", &config.app_id).await.unwrap();
        let policy = Policy { capacity: Some(capacity), ..Policy::default() };
        let cache = InProcessRosterCache::default();
        Self {
            platform,
            store,
            account,
            policy,
            config,
            cache,
            workers: Vec::new(),
            started: AtomicU32::new(0),
        }
    }

    /// Sets one more worker to work.
    pub fn add_worker(&mut self) {
        let stop = CancellationToken::new();
        let sweep = Duration::from_millis(100);
        let wakes =
            WakeUps::in_process(WakeUpsConfig { accounts: vec![self.account], sweep, stop: stop.clone() });
        let bell = wakes.bell();
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let worker = Worker {
            account: self.account,
            store: self.store.clone(),
            platform: Arc::new(self.client()),
            cache: Arc::new(self.cache.clone()),
            wakes,
            policy: self.policy.clone(),
            timing: QUICK,
            settings: WorkerSettings {
                name: format!("worker-{number}"),
                max_inflight: 256,
                sweep,
                poll_interval: Duration::from_millis(200),
                reconcile_interval: Duration::from_millis(500),
                grace: Duration::from_secs(2),
                retention: Duration::from_secs(3_600),
            },
        };
        let run = tokio::spawn(worker.run(stop.clone()));
        self.workers.push(Running { stop, bell, run });
    }

    pub fn client(&self) -> Qiscus {
        let secret = self.config.secret_key.clone().into();
        let mut config = QiscusConfig::new(&self.platform.url(), &self.config.app_id, secret);
        config.timeout = Duration::from_millis(500);
        Qiscus::new(config).unwrap()
    }

    /// A customer writes, and the webhook is accepted.
    pub async fn chat(&self, room: &str) {
        if let Some(body) = self.platform.new_chat(room, WA) {
            self.allocate(&body).await;
        }
    }

    /// An agent, or the owner, resolves the room, and the webhook is accepted.
    pub async fn resolve(&self, room: &str) {
        if let Some(body) = self.platform.resolve(room, None) {
            self.resolved(&body).await;
        }
    }

    pub async fn allocate(&self, body: &Value) {
        let event = parse_allocation(body.to_string().as_bytes(), &self.config.app_id).unwrap();
        self.store.accept(self.account, &[event]).await.unwrap();
        self.ring(WakeReason::Allocate).await;
    }

    pub async fn resolved(&self, body: &Value) {
        let event = parse_resolve(body.to_string().as_bytes(), &self.config.app_id).unwrap();
        self.store.accept(self.account, &[event]).await.unwrap();
        self.ring(WakeReason::Resolve).await;
    }

    async fn ring(&self, reason: WakeReason) {
        for worker in &self.workers {
            let wake = WakeUp { account: self.account, reason, rung_at: std::time::SystemTime::now().into() };
            worker.bell.ring(wake).await.unwrap();
        }
    }

    pub async fn conversation(&self, room: &str) -> Option<Conversation> {
        self.store.latest_in(self.account, &RoomId::parse(room).unwrap()).await.unwrap()
    }

    pub async fn load(&self, agent: AgentId) -> u32 {
        let loads = self.store.loads(self.account, sebastian_core::Timestamp::default()).await.unwrap();
        loads.get(&agent).map_or(0, |load| load.open)
    }

    /// Those who are dealt conversations.
    pub fn agents(&self) -> Vec<AgentId> {
        self.config.agents.iter().filter(|agent| agent.role == Role::Agent).map(|agent| agent.id).collect()
    }

    /// Waits until the platform has made `count` assignments for us.
    pub async fn assigned(&self, count: usize) {
        let ours = |change: &&Applied| matches!(change.change, Change::Assigned { by: By::Api, .. });
        let made = |state: &State| state.applied().iter().filter(ours).count();
        let enough = self.platform.wait_until(SOON, |state| made(state) >= count).await;
        assert!(enough.is_ok(), "{} of {count} rooms were assigned", self.platform.read(made));
    }

    /// Every promise that can be read off the two ledgers.
    pub async fn violations(&self, capacity: u32) -> Vec<Violation> {
        let mut applied = Vec::new();
        for change in self.platform.applied() {
            if let Change::Assigned { agent, .. } = change.change {
                applied.push((RoomId::parse(&change.room).unwrap(), change.service, agent));
            }
        }
        let highest: BTreeMap<_, _> =
            self.agents().into_iter().map(|agent| (agent, self.platform.max_load_seen(agent))).collect();
        let reserved = self.store.first_reservations(self.account, 100_000).await.unwrap();
        let mut violations =
            invariants::one_agent_each(applied.iter().map(|(room, service, agent)| (room, *service, *agent)));
        violations.extend(invariants::never_over_capacity(&highest, capacity));
        violations.extend(invariants::first_come_first_served(&reserved));
        violations
    }

    /// Stops every worker and waits for it.
    pub async fn stop(&mut self) {
        for worker in self.workers.drain(..) {
            worker.stop.cancel();
            worker.run.await.unwrap().unwrap();
        }
    }

    /// Ends every worker at once, as a crash would: nothing is finished, nothing handed back.
    pub fn crash(&mut self) {
        for worker in self.workers.drain(..) {
            worker.run.abort();
        }
    }
}
