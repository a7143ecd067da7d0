//! Folding, sorting, deciding and reserving: one transaction under the account's lock.
//!
//! Others wait for that lock, so what needs no answer of what stands before is sent with it: a usual round waits for
//! PostgreSQL eight times, whatever it gives out. The order in which statements are sent is the order in which they run.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::SystemTime,
};

use deadpool_postgres::Transaction;
use futures_util::{
    future::{try_join, try_join_all},
    try_join,
};
use sebastian_core::{
    AccountId, AgentId, AgentLoad, Changes, Decision, Event, QueueKey, RoomId, Roster, Rulebook, Snapshot,
    Timestamp,
    decide::{free_slots, servable},
    notice,
};
use tokio_postgres::{Row, Statement};

use super::{
    PostgresStore, outbox, parks, prepared, questions,
    queues::{self, Queue},
    records::{self, Kept},
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

/// Index conversations_snoozed. $2 most.
const TO_BE_WOKEN: &str = "
    SELECT room_id
    FROM conversations
    WHERE account_id = $1 AND state <> 'resolved' AND snoozed_until <= (SELECT clock_timestamp())
    ORDER BY snoozed_until
    LIMIT $2";

const FOLDED: &str = "UPDATE accounts SET folded_seq = $2, folded_at = $3 WHERE id = $1";

/// A decision under way: its transaction, and what it goes by.
pub(super) struct Round<'a> {
    pub tx: &'a Transaction<'a>,
    pub request: &'a Decide<'a>,
    pub locked: &'a Locked,
    pub rules: Arc<Rulebook>,
}

/// What is to be folded: events, and rooms to be woken.
struct Unfolded {
    events: Vec<Event>,
    woken: Vec<RoomId>,
}

impl Unfolded {
    fn read(found: &[Row], woken: &[Row]) -> Result<Self, StoreError> {
        Ok(Self {
            events: found.iter().map(rows::event).collect::<Result<_, _>>()?,
            woken: woken.iter().map(rows::room).collect::<Result<_, _>>()?,
        })
    }

    /// Whether there may be more of it.
    fn is_full(&self) -> bool {
        self.events.len() == FOLD_EVENTS_MAX || self.woken.len() == FOLD_EVENTS_MAX
    }
}

/// What folding changed, still to be written.
#[derive(Default)]
struct Folded {
    changes: Changes,
    /// The last event and when it came; `None` where only rooms were woken.
    last: Option<(i64, Timestamp)>,
}

impl PostgresStore {
    pub(super) async fn run_decide(
        &self,
        request: &Decide<'_>,
        rule: DecideRule<'_>,
    ) -> Result<Decided, StoreError> {
        let mut client = self.client().await?;
        let tx = client.transaction().await?;
        let (locked, unfolded) = begin(&tx, request.account).await?;
        let rules = self.rules(&tx, request.account, locked.rulebook_version).await?;
        self.books.remember(request.account, request.policy);
        let round = Round { tx: &tx, request, locked: &locked, rules };
        let mut decided = Decided {
            folded: u32::try_from(unfolded.events.len()).unwrap_or(u32::MAX),
            more: unfolded.is_full(),
            pause: round::pause(locked.paused_until, locked.pause_reason.as_deref(), locked.now),
            failures: locked.failures,
            ..Decided::default()
        };
        let folded = self.fold(&round, unfolded).await?;
        let (mut queues, all_stand_in_line) = Box::pin(line_up(&round, &folded, &mut decided)).await?;
        decided.more |= queues::sort(&round, &mut queues).await?;
        if all_stand_in_line {
            Box::pin(self.give_out(&round, &queues, rule, &mut decided)).await?;
        }
        tx.commit().await?;
        Ok(decided)
    }

    /// Folds accepted events into conversations, and wakes those that were snoozed until now.
    async fn fold(&self, round: &Round<'_>, unfolded: Unfolded) -> Result<Folded, StoreError> {
        let Round { tx, request, locked, .. } = *round;
        let Unfolded { mut events, woken } = unfolded;
        let mut rooms = BTreeSet::from_iter(woken);
        rooms.extend(events.iter().map(|event| event.room.clone()));
        if rooms.is_empty() {
            return Ok(Folded::default());
        }
        let working_set = working_set::load(tx, request.account, &rooms, locked.now, self.timing).await?;
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
        let last = events.last().map(|last| (last.seq.0, folded_at));
        debug_assert!(last.is_none_or(|(seq, _)| seq > locked.folded_seq), "an event is folded once");
        Ok(Folded { changes: working_set.finish(), last })
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
        let served = queues.iter().filter(|(_, queue)| queue.waits && queue.is_sorted).map(|(key, _)| *key);
        let served: Vec<QueueKey> = served.collect();
        if limit == 0 || served.is_empty() {
            return Ok(());
        }
        let loads = self.loads_for(tx, account, &request.roster).await?;
        let slots = free_slots(&request.roster, &loads, rules, policy, now).min(limit);
        if slots == 0 {
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
        let is_limited = locked.failures == 0 && decided.reserved.len() == limit as usize;
        // Those behind the parked may not have been seen.
        decided.more |= is_limited || parked;
        Ok(())
    }

    /// Writes all that `decisions` ask for, in one round trip. Returns whether anything was parked.
    async fn carry_out(
        &self,
        round: &Round<'_>,
        queues: &BTreeMap<QueueKey, Queue>,
        snapshot: &Snapshot,
        decisions: &[Decision],
        decided: &mut Decided,
    ) -> Result<bool, StoreError> {
        let Round { tx, request, locked, .. } = *round;
        let account = request.account;
        let Orders { choices, park, ask } = Orders::of(snapshot, decisions);
        let filled = notice::filled(snapshot, request.policy, decisions, locked.now);
        let kept = Kept::of(round, snapshot, decisions, &choices);
        let taking = prepared(tx, slots::TAKING).await?;
        let [rotate, begin_park, post, keep] =
            prepared(tx, [turns::SET_ROTATION, parks::PARK, outbox::POST, records::KEEP]).await?;
        let rotated = decisions.iter().filter_map(|decision| decision.rotation.as_ref());
        let rotations = rotated.filter_map(|(key, rotation)| Some((queues.get(key)?.id, rotation)));
        let (_, (), reserved, (), recorded) = try_join!(
            try_join_all(rotations.map(|(queue, turns)| turns::set_rotation(tx, &rotate, queue, turns))),
            parks::begin(tx, &begin_park, &park),
            slots::take(tx, &taking, account, locked, &choices, snapshot, self.timing.reservation),
            outbox::post(tx, &post, account, &filled),
            self.record(round, &keep, kept.as_ref()),
        )?;
        crate::crash_point!("slots_taken");
        if let (Some(kept), false) = (&kept, recorded) {
            self.record_with_agents(round, &keep, kept).await?;
        }
        (decided.reserved, decided.ask) = (reserved, ask);
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

/// Takes the account's lock, and reads what is to be folded.
async fn begin(tx: &Transaction<'_>, account: AccountId) -> Result<(Locked, Unfolded), StoreError> {
    let locking = prepared(tx, working_set::LOCKING).await?;
    let [unfolded, to_be_woken] = prepared(tx, [UNFOLDED, TO_BE_WOKEN]).await?;
    let most = i64::try_from(FOLD_EVENTS_MAX).unwrap_or(i64::MAX);
    let read = async {
        let (events, woken) =
            try_join(tx.query(&unfolded, &[&account.0, &most]), tx.query(&to_be_woken, &[&account.0, &most]))
                .await?;
        Unfolded::read(&events, &woken)
    };
    try_join(working_set::lock_by(tx, &locking, account), read).await
}

/// Writes what was folded, lets those wait in their queues again whose time has come, and reads the queues. False beside
/// them: some are still to stand in line before anybody may be served.
async fn line_up(
    round: &Round<'_>,
    folded: &Folded,
    decided: &mut Decided,
) -> Result<(BTreeMap<QueueKey, Queue>, bool), StoreError> {
    let Round { tx, request, locked, rules } = round;
    let account = request.account;
    let is_paused = decided.pause.is_some();
    let writing = prepared(*tx, working_set::WRITING).await?;
    let [mark, unpark, read] = prepared(*tx, [FOLDED, parks::UNPARK, queues::QUEUES]).await?;
    let end_parks = async { if is_paused { Ok(false) } else { parks::end(round, &unpark).await } };
    let ((), (), left, mut queues) = try_join!(
        working_set::write_by(tx, &writing, account, locked.now, &folded.changes),
        mark_folded(tx, &mark, account, folded.last),
        end_parks,
        queues::read(round, &read),
    )?;
    decided.more |= left;
    let refunds = &folded.changes.refunds;
    turns::give_back(tx, account, refunds).await?;
    let rules_changed = !is_paused && locked.decided_version != rules.version;
    let all_stand_in_line = !is_paused && (!rules_changed || parks::end_exclusions(round).await?);
    decided.more |= !is_paused && !all_stand_in_line;
    if rules_changed || !refunds.is_empty() {
        queues = queues::read(round, &read).await?;
    }
    Ok((queues, all_stand_in_line))
}

async fn mark_folded(
    tx: &Transaction<'_>,
    statement: &Statement,
    account: AccountId,
    last: Option<(i64, Timestamp)>,
) -> Result<(), StoreError> {
    if let Some((seq, at)) = last {
        tx.execute(statement, &[&account.0, &seq, &SystemTime::from(at)]).await?;
    }
    Ok(())
}
