//! Listens at the Redis doorbell for one worker process.

use std::{convert::Infallible, sync::Arc, time::Duration};

use redis::{
    RedisResult,
    aio::MultiplexedConnection,
    streams::{StreamInfoConsumersReply, StreamReadReply},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use ulid::Ulid;

use crate::{
    WakeUp,
    health::WakeHealth,
    pending::Pending,
    redis_doorbell::{FIELD, GROUP, stream_key},
    redis_server::RedisServer,
};

/// How long one read waits at Redis. It delays nothing, as a ring ends it; it is how soon a silent connection is noticed.
const BLOCK: Duration = Duration::from_secs(2);

/// What a read may take: its wait, and a slow network.
const READ_TIMEOUT: Duration = Duration::from_secs(3);

/// Rings taken in one read, so that a full stream is drained in ten.
const READ_RINGS_MAX: u32 = 100;

/// A restart of Redis takes well under a second, so the first attempt comes soon.
const BACKOFF_MIN: Duration = Duration::from_millis(100);

/// About the sweep's pace, which serves meanwhile.
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// A consumer silent for so long belongs to a process that was killed. Removing a living one would lose nothing:
/// Redis creates it again when it hands it a ring.
const CONSUMER_IDLE_MAX: Duration = Duration::from_secs(3_600);

/// Consumers removed in one start, so that a long neglected group cannot hold one up.
const CONSUMERS_PURGED_MAX: usize = 1_000;

/// What a stopping process spends on removing its consumer; the purge does it otherwise.
const LEAVE_TIMEOUT: Duration = Duration::from_millis(500);

/// Reads rings into [`Pending`] until told to stop. Every error is met by a new connection after a pause.
pub(crate) struct Reader {
    server: RedisServer,
    stream: String,
    consumer: String,
    pending: Arc<Pending>,
    health: WakeHealth,
}

impl Reader {
    pub(crate) fn new(server: &RedisServer, pending: Arc<Pending>, health: WakeHealth) -> Self {
        Self {
            server: server.clone(),
            stream: stream_key(server),
            // Unique: two readers of one name would count as one consumer, and the first to leave would remove both.
            consumer: format!("{}-{}", std::process::id(), Ulid::new()),
            pending,
            health,
        }
    }

    pub(crate) async fn run(self, stop: CancellationToken) {
        // The read is cancelled where it waits; a ring that Redis hands over at that moment is lost to the sweep.
        let _ = stop.run_until_cancelled(self.read_for_ever()).await;
        self.leave().await;
    }

    async fn read_for_ever(&self) -> Infallible {
        let mut failures: u32 = 0;
        loop {
            let Err(error) = self.session(&mut failures).await;
            self.health.set_redis_ok(false);
            if failures == 0 {
                warn!(%error, "doorbell lost, waking by the sweep alone: {error}");
            } else {
                debug!(%error, failures, "doorbell still lost: {error}");
            }
            let pause = BACKOFF_MIN.saturating_mul(2_u32.saturating_pow(failures)).min(BACKOFF_MAX);
            tokio::time::sleep(pause).await;
            failures = failures.saturating_add(1);
        }
    }

    /// Reads until something fails. Clears `failures` after the first read, so that a Redis which only accepts
    /// connections is not asked without pause.
    async fn session(&self, failures: &mut u32) -> RedisResult<Infallible> {
        let mut connection = self.server.connect(READ_TIMEOUT).await?;
        self.join(&mut connection).await?;
        self.purge(&mut connection).await?;
        self.health.set_redis_ok(true);
        loop {
            self.read(&mut connection).await?;
            if *failures > 0 {
                info!(failures, "listening at the doorbell again after {failures} failures");
                *failures = 0;
            }
        }
    }

    /// Creates the group where it is missing (first start, flush, empty restart). It starts at the oldest ring: a
    /// stream without a group holds only rings that nobody has heard.
    async fn join(&self, connection: &mut MultiplexedConnection) -> RedisResult<()> {
        let created = redis::cmd("XGROUP")
            .arg("CREATE")
            .arg(&self.stream)
            .arg(GROUP)
            .arg("0")
            .arg("MKSTREAM")
            .exec_async(connection)
            .await;
        match created {
            Err(error) if error.code() == Some("BUSYGROUP") => Ok(()),
            Err(error) if error.code() == Some("WRONGTYPE") => {
                warn!(stream = self.stream, "removing a key that is not the doorbell it is named after");
                redis::cmd("UNLINK").arg(&self.stream).exec_async(connection).await?;
                Err(error)
            }
            done => done,
        }
    }

    async fn purge(&self, connection: &mut MultiplexedConnection) -> RedisResult<()> {
        let known: StreamInfoConsumersReply =
            redis::cmd("XINFO").arg("CONSUMERS").arg(&self.stream).arg(GROUP).query_async(connection).await?;
        let is_gone = |idle_ms: usize| idle_ms as u128 > CONSUMER_IDLE_MAX.as_millis();
        let gone = known.consumers.iter().filter(|consumer| is_gone(consumer.idle));
        for consumer in gone.take(CONSUMERS_PURGED_MAX) {
            self.remove(&consumer.name, connection).await?;
        }
        Ok(())
    }

    async fn read(&self, connection: &mut MultiplexedConnection) -> RedisResult<()> {
        let rings: Option<StreamReadReply> = redis::cmd("XREADGROUP")
            .arg("GROUP")
            .arg(GROUP)
            .arg(&self.consumer)
            .arg("COUNT")
            .arg(READ_RINGS_MAX)
            .arg("BLOCK")
            .arg(BLOCK.as_millis() as u64)
            .arg("NOACK")
            .arg("STREAMS")
            .arg(&self.stream)
            .arg(">")
            .query_async(connection)
            .await?;
        for ring in rings.iter().flat_map(|reply| &reply.keys).flat_map(|stream| &stream.ids) {
            let wake =
                ring.get::<Vec<u8>>(FIELD).and_then(|wake| serde_json::from_slice::<WakeUp>(&wake).ok());
            match wake {
                Some(wake) => {
                    if let Err(full) = self.pending.ring(wake) {
                        debug!(account.id = %wake.account, "ring not taken: {full}");
                    }
                }
                None => debug!(ring = ring.id, "ring not understood, left to the sweep"),
            }
        }
        Ok(())
    }

    async fn remove(&self, consumer: &str, connection: &mut MultiplexedConnection) -> RedisResult<()> {
        redis::cmd("XGROUP")
            .arg("DELCONSUMER")
            .arg(&self.stream)
            .arg(GROUP)
            .arg(consumer)
            .exec_async(connection)
            .await
    }

    async fn leave(&self) {
        let leave = async {
            let mut connection = self.server.connect(LEAVE_TIMEOUT).await?;
            self.remove(&self.consumer, &mut connection).await
        };
        match tokio::time::timeout(LEAVE_TIMEOUT, leave).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(%error, "consumer left for the purge: {error}"),
            Err(_elapsed) => debug!("consumer left for the purge: no answer"),
        }
    }
}
