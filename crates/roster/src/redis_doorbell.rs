//! The doorbell on Redis: a capped stream, read by one consumer group, so that each ring wakes one worker.
//!
//! The group does not acknowledge: there is nothing to recover, as the sweep finds what a lost ring was about.

use std::fmt;

use async_trait::async_trait;
use redis::RedisError;

use crate::{
    Doorbell, DoorbellError, WakeUp,
    redis_server::{Link, RedisServer},
};

/// All workers are one group.
pub(crate) const GROUP: &str = "workers";

/// The field of an entry that holds the wake-up, as JSON.
pub(crate) const FIELD: &str = "wake";

/// Rings nobody read are kept to about this many: they coalesce to one run an account, so older ones add nothing.
const RINGS_MAX: u32 = 1_000;

pub(crate) fn stream_key(server: &RedisServer) -> String {
    format!("{}:doorbell:v1", server.prefix())
}

/// Rings workers in other processes.
///
/// Connects on first use, and again after any error. A ring ends within 1.5 s, and may be heard twice.
pub struct RedisDoorbell {
    link: Link,
    stream: String,
}

impl RedisDoorbell {
    /// A doorbell on `server`. Opens no connection, so it cannot fail.
    #[must_use]
    pub fn new(server: &RedisServer) -> Self {
        Self { link: Link::new(server), stream: stream_key(server) }
    }
}

impl fmt::Debug for RedisDoorbell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisDoorbell").field("stream", &self.stream).finish_non_exhaustive()
    }
}

#[async_trait]
impl Doorbell for RedisDoorbell {
    async fn ring(&self, wake: WakeUp) -> Result<(), DoorbellError> {
        let entry = serde_json::to_string(&wake).map_err(|error| DoorbellError(Box::new(error)))?;
        let mut add = redis::cmd("XADD");
        add.arg(&self.stream).arg("MAXLEN").arg("~").arg(RINGS_MAX).arg("*").arg(FIELD).arg(entry);
        let add = &add;
        self.link
            .call(|mut connection| async move {
                add.query_async::<String>(&mut connection).await?;
                Ok::<_, RedisError>(())
            })
            .await
            .map_err(DoorbellError)
    }
}
