//! The worker's metrics: names, meanings, and the gauges read from the ledger.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram, gauge};
use sebastian_core::{Timestamp, chain};
use tokio::time::Instant;
use tracing::debug;

use crate::desk::Desk;

/// How assignments ended; labels `platform` and `result`.
pub const ASSIGNMENTS_TOTAL: &str = "sebastian_assignments_total";
/// From opening to assignment.
pub const QUEUE_WAIT_SECONDS: &str = "sebastian_queue_wait_seconds";
/// Calls to the platform; labels `platform`, `call` and `class`.
pub const PLATFORM_CALL_SECONDS: &str = "sebastian_platform_call_seconds";
/// Folding, deciding and reserving: one transaction.
pub const DECIDE_SECONDS: &str = "sebastian_decide_seconds";
/// From a ring to the run it caused; label `reason`.
pub const DOORBELL_LAG_SECONDS: &str = "sebastian_doorbell_lag_seconds";
/// Events folded into conversations.
pub const EVENTS_FOLDED_TOTAL: &str = "sebastian_events_folded_total";
/// Polls of the roster; label `result`.
pub const POLLS_TOTAL: &str = "sebastian_roster_polls_total";
/// Differences with the platform found and healed; label `what`.
pub const RECONCILED_TOTAL: &str = "sebastian_reconciled_total";
/// Sum over agents of the difference between the ledger's and the platform's count.
pub const LOAD_DRIFT: &str = "sebastian_load_drift_conversations";
/// Conversations in a queue.
pub const WAITING: &str = "sebastian_waiting_conversations";
/// Conversations parked.
pub const PARKED: &str = "sebastian_parked_conversations";
/// Conversations reserved or closing.
pub const RESERVED: &str = "sebastian_reserved_conversations";
/// Reservations past their deadline.
pub const RESERVATIONS_UNKNOWN: &str = "sebastian_reservations_unknown";
/// Conversations assigned.
pub const ASSIGNED: &str = "sebastian_assigned_conversations";
/// Events accepted and not yet folded.
pub const UNFOLDED: &str = "sebastian_unfolded_events";
/// Age of the oldest waiting conversation.
pub const OLDEST_WAIT_SECONDS: &str = "sebastian_oldest_wait_seconds";
/// Age of the roster at hand.
pub const ROSTER_AGE_SECONDS: &str = "sebastian_roster_age_seconds";
/// Agents who may be given conversations, load apart.
pub const AGENTS_ELIGIBLE: &str = "sebastian_agents_eligible";
/// Failures in a row; above zero the account is paused or on probation.
pub const ACCOUNT_FAILURES: &str = "sebastian_account_failures";
/// Whether this worker polls and reconciles.
pub const LEADING: &str = "sebastian_worker_leading";

/// Promises found broken by the audit; label `id` (`I2`).
pub const INVARIANT_VIOLATIONS_TOTAL: &str = "sebastian_invariant_violations_total";

/// How often gauges are read from the ledger, which counts all that is not over.
const GAUGE_INTERVAL: Duration = Duration::from_secs(5);

/// They are read less often when that takes long: one part in so many of a core is enough for them.
const GAUGE_SHARE: u32 = 200;

/// Not less often than this, or alerts would sleep.
const GAUGE_INTERVAL_MAX: Duration = Duration::from_secs(30);

/// Tells the recorder what each metric means.
pub fn describe() {
    describe_counter!(ASSIGNMENTS_TOTAL, "How attempts to assign ended");
    describe_histogram!(QUEUE_WAIT_SECONDS, Unit::Seconds, "From a conversation's opening to its assignment");
    describe_histogram!(
        PLATFORM_CALL_SECONDS,
        Unit::Seconds,
        "Calls to the platform, by call and class of answer"
    );
    describe_histogram!(DECIDE_SECONDS, Unit::Seconds, "Folding, deciding and reserving, one transaction");
    describe_histogram!(DOORBELL_LAG_SECONDS, Unit::Seconds, "From a ring to the run it caused");
    describe_counter!(EVENTS_FOLDED_TOTAL, "Events folded into conversations");
    describe_counter!(POLLS_TOTAL, "Polls of the roster, by result");
    describe_counter!(RECONCILED_TOTAL, "Differences with the platform found and healed");
    describe_gauge!(
        LOAD_DRIFT,
        "Sum over agents of ledger and platform counts apart, at the last comparison"
    );
    describe_gauge!(WAITING, "Conversations waiting in a queue");
    describe_gauge!(PARKED, "Conversations parked until a wake time");
    describe_gauge!(RESERVED, "Conversations whose platform call is under way");
    describe_gauge!(RESERVATIONS_UNKNOWN, "Reservations past their deadline, outcome unknown");
    describe_gauge!(ASSIGNED, "Conversations assigned");
    describe_gauge!(UNFOLDED, "Events accepted and not yet folded");
    describe_gauge!(OLDEST_WAIT_SECONDS, Unit::Seconds, "Age of the oldest waiting conversation");
    describe_gauge!(ROSTER_AGE_SECONDS, Unit::Seconds, "Age of the roster at hand");
    describe_gauge!(AGENTS_ELIGIBLE, "Agents who may be given conversations, load apart");
    describe_gauge!(
        ACCOUNT_FAILURES,
        "Platform failures in a row; above zero decisions are paused or on probation"
    );
    describe_counter!(
        INVARIANT_VIOLATIONS_TOTAL,
        "Promises the audit found broken, by number; zero is right"
    );
    describe_gauge!(LEADING, "1 while this worker polls and reconciles");
}

/// Reads the gauges every few seconds.
pub(crate) async fn run(desk: Arc<Desk>) {
    loop {
        let began = Instant::now();
        if let Err(error) = read(&desk).await {
            debug!(error = %chain(&error), "gauges could not be read");
        }
        if !desk.wait(pause_after(began.elapsed())).await {
            return;
        }
    }
}

fn pause_after(took: Duration) -> Duration {
    took.saturating_mul(GAUGE_SHARE).clamp(GAUGE_INTERVAL, GAUGE_INTERVAL_MAX)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a gauge of more than 2^52 conversations is not read to the last"
)]
async fn read(desk: &Desk) -> Result<(), sebastian_store::StoreError> {
    let now = Timestamp::from(SystemTime::now());
    let roster = desk.roster.current();
    let eligible = roster.agents.iter().filter(|agent| desk.policy.deals_to(agent)).count();
    gauge!(ROSTER_AGE_SECONDS).set(now.since(roster.polled_at).as_secs_f64());
    gauge!(AGENTS_ELIGIBLE).set(eligible as f64);
    gauge!(ACCOUNT_FAILURES).set(f64::from(desk.failures.load(std::sync::atomic::Ordering::Relaxed)));
    gauge!(LEADING).set(if desk.leads() { 1.0 } else { 0.0 });

    let counts = desk.store.counts(desk.account).await?;
    gauge!(WAITING).set(counts.waiting as f64);
    gauge!(PARKED).set(counts.parked as f64);
    gauge!(RESERVED).set(counts.reserved as f64);
    gauge!(RESERVATIONS_UNKNOWN).set(counts.overdue as f64);
    gauge!(ASSIGNED).set(counts.assigned as f64);
    gauge!(UNFOLDED).set(counts.unfolded as f64);
    gauge!(OLDEST_WAIT_SECONDS).set(counts.oldest_waiting_at.map_or(0.0, |at| now.since(at).as_secs_f64()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gauges_that_take_long_are_read_less_often_and_still_twice_a_minute() {
        let after = |took_ms| pause_after(Duration::from_millis(took_ms));
        assert_eq!(
            [after(1), after(25), after(60), after(5_000)].map(|pause| pause.as_secs()),
            [5, 5, 12, 30]
        );
    }
}
