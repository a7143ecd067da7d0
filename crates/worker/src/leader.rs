//! Which worker polls and reconciles: whoever holds a lease row, by the database's clock.

use std::time::Duration;

use tracing::{info, warn};

use crate::{desk::Desk, trouble};

/// Polls a leader may miss before another takes over.
const MISSED_POLLS: u32 = 3;

/// A lease no shorter than this, so that a slow poll does not lose it.
const LEASE_MIN: Duration = Duration::from_secs(3);

/// Takes or renews the lead. False while another worker has it, or while nobody can tell.
pub(crate) async fn lead(desk: &Desk) -> bool {
    let span = (desk.settings.poll_interval * MISSED_POLLS).max(LEASE_MIN);
    let leads = match desk.store.lease(&lease_name(desk), &desk.settings.name, span).await {
        Ok(leads) => leads,
        Err(error) => {
            warn!(error = %trouble::chain(&error), "the lead could not be asked for");
            false
        }
    };
    if desk.leading.send_replace(leads) != leads {
        let name = &desk.settings.name;
        let verb = if leads { "polls and reconciles from now on" } else { "no longer polls and reconciles" };
        info!(worker.name = %name, "worker {name} {verb}");
    }
    leads
}

/// Gives the lead up, so that another worker need not wait for the lease to run out.
pub(crate) async fn step_down(desk: &Desk) {
    if !desk.leading.send_replace(false) {
        return;
    }
    if let Err(error) = desk.store.release_lease(&lease_name(desk), &desk.settings.name).await {
        warn!(error = %trouble::chain(&error), "the lead could not be given up; it runs out by itself");
    }
}

fn lease_name(desk: &Desk) -> String {
    format!("leader:{}", desk.account)
}
