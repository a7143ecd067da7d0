//! What Redis does when its memory is full.

use redis::RedisError;

use crate::{
    CacheError,
    redis_server::{Link, RedisServer},
};

/// How Redis is set to behave when its memory is full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryRule {
    /// `maxmemory-policy`: `noeviction`, or whose keys are evicted.
    pub policy: String,
    /// `maxmemory` in bytes. Zero: no limit, so nothing is evicted.
    pub limit_bytes: u64,
}

impl MemoryRule {
    /// Whether keys stay until they are deleted or expire, whatever the limit.
    #[must_use]
    pub fn keeps_keys(&self) -> bool {
        self.policy == "noeviction"
    }
}

impl RedisServer {
    /// Asks for the rule by `INFO memory`, which managed servers allow where they forbid `CONFIG`. `None` when the
    /// answer does not tell. Ends within 1.5 s; fails when Redis does not answer, or the user may not ask.
    pub async fn memory_rule(&self) -> Result<Option<MemoryRule>, CacheError> {
        let ask = |mut connection| async move {
            let info: Result<String, RedisError> =
                redis::cmd("INFO").arg("memory").query_async(&mut connection).await;
            info
        };
        let info = Link::new(self).call(ask).await.map_err(CacheError::Unreachable)?;
        let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let policy = field("maxmemory_policy").map(|policy| policy.trim().to_owned());
        let limit = field("maxmemory").and_then(|limit| limit.trim().parse().ok());
        Ok(policy.zip(limit).map(|(policy, limit_bytes)| MemoryRule { policy, limit_bytes }))
    }
}
