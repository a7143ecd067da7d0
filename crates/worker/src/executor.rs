//! The executor: carries one reservation to its end.
//!
//! The platform is told, and what it answers decides. An answer that tells nothing is a third outcome: the same call
//! is repeated, which is a compare-and-set on the platform, and the room is read back. The slot stays taken until
//! somebody knows; never is a second agent tried before.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime},
};

use metrics::{counter, histogram};
use sebastian_core::{AgentId, Closed, Settled, Settlement, State, Timestamp, Verdict, chain};
use sebastian_platform::{PlatformError, Refusal, RoomStatus};
use sebastian_roster::WakeReason;
use sebastian_store::{Reservation, crash_point};
use tokio::{sync::OwnedSemaphorePermit, time::Instant};
use tracing::{Instrument, debug, info, info_span, warn};

use crate::{
    desk::Desk,
    metrics::{ASSIGNMENTS_TOTAL, QUEUE_WAIT_SECONDS},
    trouble::{self, doubled, pause_if_needed, persist},
};

/// First wait before the same call is repeated; doubles up to the next.
const REPEAT_MIN: Duration = Duration::from_millis(150);
const REPEAT_MAX: Duration = Duration::from_secs(2);

/// After so many take-overs nothing more is sent: the room is only read.
const SENDING_TAKEOVERS: u32 = 2;

/// Attempts for which a conversation whose calls go unanswered is not blamed: about as many as it takes to find out
/// that none had an effect.
const BLAMELESS_ATTEMPTS: u32 = 5;

/// After so many attempts it is blamed whatever else goes on, or a few such could hold every slot.
const PATIENCE_ATTEMPTS: u32 = 12;

/// Carries out `reservation` in a task of its own. Nothing is sent after `deadline`; what is not settled by then is
/// taken over.
pub(crate) fn start(
    desk: &Arc<Desk>,
    reservation: Reservation,
    deadline: Instant,
    permit: Option<OwnedSemaphorePermit>,
) {
    let attempt = reservation.attempt;
    let span = info_span!("attempt", conversation.id = %attempt.conversation, attempt = attempt.number);
    let desk_of_task = desk.clone();
    let task = async move {
        let desk = desk_of_task;
        carry_out(&desk, &reservation, deadline).await;
        drop(permit);
    };
    let desk_of_task = desk.clone();
    let task = desk.attempts.track_future(task.instrument(span));
    desk.calls.spawn(async move {
        task.await;
        desk_of_task.permit_came_back().await;
    });
}

async fn carry_out(desk: &Desk, reservation: &Reservation, deadline: Instant) {
    let began = Instant::now();
    let mut attempt = Attempt {
        desk,
        reservation,
        deadline,
        began,
        sent_at: None,
        answered: None,
        refused: false,
        refusal: None,
    };
    match attempt.run().await {
        End::Known(verdict) => record(desk, reservation, verdict, deadline).await,
        End::Superseded => debug!("somebody else settles this conversation"),
        End::Unknown => {
            counter!(ASSIGNMENTS_TOTAL, "platform" => desk.platform.name(), "result" => "unknown")
                .increment(1);
            let id = reservation.attempt.conversation;
            warn!(
                conversation.id = %id, agent.id = %reservation.agent,
                "the outcome for conversation {id} is not known yet; its slot stays taken"
            );
        }
    }
    if let Some(sent_at) = attempt.answered {
        trouble::end_probation(desk, sent_at).await;
    }
}

/// How an attempt ended for this worker.
enum End {
    /// Settled.
    Known(Verdict),
    /// A call may have had an effect that nobody has seen: whoever takes over finds out.
    Unknown,
    /// The ledger has moved on.
    Superseded,
}

/// What is known after a try.
enum Known {
    /// How the attempt ended.
    Verdict(Verdict),
    /// The customer waits: try again.
    Waiting,
    /// Nothing: try again.
    Nothing,
    /// Nothing, and the platform is to be left alone.
    Paused,
}

/// What the ledger lets an attempt do.
enum Leave {
    Send,
    /// The session is over, or too much was sent already: only find out what became of it.
    Read,
    Stop,
}

struct Attempt<'a> {
    desk: &'a Desk,
    reservation: &'a Reservation,
    deadline: Instant,
    began: Instant,
    /// When a call of ours ended whose effect is not known.
    sent_at: Option<Instant>,
    /// When the last call was sent that the platform answered, whatever it said.
    answered: Option<Instant>,
    /// The platform said no though the customer waits.
    refused: bool,
    /// What the platform said no to, last.
    refusal: Option<Refusal>,
}

impl Attempt<'_> {
    async fn run(&mut self) -> End {
        for tries in 0.. {
            let leave = self.leave(tries).await;
            if self.must_end() {
                break;
            }
            let known = match leave {
                Leave::Send => self.send().await,
                Leave::Read if self.is_uncertain() => self.read_back().await,
                Leave::Read => break,
                Leave::Stop => return End::Superseded,
            };
            match known {
                Known::Verdict(verdict) => return End::Known(verdict),
                Known::Paused => break,
                Known::Waiting | Known::Nothing => {}
            }
            let wait = doubled(REPEAT_MIN, tries, REPEAT_MAX);
            if Instant::now() + wait >= self.deadline {
                // All this time the platform refused, or nobody could tell.
                let refused = self.refused || self.reservation.attempt.number > PATIENCE_ATTEMPTS;
                return self.unless_uncertain(Verdict::Released { refused });
            }
            if !self.desk.wait(wait).await {
                break;
            }
        }
        self.unless_uncertain(Verdict::Released { refused: false })
    }

    fn unless_uncertain(&self, verdict: Verdict) -> End {
        if self.is_uncertain() { End::Unknown } else { End::Known(verdict) }
    }

    /// Looked at right before each call: a process that was stopped may wake up at any later time.
    fn must_end(&self) -> bool {
        self.desk.stop.is_cancelled() || self.desk.calls_held() || Instant::now() >= self.deadline
    }

    /// What the ledger still wants. A fresh reservation needs no second look.
    async fn leave(&self, tries: u32) -> Leave {
        let Reservation { attempt, room, takeovers, .. } = self.reservation;
        if *takeovers > SENDING_TAKEOVERS {
            return Leave::Read;
        }
        if tries == 0 && *takeovers == 0 {
            return Leave::Send;
        }
        match self.desk.store.latest_in(self.desk.account, room).await {
            Ok(Some(found)) if found.id == attempt.conversation => match found.state {
                State::Reserved { .. } if found.attempt == attempt.number => Leave::Send,
                // The room's next session must not get the agent of this one.
                State::Closing { .. } if found.attempt == attempt.number => Leave::Read,
                State::Waiting { .. }
                | State::Reserved { .. }
                | State::Closing { .. }
                | State::Assigned { .. }
                | State::Resolved { .. } => Leave::Stop,
            },
            // The next session waits in the ledger already, or nobody can tell.
            Ok(_) => Leave::Read,
            Err(error) => {
                warn!(error = %chain(&error), "the conversation could not be looked up; its room is only read");
                Leave::Read
            }
        }
    }

    /// Whether a call may have had an effect, by us or by whom we took over from. From then on only what the platform
    /// shows settles the attempt, not what it refuses.
    fn is_uncertain(&self) -> bool {
        self.sent_at.is_some() || self.reservation.takeovers > 0
    }

    /// Since when no late call can land: from then on a reading that does not show our agent is proof.
    fn proof_at(&self) -> Instant {
        let window = self.desk.timing.settle_window;
        match self.sent_at {
            Some(sent_at) => sent_at + window,
            None => self.began + window.saturating_sub(self.silence_before()),
        }
    }

    /// How long nothing was sent before this attempt began, at least.
    fn silence_before(&self) -> Duration {
        self.desk.timing.reservation * self.reservation.takeovers.saturating_sub(SENDING_TAKEOVERS + 1)
    }

    /// Tells the platform once, and reads its answer.
    async fn send(&mut self) -> Known {
        let Reservation { room, agent, replaces, .. } = self.reservation;
        let sent_at = Instant::now();
        let assign = self.desk.platform.assign(room, *agent, *replaces);
        let answer = self.desk.timed("assign", assign).await;
        crash_point!("answered");
        let error = match answer {
            Ok(()) => {
                self.answered_at(sent_at);
                return Known::Verdict(Verdict::Assigned);
            }
            Err(error) => error,
        };
        debug!(room.id = %room, agent.id = %agent, error = %chain(&error), "the platform did not assign");
        match error {
            PlatformError::Rejected(refusal) => {
                self.answered_at(sent_at);
                self.refused(refusal).await
            }
            PlatformError::Unknown(_) => {
                crash_point!("unanswered");
                // Once a conversation: one that nobody answers for makes no row of them.
                let is_first = !self.is_uncertain() && self.reservation.attempt.number < BLAMELESS_ATTEMPTS;
                if is_first || self.desk.on_probation() {
                    trouble::unanswered(self.desk).await;
                }
                self.sent_at = Some(Instant::now());
                self.read_back().await
            }
            PlatformError::Busy { .. } | PlatformError::Denied { .. } => {
                pause_if_needed(self.desk, &error).await;
                Known::Paused
            }
            PlatformError::Unsupported(_) => Known::Verdict(Verdict::Released { refused: true }),
        }
    }

    fn answered_at(&mut self, sent_at: Instant) {
        self.answered = Some(sent_at);
        self.desk.unanswered.store(0, Ordering::Relaxed);
    }

    /// The room itself tells what a refusal is worth: its words are guessed at, and a fresh room lies at times.
    async fn refused(&mut self, refusal: Refusal) -> Known {
        let sure = !self.is_uncertain();
        if sure && refusal == Refusal::Agent {
            return Known::Verdict(Verdict::Released { refused: true });
        }
        self.refusal = Some(refusal);
        let known = self.read_back().await;
        self.refused = matches!(known, Known::Waiting);
        match (&known, refusal) {
            (Known::Waiting, Refusal::Other(_)) if sure => {
                Known::Verdict(Verdict::Released { refused: true })
            }
            _ => known,
        }
    }

    async fn read_back(&self) -> Known {
        match self.look().await {
            Ok(known) => known,
            Err(error) => {
                pause_if_needed(self.desk, &error).await;
                if self.desk.calls_held() { Known::Paused } else { Known::Nothing }
            }
        }
    }

    /// What the room shows. While a late call may still land, or a list still lag, only our agent in it is proof.
    async fn look(&self) -> Result<Known, PlatformError> {
        let room = &self.reservation.room;
        Ok(match self.desk.timed("room", self.desk.platform.room(room)).await? {
            RoomStatus::Waiting { .. } => self.as_before(self.is_proof(Refusal::RoomTaken)),
            RoomStatus::Resolved if self.is_young() && !self.is_proof(Refusal::RoomResolved) => {
                Known::Nothing
            }
            RoomStatus::Resolved => Known::Verdict(Verdict::Closed(Closed::Resolved)),
            // A room may be known to webhooks before it is known to reads.
            RoomStatus::NotFound if self.is_young() => Known::Nothing,
            RoomStatus::NotFound => Known::Verdict(Verdict::Closed(Closed::RoomGone)),
            RoomStatus::Served => self.who_serves(self.is_proof(Refusal::RoomTaken)).await?,
        })
    }

    /// Whether what the room shows can be nothing but the end of this attempt. A list that lags may still show the
    /// previous session of a room that was opened a moment ago, unless what the platform refused `agrees` with it.
    fn is_proof(&self, agrees: Refusal) -> bool {
        if self.is_uncertain() {
            Instant::now() >= self.proof_at()
        } else {
            !self.is_young() || self.refusal == Some(agrees)
        }
    }

    /// Only our agent's own list proves that it is they who serve the room.
    async fn who_serves(&self, is_proof: bool) -> Result<Known, PlatformError> {
        let Reservation { agent, replaces, .. } = self.reservation;
        if self.lists(*agent).await? {
            return Ok(Known::Verdict(Verdict::Assigned));
        }
        if let Some(replaced) = replaces.filter(|replaced| replaced != agent)
            && self.lists(replaced).await?
        {
            return Ok(self.as_before(is_proof));
        }
        Ok(if is_proof { Known::Verdict(Verdict::Closed(Closed::ServedElsewhere)) } else { Known::Nothing })
    }

    async fn lists(&self, agent: AgentId) -> Result<bool, PlatformError> {
        let served = self.desk.timed("served", self.desk.platform.rooms_served_by(agent)).await?;
        Ok(served.iter().any(|listed| listed.id == self.reservation.room))
    }

    /// The room shows nothing of our call: nobody serves it, or still the one whose place was to be taken.
    fn as_before(&self, is_proof: bool) -> Known {
        if self.is_uncertain() && is_proof {
            Known::Verdict(Verdict::Released { refused: self.is_the_rooms_fault() })
        } else {
            Known::Waiting
        }
    }

    fn is_young(&self) -> bool {
        let Reservation { reserved_at, opened_at, .. } = self.reservation;
        reserved_at.since(*opened_at) < self.desk.timing.settle_window
    }

    /// Whether calls for this room alone go unanswered, so that its agent is left out for a while. Otherwise the
    /// platform was down: others are not answered for either, or whoever had the room before could not even read it.
    fn is_the_rooms_fault(&self) -> bool {
        let was_unreadable = self.silence_before() >= self.desk.timing.settle_window;
        match self.reservation.attempt.number {
            0..=BLAMELESS_ATTEMPTS => false,
            number if number > PATIENCE_ATTEMPTS => true,
            _ => !was_unreadable && !trouble::is_general(self.desk),
        }
    }
}

/// Writes how an attempt ended.
async fn record(desk: &Desk, reservation: &Reservation, verdict: Verdict, deadline: Instant) {
    // The platform has been told: the ledger gets as long as a reservation lasts, then a take-over finds out again.
    let until = deadline.max(Instant::now() + desk.timing.reservation);
    let attempt = reservation.attempt;
    if verdict == Verdict::Assigned {
        let confirm = || {
            desk.confirmer
                .confirm(attempt, |attempts| async move { desk.store.confirm(desk.account, &attempts).await })
        };
        match persist(until, "an assignment", confirm).await {
            Some(true) => {
                crash_point!("recorded");
                return assigned(desk, reservation);
            }
            Some(false) => {}
            None => return,
        }
    }
    let settlement = Settlement { conversation: attempt.conversation, attempt: attempt.number, verdict };
    let settle = || desk.store.settle(desk.account, std::slice::from_ref(&settlement));
    if persist(until, "a settlement", settle).await.is_some_and(|settled| settled == [Settled::Applied]) {
        crash_point!("recorded");
        settled(desk, reservation, verdict).await;
    }
}

fn assigned(desk: &Desk, reservation: &Reservation) {
    let Reservation { attempt, agent, opened_at, .. } = reservation;
    let wait = Timestamp::from(SystemTime::now()).since(*opened_at);
    let (id, wait_ms) = (attempt.conversation, u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
    counter!(ASSIGNMENTS_TOTAL, "platform" => desk.platform.name(), "result" => "assigned").increment(1);
    histogram!(QUEUE_WAIT_SECONDS).record(wait);
    info!(conversation.id = %id, agent.id = %agent, wait_ms, "assigned conversation {id} to agent {agent}");
}

async fn settled(desk: &Desk, reservation: &Reservation, verdict: Verdict) {
    let (result, what) = match verdict {
        Verdict::Assigned => ("closed", "was resolved, put off or moved while it was being assigned"),
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
    desk.ring(WakeReason::Freed).await;
}
