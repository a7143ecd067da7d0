//! Folding, sorting, deciding and reserving: one transaction under the account's lock.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::SystemTime,
};

use deadpool_postgres::Transaction;
use futures_util::future::try_join;
use sebastian_core::{
    AccountId, AgentId, AgentLoad, Decision, Event, QueueKey, RoomId, Roster, Rulebook, Snapshot,
    decide::{free_slots, servable},
    notice,
};

use super::{
    PostgresStore, outbox, parks, questions,
    queues::{self, Queue},
    rows, slots, turns,
    working_set::{self, Locked},
};
use crate::{
    Decide, DecideRule, Decided, StoreError,
    port::FOLD_EVENTS_MAX,
    round::{self, Orders, Reach},
};

pub(super) const ALL_SQL: &[&str] = &[UNFOLDED, TO_BE_WOKEN, FOLDED];

/// Primary key of events. $2 most events.
const UNFOLDED: &str = "
    SELECT e.seq, e.received_at, e.kind, e.source, e.room_id, e.inbox_id, e.service_id, e.service_resolved, e.details
    FROM events e
    WHERE e.account_id = $1 AND e.seq > (SELECT folded_seq FROM accounts WHERE id = $1)
    ORDER BY e.seq
    LIMIT $2";

/// Index conversations_snoozed. $2 now, $3 most.
const TO_BE_WOKEN: &str = "
    SELECT room_id
    FROM conversations
    WHERE account_id = $1 AND state <> 'resolved' AND snoozed_until <= $2
    ORDER BY snoozed_until
    LIMIT $3";

const FOLDED: &str = "UPDATE accounts SET folded_seq = $2, folded_at = $3 WHERE id = $1";

/// A decision under way: its transaction, and what it goes by.
pub(super) struct Round<'a> {
    pub tx: &'a Transaction<'a>,
    pub request: &'a Decide<'a>,
    pub locked: &'a Locked,
    pub rules: Arc<Rulebook>,
}

impl PostgresStore {
    pub(super) async fn run_decide(
        &self,
        request: &Decide<'_>,
        rule: DecideRule<'_>,
    ) -> Result<Decided, StoreError> {
        let mut client = self.client().await?;
        let tx = client.transaction().await?;
        let locked = working_set::lock(&tx, request.account).await?;
        let rules = self.rules(&tx, request.account, locked.rulebook_version).await?;
        self.books.remember(request.account, request.policy);
        let round = Round { tx: &tx, request, locked: &locked, rules };
        let (folded, more) = self.fold(&round).await?;
        let mut decided = Decided {
            folded: u32::try_from(folded).unwrap_or(u32::MAX),
            more,
            pause: round::pause(locked.paused_until, locked.pause_reason.as_deref(), locked.now),
            failures: locked.failures,
            ..Decided::default()
        };
        let all_stand_in_line = decided.pause.is_none() && parks::end(&round, &mut decided).await?;
        let mut queues = queues::read(&round).await?;
        decided.more |= queues::sort(&round, &mut queues).await?;
        if all_stand_in_line {
            self.give_out(&round, &queues, rule, &mut decided).await?;
        }
        tx.commit().await?;
        Ok(decided)
    }

    /// Folds accepted events into conversations, and wakes those that were snoozed until now. Returns how many events,
    /// and whether there may be more to do.
    async fn fold(&self, round: &Round<'_>) -> Result<(usize, bool), StoreError> {
        let Round { tx, request, locked, .. } = *round;
        let (account, now) = (request.account, locked.now);
        let most = i64::try_from(FOLD_EVENTS_MAX).unwrap_or(i64::MAX);
        let (unfolded, to_be_woken) =
            try_join(tx.prepare_cached(UNFOLDED), tx.prepare_cached(TO_BE_WOKEN)).await?;
        let clock = SystemTime::from(now);
        let (found, woken) = try_join(
            tx.query(&unfolded, &[&account.0, &most]),
            tx.query(&to_be_woken, &[&account.0, &clock, &most]),
        )
        .await?;
        let mut events = found.iter().map(rows::event).collect::<Result<Vec<Event>, _>>()?;
        let mut rooms = woken.iter().map(rows::room).collect::<Result<BTreeSet<RoomId>, _>>()?;
        rooms.extend(events.iter().map(|event| event.room.clone()));
        if rooms.is_empty() {
            return Ok((0, false));
        }
        let working_set = working_set::load(tx, account, &rooms, now, self.timing).await?;
        let mut working_set =
            working_set.governed_by(round.rules.clone(), request.policy).with_roster(&request.roster);
        // Writers may have had different clocks: the order of acceptance is the one that counts.
        let mut folded_at = locked.folded_at;
        for event in &mut events {
            folded_at = folded_at.max(event.received_at);
            event.received_at = folded_at;
            working_set.apply(event);
        }
        working_set.wake();
        working_set::write(tx, account, now, &working_set.finish()).await?;
        if let Some(last) = events.last() {
            debug_assert!(last.seq.0 > locked.folded_seq, "an event is folded once");
            let statement = tx.prepare_cached(FOLDED).await?;
            tx.execute(&statement, &[&account.0, &last.seq.0, &SystemTime::from(folded_at)]).await?;
        }
        Ok((events.len(), events.len() == FOLD_EVENTS_MAX || woken.len() == FOLD_EVENTS_MAX))
    }

    /// Shows `rule` what waits, and carries out what it decides.
    async fn give_out(
        &self,
        round: &Round<'_>,
        queues: &BTreeMap<QueueKey, Queue>,
        rule: DecideRule<'_>,
        decided: &mut Decided,
    ) -> Result<(), StoreError> {
        let Round { tx, request, locked, rules } = round;
        let (account, policy, now) = (request.account, request.policy, locked.now);
        let limit = if locked.failures > 0 { request.limit.min(1) } else { request.limit };
        let loads = self.loads_for(tx, account, &request.roster).await?;
        let slots = free_slots(&request.roster, &loads, rules, policy, now).min(limit);
        if slots == 0 {
            return Ok(());
        }
        let served = queues.iter().filter(|(_, queue)| queue.waits && queue.is_sorted).map(|(key, _)| *key);
        let served: Vec<QueueKey> = served.collect();
        if served.is_empty() {
            return Ok(());
        }
        let fair = round::fair_inboxes(rules, policy, served.iter().map(|key| key.inbox), now);
        let counts_by_inbox = round::counts_by_inbox(rules, policy);
        let mut snapshot = Snapshot {
            roster: request.roster.clone(),
            loads,
            inbox_loads: if counts_by_inbox {
                questions::inbox_loads(*tx, account).await?
            } else {
                BTreeMap::new()
            },
            windows: turns::windows(*tx, account, fair.into_keys()).await?,
            answers: request.answers.clone(),
            waiting: Vec::new(),
            rotations: queues.iter().map(|(key, queue)| (*key, queue.rotation.clone())).collect(),
            rules: rules.clone(),
            limit,
        };
        let mut reach = Reach::new(servable(&snapshot, policy, now, served), slots);
        let decisions = loop {
            snapshot.waiting = queues::heads(tx, queues, &reach).await?;
            crate::crash_point!("snapshot_read");
            if snapshot.waiting.is_empty() {
                return Ok(());
            }
            let decisions = rule(&snapshot, now);
            if !reach.extend(&snapshot, &decisions) {
                break decisions;
            }
        };
        crate::crash_point!("decided");
        let parked = self.carry_out(round, queues, &snapshot, &decisions, decided).await?;
        let filled = notice::filled(&snapshot, policy, &decisions, now);
        let recorded = async {
            if request.record {
                self.record(round, &snapshot, &decisions, &decided.reserved).await?;
            }
            Ok(())
        };
        try_join(recorded, outbox::post(tx, account, &filled)).await?;
        let is_limited = locked.failures == 0 && decided.reserved.len() == limit as usize;
        // Those behind the parked may not have been seen.
        decided.more |= is_limited || parked;
        Ok(())
    }

    /// Returns whether anything was parked.
    async fn carry_out(
        &self,
        round: &Round<'_>,
        queues: &BTreeMap<QueueKey, Queue>,
        snapshot: &Snapshot,
        decisions: &[Decision],
        decided: &mut Decided,
    ) -> Result<bool, StoreError> {
        let tx = round.tx;
        for (key, rotation) in decisions.iter().filter_map(|decision| decision.rotation.as_ref()) {
            if let Some(queue) = queues.get(key) {
                turns::set_rotation(tx, queue.id, rotation).await?;
            }
        }
        let Orders { choices, park, ask } = Orders::of(snapshot, decisions);
        decided.ask = ask;
        parks::begin(tx, &park).await?;
        if !choices.is_empty() {
            let account = round.request.account;
            decided.reserved =
                slots::take(tx, account, round.locked, &choices, snapshot, self.timing.reservation).await?;
            crate::crash_point!("slots_taken");
        }
        Ok(!park.is_empty())
    }

    /// Loads, with what explains the count of those agents whom the platform credits with more than they hold here.
    async fn loads_for(
        &self,
        tx: &Transaction<'_>,
        account: AccountId,
        roster: &Roster,
    ) -> Result<BTreeMap<AgentId, AgentLoad>, StoreError> {
        let mut loads = questions::loads(tx, account).await?;
        let over = round::overcounted(roster, &loads);
        let since = roster.polled_at - self.timing.settle_window;
        questions::add_counted_beside(tx, account, &over, since, &mut loads).await?;
        Ok(loads)
    }
}
