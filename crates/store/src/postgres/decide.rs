//! Folding, deciding and reserving: one transaction under the account's lock.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::SystemTime,
};

use deadpool_postgres::Transaction;
use futures_util::future::try_join3;
use sebastian_core::{
    AccountId, AgentId, AgentLoad, ConversationId, Decision, Event, Head, InboxId, Outcome, Park, ParkReason,
    RoomId, Roster, Rotation, Seq, Snapshot, Timestamp, decide::free_slots,
};
use tokio_postgres::Row;

use super::{
    PostgresStore, questions, rows,
    working_set::{self, Locked},
};
use crate::{
    Attempt, Decide, DecideRule, Decided, Pause, PauseReason, Reservation, StoreError,
    port::{FOLD_EVENTS_MAX, SPARE_HEADS},
};

pub(super) const ALL_SQL: &[&str] =
    &[UNFOLDED, FOLDED, UNPARK, QUEUES, HEADS, RESERVE, ADD_LOADS, PARK, DECIDED];

/// Primary key of events. $2 most events.
const UNFOLDED: &str = "
    SELECT e.seq, e.received_at, e.kind, e.source, e.room_id, e.inbox_id, e.service_id, e.service_resolved
    FROM events e
    WHERE e.account_id = $1 AND e.seq > (SELECT folded_seq FROM accounts WHERE id = $1)
    ORDER BY e.seq
    LIMIT $2";

const FOLDED: &str = "UPDATE accounts SET folded_seq = $2 WHERE id = $1";

/// Index conversations_parked.
const UNPARK: &str = "
    UPDATE conversations
    SET park_until = NULL, park_reason = NULL, verify_at = NULL
    WHERE account_id = $1 AND state = 'waiting' AND park_until <= $2";

const QUEUES: &str = "
    SELECT id, inbox_id, turn_agents, turns
    FROM queues
    WHERE account_id = $1";

/// The first $2 of each queue, merged by place. Index conversations_heads.
const HEADS: &str = "
    SELECT c.id, c.room_id, q.inbox_id, c.position, c.opened_at, c.refused
    FROM queues q
    CROSS JOIN LATERAL (
        SELECT id, room_id, position, opened_at, refused
        FROM conversations
        WHERE queue_id = q.id AND state = 'waiting' AND park_until IS NULL
        ORDER BY position
        LIMIT $2
    ) c
    WHERE q.account_id = $1
    ORDER BY c.position, c.id";

/// $1 deadline, $2 first reservations so far, $3 conversations, $4 agents, $5 turn charges; in order of decision.
const RESERVE: &str = "
    UPDATE conversations c
    SET state = 'reserved',
        agent_id = u.agent_id,
        attempt = c.attempt + 1,
        takeovers = 0,
        deadline_at = $1,
        turn_charge = u.turn_charge,
        decided_no = COALESCE(c.decided_no, $2 + u.place)
    FROM unnest($3::bigint[], $4::bigint[], $5::bigint[]) WITH ORDINALITY AS u (id, agent_id, turn_charge, place)
    WHERE c.id = u.id AND c.state = 'waiting'
    RETURNING c.id, c.attempt";

/// $2 agents, $3 slots taken, $4 shifts, $5 now.
const ADD_LOADS: &str = "
    INSERT INTO agent_loads (account_id, agent_id, open, shift, shift_assignments, last_assigned_at)
    SELECT $1, agent_id, slots, shift, slots, $5
    FROM unnest($2::bigint[], $3::int[], $4::timestamptz[]) AS u (agent_id, slots, shift)
    ON CONFLICT (account_id, agent_id) DO UPDATE
    SET open = agent_loads.open + EXCLUDED.open,
        shift_assignments = EXCLUDED.shift_assignments
            + CASE WHEN agent_loads.shift IS NOT DISTINCT FROM EXCLUDED.shift THEN agent_loads.shift_assignments ELSE 0 END,
        shift = EXCLUDED.shift,
        last_assigned_at = EXCLUDED.last_assigned_at";

const PARK: &str = "
    UPDATE conversations
    SET park_until = $2, park_reason = $3
    WHERE id = $1 AND state = 'waiting'";

const DECIDED: &str = "UPDATE accounts SET decided = decided + $2 WHERE id = $1";

/// A slot to take, as the rule chose it.
struct Choice<'a> {
    head: &'a Head,
    agent: AgentId,
    turn_charge: i64,
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
        let folded = self.fold(&tx, request.account, &locked).await?;
        let mut decided = Decided {
            folded: u32::try_from(folded).unwrap_or(u32::MAX),
            more: folded == FOLD_EVENTS_MAX,
            pause: pause(locked.paused_until, locked.pause_reason.as_deref(), locked.now),
            failures: locked.failures,
            ..Decided::default()
        };
        if decided.pause.is_none() {
            self.reserve(&tx, request, rule, &locked, &mut decided).await?;
        }
        tx.commit().await?;
        Ok(decided)
    }

    /// Folds accepted events into conversations. Returns how many.
    async fn fold(
        &self,
        tx: &Transaction<'_>,
        account: AccountId,
        locked: &Locked,
    ) -> Result<usize, StoreError> {
        let unfolded = tx.prepare_cached(UNFOLDED).await?;
        let most = i64::try_from(FOLD_EVENTS_MAX).unwrap_or(i64::MAX);
        let found = tx.query(&unfolded, &[&account.0, &most]).await?;
        let events = found.iter().map(rows::event).collect::<Result<Vec<Event>, _>>()?;
        let Some(last) = events.last() else { return Ok(0) };
        debug_assert!(last.seq.0 > locked.folded_seq, "an event is folded once");

        let rooms: BTreeSet<RoomId> = events.iter().map(|event| event.room.clone()).collect();
        let mut working_set = working_set::load(tx, account, &rooms, locked.now, self.timing).await?;
        events.iter().for_each(|event| working_set.apply(event));
        working_set::write(tx, account, locked.now, &working_set.finish()).await?;
        let statement = tx.prepare_cached(FOLDED).await?;
        tx.execute(&statement, &[&account.0, &last.seq.0]).await?;
        Ok(events.len())
    }

    async fn reserve(
        &self,
        tx: &Transaction<'_>,
        request: &Decide<'_>,
        rule: DecideRule<'_>,
        locked: &Locked,
        decided: &mut Decided,
    ) -> Result<(), StoreError> {
        let (account, now) = (request.account, locked.now);
        let unpark = tx.prepare_cached(UNPARK).await?;
        tx.execute(&unpark, &[&account.0, &SystemTime::from(now)]).await?;

        let limit = if locked.failures > 0 { request.limit.min(1) } else { request.limit };
        let loads = self.loads_for(tx, account, &request.roster).await?;
        let slots = free_slots(&request.roster, &loads, request.policy, now).min(limit);
        if slots == 0 {
            return Ok(());
        }
        let queues = queues(tx, account).await?;
        let waiting = heads(tx, account, slots).await?;
        if waiting.is_empty() {
            return Ok(());
        }
        let rotations = queues.iter().map(|(inbox, queue)| (*inbox, queue.rotation.clone())).collect();
        let (roster, answers) = (request.roster.clone(), request.answers.clone());
        let snapshot = Snapshot { roster, loads, answers, waiting, rotations, limit };
        let decisions = rule(&snapshot, now);
        self.apply(tx, locked, account, &queues, &snapshot, &decisions, decided).await?;
        decided.more |= locked.failures == 0 && decided.reserved.len() == limit as usize;
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "all of one transaction")]
    async fn apply(
        &self,
        tx: &Transaction<'_>,
        locked: &Locked,
        account: AccountId,
        queues: &BTreeMap<Option<InboxId>, Queue>,
        snapshot: &Snapshot,
        decisions: &[Decision],
        decided: &mut Decided,
    ) -> Result<(), StoreError> {
        let heads: HashMap<ConversationId, &Head> =
            snapshot.waiting.iter().map(|head| (head.conversation, head)).collect();
        let mut choices = Vec::new();
        for decision in decisions {
            let Some(head) = heads.get(&decision.conversation).copied() else { continue };
            match decision.outcome {
                Outcome::Reserve { agent, turn_charge } => choices.push(Choice { head, agent, turn_charge }),
                Outcome::Ask => decided.ask.push(head.room.clone()),
                Outcome::Park(park) => set_park(tx, head.conversation, park).await?,
                Outcome::Pass => {}
            }
            if let Some((inbox, turns)) = &decision.rotation
                && let Some(queue) = queues.get(inbox)
            {
                working_set::set_rotation(tx, queue.id, turns).await?;
            }
        }
        if !choices.is_empty() {
            decided.reserved = self.take_slots(tx, locked, account, &choices, &snapshot.roster).await?;
        }
        Ok(())
    }

    async fn take_slots(
        &self,
        tx: &Transaction<'_>,
        locked: &Locked,
        account: AccountId,
        choices: &[Choice<'_>],
        roster: &Roster,
    ) -> Result<Vec<Reservation>, StoreError> {
        let (reserve, add_loads, counted) =
            try_join3(tx.prepare_cached(RESERVE), tx.prepare_cached(ADD_LOADS), tx.prepare_cached(DECIDED))
                .await?;
        let now = locked.now;
        let deadline = SystemTime::from(now + self.timing.reservation);
        let ids: Vec<i64> = choices.iter().map(|choice| choice.head.conversation.0).collect();
        let agents: Vec<i64> = choices.iter().map(|choice| choice.agent.0).collect();
        let charges: Vec<i64> = choices.iter().map(|choice| choice.turn_charge).collect();
        let places = i64::try_from(choices.len()).unwrap_or(i64::MAX);

        let mut slots: BTreeMap<AgentId, i32> = BTreeMap::new();
        choices.iter().for_each(|choice| *slots.entry(choice.agent).or_default() += 1);
        let online_since =
            |agent| roster.agent(agent).and_then(|agent| agent.online_since).map(SystemTime::from);
        let shifts: Vec<Option<SystemTime>> = slots.keys().map(|agent| online_since(*agent)).collect();
        let (takers, taken): (Vec<i64>, Vec<i32>) =
            slots.into_iter().map(|(agent, taken)| (agent.0, taken)).unzip();

        let clock = SystemTime::from(now);
        let (reserved, _, _) = try_join3(
            tx.query(&reserve, &[&deadline, &locked.decided, &ids, &agents, &charges]),
            tx.execute(&add_loads, &[&account.0, &takers, &taken, &shifts, &clock]),
            tx.execute(&counted, &[&account.0, &places]),
        )
        .await?;
        let mut attempts = HashMap::with_capacity(reserved.len());
        for row in &reserved {
            attempts.insert(ConversationId(row.try_get("id")?), rows::count(row, "attempt")?);
        }
        choices.iter().map(|choice| reservation(choice, &attempts, now)).collect()
    }

    /// Loads, with what closed recently for those agents whom the platform credits with more than we know of.
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
        questions::add_closed_recently(tx, account, &suspects, since, &mut loads).await?;
        Ok(loads)
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

fn reservation(
    choice: &Choice<'_>,
    attempts: &HashMap<ConversationId, u32>,
    now: Timestamp,
) -> Result<Reservation, StoreError> {
    let Choice { head, agent, .. } = choice;
    let conversation = head.conversation;
    let number = *attempts.get(&conversation).ok_or_else(|| {
        StoreError::Broken(
            format!("conversation {conversation} left its queue under the account's lock"),
            None,
        )
    })?;
    Ok(Reservation {
        attempt: Attempt { conversation, number },
        room: head.room.clone(),
        agent: *agent,
        opened_at: head.opened_at,
        reserved_at: now,
        takeovers: 0,
    })
}

async fn set_park(tx: &Transaction<'_>, id: ConversationId, park: Park) -> Result<(), StoreError> {
    let statement = tx.prepare_cached(PARK).await?;
    let why = match park.why {
        ParkReason::PreviousClosing => "previous_closing",
        ParkReason::NobodyEligible => "nobody_eligible",
        ParkReason::Doubted => "doubted",
        ParkReason::Refused => "refused",
    };
    tx.execute(&statement, &[&id.0, &SystemTime::from(park.until), &why]).await?;
    Ok(())
}

struct Queue {
    id: i64,
    rotation: Rotation,
}

async fn queues(
    tx: &Transaction<'_>,
    account: AccountId,
) -> Result<BTreeMap<Option<InboxId>, Queue>, StoreError> {
    let statement = tx.prepare_cached(QUEUES).await?;
    let found = tx.query(&statement, &[&account.0]).await?;
    let queue = |row: &Row| {
        let inbox = row.try_get::<_, Option<i64>>("inbox_id")?.map(InboxId);
        Ok((inbox, Queue { id: row.try_get("id")?, rotation: working_set::rotation(row)? }))
    };
    found.iter().map(queue).collect()
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
        inbox: row.try_get::<_, Option<i64>>("inbox_id")?.map(InboxId),
        position: Seq(row.try_get("position")?),
        opened_at: rows::needed(row, "opened_at")?,
        refused: rows::refused(&row.try_get("refused")?)?,
    })
}
