//! What nobody does and yet is worth telling: a conversation that waits too long, a queue that nobody serves.
//!
//! One courier watches for all, by a lease. What it finds is noted in the ledger in the transaction that tells of it, so
//! each is told once whoever watches.

use std::{sync::Arc, time::Duration};

use sebastian_core::{Attendance, Policy, Roster, chain, notice};
use sebastian_roster::RosterCache;
use sebastian_store::{Store, StoreError, outbox::PENDING_MAX};
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::courier::{CourierSettings, Office};

/// Looks in the span of the lease: some may fail.
const LOOKS: u32 = 5;

/// Conversations told of in one statement.
const TOLD_MAX: u32 = 500;

/// How often the outbox is tidied.
const TIDY_INTERVAL: Duration = Duration::from_secs(60);

/// What a watcher looks at.
pub(crate) struct Watcher {
    store: Arc<dyn Store>,
    cache: Arc<dyn RosterCache>,
    policy: Policy,
    settings: CourierSettings,
    roster: Arc<Roster>,
    tidied: Option<Instant>,
}

impl Watcher {
    pub fn new(
        store: Arc<dyn Store>,
        cache: Arc<dyn RosterCache>,
        policy: Policy,
        settings: CourierSettings,
    ) -> Self {
        Self { store, cache, policy, settings, roster: Arc::default(), tidied: None }
    }
}

/// Looks until told to stop.
pub(crate) async fn run(office: Arc<Office>, mut watcher: Watcher) {
    let lease = format!("events:{}", office.account);
    while office.wait(watcher.settings.sweep).await {
        let span = watcher.settings.sweep * LOOKS;
        let looked = match watcher.store.lease(&lease, &watcher.settings.name, span).await {
            Ok(true) => watcher.look(&office).await,
            Ok(false) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = looked {
            debug!(error = %chain(&error), "nobody could watch for what is worth telling");
        }
    }
}

impl Watcher {
    async fn look(&mut self, office: &Office) -> Result<(), StoreError> {
        let account = office.account;
        while office.outbox.tell_waiting(account, self.settings.waiting_too_long, TOLD_MAX).await? == TOLD_MAX
        {
        }
        self.look_at_queues(office).await?;
        if self.tidied.is_none_or(|at| at.elapsed() >= TIDY_INTERVAL) {
            self.tidied = Some(Instant::now());
            for id in office.outbox.tidy(account, self.settings.retention, PENDING_MAX).await? {
                warn!(subscription.id = %id, "subscription {id} is disabled: too many letters wait for it");
            }
        }
        Ok(())
    }

    async fn look_at_queues(&mut self, office: &Office) -> Result<(), StoreError> {
        let account = office.account;
        let queues = office.outbox.queues(account).await?;
        if queues.is_empty() {
            return Ok(());
        }
        match self.cache.newer_than(account, self.roster.version).await {
            Ok(Some(newer)) => self.roster = Arc::new(newer),
            Ok(None) => {}
            Err(error) => debug!(error = %chain(&error), "the roster could not be read; the last one ages"),
        }
        if self.roster.version == 0 {
            return Ok(());
        }
        let (rules, now) = (self.store.rulebook(account).await?, self.store.now().await?);
        for one in queues {
            match notice::attendance(one.queue, &self.roster, &rules, &self.policy, now) {
                Attendance::Unattended if one.waiting && !one.unattended => {
                    office.outbox.note_attendance(account, one.queue, true).await?;
                }
                Attendance::Attended if one.unattended => {
                    office.outbox.note_attendance(account, one.queue, false).await?;
                }
                Attendance::Attended | Attendance::Unattended | Attendance::Unknown => {}
            }
        }
        Ok(())
    }
}
