//! Loading the rooms a transaction touches, and writing what the core changed in them.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Row, ToSql, params};
use sebastian_core::{
    AccountId, AgentChange, AgentId, Changes, Conversation, QueueKey, RoomId, Rooms, ServiceId, Timestamp,
    Traits,
};

use super::{
    Call,
    rows::{self, millis},
    rulebooks,
};
use crate::{
    StoreError,
    round::{self, Sorting},
    words::{self, StateColumns, conversation_columns},
};

pub(super) const ALL_SQL: &[&str] = &[
    ACCOUNT,
    UNRESOLVED,
    CLOSED_SERVICES,
    QUEUE,
    ADD_QUEUE,
    UPDATE,
    INSERT,
    UNSORT,
    ADD_CLOSED_SERVICE,
    MOVE_LOAD,
    ADD_LOAD,
];

const ACCOUNT: &str = "
    SELECT folded_seq, folded_at, decided, paused_until, pause_reason, failures, rulebook_version, decided_version
    FROM accounts
    WHERE id = ?1";

/// Index conversations_unresolved. ?2 room.
const UNRESOLVED: &str = concat!(
    "SELECT ",
    conversation_columns!(),
    " FROM conversations c JOIN queues q ON q.id = c.queue_id
      WHERE c.account_id = ?1 AND c.room_id = ?2 AND c.state <> 'resolved'
      ORDER BY c.id"
);

/// Primary key. ?2 room.
const CLOSED_SERVICES: &str = "
    SELECT room_id, service_id
    FROM closed_services
    WHERE account_id = ?1 AND room_id = ?2";

/// Index queues_key. ?2 inbox, ?3 team.
const QUEUE: &str = "
    SELECT id
    FROM queues
    WHERE account_id = ?1
      AND COALESCE(inbox_id, 0) = COALESCE(?2, 0) AND (inbox_id IS NULL) = (?2 IS NULL)
      AND COALESCE(team_id, 0) = COALESCE(?3, 0) AND (team_id IS NULL) = (?3 IS NULL)";

/// Its number is not returned: SQLite would look for conversations that waited for such a queue.
const ADD_QUEUE: &str = "
    INSERT INTO queues (account_id, inbox_id, team_id)
    VALUES (?1, ?2, ?3)";

/// Values as [`Call::save_conversation`] numbers them. Who served a resolved conversation, and since when, stays on its
/// row.
const UPDATE: &str = "
    UPDATE conversations
    SET queue_id = ?3,
        traits = ?5,
        rank = ?8,
        state = ?9,
        status = ?10,
        snoozed_until = ?11,
        slot_freed = ?12,
        agent_id = CASE ?9 WHEN 'resolved' THEN agent_id ELSE ?13 END,
        attempt = ?14,
        deadline_at = ?15,
        assigned_at = CASE ?9 WHEN 'resolved' THEN assigned_at ELSE ?16 END,
        closed_at = ?17,
        closed_how = ?18,
        park_until = ?19,
        park_reason = ?20,
        last_activity_at = ?22,
        service_id = ?23,
        opened_with = ?24,
        verify_at = ?25,
        verify_seq = ?26,
        verify_from = ?27,
        refused = ?28,
        turn = ?29,
        replaces_agent = ?30,
        refusals = ?31,
        hops = ?32
    WHERE id = ?1";

/// The same values, but for the number: that is drawn.
const INSERT: &str = "
    INSERT INTO conversations (account_id, queue_id, room_id, traits, origin, position, rank, state, status,
                               snoozed_until, slot_freed, agent_id, attempt, deadline_at, assigned_at, closed_at,
                               closed_how, park_until, park_reason, opened_at, last_activity_at, service_id,
                               opened_with, verify_at, verify_seq, verify_from, refused, turn, replaces_agent, refusals,
                               hops)
    VALUES (?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24,
            ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32)";

/// A queue that is sorted by something else than what was just put into it. Index queues_key. ?2 inbox, ?3 team, ?4
/// sorting.
const UNSORT: &str = "
    UPDATE queues
    SET sorting = NULL
    WHERE account_id = ?1 AND sorting <> ?4
      AND COALESCE(inbox_id, 0) = COALESCE(?2, 0) AND (inbox_id IS NULL) = (?2 IS NULL)
      AND COALESCE(team_id, 0) = COALESCE(?3, 0) AND (team_id IS NULL) = (?3 IS NULL)";

const ADD_CLOSED_SERVICE: &str = "
    INSERT INTO closed_services (account_id, room_id, service_id, closed_at)
    VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT DO NOTHING";

/// Primary key. ?2 agent, ?3 slots, ?4 assignments.
const MOVE_LOAD: &str = "
    UPDATE agent_loads
    SET open = open + ?3, shift_assignments = MAX(0, shift_assignments + ?4)
    WHERE account_id = ?1 AND agent_id = ?2";

/// ?2 agent, ?3 slots, ?4 assignments.
const ADD_LOAD: &str = "
    INSERT INTO agent_loads (account_id, agent_id, open, shift_assignments)
    VALUES (?1, ?2, ?3, MAX(0, ?4))";

/// An account's row. Nobody else writes while the transaction lasts, so it needs no lock.
pub(super) struct Locked {
    pub folded_seq: i64,
    pub folded_at: Timestamp,
    pub decided: i64,
    pub paused_until: Option<Timestamp>,
    pub pause_reason: Option<String>,
    pub failures: u32,
    pub rulebook_version: u64,
    pub decided_version: u64,
}

impl Call<'_> {
    /// The account's row.
    pub(super) fn locked(&self, account: AccountId) -> Result<Locked, StoreError> {
        let read = |row: &Row<'_>| {
            Ok(Locked {
                folded_seq: row.get("folded_seq")?,
                folded_at: rows::time(row, "folded_at")?.unwrap_or_default(),
                decided: row.get("decided")?,
                paused_until: rows::time(row, "paused_until")?,
                pause_reason: row.get("pause_reason")?,
                failures: row.get("failures")?,
                rulebook_version: rulebooks::version(row, "rulebook_version")?,
                decided_version: rulebooks::version(row, "decided_version")?,
            })
        };
        rows::first(self.tx, ACCOUNT, &[&account.0], read)?
            .ok_or_else(|| StoreError::Broken(format!("there is no account {account}"), None))
    }

    /// The working set of `rooms`.
    pub(super) fn load(&self, account: AccountId, rooms: &BTreeSet<RoomId>) -> Result<Rooms, StoreError> {
        let (mut unresolved, mut closed) = (Vec::new(), Vec::new());
        for room in rooms {
            let of_room = (account.0, room.as_str());
            let values: [&dyn ToSql; 2] = [&of_room.0, &of_room.1];
            unresolved.extend(rows::all(self.tx, UNRESOLVED, &values, rows::conversation)?);
            closed.extend(rows::all(self.tx, CLOSED_SERVICES, &values, closed_service)?);
        }
        Ok(Rooms::new(self.now, self.store.timing, unresolved, closed))
    }

    /// Runs a core rule over the unresolved conversations of `rooms`, and writes what it changed.
    pub(super) fn with_rooms<T>(
        &self,
        account: AccountId,
        rooms: &BTreeSet<RoomId>,
        rule: impl FnOnce(&mut Rooms) -> T,
    ) -> Result<T, StoreError> {
        let rules = self.rules(account, self.locked(account)?.rulebook_version)?;
        let policy = self.store.books.policy(account).unwrap_or_else(|| self.store.policy.clone());
        let mut working_set = self.load(account, rooms)?.governed_by(rules.clone(), &policy);
        let answer = rule(&mut working_set);
        let changes = working_set.finish();
        self.save(account, &changes)?;
        self.unsort(account, &round::sortings(&changes, &rules, &policy, self.now))?;
        if !changes.updated.is_empty() {
            crate::crash_point!("recording");
        }
        Ok(answer)
    }

    /// Writes what the core changed.
    pub(super) fn save(&self, account: AccountId, changes: &Changes) -> Result<(), StoreError> {
        let queues = self.queue_ids(account, changes.opened.iter().chain(&changes.updated))?;
        for conversation in &changes.updated {
            self.save_conversation(UPDATE, account, &queues, conversation)?;
        }
        for conversation in &changes.opened {
            self.save_conversation(INSERT, account, &queues, conversation)?;
        }
        for (room, service) in &changes.closed_services {
            let values: [&dyn ToSql; 4] = [&account.0, &room.as_str(), &service.as_str(), &millis(self.now)];
            rows::run(self.tx, ADD_CLOSED_SERVICE, &values)?;
        }
        self.move_loads(account, &changes.agents)?;
        self.give_back(account, &changes.refunds)?;
        self.post(account, &changes.notices)
    }

    /// The numbers of the queues of `conversations`; those that are new get one.
    fn queue_ids<'a>(
        &self,
        account: AccountId,
        conversations: impl Iterator<Item = &'a Conversation>,
    ) -> Result<BTreeMap<QueueKey, i64>, StoreError> {
        let keys: BTreeSet<QueueKey> = conversations.map(round::queue_of).collect();
        let mut ids = BTreeMap::new();
        for key in keys {
            let (inbox, team) = (key.inbox.map(|inbox| inbox.0), key.team.map(|team| team.0));
            let values: [&dyn ToSql; 3] = [&account.0, &inbox, &team];
            let known = rows::first(self.tx, QUEUE, &values, |row| Ok(row.get("id")?))?;
            let id = match known {
                Some(id) => id,
                None => {
                    rows::run(self.tx, ADD_QUEUE, &values)?;
                    self.tx.last_insert_rowid()
                }
            };
            ids.insert(key, id);
        }
        Ok(ids)
    }

    /// Runs `sql`, which is [`UPDATE`] or [`INSERT`], with the values of `conversation`.
    fn save_conversation(
        &self,
        sql: &'static str,
        account: AccountId,
        queues: &BTreeMap<QueueKey, i64>,
        conversation: &Conversation,
    ) -> Result<(), StoreError> {
        let c = conversation;
        let StateColumns { name, deadline, assigned_at, closed, park } = StateColumns::of(&c.state);
        let traits = rows::json(&Traits { team: None, ..c.traits.clone() })?;
        let turn = c.turn.as_ref().map(rows::json).transpose()?;
        rows::run(
            self.tx,
            sql,
            params![
                c.id.0,
                account.0,
                queues.get(&round::queue_of(c)),
                c.room.as_str(),
                traits,
                words::origin_word(c.origin),
                c.position.0,
                millis(c.rank),
                name,
                words::status_word(c.status),
                c.snoozed_until.map(millis),
                c.slot_freed,
                c.holder().map(|agent| agent.0),
                c.attempt,
                deadline.map(millis),
                assigned_at.map(millis),
                closed.map(|(at, _)| millis(at)),
                closed.map(|(_, how)| words::closed_word(how)),
                park.map(|park| millis(park.until)),
                park.map(|park| words::park_reason_word(park.why)),
                millis(c.opened_at),
                millis(c.last_activity_at),
                c.service.as_ref().map(ServiceId::as_str),
                c.opened_with.as_ref().map(ServiceId::as_str),
                c.verify_at.map(millis),
                c.verify_from.map(|(seq, _)| seq.0),
                c.verify_from.map(|(_, began)| millis(began)),
                rows::json(&c.refused)?,
                turn,
                c.replaces.map(|agent| agent.0),
                c.refusals,
                c.hops,
            ],
        )?;
        Ok(())
    }

    /// Another process may go by another policy than this one, which gave ranks by `sortings`: the next decision sorts the
    /// queues of both anew.
    fn unsort(&self, account: AccountId, sortings: &BTreeMap<QueueKey, Sorting>) -> Result<(), StoreError> {
        for (key, sorting) in sortings {
            let (inbox, team) = (key.inbox.map(|inbox| inbox.0), key.team.map(|team| team.0));
            rows::run(self.tx, UNSORT, &[&account.0, &inbox, &team, &rows::json(sorting)?])?;
        }
        Ok(())
    }

    fn move_loads(
        &self,
        account: AccountId,
        moved: &BTreeMap<AgentId, AgentChange>,
    ) -> Result<(), StoreError> {
        for (agent, AgentChange { open, assignments }) in moved {
            let values: [&dyn ToSql; 4] = [&account.0, &agent.0, open, assignments];
            if rows::run(self.tx, MOVE_LOAD, &values)? == 0 {
                rows::run(self.tx, ADD_LOAD, &values)?;
            }
        }
        Ok(())
    }
}

fn closed_service(row: &Row<'_>) -> Result<(RoomId, ServiceId), StoreError> {
    let service = ServiceId::parse(rows::text(row, "service_id")?);
    let service = service.map_err(|e| StoreError::Broken("column service_id".into(), Some(e.into())))?;
    Ok((rows::room(row)?, service))
}
