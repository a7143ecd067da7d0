//! Queues: what each is sorted by, and who stands first.

use std::collections::BTreeMap;

use rusqlite::Row;
use sebastian_core::{AccountId, ConversationId, Head, QueueKey, Rotation, Seq, Traits};

use super::{Call, decide::Round, rows, turns};
use crate::{
    StoreError,
    port::MOVED_MAX,
    round::{Reach, Sorting},
};

pub(super) const ALL_SQL: &[&str] = &[QUEUES, SORT, SORTED, HEADS];

/// Index conversations_heads, for one of each queue.
const QUEUES: &str = "
    SELECT q.id, q.inbox_id, q.team_id, q.rotation, q.sorting,
           EXISTS (
               SELECT 1
               FROM conversations c
               WHERE c.queue_id = q.id AND c.state = 'waiting' AND c.park_until IS NULL) AS waits
    FROM queues q
    WHERE q.account_id = ?1";

/// Ranks those who wait in a queue by ?3, a sorting, as `order::key` in the core does: ?4 at most of those that have
/// another rank. Indexes conversations_heads and conversations_parked. ?2 queue.
const SORT: &str = "
    UPDATE conversations
    SET rank = misplaced.key
    FROM (
        SELECT c.id, c.key
        FROM (
            SELECT id, rank,
                   CASE ?3 ->> 'order'
                   WHEN 'earliest_created' THEN opened_at
                   WHEN 'longest_waiting' THEN last_activity_at
                   WHEN 'priority' THEN
                       opened_at - 1000 * COALESCE(?3 -> 'boost' ->> (traits ->> 'priority'), 0)
                   END AS key
            FROM (
                SELECT id, rank, opened_at, last_activity_at, traits
                FROM conversations
                WHERE queue_id = ?2 AND state = 'waiting' AND park_until IS NULL
                UNION ALL
                SELECT id, rank, opened_at, last_activity_at, traits
                FROM conversations
                WHERE account_id = ?1 AND state = 'waiting' AND park_until IS NOT NULL AND queue_id = ?2
            )
        ) c
        WHERE c.rank <> c.key
        LIMIT ?4
    ) misplaced
    WHERE conversations.id = misplaced.id";

const SORTED: &str = "UPDATE queues SET sorting = ?2 WHERE id = ?1";

/// The first of a queue. Index conversations_heads. ?1 queue, ?2 how many.
const HEADS: &str = "
    SELECT id, room_id, traits, rank, position, opened_at, last_activity_at, refused
    FROM conversations
    WHERE queue_id = ?1 AND state = 'waiting' AND park_until IS NULL
    ORDER BY rank, position
    LIMIT ?2";

/// A queue as its row has it.
pub(super) struct Queue {
    pub id: i64,
    pub rotation: Rotation,
    sorting: Option<Sorting>,
    /// Somebody stands in it.
    pub waits: bool,
    /// It is sorted as the rules say.
    pub is_sorted: bool,
}

impl Call<'_> {
    /// The account's queues.
    pub(super) fn queues_of(&self, account: AccountId) -> Result<BTreeMap<QueueKey, Queue>, StoreError> {
        let queue = |row: &Row<'_>| {
            let queue = Queue {
                id: row.get("id")?,
                rotation: turns::rotation(row)?,
                sorting: rows::parsed(row, "sorting")?,
                waits: row.get("waits")?,
                is_sorted: false,
            };
            Ok((rows::queue(row)?, queue))
        };
        Ok(rows::all(self.tx, QUEUES, &[&account.0], queue)?.into_iter().collect())
    }

    /// Sorts queues anew that are sorted by something else than the rules say, so many conversations at a time. Returns
    /// whether some are left. A queue that is not sorted to its end is passed over meanwhile: whoever stands first in it
    /// need not be who comes first.
    pub(super) fn sort(
        &self,
        round: &Round<'_>,
        queues: &mut BTreeMap<QueueKey, Queue>,
    ) -> Result<bool, StoreError> {
        let Round { request, rules, .. } = round;
        let mut left = MOVED_MAX;
        let mut all_sorted = true;
        for (key, queue) in queues {
            let sorting = Sorting::of(rules, request.policy, *key, self.now);
            queue.is_sorted = queue.sorting == Some(sorting);
            if queue.is_sorted || left == 0 {
                all_sorted &= queue.is_sorted;
                continue;
            }
            let (json, most) = (rows::json(&sorting)?, i64::try_from(left).unwrap_or(i64::MAX));
            let moved = rows::run(self.tx, SORT, &[&request.account.0, &queue.id, &json, &most])?;
            queue.is_sorted = moved < left;
            left = left.saturating_sub(moved);
            all_sorted &= queue.is_sorted;
            if queue.is_sorted {
                rows::run(self.tx, SORTED, &[&queue.id, &json])?;
            }
        }
        Ok(!all_sorted)
    }

    /// The first of each queue, as far as `reach` goes, merged by rank and place.
    pub(super) fn heads(
        &self,
        queues: &BTreeMap<QueueKey, Queue>,
        reach: &Reach,
    ) -> Result<Vec<Head>, StoreError> {
        let mut heads = Vec::new();
        for (key, most) in reach.iter() {
            let Some(queue) = queues.get(&key) else { continue };
            let most = i64::try_from(most).unwrap_or(i64::MAX);
            heads.extend(rows::all(self.tx, HEADS, &[&queue.id, &most], |row| head(row, key))?);
        }
        heads.sort_by_key(|head| (head.rank, head.position, head.conversation));
        Ok(heads)
    }
}

fn head(row: &Row<'_>, queue: QueueKey) -> Result<Head, StoreError> {
    let traits = rows::parsed::<Traits>(row, "traits")?.unwrap_or_default();
    Ok(Head {
        conversation: ConversationId(row.get("id")?),
        room: rows::room(row)?,
        inbox: queue.inbox,
        traits: Traits { team: queue.team, ..traits },
        rank: rows::needed(row, "rank")?,
        position: Seq(row.get("position")?),
        opened_at: rows::needed(row, "opened_at")?,
        last_activity_at: rows::needed(row, "last_activity_at")?,
        refused: rows::parsed(row, "refused")?.unwrap_or_default(),
    })
}
