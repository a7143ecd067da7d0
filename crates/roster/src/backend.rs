//! [`WakeUps`]: the doorbell as an apalis backend.
//!
//! It merges three sources, the Redis doorbell, [`LocalBell`] and the sweep, and hands the worker one [`WakeUp`] an
//! account at a time. What comes in while a run of the account is at work becomes exactly one more run.
//!
//! What apalis-core 1.0.0 does with a backend, read in `worker/call_all.rs` and `monitor/mod.rs` and held by this
//! crate's tests:
//! - In one task it polls running handlers, then `poll_ready`, the service's readiness, and `poll_next`. Our
//!   `poll_ready` is always ready: a pending one would keep it from asking at all. `poll_next` registers the waker
//!   before it returns pending, so an idle worker costs nothing.
//! - It limits nothing: handlers run as many at once as the backend yields. So the backend itself yields an account
//!   only when no run of it is left, and learns of a run's end through [`OneRunPerAccount`], its middleware, which
//!   also sees handlers that fail, panic or are dropped. Different accounts do run at the same time.
//! - An `Err` from `poll_next` ends the worker and drops all running handlers, so there is none: the error type is
//!   [`Infallible`].
//! - `None` from `poll_next` hangs a worker that was not told to stop, so there is none either: a worker ends by
//!   `MonitorContext::shutdown`, whereupon it waits for its handlers and then drives `poll_close` to its end.
//! - A restart by the monitor builds the worker again from its factory, so `WakeUps` is `Clone`; only the clone polled
//!   last is woken.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use apalis_core::{
    backend::{Backend, BackendConfig, finalize::Ephemeral},
    layers::{Layer, Service},
    task::{Task, builder::TaskBuilder, task_id::TaskId},
    worker::context::WorkerContext,
};
use futures_util::{FutureExt, future::BoxFuture};
use sebastian_core::{AccountId, Timestamp};
use tokio::time::MissedTickBehavior;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};
use tracing::debug;

use crate::{
    WakeReason, WakeUp,
    health::WakeHealth,
    pending::{LocalBell, Pending, Run},
    redis_reader::Reader,
    redis_server::RedisServer,
};

/// A shorter sweep would be a busy loop.
const SWEEP_MIN: Duration = Duration::from_millis(10);

/// What wakes a worker besides rings, and what stops it from listening.
#[derive(Debug, Clone)]
pub struct WakeUpsConfig {
    /// The accounts the sweep rings for.
    pub accounts: Vec<AccountId>,
    /// How often the sweep rings; at least 10 ms. It first rings at once.
    pub sweep: Duration,
    /// Ends listening and sweeping as soon as the process is told to stop, while handlers still finish: a ring taken
    /// from Redis after that would be one that no other worker gets.
    pub stop: CancellationToken,
}

/// Wake-ups for one worker: one an account at a time, from rings in this process, the Redis doorbell and the sweep.
///
/// A ring during a run of its account leads to exactly one more run. Never yields an error and never ends by itself.
/// Clones feed the same worker: build each restart of it on a clone.
/// Dropping the last clone ends its background tasks, as closing does.
pub struct WakeUps {
    pending: Arc<Pending>,
    health: WakeHealth,
    background: Arc<Background>,
    /// Resolves when the background tasks have ended. `Sync`, as the monitor asks of a worker's factory.
    closing: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
    tasks_made: u64,
}

struct Background {
    tasks: TaskTracker,
    stop: DropGuard,
}

impl WakeUps {
    /// Wake-ups from this process alone. Must be called within a tokio runtime.
    #[must_use]
    pub fn in_process(config: WakeUpsConfig) -> Self {
        Self::new(config, WakeHealth::new(true))
    }

    /// Wake-ups from this process and from the doorbell on `server`, which need not be up: errors of Redis are
    /// retried inside, for ever. Must be called within a tokio runtime.
    #[must_use]
    pub fn redis(config: WakeUpsConfig, server: &RedisServer) -> Self {
        let wake_ups = Self::new(config, WakeHealth::new(false));
        let reader = Reader::new(server, wake_ups.pending.clone(), wake_ups.health.clone());
        wake_ups.background.tasks.spawn(reader.run(wake_ups.stop().clone()));
        wake_ups
    }

    fn new(config: WakeUpsConfig, health: WakeHealth) -> Self {
        let WakeUpsConfig { accounts, sweep, stop } = config;
        let pending = Arc::new(Pending::default());
        let stop = stop.child_token();
        let tasks = TaskTracker::new();
        tasks.spawn(ring_by_timer(accounts, sweep.max(SWEEP_MIN), pending.clone(), stop.clone()));
        let background = Arc::new(Background { tasks, stop: stop.drop_guard() });
        Self { pending, health, background, closing: None, tasks_made: 0 }
    }

    /// A bell that rings this worker.
    #[must_use]
    pub fn bell(&self) -> LocalBell {
        LocalBell { pending: self.pending.clone() }
    }

    /// Whether wake-ups come through.
    #[must_use]
    pub fn health(&self) -> WakeHealth {
        self.health.clone()
    }

    fn stop(&self) -> &CancellationToken {
        self.background.stop.token()
    }
}

impl Clone for WakeUps {
    fn clone(&self) -> Self {
        Self {
            pending: self.pending.clone(),
            health: self.health.clone(),
            background: self.background.clone(),
            closing: None,
            tasks_made: self.tasks_made,
        }
    }
}

impl std::fmt::Debug for WakeUps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WakeUps").field("health", &self.health).finish_non_exhaustive()
    }
}

async fn ring_by_timer(
    accounts: Vec<AccountId>,
    sweep: Duration,
    pending: Arc<Pending>,
    stop: CancellationToken,
) {
    let mut ticks = tokio::time::interval(sweep);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let rung_at = Timestamp::from(SystemTime::now());
        for &account in &accounts {
            if let Err(full) = pending.ring(WakeUp { account, reason: WakeReason::Timer, rung_at }) {
                debug!(account.id = %account, "sweep not taken: {full}");
            }
        }
    }
}

impl Backend for WakeUps {
    type Task = Task<WakeUp>;
    type Error = Infallible;

    fn poll_ready(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        _: &WorkerContext,
    ) -> Poll<Option<Result<Task<WakeUp>, Infallible>>> {
        self.pending.poll_take(cx).map(|wake| {
            self.health.wake_taken();
            self.tasks_made += 1;
            // apalis tracks tasks by id when its `task-context` is on, and panics without one.
            let id = TaskId::from_int(self.tasks_made);
            Some(Ok(TaskBuilder::new(wake).task_id(id).build()))
        })
    }

    fn poll_close(&mut self, cx: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Infallible>> {
        self.stop().cancel();
        let tasks = &self.background.tasks;
        let closing = self.closing.get_or_insert_with(|| {
            tasks.close();
            let tasks = tasks.clone();
            Box::pin(async move { tasks.wait().await })
        });
        closing.as_mut().poll(cx).map(Ok)
    }
}

impl BackendConfig for WakeUps {
    type Args = WakeUp;
    type Id = u64;
    type Kind = Ephemeral;
    type Config = ();
    type Layer = OneRunPerAccount;

    fn config(&self) -> &() {
        &()
    }

    fn middleware(&mut self, _: &mut WorkerContext) -> OneRunPerAccount {
        OneRunPerAccount { pending: self.pending.clone() }
    }
}

/// Tells [`WakeUps`] when a handler has ended.
pub struct OneRunPerAccount {
    pending: Arc<Pending>,
}

impl<S> Layer<S> for OneRunPerAccount {
    type Service = Handler<S>;

    fn layer(&self, handler: S) -> Handler<S> {
        Handler { handler, pending: self.pending.clone() }
    }
}

/// A handler of wake-ups whose runs are tracked.
pub struct Handler<S> {
    handler: S,
    pending: Arc<Pending>,
}

impl<S> Service<Task<WakeUp>> for Handler<S>
where
    S: Service<Task<WakeUp>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.handler.poll_ready(cx)
    }

    fn call(&mut self, task: Task<WakeUp>) -> Self::Future {
        let run = Run { pending: self.pending.clone(), account: task.args.account };
        let handling = self.handler.call(task);
        async move {
            let _run = run;
            handling.await
        }
        .boxed()
    }
}
