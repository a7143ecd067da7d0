//! The roster as this worker knows it.

use std::sync::{Arc, PoisonError, RwLock};

use sebastian_core::{Roster, chain};
use tracing::debug;

use crate::desk::Desk;

/// The newest roster seen, from the cache or from a poll of our own.
#[derive(Default)]
pub(crate) struct RosterView {
    newest: RwLock<Arc<Roster>>,
}

impl RosterView {
    /// The newest roster; before the first poll, one of nobody and of long ago.
    pub fn current(&self) -> Arc<Roster> {
        self.newest.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes `roster` unless a newer one is here.
    pub fn offer(&self, roster: Roster) {
        let mut newest = self.newest.write().unwrap_or_else(PoisonError::into_inner);
        if roster.version > newest.version {
            *newest = Arc::new(roster);
        }
    }

    /// Looks in the cache for a newer one. A cache that gives no answer changes nothing.
    pub async fn refresh(&self, desk: &Desk) {
        let known = self.current().version;
        match desk.cache.newer_than(desk.account, known).await {
            Ok(newer) => newer.into_iter().for_each(|roster| self.offer(roster)),
            Err(error) => debug!(error = %chain(&error), "the roster cache gave no answer"),
        }
    }
}
