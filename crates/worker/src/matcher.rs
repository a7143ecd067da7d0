//! The matcher: fold, decide, reserve, and hand each reservation to the executor.
//!
//! Level-triggered. It looks at the whole account whatever woke it, so a lost, doubled or late wake-up changes
//! nothing but latency. One run of an account is at work at a time, and a wake-up during a run causes one more.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant, SystemTime},
};

use apalis::prelude::Data;
use metrics::{counter, histogram};
use sebastian_core::{Timestamp, decide};
use sebastian_roster::{WakeReason, WakeUp};
use sebastian_store::{Decide, Decided, StoreError};
use tracing::{debug, warn};

use crate::{
    asker,
    desk::Desk,
    executor,
    metrics::{DECIDE_SECONDS, DOORBELL_LAG_SECONDS, EVENTS_FOLDED_TOTAL},
    trouble,
};

/// How soon to look again when others held the account's lock.
const CONTENDED_WAIT: Duration = Duration::from_millis(20);

/// Rounds of one run, so that a flood of events cannot keep a run from ever ending.
const ROUNDS_MAX: u32 = 1_000;

/// Runs once for a wake-up.
pub(crate) async fn on_wake(wake: WakeUp, desk: Data<Arc<Desk>>) {
    let lag = Timestamp::from(SystemTime::now()).since(wake.rung_at);
    histogram!(DOORBELL_LAG_SECONDS, "reason" => wake.reason.as_str()).record(lag);
    if matches!(wake.reason, WakeReason::Timer | WakeReason::Roster) {
        desk.roster.refresh(&desk).await;
    }
    for _ in 0..ROUNDS_MAX {
        match round(&desk).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(StoreError::Contended(error)) => {
                debug!(error = %error, "the account was locked; looking again");
                if !desk.wait(CONTENDED_WAIT).await {
                    return;
                }
            }
            Err(error) => {
                warn!(error = %trouble::chain(&error), "no decision could be made; the sweep tries again");
                return;
            }
        }
    }
}

/// One transaction's worth. True when there is more to do at once.
async fn round(desk: &Arc<Desk>) -> Result<bool, StoreError> {
    let free = u32::try_from(desk.inflight.available_permits()).unwrap_or(u32::MAX);
    let mut permits = desk.inflight.clone().try_acquire_many_owned(free).ok();
    let limit = if permits.is_some() && !desk.stop.is_cancelled() { free } else { 0 };
    if limit == 0 {
        desk.starved.store(true, Ordering::Relaxed);
    }

    let began = Instant::now();
    let decided = decide_once(desk, limit).await?;
    histogram!(DECIDE_SECONDS).record(began.elapsed());
    counter!(EVENTS_FOLDED_TOTAL).increment(u64::from(decided.folded));
    desk.failures.store(decided.failures, Ordering::Relaxed);

    let deadline = began + desk.timing.reservation;
    for reservation in decided.reserved {
        let permit = permits.as_mut().and_then(|permits| permits.split(1));
        desk.calls.spawn(executor::carry_out(desk.clone(), reservation, deadline.into(), permit));
    }
    for room in decided.ask {
        asker::ask(desk, room);
    }
    Ok(decided.more && limit > 0)
}

async fn decide_once(desk: &Desk, limit: u32) -> Result<Decided, StoreError> {
    let request = Decide {
        account: desk.account,
        roster: desk.roster.current(),
        answers: desk.asker.answers(),
        policy: &desk.policy,
        limit,
    };
    desk.store.decide(&request, &|snapshot, now| decide(snapshot, &desk.policy, now)).await
}
