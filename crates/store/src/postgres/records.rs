//! Recorded decisions: what a round saw, and whom it gave what.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use sebastian_core::{
    AccountId, Agent, AgentId, ConversationId, Decision, Policy, Roster, Rulebook, Snapshot,
};
use tokio_postgres::{Row, Statement, types::Json};

use super::{PostgresStore, decide::Round, error::broken, rows};
use crate::{
    Recorded, StoreError,
    round::{self, Choice},
    stored::Stored,
};

pub(super) const ALL_SQL: &[&str] = &[KEEP, ADD_ROSTER, DECISIONS];

/// Keeps nothing when the roster is not there. $2 when, $3 version of the rulebook, $4 policy, $5 snapshot, $6 hash of the
/// roster; then one array a column: $7 conversations, $8 agents, $9 how long each had waited, in ms. Attempts are those
/// that the round itself began. The roster's row is written, not only read, so that a purge under way finds it named.
pub(super) const KEEP: &str = "
    WITH named AS (
        UPDATE rosters
        SET named_at = GREATEST(named_at, $2)
        WHERE account_id = $1 AND hash = $6
        RETURNING hash
    ), round AS (
        INSERT INTO decision_rounds (account_id, decided_at, rulebook_version, policy, snapshot, roster)
        SELECT $1, $2, $3, $4, $5, named.hash FROM named
        RETURNING id
    )
    INSERT INTO decisions (account_id, conversation_id, attempt, round_id, agent_id, waited_ms)
    SELECT $1, c.id, c.attempt, round.id, u.agent_id, u.waited_ms
    FROM round
    CROSS JOIN unnest($7::bigint[], $8::bigint[], $9::bigint[]) AS u (conversation_id, agent_id, waited_ms)
    JOIN conversations c ON c.id = u.conversation_id";

/// $2 when, $3 body.
const ADD_ROSTER: &str = "
    INSERT INTO rosters (account_id, hash, named_at, body)
    VALUES ($1, sha256(convert_to($3::text, 'UTF8')), $2, $3::text::json)
    ON CONFLICT (account_id, hash) DO UPDATE
    SET named_at = GREATEST(rosters.named_at, EXCLUDED.named_at)
    RETURNING hash";

/// Primary key of decisions. $2 conversation, $3 most.
const DECISIONS: &str = "
    SELECT d.attempt, d.agent_id, d.waited_ms, r.decided_at, r.rulebook_version, r.policy, r.snapshot, s.body AS agents
    FROM decisions d
    JOIN decision_rounds r ON r.id = d.round_id
    JOIN rosters s ON s.account_id = r.account_id AND s.hash = r.roster
    WHERE d.account_id = $1 AND d.conversation_id = $2
    ORDER BY d.attempt DESC
    LIMIT $3";

/// A round as its row has it, and the agents it saw, who are stored apart.
pub(super) struct Kept<'a> {
    agents_seen: Arc<Roster>,
    version: i64,
    policy: &'a Policy,
    snapshot: Stored,
    conversations: Vec<i64>,
    agents: Vec<i64>,
    waited: Vec<i64>,
}

impl<'a> Kept<'a> {
    /// A round that reserves `choices`. `None` where it reserves nothing, or nothing is to be kept.
    pub fn of(
        round: &Round<'a>,
        snapshot: &Snapshot,
        decisions: &[Decision],
        choices: &[Choice<'_>],
    ) -> Option<Self> {
        if !round.request.record {
            return None;
        }
        let (policy, now) = (round.request.policy, round.locked.now);
        let (snapshot, agents_seen) = Stored::new(round::recordable(snapshot, decisions)?, now);
        let millis = |waited: Duration| i64::try_from(waited.as_millis()).unwrap_or(i64::MAX);
        Some(Self {
            agents_seen,
            version: i64::try_from(snapshot.version()).unwrap_or(i64::MAX),
            policy,
            snapshot,
            conversations: choices.iter().map(|choice| choice.head.conversation.0).collect(),
            agents: choices.iter().map(|choice| choice.agent.0).collect(),
            waited: choices.iter().map(|choice| millis(now.since(choice.head.opened_at))).collect(),
        })
    }

    /// Whether `roster` was there to be named. `keep` is [`KEEP`].
    async fn write(&self, round: &Round<'_>, keep: &Statement, roster: &[u8]) -> Result<bool, StoreError> {
        let written = round
            .tx
            .execute(
                keep,
                &[
                    &round.request.account.0,
                    &SystemTime::from(round.locked.now),
                    &self.version,
                    &Json(self.policy),
                    &Json(&self.snapshot),
                    &roster,
                    &self.conversations,
                    &self.agents,
                    &self.waited,
                ],
            )
            .await?;
        Ok(written > 0)
    }
}

impl PostgresStore {
    /// Records a round over agents who were stored before, sent at the first poll behind what reserves. False: they were
    /// not, and [`record_with_agents`](Self::record_with_agents) is to be called.
    pub(super) async fn record(
        &self,
        round: &Round<'_>,
        keep: &Statement,
        kept: Option<&Kept<'_>>,
    ) -> Result<bool, StoreError> {
        let Some(kept) = kept else { return Ok(true) };
        match self.books.roster_kept(round.request.account, &kept.agents_seen.agents) {
            Some(hash) => kept.write(round, keep, &hash).await,
            None => Ok(false),
        }
    }

    /// Records a round and the agents it saw.
    pub(super) async fn record_with_agents(
        &self,
        round: &Round<'_>,
        keep: &Statement,
        kept: &Kept<'_>,
    ) -> Result<(), StoreError> {
        let (account, now) = (round.request.account, SystemTime::from(round.locked.now));
        let body = serde_json::to_string(&kept.agents_seen.agents);
        let body = body.map_err(|e| broken("a roster is no JSON", e))?;
        let statement = round.tx.prepare_cached(ADD_ROSTER).await?;
        let row = round.tx.query_one(&statement, &[&account.0, &now, &body]).await?;
        let hash: Vec<u8> = row.try_get("hash")?;
        kept.write(round, keep, &hash).await?;
        self.books.keep_roster(account, kept.agents_seen.clone(), hash);
        Ok(())
    }

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
                None => match self.rulebook_kept(&client, account, version).await? {
                    Some(rules) => rules,
                    // Purged since, and the decisions that named it before.
                    None => continue,
                },
            };
            recorded.push(one(row, id, rules.clone())?);
            read.insert(version, rules);
        }
        Ok(recorded)
    }
}

fn one(row: &Row, conversation: ConversationId, rules: Arc<Rulebook>) -> Result<Recorded, StoreError> {
    let waited_ms: i64 = row.try_get("waited_ms")?;
    let Json(stored) = row.try_get::<_, Json<Stored>>("snapshot")?;
    let Json(agents) = row.try_get::<_, Json<Vec<Agent>>>("agents")?;
    let at = rows::needed(row, "decided_at")?;
    let Json(policy) = row.try_get::<_, Json<Policy>>("policy")?;
    Ok(Recorded {
        conversation,
        attempt: rows::count(row, "attempt")?,
        agent: AgentId(row.try_get("agent_id")?),
        at,
        waited: Duration::from_millis(
            u64::try_from(waited_ms).map_err(|e| broken("column waited_ms does not read", e))?,
        ),
        snapshot: stored.read(agents, rules, at),
        policy,
    })
}
