//! Queues: what each is sorted by, and who stands first.

use std::collections::BTreeMap;

use sebastian_core::{AccountId, ConversationId, Head, QueueKey, Rotation, Seq};
use tokio_postgres::{Row, Statement};

use super::{decide::Round, rows, transaction::Transaction, turns};
use crate::{
    StoreError,
    port::MOVED_MAX,
    round::{Reach, Sorting},
};

pub(super) const ALL_SQL: &[&str] = &[QUEUES, SORT, SORTED, HEADS];

/// Index conversations_heads, for one of each queue.
pub(super) const QUEUES: &str = "
    SELECT q.id, q.inbox_id, q.team_id, q.turn_agents, q.turns, q.sorting,
           (SELECT c.id
            FROM conversations c
            WHERE c.queue_id = q.id AND c.state = 'waiting' AND c.park_until IS NULL
            LIMIT 1) IS NOT NULL AS waits
    FROM queues q
    WHERE q.account_id = $1";

/// Ranks those who wait in a queue by $3, a sorting, as `order::key` in the core does: $4 at most of those that have
/// another rank. Their rows are locked by nobody who then waits for another, so no order of locks is to be kept. Indexes
/// conversations_heads and conversations_parked. $2 queue.
const SORT: &str = "
    WITH misplaced AS (
        SELECT c.id, k.key
        FROM (
            SELECT id, rank, opened_at, last_activity_at, traits
            FROM conversations
            WHERE queue_id = $2 AND state = 'waiting' AND park_until IS NULL
            UNION ALL
            SELECT id, rank, opened_at, last_activity_at, traits
            FROM conversations
            WHERE account_id = $1 AND state = 'waiting' AND park_until IS NOT NULL AND queue_id = $2
        ) c
        CROSS JOIN LATERAL (
            SELECT CASE $3::jsonb ->> 'order'
                   WHEN 'earliest_created' THEN c.opened_at
                   WHEN 'longest_waiting' THEN c.last_activity_at
                   WHEN 'priority' THEN c.opened_at - make_interval(
                       secs => COALESCE(($3::jsonb -> 'boost' ->> (c.traits ->> 'priority'))::float8, 0))
                   END AS key
        ) k
        WHERE c.rank <> k.key
        LIMIT $4
    )
    UPDATE conversations c
    SET rank = misplaced.key
    FROM misplaced
    WHERE c.id = misplaced.id";

const SORTED: &str = "UPDATE queues SET sorting = $2 WHERE id = $1";

/// The first of each queue, as many as are asked for, merged by rank and place. Index conversations_heads. $2 inboxes, $3
/// teams, $4 how many of each.
pub(super) const HEADS: &str = "
    SELECT c.id, c.room_id, q.inbox_id, q.team_id, c.traits, c.rank, c.position, c.opened_at, c.last_activity_at,
           c.refused
    FROM unnest($2::bigint[], $3::bigint[], $4::bigint[]) AS asked (inbox_id, team_id, most)
    JOIN queues q ON q.account_id = $1
                 AND COALESCE(q.inbox_id, 0) = COALESCE(asked.inbox_id, 0) AND (q.inbox_id IS NULL) = (asked.inbox_id IS NULL)
                 AND COALESCE(q.team_id, 0) = COALESCE(asked.team_id, 0) AND (q.team_id IS NULL) = (asked.team_id IS NULL)
    CROSS JOIN LATERAL (
        SELECT id, room_id, traits, rank, position, opened_at, last_activity_at, refused
        FROM conversations
        WHERE queue_id = q.id AND state = 'waiting' AND park_until IS NULL
        ORDER BY rank, position
        LIMIT asked.most
    ) c
    ORDER BY c.rank, c.position, c.id";

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

/// The account's queues. `statement` is [`QUEUES`], sent at the first poll.
pub(super) async fn read(
    round: &Round<'_>,
    statement: &Statement,
) -> Result<BTreeMap<QueueKey, Queue>, StoreError> {
    let found = round.tx.query(statement, &[&round.request.account.0]).await?;
    let queue = |row: &Row| {
        let queue = Queue {
            id: row.try_get("id")?,
            rotation: turns::rotation(row)?,
            sorting: rows::parsed(row, "sorting")?,
            waits: row.try_get("waits")?,
            is_sorted: false,
        };
        Ok((rows::queue(row)?, queue))
    };
    found.iter().map(queue).collect()
}

/// Sorts queues anew that are sorted by something else than the rules say, so many conversations at a time. Returns
/// whether anybody may have moved. A queue that is not sorted to its end is passed over meanwhile: whoever stands first in
/// it need not be who comes first.
pub(super) async fn sort(
    round: &Round<'_>,
    queues: &mut BTreeMap<QueueKey, Queue>,
) -> Result<bool, StoreError> {
    let Round { tx, request, locked, rules } = round;
    let mut left = MOVED_MAX as u64;
    let mut any_sorted = false;
    for (key, queue) in queues {
        let sorting = Sorting::of(rules, request.policy, *key, locked.now);
        queue.is_sorted = queue.sorting == Some(sorting);
        if queue.is_sorted || left == 0 {
            continue;
        }
        any_sorted = true;
        let (json, most) = (rows::json(&sorting)?, i64::try_from(left).unwrap_or(i64::MAX));
        let sort = tx.prepare_cached(SORT).await?;
        let moved = tx.execute(&sort, &[&request.account.0, &queue.id, &json, &most]).await?;
        queue.is_sorted = moved < left;
        left = left.saturating_sub(moved);
        if queue.is_sorted {
            let sorted = tx.prepare_cached(SORTED).await?;
            tx.execute(&sorted, &[&queue.id, &json]).await?;
        }
    }
    Ok(any_sorted)
}

/// The first of some queues.
pub(super) struct Heads {
    reach: BTreeMap<QueueKey, usize>,
    first: Vec<Head>,
}

impl Heads {
    /// Reads so many of each queue. Nothing is asked of no queue; else sent at the first poll where [`HEADS`] is prepared.
    pub async fn read(
        tx: &Transaction,
        account: AccountId,
        reach: BTreeMap<QueueKey, usize>,
    ) -> Result<Self, StoreError> {
        if reach.is_empty() {
            return Ok(Self { reach, first: Vec::new() });
        }
        let (inboxes, teams) = rows::queue_columns(reach.keys());
        let most: Vec<i64> = reach.values().map(|most| i64::try_from(*most).unwrap_or(i64::MAX)).collect();
        let statement = tx.prepare_cached(HEADS).await?;
        let found = tx.query(&statement, &[&account.0, &inboxes, &teams, &most]).await?;
        Ok(Self { reach, first: found.iter().map(head).collect::<Result<_, _>>()? })
    }

    pub fn all(self) -> Vec<Head> {
        self.first
    }

    /// Those that `reach` asks for. `None`: it asks for more than were read.
    pub fn within(self, reach: &Reach) -> Option<Vec<Head>> {
        let has = |(queue, most): (QueueKey, usize)| self.reach.get(&queue).is_some_and(|had| *had >= most);
        if !reach.iter().all(has) {
            return None;
        }
        let mut left: BTreeMap<QueueKey, usize> = reach.iter().collect();
        let mut is_asked_for = |head: &Head| match left.get_mut(&head.queue()) {
            None | Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
        };
        Some(self.first.into_iter().filter(|head| is_asked_for(head)).collect())
    }
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
        refused: rows::parsed(row, "refused")?.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use sebastian_core::{InboxId, RoomId, Timestamp, Traits};

    use super::*;

    const SALES: QueueKey = QueueKey { inbox: Some(InboxId(1)), team: None };
    const SUPPORT: QueueKey = QueueKey { inbox: Some(InboxId(2)), team: None };

    fn head(place: i64, queue: QueueKey) -> Head {
        let at = Timestamp::default();
        Head {
            conversation: ConversationId(place),
            room: RoomId::parse("room").unwrap(),
            inbox: queue.inbox,
            traits: Traits::default(),
            rank: at,
            position: Seq(place),
            opened_at: at,
            last_activity_at: at,
            refused: Default::default(),
        }
    }

    /// 50 of each queue, by turns.
    fn read() -> Heads {
        let first = (0..100).map(|place| head(place, if place % 2 == 0 { SALES } else { SUPPORT }));
        Heads { reach: BTreeMap::from([(SALES, 50), (SUPPORT, 50)]), first: first.collect() }
    }

    #[test]
    fn heads_read_in_advance_are_cut_to_what_is_asked_for() {
        let reach = Reach::new([SUPPORT], 2);

        let heads = read().within(&reach).unwrap();

        let places: Vec<i64> = heads.iter().map(|head| head.position.0).collect();
        assert_eq!(places, (0..reach.of(SUPPORT) as i64).map(|n| 2 * n + 1).collect::<Vec<_>>());
    }

    #[test]
    fn heads_read_in_advance_do_not_stand_for_more_than_were_read() {
        let other = QueueKey { inbox: Some(InboxId(3)), team: None };

        assert!(read().within(&Reach::new([SALES], 50)).is_none(), "deeper into a queue");
        assert!(read().within(&Reach::new([SALES, other], 2)).is_none(), "into another queue");
    }
}
