//! The roster cache of a process that has no Redis.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use sebastian_core::{AccountId, Roster};

use crate::{CacheError, RosterCache};

/// Holds rosters in this process's memory. Clones share them. Never fails.
#[derive(Debug, Clone, Default)]
pub struct InProcessRosterCache {
    rosters: Arc<Mutex<HashMap<AccountId, Roster>>>,
}

impl InProcessRosterCache {
    fn rosters(&self) -> MutexGuard<'_, HashMap<AccountId, Roster>> {
        self.rosters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl RosterCache for InProcessRosterCache {
    async fn publish(&self, account: AccountId, roster: &Roster) -> Result<bool, CacheError> {
        let mut rosters = self.rosters();
        if rosters.get(&account).is_some_and(|stored| stored.version >= roster.version) {
            return Ok(false);
        }
        rosters.insert(account, roster.clone());
        Ok(true)
    }

    async fn newer_than(&self, account: AccountId, known: u64) -> Result<Option<Roster>, CacheError> {
        Ok(self.rosters().get(&account).filter(|stored| stored.version > known).cloned())
    }

    async fn ping(&self) -> Result<(), CacheError> {
        Ok(())
    }
}
