//! Listing conversations for people, a page at a time.
//!
//! One statement a selection, so that each goes by the index of its state and reads little more than it shows: of
//! a backlog of 100,000 the first of each queue.

use futures_util::future::try_join;
use sebastian_core::{AccountId, AgentId};
use tokio_postgres::{Row, types::ToSql};

use super::{PostgresStore, rows};
use crate::{Listed, Page, Selection, StoreError, round, words::conversation_columns};

pub(super) const ALL_SQL: &[&str] =
    &[STANDING, UNRESOLVED, WAITING, PARKED, RESERVED, CLOSING, ASSIGNED, RESOLVED, NEWEST_IN];

const STANDING: &str = "
    SELECT paused_until, pause_reason, clock_timestamp() AS now
    FROM accounts
    WHERE id = $1";

/// What `$picked` finds (conversations with their places), in `$order`. $1 account, $2 most.
macro_rules! page {
    ($order:literal, $($picked:tt)*) => {
        concat!(
            "SELECT ",
            conversation_columns!(),
            ", c.place
            FROM (", $($picked)*, ") c
            JOIN queues q ON q.id = c.queue_id
            ORDER BY ", $order, "
            LIMIT $2"
        )
    };
}

/// Who stands in a queue, by place: the first $2 of each. Index conversations_heads.
macro_rules! queued {
    () => {
        "SELECT head.*
        FROM queues w
        CROSS JOIN LATERAL (
            SELECT waiting.*, ROW_NUMBER() OVER (ORDER BY rank, position, id) AS place
            FROM conversations waiting
            WHERE queue_id = w.id AND state = 'waiting' AND park_until IS NULL
            ORDER BY rank, position, id
            LIMIT $2
        ) head
        WHERE w.account_id = $1"
    };
}

/// Who stands in no queue, by place in line.
macro_rules! elsewhere {
    ($condition:literal) => {
        concat!(
            "(SELECT other.*, NULL::bigint AS place
            FROM conversations other
            WHERE account_id = $1 AND ",
            $condition,
            "
            ORDER BY rank, position, id
            LIMIT $2)"
        )
    };
}

/// Indexes conversations_heads, _parked, _slots and _assigned: all but the backlog, which can be long.
const UNRESOLVED: &str = page!(
    "c.rank, c.position, c.id",
    concat!(
        queued!(),
        " UNION ALL ",
        elsewhere!("state = 'waiting' AND park_until IS NOT NULL"),
        " UNION ALL ",
        elsewhere!("state IN ('reserved', 'closing')"),
        " UNION ALL ",
        elsewhere!("state = 'assigned'")
    )
);

const WAITING: &str = page!("c.rank, c.position, c.id", queued!());

/// Index conversations_parked.
const PARKED: &str =
    page!("c.rank, c.position, c.id", elsewhere!("state = 'waiting' AND park_until IS NOT NULL"));

/// Index conversations_slots; so the next.
const RESERVED: &str = page!("c.rank, c.position, c.id", elsewhere!("state = 'reserved'"));

const CLOSING: &str = page!("c.rank, c.position, c.id", elsewhere!("state = 'closing'"));

/// Index conversations_assigned.
const ASSIGNED: &str = page!("c.rank, c.position, c.id", elsewhere!("state = 'assigned'"));

/// The last to close. Index conversations_closed.
const RESOLVED: &str = page!(
    "c.closed_at DESC, c.id DESC",
    "SELECT closed.*, NULL::bigint AS place
    FROM conversations closed
    WHERE account_id = $1 AND state = 'resolved'
    ORDER BY closed_at DESC, id DESC
    LIMIT $2"
);

/// $3 room. Index conversations_by_room, and conversations_heads for its place.
const NEWEST_IN: &str = page!(
    "c.id",
    "SELECT n.*,
            CASE WHEN n.state = 'waiting' AND n.park_until IS NULL THEN (
                SELECT COUNT(*)
                FROM conversations ahead
                WHERE ahead.queue_id = n.queue_id AND ahead.state = 'waiting' AND ahead.park_until IS NULL
                  AND (ahead.rank, ahead.position, ahead.id) <= (n.rank, n.position, n.id))
            END AS place
    FROM (
        SELECT newest.*
        FROM conversations newest
        WHERE account_id = $1 AND room_id = $3
        ORDER BY id DESC
        LIMIT 1
    ) n"
);

impl PostgresStore {
    pub(super) async fn run_list(
        &self,
        account: AccountId,
        selection: &Selection,
        limit: u32,
    ) -> Result<Page, StoreError> {
        let limit = i64::from(limit);
        let mut arguments: Vec<&(dyn ToSql + Sync)> = vec![&account.0, &limit];
        let room;
        let sql = match selection {
            Selection::Unresolved => UNRESOLVED,
            Selection::Waiting => WAITING,
            Selection::Parked => PARKED,
            Selection::Reserved => RESERVED,
            Selection::Closing => CLOSING,
            Selection::Assigned => ASSIGNED,
            Selection::Resolved => RESOLVED,
            Selection::NewestIn(newest_in) => {
                room = newest_in.as_str();
                arguments.push(&room);
                NEWEST_IN
            }
        };
        let client = self.client().await?;
        let (standing, listing) =
            try_join(client.prepare_cached(STANDING), client.prepare_cached(sql)).await?;
        let (standing, found) =
            try_join(client.query_one(&standing, &[&account.0]), client.query(&listing, &arguments)).await?;
        let now = rows::needed(&standing, "now")?;
        let until = rows::time(&standing, "paused_until")?;
        Ok(Page {
            now,
            pause: round::pause(until, standing.try_get("pause_reason")?, now),
            conversations: found.iter().map(listed).collect::<Result<_, _>>()?,
        })
    }
}

fn listed(row: &Row) -> Result<Listed, StoreError> {
    let served_since = rows::time(row, "assigned_at")?;
    let agent = row.try_get::<_, Option<i64>>("agent_id")?.map(AgentId);
    Ok(Listed {
        conversation: rows::conversation(row)?,
        place: row.try_get::<_, Option<i64>>("place")?.and_then(|place| u64::try_from(place).ok()),
        served: agent.zip(served_since),
    })
}
