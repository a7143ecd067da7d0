//! Which worker polls and reconciles: whoever holds a lease row, by the database's clock.
//!
//! A loop of its own renews the lease, so that a slow poll does not lose it.

use sebastian_core::chain;
use std::{sync::Arc, time::Duration};

use tracing::{info, warn};

use crate::desk::Desk;

/// Polls a leader may miss before another takes over.
const MISSED_POLLS: u32 = 3;

/// A lease no shorter than this, so that a ledger that answers late does not lose it.
const LEASE_MIN: Duration = Duration::from_secs(3);

/// Renewals in the span of a lease: one may fail.
const RENEWALS: u32 = 3;

/// Who has the lead, as far as this worker knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lead {
    /// It was not asked for yet.
    Unasked,
    /// This worker.
    Mine,
    /// Another worker, or nobody can tell.
    NotMine,
}

pub(crate) async fn run(desk: Arc<Desk>) {
    let span = (desk.settings.poll_interval * MISSED_POLLS).max(LEASE_MIN);
    loop {
        ask(&desk, span).await;
        if !desk.wait(span / RENEWALS).await {
            return;
        }
    }
}

/// Takes or renews the lead.
async fn ask(desk: &Desk, span: Duration) {
    let lead = match desk.store.lease(&lease_name(desk), &desk.settings.name, span).await {
        Ok(true) => Lead::Mine,
        Ok(false) => Lead::NotMine,
        Err(error) => {
            warn!(error = %chain(&error), "the lead could not be asked for");
            Lead::NotMine
        }
    };
    let led = desk.leads();
    let changed = desk.lead.send_if_modified(|known| std::mem::replace(known, lead) != lead);
    if changed && led != desk.leads() {
        let name = &desk.settings.name;
        let verb = if led { "no longer polls and reconciles" } else { "polls and reconciles from now on" };
        info!(worker.name = %name, "worker {name} {verb}");
    }
}

/// Gives the lead up, so that another worker need not wait for the lease to run out.
pub(crate) async fn step_down(desk: &Desk) {
    if desk.lead.send_replace(Lead::NotMine) != Lead::Mine {
        return;
    }
    if let Err(error) = desk.store.release_lease(&lease_name(desk), &desk.settings.name).await {
        warn!(error = %chain(&error), "the lead could not be given up; it runs out by itself");
    }
}

fn lease_name(desk: &Desk) -> String {
    format!("leader:{}", desk.account)
}
