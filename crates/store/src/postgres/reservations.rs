//! What becomes of slots: confirmed, settled, taken over.

use std::{collections::BTreeSet, time::SystemTime};

use sebastian_core::{
    AccountId, AgentId, Astray, ConversationId, NoticeKind, RoomId, Seen, Settled, Settlement, Timestamp,
};
use tokio_postgres::Row;

use super::{PostgresStore, rows, transaction::Transaction, working_set};
use crate::{Attempt, Reservation, StoreError, Suspect};

pub(super) const ALL_SQL: &[&str] = &[CONFIRM, ROOMS_OF, TAKE_OVER, CLAIM_SUSPECTS];

/// $2 conversations, $3 attempts, $4 what subscribers are told. Only the latest attempt of a reservation may confirm it:
/// a stopped worker that wakes up is fenced off here. One that was put off or given to another team meanwhile is left to
/// be settled, for that may move its slot. Rows are locked by room and number, as everyone locks conversations.
const CONFIRM: &str = "
    WITH latest AS (
        SELECT c.id
        FROM conversations c
        JOIN unnest($2::bigint[], $3::int[]) AS u (id, attempt) ON c.id = u.id AND c.attempt = u.attempt
        JOIN queues q ON q.id = c.queue_id
        WHERE c.account_id = $1 AND c.state = 'reserved' AND c.status = 'open'
          AND (c.turn IS NULL OR (c.turn ->> 'team')::bigint IS NOT DISTINCT FROM q.team_id)
        ORDER BY c.room_id COLLATE \"C\", c.id
        FOR NO KEY UPDATE OF c
    ), confirmed AS (
        UPDATE conversations c
        SET state = 'assigned',
            assigned_at = clock_timestamp(),
            deadline_at = NULL,
            refused = '[]',
            turn = NULL,
            replaces_agent = NULL,
            refusals = 0
        FROM latest
        WHERE c.id = latest.id
        RETURNING c.*
    ), posted AS (
        INSERT INTO outbox (account_id, subscription_id, kind, at, conversation_id, room_id, agent_id, inbox_id,
                            team_id, waited_ms, next_at)
        SELECT $1, s.id, $4, c.assigned_at, c.id, c.room_id, c.agent_id, q.inbox_id, q.team_id,
               GREATEST(0, EXTRACT(EPOCH FROM c.assigned_at - c.opened_at) * 1000)::bigint, c.assigned_at
        FROM confirmed c
        JOIN queues q ON q.id = c.queue_id
        JOIN subscriptions s ON s.account_id = $1 AND s.disabled IS NULL AND $4 = ANY(s.events)
    )
    SELECT c.id, c.attempt FROM confirmed c";

const ROOMS_OF: &str = "SELECT DISTINCT room_id FROM conversations WHERE account_id = $1 AND id = ANY($2)";

/// $2 span of the new deadline in seconds, $3 limit. Index conversations_slots. Rows that somebody else is changing
/// at this moment are left to them. One instant, in whole milliseconds, stands for the take-over and its deadline.
const TAKE_OVER: &str = "
    WITH overdue AS (
        SELECT id, date_trunc('milliseconds', clock_timestamp()) AS taken_at
        FROM conversations
        WHERE account_id = $1 AND state IN ('reserved', 'closing') AND deadline_at < clock_timestamp()
        ORDER BY deadline_at, id
        LIMIT $3
        FOR UPDATE SKIP LOCKED
    )
    UPDATE conversations c
    SET attempt = c.attempt + 1,
        takeovers = c.takeovers + 1,
        deadline_at = overdue.taken_at + make_interval(secs => $2)
    FROM overdue
    WHERE c.id = overdue.id
    RETURNING c.id, c.attempt, c.room_id, c.agent_id, c.opened_at, c.takeovers, c.replaces_agent,
              overdue.taken_at";

/// $2 span of the claim in seconds, $3 limit. Index conversations_suspect.
const CLAIM_SUSPECTS: &str = "
    WITH due AS (
        SELECT id
        FROM conversations
        WHERE account_id = $1 AND (state = 'assigned' OR park_reason = 'doubted') AND verify_at <= clock_timestamp()
        ORDER BY verify_at, id
        LIMIT $3
        FOR UPDATE SKIP LOCKED
    )
    UPDATE conversations c
    SET verify_at = clock_timestamp() + make_interval(secs => $2)
    FROM due
    WHERE c.id = due.id
    RETURNING c.id, c.room_id, clock_timestamp() AS claimed_at";

impl PostgresStore {
    pub(super) async fn run_confirm(
        &self,
        account: AccountId,
        attempts: &[Attempt],
    ) -> Result<Vec<Attempt>, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(CONFIRM).await?;
        let ids: Vec<i64> = attempts.iter().map(|attempt| attempt.conversation.0).collect();
        let numbers: Vec<i32> = attempts.iter().map(|attempt| rows::signed(attempt.number)).collect();
        let told = NoticeKind::Assigned.as_str();
        crate::crash_point!("recording");
        let confirmed = client.query(&statement, &[&account.0, &ids, &numbers, &told]).await?;
        confirmed.iter().map(attempt).collect()
    }

    pub(super) async fn run_settle(
        &self,
        account: AccountId,
        settlements: &[Settlement],
    ) -> Result<Vec<Settled>, StoreError> {
        let (tx, locked) = working_set::lock(self.client().await?, account).await?;
        let rooms = rooms_of(&tx, account, settlements.iter().map(|one| one.conversation)).await?;
        let settle =
            |rooms: &mut sebastian_core::Rooms| settlements.iter().map(|one| rooms.settle(one)).collect();
        self.with_rooms(tx, account, &locked, &rooms, settle).await
    }

    pub(super) async fn run_take_over(
        &self,
        account: AccountId,
        limit: u32,
    ) -> Result<Vec<Reservation>, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(TAKE_OVER).await?;
        let span = self.timing.reservation.as_secs_f64();
        let taken = client.query(&statement, &[&account.0, &span, &i64::from(limit)]).await?;
        taken.iter().map(reservation).collect()
    }

    pub(super) async fn run_claim_suspects(
        &self,
        account: AccountId,
        limit: u32,
    ) -> Result<Vec<Suspect>, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(CLAIM_SUSPECTS).await?;
        let span = self.timing.settle_window.as_secs_f64();
        let claimed = client.query(&statement, &[&account.0, &span, &i64::from(limit)]).await?;
        let suspect = |row: &Row| {
            Ok(Suspect {
                conversation: ConversationId(row.try_get("id")?),
                room: rows::room(row)?,
                claimed_at: rows::needed(row, "claimed_at")?,
            })
        };
        claimed.iter().map(suspect).collect()
    }

    pub(super) async fn run_verified(
        &self,
        account: AccountId,
        id: ConversationId,
        seen: Seen,
        asked_at: Timestamp,
    ) -> Result<Settled, StoreError> {
        let (tx, locked) = working_set::lock(self.client().await?, account).await?;
        let rooms = rooms_of(&tx, account, [id]).await?;
        self.with_rooms(tx, account, &locked, &rooms, |rooms| rooms.verified(id, seen, asked_at)).await
    }

    pub(super) async fn run_put_back(
        &self,
        account: AccountId,
        strays: &[(ConversationId, AgentId, Astray)],
    ) -> Result<u32, StoreError> {
        let (tx, locked) = working_set::lock(self.client().await?, account).await?;
        let rooms = rooms_of(&tx, account, strays.iter().map(|(id, ..)| *id)).await?;
        let put_back = |rooms: &mut sebastian_core::Rooms| {
            let put_back = strays.iter().filter(|(id, agent, why)| rooms.put_back_stray(*id, *agent, *why));
            u32::try_from(put_back.count()).unwrap_or(u32::MAX)
        };
        self.with_rooms(tx, account, &locked, &rooms, put_back).await
    }
}

async fn rooms_of(
    tx: &Transaction,
    account: AccountId,
    ids: impl IntoIterator<Item = ConversationId>,
) -> Result<BTreeSet<RoomId>, StoreError> {
    let ids: Vec<i64> = ids.into_iter().map(|id| id.0).collect();
    let statement = tx.prepare_cached(ROOMS_OF).await?;
    let found = tx.query(&statement, &[&account.0, &ids]).await?;
    found.iter().map(rows::room).collect()
}

fn attempt(row: &Row) -> Result<Attempt, StoreError> {
    Ok(Attempt { conversation: ConversationId(row.try_get("id")?), number: rows::count(row, "attempt")? })
}

fn reservation(row: &Row) -> Result<Reservation, StoreError> {
    Ok(Reservation {
        attempt: attempt(row)?,
        room: rows::room(row)?,
        agent: AgentId(row.try_get("agent_id")?),
        opened_at: rows::needed(row, "opened_at")?,
        reserved_at: row.try_get::<_, SystemTime>("taken_at")?.into(),
        takeovers: rows::count(row, "takeovers")?,
        replaces: rows::agent(row, "replaces_agent")?,
    })
}
