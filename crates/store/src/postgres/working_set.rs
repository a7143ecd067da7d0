//! Loading the rooms a transaction touches, and writing what the core changed in them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::SystemTime,
};

use deadpool_postgres::Client;
use futures_util::{future::try_join, try_join};
use sebastian_core::{
    AccountId, Changes, Conversation, QueueKey, RoomId, Rooms, ServiceId, Timestamp, Timing,
};
use tokio_postgres::{Row, Statement};

use super::{
    PostgresStore, loads, outbox,
    rows::{self, Columns},
    transaction::Transaction,
    turns,
};
use crate::{
    StoreError,
    round::{self, Sorting},
    words::conversation_columns,
};

macro_rules! rooms {
    ($asked:expr) => {
        concat!(
            "SELECT found.*, asked.room_id AS asked_room_id,
                    ARRAY (
                        SELECT service_id
                        FROM closed_services
                        WHERE account_id = $1 AND room_id = asked.room_id
                    ) AS closed_services
             FROM ",
            $asked,
            "
             LEFT JOIN LATERAL (
                 SELECT ",
            conversation_columns!(),
            "
                 FROM conversations c JOIN queues q ON q.id = c.queue_id
                 WHERE c.account_id = $1 AND c.room_id = asked.room_id AND c.state <> 'resolved'
                 ORDER BY c.id
                 FOR NO KEY UPDATE OF c
             ) found ON TRUE"
        )
    };
}

/// Rooms that unfolded events name, and those to be woken. More may have come since the events were read: a room too many is
/// read in vain.
macro_rules! unfolded {
    () => {
        "(
            SELECT room_id
            FROM (
                (SELECT room_id
                 FROM events
                 WHERE account_id = $1 AND seq > (SELECT folded_seq FROM accounts WHERE id = $1)
                 ORDER BY seq
                 LIMIT $2)
                UNION
                (SELECT room_id
                 FROM conversations
                 WHERE account_id = $1 AND state <> 'resolved' AND snoozed_until <= (SELECT clock_timestamp())
                 ORDER BY snoozed_until
                 LIMIT $2)
            ) named
            ORDER BY room_id COLLATE \"C\"
        ) asked"
    };
}

pub(super) const ALL_SQL: &[&str] =
    &[LOCK, NOW, ROOMS, ROOMS_UNFOLDED, UPDATE, ADD_QUEUES, INSERT, UNSORT, ADD_CLOSED_SERVICES];

/// The decision lock. `NO KEY`, so that it does not stand in the way of rows that refer to the account. Whoever subscribes
/// while it is held is told of what comes after.
pub(super) const LOCK: &str = "
    SELECT folded_seq, folded_at, decided, paused_until, pause_reason, failures, rulebook_version, decided_version,
           EXISTS (SELECT FROM subscriptions WHERE account_id = $1 AND disabled IS NULL) AS is_heard
    FROM accounts
    WHERE id = $1
    FOR NO KEY UPDATE";

/// Asked after the lock is held: a transaction's own `now()` is from before it waited.
const NOW: &str = "SELECT clock_timestamp() AS now";

/// What is open in each room, and the sessions of it that are over. Index conversations_unresolved, and primary key of
/// closed_services, room by room: a plan for all rooms at once may read the whole account. The rows are locked, by room and
/// number as everyone locks conversations: answers are confirmed, reservations taken over and suspects claimed without the
/// account's lock, and what those write between this read and the write that follows must not be lost. $2 rooms, ascending.
const ROOMS: &str = rooms!("unnest($2::text[]) AS asked (room_id)");

/// The same of what is to be folded. $2 most events, and most rooms to be woken.
pub(super) const ROOMS_UNFOLDED: &str = rooms!(unfolded!());

/// One array a column; in the select list, as each would fill a table of its own in `FROM`. Who served a resolved
/// conversation, and since when, stays on its row.
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
    FROM (
        SELECT unnest($2::bigint[]) AS id, unnest($3::bigint[]) AS inbox_id, unnest($4::bigint[]) AS team_id,
               unnest($5::jsonb[]) AS traits, unnest($6::timestamptz[]) AS rank, unnest($7::text[]) AS state,
               unnest($8::bigint[]) AS agent_id, unnest($9::text[]) AS status,
               unnest($10::timestamptz[]) AS snoozed_until, unnest($11::boolean[]) AS slot_freed,
               unnest($12::int[]) AS attempt, unnest($13::timestamptz[]) AS deadline_at,
               unnest($14::timestamptz[]) AS assigned_at, unnest($15::timestamptz[]) AS closed_at,
               unnest($16::text[]) AS closed_how, unnest($17::timestamptz[]) AS park_until,
               unnest($18::text[]) AS park_reason, unnest($19::timestamptz[]) AS last_activity_at,
               unnest($20::text[]) AS service_id, unnest($21::text[]) AS opened_with,
               unnest($22::timestamptz[]) AS verify_at, unnest($23::bigint[]) AS verify_seq,
               unnest($24::jsonb[]) AS refused, unnest($25::jsonb[]) AS turn, unnest($26::bigint[]) AS replaces_agent,
               unnest($27::timestamptz[]) AS verify_from, unnest($28::int[]) AS refusals, unnest($29::int[]) AS hops
    ) u
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
    FROM (
        SELECT unnest($2::text[]) AS room_id, unnest($3::bigint[]) AS inbox_id, unnest($4::bigint[]) AS team_id,
               unnest($5::jsonb[]) AS traits, unnest($6::text[]) AS origin, unnest($7::bigint[]) AS position,
               unnest($8::timestamptz[]) AS rank, unnest($9::text[]) AS state, unnest($10::bigint[]) AS agent_id,
               unnest($11::text[]) AS status, unnest($12::timestamptz[]) AS snoozed_until,
               unnest($13::timestamptz[]) AS deadline_at, unnest($14::timestamptz[]) AS assigned_at,
               unnest($15::timestamptz[]) AS closed_at, unnest($16::text[]) AS closed_how,
               unnest($17::timestamptz[]) AS park_until, unnest($18::text[]) AS park_reason,
               unnest($19::timestamptz[]) AS opened_at, unnest($20::timestamptz[]) AS last_activity_at,
               unnest($21::text[]) AS service_id, unnest($22::text[]) AS opened_with,
               unnest($23::timestamptz[]) AS verify_at, unnest($24::bigint[]) AS verify_seq,
               unnest($25::boolean[]) AS slot_freed, unnest($26::timestamptz[]) AS verify_from,
               generate_series(1, cardinality($2)) AS place
    ) u
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
    /// Somebody subscribes to events of the account.
    pub is_heard: bool,
}

impl Locked {
    /// From the row of [`LOCK`] and the time after.
    pub fn read(row: &Row, now: Timestamp) -> Result<Self, StoreError> {
        Ok(Self {
            now,
            folded_seq: row.try_get("folded_seq")?,
            folded_at: rows::time(row, "folded_at")?.unwrap_or_default(),
            decided: row.try_get("decided")?,
            paused_until: rows::time(row, "paused_until")?,
            pause_reason: row.try_get("pause_reason")?,
            failures: rows::count(row, "failures")?,
            rulebook_version: rows::version(row, "rulebook_version")?,
            decided_version: rows::version(row, "decided_version")?,
            is_heard: row.try_get("is_heard")?,
        })
    }
}

/// Begins a transaction that holds the account's decision lock.
pub(super) async fn lock(client: Client, account: AccountId) -> Result<(Transaction, Locked), StoreError> {
    let tx = Transaction::on(client);
    let [lock, now] = tx.prepared([LOCK, NOW]).await?;
    let read = async { Ok(try_join(tx.query_one(&lock, &[&account.0]), tx.query_one(&now, &[])).await?) };
    let ((), (row, now)) = try_join(tx.begin(), read).await?;
    let locked = Locked::read(&row, rows::needed(&now, "now")?)?;
    Ok((tx, locked))
}

/// The working set of `rooms`. The account must be locked.
async fn load(
    tx: &Transaction,
    account: AccountId,
    rooms: &BTreeSet<RoomId>,
    now: Timestamp,
    timing: Timing,
) -> Result<Rooms, StoreError> {
    let statement = tx.prepare_cached(ROOMS).await?;
    let names: Vec<&str> = rooms.iter().map(RoomId::as_str).collect();
    from_rows(&tx.query(&statement, &[&account.0, &names]).await?, now, timing)
}

/// The working set of rows of [`ROOMS_UNFOLDED`].
pub(super) fn from_rows(rows: &[Row], now: Timestamp, timing: Timing) -> Result<Rooms, StoreError> {
    let (mut unresolved, mut closed) = (Vec::new(), Vec::new());
    for row in rows {
        if row.try_get::<_, Option<i64>>("id")?.is_some() {
            unresolved.push(rows::conversation(row)?);
        }
        let room = rows::room_in(row, "asked_room_id")?;
        let services = rows::services(row, "closed_services")?;
        closed.extend(services.into_iter().map(|service| (room.clone(), service)));
    }
    Ok(Rooms::new(now, timing, unresolved, closed))
}

/// Statements that write changes, for [`write_by`].
pub(super) const WRITING: [&str; 5] = [ADD_QUEUES, UPDATE, INSERT, ADD_CLOSED_SERVICES, outbox::POST];

/// Writes what the core changed.
pub(super) async fn write(
    tx: &Transaction,
    account: AccountId,
    locked: &Locked,
    changes: &Changes,
) -> Result<(), StoreError> {
    let writing = tx.prepared(WRITING).await?;
    write_by(tx, &writing, account, locked, changes, &BTreeSet::new()).await?;
    loads::shift_by(tx, &tx.prepared(loads::SHIFTING).await?, account, &changes.agents).await?;
    turns::give_back(tx, account, &changes.refunds).await
}

/// The same apart from loads and refunds, sent at the first poll: whatever is polled after it finds it written. Queues that
/// are `known` are there.
pub(super) async fn write_by(
    tx: &Transaction,
    writing: &[Statement; WRITING.len()],
    account: AccountId,
    locked: &Locked,
    changes: &Changes,
    known: &BTreeSet<QueueKey>,
) -> Result<(), StoreError> {
    let [queues, update, insert, closed_services, post] = writing;
    let notices = if locked.is_heard { changes.notices.as_slice() } else { &[] };
    try_join!(
        add_queues(tx, queues, account, changes, known),
        self::update(tx, update, account, &changes.updated),
        self::insert(tx, insert, account, &changes.opened),
        add_closed_services(tx, closed_services, account, locked.now, &changes.closed_services),
        outbox::post(tx, post, account, notices),
    )?;
    Ok(())
}

/// Adds the queues of what changed that are not `known`.
async fn add_queues(
    tx: &Transaction,
    statement: &Statement,
    account: AccountId,
    changes: &Changes,
    known: &BTreeSet<QueueKey>,
) -> Result<(), StoreError> {
    let changed = changes.opened.iter().chain(&changes.updated).map(round::queue_of);
    let added: BTreeSet<QueueKey> = changed.filter(|queue| !known.contains(queue)).collect();
    if !added.is_empty() {
        let (inboxes, teams) = rows::queue_columns(added.iter());
        tx.execute(statement, &[&account.0, &inboxes, &teams]).await?;
    }
    Ok(())
}

async fn update(
    tx: &Transaction,
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
    tx: &Transaction,
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
    tx: &Transaction,
    account: AccountId,
    sortings: &BTreeMap<QueueKey, Sorting>,
) -> Result<(), StoreError> {
    if sortings.is_empty() {
        return Ok(());
    }
    let (inboxes, teams) = rows::queue_columns(sortings.keys());
    let sortings = sortings.values().map(rows::json).collect::<Result<Vec<_>, _>>()?;
    let statement = tx.prepare_cached(UNSORT).await?;
    tx.execute(&statement, &[&account.0, &inboxes, &teams, &sortings]).await?;
    Ok(())
}

async fn add_closed_services(
    tx: &Transaction,
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

impl PostgresStore {
    /// Runs a core rule over the unresolved conversations of `rooms`, under the account's lock, and writes what it
    /// changed.
    pub(super) async fn with_rooms<T>(
        &self,
        tx: Transaction,
        account: AccountId,
        locked: &Locked,
        rooms: &BTreeSet<RoomId>,
        rule: impl FnOnce(&mut Rooms) -> T + Send,
    ) -> Result<T, StoreError> {
        let mut working_set = load(&tx, account, rooms, locked.now, self.timing).await?;
        let rules = self.rules(&*tx, account, locked.rulebook_version).await?;
        let policy = self.policy_of(account);
        working_set = working_set.governed_by(rules.clone(), &policy);
        let answer = rule(&mut working_set);
        let changes = working_set.finish();
        Box::pin(write(&tx, account, locked, &changes)).await?;
        unsort(&tx, account, &round::sortings(&changes, &rules, &policy, locked.now)).await?;
        if !changes.updated.is_empty() {
            crate::crash_point!("recording");
        }
        tx.commit().await?;
        Ok(answer)
    }
}
