//! Folding, sorting, deciding and reserving: one transaction under the account's lock.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::SystemTime,
};

use deadpool_postgres::Transaction;
use futures_util::future::try_join;
use sebastian_core::{
    AccountId, AgentId, AgentLoad, ConversationId, Decision, Event, Head, Outcome, Park, QueueKey, RoomId,
    Roster, Rotation, Rulebook, Seq, Snapshot, Timestamp, decide::free_slots, notice,
};
use tokio_postgres::Row;

use super::{
    PostgresStore, outbox, questions, records, rows,
    slots::{self, Choice},
    turns,
    working_set::{self, Locked},
};
use crate::{
    Decide, DecideRule, Decided, Pause, PauseReason, StoreError,
    port::{FOLD_EVENTS_MAX, SPARE_HEADS},
    round::{self, Sorting},
};

pub(super) const ALL_SQL: &[&str] =
    &[UNFOLDED, TO_BE_WOKEN, FOLDED, UNPARK, UNPARK_EXCLUDED, SEEN, QUEUES, SORT, SORTED, HEADS, PARK];

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

/// Index conversations_parked. Who is snoozed is woken instead.
const UNPARK: &str = "
    UPDATE conversations
    SET park_until = NULL, park_reason = NULL, verify_at = NULL
    WHERE account_id = $1 AND state = 'waiting' AND park_until <= $2 AND park_reason <> 'snoozed'";

/// Index conversations_parked.
const UNPARK_EXCLUDED: &str = "
    UPDATE conversations
    SET park_until = NULL, park_reason = NULL
    WHERE account_id = $1 AND state = 'waiting' AND park_until IS NOT NULL AND park_reason = 'excluded'";

const SEEN: &str = "UPDATE accounts SET decided_version = $2 WHERE id = $1";

const QUEUES: &str = "
    SELECT id, inbox_id, team_id, turn_agents, turns, sorting
    FROM queues
    WHERE account_id = $1";

/// Ranks all of a queue by $3, a sorting, as `order::key` in the core does. Rows are locked by room and number, as
/// everyone locks conversations. Index conversations_unresolved. $2 queue.
const SORT: &str = "
    WITH misplaced AS (
        SELECT c.id, k.key
        FROM conversations c
        CROSS JOIN LATERAL (
            SELECT CASE $3::jsonb ->> 'order'
                   WHEN 'earliest_created' THEN c.opened_at
                   WHEN 'longest_waiting' THEN c.last_activity_at
                   WHEN 'priority' THEN c.opened_at - make_interval(
                       secs => COALESCE(($3::jsonb -> 'boost' ->> (c.traits ->> 'priority'))::float8, 0))
                   END AS key
        ) k
        WHERE c.account_id = $1 AND c.queue_id = $2 AND c.state <> 'resolved' AND c.rank <> k.key
        ORDER BY c.room_id COLLATE \"C\", c.id
        FOR NO KEY UPDATE OF c
    )
    UPDATE conversations c
    SET rank = misplaced.key
    FROM misplaced
    WHERE c.id = misplaced.id";

const SORTED: &str = "UPDATE queues SET sorting = $2 WHERE id = $1";

/// The first $2 of each queue, merged by rank and place. Index conversations_heads.
const HEADS: &str = "
    SELECT c.id, c.room_id, q.inbox_id, q.team_id, c.traits, c.rank, c.position, c.opened_at, c.last_activity_at,
           c.refused
    FROM queues q
    CROSS JOIN LATERAL (
        SELECT id, room_id, traits, rank, position, opened_at, last_activity_at, refused
        FROM conversations
        WHERE queue_id = q.id AND state = 'waiting' AND park_until IS NULL
        ORDER BY rank, position
        LIMIT $2
    ) c
    WHERE q.account_id = $1
    ORDER BY c.rank, c.position, c.id";

const PARK: &str = "
    UPDATE conversations
    SET park_until = $2, park_reason = $3
    WHERE id = $1 AND state = 'waiting'";

/// A decision under way: its transaction, and what it goes by.
struct Round<'a> {
    tx: &'a Transaction<'a>,
    request: &'a Decide<'a>,
    locked: &'a Locked,
    rules: Arc<Rulebook>,
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
        self.remember(request.account, request.policy);
        let round = Round { tx: &tx, request, locked: &locked, rules };
        let (folded, more) = self.fold(&round).await?;
        let queues = round.queues().await?;
        round.sort(&queues).await?;
        let mut decided = Decided {
            folded: u32::try_from(folded).unwrap_or(u32::MAX),
            more,
            pause: pause(locked.paused_until, locked.pause_reason.as_deref(), locked.now),
            failures: locked.failures,
            ..Decided::default()
        };
        if decided.pause.is_none() {
            round.unpark().await?;
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
        let waiting = heads(tx, account, slots).await?;
        if waiting.is_empty() {
            return Ok(());
        }
        let fair = round::fair_inboxes(rules, policy, waiting.iter().map(|head| head.inbox), now);
        let counts_by_inbox = round::counts_by_inbox(rules, policy);
        let snapshot = Snapshot {
            roster: request.roster.clone(),
            loads,
            inbox_loads: if counts_by_inbox {
                questions::inbox_loads(*tx, account).await?
            } else {
                BTreeMap::new()
            },
            windows: turns::windows(*tx, account, fair.into_keys()).await?,
            answers: request.answers.clone(),
            waiting,
            rotations: queues.iter().map(|(key, queue)| (*key, queue.rotation.clone())).collect(),
            rules: rules.clone(),
            limit,
        };
        let decisions = rule(&snapshot, now);
        let parked = self.carry_out(round, queues, &snapshot, &decisions, decided).await?;
        let filled = notice::filled(&snapshot, policy, &decisions, now);
        let recorded = async {
            if request.record {
                records::keep(tx, account, policy, &snapshot, &decisions, &decided.reserved, now).await?;
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
        let heads: HashMap<ConversationId, &Head> =
            snapshot.waiting.iter().map(|head| (head.conversation, head)).collect();
        let (mut choices, mut parked) = (Vec::new(), false);
        for decision in decisions {
            let Some(head) = heads.get(&decision.conversation).copied() else { continue };
            match decision.outcome {
                Outcome::Reserve { agent, turn_charge, window } => {
                    choices.push(Choice { head, agent, turn_charge, window });
                }
                Outcome::Ask => decided.ask.push(head.room.clone()),
                Outcome::Park(park) => {
                    set_park(tx, head.conversation, park).await?;
                    parked = true;
                }
                Outcome::Pass => {}
            }
            if let Some((key, rotation)) = &decision.rotation
                && let Some(queue) = queues.get(key)
            {
                turns::set_rotation(tx, queue.id, rotation).await?;
            }
        }
        if !choices.is_empty() {
            let account = round.request.account;
            decided.reserved =
                slots::take(tx, account, round.locked, &choices, snapshot, self.timing.reservation).await?;
        }
        Ok(parked)
    }

    /// Loads, with what explains the count of those agents whom the platform credits with more than they hold here.
    async fn loads_for(
        &self,
        tx: &Transaction<'_>,
        account: AccountId,
        roster: &Roster,
    ) -> Result<BTreeMap<AgentId, AgentLoad>, StoreError> {
        let mut loads = questions::loads(tx, account).await?;
        let open = |agent| loads.get(&agent).map_or(0, |load| load.open);
        let suspects = roster.agents.iter().filter(|agent| !agent.listed);
        let suspects =
            suspects.filter(|agent| agent.reported_load.is_none_or(|reported| reported > open(agent.id)));
        let suspects: Vec<i64> = suspects.map(|agent| agent.id.0).collect();
        let since = roster.polled_at - self.timing.settle_window;
        questions::add_counted_beside(tx, account, &suspects, since, &mut loads).await?;
        Ok(loads)
    }
}

impl Round<'_> {
    async fn queues(&self) -> Result<BTreeMap<QueueKey, Queue>, StoreError> {
        let statement = self.tx.prepare_cached(QUEUES).await?;
        let found = self.tx.query(&statement, &[&self.request.account.0]).await?;
        let queue = |row: &Row| {
            let queue = Queue {
                id: row.try_get("id")?,
                rotation: turns::rotation(row)?,
                sorting: rows::parsed(row, "sorting")?,
            };
            Ok((rows::queue(row)?, queue))
        };
        found.iter().map(queue).collect()
    }

    /// Sorts queues anew that are sorted by something else than the rules say.
    async fn sort(&self, queues: &BTreeMap<QueueKey, Queue>) -> Result<(), StoreError> {
        for (key, queue) in queues {
            let sorting = Sorting::of(&self.rules, self.request.policy, *key, self.locked.now);
            if queue.sorting == Some(sorting) {
                continue;
            }
            let sorting = rows::json(&sorting)?;
            let (sort, sorted) =
                try_join(self.tx.prepare_cached(SORT), self.tx.prepare_cached(SORTED)).await?;
            try_join(
                self.tx.execute(&sort, &[&self.request.account.0, &queue.id, &sorting]),
                self.tx.execute(&sorted, &[&queue.id, &sorting]),
            )
            .await?;
        }
        Ok(())
    }

    /// Lets conversations wait in their queues whose time has come, and after a change of the rules all that these kept
    /// out.
    async fn unpark(&self) -> Result<(), StoreError> {
        let (tx, account) = (self.tx, self.request.account);
        let unpark = tx.prepare_cached(UNPARK).await?;
        tx.execute(&unpark, &[&account.0, &SystemTime::from(self.locked.now)]).await?;
        if self.locked.decided_version != self.rules.version {
            let version = i64::try_from(self.rules.version).unwrap_or(i64::MAX);
            let (excluded, seen) =
                try_join(tx.prepare_cached(UNPARK_EXCLUDED), tx.prepare_cached(SEEN)).await?;
            try_join(tx.execute(&excluded, &[&account.0]), tx.execute(&seen, &[&account.0, &version]))
                .await?;
        }
        Ok(())
    }
}

/// The pause that an account's row tells of, unless it is over.
pub(super) fn pause(until: Option<Timestamp>, reason: Option<&str>, now: Timestamp) -> Option<Pause> {
    let until = until.filter(|until| *until > now)?;
    let reason = match reason {
        Some("denied") => PauseReason::Denied,
        Some(_) | None => PauseReason::Busy,
    };
    Some(Pause { until, reason })
}

async fn set_park(tx: &Transaction<'_>, id: ConversationId, park: Park) -> Result<(), StoreError> {
    let statement = tx.prepare_cached(PARK).await?;
    let why = rows::park_reason_name(park.why);
    tx.execute(&statement, &[&id.0, &SystemTime::from(park.until), &why]).await?;
    Ok(())
}

struct Queue {
    id: i64,
    rotation: Rotation,
    sorting: Option<Sorting>,
}

async fn heads(tx: &Transaction<'_>, account: AccountId, slots: u32) -> Result<Vec<Head>, StoreError> {
    let statement = tx.prepare_cached(HEADS).await?;
    let most = i64::from(slots) + i64::try_from(SPARE_HEADS).unwrap_or(i64::MAX);
    let found = tx.query(&statement, &[&account.0, &most]).await?;
    found.iter().map(head).collect()
}

fn head(row: &Row) -> Result<Head, StoreError> {
    Ok(Head {
        conversation: ConversationId(row.try_get("id")?),
        room: rows::room(row)?,
        inbox: rows::queue(row)?.inbox,
        traits: rows::traits(row)?,
        rank: rows::needed(row, "rank")?,
        position: Seq(row.try_get("position")?),
        opened_at: rows::needed(row, "opened_at")?,
        last_activity_at: rows::needed(row, "last_activity_at")?,
        refused: rows::refused(&row.try_get("refused")?)?,
    })
}
