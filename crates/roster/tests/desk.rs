//! A worker as the product runs it (apalis `Monitor` and `WorkerBuilder`), whose handler is held by a gate.

use std::{sync::Arc, time::Duration};

use apalis_core::{
    monitor::{Monitor, MonitorError},
    task::data::Data,
    worker::builder::WorkerBuilder,
};
use sebastian_core::{AccountId, Timestamp};
use sebastian_roster::{Doorbell, LocalBell, WakeHealth, WakeReason, WakeUp, WakeUps, WakeUpsConfig};
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes, by far: only a failing test waits for it.
pub const SOON: Duration = Duration::from_secs(30);

/// A sweep that never comes, so that what wakes the worker is the bell.
pub const NEVER: Duration = Duration::from_secs(1_000_000);

#[derive(Clone)]
struct Probe {
    started: mpsc::UnboundedSender<WakeUp>,
    gate: Arc<Semaphore>,
}

async fn handle(wake: WakeUp, probe: Data<Probe>) {
    probe.started.send(wake).unwrap();
    probe.gate.acquire().await.unwrap().forget();
    assert!(wake.reason != WakeReason::Freed, "the wake-up that makes this handler panic");
}

pub struct Desk {
    pub bell: LocalBell,
    pub health: WakeHealth,
    /// As `WakeUpsConfig::stop`.
    pub stop: CancellationToken,
    started: mpsc::UnboundedReceiver<WakeUp>,
    gate: Arc<Semaphore>,
    shut: CancellationToken,
    running: JoinHandle<Result<(), MonitorError>>,
}

impl Desk {
    /// Runs a worker on what `wake_ups` makes of the configuration. Handlers pass freely.
    pub fn open(accounts: &[i64], sweep: Duration, wake_ups: impl FnOnce(WakeUpsConfig) -> WakeUps) -> Self {
        let stop = CancellationToken::new();
        let accounts = accounts.iter().copied().map(AccountId).collect();
        let wake_ups = wake_ups(WakeUpsConfig { accounts, sweep, stop: stop.clone() });
        let (bell, health) = (wake_ups.bell(), wake_ups.health());
        let (sender, started) = mpsc::unbounded_channel();
        let gate = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        let probe = Probe { started: sender, gate: gate.clone() };
        let monitor = Monitor::new()
            .register(move |restarts| {
                WorkerBuilder::new(format!("matcher-{restarts}"))
                    .backend(wake_ups.clone())
                    .data(probe.clone())
                    .build(handle)
            })
            .should_restart(|_, _| true);
        let shut = CancellationToken::new();
        let (context, told) = (monitor.context(), shut.clone());
        tokio::spawn(async move {
            told.cancelled().await;
            context.shutdown().unwrap();
        });
        let running = tokio::spawn(monitor.run());
        Self { bell, health, stop, started, gate, shut, running }
    }

    /// From now on handlers wait for [`Desk::release`].
    pub fn hold(self) -> Self {
        self.gate.forget_permits(Semaphore::MAX_PERMITS);
        self
    }

    /// Lets one handler end.
    pub fn release(&self) {
        self.gate.add_permits(1);
    }

    /// The next wake-up that a handler starts on.
    pub async fn next(&mut self) -> WakeUp {
        let next = tokio::time::timeout(SOON, self.started.recv()).await;
        next.expect("the worker is woken").expect("the worker runs")
    }

    /// The next wake-up, of whatever desk.
    pub async fn next_of(desks: &mut [Self; 2]) -> (usize, WakeUp) {
        let [first, second] = desks;
        tokio::select! { wake = first.next() => (0, wake), wake = second.next() => (1, wake) }
    }

    /// How many handlers have started since the last look.
    pub fn started(&mut self) -> usize {
        std::iter::from_fn(|| self.started.try_recv().ok()).count()
    }

    /// Tells the monitor to shut down.
    pub fn shut(&self) {
        self.shut.cancel();
    }

    /// Waits until the worker has ended.
    pub async fn closed(self) {
        tokio::time::timeout(SOON, self.running).await.expect("the worker ends").unwrap().unwrap();
    }

    /// Whether the worker has ended.
    pub fn is_closed(&self) -> bool {
        self.running.is_finished()
    }
}

pub fn wake(account: i64, rung_at_ms: i64) -> WakeUp {
    let rung_at = Timestamp::from_millis(rung_at_ms);
    WakeUp { account: AccountId(account), reason: WakeReason::Allocate, rung_at }
}

pub async fn ring(bell: &impl Doorbell, account: i64, rung_at_ms: i64) {
    bell.ring(wake(account, rung_at_ms)).await.unwrap();
}
