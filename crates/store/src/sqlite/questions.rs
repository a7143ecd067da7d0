//! Short questions and small writes: accounts, loads, counts, pauses, leases, retention.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rusqlite::{Connection, Row, ToSql};
use sebastian_core::{AccountId, AgentId, AgentLoad, InboxId, Timestamp};

use super::{
    Call,
    rows::{self, millis},
};
use crate::{AUDIT_KEPT, Counts, Keep, PauseReason, StoreError};

pub(super) const ALL_SQL: &[&str] = &[
    PING,
    OPEN_ACCOUNT,
    ACCOUNT,
    LOADS,
    INBOX_LOADS,
    CLOSED_RECENTLY,
    PUT_OFF,
    COUNTS,
    OLDEST_TOLD,
    UNFOLDED,
    PAUSE,
    RESUME,
    LEASE,
    RELEASE_LEASE,
    PURGE_EVENTS,
    PURGE_CONVERSATIONS,
    PURGE_SERVICES,
    PURGE_ROUNDS,
    PURGE_ROSTERS,
    PURGE_RULEBOOKS,
    PURGE_AUDIT,
];

/// Reads the file, where a statement without a table would not.
const PING: &str = "PRAGMA user_version";

const OPEN_ACCOUNT: &str = "
    INSERT INTO accounts (platform, tenant)
    VALUES (?1, ?2)
    ON CONFLICT DO NOTHING";

const ACCOUNT: &str = "SELECT id FROM accounts WHERE platform = ?1 AND tenant = ?2";

const LOADS: &str = "
    SELECT agent_id, open, shift, shift_assignments, last_assigned_at
    FROM agent_loads
    WHERE account_id = ?1";

/// Indexes conversations_slots and _assigned.
const INBOX_LOADS: &str = "
    SELECT q.inbox_id, held.agent_id, COUNT(*) AS held
    FROM (
        SELECT queue_id, agent_id
        FROM conversations INDEXED BY conversations_slots
        WHERE account_id = ?1 AND state IN ('reserved', 'closing')
        UNION ALL
        SELECT queue_id, agent_id
        FROM conversations INDEXED BY conversations_assigned
        WHERE account_id = ?1 AND state = 'assigned' AND NOT slot_freed
    ) held
    CROSS JOIN queues q ON q.id = held.queue_id
    GROUP BY q.inbox_id, held.agent_id";

/// Index conversations_closed. ?2 since.
const CLOSED_RECENTLY: &str = "
    SELECT agent_id, COUNT(*) AS closed
    FROM conversations INDEXED BY conversations_closed
    WHERE account_id = ?1 AND state = 'resolved' AND closed_at > ?2 AND assigned_at IS NOT NULL
    GROUP BY agent_id";

/// Indexes conversations_assigned and _replacing. ?2 agent. Who is to take their own place again holds a slot for it.
const PUT_OFF: &str = "
    SELECT (SELECT COUNT(*)
            FROM conversations INDEXED BY conversations_assigned
            WHERE account_id = ?1 AND agent_id = ?2 AND state = 'assigned' AND slot_freed)
         + (SELECT COUNT(*)
            FROM conversations INDEXED BY conversations_replacing
            WHERE account_id = ?1 AND replaces_agent = ?2 AND state <> 'resolved' AND replaces_agent IS NOT NULL
              AND agent_id IS NOT replaces_agent) AS put_off";

/// Each by the index of its state, whose entries are counted and no row is read, however long the backlog. ?2 now.
const COUNTS: &str = "
    SELECT (SELECT COUNT(*)
            FROM queues w
            CROSS JOIN conversations c INDEXED BY conversations_heads ON c.queue_id = w.id
            WHERE w.account_id = ?1 AND c.state = 'waiting' AND c.park_until IS NULL) AS waiting,
           (SELECT COUNT(*)
            FROM conversations INDEXED BY conversations_parked
            WHERE account_id = ?1 AND state = 'waiting' AND park_until IS NOT NULL) AS parked,
           (SELECT COUNT(*)
            FROM conversations INDEXED BY conversations_slots
            WHERE account_id = ?1 AND state IN ('reserved', 'closing')) AS reserved,
           (SELECT COUNT(*)
            FROM conversations INDEXED BY conversations_slots
            WHERE account_id = ?1 AND state IN ('reserved', 'closing') AND deadline_at < ?2) AS overdue,
           (SELECT COUNT(*)
            FROM conversations INDEXED BY conversations_assigned
            WHERE account_id = ?1 AND state = 'assigned') AS assigned,
           (SELECT COUNT(*)
            FROM conversations INDEXED BY conversations_untold
            WHERE account_id = ?1 AND state = 'waiting' AND told_waiting = 0) AS untold,
           (SELECT MIN(opened_at)
            FROM conversations INDEXED BY conversations_untold
            WHERE account_id = ?1 AND state = 'waiting' AND told_waiting = 0) AS oldest_untold_at";

/// Those who wait and of whom somebody was told; read when there are any. Index conversations_unresolved.
const OLDEST_TOLD: &str = "
    SELECT MIN(opened_at) AS oldest_told_at
    FROM conversations INDEXED BY conversations_unresolved
    WHERE account_id = ?1 AND state <> 'resolved' AND state = 'waiting' AND told_waiting = 1";

/// Index events_of.
const UNFOLDED: &str = "
    SELECT COUNT(*) AS unfolded
    FROM events
    WHERE account_id = ?1 AND seq > (SELECT folded_seq FROM accounts WHERE id = ?1)";

/// ?2 now, ?3 until, ?4 reason.
const PAUSE: &str = "
    UPDATE accounts
    SET failures = failures + CASE WHEN paused_until > ?2 THEN 0 ELSE 1 END,
        paused_until = MAX(COALESCE(paused_until, ?3), ?3),
        pause_reason = ?4
    WHERE id = ?1";

/// ?2 now.
const RESUME: &str = "
    UPDATE accounts
    SET failures = 0, paused_until = NULL, pause_reason = NULL
    WHERE id = ?1 AND failures > 0 AND (paused_until IS NULL OR paused_until <= ?2)";

/// ?1 name, ?2 holder, ?3 until, ?4 now.
const LEASE: &str = "
    INSERT INTO leases AS held (name, holder, expires_at)
    VALUES (?1, ?2, ?3)
    ON CONFLICT (name) DO UPDATE
    SET holder = excluded.holder, expires_at = excluded.expires_at
    WHERE held.holder = excluded.holder OR held.expires_at <= ?4";

const RELEASE_LEASE: &str = "DELETE FROM leases WHERE name = ?1 AND holder = ?2";

/// ?2 age limit, ?3 most rows; so the others but of rosters. Events come in by time, so the oldest are the first: no more
/// than the limit are looked at. Index events_of.
const PURGE_EVENTS: &str = "
    DELETE FROM events
    WHERE seq IN (
        SELECT seq
        FROM (
            SELECT seq, received_at
            FROM events
            WHERE account_id = ?1 AND seq <= (SELECT folded_seq FROM accounts WHERE id = ?1)
            ORDER BY seq
            LIMIT ?3)
        WHERE received_at < ?2)";

/// Index conversations_closed.
const PURGE_CONVERSATIONS: &str = "
    DELETE FROM conversations
    WHERE id IN (
        SELECT id
        FROM conversations INDEXED BY conversations_closed
        WHERE account_id = ?1 AND state = 'resolved' AND closed_at < ?2
        ORDER BY closed_at
        LIMIT ?3)";

/// Index closed_services_age.
const PURGE_SERVICES: &str = "
    DELETE FROM closed_services
    WHERE (account_id, room_id, service_id) IN (
        SELECT account_id, room_id, service_id
        FROM closed_services INDEXED BY closed_services_age
        WHERE account_id = ?1 AND closed_at < ?2
        ORDER BY closed_at
        LIMIT ?3)";

/// Index decision_rounds_age. The decisions of a round go with it.
const PURGE_ROUNDS: &str = "
    DELETE FROM decision_rounds
    WHERE id IN (
        SELECT id
        FROM decision_rounds INDEXED BY decision_rounds_age
        WHERE account_id = ?1 AND decided_at < ?2
        ORDER BY decided_at
        LIMIT ?3)";

/// Rosters that no round names. No round is under way: this is the only writer. ?2 most rows. Index decision_rounds_roster.
const PURGE_ROSTERS: &str = "
    DELETE FROM rosters
    WHERE account_id = ?1 AND hash IN (
        SELECT old.hash
        FROM rosters old
        WHERE old.account_id = ?1
          AND NOT EXISTS (
              SELECT 1
              FROM decision_rounds d INDEXED BY decision_rounds_roster
              WHERE d.account_id = ?1 AND d.roster = old.hash)
        LIMIT ?2)";

/// Indexes rulebooks_age and decision_rounds_version.
const PURGE_RULEBOOKS: &str = "
    DELETE FROM rulebooks
    WHERE account_id = ?1 AND version IN (
        SELECT r.version
        FROM rulebooks r INDEXED BY rulebooks_age
        WHERE r.account_id = ?1 AND r.created_at < ?2
          AND r.version <> (SELECT rulebook_version FROM accounts WHERE id = ?1)
          AND NOT EXISTS (
              SELECT 1
              FROM decision_rounds d INDEXED BY decision_rounds_version
              WHERE d.account_id = ?1 AND d.rulebook_version = r.version)
        ORDER BY r.created_at
        LIMIT ?3)";

/// Changes come in by time, as events do. Index audit_of.
const PURGE_AUDIT: &str = "
    DELETE FROM audit
    WHERE id IN (
        SELECT id
        FROM (
            SELECT id, at
            FROM audit INDEXED BY audit_of
            WHERE account_id = ?1
            ORDER BY id
            LIMIT ?3)
        WHERE at < ?2)";

/// Slots held of each inbox, by agent.
pub(super) fn inbox_loads(
    tx: &Connection,
    account: AccountId,
) -> Result<BTreeMap<(Option<InboxId>, AgentId), u32>, StoreError> {
    let held = |row: &Row<'_>| {
        let inbox = row.get::<_, Option<i64>>("inbox_id")?.map(InboxId);
        Ok(((inbox, AgentId(row.get("agent_id")?)), row.get("held")?))
    };
    Ok(rows::all(tx, INBOX_LOADS, &[&account.0], held)?.into_iter().collect())
}

/// What the ledger knows of every agent's work, apart from what explains the platform's counts.
pub(super) fn loads(tx: &Connection, account: AccountId) -> Result<BTreeMap<AgentId, AgentLoad>, StoreError> {
    let load = |row: &Row<'_>| {
        let agent = AgentId(row.get("agent_id")?);
        let load = AgentLoad {
            agent,
            open: row.get("open")?,
            closed_recently: 0,
            put_off: 0,
            shift: rows::time(row, "shift")?,
            shift_assignments: row.get("shift_assignments")?,
            last_assigned_at: rows::time(row, "last_assigned_at")?,
        };
        Ok((agent, load))
    };
    Ok(rows::all(tx, LOADS, &[&account.0], load)?.into_iter().collect())
}

/// Fills in what else the platform may count, for these agents: what closed since a time, and what is put off.
pub(super) fn add_counted_beside(
    tx: &Connection,
    account: AccountId,
    agents: &BTreeSet<AgentId>,
    since: Timestamp,
    loads: &mut BTreeMap<AgentId, AgentLoad>,
) -> Result<(), StoreError> {
    if agents.is_empty() {
        return Ok(());
    }
    let closed = |row: &Row<'_>| Ok((row.get::<_, Option<i64>>("agent_id")?, row.get::<_, u32>("closed")?));
    for (agent, closed) in rows::all(tx, CLOSED_RECENTLY, &[&account.0, &millis(since)], closed)? {
        let agent = agent.map(AgentId).filter(|agent| agents.contains(agent));
        if let Some(load) = agent.and_then(|agent| loads.get_mut(&agent)) {
            load.closed_recently = closed;
        }
    }
    let mut put_off = tx.prepare_cached(PUT_OFF)?;
    for agent in agents {
        if let Some(load) = loads.get_mut(agent) {
            load.put_off = put_off.query_row([account.0, agent.0], |row| row.get("put_off"))?;
        }
    }
    Ok(())
}

impl Call<'_> {
    pub(super) fn ping(&self) -> Result<(), StoreError> {
        rows::first(self.tx, PING, &[], |_| Ok(())).map(drop)
    }

    pub(super) fn open_account(&self, platform: &str, tenant: &str) -> Result<AccountId, StoreError> {
        rows::run(self.tx, OPEN_ACCOUNT, &[&platform, &tenant])?;
        let id = |row: &Row<'_>| Ok(AccountId(row.get("id")?));
        let found = rows::first(self.tx, ACCOUNT, &[&platform, &tenant], id)?;
        found.ok_or_else(|| StoreError::Broken("an account that was added is not there".into(), None))
    }

    pub(super) fn loads(
        &self,
        account: AccountId,
        polled_at: Timestamp,
    ) -> Result<BTreeMap<AgentId, AgentLoad>, StoreError> {
        let mut found = loads(self.tx, account)?;
        let agents: BTreeSet<AgentId> = found.keys().copied().collect();
        let since = polled_at - self.store.timing.settle_window;
        add_counted_beside(self.tx, account, &agents, since, &mut found)?;
        Ok(found)
    }

    pub(super) fn counts(&self, account: AccountId) -> Result<Counts, StoreError> {
        fn count(row: &Row<'_>, column: &str) -> Result<u64, StoreError> {
            Ok(u64::try_from(row.get::<_, i64>(column)?).unwrap_or(0))
        }
        let unfolded = rows::first(self.tx, UNFOLDED, &[&account.0], |row| count(row, "unfolded"))?;
        let counts = |row: &Row<'_>| {
            let counts = Counts {
                waiting: count(row, "waiting")?,
                parked: count(row, "parked")?,
                reserved: count(row, "reserved")?,
                overdue: count(row, "overdue")?,
                assigned: count(row, "assigned")?,
                unfolded: unfolded.unwrap_or(0),
                oldest_waiting_at: rows::time(row, "oldest_untold_at")?,
            };
            Ok((counts, count(row, "untold")?))
        };
        let found = rows::first(self.tx, COUNTS, &[&account.0, &millis(self.now)], counts)?;
        let (mut counts, untold) = found.unwrap_or_default();
        if counts.waiting + counts.parked > untold {
            let told = |row: &Row<'_>| rows::time(row, "oldest_told_at");
            let told = rows::first(self.tx, OLDEST_TOLD, &[&account.0], told)?.flatten();
            counts.oldest_waiting_at = told.into_iter().chain(counts.oldest_waiting_at).min();
        }
        Ok(counts)
    }

    pub(super) fn pause(
        &self,
        account: AccountId,
        span: Duration,
        reason: PauseReason,
    ) -> Result<(), StoreError> {
        let (now, until) = (millis(self.now), millis(self.now + span));
        rows::run(self.tx, PAUSE, &[&account.0, &now, &until, &reason.as_str()]).map(drop)
    }

    pub(super) fn resume(&self, account: AccountId) -> Result<(), StoreError> {
        rows::run(self.tx, RESUME, &[&account.0, &millis(self.now)]).map(drop)
    }

    pub(super) fn lease(&self, name: &str, holder: &str, span: Duration) -> Result<bool, StoreError> {
        let (now, until) = (millis(self.now), millis(self.now + span));
        Ok(rows::run(self.tx, LEASE, &[&name, &holder, &until, &now])? == 1)
    }

    pub(super) fn release_lease(&self, name: &str, holder: &str) -> Result<(), StoreError> {
        rows::run(self.tx, RELEASE_LEASE, &[&name, &holder]).map(drop)
    }

    pub(super) fn purge(&self, account: AccountId, keep: Keep, limit: u32) -> Result<u64, StoreError> {
        let (ledger, decisions) = (self.now - keep.ledger, self.now - keep.decisions);
        let mut gone = 0;
        for (statement, before) in [
            (PURGE_ROUNDS, decisions),
            (PURGE_RULEBOOKS, decisions),
            (PURGE_AUDIT, self.now - AUDIT_KEPT),
            (PURGE_EVENTS, ledger),
            (PURGE_CONVERSATIONS, ledger),
            (PURGE_SERVICES, ledger),
        ] {
            let values: [&dyn ToSql; 3] = [&account.0, &millis(before), &limit];
            gone += rows::run(self.tx, statement, &values)?;
        }
        // Only the ledger knows that rosters are kept apart from the rounds that name them.
        rows::run(self.tx, PURGE_ROSTERS, &[&account.0, &limit])?;
        Ok(u64::try_from(gone).unwrap_or(u64::MAX))
    }
}
