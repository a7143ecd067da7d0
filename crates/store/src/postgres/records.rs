//! Recorded decisions: what a round saw, and whom it gave what.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use deadpool_postgres::Transaction;
use sebastian_core::{AccountId, AgentId, ConversationId, Decision, Policy, Rulebook, Snapshot, Timestamp};
use tokio_postgres::{Row, types::Json};

use super::{PostgresStore, error::broken, rows};
use crate::{Recorded, Reservation, StoreError, round};

pub(super) const ALL_SQL: &[&str] = &[KEEP, DECISIONS];

/// $2 when, $3 version of the rulebook, $4 policy, $5 snapshot; then one array a column: $6 conversations, $7 attempts,
/// $8 agents, $9 how long each had waited, in ms.
const KEEP: &str = "
    WITH round AS (
        INSERT INTO decision_rounds (account_id, decided_at, rulebook_version, policy, snapshot)
        VALUES ($1, $2, $3, $4, $5)
        RETURNING id
    )
    INSERT INTO decisions (account_id, conversation_id, attempt, round_id, agent_id, waited_ms)
    SELECT $1, u.conversation_id, u.attempt, round.id, u.agent_id, u.waited_ms
    FROM round, unnest($6::bigint[], $7::int[], $8::bigint[], $9::bigint[])
         AS u (conversation_id, attempt, agent_id, waited_ms)";

/// Primary key of decisions. $2 conversation, $3 most.
const DECISIONS: &str = "
    SELECT d.attempt, d.agent_id, d.waited_ms, r.decided_at, r.rulebook_version, r.policy, r.snapshot
    FROM decisions d
    JOIN decision_rounds r ON r.id = d.round_id
    WHERE d.account_id = $1 AND d.conversation_id = $2
    ORDER BY d.attempt DESC
    LIMIT $3";

/// Records a round, if it reserved anything.
pub(super) async fn keep(
    tx: &Transaction<'_>,
    account: AccountId,
    policy: &Policy,
    snapshot: &Snapshot,
    decisions: &[Decision],
    reserved: &[Reservation],
    now: Timestamp,
) -> Result<(), StoreError> {
    let Some(snapshot) = round::recordable(snapshot, decisions) else { return Ok(()) };
    let version = i64::try_from(snapshot.rules.version).unwrap_or(i64::MAX);
    let conversations: Vec<i64> = reserved.iter().map(|one| one.attempt.conversation.0).collect();
    let attempts: Vec<i32> =
        reserved.iter().map(|one| i32::try_from(one.attempt.number).unwrap_or(i32::MAX)).collect();
    let agents: Vec<i64> = reserved.iter().map(|one| one.agent.0).collect();
    let millis = |waited: Duration| i64::try_from(waited.as_millis()).unwrap_or(i64::MAX);
    let waited: Vec<i64> = reserved.iter().map(|one| millis(now.since(one.opened_at))).collect();
    let statement = tx.prepare_cached(KEEP).await?;
    tx.execute(
        &statement,
        &[
            &account.0,
            &std::time::SystemTime::from(now),
            &version,
            &Json(policy),
            &Json(&snapshot),
            &conversations,
            &attempts,
            &agents,
            &waited,
        ],
    )
    .await?;
    Ok(())
}

impl PostgresStore {
    pub(super) async fn run_decisions(
        &self,
        account: AccountId,
        id: ConversationId,
        limit: u32,
    ) -> Result<Vec<Recorded>, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(DECISIONS).await?;
        let found = client.query(&statement, &[&account.0, &id.0, &i64::from(limit)]).await?;
        let mut read: BTreeMap<u64, Arc<Rulebook>> = BTreeMap::new();
        let mut recorded = Vec::with_capacity(found.len());
        for row in found.iter().rev() {
            let version = rows::version(row, "rulebook_version")?;
            let rules = match read.get(&version) {
                Some(rules) => rules.clone(),
                None => {
                    let kept = self.rulebook_kept(&client, account, version).await?;
                    kept.ok_or_else(|| missing(version))?
                }
            };
            recorded.push(one(row, id, rules.clone())?);
            read.insert(version, rules);
        }
        Ok(recorded)
    }
}

fn one(row: &Row, conversation: ConversationId, rules: Arc<Rulebook>) -> Result<Recorded, StoreError> {
    let waited_ms: i64 = row.try_get("waited_ms")?;
    let Json(snapshot) = row.try_get::<_, Json<Snapshot>>("snapshot")?;
    let Json(policy) = row.try_get::<_, Json<Policy>>("policy")?;
    Ok(Recorded {
        conversation,
        attempt: rows::count(row, "attempt")?,
        agent: AgentId(row.try_get("agent_id")?),
        at: rows::needed(row, "decided_at")?,
        waited: Duration::from_millis(
            u64::try_from(waited_ms).map_err(|e| broken("column waited_ms does not read", e))?,
        ),
        snapshot: Snapshot { rules, ..snapshot },
        policy,
    })
}

fn missing(version: u64) -> StoreError {
    StoreError::Broken(
        format!("a decision names version {version} of the rulebook, which is not there"),
        None,
    )
}
