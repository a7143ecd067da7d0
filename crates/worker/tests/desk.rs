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
    AccountId, AgentId, Conversation, InboxId, Order, Policy, Role, RoomId, State, Strategy, Timestamp,
    Timing,
    invariants::{self, Violation},
    rulebook::{AssignmentPolicy, PriorityBoost},
};
use sebastian_platform::{
    Platform,
    qiscus::{Qiscus, QiscusConfig, parse_allocation, parse_resolve},
    simulated::{Applied, By, Change, Endpoint, Simulated, SimulatedConfig, State as Simulation},
};
use sebastian_roster::{
    Doorbell, InProcessRosterCache, LocalBell, RosterCache, WakeReason, WakeUp, WakeUps, WakeUpsConfig,
};
use sebastian_store::{AuditEntry, Decide, Keep, MemoryStore, Store};
use sebastian_testkit::eventually;
use sebastian_worker::{Worker, WorkerError, WorkerSettings};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::{Builder, Runtime},
    task::JoinHandle,
};
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
    pub store: Arc<dyn Store>,
    /// Each worker has its own way to the ledger, as each process has.
    open_store: Box<dyn Fn() -> Arc<dyn Store> + Send>,
    pub account: AccountId,
    pub policy: Policy,
    pub timing: Timing,
    config: SimulatedConfig,
    pub cache: InProcessRosterCache,
    workers: Vec<Running>,
    started: AtomicU32,
}

/// A worker on a runtime of its own, as if in its own process.
struct Running {
    stop: CancellationToken,
    bell: LocalBell,
    run: JoinHandle<Result<(), WorkerError>>,
    runtime: Runtime,
}

/// What differs from worker to worker.
pub struct Hands {
    pub store: Arc<dyn Store>,
    pub platform: Arc<dyn Platform>,
    pub cache: Arc<dyn RosterCache>,
    pub max_inflight: u32,
    pub sweep: Duration,
    pub reconcile_interval: Duration,
    pub grace: Duration,
}

impl Desk {
    /// `agents` agents of one inbox, each with room for `capacity`, and no worker yet.
    pub async fn of(agents: u32, capacity: u32) -> Self {
        Self::on(SimulatedConfig::desk(agents), capacity).await
    }

    pub async fn on(config: SimulatedConfig, capacity: u32) -> Self {
        Self::timed(config, capacity, QUICK).await
    }

    /// On a ledger in memory, with times of the test's own.
    pub async fn timed(config: SimulatedConfig, capacity: u32, timing: Timing) -> Self {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(timing));
        Self::with(config, capacity, timing, Box::new(move || store.clone())).await
    }

    pub async fn with(
        config: SimulatedConfig,
        capacity: u32,
        timing: Timing,
        open_store: Box<dyn Fn() -> Arc<dyn Store> + Send>,
    ) -> Self {
        let store = open_store();
        let _ = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::from_default_env())
            .with_test_writer()
            .try_init();
        let platform = Simulated::start(config.clone()).unwrap();
        let account = store.open_account("qiscus", &config.app_id).await.unwrap();
        let policy = Policy { capacity: Some(capacity), ..Policy::default() };
        let cache = InProcessRosterCache::default();
        Self {
            platform,
            store,
            open_store,
            account,
            policy,
            timing,
            config,
            cache,
            workers: Vec::new(),
            started: AtomicU32::new(0),
        }
    }

    /// Sets one more worker to work.
    pub fn add_worker(&mut self) {
        self.add(self.hands());
    }

    /// What a plain worker has.
    pub fn hands(&self) -> Hands {
        Hands {
            store: (self.open_store)(),
            platform: Arc::new(self.client()),
            cache: Arc::new(self.cache.clone()),
            max_inflight: 256,
            sweep: Duration::from_millis(100),
            reconcile_interval: Duration::from_millis(500),
            grace: Duration::from_secs(2),
        }
    }

    /// Sets one more worker to work, with hands of its own.
    pub fn add(&mut self, hands: Hands) {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let _inside = runtime.enter();
        let stop = CancellationToken::new();
        let sweep = hands.sweep;
        let wakes =
            WakeUps::in_process(WakeUpsConfig { accounts: vec![self.account], sweep, stop: stop.clone() });
        let bell = wakes.bell();
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let worker = Worker {
            account: self.account,
            store: hands.store,
            platform: hands.platform,
            cache: hands.cache,
            wakes,
            policy: self.policy.clone(),
            timing: self.timing,
            settings: WorkerSettings {
                name: format!("worker-{number}"),
                max_inflight: hands.max_inflight,
                batch_limit: u32::MAX,
                sweep,
                poll_interval: Duration::from_millis(200),
                reconcile_interval: hands.reconcile_interval,
                audit_interval: Duration::from_secs(60),
                grace: hands.grace,
                keep: Keep { ledger: Duration::from_secs(3_600), decisions: Duration::from_secs(3_600) },
            },
        };
        let run = runtime.spawn(worker.run(stop.clone()));
        self.workers.push(Running { stop, bell, run, runtime });
    }

    pub fn client(&self) -> Qiscus {
        self.client_with(Duration::from_millis(500))
    }

    pub fn client_with(&self, timeout: Duration) -> Qiscus {
        let secret = self.config.secret_key.clone().into();
        let mut config = QiscusConfig::new(&self.platform.url(), &self.config.app_id, secret);
        config.timeout = timeout;
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

    /// A customer writes in a channel of the test's own.
    pub async fn chat_in(&self, inbox: InboxId, room: &str) {
        if let Some(body) = self.platform.new_chat(room, inbox) {
            self.allocate(&body).await;
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

    /// A person takes the agent out of the room: the customer waits again.
    pub async fn remove(&self, room: &str, agent: AgentId) {
        let SimulatedConfig { app_id, secret_key, .. } = &self.config;
        let form = format!("room_id={room}&agent_id={agent}");
        let host = self.platform.url().replace("http://", "");
        let request = format!(
            "POST /api/v1/admin/service/remove_agent HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
             Qiscus-App-Id: {app_id}\r\nQiscus-Secret-Key: {secret_key}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
            form.len()
        );
        let mut stream = TcpStream::connect(host).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    pub async fn ring(&self, reason: WakeReason) {
        for worker in &self.workers {
            let wake = WakeUp { account: self.account, reason, rung_at: std::time::SystemTime::now().into() };
            worker.bell.ring(wake).await.unwrap();
        }
    }

    pub async fn conversation(&self, room: &str) -> Option<Conversation> {
        self.store.latest_in(self.account, &RoomId::parse(room).unwrap()).await.unwrap()
    }

    pub async fn load(&self, agent: AgentId) -> u32 {
        let loads = self.store.loads(self.account, Timestamp::default()).await.unwrap();
        loads.get(&agent).map_or(0, |load| load.open)
    }

    /// Where the room's newest conversation stands.
    pub async fn state(&self, room: &str) -> Option<State> {
        self.conversation(room).await.map(|found| found.state)
    }

    pub async fn is_assigned(&self, room: &str) -> bool {
        matches!(self.state(room).await, Some(State::Assigned { .. }))
    }

    /// Waits until the ledger calls the room assigned, and says to whom.
    pub async fn assigned_in_ledger(&self, room: &str) -> AgentId {
        eventually("the ledger calls it assigned", SOON, async || match self.state(room).await {
            Some(State::Assigned { agent, .. }) => Ok(agent),
            other => Err(other),
        })
        .await
    }

    /// Failures in a row, as the ledger has them.
    pub async fn failures(&self) -> u32 {
        let request = Decide {
            account: self.account,
            roster: Arc::default(),
            answers: Arc::default(),
            policy: &self.policy,
            limit: 0,
            record: false,
        };
        self.store.decide(&request, &|_, _| Vec::new()).await.unwrap().failures
    }

    /// How often this was asked of the platform.
    pub fn calls(&self, endpoint: Endpoint) -> usize {
        self.platform.read(|state| state.requests().iter().filter(|call| call.endpoint == endpoint).count())
    }

    /// Waits until this was asked of the platform so many more times.
    pub async fn called_again(&self, endpoint: Endpoint, times: usize) {
        let enough = self.calls(endpoint) + times;
        let made = |state: &Simulation| {
            state.requests().iter().filter(|call| call.endpoint == endpoint).count() >= enough
        };
        self.platform.wait_until(SOON, made).await.unwrap();
    }

    /// Waits until ledger and platform agree on every agent's load.
    pub async fn loads_agree(&self) {
        eventually("loads agree", SOON, async || {
            let loads = self.store.loads(self.account, Timestamp::default()).await.unwrap();
            let ours = loads.iter().map(|(agent, load)| (*agent, load.open)).collect();
            let all = self.config.agents.iter().map(|agent| agent.id);
            let theirs = all.map(|agent| (agent, self.platform.load(agent))).collect();
            let apart = invariants::loads_agree(&ours, &theirs);
            if apart.is_empty() { Ok(()) } else { Err(apart) }
        })
        .await;
    }

    /// Those who are dealt conversations.
    pub fn agents(&self) -> Vec<AgentId> {
        self.config.agents.iter().filter(|agent| agent.role == Role::Agent).map(|agent| agent.id).collect()
    }

    /// Waits until the platform has made `count` assignments for us.
    pub async fn assigned(&self, count: usize) {
        let ours = |change: &&Applied| matches!(change.change, Change::Assigned { by: By::Api, .. });
        let made = |state: &Simulation| state.applied().iter().filter(ours).count();
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
        while !self.workers.is_empty() {
            self.stop_first().await;
        }
    }

    /// Stops the worker that has run longest and waits for it.
    pub async fn stop_first(&mut self) {
        let worker = self.workers.remove(0);
        worker.stop.cancel();
        worker.run.await.unwrap().unwrap();
        worker.runtime.shutdown_background();
    }

    /// Ends the worker that has run longest at once.
    pub fn crash_first(&mut self) {
        self.workers.remove(0).runtime.shutdown_background();
    }

    /// Ends every worker at once, as a crash would: nothing is finished, nothing handed back.
    pub fn crash(&mut self) {
        self.workers.drain(..).for_each(|worker| worker.runtime.shutdown_background());
    }
}

impl Drop for Desk {
    /// A failing test must not drop a runtime inside another.
    fn drop(&mut self) {
        self.crash();
    }
}

/// An assignment policy that changes nothing of the account's default.
pub fn assignment_policy(now: Timestamp) -> AssignmentPolicy {
    AssignmentPolicy {
        name: "policy".into(),
        description: String::new(),
        enabled: true,
        strategy: Strategy::Balanced,
        order: Order::EarliestCreated,
        boost: PriorityBoost::default(),
        fair_distribution: None,
        exclude_older_than_hours: None,
        capacity: None,
        reassigns_strays: None,
        seed: 0,
        created_at: now,
        updated_at: now,
    }
}

/// What is written down of a change.
pub fn entry() -> AuditEntry {
    AuditEntry { action: "update", resource: "assignment_policy", id: "1".into(), before: None, after: None }
}
