//! What wakes the worker, and how anybody can tell that it does.

use std::time::Duration;

use sebastian_ingest::Check;
use sebastian_roster::WakeUps;

use super::storage::Shared;
use crate::config::Config;

/// A run takes as long as the ledger's slowest answer; a worker that took no wake-up for this long beyond a sweep hangs.
const RUN_MAX: Duration = Duration::from_secs(30);

/// Whether wake-ups are taken, without which nothing is assigned, and whether Redis, if there is one, brings any, without
/// which the sweep finds the work.
pub(super) fn checks(config: &Config, shared: &Shared, wakes: &WakeUps) -> Vec<Check> {
    let (taken, heard) = (wakes.health(), wakes.health());
    let age_max = config.worker.sweep + RUN_MAX;
    let worker = Check::required("worker", move || {
        let age = taken.last_wake();
        async move {
            match age {
                Some(age) if age <= age_max => Ok(format!("last wake-up {} ms ago", age.as_millis()).into()),
                Some(age) => Err(format!("last wake-up {} ms ago", age.as_millis()).into()),
                None => Err("no wake-up yet".into()),
            }
        }
    });
    let doorbell = Check::optional("doorbell", move || {
        let is_heard = heard.redis_ok();
        async move { if is_heard { Ok("ok".into()) } else { Err("unreachable".into()) } }
    });
    if shared.has_server() { vec![worker, doorbell] } else { vec![worker] }
}
