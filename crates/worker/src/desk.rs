//! What the loops of a worker share.

use std::{
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, SystemTime},
};

use metrics::histogram;
use sebastian_core::{AccountId, Policy, Timing, chain};
use sebastian_platform::{Platform, PlatformError};
use sebastian_roster::{Doorbell, LocalBell, RosterCache, WakeReason, WakeUp};
use sebastian_store::Store;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

use crate::{
    Worker, WorkerSettings, asker::Asker, confirmer::Confirmer, leader::Lead, metrics::PLATFORM_CALL_SECONDS,
    roster_view::RosterView, trouble,
};

/// One call in so many is the settler's, so that a busy matcher never keeps it from settling what is overdue.
const SETTLING_PART: u32 = 8;

/// A pause that ends less than this after the one that stands changes nothing.
const PAUSE_SLACK: Duration = Duration::from_secs(1);

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
    /// Writes down what the platform took.
    pub confirmer: Confirmer,
    /// Permits for conversations given out by the matcher.
    pub matching: Permits,
    /// Permits for conversations taken over by the settler.
    pub settling: Permits,
    /// Tasks that call the platform, all to be waited for at a stop.
    pub calls: TaskTracker,
    /// Those of them that carry out a reservation.
    pub attempts: TaskTracker,
    /// The matcher left work because no permit was to be had: the next that comes back rings.
    pub starved: AtomicBool,
    /// Failures in a row, as the ledger last told. Above zero: on probation.
    pub failures: AtomicU32,
    /// Conversations in a row whose first call the platform left unanswered.
    pub unanswered: AtomicU32,
    /// Whether this worker polls and reconciles for all.
    pub lead: watch::Sender<Lead>,
    pub stop: CancellationToken,
    /// Until when this worker calls nobody; the ledger tells the others.
    held_until: Mutex<Instant>,
    bell: LocalBell,
}

impl Desk {
    pub fn new(worker: Worker, stop: CancellationToken) -> Self {
        let Worker { account, store, platform, cache, wakes, policy, timing, settings } = worker;
        let settling = (settings.max_inflight / SETTLING_PART).max(1);
        Self {
            matching: Permits::new(settings.max_inflight.saturating_sub(settling).max(1)),
            settling: Permits::new(settling),
            bell: wakes.bell(),
            roster: RosterView::default(),
            asker: Asker::new(timing),
            confirmer: Confirmer::default(),
            calls: TaskTracker::new(),
            attempts: TaskTracker::new(),
            starved: AtomicBool::new(false),
            failures: AtomicU32::new(0),
            unanswered: AtomicU32::new(0),
            lead: watch::Sender::new(Lead::Unasked),
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
            debug!(error = %chain(&error), "a wake-up was lost; the sweep serves it");
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

    /// Calls nobody for at least `span`. False when that was to be so anyway.
    pub fn hold_calls(&self, span: Duration) -> bool {
        let mut held_until = self.held_until.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let stands = *held_until > now && now + span < *held_until + PAUSE_SLACK;
        *held_until = held_until.max(now + span);
        !stands
    }

    /// Whether the platform is to be left alone for now.
    pub fn calls_held(&self) -> bool {
        self.held_after(Instant::now())
    }

    /// Whether a pause has stood or begun after `instant`.
    pub fn held_after(&self, instant: Instant) -> bool {
        *self.held_until.lock().unwrap_or_else(PoisonError::into_inner) > instant
    }

    /// Whether this worker polls and reconciles for all.
    pub fn leads(&self) -> bool {
        *self.lead.borrow() == Lead::Mine
    }

    /// Whether the account is on probation: one conversation is tried at a time.
    pub fn on_probation(&self) -> bool {
        self.failures.load(Ordering::Relaxed) > 0
    }

    /// Whether the platform may be called for one more conversation.
    pub fn may_call(&self) -> bool {
        if self.stop.is_cancelled() || self.calls_held() {
            return false;
        }
        !self.on_probation() || self.attempts.is_empty()
    }

    /// Waits, unless the worker is told to stop first. False when it was.
    pub async fn wait(&self, span: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(span) => true,
            () = self.stop.cancelled() => false,
        }
    }

    /// Lets calls under way end, until `grace_ends` at the latest.
    pub async fn finish_calls(&self, grace_ends: Instant) {
        self.calls.close();
        if tokio::time::timeout_at(grace_ends, self.calls.wait()).await.is_err() {
            let left = self.calls.len();
            warn!(calls = left, "{left} calls did not end within the grace; another worker settles them");
        }
    }
}

/// How many conversations may be tried at once.
pub(crate) struct Permits(Arc<Semaphore>);

impl Permits {
    fn new(most: u32) -> Self {
        Self(Arc::new(Semaphore::new(most as usize)))
    }

    /// As many as there are, up to `most`. `None`: there are none.
    pub fn take(&self, most: u32) -> Option<OwnedSemaphorePermit> {
        let free = u32::try_from(self.0.available_permits()).unwrap_or(u32::MAX).min(most);
        if free == 0 { None } else { self.0.clone().try_acquire_many_owned(free).ok() }
    }
}
