//! Puts the parts of a process together, and runs them until it is told to stop.
//!
//! A ledger that is down at start is waited for; Redis and the platform are not needed to start, but a Redis that is there
//! and set wrongly is refused. Without servers the ledger is in a folder, which one process holds. Once running, a part
//! that ends, for whatever reason, stops the others, and the process ends with a failure unless it was told to.

pub(crate) mod folder;
mod ledger;
pub(crate) mod parts;
mod redis;
mod signals;
pub(crate) mod storage;
mod wakes;

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
};

use metrics_exporter_prometheus::PrometheusHandle;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sebastian_core::AccountId;
use sebastian_courier::{Courier, CourierSettings, Guard};
use sebastian_ingest::{Account, AdminToken, Check, Ingest, Listeners, Ops, Settings};
use sebastian_platform::qiscus::Qiscus;
use sebastian_roster::{Doorbell, RosterCache, WakeUps};
use sebastian_store::{Keep, Outbox, Store};
use sebastian_worker::{Worker, WorkerSettings};
use tokio_util::sync::CancellationToken;
use tracing::debug;
use ulid::Ulid;

use self::{
    folder::Held,
    parts::Parts,
    storage::{Opened, Shared},
};
use crate::{cli::Process, config::Config, failure::Failure, telemetry};

/// The platform's word for itself, in the ledger too.
pub(crate) const PLATFORM: &str = "qiscus";

/// Runs `process` until a signal, or until a part of it fails.
pub(crate) async fn run(mut config: Config, process: Process) -> Result<(), Failure> {
    let Parts { storage, qiscus, app_id } = Parts::new(&config, process)?;
    let admin_tokens = parts::take_admin_tokens(&mut config)?;
    let stop = signals::stop_on_signal().map_err(Failure::Signals)?;
    let metrics = telemetry::start_metrics()?;
    raise_open_files();
    let Opened { ledger, shared, held } = storage.serve(&config, &stop).await?;
    let opening = ledger::open_account(&ledger, config.db.migrate, &app_id, &stop);
    let Some(account) = opening.await? else { return Ok(()) };
    let desk = Desk {
        store: ledger.store(),
        outbox: ledger.outbox(),
        cache: shared.cache(),
        platform: Arc::new(qiscus),
        _held: held,
        config,
        admin_tokens,
        app_id,
        account,
        shared,
        metrics,
        stop,
    };
    match process {
        Process::Webhook => desk.run_webhook().await,
        Process::Worker => desk.run_worker().await,
        Process::All => desk.run_all().await,
    }
}

/// Lets this process open as many files as it may: each connection is one, and many systems start with 1,024.
fn raise_open_files() {
    let most = getrlimit(Resource::Nofile).maximum;
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }) {
        debug!(error = %error, "the limit of open files stays as it is");
    }
}

/// A process that knows its account.
struct Desk {
    config: Config,
    admin_tokens: Vec<AdminToken>,
    app_id: String,
    account: AccountId,
    store: Arc<dyn Store>,
    outbox: Arc<dyn Outbox>,
    shared: Shared,
    cache: Arc<dyn RosterCache>,
    platform: Arc<Qiscus>,
    metrics: PrometheusHandle,
    stop: CancellationToken,
    _held: Option<Held>,
}

impl Desk {
    async fn run_webhook(&self) -> Result<(), Failure> {
        self.part("webhook server", self.take_webhooks(self.shared.doorbell(), vec![])).await
    }

    async fn run_worker(&self) -> Result<(), Failure> {
        let wakes = self.shared.wakes(&self.config, self.account, &self.stop);
        let ops = self.ops(wakes::checks(&self.config, &self.shared, &wakes));
        let listener = bind(self.config.worker.listen)?;
        let serving = async {
            let served = sebastian_ingest::serve_ops(listener, ops, self.stop.clone()).await;
            served.map_err(|error| Failure::Server("health and metrics", error))
        };
        let (served, worked, delivered) = tokio::join!(
            self.part("health and metrics server", serving),
            self.part("worker", self.work(wakes)),
            self.part("courier", self.deliver())
        );
        worked.and(served).and(delivered)
    }

    /// One listener is enough for both, and this worker's own bell reaches it without Redis.
    async fn run_all(&self) -> Result<(), Failure> {
        let wakes = self.shared.wakes(&self.config, self.account, &self.stop);
        let serving =
            self.take_webhooks(Arc::new(wakes.bell()), wakes::checks(&self.config, &self.shared, &wakes));
        let (served, worked, delivered) = tokio::join!(
            self.part("webhook server", serving),
            self.part("worker", self.work(wakes)),
            self.part("courier", self.deliver())
        );
        worked.and(served).and(delivered)
    }

    /// Runs one part of the process, and stops the others when it ends.
    async fn part(
        &self,
        name: &'static str,
        running: impl Future<Output = Result<(), Failure>>,
    ) -> Result<(), Failure> {
        let ended = running.await;
        let was_asked = self.stop.is_cancelled();
        self.stop.cancel();
        match ended {
            Ok(()) if !was_asked => Err(Failure::EndedEarly(name)),
            ended => ended,
        }
    }

    async fn take_webhooks(&self, doorbell: Arc<dyn Doorbell>, checks: Vec<Check>) -> Result<(), Failure> {
        let Config { listen, qiscus, policy, .. } = &self.config;
        let defaults = Settings::default();
        let workers =
            listen.workers.and_then(|workers| usize::try_from(workers).ok()).unwrap_or(defaults.workers);
        let account = Account { id: self.account, app_id: self.app_id.clone(), default_inbox: qiscus.inbox };
        let ingest = Ingest {
            account,
            store: self.store.clone(),
            outbox: self.outbox.clone(),
            guard: Guard::new(self.config.events.allow_private),
            doorbell,
            roster: self.cache.clone(),
            platform: self.platform.clone(),
            secrets: parts::webhook_secret(&self.config)?.into_iter().collect(),
            admin_tokens: self.admin_tokens.clone(),
            targets: parts::targets(&self.config, &self.app_id)?,
            policy: policy.clone(),
            ops: self.ops(checks),
            settings: Settings { workers, ..defaults },
        };
        sebastian_ingest::metrics::describe();
        let public = bind(SocketAddr::new(listen.host, listen.port))?;
        let admin = self.config.admin.listen.map(bind).transpose()?;
        let served = sebastian_ingest::serve(Listeners { public, admin }, ingest, self.stop.clone()).await;
        served.map_err(|error| Failure::Server("webhook", error))
    }

    async fn work(&self, wakes: WakeUps) -> Result<(), Failure> {
        let Config { db, worker, poll_interval, reconcile_interval, policy, timing, .. } = &self.config;
        let worker = Worker {
            account: self.account,
            store: self.store.clone(),
            platform: self.platform.clone(),
            cache: self.cache.clone(),
            wakes,
            policy: policy.clone(),
            timing: *timing,
            settings: WorkerSettings {
                name: self.worker_name(),
                max_inflight: worker.max_inflight,
                batch_limit: worker.batch_limit,
                sweep: worker.sweep,
                poll_interval: *poll_interval,
                reconcile_interval: *reconcile_interval,
                audit_interval: worker.audit_interval,
                grace: worker.grace,
                keep: Keep { ledger: db.retention, decisions: db.decisions_retention },
            },
        };
        Ok(worker.run(self.stop.clone()).await?)
    }

    /// Where one process serves it is the same at every start: what its predecessor led, it leads at once.
    fn worker_name(&self) -> String {
        if self.shared.has_server() { format!("worker-{}", Ulid::new()) } else { "worker-1".to_owned() }
    }

    /// Brings events to whoever subscribed to them.
    async fn deliver(&self) -> Result<(), Failure> {
        let Config { db, worker, events, policy, .. } = &self.config;
        sebastian_courier::metrics::describe();
        let courier = Courier {
            account: self.account,
            outbox: self.outbox.clone(),
            store: self.store.clone(),
            cache: self.cache.clone(),
            policy: policy.clone(),
            queue: self.shared.queue(),
            settings: CourierSettings {
                name: format!("courier-{}", Ulid::new()),
                guard: Guard::new(events.allow_private),
                sweep: worker.sweep,
                patience: CourierSettings::PATIENCE,
                waiting_too_long: events.waiting_too_long,
                retention: db.retention,
                grace: worker.grace,
            },
        };
        Ok(courier.run(self.stop.clone()).await?)
    }

    fn ops(&self, mut checks: Vec<Check>) -> Ops {
        checks.push(Check::ledger("ledger", self.store.clone()));
        if self.shared.has_server() {
            checks.push(Check::roster_cache("roster_cache", self.cache.clone()));
        }
        let metrics = self.metrics.clone();
        Ops { checks, metrics: Arc::new(move || metrics.render()) }
    }
}

fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    sebastian_ingest::bind(address).map_err(|source| Failure::Listen { address, source })
}
