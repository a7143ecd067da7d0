//! The matcher: fold, decide, reserve, and hand each reservation to the executor.
//!
//! Level-triggered. It looks at the whole account whatever woke it, so a lost, doubled or late wake-up changes
//! nothing but latency. One run of an account is at work at a time, and a wake-up during a run causes one more.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime},
};

use apalis::prelude::Data;
use metrics::{counter, histogram};
use sebastian_core::{Timestamp, chain, decide};
use sebastian_roster::{WakeReason, WakeUp};
use sebastian_store::{Decide, Decided, Pause, StoreError, crash_point};
use tokio::{sync::OwnedSemaphorePermit, time::Instant};
use tracing::{debug, warn};

use crate::{
    asker,
    desk::Desk,
    executor,
    metrics::{DECIDE_SECONDS, DOORBELL_LAG_SECONDS, EVENTS_FOLDED_TOTAL},
};

/// How soon to look again when others held the account's lock.
const CONTENDED_WAIT: Duration = Duration::from_millis(20);

/// Events folded by one round from which on they count as a flood. The worker then rests for as long as the round took, so
/// that the next is worth more: small rounds one after the other would take the ledger from those who write to it.
const FLOOD_EVENTS: u32 = 64;

/// Rounds of one run, so that a flood of events cannot keep a run from ever ending.
const ROUNDS_MAX: u32 = 1_000;

/// Runs once for a wake-up.
pub(crate) async fn on_wake(wake: WakeUp, desk: Data<Arc<Desk>>) {
    crash_point!("wake_taken");
    let lag = Timestamp::from(SystemTime::now()).since(wake.rung_at);
    histogram!(DOORBELL_LAG_SECONDS, "reason" => wake.reason.as_str()).record(lag);
    if matches!(wake.reason, WakeReason::Timer | WakeReason::Roster) {
        desk.roster.refresh(&desk).await;
    }
    for _ in 0..ROUNDS_MAX {
        match round(&desk).await {
            Ok(Next::Round) => {}
            Ok(Next::Rest(span)) => {
                crash_point!("run_over");
                if !span.is_zero() {
                    desk.wait(span).await;
                }
                return;
            }
            Err(StoreError::Contended(error)) => {
                debug!(error = %error, "the account was locked; looking again");
                if !desk.wait(CONTENDED_WAIT).await {
                    return;
                }
            }
            Err(error) => {
                warn!(error = %chain(&error), "no decision could be made; the sweep tries again");
                return;
            }
        }
    }
}

/// What follows a round.
enum Next {
    /// There is more to do at once.
    Round,
    /// Nothing, for so long.
    Rest(Duration),
}

/// One transaction's worth: folds always, gives out as many conversations as may be tried.
async fn round(desk: &Arc<Desk>) -> Result<Next, StoreError> {
    let mut permits = permits(desk);
    let limit =
        permits.as_ref().map_or(0, |permits| u32::try_from(permits.num_permits()).unwrap_or(u32::MAX));
    let limit = limit.min(desk.settings.batch_limit);

    let began = Instant::now();
    let decided = decide_once(desk, limit).await?;
    let took = began.elapsed();
    histogram!(DECIDE_SECONDS).record(took);
    counter!(EVENTS_FOLDED_TOTAL).increment(u64::from(decided.folded));
    if decided.folded > 0 {
        crash_point!("folded");
    }
    desk.failures.store(decided.failures, Ordering::Relaxed);
    if let Some(pause) = decided.pause {
        hold(desk, pause).await?;
    }

    let deadline = began + desk.timing.reservation;
    for reservation in decided.reserved {
        crash_point!("reserved");
        desk.asker.forget(&reservation.room);
        let permit = permits.as_mut().and_then(|permits| permits.split(1));
        executor::start(desk, reservation, deadline, permit);
    }
    for room in decided.ask {
        asker::ask(desk, room);
    }
    // With nothing to give out, `more` only means something while events are left.
    Ok(if decided.more && (limit > 0 || decided.folded > 0) {
        Next::Round
    } else if decided.folded >= FLOOD_EVENTS {
        Next::Rest(took)
    } else {
        Next::Rest(Duration::ZERO)
    })
}

/// Permits for the conversations this round may give out. `None`: it may only fold.
fn permits(desk: &Desk) -> Option<OwnedSemaphorePermit> {
    // Noted before the look, so that a permit that comes back in between rings.
    desk.starved.store(true, Ordering::Relaxed);
    if !desk.may_call() {
        return None;
    }
    let permits = desk.matching.take(if desk.on_probation() { 1 } else { u32::MAX })?;
    desk.starved.store(false, Ordering::Relaxed);
    Some(permits)
}

/// Keeps a pause that another worker began.
async fn hold(desk: &Desk, pause: Pause) -> Result<(), StoreError> {
    if !desk.calls_held() {
        let now = desk.store.now().await?;
        desk.hold_calls(pause.until.since(now));
    }
    Ok(())
}

async fn decide_once(desk: &Desk, limit: u32) -> Result<Decided, StoreError> {
    let roster = desk.roster.current();
    let request = Decide {
        account: desk.account,
        answers: desk.asker.answers(&roster, &desk.policy),
        roster,
        policy: &desk.policy,
        limit,
        record: !desk.settings.keep.decisions.is_zero(),
    };
    desk.store.decide(&request, &|snapshot, now| decide(snapshot, &desk.policy, now)).await
}
