//! Folding, sorting, deciding and reserving: one transaction.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use sebastian_core::{
    AccountId, AgentId, AgentLoad, Decision, Event, QueueKey, RoomId, Roster, Rulebook, Snapshot,
    decide::{free_slots, servable},
    notice,
};

use super::{
    Call, questions,
    queues::Queue,
    rows::{self, millis},
    working_set::Locked,
};
use crate::{
    Decide, DecideRule, Decided, StoreError,
    port::FOLD_EVENTS_MAX,
    round::{self, Orders, Reach},
};

pub(super) const ALL_SQL: &[&str] = &[UNFOLDED, TO_BE_WOKEN, FOLDED];

/// Index events_of. ?2 the last that was folded, ?3 most events.
const UNFOLDED: &str = "
    SELECT seq, received_at, kind, source, room_id, inbox_id, service_id, service_resolved, details
    FROM events
    WHERE account_id = ?1 AND seq > ?2
    ORDER BY seq
    LIMIT ?3";

/// Index conversations_snoozed. ?2 now, ?3 most.
const TO_BE_WOKEN: &str = "
    SELECT room_id
    FROM conversations
    WHERE account_id = ?1 AND state <> 'resolved' AND snoozed_until <= ?2
    ORDER BY snoozed_until
    LIMIT ?3";

const FOLDED: &str = "UPDATE accounts SET folded_seq = ?2, folded_at = ?3 WHERE id = ?1";

/// A decision under way, and what it goes by.
pub(super) struct Round<'a> {
    pub request: &'a Decide<'a>,
    pub locked: &'a Locked,
    pub rules: Arc<Rulebook>,
}

impl Call<'_> {
    pub(super) fn decide(&self, request: &Decide<'_>, rule: DecideRule<'_>) -> Result<Decided, StoreError> {
        let locked = self.locked(request.account)?;
        let rules = self.rules(request.account, locked.rulebook_version)?;
        self.store.books.remember(request.account, request.policy);
        let round = Round { request, locked: &locked, rules };
        let (folded, more) = self.fold(&round)?;
        let mut decided = Decided {
            folded: u32::try_from(folded).unwrap_or(u32::MAX),
            more,
            pause: round::pause(locked.paused_until, locked.pause_reason.as_deref(), self.now),
            failures: locked.failures,
            ..Decided::default()
        };
        let all_stand_in_line = decided.pause.is_none() && self.end_parks(&round, &mut decided)?;
        let mut queues = self.queues_of(request.account)?;
        decided.more |= self.sort(&round, &mut queues)?;
        if all_stand_in_line {
            self.give_out(&round, &queues, rule, &mut decided)?;
        }
        Ok(decided)
    }

    /// Folds accepted events into conversations, and wakes those that were snoozed until now. Returns how many events,
    /// and whether there may be more to do.
    fn fold(&self, round: &Round<'_>) -> Result<(usize, bool), StoreError> {
        let Round { request, locked, .. } = *round;
        let account = request.account;
        let most = i64::try_from(FOLD_EVENTS_MAX).unwrap_or(i64::MAX);
        let mut events: Vec<Event> =
            rows::all(self.tx, UNFOLDED, &[&account.0, &locked.folded_seq, &most], rows::event)?;
        let woken = rows::all(self.tx, TO_BE_WOKEN, &[&account.0, &millis(self.now), &most], rows::room)?;
        let is_full = events.len() == FOLD_EVENTS_MAX || woken.len() == FOLD_EVENTS_MAX;
        let mut rooms: BTreeSet<RoomId> = woken.into_iter().collect();
        rooms.extend(events.iter().map(|event| event.room.clone()));
        if rooms.is_empty() {
            return Ok((0, false));
        }
        let working_set = self.load(account, &rooms)?;
        let mut working_set =
            working_set.governed_by(round.rules.clone(), request.policy).with_roster(&request.roster);
        // The clock may have been put back: the order of acceptance is the one that counts.
        let mut folded_at = locked.folded_at;
        for event in &mut events {
            folded_at = folded_at.max(event.received_at);
            event.received_at = folded_at;
            working_set.apply(event);
        }
        working_set.wake();
        self.save(account, &working_set.finish())?;
        if let Some(last) = events.last() {
            debug_assert!(last.seq.0 > locked.folded_seq, "an event is folded once");
            rows::run(self.tx, FOLDED, &[&account.0, &last.seq.0, &millis(folded_at)])?;
        }
        Ok((events.len(), is_full))
    }

    /// Shows `rule` what waits, and carries out what it decides.
    fn give_out(
        &self,
        round: &Round<'_>,
        queues: &BTreeMap<QueueKey, Queue>,
        rule: DecideRule<'_>,
        decided: &mut Decided,
    ) -> Result<(), StoreError> {
        let Round { request, locked, rules } = round;
        let (account, policy) = (request.account, request.policy);
        let limit = if locked.failures > 0 { request.limit.min(1) } else { request.limit };
        let loads = self.loads_for(account, &request.roster)?;
        let slots = free_slots(&request.roster, &loads, rules, policy, self.now).min(limit);
        if slots == 0 {
            return Ok(());
        }
        let served = queues.iter().filter(|(_, queue)| queue.waits && queue.is_sorted).map(|(key, _)| *key);
        let served: Vec<QueueKey> = served.collect();
        if served.is_empty() {
            return Ok(());
        }
        let fair = round::fair_inboxes(rules, policy, served.iter().map(|key| key.inbox), self.now);
        let counts_by_inbox = round::counts_by_inbox(rules, policy);
        let mut snapshot = Snapshot {
            roster: request.roster.clone(),
            loads,
            inbox_loads: if counts_by_inbox {
                questions::inbox_loads(self.tx, account)?
            } else {
                BTreeMap::new()
            },
            windows: self.windows(account, fair.into_keys())?,
            answers: request.answers.clone(),
            waiting: Vec::new(),
            rotations: queues.iter().map(|(key, queue)| (*key, queue.rotation.clone())).collect(),
            rules: rules.clone(),
            limit,
        };
        let mut reach = Reach::new(servable(&snapshot, policy, self.now, served), slots);
        let decisions = loop {
            snapshot.waiting = self.heads(queues, &reach)?;
            crate::crash_point!("snapshot_read");
            if snapshot.waiting.is_empty() {
                return Ok(());
            }
            let decisions = rule(&snapshot, self.now);
            if !reach.extend(&snapshot, &decisions) {
                break decisions;
            }
        };
        crate::crash_point!("decided");
        let parked = self.carry_out(round, queues, &snapshot, &decisions, decided)?;
        if request.record {
            self.record(round, &snapshot, &decisions, &decided.reserved)?;
        }
        self.post(account, &notice::filled(&snapshot, policy, &decisions, self.now))?;
        let is_limited = locked.failures == 0 && decided.reserved.len() == limit as usize;
        // Those behind the parked may not have been seen.
        decided.more |= is_limited || parked;
        Ok(())
    }

    /// Returns whether anything was parked.
    fn carry_out(
        &self,
        round: &Round<'_>,
        queues: &BTreeMap<QueueKey, Queue>,
        snapshot: &Snapshot,
        decisions: &[Decision],
        decided: &mut Decided,
    ) -> Result<bool, StoreError> {
        for (key, rotation) in decisions.iter().filter_map(|decision| decision.rotation.as_ref()) {
            if let Some(queue) = queues.get(key) {
                self.set_rotation(queue.id, rotation)?;
            }
        }
        let Orders { choices, park, ask } = Orders::of(snapshot, decisions);
        decided.ask = ask;
        self.park(&park)?;
        if !choices.is_empty() {
            decided.reserved = self.take(round, &choices, snapshot)?;
            crate::crash_point!("slots_taken");
        }
        Ok(!park.is_empty())
    }

    /// Loads, with what explains the count of those agents whom the platform credits with more than they hold here.
    fn loads_for(
        &self,
        account: AccountId,
        roster: &Roster,
    ) -> Result<BTreeMap<AgentId, AgentLoad>, StoreError> {
        let mut loads = questions::loads(self.tx, account)?;
        let over = round::overcounted(roster, &loads);
        let since = roster.polled_at - self.store.timing.settle_window;
        questions::add_counted_beside(self.tx, account, &over, since, &mut loads)?;
        Ok(loads)
    }
}
