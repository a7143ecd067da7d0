//! Folding, sorting and deciding.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use sebastian_core::{
    AgentId, Decision, Event, InboxId, Outcome, ParkReason, Policy, QueueKey, RateWindow, RoomId, Rulebook,
    Snapshot, State, Timestamp, Timing, Turn,
    decide::{free_slots, servable},
    notice,
};

use super::desk::Desk;
use crate::{
    Decide, DecideRule, Decided, Facts,
    port::{FOLD_EVENTS_MAX, MOVED_MAX},
    round::{self, Reach, Sorting},
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
        let mut decided = Decided {
            folded: u32::try_from(folded).unwrap_or(u32::MAX),
            more: folded == FOLD_EVENTS_MAX,
            pause: self.pause.filter(|pause| pause.until > now),
            failures: self.failures,
            ..Decided::default()
        };
        let all_stand_in_line = decided.pause.is_none() && self.end_parks(&rules, now, &mut decided);
        decided.more |= self.sort_queues(&rules, request.policy, now);
        if all_stand_in_line {
            self.give_out(request, rule, &rules, (now, timing), &mut decided);
        }
        decided
    }

    /// Lets conversations wait in their queues whose time has come, and after a change of the rules all that these kept
    /// out, so many at a time. False while the rules still keep some out that they may no longer mean.
    fn end_parks(&mut self, rules: &Rulebook, now: Timestamp, decided: &mut Decided) -> bool {
        // Who is snoozed is woken instead.
        decided.more |= self.unpark(|park| park.until <= now && park.why != ParkReason::Snoozed) == MOVED_MAX;
        if self.decided_version == rules.version {
            return true;
        }
        if self.unpark(|park| park.why == ParkReason::Excluded) == MOVED_MAX {
            decided.more = true;
            return false;
        }
        self.decided_version = rules.version;
        true
    }

    /// Sorts queues anew that are sorted by something else than the rules say, so many conversations at a time. Returns
    /// whether some are left: those queues are passed over meanwhile.
    fn sort_queues(&mut self, rules: &Rulebook, policy: &Policy, now: Timestamp) -> bool {
        let mut unsorted: BTreeMap<QueueKey, Sorting> = BTreeMap::new();
        for (key, queue) in &mut self.queues {
            let sorting = Sorting::of(rules, policy, *key, now);
            queue.is_sorted = queue.sorting == Some(sorting);
            if !queue.is_sorted {
                unsorted.insert(*key, sorting);
            }
        }
        let mut left = MOVED_MAX;
        for (key, sorting) in &unsorted {
            if left == 0 {
                break;
            }
            let moved = self.sort(*key, sorting, left);
            if moved < left
                && let Some(queue) = self.queues.get_mut(key)
            {
                (queue.sorting, queue.is_sorted) = (Some(*sorting), true);
            }
            left -= moved;
        }
        unsorted.keys().any(|key| !self.queues[key].is_sorted)
    }

    /// Ranks `most` of those who wait in a queue and have another rank. Returns how many had.
    fn sort(&mut self, queue: QueueKey, sorting: &Sorting, most: usize) -> usize {
        let mut moved = 0;
        for id in &self.unresolved {
            let Some(conversation) = self.conversations.get_mut(id) else { continue };
            if moved == most {
                break;
            }
            if !matches!(conversation.state, State::Waiting { .. }) || round::queue_of(conversation) != queue
            {
                continue;
            }
            let rank = sorting.key(conversation);
            moved += usize::from(conversation.rank != rank);
            conversation.rank = rank;
        }
        moved
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
        let served: Vec<QueueKey> = self.waits_in();
        if served.is_empty() {
            return;
        }
        let fair = round::fair_inboxes(rules, policy, served.iter().map(|key| key.inbox), now);
        let windows = self.windows.iter().filter(|((inbox, _), _)| fair.contains_key(inbox));
        let mut snapshot = Snapshot {
            roster,
            loads,
            inbox_loads: self.inbox_loads(rules, policy),
            windows: windows.map(|(key, window)| (*key, window.clone())).collect(),
            answers: request.answers.clone(),
            waiting: Vec::new(),
            rotations: self.queues.iter().map(|(key, queue)| (*key, queue.rotation.clone())).collect(),
            rules: rules.clone(),
            limit,
        };
        let mut reach = Reach::new(servable(&snapshot, policy, now, served), slots);
        let decisions = loop {
            snapshot.waiting = self.heads(|queue| reach.of(queue));
            if snapshot.waiting.is_empty() {
                return;
            }
            let decisions = rule(&snapshot, now);
            if !reach.extend(&snapshot, &decisions) {
                break decisions;
            }
        };
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
