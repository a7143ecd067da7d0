//! An attempt: tells the platform, reads back what nobody answered for, and writes how it ended. Step by step what the
//! worker's executor does, cut where the real one waits.

use sebastian_core::{AgentId, Closed, ConversationId, Settled, Settlement, State, Verdict};
use sebastian_store::{Attempt as Fence, PauseReason, Reservation, Store};

use super::{
    Call, Event, World,
    history::Whose,
    matcher::Step,
    now,
    plan::Bug,
    platform::{Answer, Ms, View},
    weather::{Fate, TIMEOUT},
};

const REPEAT_MIN: Ms = 150;
const REPEAT_MAX: Ms = 2_000;
const SENDING_TAKEOVERS: u32 = 2;
const BLAMELESS_ATTEMPTS: u32 = 5;
const PATIENCE_ATTEMPTS: u32 = 12;
const UNANSWERED_MAX: u32 = 3;

/// The product's default timing, in ms.
pub(super) const SETTLE: Ms = 10_000;
pub(super) const RESERVATION: Ms = 8_000;

/// One attempt under way.
pub(super) struct Attempt {
    pub reservation: Reservation,
    pub is_settling: bool,
    /// By the worker's clock, as all that follow.
    deadline: Ms,
    began: Ms,
    sent_at: Option<Ms>,
    answered: Option<Ms>,
    last_sent: Ms,
    refused: bool,
    tries: u32,
    /// A refusal waits for the room to be read; what it was, and whether nothing was uncertain then.
    refusal: Option<(Answer, bool)>,
    /// What is to be written, and until when that is tried.
    verdict: Option<(Verdict, Ms)>,
}

/// What a worker hears of an assign.
#[derive(Debug, Clone, Copy)]
pub(super) enum Heard {
    Answer(Answer),
    Unknown,
    Busy,
    Denied,
}

enum Known {
    Verdict(Verdict),
    Waiting,
    Nothing,
    Paused,
}

enum Leave {
    Send,
    Read,
    Stop,
}

impl Attempt {
    fn is_uncertain(&self) -> bool {
        self.sent_at.is_some() || self.reservation.takeovers > 0
    }

    fn silence_before(&self) -> Ms {
        RESERVATION * u64::from(self.reservation.takeovers.saturating_sub(SENDING_TAKEOVERS + 1))
    }

    fn proof_at(&self) -> Ms {
        match self.sent_at {
            Some(sent_at) => sent_at + SETTLE,
            None => self.began + SETTLE.saturating_sub(self.silence_before()),
        }
    }

    fn is_young(&self) -> bool {
        let Reservation { reserved_at, opened_at, .. } = self.reservation;
        reserved_at.since(opened_at).as_millis() < u128::from(SETTLE)
    }

    fn id(&self) -> ConversationId {
        self.reservation.attempt.conversation
    }
}

impl World {
    pub(super) fn begin_attempt(&mut self, w: usize, reservation: Reservation, is_settling: bool) {
        let began = self.local(w);
        let id = reservation.attempt.conversation;
        if let Some(room) = self.platform.index(&reservation.room) {
            self.watch.history.is_held_in(id, room);
        }
        self.note(Whose::Conversation(id), "attempt", reservation.agent.0);
        let worker = &mut self.workers[w];
        worker.next += 1;
        let key = worker.next;
        let attempt = Attempt {
            reservation,
            is_settling,
            deadline: began + RESERVATION,
            began,
            sent_at: None,
            answered: None,
            last_sent: began,
            refused: false,
            tries: 0,
            refusal: None,
            verdict: None,
        };
        worker.attempts.insert(key, attempt);
        self.soon(w, 1, Step::Try(key));
    }

    fn at(&mut self, w: usize, key: u64) -> &mut Attempt {
        self.workers[w].attempts.get_mut(&key).expect("steps are only taken of attempts under way")
    }

    pub(super) fn try_once(&mut self, w: usize, key: u64) {
        let leave = self.leave(w, key);
        let local = self.local(w);
        if self.is_held(w) || local >= self.at(w, key).deadline {
            return self.end_unless_uncertain(w, key, false);
        }
        match leave {
            // Between the last look at the clock and the call there is always a moment.
            Leave::Send => self.soon(w, 2, Step::Write(key)),
            Leave::Read if self.at(w, key).is_uncertain() => self.start_look(w, key),
            Leave::Read => self.end_unless_uncertain(w, key, false),
            Leave::Stop => self.end(w, key),
        }
    }

    fn leave(&mut self, w: usize, key: u64) -> Leave {
        let is_down = self.ledger_is_down();
        let attempt = self.at(w, key);
        let takeovers = attempt.reservation.takeovers;
        if takeovers > SENDING_TAKEOVERS {
            return Leave::Read;
        }
        if attempt.tries == 0 && takeovers == 0 {
            return Leave::Send;
        }
        let (fence, room) = (attempt.reservation.attempt, attempt.reservation.room.clone());
        if is_down {
            return Leave::Read;
        }
        match now(self.store.latest_in(self.account, &room)) {
            Ok(Some(found)) if found.id == fence.conversation => match found.state {
                State::Reserved { .. } if found.attempt == fence.number => Leave::Send,
                State::Closing { .. } if found.attempt == fence.number => Leave::Read,
                State::Waiting { .. }
                | State::Reserved { .. }
                | State::Closing { .. }
                | State::Assigned { .. }
                | State::Resolved { .. } => Leave::Stop,
            },
            Ok(_) | Err(_) => Leave::Read,
        }
    }

    /// The request goes out.
    pub(super) fn write(&mut self, w: usize, key: u64) {
        let (fate, local) = (self.fate_of_a_call(), self.local(w));
        let attempt = self.at(w, key);
        attempt.last_sent = local;
        let is_late = local >= attempt.deadline;
        let is_again = attempt.is_uncertain();
        let Reservation { room, agent, replaces, attempt: fence, .. } = attempt.reservation.clone();
        let Some(room) = self.platform.index(&room) else { return self.end(w, key) };
        let mut replacing = replaces;
        if self.bug == Some(Bug::SecondAgent) && fence.number > 1 {
            replacing = self.platform.rooms[room].session().and_then(|session| session.agent);
        }
        self.note(Whose::Conversation(fence.conversation), "calls", agent.0);
        if is_late {
            self.fault("call by a process that overslept its deadline");
        } else if is_again {
            self.fault("call repeated, as nobody knew what became of the last");
        }
        let (life, there) = (self.workers[w].life, self.latency());
        let lands = match fate {
            Fate::Fine | Fate::Failed { applies: true } | Fate::Unheard => Some(there),
            Fate::Late => Some(self.dice.between(TIMEOUT, 9_000)),
            Fate::Lost
            | Fate::Failed { applies: false }
            | Fate::Refused { .. }
            | Fate::Busy
            | Fate::Denied => None,
        };
        if let Some(span) = lands {
            let nth = self.watch.sends(&self.platform, room, agent, is_late);
            let call = Call { room, agent, replacing, nth };
            self.after(span, Event::Land { worker: w, life, key, fate, call });
        }
        match fate {
            Fate::Fine | Fate::Failed { applies: true } => {}
            Fate::Lost | Fate::Unheard | Fate::Late => {
                self.soon(w, TIMEOUT, Step::Heard(key, Heard::Unknown))
            }
            Fate::Failed { applies: false } => self.soon(w, 2 * there, Step::Heard(key, Heard::Unknown)),
            Fate::Refused { agent } => {
                let answer = if agent { Answer::AgentRefused } else { Answer::Refused };
                self.soon(w, 2 * there, Step::Heard(key, Heard::Answer(answer)));
            }
            Fate::Busy => self.soon(w, 2 * there, Step::Heard(key, Heard::Busy)),
            Fate::Denied => self.soon(w, 2 * there, Step::Heard(key, Heard::Denied)),
        }
    }

    /// The request takes effect on the platform, whatever became of its sender.
    pub(super) fn land(&mut self, w: usize, life: u32, key: u64, fate: Fate, call: &Call) {
        self.watch.landed(call.nth);
        let answer = self.platform.assign(call.room, call.agent, call.replacing, self.now);
        let (what, agent) = (answer.in_words(), call.agent.0);
        self.note(Whose::Room(call.room), what, agent);
        if answer == Answer::Assigned {
            self.will_finish(call.room);
        }
        let heard = match fate {
            Fate::Fine => Heard::Answer(answer),
            Fate::Failed { .. } => Heard::Unknown,
            Fate::Lost | Fate::Unheard | Fate::Late | Fate::Refused { .. } | Fate::Busy | Fate::Denied => {
                return;
            }
        };
        let back = self.latency();
        self.after(back, Event::Work(w, life, Step::Heard(key, heard)));
    }

    pub(super) fn heard(&mut self, w: usize, key: u64, heard: Heard) {
        let local = self.local(w);
        let on_probation = self.workers[w].on_probation();
        if let Heard::Answer(_) = heard {
            self.workers[w].unanswered = 0;
            let attempt = self.at(w, key);
            attempt.answered = Some(attempt.last_sent);
        }
        let sure = !self.at(w, key).is_uncertain();
        match heard {
            Heard::Answer(Answer::Assigned) => self.verdict(w, key, Verdict::Assigned),
            Heard::Answer(Answer::AgentRefused) if sure => {
                self.verdict(w, key, Verdict::Released { refused: true });
            }
            Heard::Answer(answer) => {
                self.at(w, key).refusal = Some((answer, sure));
                self.start_look(w, key);
            }
            Heard::Unknown => {
                self.watch.figures.unknown += 1;
                if self.bug == Some(Bug::SecondAgent) {
                    return self.verdict(w, key, Verdict::Released { refused: true });
                }
                let is_first = sure && self.at(w, key).reservation.attempt.number < BLAMELESS_ATTEMPTS;
                if is_first || on_probation {
                    self.workers[w].unanswered += 1;
                    if self.workers[w].unanswered >= UNANSWERED_MAX || on_probation {
                        self.back_off(w, 1_000, PauseReason::Busy);
                    }
                }
                self.at(w, key).sent_at = Some(local);
                self.start_look(w, key);
            }
            Heard::Busy => {
                self.back_off(w, 1_000, PauseReason::Busy);
                self.known(w, key, Known::Paused);
            }
            Heard::Denied => {
                self.back_off(w, 5_000, PauseReason::Denied);
                self.known(w, key, Known::Paused);
            }
        }
    }

    fn start_look(&mut self, w: usize, key: u64) {
        let span = self.latency() + self.latency();
        self.soon(w, span, Step::Look(key));
    }

    /// The room, and the lists of who serves it, as the platform shows them by now.
    pub(super) fn look(&mut self, w: usize, key: u64) {
        let mut known = match self.fate_of_a_read() {
            Fate::Fine | Fate::Refused { .. } => self.looked(w, key),
            Fate::Busy => {
                self.back_off(w, 1_000, PauseReason::Busy);
                Known::Paused
            }
            Fate::Denied => {
                self.back_off(w, 5_000, PauseReason::Denied);
                Known::Paused
            }
            Fate::Lost | Fate::Unheard | Fate::Late | Fate::Failed { .. } => Known::Nothing,
        };
        let attempt = self.at(w, key);
        if let Some(refusal) = attempt.refusal.take() {
            attempt.refused = matches!(known, Known::Waiting);
            if attempt.refused && refusal == (Answer::Refused, true) {
                known = Known::Verdict(Verdict::Released { refused: true });
            }
        }
        self.known(w, key, known);
    }

    fn looked(&mut self, w: usize, key: u64) -> Known {
        let local = self.local(w);
        let attempt = self.at(w, key);
        let (is_young, refusal) = (attempt.is_young(), attempt.refusal.map(|(answer, _)| answer));
        let is_proof = |agrees: Answer| match attempt.is_uncertain() {
            true => local >= attempt.proof_at(),
            // A list that lags may still show the room's previous session.
            false => !is_young || refusal == Some(agrees),
        };
        let (is_over, is_taken) = (is_proof(Answer::RoomResolved), is_proof(Answer::RoomTaken));
        let Reservation { room, agent, replaces, .. } = attempt.reservation.clone();
        let Some(index) = self.platform.index(&room) else { return Known::Nothing };
        let seen_at = self.now.saturating_sub(self.lag());
        match self.platform.rooms[index].seen_at(seen_at) {
            View::Waiting => self.as_before(w, key, is_taken),
            View::Resolved if !is_over && is_young => Known::Nothing,
            View::Resolved => Known::Verdict(Verdict::Closed(Closed::Resolved)),
            View::Unknown if is_young => Known::Nothing,
            View::Unknown => Known::Verdict(Verdict::Closed(Closed::RoomGone)),
            View::Served(_) => {
                if self.lists(index, agent) {
                    return Known::Verdict(Verdict::Assigned);
                }
                if replaces.is_some_and(|replaced| replaced != agent && self.lists(index, replaced)) {
                    return self.as_before(w, key, is_taken);
                }
                if is_taken {
                    Known::Verdict(Verdict::Closed(Closed::ServedElsewhere))
                } else {
                    Known::Nothing
                }
            }
        }
    }

    /// Whether the agent's own list holds the room; it lags by its own.
    fn lists(&mut self, room: usize, agent: AgentId) -> bool {
        let at = self.now.saturating_sub(self.lag());
        self.platform.rooms[room].seen_at(at) == View::Served(agent)
    }

    fn as_before(&mut self, w: usize, key: u64, is_proof: bool) -> Known {
        let is_general = self.workers[w].unanswered > 1;
        let attempt = self.at(w, key);
        if !attempt.is_uncertain() || !is_proof {
            return Known::Waiting;
        }
        let was_unreadable = attempt.silence_before() >= SETTLE;
        let refused = match attempt.reservation.attempt.number {
            0..=BLAMELESS_ATTEMPTS => false,
            number if number > PATIENCE_ATTEMPTS => true,
            _ => !was_unreadable && !is_general,
        };
        Known::Verdict(Verdict::Released { refused })
    }

    fn known(&mut self, w: usize, key: u64, known: Known) {
        match known {
            Known::Verdict(verdict) => self.verdict(w, key, verdict),
            Known::Paused => self.end_unless_uncertain(w, key, false),
            Known::Waiting | Known::Nothing => {
                let local = self.local(w);
                let attempt = self.at(w, key);
                let wait = (REPEAT_MIN << attempt.tries.min(8)).min(REPEAT_MAX);
                attempt.tries += 1;
                if local + wait >= attempt.deadline {
                    let refused = attempt.refused || attempt.reservation.attempt.number > PATIENCE_ATTEMPTS;
                    return self.end_unless_uncertain(w, key, refused);
                }
                self.soon(w, wait, Step::Try(key));
            }
        }
    }

    fn end_unless_uncertain(&mut self, w: usize, key: u64, refused: bool) {
        if self.at(w, key).is_uncertain() {
            self.end(w, key);
        } else {
            self.verdict(w, key, Verdict::Released { refused });
        }
    }

    fn verdict(&mut self, w: usize, key: u64, verdict: Verdict) {
        let local = self.local(w);
        let attempt = self.at(w, key);
        attempt.verdict = Some((verdict, attempt.deadline.max(local + RESERVATION)));
        self.soon(w, 2, Step::Record(key));
    }

    /// Writes how the attempt ended; again, while the ledger does not answer.
    pub(super) fn record(&mut self, w: usize, key: u64) {
        let Some((verdict, until)) = self.at(w, key).verdict else { return };
        if self.ledger_is_down() {
            if self.local(w) + 500 >= until {
                return self.end(w, key);
            }
            return self.soon(w, 500, Step::Record(key));
        }
        let mut fence = self.at(w, key).reservation.attempt;
        if self.bug == Some(Bug::NoFence) {
            fence.number = self.newest_attempt(w, key).unwrap_or(fence.number);
        }
        self.stir();
        self.settle(w, fence, verdict);
        // The answer to a commit may be lost: then it is written once more.
        if !self.is_calm && self.dice.one_in(50) {
            self.fault("commit of an end not heard of: written again");
            return self.soon(w, 50, Step::Record(key));
        }
        self.end(w, key);
    }

    fn settle(&mut self, w: usize, fence: Fence, verdict: Verdict) {
        let id = fence.conversation;
        if verdict == Verdict::Assigned {
            let confirmed = now(self.store.confirm(self.account, &[fence])).unwrap_or_default();
            if confirmed.contains(&fence) {
                self.note(Whose::Conversation(id), "confirmed, attempt", i64::from(fence.number));
                return;
            }
        }
        let settlement = Settlement { conversation: id, attempt: fence.number, verdict };
        let settled = now(self.store.settle(self.account, &[settlement])).unwrap_or_default();
        if settled == [Settled::Stale] {
            self.fault("attempt fenced off by a later one");
        }
        if settled == [Settled::Applied] {
            self.note(Whose::Conversation(id), verdict_word(verdict), i64::from(fence.number));
            if verdict != Verdict::Assigned {
                self.watch.came_to_nothing(id);
            }
            self.ring_own(w);
        }
    }

    fn newest_attempt(&mut self, w: usize, key: u64) -> Option<u32> {
        let (id, room) = (self.at(w, key).id(), self.at(w, key).reservation.room.clone());
        let found = now(self.store.latest_in(self.account, &room)).ok().flatten();
        found.filter(|found| found.id == id).map(|found| found.attempt)
    }

    fn end(&mut self, w: usize, key: u64) {
        let answered = self.workers[w].attempts.remove(&key).and_then(|attempt| attempt.answered);
        let worker = &mut self.workers[w];
        if let Some(sent_at) = answered
            && worker.held_until <= sent_at
            && std::mem::take(&mut worker.failures) > 0
            && !self.ledger_is_down()
        {
            now(self.store.resume(self.account)).expect("the ledger in memory never fails");
            self.ring_own(w);
        }
        self.permit_came_back(w);
    }
}

fn verdict_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Assigned => "assigned after all",
        Verdict::Released { refused: false } => "released",
        Verdict::Released { refused: true } => "refused",
        Verdict::Closed(Closed::Resolved) => "closed: resolved",
        Verdict::Closed(Closed::ServedElsewhere) => "closed: served elsewhere",
        Verdict::Closed(Closed::RoomGone) => "closed: room gone",
    }
}
