//! The desk that is played on: the simulated platform, the ingest and the worker of the product, in this process,
//! talking over real HTTP on 127.0.0.1.

use std::{
    collections::{BTreeMap, HashMap},
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use metrics_exporter_prometheus::PrometheusHandle;
use sebastian_core::{AccountId, AgentId, InboxId, Policy, Timing};
use sebastian_courier::Guard;
use sebastian_ingest::{Account, Check, Ingest, Ops, Settings, Targets};
use sebastian_platform::{
    qiscus::{Qiscus, QiscusConfig},
    simulated::{Answer, CountFault, Endpoint, Fault, FaultKind, Simulated, SimulatedConfig, Target},
};
use sebastian_roster::{InProcessRosterCache, WakeUps, WakeUpsConfig};
use sebastian_store::{Counts, Keep, Outbox, Store};
use sebastian_worker::{Worker, WorkerSettings};
use tokio::{
    sync::{Mutex, mpsc},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{home::Home, pace::Pace, script::Script};
use crate::{config::Problem, failure::Failure, telemetry};

const RESERVATION: Duration = Duration::from_secs(3);
const REFUSAL: Duration = Duration::from_secs(30);
/// The least lasts longer than a call, the most is the product's default.
const SETTLE_WINDOW: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(10));

const POLL_INTERVAL: Duration = Duration::from_millis(250);
const RECONCILE_INTERVAL: Duration = Duration::from_secs(1);
const SWEEP: Duration = Duration::from_millis(200);
const CALL_TIMEOUT: Duration = Duration::from_secs(1);
const GRACE: Duration = Duration::from_secs(2);
const AUDIT_INTERVAL: Duration = Duration::from_secs(60);

/// An agent's switch is known after this: a poll sees it, and what was decided before has been carried out.
pub(crate) const SWITCH_NOTICED_WITHIN: Duration = Duration::from_millis(1_500);

/// The ledger keeps everything for as long as anybody plays.
const RETENTION: Duration = Duration::from_secs(7 * 24 * 3_600);

/// Two copies of each allocation webhook: Qiscus was seen to send them under load.
const ALLOCATION_COPIES: u32 = 2;

/// The ingest and the worker.
const PARTS: usize = 2;

/// Everything that runs.
pub(crate) struct Desk {
    pub platform: Simulated,
    pub store: Arc<dyn Store>,
    outbox: Arc<dyn Outbox>,
    pub account: AccountId,
    pub app_id: String,
    pub ingest_url: String,
    /// What each inbox is: `wa`, `fb`, ….
    pub sources: HashMap<InboxId, String>,
    stop: CancellationToken,
    parts: JoinSet<Result<(), Failure>>,
    failures: (mpsc::Sender<Failure>, Mutex<mpsc::Receiver<Failure>>),
    /// Last, as the ledger is in it.
    pub home: Home,
}

/// How far the platform's lists and counts stay behind, and for how long the worker therefore does not believe them.
///
/// Live, they lag by seconds and a chat takes minutes. Where an hour takes half a minute, so many seconds would be
/// longer than a chat; so the lag keeps its proportion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lag {
    settle_window: Duration,
}

impl Lag {
    /// What suits a play of `script` at `pace`.
    pub fn of(script: &Script, pace: Pace) -> Self {
        let shortest_chat = pace.here(script.shortest_chat());
        let settle_window = (pace.length / 100).min(shortest_chat / 2);
        Self { settle_window: settle_window.clamp(SETTLE_WINDOW.0, SETTLE_WINDOW.1) }
    }

    /// A chat given by hand is known to the worker after this: the platform's lists show it, a comparison reads them,
    /// and what closed a moment ago is believed again. The rest is slack for a busy machine.
    pub fn gift_noticed_within(self) -> Duration {
        self.settle_window * 2 + RECONCILE_INTERVAL * 2
    }

    fn timing(self) -> Timing {
        Timing { settle_window: self.settle_window, reservation: RESERVATION, refusal: REFUSAL }
    }

    fn lists(self) -> Duration {
        self.settle_window / 4
    }

    fn counts(self) -> Duration {
        self.settle_window / 5
    }
}

/// How the ledger stands.
pub(crate) struct Standing {
    pub counts: Counts,
    pub loads: BTreeMap<AgentId, u32>,
}

impl Standing {
    /// Whether nobody waits, nobody is served and nothing is left to be done.
    pub fn is_at_rest(&self) -> bool {
        let Counts { waiting, parked, reserved, assigned, unfolded, .. } = self.counts;
        waiting + parked + reserved + assigned + unfolded == 0 && self.loads.values().all(|load| *load == 0)
    }
}

impl Desk {
    /// Opens the desk of `script`. Must be called within a tokio runtime, once a process.
    pub async fn open(script: &Script, lag: Lag, home: Home) -> Result<Self, Failure> {
        let metrics = telemetry::start_metrics()?;
        let tenant = tenant(script, lag);
        let platform = Simulated::start(tenant.clone())
            .map_err(|error| Failure::Server("simulated platform's", error))?;
        let (store, outbox) = home.ledger(lag.timing()).await?;
        let account = store.open_account("qiscus", &tenant.app_id).await?;
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let cannot_listen = |source| Failure::Listen { address: any_port, source };
        let listener = sebastian_ingest::bind(any_port).map_err(cannot_listen)?;
        let ingest_url = format!("http://{}", listener.local_addr().map_err(cannot_listen)?);
        platform.send_webhooks_to(&ingest_url);

        let (failed, failures) = mpsc::channel(PARTS);
        let stop = CancellationToken::new();
        let mut desk = Self {
            platform,
            store,
            outbox,
            account,
            app_id: tenant.app_id.clone(),
            ingest_url,
            sources: tenant.channels.iter().map(|channel| (channel.id, channel.source.clone())).collect(),
            stop: stop.clone(),
            parts: JoinSet::new(),
            failures: (failed, Mutex::new(failures)),
            home,
        };
        let client = Arc::new(desk.client(&tenant)?);
        let cache = Arc::new(InProcessRosterCache::default());
        let wakes =
            WakeUps::in_process(WakeUpsConfig { accounts: vec![account], sweep: SWEEP, stop: stop.clone() });
        let ingest = desk.ingest(script, client.clone(), cache.clone(), Arc::new(wakes.bell()), metrics)?;
        let worker = Worker {
            account,
            store: desk.store.clone(),
            platform: client,
            cache,
            wakes,
            policy: Policy { capacity: Some(script.capacity), ..Policy::default() },
            timing: lag.timing(),
            settings: worker_settings(),
        };
        sebastian_ingest::metrics::describe();
        let serving = sebastian_ingest::serve(listener, ingest, stop.clone());
        desk.run("ingest", async { serving.await.map_err(|error| Failure::Server("webhook", error)) });
        desk.run("worker", async { Ok(worker.run(stop).await?) });
        Ok(desk)
    }

    fn client(&self, tenant: &SimulatedConfig) -> Result<Qiscus, Failure> {
        let mut config =
            QiscusConfig::new(&self.platform.url(), &tenant.app_id, tenant.secret_key.clone().into());
        config.email = Some(tenant.admin_email.clone());
        config.password = Some(tenant.admin_password.clone().into());
        (config.connect_timeout, config.timeout) = (CALL_TIMEOUT, CALL_TIMEOUT);
        let broken = |error| Problem::new(format!("the simulated platform has no client: {error}"));
        Ok(Qiscus::new(config).map_err(broken)?)
    }

    fn ingest(
        &self,
        script: &Script,
        platform: Arc<Qiscus>,
        cache: Arc<InProcessRosterCache>,
        doorbell: Arc<sebastian_roster::LocalBell>,
        metrics: PrometheusHandle,
    ) -> Result<Ingest, Failure> {
        let checks = vec![
            Check::ledger("ledger", self.store.clone()),
            Check::roster_cache("roster_cache", cache.clone()),
        ];
        let no_url = |error| Problem::new(format!("the ingest's own URL {error}"));
        let defaults = Settings::default();
        Ok(Ingest {
            account: Account { id: self.account, app_id: self.app_id.clone(), default_inbox: None },
            store: self.store.clone(),
            outbox: self.outbox.clone(),
            guard: Guard::new(false),
            doorbell,
            roster: cache,
            platform,
            secrets: Vec::new(),
            admin_tokens: Vec::new(),
            targets: Some(Targets::new(&self.ingest_url, &self.app_id, None).map_err(no_url)?),
            policy: Policy { capacity: Some(script.capacity), ..Policy::default() },
            ops: Ops { checks, metrics: Arc::new(move || metrics.render()) },
            settings: Settings { shutdown_timeout: Duration::from_secs(1), ..defaults },
        })
    }

    fn run(&mut self, name: &'static str, part: impl Future<Output = Result<(), Failure>> + Send + 'static) {
        let (failed, stop) = (self.failures.0.clone(), self.stop.clone());
        let part = tokio::spawn(part);
        self.parts.spawn(async move {
            let ended = part.await.unwrap_or(Err(Failure::EndedEarly(name)));
            if stop.is_cancelled() {
                return ended;
            }
            let failure = ended.err().unwrap_or(Failure::EndedEarly(name));
            // There is room for each part, and each fails once.
            let _told = failed.try_send(failure);
            Ok(())
        });
    }

    /// Waits until a part ends though nobody told it to.
    pub async fn broke(&self) -> Failure {
        self.failures.1.lock().await.recv().await.unwrap_or(Failure::EndedEarly("desk"))
    }

    /// Ends everything, what runs before what it runs on.
    pub async fn close(mut self) -> Result<(), Failure> {
        self.stop.cancel();
        let mut ended = Ok(());
        while let Some(part) = self.parts.join_next().await {
            ended = ended.and(part.unwrap_or(Err(Failure::EndedEarly("desk"))));
        }
        self.platform.stop().await;
        ended
    }

    /// How the ledger stands now.
    pub async fn standing(&self) -> Result<Standing, Failure> {
        let loads = self.store.loads(self.account, self.store.now().await?).await?;
        let loads = loads.into_iter().map(|(agent, load)| (agent, load.open)).collect();
        Ok(Standing { counts: self.store.counts(self.account).await?, loads })
    }
}

/// The imaginary account with the script's people, and everything that goes wrong there now and then.
fn tenant(script: &Script, lag: Lag) -> SimulatedConfig {
    let mut tenant = SimulatedConfig::tenant();
    tenant.agents.clone_from(&script.staff);
    tenant.seed = script.seed;
    tenant.webhooks.allocation_copies = ALLOCATION_COPIES;
    let latency = FaultKind::Latency { min: Duration::from_millis(1), max: Duration::from_millis(6) };
    tenant.faults = vec![
        Fault::new(Target::Everything, latency),
        Fault::counts(CountFault::Lag(lag.counts())),
        Fault::new(Endpoint::Rooms, FaultKind::RoomsLag(lag.lists())),
        Fault::new(Endpoint::Rooms, FaultKind::DirtyRows(2)),
        Fault::new(Endpoint::Assign, FaultKind::ExceedOnFreshRoom { first: 1 }).percent(4),
        Fault::after_apply(Endpoint::Assign, Answer::Drop).percent(2),
        Fault::instead(Endpoint::Assign, Answer::Status(502)).percent(1),
    ];
    tenant
}

fn worker_settings() -> WorkerSettings {
    WorkerSettings {
        name: "worker".to_owned(),
        max_inflight: 256,
        batch_limit: 256,
        sweep: SWEEP,
        poll_interval: POLL_INTERVAL,
        reconcile_interval: RECONCILE_INTERVAL,
        audit_interval: AUDIT_INTERVAL,
        grace: GRACE,
        keep: Keep { ledger: RETENTION, decisions: RETENTION },
    }
}
