//! Redis: whether it answers, and that it forgets nothing when it is full.

use sebastian_core::chain;
use sebastian_roster::MemoryRule;

use super::finding::Finding;
use crate::{
    compose::{parts, storage::Storage},
    config::Config,
};

const CHECK: &str = "redis";

const NOEVICTION: &str = "set its maxmemory-policy to noeviction";

/// What is missing in the settings is told with them.
pub(super) async fn look(config: &Config) -> Vec<Finding> {
    let Ok(Storage::Servers(servers)) = parts::storage(config, None) else { return vec![] };
    vec![match servers.redis.memory_rule().await {
        Ok(Some(rule)) if rule.keeps_keys() => Finding::ok(CHECK, "it answers, and evicts nothing when full"),
        Ok(Some(MemoryRule { policy, limit_bytes: 0 })) => {
            let found =
                format!("it answers; without a maxmemory its maxmemory-policy `{policy}` evicts nothing yet");
            Finding::warn(CHECK, found, NOEVICTION)
        }
        Ok(Some(MemoryRule { policy, limit_bytes })) => {
            let found = format!(
                "it evicts wake-ups and the roster when its {limit_bytes} bytes are full (maxmemory-policy `{policy}`), \
                 and is refused at the next start"
            );
            Finding::fail(CHECK, found, NOEVICTION)
        }
        Ok(None) => {
            Finding::warn(CHECK, "it does not tell its maxmemory-policy", "make sure that it is noeviction")
        }
        Err(error) => {
            let mend = "start Redis, let its user ask for INFO, or correct `redis.url`";
            Finding::fail(CHECK, chain(&error), mend)
        }
    }]
}
