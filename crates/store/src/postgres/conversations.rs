//! Keeping in step with the platform: adoption, transfers, rooms we should know and do not.

use std::{
    collections::{BTreeSet, HashSet},
    time::SystemTime,
};

use sebastian_core::{AccountId, Adopted, AgentId, Conversation, Listing, RoomId, Seq};
use tokio_postgres::Row;

use super::{PostgresStore, rows, working_set};
use crate::{StoreError, words::conversation_columns};

pub(super) const ALL_SQL: &[&str] = &[HELD_BY, CLOSED_SINCE, UNKNOWN, LATEST_IN, FIRST_RESERVATIONS];

/// Index conversations_assigned.
const HELD_BY: &str = "
    SELECT room_id
    FROM conversations
    WHERE account_id = $1 AND agent_id = $2 AND state = 'assigned'";

/// Index conversations_closed, or conversations_by_room. $2 rooms, $3 since.
const CLOSED_SINCE: &str = "
    SELECT DISTINCT room_id
    FROM conversations
    WHERE account_id = $1 AND room_id = ANY($2) AND state = 'resolved' AND closed_at > $3";

/// $2 rooms, $3 the settle window in seconds. Index conversations_by_room; the events scanned are those still to be
/// folded.
const UNKNOWN: &str = "
    SELECT room_id
    FROM unnest($2::text[]) AS asked (room_id)
    WHERE NOT EXISTS (
              SELECT FROM conversations c
              WHERE c.account_id = $1 AND c.room_id = asked.room_id
                AND (c.state <> 'resolved' OR c.closed_at > clock_timestamp() - make_interval(secs => $3)))
      AND room_id NOT IN (
              SELECT e.room_id
              FROM events e
              WHERE e.account_id = $1 AND e.seq > (SELECT folded_seq FROM accounts WHERE id = $1))";

/// Index conversations_by_room.
const LATEST_IN: &str = concat!(
    "SELECT ",
    conversation_columns!(),
    " FROM conversations c JOIN queues q ON q.id = c.queue_id
      WHERE c.account_id = $1 AND c.room_id = $2
      ORDER BY c.id DESC
      LIMIT 1"
);

/// Index conversations_decided.
const FIRST_RESERVATIONS: &str = "
    SELECT position
    FROM conversations
    WHERE account_id = $1 AND decided_no IS NOT NULL
    ORDER BY decided_no
    LIMIT $2";

impl PostgresStore {
    pub(super) async fn run_adopt(
        &self,
        account: AccountId,
        listing: &Listing,
    ) -> Result<Adopted, StoreError> {
        let (tx, locked) = working_set::lock(self.client().await?, account).await?;

        let statement = tx.prepare_cached(HELD_BY).await?;
        let held = tx.query(&statement, &[&account.0, &listing.agent.0]).await?;
        let mut rooms = held.iter().map(rows::room).collect::<Result<BTreeSet<RoomId>, _>>()?;
        rooms.extend(listing.rooms.iter().map(|(room, _)| room.clone()));

        let statement = tx.prepare_cached(CLOSED_SINCE).await?;
        let names: Vec<&str> = rooms.iter().map(RoomId::as_str).collect();
        let since = SystemTime::from(listing.asked_at - self.timing.settle_window);
        let closed = tx.query(&statement, &[&account.0, &names, &since]).await?;
        let closed = closed.iter().map(rows::room).collect::<Result<HashSet<RoomId>, _>>()?;

        self.with_rooms(tx, account, &locked, &rooms, |rooms| rooms.adopt(listing, &closed)).await
    }

    pub(super) async fn run_transfer(
        &self,
        account: AccountId,
        room: &RoomId,
        from: AgentId,
        to: AgentId,
    ) -> Result<bool, StoreError> {
        let (tx, locked) = working_set::lock(self.client().await?, account).await?;
        let rooms = BTreeSet::from([room.clone()]);
        self.with_rooms(tx, account, &locked, &rooms, |rooms| rooms.transfer(room, from, to)).await
    }

    pub(super) async fn run_unknown_rooms(
        &self,
        account: AccountId,
        rooms: &[RoomId],
    ) -> Result<Vec<RoomId>, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(UNKNOWN).await?;
        let names: Vec<&str> = rooms.iter().map(RoomId::as_str).collect();
        let window = self.timing.settle_window.as_secs_f64();
        let unknown = client.query(&statement, &[&account.0, &names, &window]).await?;
        unknown.iter().map(rows::room).collect()
    }

    pub(super) async fn run_latest_in(
        &self,
        account: AccountId,
        room: &RoomId,
    ) -> Result<Option<Conversation>, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(LATEST_IN).await?;
        let found = client.query_opt(&statement, &[&account.0, &room.as_str()]).await?;
        found.as_ref().map(rows::conversation).transpose()
    }

    pub(super) async fn run_first_reservations(
        &self,
        account: AccountId,
        limit: u32,
    ) -> Result<Vec<Seq>, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(FIRST_RESERVATIONS).await?;
        let found = client.query(&statement, &[&account.0, &i64::from(limit)]).await?;
        found.iter().map(|row: &Row| Ok(Seq(row.try_get("position")?))).collect()
    }
}
