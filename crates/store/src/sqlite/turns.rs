//! What a slot costs beside the slot: a turn in the queue's rotation, a place in the agent's rate window.

use std::collections::BTreeSet;

use rusqlite::Row;
use sebastian_core::{AccountId, AgentId, InboxId, RateWindow, Rotation, Turn, rooms::Refund};

use super::{Call, rows};
use crate::{StoreError, round::Windows};

pub(super) const ALL_SQL: &[&str] = &[ROTATION_OF, SET_ROTATION, WINDOWS, ALL_WINDOWS, WINDOW_OF, SET_WINDOW];

/// Index queues_key. ?2 inbox, ?3 team.
const ROTATION_OF: &str = "
    SELECT id, rotation
    FROM queues
    WHERE account_id = ?1
      AND COALESCE(inbox_id, 0) = COALESCE(?2, 0) AND (inbox_id IS NULL) = (?2 IS NULL)
      AND COALESCE(team_id, 0) = COALESCE(?3, 0) AND (team_id IS NULL) = (?3 IS NULL)";

const SET_ROTATION: &str = "UPDATE queues SET rotation = ?2 WHERE id = ?1";

/// Index rate_windows_key. ?2 inbox.
const WINDOWS: &str = "
    SELECT inbox_id, agent_id, given
    FROM rate_windows
    WHERE account_id = ?1 AND COALESCE(inbox_id, 0) = COALESCE(?2, 0) AND (inbox_id IS NULL) = (?2 IS NULL)";

/// Index rate_windows_key.
const ALL_WINDOWS: &str = "
    SELECT inbox_id, agent_id, given
    FROM rate_windows
    WHERE account_id = ?1";

/// Index rate_windows_key. ?2 inbox, ?3 agent.
const WINDOW_OF: &str = "
    SELECT inbox_id, agent_id, given
    FROM rate_windows
    WHERE account_id = ?1 AND COALESCE(inbox_id, 0) = COALESCE(?2, 0) AND (inbox_id IS NULL) = (?2 IS NULL)
      AND agent_id = ?3";

/// ?2 inbox, ?3 agent, ?4 what they were given of it.
const SET_WINDOW: &str = "
    INSERT INTO rate_windows (account_id, inbox_id, agent_id, given)
    VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (account_id, COALESCE(inbox_id, 0), (inbox_id IS NULL), agent_id) DO UPDATE
    SET given = excluded.given";

impl Call<'_> {
    /// What agents were given of `inboxes`.
    pub(super) fn windows(
        &self,
        account: AccountId,
        inboxes: impl IntoIterator<Item = Option<InboxId>>,
    ) -> Result<Windows, StoreError> {
        let inboxes: BTreeSet<Option<InboxId>> = inboxes.into_iter().collect();
        let mut windows = Windows::new();
        for inbox in inboxes {
            let inbox = inbox.map(|inbox| inbox.0);
            windows.extend(rows::all(self.tx, WINDOWS, &[&account.0, &inbox], window)?);
        }
        Ok(windows)
    }

    /// What agents were given of every inbox.
    pub(super) fn all_windows(&self, account: AccountId) -> Result<Windows, StoreError> {
        Ok(rows::all(self.tx, ALL_WINDOWS, &[&account.0], window)?.into_iter().collect())
    }

    pub(super) fn set_windows(&self, account: AccountId, windows: &Windows) -> Result<(), StoreError> {
        for ((inbox, agent), given) in windows {
            let inbox = inbox.map(|inbox| inbox.0);
            rows::run(self.tx, SET_WINDOW, &[&account.0, &inbox, &agent.0, &rows::json(given)?])?;
        }
        Ok(())
    }

    /// Gives turns back whose slots came to nothing.
    pub(super) fn give_back(&self, account: AccountId, refunds: &[Refund]) -> Result<(), StoreError> {
        for Refund { conversation, agent, turn } in refunds {
            let Turn { inbox, team, charge } = *turn;
            let (inbox, team) = (inbox.map(|inbox| inbox.0), team.map(|team| team.0));
            if charge != 0 {
                let stored = |row: &Row<'_>| Ok((row.get("id")?, rotation(row)?));
                let found = rows::first(self.tx, ROTATION_OF, &[&account.0, &inbox, &team], stored)?;
                if let Some((queue, mut turns)) = found {
                    turns.refund(*agent, charge);
                    self.set_rotation(queue, &turns)?;
                }
            }
            let found = rows::first(self.tx, WINDOW_OF, &[&account.0, &inbox, &agent.0], window)?;
            if let Some((key, mut given)) = found {
                given.take_back(*conversation);
                self.set_windows(account, &Windows::from([(key, given)]))?;
            }
        }
        Ok(())
    }

    pub(super) fn set_rotation(&self, queue: i64, turns: &Rotation) -> Result<(), StoreError> {
        rows::run(self.tx, SET_ROTATION, &[&queue, &rows::json(turns)?])?;
        Ok(())
    }
}

fn window(row: &Row<'_>) -> Result<((Option<InboxId>, AgentId), RateWindow), StoreError> {
    let inbox = row.get::<_, Option<i64>>("inbox_id")?.map(InboxId);
    let window = rows::parsed::<RateWindow>(row, "given")?.unwrap_or_default();
    Ok(((inbox, AgentId(row.get("agent_id")?)), window))
}

pub(super) fn rotation(row: &Row<'_>) -> Result<Rotation, StoreError> {
    Ok(rows::parsed(row, "rotation")?.unwrap_or_default())
}
