//! The executor: carries one reservation to its end.
//!
//! The platform is told, and what it answers decides. An answer that tells nothing is a third outcome: the same call
//! is repeated, which is a compare-and-set on the platform, and the room is read back. The slot stays taken until
//! somebody knows; never is a second agent tried before.

use std::{sync::Arc, time::Duration};

use metrics::{counter, histogram};
use sebastian_core::{Closed, Settled, Settlement, Timestamp, Verdict};
use sebastian_platform::{PlatformError, Refusal, RoomStatus};
use sebastian_roster::WakeReason;
use sebastian_store::Reservation;
use tokio::{sync::OwnedSemaphorePermit, time::Instant};
use tracing::{debug, info, warn};

use crate::{
    desk::Desk,
    metrics::{ASSIGNMENTS_TOTAL, QUEUE_WAIT_SECONDS},
    trouble::{chain, doubled, pause_if_needed, persist},
};

/// First wait before the same call is repeated; doubles up to the next.
const REPEAT_MIN: Duration = Duration::from_millis(150);
const REPEAT_MAX: Duration = Duration::from_secs(2);

/// After so many take-overs nothing more is sent: the room is only read. From then on a reading that finds nobody
/// there is proof once the settle window has passed.
const SENDING_TAKEOVERS: u32 = 2;

/// What is known after a try.
enum Known {
    /// How the attempt ended.
    Ended(Verdict),
    /// Nothing yet: try again.
    Nothing,
    /// Nothing, and this worker must not go on: the account is paused.
    Paused,
}

/// Carries out `reservation`. Nothing is sent after `deadline`; what is not settled by then is taken over.
pub(crate) async fn carry_out(
    desk: Arc<Desk>,
    reservation: Reservation,
    deadline: Instant,
    permit: Option<OwnedSemaphorePermit>,
) {
    let mut attempt =
        Attempt { desk: &desk, reservation: &reservation, deadline, uncertain: reservation.takeovers > 0 };
    match attempt.run().await {
        Some(verdict) => record(&desk, &reservation, verdict, deadline).await,
        None => {
            counter!(ASSIGNMENTS_TOTAL, "platform" => desk.platform.name(), "result" => "unknown")
                .increment(1);
            warn!(
                conversation.id = %reservation.attempt.conversation,
                agent.id = %reservation.agent,
                "the outcome for conversation {} is not known yet; its slot stays taken",
                reservation.attempt.conversation
            );
        }
    }
    drop(permit);
    desk.permit_came_back().await;
}

struct Attempt<'a> {
    desk: &'a Desk,
    reservation: &'a Reservation,
    deadline: Instant,
    /// A call was sent whose effect is not known, by us or by whom we took over from. From then on only what the
    /// platform shows settles the attempt, not what it refuses.
    uncertain: bool,
}

impl Attempt<'_> {
    async fn run(&mut self) -> Option<Verdict> {
        if self.reservation.takeovers > SENDING_TAKEOVERS {
            return self.read_only().await;
        }
        for tries in 0.. {
            if self.desk.stop.is_cancelled() || self.desk.calls_held() {
                break;
            }
            match self.send().await {
                Known::Ended(verdict) => return Some(verdict),
                Known::Paused => return None,
                Known::Nothing => {}
            }
            let wait = doubled(REPEAT_MIN, tries, REPEAT_MAX);
            if Instant::now() + wait >= self.deadline || !self.desk.wait(wait).await {
                break;
            }
        }
        (!self.uncertain).then_some(Verdict::Released { refused: false })
    }

    /// Tells the platform once, and reads its answer.
    async fn send(&mut self) -> Known {
        let Reservation { room, agent, .. } = self.reservation;
        let error = match self.desk.timed("assign", self.desk.platform.assign(room, *agent)).await {
            Ok(()) => return Known::Ended(Verdict::Assigned),
            Err(error) => error,
        };
        debug!(room.id = %room, agent.id = %agent, error = %chain(&error), "the platform did not assign");
        pause_if_needed(self.desk, &error).await;
        match error {
            PlatformError::Rejected(refusal) => self.refused(refusal).await,
            PlatformError::Unknown(_) => {
                self.uncertain = true;
                self.read_back().await
            }
            PlatformError::Busy { .. } | PlatformError::Denied { .. } | PlatformError::Unsupported(_) => {
                if self.uncertain {
                    Known::Paused
                } else {
                    Known::Ended(Verdict::Released { refused: false })
                }
            }
        }
    }

    async fn refused(&mut self, refusal: Refusal) -> Known {
        match refusal {
            Refusal::RoomResolved if !self.uncertain => Known::Ended(Verdict::Closed(Closed::Resolved)),
            Refusal::Agent if !self.uncertain => Known::Ended(Verdict::Released { refused: true }),
            // A lie about fresh rooms at times: the room itself tells.
            Refusal::RoomTaken => self.read_back().await,
            Refusal::RoomResolved | Refusal::RoomUnknown | Refusal::Agent | Refusal::Other(_) => {
                match self.read_back().await {
                    Known::Nothing if !self.uncertain => Known::Ended(Verdict::Released { refused: true }),
                    known => known,
                }
            }
        }
    }

    /// Reads the room. What is there settles the attempt; that nobody is there does not, for a call may still land.
    async fn read_back(&self) -> Known {
        match self.look().await {
            Ok(Some(verdict)) => Known::Ended(verdict),
            Ok(None)
            | Err(PlatformError::Rejected(_) | PlatformError::Unknown(_) | PlatformError::Unsupported(_)) => {
                Known::Nothing
            }
            Err(error @ (PlatformError::Busy { .. } | PlatformError::Denied { .. })) => {
                pause_if_needed(self.desk, &error).await;
                Known::Paused
            }
        }
    }

    /// What the room shows; `None` while its customer waits.
    async fn look(&self) -> Result<Option<Verdict>, PlatformError> {
        let Reservation { room, agent, .. } = self.reservation;
        Ok(match self.desk.timed("room", self.desk.platform.room(room)).await? {
            RoomStatus::Waiting { .. } => None,
            RoomStatus::Resolved => Some(Verdict::Closed(Closed::Resolved)),
            RoomStatus::NotFound => Some(Verdict::Closed(Closed::RoomGone)),
            RoomStatus::Served => {
                let served = self.desk.timed("served", self.desk.platform.rooms_served_by(*agent)).await?;
                let ours = served.iter().any(|listed| listed.id == *room);
                Some(if ours { Verdict::Assigned } else { Verdict::Closed(Closed::ServedElsewhere) })
            }
        })
    }

    /// The last resort for a room the platform never answers for.
    async fn read_only(&self) -> Option<Verdict> {
        let silent_for = self.desk.timing.reservation * (self.reservation.takeovers - SENDING_TAKEOVERS - 1);
        match self.look().await {
            Ok(Some(verdict)) => Some(verdict),
            Ok(None) if silent_for >= self.desk.timing.settle_window => {
                Some(Verdict::Released { refused: true })
            }
            Ok(None) => None,
            Err(error) => {
                pause_if_needed(self.desk, &error).await;
                None
            }
        }
    }
}

/// Writes how an attempt ended.
async fn record(desk: &Desk, reservation: &Reservation, verdict: Verdict, deadline: Instant) {
    // The platform has been told: the ledger gets as long as a reservation lasts, then a take-over finds out again.
    let until = deadline.max(Instant::now() + desk.timing.reservation);
    let attempt = reservation.attempt;
    if verdict == Verdict::Assigned {
        let attempts = [attempt];
        let confirm = || desk.store.confirm(desk.account, &attempts);
        match persist(until, "an assignment", confirm).await {
            Some(confirmed) if confirmed.contains(&attempt) => return assigned(desk, reservation).await,
            Some(_) => {}
            None => return,
        }
    }
    let settlement = Settlement { conversation: attempt.conversation, attempt: attempt.number, verdict };
    let settle = || desk.store.settle(desk.account, std::slice::from_ref(&settlement));
    if persist(until, "a settlement", settle).await.is_some_and(|settled| settled == [Settled::Applied]) {
        settled(desk, reservation, verdict).await;
    }
}

async fn assigned(desk: &Desk, reservation: &Reservation) {
    let Reservation { attempt, agent, opened_at, .. } = reservation;
    let wait = Timestamp::from(std::time::SystemTime::now()).since(*opened_at);
    let (id, wait_ms) = (attempt.conversation, u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
    counter!(ASSIGNMENTS_TOTAL, "platform" => desk.platform.name(), "result" => "assigned").increment(1);
    histogram!(QUEUE_WAIT_SECONDS).record(wait);
    info!(conversation.id = %id, agent.id = %agent, wait_ms, "assigned conversation {id} to agent {agent}");
    if desk.failures.swap(0, std::sync::atomic::Ordering::Relaxed) > 0 {
        let until = Instant::now() + desk.timing.reservation;
        let _: Option<()> = persist(until, "the end of probation", || desk.store.resume(desk.account)).await;
        desk.ring(WakeReason::Freed).await;
    }
}

async fn settled(desk: &Desk, reservation: &Reservation, verdict: Verdict) {
    let (result, what) = match verdict {
        Verdict::Assigned => ("closed", "was resolved while it was being assigned"),
        Verdict::Released { refused: false } => ("released", "goes back to its place"),
        Verdict::Released { refused: true } => {
            ("refused", "goes back to its place: the platform refused the agent")
        }
        Verdict::Closed(Closed::Resolved) => ("closed", "is resolved on the platform"),
        Verdict::Closed(Closed::RoomGone) => ("closed", "is over: the platform does not know its room"),
        Verdict::Closed(Closed::ServedElsewhere) => ("taken", "is served by somebody else"),
    };
    counter!(ASSIGNMENTS_TOTAL, "platform" => desk.platform.name(), "result" => result).increment(1);
    let (id, agent) = (reservation.attempt.conversation, reservation.agent);
    info!(conversation.id = %id, agent.id = %agent, result, "conversation {id} {what}");
    if verdict == Verdict::Closed(Closed::ServedElsewhere) {
        desk.reconcile_now.notify_one();
    }
    desk.ring(WakeReason::Freed).await;
}
