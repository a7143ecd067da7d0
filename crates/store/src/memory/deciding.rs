//! Folding, sorting and deciding.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use sebastian_core::{
    AgentId, Decision, Event, InboxId, Outcome, Park, ParkReason, Policy, QueueKey, RateWindow, RoomId,
    Rulebook, Snapshot, State, Timestamp, Timing, Turn, decide::free_slots, notice,
};

use super::desk::Desk;
use crate::{
    Decide, DecideRule, Decided, Facts,
    port::{FOLD_EVENTS_MAX, SPARE_HEADS},
    round::{self, Sorting},
};

impl Desk {
    /// See [`crate::Store::decide`].
    pub fn decide(
        &mut self,
        request: &Decide<'_>,
        rule: DecideRule<'_>,
        (now, timing): (Timestamp, Timing),
        last_conversation: &mut i64,
    ) -> Decided {
        let rules = self.books.newest();
        if self.policy.as_ref() != Some(request.policy) {
            self.policy = Some(request.policy.clone());
        }
        let folded = self.fold(request, &rules, (now, timing), last_conversation);
        self.sort_queues(&rules, request.policy, now);
        let mut decided = Decided {
            folded: u32::try_from(folded).unwrap_or(u32::MAX),
            more: folded == FOLD_EVENTS_MAX,
            pause: self.pause.filter(|pause| pause.until > now),
            failures: self.failures,
            ..Decided::default()
        };
        if decided.pause.is_none() {
            self.unpark(now);
            if self.decided_version != rules.version {
                self.decided_version = rules.version;
                self.unpark_excluded();
            }
            self.give_out(request, rule, &rules, (now, timing), &mut decided);
        }
        decided
    }

    /// Sorts queues anew that are sorted by something else than the rules say.
    fn sort_queues(&mut self, rules: &Rulebook, policy: &Policy, now: Timestamp) {
        let mut sorted_anew = HashSet::new();
        for (key, queue) in &mut self.queues {
            let sorting = Some(Sorting::of(rules, policy, *key, now));
            if queue.sorting != sorting {
                queue.sorting = sorting;
                sorted_anew.insert(*key);
            }
        }
        if sorted_anew.is_empty() {
            return;
        }
        for id in &self.unresolved {
            let Some(conversation) = self.conversations.get_mut(id) else { continue };
            let key = round::queue_of(conversation);
            if sorted_anew.contains(&key)
                && let Some(sorting) = self.queues.get(&key).and_then(|queue| queue.sorting)
            {
                conversation.rank = sorting.key(conversation);
            }
        }
    }

    /// Folds accepted events into conversations, and wakes those that were snoozed until now. Returns how many events.
    fn fold(
        &mut self,
        request: &Decide<'_>,
        rules: &Arc<Rulebook>,
        (now, timing): (Timestamp, Timing),
        last_conversation: &mut i64,
    ) -> usize {
        let mut events: Vec<Event> = self.unfolded().take(FOLD_EVENTS_MAX).cloned().collect();
        let mut names: HashSet<RoomId> = events.iter().map(|event| event.room.clone()).collect();
        names.extend(self.to_be_woken(now));
        if names.is_empty() {
            return 0;
        }
        let rooms = self.load_rooms(&names, now, timing);
        let mut rooms = rooms.governed_by(rules.clone(), request.policy).with_roster(&request.roster);
        for event in &mut events {
            self.folded_at = self.folded_at.max(event.received_at);
            event.received_at = self.folded_at;
            rooms.apply(event);
        }
        rooms.wake();
        self.write(rooms.finish(), now, last_conversation);
        self.folded = events.last().map_or(self.folded, |event| event.seq);
        events.len()
    }

    /// Rooms of conversations that were snoozed until now.
    fn to_be_woken(&self, now: Timestamp) -> impl Iterator<Item = RoomId> {
        let unresolved = self.unresolved.iter().map(|id| &self.conversations[id]);
        let due = unresolved.filter(move |one| one.snoozed_until.is_some_and(|at| at <= now));
        due.map(|one| one.room.clone())
    }

    fn unpark_excluded(&mut self) {
        for id in &self.unresolved {
            let Some(conversation) = self.conversations.get_mut(id) else { continue };
            if let State::Waiting { park: Some(Park { why: ParkReason::Excluded, .. }) } = conversation.state
            {
                conversation.state = State::Waiting { park: None };
            }
        }
    }

    fn give_out(
        &mut self,
        request: &Decide<'_>,
        rule: DecideRule<'_>,
        rules: &Arc<Rulebook>,
        (now, timing): (Timestamp, Timing),
        decided: &mut Decided,
    ) {
        let (roster, policy) = (request.roster.clone(), request.policy);
        let loads = self.loads_since(roster.polled_at - timing.settle_window);
        let limit = if self.failures > 0 { request.limit.min(1) } else { request.limit };
        let slots = free_slots(&roster, &loads, rules, policy, now).min(limit);
        if slots == 0 {
            return;
        }
        let waiting = self.heads(slots as usize + SPARE_HEADS);
        let fair = round::fair_inboxes(rules, policy, waiting.iter().map(|head| head.inbox), now);
        let windows = self.windows.iter().filter(|((inbox, _), _)| fair.contains_key(inbox));
        let snapshot = Snapshot {
            roster,
            loads,
            inbox_loads: self.inbox_loads(rules, policy),
            windows: windows.map(|(key, window)| (*key, window.clone())).collect(),
            answers: request.answers.clone(),
            waiting,
            rotations: self.queues.iter().map(|(key, queue)| (*key, queue.rotation.clone())).collect(),
            rules: rules.clone(),
            limit,
        };
        let decisions = rule(&snapshot, now);
        self.mail.post(notice::filled(&snapshot, policy, &decisions, now));
        let mut parked = false;
        for decision in &decisions {
            parked |= matches!(decision.outcome, Outcome::Park(_));
            self.carry_out(decision, &snapshot, (now, timing), decided);
        }
        if request.record {
            self.records.keep(&snapshot, policy, &decisions, &decided.reserved, now);
        }
        let is_limited = self.failures == 0 && decided.reserved.len() == limit as usize;
        decided.more |= is_limited || parked;
    }

    fn carry_out(
        &mut self,
        decision: &Decision,
        snapshot: &Snapshot,
        (now, timing): (Timestamp, Timing),
        decided: &mut Decided,
    ) {
        let id = decision.conversation;
        let Some(conversation) = self.conversations.get_mut(&id) else { return };
        match decision.outcome {
            Outcome::Reserve { agent, turn_charge, window } => {
                let QueueKey { inbox, team } = round::queue_of(conversation);
                let turn = Turn { inbox, team, charge: turn_charge };
                if let Some(span) = window {
                    let given = self.windows.entry((inbox, agent)).or_default();
                    given.give(id, now);
                    given.prune(span, now);
                }
                let shift = snapshot.roster.agent(agent).and_then(|agent| agent.online_since);
                let when = (now, now + timing.reservation);
                decided.reserved.extend(self.reserve(id, agent, turn, shift, when));
            }
            Outcome::Ask => decided.ask.push(conversation.room.clone()),
            Outcome::Park(park) => conversation.state = State::Waiting { park: Some(park) },
            Outcome::Pass => {}
        }
        if let Some((key, rotation)) = &decision.rotation {
            self.queues.entry(*key).or_default().rotation = rotation.clone();
        }
    }

    /// See [`crate::Store::facts`].
    pub fn facts(&self, since: Timestamp, policy: &Policy, now: Timestamp) -> Facts {
        let rules = self.books.newest();
        let fair = round::fair_inboxes(&rules, policy, self.windows.keys().map(|(inbox, _)| *inbox), now);
        let windows = self.windows.iter().filter(|((inbox, _), _)| fair.contains_key(inbox));
        let windows = windows.filter(|(_, given)| **given != RateWindow::default());
        Facts {
            loads: self.loads_since(since),
            inbox_loads: self.inbox_loads(&rules, policy),
            windows: windows.map(|(key, window)| (*key, window.clone())).collect(),
            rules,
        }
    }

    /// Slots held by (inbox, agent), where that is counted.
    fn inbox_loads(&self, rules: &Rulebook, policy: &Policy) -> BTreeMap<(Option<InboxId>, AgentId), u32> {
        let mut loads = BTreeMap::new();
        if round::counts_by_inbox(rules, policy) {
            let unresolved = self.unresolved.iter().map(|id| &self.conversations[id]);
            for (conversation, agent) in unresolved.filter_map(|one| Some((one, one.holder()?))) {
                if !conversation.slot_freed {
                    *loads.entry((conversation.inbox, agent)).or_default() += 1;
                }
            }
        }
        loads
    }
}
