//! The roster cache that several processes share.

use std::{fmt, sync::LazyLock};

use async_trait::async_trait;
use redis::Script;
use sebastian_core::{AccountId, Roster};

use crate::{
    CacheError, RosterCache,
    redis_server::{Link, RedisServer},
};

/// Far beyond any staleness limit, and each publication renews it: it only clears away accounts that are gone, and
/// ends the reign of a roster whose version no poller will reach again (a ledger restored from a backup).
const ROSTER_TTL_S: u32 = 3_600;

static PUBLISH: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/publish_roster.lua")));
static NEWER: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/newer_roster.lua")));

/// Holds rosters in Redis, one hash per account.
///
/// Connects on first use, and again after any error. Every call ends within 1.5 s. A key that holds no
/// roster reads as [`CacheError::Corrupt`] and is replaced by the next publication.
pub struct RedisRosterCache {
    link: Link,
    prefix: Box<str>,
}

impl RedisRosterCache {
    /// A cache on `server`. Opens no connection, so it cannot fail.
    #[must_use]
    pub fn new(server: &RedisServer) -> Self {
        Self { link: Link::new(server), prefix: server.prefix().into() }
    }

    fn key(&self, account: AccountId) -> String {
        format!("{}:{{{account}}}:roster:v1", self.prefix)
    }
}

impl fmt::Debug for RedisRosterCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisRosterCache").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

#[async_trait]
impl RosterCache for RedisRosterCache {
    async fn publish(&self, account: AccountId, roster: &Roster) -> Result<bool, CacheError> {
        let body = serde_json::to_string(roster).map_err(CacheError::Corrupt)?;
        let mut script = PUBLISH.key(self.key(account));
        script.arg(roster.version).arg(body).arg(ROSTER_TTL_S);
        let script = &script;
        self.link
            .call(|mut connection| async move { script.invoke_async(&mut connection).await })
            .await
            .map_err(CacheError::Unreachable)
    }

    async fn newer_than(&self, account: AccountId, known: u64) -> Result<Option<Roster>, CacheError> {
        let mut script = NEWER.key(self.key(account));
        script.arg(known);
        let script = &script;
        let body: Option<Vec<u8>> = self
            .link
            .call(|mut connection| async move { script.invoke_async(&mut connection).await })
            .await
            .map_err(CacheError::Unreachable)?;
        let Some(body) = body else { return Ok(None) };
        let roster: Roster = serde_json::from_slice(&body).map_err(CacheError::Corrupt)?;
        // What another process wrote is put in order again: lookups are binary searches.
        Ok(Some(Roster::new(roster.version, roster.polled_at, roster.agents)))
    }

    async fn ping(&self) -> Result<(), CacheError> {
        self.link
            .call(|mut connection| async move { redis::cmd("PING").exec_async(&mut connection).await })
            .await
            .map_err(CacheError::Unreachable)
    }
}
