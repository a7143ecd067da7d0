//! What Redis must be set to.

use sebastian_core::chain;
use sebastian_roster::{MemoryRule, RedisServer};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::config::Problem;

/// Refuses a Redis that evicts keys when its memory is full: it would drop the wake-ups of a whole desk and the roster at
/// its busiest hour, and nobody would be told.
///
/// One that is down is no reason not to start. Where it has no limit, or does not say, a line in the log has to do.
pub(super) async fn check_memory(redis: &RedisServer, stop: &CancellationToken) -> Result<(), Problem> {
    let Some(rule) = stop.run_until_cancelled(redis.memory_rule()).await else { return Ok(()) };
    match rule {
        Ok(Some(rule)) if rule.keeps_keys() => Ok(()),
        Ok(Some(MemoryRule { policy, limit_bytes: 0 })) => {
            warn!(
                "redis has no maxmemory, so it evicts nothing yet; with one its maxmemory-policy `{policy}` would be \
                 refused: set it to noeviction"
            );
            Ok(())
        }
        Ok(Some(MemoryRule { policy, limit_bytes })) => Err(Problem::new(format!(
            "`redis.url`: this Redis evicts keys when its {limit_bytes} bytes are full (maxmemory-policy `{policy}`), \
             wake-ups and the roster among them: set its maxmemory-policy to noeviction, or use a Redis of its own"
        ))),
        Ok(None) => {
            warn!("redis does not tell its maxmemory-policy: make sure that it is noeviction");
            Ok(())
        }
        Err(error) => {
            warn!(error = %chain(&error), "could not ask redis for its maxmemory-policy: make sure that it is noeviction");
            Ok(())
        }
    }
}
