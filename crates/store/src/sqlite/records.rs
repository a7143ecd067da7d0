//! Recorded decisions: what a round saw, and whom it gave what.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rusqlite::{Row, params};
use sebastian_core::{AccountId, AgentId, ConversationId, Decision, Policy, Rulebook, Snapshot};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::{
    Call,
    decide::Round,
    error::broken,
    rows::{self, millis},
    rulebooks,
};
use crate::{Recorded, Reservation, StoreError, round, stored::Stored};

pub(super) const ALL_SQL: &[&str] = &[ADD_ROUND, ADD_DECISION, ADD_ROSTER, DECISIONS];

/// Adds nothing when the roster is not there. ?2 when, ?3 version of the rulebook, ?4 policy, ?5 snapshot, ?6 hash of the
/// roster. Primary key of rosters.
const ADD_ROUND: &str = "
    INSERT INTO decision_rounds (account_id, decided_at, rulebook_version, policy, snapshot, roster)
    SELECT ?1, ?2, ?3, ?4, ?5, hash
    FROM rosters
    WHERE account_id = ?1 AND hash = ?6
    RETURNING id";

/// ?3 attempt, ?4 round, ?5 agent, ?6 how long it had waited, in ms.
const ADD_DECISION: &str = "
    INSERT INTO decisions (account_id, conversation_id, attempt, round_id, agent_id, waited_ms)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6)";

/// ?2 hash, ?3 when, ?4 body.
const ADD_ROSTER: &str = "
    INSERT INTO rosters (account_id, hash, named_at, body)
    VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT DO NOTHING";

/// Primary key of decisions. ?2 conversation, ?3 most.
const DECISIONS: &str = "
    SELECT d.attempt, d.agent_id, d.waited_ms, r.decided_at, r.rulebook_version, r.policy, r.snapshot, s.body AS agents
    FROM decisions d
    CROSS JOIN decision_rounds r ON r.id = d.round_id
    CROSS JOIN rosters s ON s.account_id = r.account_id AND s.hash = r.roster
    WHERE d.account_id = ?1 AND d.conversation_id = ?2
    ORDER BY d.attempt DESC
    LIMIT ?3";

/// A round as its row has it, apart from its roster.
struct Kept {
    version: i64,
    policy: String,
    snapshot: String,
}

impl Kept {
    fn new(snapshot: &Stored, policy: &Policy) -> Result<Self, StoreError> {
        let version = i64::try_from(snapshot.version()).unwrap_or(i64::MAX);
        Ok(Self { version, policy: rows::json(policy)?, snapshot: rows::json(snapshot)? })
    }
}

impl Call<'_> {
    /// Records a round, if it reserved anything.
    pub(super) fn record(
        &self,
        round: &Round<'_>,
        snapshot: &Snapshot,
        decisions: &[Decision],
        reserved: &[Reservation],
    ) -> Result<(), StoreError> {
        let Some(snapshot) = round::recordable(snapshot, decisions) else { return Ok(()) };
        let account = round.request.account;
        let (snapshot, agents) = Stored::new(snapshot, self.now);
        let kept = Kept::new(&snapshot, round.request.policy)?;
        if let Some(hash) = self.store.books.roster_kept(account, &agents.agents)
            && let Some(id) = self.add_round(account, &kept, &hash)?
        {
            return self.add_decisions(account, id, reserved);
        }
        let body = rows::json(&agents.agents)?;
        let hash = Sha256::digest(&body).to_vec();
        rows::run(self.tx, ADD_ROSTER, &[&account.0, &hash, &millis(self.now), &body])?;
        let id = self.add_round(account, &kept, &hash)?;
        let id = id.ok_or_else(|| StoreError::Broken("a roster that was added is not there".into(), None))?;
        self.add_decisions(account, id, reserved)?;
        self.store.books.keep_roster(account, agents, hash);
        Ok(())
    }

    /// The number of the round. `None`: there is no such roster.
    fn add_round(&self, account: AccountId, kept: &Kept, roster: &[u8]) -> Result<Option<i64>, StoreError> {
        let now = millis(self.now);
        rows::first(
            self.tx,
            ADD_ROUND,
            &[&account.0, &now, &kept.version, &kept.policy, &kept.snapshot, &roster],
            |row| Ok(row.get("id")?),
        )
    }

    fn add_decisions(&self, account: AccountId, id: i64, reserved: &[Reservation]) -> Result<(), StoreError> {
        for Reservation { attempt, agent, opened_at, .. } in reserved {
            let waited = i64::try_from(self.now.since(*opened_at).as_millis()).unwrap_or(i64::MAX);
            let conversation = attempt.conversation.0;
            rows::run(
                self.tx,
                ADD_DECISION,
                &[&account.0, &conversation, &attempt.number, &id, &agent.0, &waited],
            )?;
        }
        Ok(())
    }

    pub(super) fn decisions(
        &self,
        account: AccountId,
        id: ConversationId,
        limit: u32,
    ) -> Result<Vec<Recorded>, StoreError> {
        let mut statement = self.tx.prepare_cached(DECISIONS)?;
        let mut found = statement.query(params![account.0, id.0, limit])?;
        let mut read: BTreeMap<u64, Arc<Rulebook>> = BTreeMap::new();
        let mut recorded = Vec::new();
        while let Some(row) = found.next()? {
            let version = rulebooks::version(row, "rulebook_version")?;
            let rules = match read.get(&version) {
                Some(rules) => rules.clone(),
                None => match self.rulebook_kept(account, version)? {
                    Some(rules) => rules,
                    // By a hand in the tables: a purge leaves what a decision names.
                    None => continue,
                },
            };
            recorded.push(one(row, id, rules.clone())?);
            read.insert(version, rules);
        }
        recorded.reverse();
        Ok(recorded)
    }
}

fn one(row: &Row<'_>, conversation: ConversationId, rules: Arc<Rulebook>) -> Result<Recorded, StoreError> {
    let at = rows::needed(row, "decided_at")?;
    let waited = u64::try_from(row.get::<_, i64>("waited_ms")?);
    let stored = json::<Stored>(row, "snapshot")?;
    Ok(Recorded {
        conversation,
        attempt: row.get("attempt")?,
        agent: AgentId(row.get("agent_id")?),
        at,
        waited: Duration::from_millis(waited.map_err(|e| broken("column waited_ms does not read", e))?),
        snapshot: stored.read(json(row, "agents")?, rules, at),
        policy: json(row, "policy")?,
    })
}

fn json<T: DeserializeOwned>(row: &Row<'_>, column: &str) -> Result<T, StoreError> {
    let missing = || StoreError::Broken(format!("column {column} holds nothing"), None);
    rows::parsed(row, column)?.ok_or_else(missing)
}
