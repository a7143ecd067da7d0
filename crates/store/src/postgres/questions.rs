//! Short questions and small writes: accounts, loads, counts, pauses, leases, retention.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use deadpool_postgres::GenericClient;
use sebastian_core::{AccountId, AgentId, AgentLoad, Timestamp};
use tokio_postgres::{Row, types::ToSql};

use super::{PostgresStore, rows};
use crate::{Counts, PauseReason, StoreError};

pub(super) const ALL_SQL: &[&str] = &[
    PING,
    NOW,
    OPEN_ACCOUNT,
    ACCOUNT,
    LOADS,
    CLOSED_RECENTLY,
    COUNTS,
    UNFOLDED,
    PAUSE,
    RESUME,
    LEASE,
    RELEASE_LEASE,
    PURGE_EVENTS,
    PURGE_CONVERSATIONS,
    PURGE_SERVICES,
];

const PING: &str = "SELECT 1";

const NOW: &str = "SELECT clock_timestamp() AS now";

const OPEN_ACCOUNT: &str = "
    INSERT INTO accounts (platform, tenant)
    VALUES ($1, $2)
    ON CONFLICT DO NOTHING";

const ACCOUNT: &str = "SELECT id FROM accounts WHERE platform = $1 AND tenant = $2";

const LOADS: &str = "
    SELECT agent_id, open, shift, shift_assignments, last_assigned_at
    FROM agent_loads
    WHERE account_id = $1";

/// Index conversations_closed. $2 agents, $3 since.
const CLOSED_RECENTLY: &str = "
    SELECT agent_id, COUNT(*)::int AS closed
    FROM conversations
    WHERE account_id = $1 AND agent_id = ANY($2) AND state = 'resolved' AND closed_at > $3
      AND assigned_at IS NOT NULL
    GROUP BY agent_id";

/// Index conversations_unresolved.
const COUNTS: &str = "
    SELECT COUNT(*) FILTER (WHERE state = 'waiting' AND park_until IS NULL) AS waiting,
           COUNT(*) FILTER (WHERE state = 'waiting' AND park_until IS NOT NULL) AS parked,
           COUNT(*) FILTER (WHERE state IN ('reserved', 'closing')) AS reserved,
           COUNT(*) FILTER (WHERE state IN ('reserved', 'closing') AND deadline_at < clock_timestamp()) AS overdue,
           COUNT(*) FILTER (WHERE state = 'assigned') AS assigned,
           MIN(opened_at) FILTER (WHERE state = 'waiting') AS oldest_waiting_at
    FROM conversations
    WHERE account_id = $1 AND state <> 'resolved'";

const UNFOLDED: &str = "
    SELECT COUNT(*) AS unfolded
    FROM events
    WHERE account_id = $1 AND seq > (SELECT folded_seq FROM accounts WHERE id = $1)";

/// $2 span in seconds, $3 reason.
const PAUSE: &str = "
    UPDATE accounts
    SET failures = failures + CASE WHEN paused_until > clock_timestamp() THEN 0 ELSE 1 END,
        paused_until = GREATEST(paused_until, clock_timestamp() + make_interval(secs => $2)),
        pause_reason = $3
    WHERE id = $1";

const RESUME: &str = "
    UPDATE accounts
    SET failures = 0, paused_until = NULL, pause_reason = NULL
    WHERE id = $1 AND failures > 0 AND (paused_until IS NULL OR paused_until <= clock_timestamp())";

/// $1 name, $2 holder, $3 span in seconds.
const LEASE: &str = "
    INSERT INTO leases AS held (name, holder, expires_at)
    VALUES ($1, $2, clock_timestamp() + make_interval(secs => $3))
    ON CONFLICT (name) DO UPDATE
    SET holder = EXCLUDED.holder, expires_at = EXCLUDED.expires_at
    WHERE held.holder = EXCLUDED.holder OR held.expires_at <= clock_timestamp()";

const RELEASE_LEASE: &str = "DELETE FROM leases WHERE name = $1 AND holder = $2";

/// $2 age limit, $3 most rows; so the next two. Events come in by time, so the oldest are the first: no more than
/// the limit are looked at.
const PURGE_EVENTS: &str = "
    DELETE FROM events
    WHERE account_id = $1 AND seq = ANY (ARRAY (
        SELECT seq
        FROM (
            SELECT seq, received_at
            FROM events
            WHERE account_id = $1 AND seq <= (SELECT folded_seq FROM accounts WHERE id = $1)
            ORDER BY seq
            LIMIT $3) oldest
        WHERE received_at < $2))";

/// Index conversations_closed.
const PURGE_CONVERSATIONS: &str = "
    DELETE FROM conversations
    WHERE id = ANY (ARRAY (
        SELECT id
        FROM conversations
        WHERE account_id = $1 AND state = 'resolved' AND closed_at < $2
        ORDER BY closed_at
        LIMIT $3))";

/// Index closed_services_age.
const PURGE_SERVICES: &str = "
    DELETE FROM closed_services
    WHERE (account_id, room_id, service_id) IN (
        SELECT account_id, room_id, service_id
        FROM closed_services
        WHERE account_id = $1 AND closed_at < $2
        ORDER BY closed_at
        LIMIT $3)";

/// What the ledger knows of every agent's work, apart from what closed recently.
pub(super) async fn loads(
    client: &impl GenericClient,
    account: AccountId,
) -> Result<BTreeMap<AgentId, AgentLoad>, StoreError> {
    let statement = client.prepare_cached(LOADS).await?;
    let found = client.query(&statement, &[&account.0]).await?;
    let load = |row: &Row| {
        let agent = AgentId(row.try_get("agent_id")?);
        let load = AgentLoad {
            agent,
            open: rows::count(row, "open")?,
            closed_recently: 0,
            shift: rows::time(row, "shift")?,
            shift_assignments: rows::count(row, "shift_assignments")?,
            last_assigned_at: rows::time(row, "last_assigned_at")?,
        };
        Ok((agent, load))
    };
    found.iter().map(load).collect()
}

/// Fills in what closed since a time, for these agents.
pub(super) async fn add_closed_recently(
    client: &impl GenericClient,
    account: AccountId,
    agents: &[i64],
    since: Timestamp,
    loads: &mut BTreeMap<AgentId, AgentLoad>,
) -> Result<(), StoreError> {
    if agents.is_empty() {
        return Ok(());
    }
    let statement = client.prepare_cached(CLOSED_RECENTLY).await?;
    let found = client.query(&statement, &[&account.0, &agents, &SystemTime::from(since)]).await?;
    for row in &found {
        if let Some(load) = loads.get_mut(&AgentId(row.try_get("agent_id")?)) {
            load.closed_recently = rows::count(row, "closed")?;
        }
    }
    Ok(())
}

impl PostgresStore {
    pub(super) async fn run_ping(&self) -> Result<(), StoreError> {
        self.client().await?.query_one(PING, &[]).await?;
        Ok(())
    }

    pub(super) async fn run_now(&self) -> Result<Timestamp, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(NOW).await?;
        rows::needed(&client.query_one(&statement, &[]).await?, "now")
    }

    pub(super) async fn run_open_account(
        &self,
        platform: &str,
        tenant: &str,
    ) -> Result<AccountId, StoreError> {
        let client = self.client().await?;
        client.execute(OPEN_ACCOUNT, &[&platform, &tenant]).await?;
        let row = client.query_one(ACCOUNT, &[&platform, &tenant]).await?;
        Ok(AccountId(row.try_get("id")?))
    }

    pub(super) async fn run_loads(
        &self,
        account: AccountId,
        polled_at: Timestamp,
    ) -> Result<BTreeMap<AgentId, AgentLoad>, StoreError> {
        let client = self.client().await?;
        let mut found = loads(&client, account).await?;
        let agents: Vec<i64> = found.keys().map(|agent| agent.0).collect();
        let since = polled_at - self.timing.settle_window;
        add_closed_recently(&client, account, &agents, since, &mut found).await?;
        Ok(found)
    }

    pub(super) async fn run_counts(&self, account: AccountId) -> Result<Counts, StoreError> {
        let client = self.client().await?;
        let (counts, unfolded) =
            (client.prepare_cached(COUNTS).await?, client.prepare_cached(UNFOLDED).await?);
        let row = client.query_one(&counts, &[&account.0]).await?;
        let unfolded = client.query_one(&unfolded, &[&account.0]).await?;
        let count = |row: &Row, column: &str| -> Result<u64, StoreError> {
            Ok(u64::try_from(row.try_get::<_, i64>(column)?).unwrap_or(0))
        };
        Ok(Counts {
            waiting: count(&row, "waiting")?,
            parked: count(&row, "parked")?,
            reserved: count(&row, "reserved")?,
            overdue: count(&row, "overdue")?,
            assigned: count(&row, "assigned")?,
            unfolded: count(&unfolded, "unfolded")?,
            oldest_waiting_at: rows::time(&row, "oldest_waiting_at")?,
        })
    }

    pub(super) async fn run_pause(
        &self,
        account: AccountId,
        span: Duration,
        reason: PauseReason,
    ) -> Result<(), StoreError> {
        self.write(PAUSE, &[&account.0, &span.as_secs_f64(), &reason.as_str()]).await.map(drop)
    }

    pub(super) async fn run_resume(&self, account: AccountId) -> Result<(), StoreError> {
        self.write(RESUME, &[&account.0]).await.map(drop)
    }

    pub(super) async fn run_lease(
        &self,
        name: &str,
        holder: &str,
        span: Duration,
    ) -> Result<bool, StoreError> {
        let rows = self.write(LEASE, &[&name, &holder, &span.as_secs_f64()]).await?;
        Ok(rows == 1)
    }

    pub(super) async fn run_release_lease(&self, name: &str, holder: &str) -> Result<(), StoreError> {
        self.write(RELEASE_LEASE, &[&name, &holder]).await.map(drop)
    }

    pub(super) async fn run_purge(
        &self,
        account: AccountId,
        keep: Duration,
        limit: u32,
    ) -> Result<u64, StoreError> {
        let before = SystemTime::from(self.run_now().await? - keep);
        let limit = i64::from(limit);
        let mut gone = 0;
        for statement in [PURGE_EVENTS, PURGE_CONVERSATIONS, PURGE_SERVICES] {
            gone += self.write(statement, &[&account.0, &before, &limit]).await?;
        }
        Ok(gone)
    }

    async fn write(&self, sql: &str, columns: &[&(dyn ToSql + Sync)]) -> Result<u64, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(sql).await?;
        Ok(client.execute(&statement, columns).await?)
    }
}
