//! Listing conversations for people, a page at a time.
//!
//! One statement a selection, so that each goes by the index of its state and reads little more than it shows: of
//! a backlog of 100,000 the first of each queue.

use rusqlite::Row;
use sebastian_core::{AccountId, AgentId, Conversation, RoomId, State};

use super::{Call, rows};
use crate::{Listed, Page, Selection, StoreError, round, words::conversation_columns};

pub(super) const ALL_SQL: &[&str] =
    &[STANDING, QUEUES, HEADS, PARKED, RESERVED, CLOSING, ASSIGNED, RESOLVED, NEWEST_IN, AHEAD];

const STANDING: &str = "SELECT paused_until, pause_reason FROM accounts WHERE id = ?1";

/// Index queues_key.
const QUEUES: &str = "SELECT id FROM queues WHERE account_id = ?1";

/// Conversations by `$index` of which `$condition` holds, in `$order`. ?2 most.
macro_rules! page {
    ($index:literal, $condition:literal, $order:literal) => {
        concat!(
            "SELECT ",
            conversation_columns!(),
            " FROM conversations c INDEXED BY ",
            $index,
            " CROSS JOIN queues q ON q.id = c.queue_id
              WHERE ",
            $condition,
            " ORDER BY ",
            $order,
            " LIMIT ?2"
        )
    };
}

/// Who stands in the queue ?1, by place.
const HEADS: &str = page!(
    "conversations_heads",
    "c.queue_id = ?1 AND c.state = 'waiting' AND c.park_until IS NULL",
    "c.rank, c.position, c.id"
);

const PARKED: &str = page!(
    "conversations_parked",
    "c.account_id = ?1 AND c.state = 'waiting' AND c.park_until IS NOT NULL",
    "c.rank, c.position, c.id"
);

const RESERVED: &str = page!(
    "conversations_slots",
    "c.account_id = ?1 AND c.state IN ('reserved', 'closing') AND c.state = 'reserved'",
    "c.rank, c.position, c.id"
);

const CLOSING: &str = page!(
    "conversations_slots",
    "c.account_id = ?1 AND c.state IN ('reserved', 'closing') AND c.state = 'closing'",
    "c.rank, c.position, c.id"
);

const ASSIGNED: &str =
    page!("conversations_assigned", "c.account_id = ?1 AND c.state = 'assigned'", "c.rank, c.position, c.id");

/// The last to close.
const RESOLVED: &str = page!(
    "conversations_closed",
    "c.account_id = ?1 AND c.state = 'resolved'",
    "c.closed_at DESC, c.id DESC"
);

/// ?3 room.
const NEWEST_IN: &str = page!("conversations_by_room", "c.account_id = ?1 AND c.room_id = ?3", "c.id DESC");

/// How many stand in the queue of ?1 up to its own place. Index conversations_heads.
const AHEAD: &str = "
    SELECT COUNT(*) AS place
    FROM conversations n
    CROSS JOIN conversations ahead INDEXED BY conversations_heads ON ahead.queue_id = n.queue_id
    WHERE n.id = ?1 AND ahead.state = 'waiting' AND ahead.park_until IS NULL
      AND (ahead.rank, ahead.position, ahead.id) <= (n.rank, n.position, n.id)";

impl Call<'_> {
    pub(super) fn list(
        &self,
        account: AccountId,
        selection: &Selection,
        limit: u32,
    ) -> Result<Page, StoreError> {
        let found = |sql| rows::all(self.tx, sql, &[&account.0, &limit], listed);
        let conversations = match selection {
            Selection::Unresolved => {
                let mut all = self.queued(account, limit)?;
                for elsewhere in [PARKED, RESERVED, CLOSING, ASSIGNED] {
                    all.extend(found(elsewhere)?);
                }
                first_in_line(all, limit)
            }
            Selection::Waiting => first_in_line(self.queued(account, limit)?, limit),
            Selection::Parked => found(PARKED)?,
            Selection::Reserved => found(RESERVED)?,
            Selection::Closing => found(CLOSING)?,
            Selection::Assigned => found(ASSIGNED)?,
            Selection::Resolved => found(RESOLVED)?,
            Selection::NewestIn(room) => self.newest_in(account, room, limit)?,
        };
        let standing = |row: &Row<'_>| {
            let until = rows::time(row, "paused_until")?;
            Ok(round::pause(until, row.get::<_, Option<String>>("pause_reason")?.as_deref(), self.now))
        };
        let pause = rows::first(self.tx, STANDING, &[&account.0], standing)?;
        let pause =
            pause.ok_or_else(|| StoreError::Broken(format!("there is no account {account}"), None))?;
        Ok(Page { now: self.now, pause, conversations })
    }

    /// The first `limit` of each queue.
    fn queued(&self, account: AccountId, limit: u32) -> Result<Vec<Listed>, StoreError> {
        let queues = rows::all(self.tx, QUEUES, &[&account.0], |row| Ok(row.get::<_, i64>("id")?))?;
        let mut queued = Vec::new();
        for queue in queues {
            let heads = rows::all(self.tx, HEADS, &[&queue, &limit], listed)?;
            queued.extend((1..).zip(heads).map(|(place, head)| Listed { place: Some(place), ..head }));
        }
        Ok(queued)
    }

    fn newest_in(&self, account: AccountId, room: &RoomId, limit: u32) -> Result<Vec<Listed>, StoreError> {
        let most = limit.min(1);
        let mut newest = rows::all(self.tx, NEWEST_IN, &[&account.0, &most, &room.as_str()], listed)?;
        for one in newest.iter_mut().filter(|one| stands_in_line(&one.conversation)) {
            let place = |row: &Row<'_>| Ok(row.get::<_, i64>("place")?);
            let place = rows::first(self.tx, AHEAD, &[&one.conversation.id.0], place)?;
            one.place = place.and_then(|place| u64::try_from(place).ok());
        }
        Ok(newest)
    }
}

fn stands_in_line(conversation: &Conversation) -> bool {
    conversation.state == State::Waiting { park: None }
}

fn first_in_line(mut all: Vec<Listed>, limit: u32) -> Vec<Listed> {
    all.sort_by_key(|one| (one.conversation.rank, one.conversation.position, one.conversation.id));
    all.truncate(limit as usize);
    all
}

fn listed(row: &Row<'_>) -> Result<Listed, StoreError> {
    let served_since = rows::time(row, "assigned_at")?;
    let agent = row.get::<_, Option<i64>>("agent_id")?.map(AgentId);
    Ok(Listed { conversation: rows::conversation(row)?, place: None, served: agent.zip(served_since) })
}
