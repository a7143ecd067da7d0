//! What the loops of a worker share.

use std::{
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use metrics::histogram;
use sebastian_core::{AccountId, Policy, Timing};
use sebastian_platform::{Platform, PlatformError};
use sebastian_roster::{Doorbell, LocalBell, RosterCache, WakeReason, WakeUp};
use sebastian_store::Store;
use tokio::sync::{Notify, Semaphore, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

use crate::{
    Worker, WorkerSettings, asker::Asker, metrics::PLATFORM_CALL_SECONDS, roster_view::RosterView, trouble,
};

/// One worker at one account's desk.
pub(crate) struct Desk {
    pub account: AccountId,
    pub store: Arc<dyn Store>,
    pub platform: Arc<dyn Platform>,
    pub cache: Arc<dyn RosterCache>,
    pub policy: Policy,
    pub timing: Timing,
    pub settings: WorkerSettings,
    /// The newest roster this worker knows.
    pub roster: RosterView,
    /// What the platform answered for single rooms.
    pub asker: Asker,
    /// One permit a platform call of the executor.
    pub inflight: Arc<Semaphore>,
    /// Calls under way.
    pub calls: TaskTracker,
    /// The matcher left work because every permit was out: the next that comes back rings.
    pub starved: AtomicBool,
    /// Failures in a row, as the ledger last told.
    pub failures: AtomicU32,
    /// Whether this worker polls and reconciles for all.
    pub leading: watch::Sender<bool>,
    /// Compare with the platform now, not at the next interval.
    pub reconcile_now: Notify,
    pub stop: CancellationToken,
    /// Until when this worker starts no calls; the ledger tells the others.
    held_until: Mutex<Instant>,
    bell: LocalBell,
}

impl Desk {
    pub fn new(worker: Worker, stop: CancellationToken) -> Self {
        let Worker { account, store, platform, cache, wakes, policy, timing, settings } = worker;
        Self {
            inflight: Arc::new(Semaphore::new(settings.max_inflight as usize)),
            bell: wakes.bell(),
            roster: RosterView::default(),
            asker: Asker::default(),
            calls: TaskTracker::new(),
            starved: AtomicBool::new(false),
            failures: AtomicU32::new(0),
            leading: watch::Sender::new(false),
            reconcile_now: Notify::new(),
            held_until: Mutex::new(Instant::now()),
            account,
            store,
            platform,
            cache,
            policy,
            timing,
            settings,
            stop,
        }
    }

    /// Wakes this worker's matcher.
    pub async fn ring(&self, reason: WakeReason) {
        let wake = WakeUp { account: self.account, reason, rung_at: SystemTime::now().into() };
        if let Err(error) = self.bell.ring(wake).await {
            debug!(error = %trouble::chain(&error), "a wake-up was lost; the sweep serves it");
        }
    }

    /// Rings when the matcher waits for a permit.
    pub async fn permit_came_back(&self) {
        if self.starved.swap(false, Ordering::Relaxed) {
            self.ring(WakeReason::Freed).await;
        }
    }

    /// Times a platform call and counts how it ended.
    pub async fn timed<T>(
        &self,
        call: &'static str,
        answer: impl Future<Output = Result<T, PlatformError>>,
    ) -> Result<T, PlatformError> {
        let began = Instant::now();
        let answer = answer.await;
        let class = answer.as_ref().err().map_or("ok", trouble::class);
        histogram!(PLATFORM_CALL_SECONDS, "platform" => self.platform.name(), "call" => call, "class" => class)
            .record(began.elapsed());
        answer
    }

    /// Starts no calls for at least `span`: those reserved and not yet sent go back to their places.
    pub fn hold_calls(&self, span: Duration) {
        let mut until = self.held_until.lock().unwrap_or_else(PoisonError::into_inner);
        *until = until.max(Instant::now() + span);
    }

    /// Whether calls are held.
    pub fn calls_held(&self) -> bool {
        *self.held_until.lock().unwrap_or_else(PoisonError::into_inner) > Instant::now()
    }

    /// Waits, unless the worker is told to stop first. False when it was.
    pub async fn wait(&self, span: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(span) => true,
            () = self.stop.cancelled() => false,
        }
    }

    /// Lets calls under way end, for at most `grace`.
    pub async fn finish_calls(&self, grace: Duration) {
        self.calls.close();
        if tokio::time::timeout(grace, self.calls.wait()).await.is_err() {
            let left = self.calls.len();
            warn!(calls = left, "{left} calls did not end within the grace; another worker settles them");
        }
    }
}
