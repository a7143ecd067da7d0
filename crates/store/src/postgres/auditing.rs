//! Promises, looked at over a whole ledger at rest.

use std::{collections::BTreeMap, pin::pin};

use futures_util::TryStreamExt;
use sebastian_core::{AgentId, invariants};
use tokio_postgres::Transaction;

use super::rows;
use crate::{StoreError, words::conversation_columns};

pub(super) const ALL_SQL: &[&str] = &[ACCOUNTS, UNRESOLVED, COUNTERS];

const ACCOUNTS: &str = "SELECT id FROM accounts ORDER BY id";

/// Index conversations_unresolved.
const UNRESOLVED: &str = concat!(
    "SELECT ",
    conversation_columns!(),
    " FROM conversations c
      JOIN queues q ON q.id = c.queue_id
      WHERE c.account_id = $1 AND c.state <> 'resolved'"
);

const COUNTERS: &str = "SELECT agent_id, open FROM agent_loads WHERE account_id = $1";

/// Reads every conversation still to be resolved, and tells which promises about them do not hold: that a room has one open
/// conversation (I2), that agents' counters are the slots they hold (I9).
pub(crate) async fn broken_promises(tx: &Transaction<'_>) -> Result<Vec<String>, StoreError> {
    let mut broken = Vec::new();
    for row in tx.query(ACCOUNTS, &[]).await? {
        let account: i64 = row.try_get("id")?;
        let mut counters: BTreeMap<AgentId, (u32, u32)> = BTreeMap::new();
        for row in tx.query(COUNTERS, &[&account]).await? {
            counters.insert(AgentId(row.try_get("agent_id")?), (rows::count(&row, "open")?, 0));
        }
        let mut open = Vec::new();
        let unresolved = tx.query_raw(UNRESOLVED, [account]).await?;
        let mut unresolved = pin!(unresolved);
        while let Some(row) = unresolved.try_next().await? {
            let conversation = rows::conversation(&row)?;
            if let Some(agent) = conversation.slot() {
                counters.entry(agent).or_default().1 += 1;
            }
            if conversation.is_open() {
                open.push(conversation.room);
            }
        }
        let counters = counters.into_iter().map(|(agent, (counted, held))| (agent, counted, held));
        let violations = [invariants::one_open_each(&open), invariants::one_decrement_each([], counters)];
        let said =
            |broken: &invariants::Violation| format!("{} of account {account}: {}", broken.id, broken.what);
        broken.extend(violations.iter().flatten().map(said));
    }
    Ok(broken)
}
