//! What a slot costs beside the slot: a turn in the queue's rotation, a place in the agent's rate window.

use std::collections::BTreeSet;

use deadpool_postgres::GenericClient;
use sebastian_core::{AccountId, AgentId, InboxId, RateWindow, Rotation, Turn, rooms::Refund};
use tokio_postgres::{Row, Statement};

use super::{rows, transaction::Transaction};
use crate::{StoreError, round::Windows};

pub(super) const ALL_SQL: &[&str] =
    &[ROTATION_OF, SET_ROTATION, WINDOWS, ALL_WINDOWS, WINDOW_OF, SET_WINDOWS];

/// Index queues_key. $2 inbox, $3 team.
const ROTATION_OF: &str = "
    SELECT id, turn_agents, turns
    FROM queues
    WHERE account_id = $1
      AND COALESCE(inbox_id, 0) = COALESCE($2::bigint, 0) AND (inbox_id IS NULL) = ($2::bigint IS NULL)
      AND COALESCE(team_id, 0) = COALESCE($3::bigint, 0) AND (team_id IS NULL) = ($3::bigint IS NULL)";

pub(super) const SET_ROTATION: &str = "UPDATE queues SET turn_agents = $2, turns = $3 WHERE id = $1";

/// Index rate_windows_key, inbox by inbox. $2 inboxes.
const WINDOWS: &str = "
    SELECT asked.inbox_id, w.agent_id, w.given
    FROM unnest($2::bigint[]) AS asked (inbox_id)
    CROSS JOIN LATERAL (
        SELECT agent_id, given
        FROM rate_windows
        WHERE account_id = $1
          AND COALESCE(inbox_id, 0) = COALESCE(asked.inbox_id, 0) AND (inbox_id IS NULL) = (asked.inbox_id IS NULL)
        OFFSET 0
    ) w";

/// Index rate_windows_key.
const ALL_WINDOWS: &str = "
    SELECT inbox_id, agent_id, given
    FROM rate_windows
    WHERE account_id = $1";

/// Index rate_windows_key. $2 inbox, $3 agent.
const WINDOW_OF: &str = "
    SELECT inbox_id, agent_id, given
    FROM rate_windows
    WHERE account_id = $1 AND agent_id = $3
      AND COALESCE(inbox_id, 0) = COALESCE($2::bigint, 0) AND (inbox_id IS NULL) = ($2::bigint IS NULL)";

/// One array a column.
pub(super) const SET_WINDOWS: &str = "
    INSERT INTO rate_windows (account_id, inbox_id, agent_id, given)
    SELECT $1, inbox_id, agent_id, given
    FROM unnest($2::bigint[], $3::bigint[], $4::jsonb[]) AS u (inbox_id, agent_id, given)
    ON CONFLICT (account_id, COALESCE(inbox_id, 0), (inbox_id IS NULL), agent_id) DO UPDATE
    SET given = EXCLUDED.given";

/// What agents were given of `inboxes`.
pub(super) async fn windows(
    client: &impl GenericClient,
    account: AccountId,
    inboxes: impl IntoIterator<Item = Option<InboxId>>,
) -> Result<Windows, StoreError> {
    let inboxes: BTreeSet<Option<i64>> =
        inboxes.into_iter().map(|inbox| inbox.map(|inbox| inbox.0)).collect();
    if inboxes.is_empty() {
        return Ok(Windows::new());
    }
    let inboxes: Vec<Option<i64>> = inboxes.into_iter().collect();
    let statement = client.prepare_cached(WINDOWS).await?;
    client.query(&statement, &[&account.0, &inboxes]).await?.iter().map(window).collect()
}

/// What agents were given of every inbox.
pub(super) async fn all_windows(
    client: &impl GenericClient,
    account: AccountId,
) -> Result<Windows, StoreError> {
    let statement = client.prepare_cached(ALL_WINDOWS).await?;
    client.query(&statement, &[&account.0]).await?.iter().map(window).collect()
}

fn window(row: &Row) -> Result<((Option<InboxId>, AgentId), RateWindow), StoreError> {
    let inbox = row.try_get::<_, Option<i64>>("inbox_id")?.map(InboxId);
    let window = rows::parsed::<RateWindow>(row, "given")?.unwrap_or_default();
    Ok(((inbox, AgentId(row.try_get("agent_id")?)), window))
}

/// `statement` is [`SET_WINDOWS`], sent at the first poll.
pub(super) async fn set_windows(
    tx: &Transaction,
    statement: &Statement,
    account: AccountId,
    windows: &Windows,
) -> Result<(), StoreError> {
    if windows.is_empty() {
        return Ok(());
    }
    let inboxes: Vec<Option<i64>> = windows.keys().map(|(inbox, _)| inbox.map(|inbox| inbox.0)).collect();
    let agents: Vec<i64> = windows.keys().map(|(_, agent)| agent.0).collect();
    let given = windows.values().map(rows::json).collect::<Result<Vec<_>, _>>()?;
    tx.execute(statement, &[&account.0, &inboxes, &agents, &given]).await?;
    Ok(())
}

/// Gives turns back whose slots came to nothing.
pub(super) async fn give_back(
    tx: &Transaction,
    account: AccountId,
    refunds: &[Refund],
) -> Result<(), StoreError> {
    if refunds.is_empty() {
        return Ok(());
    }
    let [rotate, set] = tx.prepared([SET_ROTATION, SET_WINDOWS]).await?;
    for Refund { conversation, agent, turn } in refunds {
        let Turn { inbox, team, charge } = *turn;
        let (inbox, team) = (inbox.map(|inbox| inbox.0), team.map(|team| team.0));
        if charge != 0 {
            let statement = tx.prepare_cached(ROTATION_OF).await?;
            if let Some(row) = tx.query_opt(&statement, &[&account.0, &inbox, &team]).await? {
                let mut turns = rotation(&row)?;
                turns.refund(*agent, charge);
                set_rotation(tx, &rotate, row.try_get("id")?, &turns).await?;
            }
        }
        let statement = tx.prepare_cached(WINDOW_OF).await?;
        if let Some(row) = tx.query_opt(&statement, &[&account.0, &inbox, &agent.0]).await? {
            let (key, mut given) = window(&row)?;
            given.take_back(*conversation);
            set_windows(tx, &set, account, &Windows::from([(key, given)])).await?;
        }
    }
    Ok(())
}

pub(super) fn rotation(row: &Row) -> Result<Rotation, StoreError> {
    let (agents, turns): (Vec<i64>, Vec<i64>) = (row.try_get("turn_agents")?, row.try_get("turns")?);
    Ok(Rotation::from_stored(agents.into_iter().map(AgentId).zip(turns)))
}

/// `statement` is [`SET_ROTATION`], sent at the first poll.
pub(super) async fn set_rotation(
    tx: &Transaction,
    statement: &Statement,
    queue: i64,
    turns: &Rotation,
) -> Result<(), StoreError> {
    let (agents, turns): (Vec<i64>, Vec<i64>) = turns.iter().map(|(agent, turn)| (agent.0, turn)).unzip();
    tx.execute(statement, &[&queue, &agents, &turns]).await?;
    Ok(())
}
