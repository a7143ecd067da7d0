//! The worker: decides who gets which conversation, tells the platform, and keeps both in step.
//!
//! Loops over one account. The matcher folds, decides and reserves whenever the doorbell or the sweep wakes it. The
//! executor carries each reservation to an end. The settler takes over what others left unfinished. The poller keeps
//! the roster fresh and the reconciler compares ledger and platform; of many workers the leader runs these two for
//! all. Any loop may die at any point: what it held is in the ledger, and another goes on.

mod asker;
mod auditor;
mod confirmer;
mod desk;
mod executor;
mod leader;
mod listing;
mod matcher;
pub mod metrics;
mod poller;
mod reconciler;
mod roster_view;
mod settler;
mod strays;
mod trouble;

use std::{sync::Arc, time::Duration};

use apalis::prelude::{Monitor, MonitorError, WorkerBuilder};
use sebastian_core::{AccountId, Policy, Timing};
use sebastian_platform::Platform;
use sebastian_roster::{RosterCache, WakeUps};
use sebastian_store::{Keep, Store, crash_point};
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::desk::Desk;

/// Everything a worker needs.
pub struct Worker {
    /// Whose conversations.
    pub account: AccountId,
    /// The ledger.
    pub store: Arc<dyn Store>,
    /// The platform.
    pub platform: Arc<dyn Platform>,
    /// Where workers share the roster.
    pub cache: Arc<dyn RosterCache>,
    /// What wakes the matcher: the doorbell, this worker's own rings, the sweep.
    pub wakes: WakeUps,
    /// Who may be given what.
    pub policy: Policy,
    /// The same timing as the store's.
    pub timing: Timing,
    /// How this worker goes about it.
    pub settings: WorkerSettings,
}

/// How a worker goes about it.
#[derive(Debug, Clone)]
pub struct WorkerSettings {
    /// Names this worker in leases and logs; unique among all that run.
    pub name: String,
    /// Most conversations for which the platform is called at once.
    pub max_inflight: u32,
    /// Most conversations given out by one decision, which holds the account's lock; more follow at once.
    pub batch_limit: u32,
    /// How often to look at what nobody rang for.
    pub sweep: Duration,
    /// How often to poll the roster.
    pub poll_interval: Duration,
    /// How often to compare ledger and platform.
    pub reconcile_interval: Duration,
    /// How often to audit a sample of the ledger.
    pub audit_interval: Duration,
    /// How long calls under way may take after a stop.
    pub grace: Duration,
    /// How long things are kept.
    pub keep: Keep,
}

/// Why a worker ended without being told to.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The engine that runs the matcher gave up.
    #[error("the worker engine ended")]
    Engine(#[source] Option<MonitorError>),
    /// One of the loops ended, by a panic.
    #[error("the {0} ended")]
    Loop(&'static str),
}

impl Worker {
    /// Runs until `stop` is cancelled, then lets calls under way end within the grace. What does not end in time
    /// stays reserved, and is settled by another worker after its deadline.
    pub async fn run(self, stop: CancellationToken) -> Result<(), WorkerError> {
        metrics::describe();
        // Also when this future is dropped: the engine runs in a task of its own.
        let stop_all = stop.clone().drop_guard();
        let (wakes, grace) = (self.wakes.clone(), self.settings.grace);
        let desk = Arc::new(Desk::new(self, stop.clone()));
        info!(worker.name = %desk.settings.name, "worker {} is running", desk.settings.name);

        let mut loops = JoinSet::new();
        spawn(&mut loops, "leader", leader::run(desk.clone()));
        spawn(&mut loops, "poller", poller::run(desk.clone()));
        spawn(&mut loops, "reconciler", reconciler::run(desk.clone()));
        spawn(&mut loops, "settler", settler::run(desk.clone()));
        spawn(&mut loops, "auditor", auditor::run(desk.clone()));
        spawn(&mut loops, "gauges", metrics::run(desk.clone()));
        let mut engine = tokio::spawn(run_engine(wakes, desk.clone(), stop.clone()));

        let ended = tokio::select! {
            biased;
            () = stop.cancelled() => None,
            engine = &mut engine => Some(WorkerError::Engine(engine.ok().and_then(Result::err))),
            name = loops.join_next() => Some(WorkerError::Loop(name.and_then(Result::ok).unwrap_or("loop"))),
        };
        drop(stop_all);
        let grace_ends = Instant::now() + grace;
        if !engine.is_finished() && tokio::time::timeout_at(grace_ends, &mut engine).await.is_err() {
            warn!("the matcher did not end within the grace");
        }
        loops.shutdown().await;
        crash_point!("in_grace");
        desk.finish_calls(grace_ends).await;
        leader::step_down(&desk).await;
        ended.map_or(Ok(()), Err)
    }
}

/// Spawns a loop; its name comes back when it ends.
fn spawn(
    loops: &mut JoinSet<&'static str>,
    name: &'static str,
    run: impl Future<Output = ()> + Send + 'static,
) {
    loops.spawn(async move {
        run.await;
        name
    });
}

/// Runs the matcher under apalis. A handler that panics costs one wake-up, not the worker.
async fn run_engine(wakes: WakeUps, desk: Arc<Desk>, stop: CancellationToken) -> Result<(), MonitorError> {
    let monitor = Monitor::new()
        .register(move |restarts| {
            WorkerBuilder::new(format!("{}-{restarts}", desk.settings.name))
                .backend(wakes.clone())
                .data(desk.clone())
                .build(matcher::on_wake)
        })
        .should_restart(|_, _| true);
    let context = monitor.context();
    tokio::spawn(async move {
        stop.cancelled().await;
        if let Err(error) = context.shutdown() {
            warn!(error = %error, "the worker engine did not take the stop");
        }
    });
    monitor.run().await
}
