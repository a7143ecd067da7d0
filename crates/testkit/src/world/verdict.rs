//! The checks at the end: both final states, and the whole history.

use std::{collections::BTreeMap, time::Duration};

use sebastian_core::{
    AgentId, Conversation, ConversationId, EventKind, NewEvent, Outcome, ParkReason, RoomId, Roster, Source,
    State, Timing, decide,
    invariants::{self},
};
use sebastian_store::{Decide, MemoryStore, Selection, Store};

use super::{DAWN, World, dice::Dice, now, platform::Session, watch::LIST_MAX};

/// Conversations whose decisions are made again, and how many of each.
const SAMPLE: usize = 12;
const ATTEMPTS_MAX: u32 = 4;

/// Whoever may be given something again, since a window or a refusal ran out, is given it by a sweep after that.
const SOON: Duration = Duration::from_secs(20);

/// A log is replayed once in so many runs: it takes as long as the run.
const REPLAYS: u64 = 8;

impl World {
    /// I8, a while after the faults stopped: nobody waits while somebody has room for them.
    pub(super) fn judge_waiting(&mut self) {
        let at = self.time(self.now);
        let all = self.unresolved();
        let mut held: BTreeMap<AgentId, u32> = BTreeMap::new();
        for agent in all.iter().filter_map(Conversation::slot) {
            *held.entry(agent).or_default() += 1;
        }
        let rules = now(self.store.rulebook(self.account)).unwrap_or_default();
        let who_could = |id: &RoomId| {
            let room = &self.platform.rooms[self.platform.index(id)?];
            let known = all.iter().find(|one| one.room == *id && one.is_open());
            let is_put_off = known.is_some_and(|one| match one.state {
                State::Waiting { park: Some(park) } => {
                    matches!(park.why, ParkReason::Snoozed | ParkReason::Pending | ParkReason::Poison)
                }
                _ => false,
            });
            let said = rules.inboxes.get(&room.inbox);
            let fair = said.and_then(|said| said.overrides.fair_distribution);
            let fair = fair.or(self.plan.policy.fair_distribution);
            let could = self.platform.people.iter().find(|person| {
                // A slot that is kept for it past all deadlines is room for it.
                let is_kept = known.is_some_and(|one| match one.state {
                    State::Reserved { agent, deadline } => agent == person.id && deadline < at,
                    _ => false,
                });
                let is_full = |most| held.get(&person.id).copied().unwrap_or(0) - u32::from(is_kept) >= most;
                let given = |span| self.watch.given_within(Some(room.inbox), person.id, span, at);
                let a_while_ago = at - SOON;
                let is_refused = |one: &Conversation| {
                    one.refused.iter().any(|(who, until)| *who == person.id && *until > a_while_ago)
                };
                person.inboxes.contains(&room.inbox)
                    && !self.capacity(&rules, person.id).is_some_and(is_full)
                    && fair.is_none_or(|rule| given(rule.window + SOON) < rule.limit as usize)
                    && !known.is_some_and(is_refused)
            });
            could.filter(|_| !is_put_off).map(|person| person.id)
        };
        let waits = |session: &&Session| session.agent.is_none();
        let waiting = self.platform.rooms.iter().filter(|room| room.session().filter(waits).is_some());
        let waiting: Vec<RoomId> = waiting.map(|room| room.id.clone()).collect();
        let broken = invariants::none_waits_in_vain(&waiting, who_could);
        self.watch.breaks(broken);
    }

    /// Everything else, at rest.
    pub(super) fn judge(&mut self) {
        self.judge_ends();
        self.judge_decisions();
        let mut dice = self.dice.clone();
        if dice.one_in(REPLAYS) || self.bug.is_some() {
            let log: Vec<NewEvent> =
                self.watch.log.iter().filter(|event| event.source != Source::Operator).cloned().collect();
            let again = doubled_and_shuffled(&log, &mut dice);
            let broken = invariants::replay_agrees(&self.replay(&log), &self.replay(&again));
            self.watch.breaks(broken);
        }
    }

    /// I1, I2 and I5 over both final states and all that was applied.
    fn judge_ends(&mut self) {
        let open = self.platform.rooms.iter().filter(|room| room.session().is_some());
        let open: Vec<&RoomId> = open.map(|room| &room.id).collect();
        let all = self.unresolved();
        let mut broken =
            invariants::none_lost(open, |room| all.iter().any(|one| one.room == *room && one.is_open()));
        let applied = self.platform.applied.iter();
        broken.extend(invariants::one_agent_each(
            applied.map(|one| (&self.platform.rooms[one.room].id, one.session, one.agent)),
        ));
        let loads = now(self.store.loads(self.account, self.time(self.now))).unwrap_or_default();
        let ours = loads.values().map(|load| (load.agent, load.shown())).collect();
        let mut theirs: BTreeMap<AgentId, u32> = BTreeMap::new();
        for agent in self.platform.rooms.iter().filter_map(|room| room.session()?.agent) {
            *theirs.entry(agent).or_default() += 1;
        }
        broken.extend(invariants::loads_agree(&ours, &theirs));
        self.watch.breaks(broken);
    }

    /// I13: recorded decisions, made again.
    fn judge_decisions(&mut self) {
        let newest = self.unresolved().iter().map(|one| one.id.0).max().unwrap_or(1).max(1);
        let mut dice = self.dice.clone();
        for _ in 0..SAMPLE {
            let id = ConversationId(1 + i64::try_from(dice.between(0, newest.unsigned_abs())).unwrap_or(0));
            let recorded = now(self.store.decisions(self.account, id, ATTEMPTS_MAX)).unwrap_or_default();
            for one in recorded {
                let decisions = decide(&one.snapshot, &one.policy, one.at);
                let found = decisions.iter().find(|decision| decision.conversation == id);
                let again = found.and_then(|decision| match decision.outcome {
                    Outcome::Reserve { agent, .. } => Some(agent),
                    Outcome::Pass | Outcome::Ask | Outcome::Park(_) => None,
                });
                self.watch.figures.decided_again += 1;
                let broken = invariants::decided_again(id, one.agent, again);
                self.watch.breaks(broken);
            }
        }
    }

    /// Folds a log into an empty ledger: how many conversations of each room are left to be resolved.
    fn replay(&self, log: &[NewEvent]) -> BTreeMap<RoomId, u32> {
        let at = sebastian_core::Timestamp::from_millis(DAWN);
        let store = MemoryStore::with_clock(Timing::default(), move || at);
        let mut left = BTreeMap::new();
        let Ok(account) = now(store.open_account("simulated", "replay")) else { return left };
        let request = Decide {
            account,
            roster: Roster::default().into(),
            answers: Default::default(),
            policy: &self.plan.policy,
            limit: 0,
            record: false,
        };
        for events in log.chunks(100) {
            let folded = now(store.accept(account, events)).and_then(|()| {
                now(store.decide(&request, &|snapshot, at| decide(snapshot, &self.plan.policy, at)))
            });
            folded.expect("the ledger in memory never fails");
        }
        let page = now(store.list(account, &Selection::Unresolved, LIST_MAX));
        for listed in page.map(|page| page.conversations).unwrap_or_default() {
            *left.entry(listed.conversation.room).or_default() += 1;
        }
        left
    }
}

/// Every event twice, rooms mixed. An allocation's copy follows at once, since a copy after the resolve is a new message
/// as far as anybody can tell; a resolve's copy comes at any later time.
fn doubled_and_shuffled(log: &[NewEvent], dice: &mut Dice) -> Vec<NewEvent> {
    let mut rooms: BTreeMap<&RoomId, Vec<NewEvent>> = BTreeMap::new();
    let mut late: BTreeMap<&RoomId, Vec<NewEvent>> = BTreeMap::new();
    for event in log {
        let room = rooms.entry(&event.room).or_default();
        let late = late.entry(&event.room).or_default();
        if dice.one_in(2) {
            room.append(late);
        }
        room.push(event.clone());
        match event.kind {
            EventKind::Resolve { .. } => late.push(event.clone()),
            EventKind::Allocate { .. } | EventKind::Update(_) => room.push(event.clone()),
        }
    }
    for (room, late) in &mut late {
        rooms.entry(room).or_default().append(late);
    }
    let mut queues: Vec<_> = rooms.into_values().map(Vec::into_iter).collect();
    let mut shuffled = Vec::with_capacity(2 * log.len());
    while !queues.is_empty() {
        let place = dice.index(queues.len());
        match queues[place].next() {
            Some(event) => shuffled.push(event),
            None => drop(queues.swap_remove(place)),
        }
    }
    shuffled
}
