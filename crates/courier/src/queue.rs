//! How couriers of several processes share the work: one apalis job a receiver, on Redis.
//!
//! A job says only "look at this receiver". apalis-redis 1.0.0 may lose jobs, double them, or deliver them late, and its
//! worker ends at any hiccup of Redis; so nothing rests on it. Whatever is due for longer than it should is delivered by
//! whoever finds it, and the loop here begins anew after every end. What keeps its known faults away:
//! - A job's id is its receiver's: there is at most one of each, so the queue stays far below the 8,000 due jobs that
//!   would wedge it, and nothing it leaves behind grows. Jobs that are done are swept out before others are announced.
//! - Batches of one, so that no prefetched job starves its heartbeat; a handler that ends at once and cannot fail.
//! - A poll strategy of ours: the crate's own loses its timer when a fetch takes longer than the interval.
//! - Response timeouts above the 500 ms that a busy Redis may take.

use std::{
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use apalis::prelude::{Data, WorkerBuilder};
use apalis_core::{
    backend::{
        TaskSink, Vacuum,
        ext::{
            BackendExt,
            poll_strategy::{PollSnapshot, PollStrategy},
        },
    },
    task::{builder::TaskBuilder, task_id::TaskId},
};
use apalis_redis::{Config, RedisStorage};
use redis::aio::ConnectionManager;
use sebastian_core::{AccountId, chain};
use sebastian_roster::RedisServer;
use sebastian_store::SubscriptionId;
use tokio::time::{Interval, MissedTickBehavior};
use tracing::debug;

use crate::courier::Office;

/// How often the queue is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// Between two attempts to work on a Redis that fails.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// A job announced to a worker that died is announced to another after four of these.
const HEARTBEAT: Duration = Duration::from_secs(5);
const MISSED_HEARTBEATS: usize = 4;

/// For one command; a Redis that writes its dump may take a second.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

/// For announcing everything that is due.
const ANNOUNCE_TIMEOUT: Duration = Duration::from_secs(2);

/// How couriers share the work.
#[derive(Debug, Clone)]
pub enum Queue {
    /// There is only this process.
    InProcess,
    /// Through a Redis server, which need not be up.
    Redis(RedisServer),
}

type Storage = RedisStorage<i64, ConnectionManager>;

async fn connect(server: &RedisServer, account: AccountId) -> redis::RedisResult<Storage> {
    let connection = server.manager(RESPONSE_TIMEOUT).await?;
    let config = Config::default()
        .queue(format!("{}:events:{account}", server.prefix()))
        .batch_size(1)
        .heartbeat_interval(HEARTBEAT)
        .missed_heartbeats(MISSED_HEARTBEATS);
    Ok(RedisStorage::new(connection).with_config(config))
}

/// Announces receivers for whom something is due.
pub(crate) struct Announcer {
    server: Option<RedisServer>,
    account: AccountId,
    storage: Option<Storage>,
}

impl Announcer {
    pub fn new(queue: &Queue, account: AccountId) -> Self {
        let server = match queue {
            Queue::InProcess => None,
            Queue::Redis(server) => Some(server.clone()),
        };
        Self { server, account, storage: None }
    }

    /// Announces each of `due`. False when nobody was told: whoever asked delivers for himself.
    pub async fn announce(&mut self, due: impl Iterator<Item = SubscriptionId>) -> bool {
        let Some(server) = self.server.clone() else { return false };
        let announced = tokio::time::timeout(ANNOUNCE_TIMEOUT, self.push(&server, due)).await;
        let failure = match announced {
            Ok(Ok(())) => return true,
            Ok(Err(failure)) => failure,
            Err(elapsed) => elapsed.to_string(),
        };
        self.storage = None;
        debug!(error = %failure, "letters could not be announced; this courier delivers them");
        false
    }

    async fn push(
        &mut self,
        server: &RedisServer,
        due: impl Iterator<Item = SubscriptionId>,
    ) -> Result<(), String> {
        let storage = match &mut self.storage {
            Some(storage) => storage,
            None => {
                let storage = connect(server, self.account).await.map_err(|error| chain(&error))?;
                self.storage.insert(storage)
            }
        };
        // A job that is done keeps its id, and no other may have that.
        storage.vacuum().await.map_err(|error| chain(&error))?;
        for id in due {
            let job = TaskBuilder::new(id.0).task_id(TaskId::from_string(id.to_string())).build();
            storage.push_task(job).await.map_err(|error| chain(&error))?;
        }
        Ok(())
    }
}

/// Takes announcements until told to stop.
pub(crate) async fn listen(office: Arc<Office>, queue: Queue, name: String) {
    let Queue::Redis(server) = queue else { return office.stop.cancelled().await };
    for restarts in 0_u64.. {
        // A name is refused while its last bearer's heartbeat is remembered.
        let working = work(&office, &server, format!("{name}-{restarts}"));
        match office.stop.run_until_cancelled(working).await {
            None => return,
            Some(Ok(())) => debug!("the queue of announcements ended; it is taken up again"),
            Some(Err(error)) => {
                debug!(error, "the queue of announcements fails; due letters are found by the sweep")
            }
        }
        if !office.wait(RETRY_INTERVAL).await {
            return;
        }
    }
}

async fn work(office: &Arc<Office>, server: &RedisServer, name: String) -> Result<(), String> {
    let storage = connect(server, office.account).await.map_err(|error| chain(&error))?;
    let worker = WorkerBuilder::new(name)
        .backend(storage.poll_with_strategy(EverySoOften::new(POLL_INTERVAL)))
        .data(office.clone())
        .build(on_job);
    worker.run().await.map_err(|error| chain(&error))
}

async fn on_job(subscription: i64, office: Data<Arc<Office>>) {
    office.serve(SubscriptionId(subscription));
}

/// Wakes the worker at an interval. Unlike `IntervalStrategy` of apalis-core 1.0.0 it polls its timer until that is
/// pending, so that there is always a waker registered.
struct EverySoOften(Interval);

impl EverySoOften {
    fn new(interval: Duration) -> Self {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self(ticks)
    }
}

impl PollStrategy for EverySoOften {
    fn poll_drive(&mut self, cx: &mut Context<'_>, _: &PollSnapshot) -> Poll<Option<()>> {
        loop {
            ready!(self.0.poll_tick(cx));
        }
    }
}
