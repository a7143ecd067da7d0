//! What agents hold.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::SystemTime,
};

use deadpool_postgres::GenericClient;
use futures_util::future::try_join;
use sebastian_core::{AccountId, AgentChange, AgentId, AgentLoad, InboxId, Timestamp};
use tokio_postgres::{Row, Statement};

use super::{PostgresStore, rows, transaction::Transaction};
use crate::StoreError;

pub(super) const ALL_SQL: &[&str] = &[LOADS, INBOX_LOADS, COUNTED_BESIDE, ADD, MOVE, SET];

/// Loads by agent.
pub(super) type Loads = BTreeMap<AgentId, AgentLoad>;

pub(super) const LOADS: &str = "
    SELECT agent_id, open, shift, shift_assignments, last_assigned_at
    FROM agent_loads
    WHERE account_id = $1";

/// Indexes conversations_slots and _assigned.
const INBOX_LOADS: &str = "
    SELECT q.inbox_id, held.agent_id, COUNT(*)::int AS held
    FROM (
        SELECT queue_id, agent_id
        FROM conversations
        WHERE account_id = $1 AND state IN ('reserved', 'closing')
        UNION ALL
        SELECT queue_id, agent_id
        FROM conversations
        WHERE account_id = $1 AND state = 'assigned' AND NOT slot_freed
    ) held
    JOIN queues q ON q.id = held.queue_id
    GROUP BY q.inbox_id, held.agent_id";

/// What the platform may still count of an agent, agent by agent: indexes conversations_closed_by, which is the only one for
/// no state is named, and conversations_put_off and _replacing. $2 agents, $3 since. Who is to take their own place again
/// holds a slot for it.
pub(super) const COUNTED_BESIDE: &str = "
    SELECT asked.agent_id, closed.closed, shown.put_off
    FROM unnest($2::bigint[]) AS asked (agent_id)
    CROSS JOIN LATERAL (
        SELECT COUNT(*)::int AS closed
        FROM conversations
        WHERE account_id = $1 AND agent_id = asked.agent_id AND closed_at > $3 AND assigned_at IS NOT NULL
    ) closed
    CROSS JOIN LATERAL (
        SELECT COUNT(*)::int AS put_off
        FROM (
            SELECT
            FROM conversations
            WHERE account_id = $1 AND agent_id = asked.agent_id AND state = 'assigned' AND slot_freed
            UNION ALL
            SELECT
            FROM conversations
            WHERE account_id = $1 AND replaces_agent = asked.agent_id AND state <> 'resolved'
              AND agent_id IS DISTINCT FROM replaces_agent
        ) c
    ) shown
    WHERE closed.closed > 0 OR shown.put_off > 0";

const ADD: &str = "
    INSERT INTO agent_loads (account_id, agent_id)
    SELECT $1, agent_id
    FROM unnest($2::bigint[]) AS agent_id
    ON CONFLICT DO NOTHING";

const MOVE: &str = "
    UPDATE agent_loads l
    SET open = l.open + u.open,
        shift_assignments = GREATEST(0, l.shift_assignments + u.assignments)
    FROM unnest($2::bigint[], $3::int[], $4::int[]) AS u (agent_id, open, assignments)
    WHERE l.account_id = $1 AND l.agent_id = u.agent_id";

/// One array a column.
pub(super) const SET: &str = "
    INSERT INTO agent_loads (account_id, agent_id, open, shift, shift_assignments, last_assigned_at)
    SELECT $1, agent_id, open, shift, shift_assignments, last_assigned_at
    FROM unnest($2::bigint[], $3::int[], $4::timestamptz[], $5::int[], $6::timestamptz[])
         AS u (agent_id, open, shift, shift_assignments, last_assigned_at)
    ON CONFLICT (account_id, agent_id) DO UPDATE
    SET open = EXCLUDED.open,
        shift = EXCLUDED.shift,
        shift_assignments = EXCLUDED.shift_assignments,
        last_assigned_at = EXCLUDED.last_assigned_at";

/// Slots held of each inbox, by agent.
pub(super) async fn inbox_loads(
    client: &impl GenericClient,
    account: AccountId,
) -> Result<BTreeMap<(Option<InboxId>, AgentId), u32>, StoreError> {
    let statement = client.prepare_cached(INBOX_LOADS).await?;
    let found = client.query(&statement, &[&account.0]).await?;
    let held = |row: &Row| {
        let inbox = row.try_get::<_, Option<i64>>("inbox_id")?.map(InboxId);
        Ok(((inbox, AgentId(row.try_get("agent_id")?)), rows::count(row, "held")?))
    };
    found.iter().map(held).collect()
}

/// What the ledger knows of every agent's work, apart from what explains the platform's counts. Sent at the first poll where
/// [`LOADS`] is prepared.
pub(super) async fn read(client: &impl GenericClient, account: AccountId) -> Result<Loads, StoreError> {
    let statement = client.prepare_cached(LOADS).await?;
    let found = client.query(&statement, &[&account.0]).await?;
    let load = |row: &Row| {
        let agent = AgentId(row.try_get("agent_id")?);
        let load = AgentLoad {
            agent,
            open: rows::count(row, "open")?,
            closed_recently: 0,
            put_off: 0,
            shift: rows::time(row, "shift")?,
            shift_assignments: rows::count(row, "shift_assignments")?,
            last_assigned_at: rows::time(row, "last_assigned_at")?,
        };
        Ok((agent, load))
    };
    found.iter().map(load).collect()
}

/// What else the platform may count of some agents.
pub(super) struct CountedBeside {
    asked: BTreeSet<AgentId>,
    /// Conversations closed of late, and put off.
    counts: Vec<(AgentId, u32, u32)>,
}

impl CountedBeside {
    /// What closed of `agents` since a time, and what is put off. Nothing is asked of no agent; else sent at the first poll
    /// where [`COUNTED_BESIDE`] is prepared.
    pub async fn read(
        client: &impl GenericClient,
        account: AccountId,
        agents: BTreeSet<AgentId>,
        since: Timestamp,
    ) -> Result<Self, StoreError> {
        if agents.is_empty() {
            return Ok(Self { asked: agents, counts: Vec::new() });
        }
        let ids: Vec<i64> = agents.iter().map(|agent| agent.0).collect();
        let statement = client.prepare_cached(COUNTED_BESIDE).await?;
        let found = client.query(&statement, &[&account.0, &ids, &SystemTime::from(since)]).await?;
        let counted = |row: &Row| {
            Ok((AgentId(row.try_get("agent_id")?), rows::count(row, "closed")?, rows::count(row, "put_off")?))
        };
        Ok(Self { asked: agents, counts: found.iter().map(counted).collect::<Result<_, StoreError>>()? })
    }

    /// Whether all of these were asked about.
    pub fn is_of(&self, agents: &BTreeSet<AgentId>) -> bool {
        agents.is_subset(&self.asked)
    }

    /// Fills in what was found of `agents`.
    pub fn fill_in(&self, agents: &BTreeSet<AgentId>, loads: &mut Loads) {
        for (agent, closed, put_off) in self.counts.iter().filter(|(agent, ..)| agents.contains(agent)) {
            if let Some(load) = loads.get_mut(agent) {
                (load.closed_recently, load.put_off) = (*closed, *put_off);
            }
        }
    }
}

/// Statements that move counters, for [`shift_by`].
pub(super) const SHIFTING: [&str; 2] = [ADD, MOVE];

/// Moves counters that were not read, sent at the first poll. The account must be locked.
pub(super) async fn shift_by(
    tx: &Transaction,
    [add, change]: &[Statement; SHIFTING.len()],
    account: AccountId,
    changes: &BTreeMap<AgentId, AgentChange>,
) -> Result<(), StoreError> {
    if changes.is_empty() {
        return Ok(());
    }
    let agents: Vec<i64> = changes.keys().map(|agent| agent.0).collect();
    let open: Vec<i32> = changes.values().map(|change| change.open).collect();
    let assignments: Vec<i32> = changes.values().map(|change| change.assignments).collect();
    try_join(
        tx.execute(add, &[&account.0, &agents]),
        tx.execute(change, &[&account.0, &agents, &open, &assignments]),
    )
    .await?;
    Ok(())
}

/// The same for counters that were read and are to be written by [`set`].
pub(super) fn apply(loads: &mut Loads, changes: &BTreeMap<AgentId, AgentChange>) -> Result<(), StoreError> {
    for (agent, change) in changes {
        let load = loads.entry(*agent).or_insert_with(|| AgentLoad::none(*agent));
        load.open = load.open.checked_add_signed(change.open).ok_or_else(|| {
            StoreError::Broken(format!("agent {agent} would hold fewer than no conversations"), None)
        })?;
        load.shift_assignments = load.shift_assignments.saturating_add_signed(change.assignments);
    }
    Ok(())
}

/// Writes the loads of `agents`, read by the same transaction. `statement` is [`SET`], sent at the first poll.
pub(super) async fn set(
    tx: &Transaction,
    statement: &Statement,
    account: AccountId,
    loads: &Loads,
    agents: &BTreeSet<AgentId>,
) -> Result<(), StoreError> {
    if agents.is_empty() {
        return Ok(());
    }
    let changed: Vec<&AgentLoad> = agents.iter().filter_map(|agent| loads.get(agent)).collect();
    let ids: Vec<i64> = changed.iter().map(|load| load.agent.0).collect();
    let open: Vec<i32> = changed.iter().map(|load| rows::signed(load.open)).collect();
    let shifts: Vec<Option<SystemTime>> =
        changed.iter().map(|load| load.shift.map(SystemTime::from)).collect();
    let given: Vec<i32> = changed.iter().map(|load| rows::signed(load.shift_assignments)).collect();
    let last: Vec<Option<SystemTime>> =
        changed.iter().map(|load| load.last_assigned_at.map(SystemTime::from)).collect();
    tx.execute(statement, &[&account.0, &ids, &open, &shifts, &given, &last]).await?;
    Ok(())
}

impl PostgresStore {
    pub(super) async fn run_loads(
        &self,
        account: AccountId,
        polled_at: Timestamp,
    ) -> Result<Loads, StoreError> {
        let client = self.client().await?;
        let mut found = read(&client, account).await?;
        let agents: BTreeSet<AgentId> = found.keys().copied().collect();
        let since = polled_at - self.timing.settle_window;
        CountedBeside::read(&client, account, agents.clone(), since).await?.fill_in(&agents, &mut found);
        Ok(found)
    }
}
