//! Short questions and small writes: accounts, loads, counts, pauses, leases, retention.

use std::time::{Duration, SystemTime};

use deadpool_postgres::GenericClient;
use sebastian_core::{AccountId, Timestamp};
use tokio_postgres::{Row, types::ToSql};

use super::{PostgresStore, rows};
use crate::{AUDIT_KEPT, Counts, Keep, PauseReason, StoreError};

pub(super) const ALL_SQL: &[&str] = &[
    PING,
    NOW,
    OPEN_ACCOUNT,
    ACCOUNT,
    COUNTS,
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

const PING: &str = "SELECT 1";

const NOW: &str = "SELECT clock_timestamp() AS now";

const OPEN_ACCOUNT: &str = "
    INSERT INTO accounts (platform, tenant)
    VALUES ($1, $2)
    ON CONFLICT DO NOTHING";

const ACCOUNT: &str = "SELECT id FROM accounts WHERE platform = $1 AND tenant = $2";

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

/// Index decision_rounds_age. The decisions of a round go with it.
const PURGE_ROUNDS: &str = "
    DELETE FROM decision_rounds
    WHERE id = ANY (ARRAY (
        SELECT id
        FROM decision_rounds
        WHERE account_id = $1 AND decided_at < $2
        ORDER BY decided_at
        LIMIT $3))";

/// Rosters that no round names, nor one under way: that writes the time. Index decision_rounds_roster.
const PURGE_ROSTERS: &str = "
    DELETE FROM rosters r
    WHERE r.account_id = $1 AND r.named_at < $2 AND r.hash = ANY (ARRAY (
        SELECT old.hash
        FROM rosters old
        WHERE old.account_id = $1 AND old.named_at < $2
          AND NOT EXISTS (
              SELECT FROM decision_rounds d
              WHERE d.account_id = $1 AND d.roster = old.hash)
        LIMIT $3))";

/// Indexes rulebooks_age and decision_rounds_version.
const PURGE_RULEBOOKS: &str = "
    DELETE FROM rulebooks
    WHERE account_id = $1 AND version = ANY (ARRAY (
        SELECT r.version
        FROM rulebooks r
        JOIN accounts a ON a.id = r.account_id
        WHERE r.account_id = $1 AND r.created_at < $2 AND r.version <> a.rulebook_version
          AND NOT EXISTS (
              SELECT FROM decision_rounds d
              WHERE d.account_id = $1 AND d.rulebook_version = r.version)
        ORDER BY r.created_at
        LIMIT $3))";

/// Changes come in by time, as events do.
const PURGE_AUDIT: &str = "
    DELETE FROM audit
    WHERE account_id = $1 AND id = ANY (ARRAY (
        SELECT id
        FROM (
            SELECT id, at
            FROM audit
            WHERE account_id = $1
            ORDER BY id
            LIMIT $3) oldest
        WHERE at < $2))";

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
        keep: Keep,
        limit: u32,
    ) -> Result<u64, StoreError> {
        let now = self.run_now().await?;
        let (ledger, decisions) = (now - keep.ledger, now - keep.decisions);
        let limit = i64::from(limit);
        let mut gone = 0;
        for (statement, before) in [
            (PURGE_ROUNDS, decisions),
            (PURGE_RULEBOOKS, decisions),
            (PURGE_AUDIT, now - AUDIT_KEPT),
            (PURGE_EVENTS, ledger),
            (PURGE_CONVERSATIONS, ledger),
            (PURGE_SERVICES, ledger),
        ] {
            gone += self.write(statement, &[&account.0, &SystemTime::from(before), &limit]).await?;
        }
        // Only the ledger knows that rosters are kept apart from the rounds that name them.
        self.write(PURGE_ROSTERS, &[&account.0, &SystemTime::from(decisions), &limit]).await?;
        Ok(gone)
    }

    async fn write(&self, sql: &str, columns: &[&(dyn ToSql + Sync)]) -> Result<u64, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(sql).await?;
        Ok(client.execute(&statement, columns).await?)
    }
}
