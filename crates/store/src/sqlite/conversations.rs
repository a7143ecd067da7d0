//! Keeping in step with the platform: adoption, transfers, rooms we should know and do not.

use std::collections::{BTreeSet, HashSet};

use sebastian_core::{AccountId, Adopted, AgentId, Conversation, Listing, RoomId, Seq};

use super::{
    Call,
    rows::{self, millis},
};
use crate::{StoreError, words::conversation_columns};

pub(super) const ALL_SQL: &[&str] =
    &[HELD_BY, CLOSED_SINCE, KNOWN, UNFOLDED_ROOMS, LATEST_IN, FIRST_RESERVATIONS];

/// Index conversations_assigned.
const HELD_BY: &str = "
    SELECT room_id
    FROM conversations INDEXED BY conversations_assigned
    WHERE account_id = ?1 AND agent_id = ?2 AND state = 'assigned'";

/// Index conversations_by_room. ?2 room, ?3 since.
const CLOSED_SINCE: &str = "
    SELECT id
    FROM conversations INDEXED BY conversations_by_room
    WHERE account_id = ?1 AND room_id = ?2 AND state = 'resolved' AND closed_at > ?3
    LIMIT 1";

/// Index conversations_by_room. ?2 room, ?3 the settle window ago.
const KNOWN: &str = "
    SELECT id
    FROM conversations INDEXED BY conversations_by_room
    WHERE account_id = ?1 AND room_id = ?2 AND (state <> 'resolved' OR closed_at > ?3)
    LIMIT 1";

/// Index events_of.
const UNFOLDED_ROOMS: &str = "
    SELECT room_id
    FROM events
    WHERE account_id = ?1 AND seq > (SELECT folded_seq FROM accounts WHERE id = ?1)";

/// Index conversations_by_room.
const LATEST_IN: &str = concat!(
    "SELECT ",
    conversation_columns!(),
    " FROM conversations c INDEXED BY conversations_by_room
      CROSS JOIN queues q ON q.id = c.queue_id
      WHERE c.account_id = ?1 AND c.room_id = ?2
      ORDER BY c.id DESC
      LIMIT 1"
);

/// Index conversations_decided.
const FIRST_RESERVATIONS: &str = "
    SELECT position
    FROM conversations INDEXED BY conversations_decided
    WHERE account_id = ?1 AND decided_no IS NOT NULL
    ORDER BY decided_no
    LIMIT ?2";

impl Call<'_> {
    pub(super) fn adopt(&self, account: AccountId, listing: &Listing) -> Result<Adopted, StoreError> {
        let held = rows::all(self.tx, HELD_BY, &[&account.0, &listing.agent.0], rows::room)?;
        let listed = listing.rooms.iter().map(|(room, _)| room.clone());
        let rooms: BTreeSet<RoomId> = held.into_iter().chain(listed).collect();
        let since = millis(listing.asked_at - self.store.timing.settle_window);
        let mut closed = HashSet::new();
        for room in &rooms {
            if self.finds(CLOSED_SINCE, account, room, since)? {
                closed.insert(room.clone());
            }
        }
        self.with_rooms(account, &rooms, |rooms| rooms.adopt(listing, &closed))
    }

    pub(super) fn transfer(
        &self,
        account: AccountId,
        room: &RoomId,
        from: AgentId,
        to: AgentId,
    ) -> Result<bool, StoreError> {
        let rooms = BTreeSet::from([room.clone()]);
        self.with_rooms(account, &rooms, |rooms| rooms.transfer(room, from, to))
    }

    pub(super) fn unknown_rooms(
        &self,
        account: AccountId,
        rooms: &[RoomId],
    ) -> Result<Vec<RoomId>, StoreError> {
        let unfolded = rows::all(self.tx, UNFOLDED_ROOMS, &[&account.0], rows::room)?;
        let unfolded: HashSet<RoomId> = unfolded.into_iter().collect();
        let since = millis(self.now - self.store.timing.settle_window);
        let mut unknown = Vec::new();
        for room in rooms {
            if !unfolded.contains(room) && !self.finds(KNOWN, account, room, since)? {
                unknown.push(room.clone());
            }
        }
        Ok(unknown)
    }

    /// Whether `sql` finds anything of a room since a time.
    fn finds(
        &self,
        sql: &'static str,
        account: AccountId,
        room: &RoomId,
        since: i64,
    ) -> Result<bool, StoreError> {
        let found = rows::first(self.tx, sql, &[&account.0, &room.as_str(), &since], |_| Ok(()))?;
        Ok(found.is_some())
    }

    pub(super) fn latest_in(
        &self,
        account: AccountId,
        room: &RoomId,
    ) -> Result<Option<Conversation>, StoreError> {
        rows::first(self.tx, LATEST_IN, &[&account.0, &room.as_str()], rows::conversation)
    }

    pub(super) fn first_reservations(&self, account: AccountId, limit: u32) -> Result<Vec<Seq>, StoreError> {
        rows::all(self.tx, FIRST_RESERVATIONS, &[&account.0, &limit], |row| Ok(Seq(row.get("position")?)))
    }
}
