//! A worker: its memory, its timers, and the matcher and settler, which take the steps of the real ones.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use sebastian_core::{
    AgentId, ConversationId, Outcome, Policy, Presence, RoomId, Roster, Snapshot, Strategy, Timestamp, decide,
};
use sebastian_store::{Decide, Decided, PauseReason, Store};

use super::{
    Event, World,
    dice::Dice,
    executor::{Attempt, Heard},
    history::Whose,
    now,
    plan::Bug,
    platform::Ms,
    weather::Doom,
};

/// Conversations tried at once, by the matcher and by the settler.
const MATCHING: usize = 14;
const SETTLING: usize = 2;

/// Most given out by one decision, and decisions of one wake-up.
const BATCH: u32 = 8;
const ROUNDS_MAX: usize = 64;

/// How long a stray wake-up takes.
const BELL: Ms = 20;

/// A sweep that found nothing is not repeated until something stirs, or this has passed: what falls due by itself comes so
/// much later. That plays several times as many days.
const FRUITLESS: Ms = 8_000;

/// Suspects read back in one sweep.
const SUSPECTS_MAX: u32 = 16;

/// A step of a worker.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Wake,
    Sweep,
    Lease,
    Poll,
    /// The roster that was asked for then.
    Polled(Timestamp),
    /// One agent's rooms; and whether the roster is to say so.
    Listed {
        agent: AgentId,
        asked_at: Timestamp,
        by_poll: bool,
    },
    Reconcile,
    /// Rooms that wait.
    Waiting,
    ReadBack {
        id: ConversationId,
        room: RoomId,
        asked_at: Timestamp,
    },
    /// An attempt goes on.
    Try(u64),
    Write(u64),
    Heard(u64, Heard),
    Look(u64),
    Record(u64),
}

/// What a worker knows; gone when it crashes.
pub(super) struct Worker {
    /// Which process this is: what a dead one began changes nothing.
    pub life: u32,
    pub is_up: bool,
    pub stopped_until: Ms,
    pub doom: Option<(u32, Doom)>,
    /// How fast its clock runs, in millionths too fast.
    pub drift: i64,
    pub roster: Arc<Roster>,
    pub attempts: BTreeMap<u64, Attempt>,
    pub next: u64,
    /// By its own clock.
    pub held_until: Ms,
    pub failures: u32,
    pub unanswered: u32,
    pub leads: bool,
    /// How many agents were left when the roster last shrank.
    pub doubt: Option<usize>,
    pub listed_at: BTreeMap<AgentId, Ms>,
    is_starved: bool,
}

impl Worker {
    pub fn new(dice: &mut Dice) -> Self {
        Self::with_clock(i64::try_from(dice.between(0, 20_000)).unwrap_or(0) - 10_000)
    }

    fn with_clock(drift: i64) -> Self {
        Self {
            life: 0,
            is_up: false,
            stopped_until: 0,
            doom: None,
            drift,
            roster: Arc::default(),
            attempts: BTreeMap::new(),
            next: 0,
            held_until: 0,
            failures: 0,
            unanswered: 0,
            leads: false,
            doubt: None,
            listed_at: BTreeMap::new(),
            is_starved: false,
        }
    }

    /// What it knew is gone; its machine, and thus its clock, is the same.
    pub fn crash(&mut self) {
        let Self { life, next, drift, .. } = *self;
        *self = Self { life: life + 1, next, ..Self::with_clock(drift) };
    }

    pub fn on_probation(&self) -> bool {
        self.failures > 0
    }
}

impl World {
    /// The worker's own clock, which only tells spans.
    pub(super) fn local(&self, w: usize) -> Ms {
        let skewed = i64::try_from(self.now).unwrap_or(i64::MAX / 2);
        u64::try_from(skewed + skewed * self.workers[w].drift / 1_000_000).unwrap_or(0)
    }

    pub(super) fn start(&mut self, w: usize) {
        let worker = &mut self.workers[w];
        if worker.is_up {
            return;
        }
        (worker.is_up, worker.life) = (true, worker.life + 1);
        let sweep = self.dice.between(0, self.plan.sweep);
        self.soon(w, 1, Step::Lease);
        self.soon(w, 50, Step::Poll);
        self.soon(w, 200 + sweep, Step::Sweep);
        self.soon(w, self.plan.reconcile, Step::Reconcile);
    }

    pub(super) fn soon(&mut self, w: usize, span: Ms, step: Step) {
        let life = self.workers[w].life;
        self.after(span, Event::Work(w, life, step));
    }

    pub(super) fn work(&mut self, w: usize, life: u32, step: Step) {
        let worker = &self.workers[w];
        if worker.life != life || !worker.is_up {
            return;
        }
        if self.now < worker.stopped_until {
            let left = worker.stopped_until - self.now;
            return self.soon(w, left, step);
        }
        match step {
            Step::Wake => self.rounds(w),
            Step::Sweep => self.sweep(w),
            Step::Lease => self.lease(w),
            Step::Poll => self.poll(w),
            Step::Polled(polled_at) => self.polled(w, polled_at),
            Step::Listed { agent, asked_at, by_poll } => self.listed(w, agent, asked_at, by_poll),
            Step::Reconcile => self.reconcile(w),
            Step::Waiting => self.find_waiting(w),
            Step::ReadBack { id, room, asked_at } => self.read_back(w, id, &room, asked_at),
            Step::Try(key) => self.attempt(w, key, Step::Try(key), |world| world.try_once(w, key)),
            Step::Write(key) => self.attempt(w, key, Step::Write(key), |world| world.write(w, key)),
            Step::Heard(key, heard) => {
                self.attempt(w, key, Step::Heard(key, heard), |world| world.heard(w, key, heard));
            }
            Step::Look(key) => self.attempt(w, key, Step::Look(key), |world| world.look(w, key)),
            Step::Record(key) => self.attempt(w, key, Step::Record(key), |world| world.record(w, key)),
        }
    }

    /// One step of an attempt, at any of which the worker may go down.
    fn attempt(&mut self, w: usize, key: u64, step: Step, go_on: impl FnOnce(&mut Self)) {
        if !self.workers[w].attempts.contains_key(&key) {
            return;
        }
        let is_struck = self.is_struck(w, &step);
        if !is_struck {
            return go_on(self);
        }
        if self.workers[w].is_up {
            let left = self.workers[w].stopped_until - self.now;
            self.soon(w, left, step);
        }
    }

    /// A wake-up reaches one of the workers, or nobody.
    pub(super) fn ring(&mut self) {
        self.stir();
        if !self.is_calm && self.dice.one_in(20) {
            return self.fault("wake-up lost");
        }
        let (w, span) = (self.dice.index(self.workers.len()), self.dice.between(1, BELL));
        self.soon(w, span, Step::Wake);
    }

    /// A worker rings its own bell.
    pub(super) fn ring_own(&mut self, w: usize) {
        self.stir();
        self.soon(w, 1, Step::Wake);
    }

    fn sweep(&mut self, w: usize) {
        self.soon(w, self.plan.sweep, Step::Sweep);
        let stirred = self.stirred;
        let is_known = |(then, at): (u64, Ms)| then == stirred && self.now < at + FRUITLESS;
        if self.is_at_rest || self.found_nothing.is_some_and(is_known) || self.ledger_is_down() {
            return;
        }
        self.rounds(w);
        self.take_over(w);
        if !self.is_held(w) {
            self.read_suspects(w);
        }
        let age = self.time(self.now).since(self.workers[w].roster.polled_at).as_millis();
        let could = !self.is_held(w) && !self.workers[w].is_starved && age < u128::from(2 * self.plan.poll);
        if could && self.stirred == stirred {
            self.found_nothing = Some((stirred, self.now));
        }
    }

    pub(super) fn is_held(&self, w: usize) -> bool {
        self.workers[w].held_until > self.local(w)
    }

    fn may_call(&self, w: usize) -> bool {
        let worker = &self.workers[w];
        !self.is_held(w) && (!worker.on_probation() || worker.attempts.is_empty())
    }

    /// Permits left, of the matcher or of the settler.
    fn permits(&self, w: usize, settling: bool) -> usize {
        let worker = &self.workers[w];
        let most = if settling { SETTLING } else { MATCHING };
        let taken = worker.attempts.values().filter(|attempt| attempt.is_settling == settling).count();
        let most = if worker.on_probation() { most.min(taken + 1) } else { most };
        if self.may_call(w) { most.saturating_sub(taken) } else { 0 }
    }

    fn rounds(&mut self, w: usize) {
        for _ in 0..ROUNDS_MAX {
            if self.ledger_is_down() || !self.round(w) {
                return;
            }
        }
    }

    /// One decision. True when there is more to do at once.
    fn round(&mut self, w: usize) -> bool {
        let limit = u32::try_from(self.permits(w, false)).unwrap_or(BATCH).min(BATCH);
        self.workers[w].is_starved = limit == 0;
        let before = self.before_fold();
        let (decided, seen) = self.decide(w, limit);
        self.check_fold(before);
        if let Some(snapshot) = &seen {
            self.check_round(snapshot, &decided.reserved);
        }
        // Committed, and the worker never hears of it.
        if !self.is_calm && !decided.reserved.is_empty() && self.dice.one_in(100) {
            self.fault("commit of a decision not heard of");
            return false;
        }
        self.workers[w].failures = decided.failures;
        if let Some(pause) = decided.pause
            && !self.is_held(w)
        {
            let span = pause.until.since(self.time(self.now));
            self.hold(w, u64::try_from(span.as_millis()).unwrap_or(0));
        }
        if decided.folded > 0 || !decided.reserved.is_empty() {
            self.stir();
        }
        for reservation in decided.reserved {
            self.begin_attempt(w, reservation, false);
        }
        decided.more && (limit > 0 || decided.folded > 0)
    }

    fn decide(&mut self, w: usize, limit: u32) -> (Decided, Option<Snapshot>) {
        self.watch.figures.decisions += 1;
        let policy = self.plan.policy.clone();
        let request = Decide {
            account: self.account,
            roster: self.workers[w].roster.clone(),
            answers: Arc::default(),
            policy: &policy,
            limit,
            record: true,
        };
        let (seen, bug) = (Mutex::new(None), self.bug);
        let rule = |snapshot: &Snapshot, now: Timestamp| {
            let decisions = match bug {
                None => decide(snapshot, &policy, now),
                Some(bug) => decide_wrongly(bug, snapshot, &policy, now),
            };
            if decisions.iter().any(|one| matches!(one.outcome, Outcome::Reserve { .. })) {
                *seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(snapshot.clone());
            }
            decisions
        };
        let decided = now(self.store.decide(&request, &rule)).expect("the ledger in memory never fails");
        let seen = seen.into_inner().unwrap_or_else(PoisonError::into_inner);
        (decided, seen.filter(|_| limit > 0))
    }

    /// An attempt came to its end: whoever waits for a permit looks again.
    pub(super) fn permit_came_back(&mut self, w: usize) {
        if std::mem::take(&mut self.workers[w].is_starved) {
            self.ring_own(w);
        }
    }

    fn take_over(&mut self, w: usize) {
        let limit = u32::try_from(self.permits(w, true)).unwrap_or(0);
        if limit == 0 || self.bug == Some(Bug::NoTakeOver) {
            return;
        }
        let taken = now(self.store.take_over(self.account, limit)).unwrap_or_default();
        for reservation in taken {
            let id = reservation.attempt.conversation;
            self.note(Whose::Conversation(id), "taken over, times", i64::from(reservation.takeovers));
            self.fault("reservation taken over");
            self.stir();
            self.begin_attempt(w, reservation, true);
        }
    }

    fn read_suspects(&mut self, w: usize) {
        let suspects = now(self.store.claim_suspects(self.account, SUSPECTS_MAX)).unwrap_or_default();
        for suspect in suspects {
            self.stir();
            let span = self.latency();
            let (id, room, asked_at) = (suspect.conversation, suspect.room, suspect.claimed_at);
            self.soon(w, span, Step::ReadBack { id, room, asked_at });
        }
    }

    /// Calls nobody for at least `span`. False when that was to be so anyway.
    pub(super) fn hold(&mut self, w: usize, span: Ms) -> bool {
        let local = self.local(w);
        let held_until = &mut self.workers[w].held_until;
        let stands = *held_until > local && local + span < *held_until + 1_000;
        *held_until = (*held_until).max(local + span);
        !stands
    }

    /// Pauses the account, for longer with each failure in a row.
    pub(super) fn back_off(&mut self, w: usize, first: Ms, reason: PauseReason) {
        let span = (first << self.workers[w].failures.min(8)).min(10_000);
        if self.hold(w, span) && !self.ledger_is_down() {
            let span = std::time::Duration::from_millis(span);
            now(self.store.pause(self.account, span, reason)).expect("the ledger in memory never fails");
            self.stir();
        }
    }
}

/// Decides with a bug.
fn decide_wrongly(
    bug: Bug,
    snapshot: &Snapshot,
    policy: &Policy,
    now: Timestamp,
) -> Vec<sebastian_core::Decision> {
    let mut wrong = snapshot.clone();
    let mut policy = policy.clone();
    match bug {
        Bug::NoCapacity => policy.capacity = None,
        Bug::LastComeFirst => wrong.waiting.reverse(),
        Bug::NoWindow => wrong.windows.clear(),
        Bug::BlindToPresence => {
            let mut roster = Roster::clone(&wrong.roster);
            roster.agents.iter_mut().for_each(|agent| agent.presence = Presence::Online);
            wrong.roster = roster.into();
        }
        Bug::OtherStrategy => {
            let first = policy.strategy == Strategy::FirstFit;
            policy.strategy = if first { Strategy::LeastLoaded } else { Strategy::FirstFit };
        }
        Bug::SwallowedRetry
        | Bug::SecondAgent
        | Bug::NoHealing
        | Bug::NamelessResolves
        | Bug::NoTakeOver
        | Bug::NoFence => {}
    }
    decide(&wrong, &policy, now)
}
