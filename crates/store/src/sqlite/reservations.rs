//! What becomes of slots: confirmed, settled, taken over.

use std::collections::BTreeSet;

use rusqlite::Row;
use sebastian_core::{
    AccountId, AgentId, Astray, ConversationId, Notice, NoticeKind, RoomId, Rooms, Seen, Settled, Settlement,
    Timestamp,
};

use super::{
    Call,
    rows::{self, millis},
};
use crate::{Attempt, Reservation, StoreError, Suspect};

pub(super) const ALL_SQL: &[&str] = &[CONFIRMABLE, CONFIRM, ROOM_OF, TAKE_OVER, CLAIM_SUSPECTS];

/// ?2 conversation, ?3 attempt. Only the latest attempt of a reservation may confirm it: a stopped worker that wakes up is
/// fenced off here. One that was put off or given to another team meanwhile is left to be settled, for that may move its
/// slot.
const CONFIRMABLE: &str = "
    SELECT c.room_id, c.agent_id, c.opened_at, q.inbox_id, q.team_id
    FROM conversations c
    JOIN queues q ON q.id = c.queue_id
    WHERE c.id = ?2 AND c.attempt = ?3 AND c.account_id = ?1 AND c.state = 'reserved' AND c.status = 'open'
      AND (c.turn IS NULL OR c.turn ->> 'team' IS q.team_id)";

/// ?2 now.
const CONFIRM: &str = "
    UPDATE conversations
    SET state = 'assigned',
        assigned_at = ?2,
        deadline_at = NULL,
        refused = '[]',
        turn = NULL,
        replaces_agent = NULL,
        refusals = 0
    WHERE id = ?1";

const ROOM_OF: &str = "SELECT room_id FROM conversations WHERE account_id = ?1 AND id = ?2";

/// ?2 now, ?3 new deadline, ?4 limit. Index conversations_slots.
const TAKE_OVER: &str = "
    UPDATE conversations
    SET attempt = attempt + 1, takeovers = takeovers + 1, deadline_at = ?3
    WHERE id IN (
        SELECT id
        FROM conversations
        WHERE account_id = ?1 AND state IN ('reserved', 'closing') AND deadline_at < ?2
        ORDER BY deadline_at, id
        LIMIT ?4)
    RETURNING id, attempt, room_id, agent_id, opened_at, takeovers, replaces_agent";

/// ?2 now, ?3 end of the claim, ?4 limit. Index conversations_suspect.
const CLAIM_SUSPECTS: &str = "
    UPDATE conversations
    SET verify_at = ?3
    WHERE id IN (
        SELECT id
        FROM conversations
        WHERE account_id = ?1 AND (state = 'assigned' OR park_reason = 'doubted') AND verify_at <= ?2
        ORDER BY verify_at, id
        LIMIT ?4)
    RETURNING id, room_id";

impl Call<'_> {
    pub(super) fn confirm(
        &self,
        account: AccountId,
        attempts: &[Attempt],
    ) -> Result<Vec<Attempt>, StoreError> {
        crate::crash_point!("recording");
        let (mut confirmed, mut notices) = (Vec::new(), Vec::new());
        for attempt in attempts {
            let (id, number) = (attempt.conversation.0, attempt.number);
            let assigned = |row: &Row<'_>| self.assigned(row, attempt.conversation);
            let Some(notice) = rows::first(self.tx, CONFIRMABLE, &[&account.0, &id, &number], assigned)?
            else {
                continue;
            };
            rows::run(self.tx, CONFIRM, &[&id, &millis(self.now)])?;
            notices.push(notice);
            confirmed.push(*attempt);
        }
        self.post(account, &notices)?;
        Ok(confirmed)
    }

    /// What subscribers are told of a conversation that is assigned now.
    fn assigned(&self, row: &Row<'_>, conversation: ConversationId) -> Result<Notice, StoreError> {
        let queue = rows::queue(row)?;
        Ok(Notice {
            conversation: Some(conversation),
            room: Some(rows::room(row)?),
            agent: Some(AgentId(row.get("agent_id")?)),
            inbox: queue.inbox,
            team: queue.team,
            waited: Some(self.now.since(rows::needed(row, "opened_at")?)),
            ..Notice::blank(NoticeKind::Assigned, self.now)
        })
    }

    pub(super) fn settle(
        &self,
        account: AccountId,
        settlements: &[Settlement],
    ) -> Result<Vec<Settled>, StoreError> {
        let rooms = self.rooms_of(account, settlements.iter().map(|one| one.conversation))?;
        let settle = |rooms: &mut Rooms| settlements.iter().map(|one| rooms.settle(one)).collect();
        self.with_rooms(account, &rooms, settle)
    }

    pub(super) fn take_over(&self, account: AccountId, limit: u32) -> Result<Vec<Reservation>, StoreError> {
        let (now, deadline) = (millis(self.now), millis(self.now + self.store.timing.reservation));
        let taken = |row: &Row<'_>| {
            Ok(Reservation {
                attempt: Attempt {
                    conversation: ConversationId(row.get("id")?),
                    number: row.get("attempt")?,
                },
                room: rows::room(row)?,
                agent: AgentId(row.get("agent_id")?),
                opened_at: rows::needed(row, "opened_at")?,
                reserved_at: self.now,
                takeovers: row.get("takeovers")?,
                replaces: row.get::<_, Option<i64>>("replaces_agent")?.map(AgentId),
            })
        };
        rows::all(self.tx, TAKE_OVER, &[&account.0, &now, &deadline, &limit], taken)
    }

    pub(super) fn claim_suspects(&self, account: AccountId, limit: u32) -> Result<Vec<Suspect>, StoreError> {
        let (now, until) = (millis(self.now), millis(self.now + self.store.timing.settle_window));
        let claimed = |row: &Row<'_>| {
            let conversation = ConversationId(row.get("id")?);
            Ok(Suspect { conversation, room: rows::room(row)?, claimed_at: self.now })
        };
        rows::all(self.tx, CLAIM_SUSPECTS, &[&account.0, &now, &until, &limit], claimed)
    }

    pub(super) fn verified(
        &self,
        account: AccountId,
        id: ConversationId,
        seen: Seen,
        asked_at: Timestamp,
    ) -> Result<Settled, StoreError> {
        let rooms = self.rooms_of(account, [id])?;
        self.with_rooms(account, &rooms, |rooms| rooms.verified(id, seen, asked_at))
    }

    pub(super) fn put_back(
        &self,
        account: AccountId,
        strays: &[(ConversationId, AgentId, Astray)],
    ) -> Result<u32, StoreError> {
        let rooms = self.rooms_of(account, strays.iter().map(|(id, ..)| *id))?;
        self.with_rooms(account, &rooms, |rooms| {
            let put_back = strays.iter().filter(|(id, agent, why)| rooms.put_back_stray(*id, *agent, *why));
            u32::try_from(put_back.count()).unwrap_or(u32::MAX)
        })
    }

    fn rooms_of(
        &self,
        account: AccountId,
        ids: impl IntoIterator<Item = ConversationId>,
    ) -> Result<BTreeSet<RoomId>, StoreError> {
        let mut rooms = BTreeSet::new();
        for id in ids {
            rooms.extend(rows::first(self.tx, ROOM_OF, &[&account.0, &id.0], rows::room)?);
        }
        Ok(rooms)
    }
}
