//! Loading the rooms a transaction touches, and writing what the core changed in them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::SystemTime,
};

use deadpool_postgres::Transaction;
use futures_util::{future::try_join, try_join};
use sebastian_core::{
    AccountId, AgentChange, AgentId, Changes, Conversation, QueueKey, RoomId, Rooms, ServiceId, Timestamp,
    Timing,
};
use tokio_postgres::{Row, Statement};

use super::{
    PostgresStore, outbox, prepared,
    rows::{self, Columns},
    turns,
};
use crate::{
    StoreError,
    round::{self, Sorting},
    words::conversation_columns,
};

pub(super) const ALL_SQL: &[&str] = &[
    LOCK,
    NOW,
    UNRESOLVED,
    CLOSED_SERVICES,
    UPDATE,
    ADD_QUEUES,
    INSERT,
    UNSORT,
    ADD_CLOSED_SERVICES,
    ADD_LOADS,
    MOVE_LOADS,
];

/// The decision lock. `NO KEY`, so that it does not stand in the way of rows that refer to the account.
const LOCK: &str = "
    SELECT folded_seq, folded_at, decided, paused_until, pause_reason, failures, rulebook_version, decided_version
    FROM accounts
    WHERE id = $1
    FOR NO KEY UPDATE";

/// Asked after the lock is held: a transaction's own `now()` is from before it waited.
const NOW: &str = "SELECT clock_timestamp() AS now";

/// Index conversations_unresolved, room by room: a plan for all rooms at once may read the whole account. The rows are
/// locked, by room and number as everyone locks conversations: answers are confirmed, reservations taken over and
/// suspects claimed without the account's lock, and what those write between this read and the write that follows
/// must not be lost. $2 rooms, ascending.
const UNRESOLVED: &str = concat!(
    "SELECT found.*
     FROM unnest($2::text[]) AS asked (room_id)
     CROSS JOIN LATERAL (
         SELECT ",
    conversation_columns!(),
    "
         FROM conversations c JOIN queues q ON q.id = c.queue_id
         WHERE c.account_id = $1 AND c.room_id = asked.room_id AND c.state <> 'resolved'
         ORDER BY c.id
         FOR NO KEY UPDATE OF c
     ) found"
);

/// Primary key, room by room.
const CLOSED_SERVICES: &str = "
    SELECT asked.room_id, closed.service_id
    FROM unnest($2::text[]) AS asked (room_id)
    CROSS JOIN LATERAL (
        SELECT service_id
        FROM closed_services
        WHERE account_id = $1 AND room_id = asked.room_id
        OFFSET 0
    ) closed";

/// One array a column. Who served a resolved conversation, and since when, stays on its row.
const UPDATE: &str = "
    UPDATE conversations c
    SET queue_id = q.id,
        traits = u.traits,
        rank = u.rank,
        state = u.state,
        agent_id = CASE u.state WHEN 'resolved' THEN c.agent_id ELSE u.agent_id END,
        status = u.status,
        snoozed_until = u.snoozed_until,
        slot_freed = u.slot_freed,
        attempt = u.attempt,
        deadline_at = u.deadline_at,
        assigned_at = CASE u.state WHEN 'resolved' THEN c.assigned_at ELSE u.assigned_at END,
        closed_at = u.closed_at,
        closed_how = u.closed_how,
        park_until = u.park_until,
        park_reason = u.park_reason,
        last_activity_at = u.last_activity_at,
        service_id = u.service_id,
        opened_with = u.opened_with,
        verify_at = u.verify_at,
        verify_seq = u.verify_seq,
        verify_from = u.verify_from,
        refused = u.refused,
        turn = u.turn,
        replaces_agent = u.replaces_agent,
        refusals = u.refusals,
        hops = u.hops
    FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::jsonb[], $6::timestamptz[], $7::text[], $8::bigint[],
                $9::text[], $10::timestamptz[], $11::boolean[], $12::int[], $13::timestamptz[], $14::timestamptz[],
                $15::timestamptz[], $16::text[], $17::timestamptz[], $18::text[], $19::timestamptz[], $20::text[],
                $21::text[], $22::timestamptz[], $23::bigint[], $24::jsonb[], $25::jsonb[], $26::bigint[],
                $27::timestamptz[], $28::int[], $29::int[])
         AS u (id, inbox_id, team_id, traits, rank, state, agent_id, status, snoozed_until, slot_freed, attempt,
               deadline_at, assigned_at, closed_at, closed_how, park_until, park_reason, last_activity_at, service_id,
               opened_with, verify_at, verify_seq, refused, turn, replaces_agent, verify_from, refusals, hops)
    JOIN queues q ON q.account_id = $1
                 AND COALESCE(q.inbox_id, 0) = COALESCE(u.inbox_id, 0) AND (q.inbox_id IS NULL) = (u.inbox_id IS NULL)
                 AND COALESCE(q.team_id, 0) = COALESCE(u.team_id, 0) AND (q.team_id IS NULL) = (u.team_id IS NULL)
    WHERE c.id = u.id";

/// Index queues_key. Looked for first: a conflict costs a number of the sequence each time. $2 inboxes, $3 teams.
const ADD_QUEUES: &str = "
    INSERT INTO queues (account_id, inbox_id, team_id)
    SELECT $1, inbox_id, team_id
    FROM unnest($2::bigint[], $3::bigint[]) AS u (inbox_id, team_id)
    WHERE NOT EXISTS (
        SELECT FROM queues q
        WHERE q.account_id = $1
          AND COALESCE(q.inbox_id, 0) = COALESCE(u.inbox_id, 0) AND (q.inbox_id IS NULL) = (u.inbox_id IS NULL)
          AND COALESCE(q.team_id, 0) = COALESCE(u.team_id, 0) AND (q.team_id IS NULL) = (u.team_id IS NULL))
    ON CONFLICT DO NOTHING";

/// One array a column, in order of acceptance.
const INSERT: &str = "
    INSERT INTO conversations (account_id, queue_id, room_id, traits, origin, position, rank, state, agent_id, status,
                               snoozed_until, deadline_at, assigned_at, closed_at, closed_how, park_until,
                               park_reason, opened_at, last_activity_at, service_id, opened_with, verify_at,
                               verify_seq, slot_freed, verify_from)
    SELECT $1, q.id, u.room_id, u.traits, u.origin, u.position, u.rank, u.state, u.agent_id, u.status,
           u.snoozed_until, u.deadline_at, u.assigned_at, u.closed_at, u.closed_how, u.park_until, u.park_reason,
           u.opened_at, u.last_activity_at, u.service_id, u.opened_with, u.verify_at, u.verify_seq, u.slot_freed,
           u.verify_from
    FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::jsonb[], $6::text[], $7::bigint[], $8::timestamptz[],
                $9::text[], $10::bigint[], $11::text[], $12::timestamptz[], $13::timestamptz[], $14::timestamptz[],
                $15::timestamptz[], $16::text[], $17::timestamptz[], $18::text[], $19::timestamptz[],
                $20::timestamptz[], $21::text[], $22::text[], $23::timestamptz[], $24::bigint[], $25::boolean[],
                $26::timestamptz[])
         WITH ORDINALITY
         AS u (room_id, inbox_id, team_id, traits, origin, position, rank, state, agent_id, status, snoozed_until,
               deadline_at, assigned_at, closed_at, closed_how, park_until, park_reason, opened_at, last_activity_at,
               service_id, opened_with, verify_at, verify_seq, slot_freed, verify_from, place)
    JOIN queues q ON q.account_id = $1
                 AND COALESCE(q.inbox_id, 0) = COALESCE(u.inbox_id, 0) AND (q.inbox_id IS NULL) = (u.inbox_id IS NULL)
                 AND COALESCE(q.team_id, 0) = COALESCE(u.team_id, 0) AND (q.team_id IS NULL) = (u.team_id IS NULL)
    ORDER BY u.place";

/// Queues that are sorted by something else than what was just put into them. $2 inboxes, $3 teams, $4 sortings.
const UNSORT: &str = "
    UPDATE queues q
    SET sorting = NULL
    FROM unnest($2::bigint[], $3::bigint[], $4::jsonb[]) AS u (inbox_id, team_id, sorting)
    WHERE q.account_id = $1 AND q.sorting <> u.sorting
      AND COALESCE(q.inbox_id, 0) = COALESCE(u.inbox_id, 0) AND (q.inbox_id IS NULL) = (u.inbox_id IS NULL)
      AND COALESCE(q.team_id, 0) = COALESCE(u.team_id, 0) AND (q.team_id IS NULL) = (u.team_id IS NULL)";

const ADD_CLOSED_SERVICES: &str = "
    INSERT INTO closed_services (account_id, room_id, service_id, closed_at)
    SELECT $1, room_id, service_id, $4
    FROM unnest($2::text[], $3::text[]) AS u (room_id, service_id)
    ON CONFLICT DO NOTHING";

const ADD_LOADS: &str = "
    INSERT INTO agent_loads (account_id, agent_id)
    SELECT $1, agent_id
    FROM unnest($2::bigint[]) AS agent_id
    ON CONFLICT DO NOTHING";

const MOVE_LOADS: &str = "
    UPDATE agent_loads l
    SET open = l.open + u.open,
        shift_assignments = GREATEST(0, l.shift_assignments + u.assignments)
    FROM unnest($2::bigint[], $3::int[], $4::int[]) AS u (agent_id, open, assignments)
    WHERE l.account_id = $1 AND l.agent_id = u.agent_id";

/// An account's row, locked.
pub(super) struct Locked {
    pub now: Timestamp,
    pub folded_seq: i64,
    pub folded_at: Timestamp,
    pub decided: i64,
    pub paused_until: Option<Timestamp>,
    pub pause_reason: Option<String>,
    pub failures: u32,
    pub rulebook_version: u64,
    pub decided_version: u64,
}

/// What takes the lock, for [`lock_by`].
pub(super) const LOCKING: [&str; 2] = [LOCK, NOW];

/// Takes the account's decision lock and tells the time after.
pub(super) async fn lock(tx: &Transaction<'_>, account: AccountId) -> Result<Locked, StoreError> {
    let locking = prepared(tx, LOCKING).await?;
    lock_by(tx, &locking, account).await
}

/// The same, sent at the first poll.
pub(super) async fn lock_by(
    tx: &Transaction<'_>,
    [lock, now]: &[Statement; LOCKING.len()],
    account: AccountId,
) -> Result<Locked, StoreError> {
    let (row, now) = try_join(tx.query_one(lock, &[&account.0]), tx.query_one(now, &[])).await?;
    Ok(Locked {
        now: rows::needed(&now, "now")?,
        folded_seq: row.try_get("folded_seq")?,
        folded_at: rows::time(&row, "folded_at")?.unwrap_or_default(),
        decided: row.try_get("decided")?,
        paused_until: rows::time(&row, "paused_until")?,
        pause_reason: row.try_get("pause_reason")?,
        failures: rows::count(&row, "failures")?,
        rulebook_version: rows::version(&row, "rulebook_version")?,
        decided_version: rows::version(&row, "decided_version")?,
    })
}

/// The working set of `rooms`. The account must be locked.
pub(super) async fn load(
    tx: &Transaction<'_>,
    account: AccountId,
    rooms: &BTreeSet<RoomId>,
    now: Timestamp,
    timing: Timing,
) -> Result<Rooms, StoreError> {
    let (unresolved, closed) =
        try_join(tx.prepare_cached(UNRESOLVED), tx.prepare_cached(CLOSED_SERVICES)).await?;
    let names: Vec<&str> = rooms.iter().map(RoomId::as_str).collect();
    let (unresolved, closed) =
        try_join(tx.query(&unresolved, &[&account.0, &names]), tx.query(&closed, &[&account.0, &names]))
            .await?;
    let unresolved = unresolved.iter().map(rows::conversation).collect::<Result<Vec<_>, _>>()?;
    let closed = closed.iter().map(closed_service).collect::<Result<Vec<_>, _>>()?;
    Ok(Rooms::new(now, timing, unresolved, closed))
}

fn closed_service(row: &Row) -> Result<(RoomId, ServiceId), StoreError> {
    let service = ServiceId::parse(row.try_get("service_id")?);
    let service = service.map_err(|e| StoreError::Broken("column service_id".into(), Some(e.into())))?;
    Ok((rows::room(row)?, service))
}

/// Statements that write changes, for [`write_by`].
pub(super) const WRITING: [&str; 7] =
    [ADD_QUEUES, UPDATE, INSERT, ADD_CLOSED_SERVICES, ADD_LOADS, MOVE_LOADS, outbox::POST];

/// Writes what the core changed.
pub(super) async fn write(
    tx: &Transaction<'_>,
    account: AccountId,
    now: Timestamp,
    changes: &Changes,
) -> Result<(), StoreError> {
    let writing = prepared(tx, WRITING).await?;
    write_by(tx, &writing, account, now, changes).await?;
    turns::give_back(tx, account, &changes.refunds).await
}

/// The same apart from refunds, sent at the first poll: whatever is polled after it finds it written.
pub(super) async fn write_by(
    tx: &Transaction<'_>,
    writing: &[Statement; WRITING.len()],
    account: AccountId,
    now: Timestamp,
    changes: &Changes,
) -> Result<(), StoreError> {
    let [queues, update, insert, closed_services, add_loads, move_loads, post] = writing;
    try_join!(
        add_queues(tx, queues, account, changes),
        self::update(tx, update, account, &changes.updated),
        self::insert(tx, insert, account, &changes.opened),
        add_closed_services(tx, closed_services, account, now, &changes.closed_services),
        self::move_loads(tx, [add_loads, move_loads], account, &changes.agents),
        outbox::post(tx, post, account, &changes.notices),
    )?;
    Ok(())
}

async fn add_queues(
    tx: &Transaction<'_>,
    statement: &Statement,
    account: AccountId,
    changes: &Changes,
) -> Result<(), StoreError> {
    let (inboxes, teams) = queues_of(changes.opened.iter().chain(&changes.updated));
    if !inboxes.is_empty() {
        tx.execute(statement, &[&account.0, &inboxes, &teams]).await?;
    }
    Ok(())
}

/// Inboxes and teams of the queues of `conversations`, each queue once.
fn queues_of<'a>(
    conversations: impl Iterator<Item = &'a Conversation>,
) -> (Vec<Option<i64>>, Vec<Option<i64>>) {
    let queues: BTreeSet<QueueKey> = conversations.map(round::queue_of).collect();
    queues.into_iter().map(|key| (key.inbox.map(|inbox| inbox.0), key.team.map(|team| team.0))).unzip()
}

async fn update(
    tx: &Transaction<'_>,
    statement: &Statement,
    account: AccountId,
    changed: &[Conversation],
) -> Result<(), StoreError> {
    if changed.is_empty() {
        return Ok(());
    }
    let c = Columns::of(changed)?;
    let written = tx
        .execute(
            statement,
            &[
                &account.0,
                &c.id,
                &c.inbox,
                &c.team,
                &c.traits,
                &c.rank,
                &c.state,
                &c.agent,
                &c.status,
                &c.snoozed_until,
                &c.slot_freed,
                &c.attempt,
                &c.deadline_at,
                &c.assigned_at,
                &c.closed_at,
                &c.closed_how,
                &c.park_until,
                &c.park_reason,
                &c.last_activity_at,
                &c.service,
                &c.opened_with,
                &c.verify_at,
                &c.verify_seq,
                &c.refused,
                &c.turn,
                &c.replaces,
                &c.verify_from,
                &c.refusals,
                &c.hops,
            ],
        )
        .await?;
    all_written(written, changed)
}

/// Rows are joined with their queues: one whose queue is missing would be left out without a word.
fn all_written(written: u64, conversations: &[Conversation]) -> Result<(), StoreError> {
    if written == conversations.len() as u64 {
        return Ok(());
    }
    let all = conversations.len();
    Err(StoreError::Broken(format!("{written} of {all} conversations were written"), None))
}

async fn insert(
    tx: &Transaction<'_>,
    statement: &Statement,
    account: AccountId,
    opened: &[Conversation],
) -> Result<(), StoreError> {
    if opened.is_empty() {
        return Ok(());
    }
    let c = Columns::of(opened)?;
    let written = tx
        .execute(
            statement,
            &[
                &account.0,
                &c.room,
                &c.inbox,
                &c.team,
                &c.traits,
                &c.origin,
                &c.position,
                &c.rank,
                &c.state,
                &c.agent,
                &c.status,
                &c.snoozed_until,
                &c.deadline_at,
                &c.assigned_at,
                &c.closed_at,
                &c.closed_how,
                &c.park_until,
                &c.park_reason,
                &c.opened_at,
                &c.last_activity_at,
                &c.service,
                &c.opened_with,
                &c.verify_at,
                &c.verify_seq,
                &c.slot_freed,
                &c.verify_from,
            ],
        )
        .await?;
    all_written(written, opened)
}

/// Another process may go by another policy than this one, which gave ranks by `sortings`: the next decision sorts the
/// queues of both anew.
async fn unsort(
    tx: &Transaction<'_>,
    account: AccountId,
    sortings: &BTreeMap<QueueKey, Sorting>,
) -> Result<(), StoreError> {
    if sortings.is_empty() {
        return Ok(());
    }
    let inboxes: Vec<Option<i64>> = sortings.keys().map(|key| key.inbox.map(|inbox| inbox.0)).collect();
    let teams: Vec<Option<i64>> = sortings.keys().map(|key| key.team.map(|team| team.0)).collect();
    let sortings = sortings.values().map(rows::json).collect::<Result<Vec<_>, _>>()?;
    let statement = tx.prepare_cached(UNSORT).await?;
    tx.execute(&statement, &[&account.0, &inboxes, &teams, &sortings]).await?;
    Ok(())
}

async fn add_closed_services(
    tx: &Transaction<'_>,
    statement: &Statement,
    account: AccountId,
    now: Timestamp,
    closed: &[(RoomId, ServiceId)],
) -> Result<(), StoreError> {
    if closed.is_empty() {
        return Ok(());
    }
    let rooms: Vec<&str> = closed.iter().map(|(room, _)| room.as_str()).collect();
    let services: Vec<&str> = closed.iter().map(|(_, service)| service.as_str()).collect();
    tx.execute(statement, &[&account.0, &rooms, &services, &SystemTime::from(now)]).await?;
    Ok(())
}

async fn move_loads(
    tx: &Transaction<'_>,
    [add, change]: [&Statement; 2],
    account: AccountId,
    moved: &BTreeMap<AgentId, AgentChange>,
) -> Result<(), StoreError> {
    if moved.is_empty() {
        return Ok(());
    }
    let agents: Vec<i64> = moved.keys().map(|agent| agent.0).collect();
    let open: Vec<i32> = moved.values().map(|change| change.open).collect();
    let assignments: Vec<i32> = moved.values().map(|change| change.assignments).collect();
    try_join(
        tx.execute(add, &[&account.0, &agents]),
        tx.execute(change, &[&account.0, &agents, &open, &assignments]),
    )
    .await?;
    Ok(())
}

impl PostgresStore {
    /// Runs a core rule over the unresolved conversations of `rooms`, under the account's lock, and writes what it
    /// changed.
    pub(super) async fn with_rooms<T>(
        &self,
        tx: Transaction<'_>,
        account: AccountId,
        locked: &Locked,
        rooms: &BTreeSet<RoomId>,
        rule: impl FnOnce(&mut Rooms) -> T + Send,
    ) -> Result<T, StoreError> {
        let mut working_set = load(&tx, account, rooms, locked.now, self.timing).await?;
        let rules = self.rules(&tx, account, locked.rulebook_version).await?;
        let policy = self.policy_of(account);
        working_set = working_set.governed_by(rules.clone(), &policy);
        let answer = rule(&mut working_set);
        let changes = working_set.finish();
        Box::pin(write(&tx, account, locked.now, &changes)).await?;
        unsort(&tx, account, &round::sortings(&changes, &rules, &policy, locked.now)).await?;
        if !changes.updated.is_empty() {
            crate::crash_point!("recording");
        }
        tx.commit().await?;
        Ok(answer)
    }
}
