//! What to do about errors: their words for logs, how long to back off, which stop the account.

use sebastian_core::chain;
use std::{future::Future, sync::atomic::Ordering, time::Duration};

use sebastian_platform::PlatformError;
use sebastian_roster::WakeReason;
use sebastian_store::{PauseReason, StoreError};
use tokio::time::Instant;
use tracing::{error, warn};

use crate::desk::Desk;

/// First pause after a platform was too busy, when it did not say how long; doubles with each failure in a row.
const BUSY_PAUSE: Duration = Duration::from_secs(1);

/// First pause after credentials were refused: long enough not to hammer, short enough that a repaired account is
/// back in seconds.
const DENIED_PAUSE: Duration = Duration::from_secs(5);

/// No pause of our own choosing grows beyond this: a platform that is back is noticed within seconds.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// After so many conversations in a row whose call the platform left unanswered, it is the platform that is in trouble
/// and not a conversation.
const UNANSWERED_MAX: u32 = 3;

/// First wait between two tries of the same thing; doubles up to a second.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(1);

/// The class of a platform error, as metrics label it.
pub(crate) fn class(error: &PlatformError) -> &'static str {
    match error {
        PlatformError::Rejected(_) => "rejected",
        PlatformError::Busy { .. } => "busy",
        PlatformError::Denied { .. } => "denied",
        PlatformError::Unknown(_) => "unknown",
        PlatformError::Unsupported(_) => "unsupported",
    }
}

/// Pauses the account when the platform is too busy for us or does not accept us. Other errors concern one call.
pub(crate) async fn pause_if_needed(desk: &Desk, error: &PlatformError) {
    match error {
        PlatformError::Busy { after: Some(after) } => pause(desk, *after, PauseReason::Busy).await,
        PlatformError::Busy { after: None } => back_off(desk, BUSY_PAUSE, PauseReason::Busy).await,
        PlatformError::Denied { status } => {
            if back_off(desk, DENIED_PAUSE, PauseReason::Denied).await {
                error!(
                    http.status = status,
                    "the platform refuses our credentials or subscription: somebody must act"
                );
            }
            true
        }
        PlatformError::Rejected(_) | PlatformError::Unknown(_) | PlatformError::Unsupported(_) => false,
    };
}

/// Notes a conversation whose first call the platform left unanswered. A row of them, or one on probation, pauses the
/// account: what is under way is settled once the platform answers.
pub(crate) async fn unanswered(desk: &Desk) {
    let row = desk.unanswered.fetch_add(1, Ordering::Relaxed) + 1;
    if row >= UNANSWERED_MAX || desk.on_probation() {
        back_off(desk, BUSY_PAUSE, PauseReason::Busy).await;
    }
}

/// Whether the platform leaves more than one conversation unanswered.
pub(crate) fn is_general(desk: &Desk) -> bool {
    desk.unanswered.load(Ordering::Relaxed) > 1
}

/// Ends probation after the platform answered a call sent at `sent_at`, unless a pause has begun since.
pub(crate) async fn end_probation(desk: &Desk, sent_at: Instant) {
    if desk.held_after(sent_at) || desk.failures.swap(0, Ordering::Relaxed) == 0 {
        return;
    }
    let until = Instant::now() + desk.timing.reservation;
    let _: Option<()> = persist(until, "the end of probation", || desk.store.resume(desk.account)).await;
    desk.ring(WakeReason::Freed).await;
}

/// Pauses for `first`, doubled with each failure in a row.
async fn back_off(desk: &Desk, first: Duration, reason: PauseReason) -> bool {
    let failures = desk.failures.load(Ordering::Relaxed);
    pause(desk, doubled(first, failures, PAUSE_MAX), reason).await
}

/// Pauses the account. False when a pause as long stands: whoever began it told the ledger.
async fn pause(desk: &Desk, span: Duration, reason: PauseReason) -> bool {
    if !desk.hold_calls(span) {
        return false;
    }
    let span_ms = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    warn!(reason = reason.as_str(), span_ms, "decisions pause for {span_ms} ms: {}", reason.as_str());
    let deadline = Instant::now() + desk.timing.reservation;
    let _: Option<()> = persist(deadline, "pause", || desk.store.pause(desk.account, span, reason)).await;
    true
}

/// Repeats a write to the ledger until it succeeds, or until `deadline`: then `None`, and whoever sweeps next goes on.
pub(crate) async fn persist<T, F>(
    deadline: Instant,
    what: &'static str,
    mut write: impl FnMut() -> F,
) -> Option<T>
where
    F: Future<Output = Result<T, StoreError>>,
{
    for tries in 0.. {
        let error = match write().await {
            Ok(done) => return Some(done),
            Err(error) => error,
        };
        let wait = doubled(RETRY_MIN, tries, RETRY_MAX);
        if Instant::now() + wait >= deadline {
            error!(error = %chain(&error), "could not write {what} to the ledger in time; it is settled later");
            return None;
        }
        warn!(error = %chain(&error), "writing {what} to the ledger failed and is tried again");
        tokio::time::sleep(wait).await;
    }
    None
}

/// `first`, doubled `times`, at most `most`.
pub(crate) fn doubled(first: Duration, times: u32, most: Duration) -> Duration {
    first.saturating_mul(1_u32.checked_shl(times).unwrap_or(u32::MAX)).min(most)
}
