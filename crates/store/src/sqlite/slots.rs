//! Taking the slots that a round of decisions chose.

use std::collections::BTreeMap;

use rusqlite::{Row, ToSql};
use sebastian_core::{AgentId, Snapshot};

use super::{
    Call,
    decide::Round,
    rows::{self, millis},
};
use crate::{
    Attempt, Reservation, StoreError,
    round::{self, Choice},
};

pub(super) const ALL_SQL: &[&str] = &[RESERVE, ADD_LOAD, DECIDED];

/// ?1 conversation, ?2 agent, ?3 turn, ?4 deadline, ?5 its number among first reservations, should it be one.
const RESERVE: &str = "
    UPDATE conversations
    SET state = 'reserved',
        agent_id = ?2,
        attempt = attempt + 1,
        takeovers = 0,
        deadline_at = ?4,
        turn = ?3,
        decided_no = COALESCE(decided_no, ?5)
    WHERE id = ?1 AND state = 'waiting'
    RETURNING attempt, replaces_agent";

/// ?2 agent, ?3 slots taken, ?4 shift, ?5 now.
const ADD_LOAD: &str = "
    INSERT INTO agent_loads (account_id, agent_id, open, shift, shift_assignments, last_assigned_at)
    VALUES (?1, ?2, ?3, ?4, ?3, ?5)
    ON CONFLICT (account_id, agent_id) DO UPDATE
    SET open = open + excluded.open,
        shift_assignments = excluded.shift_assignments
            + CASE WHEN shift IS excluded.shift THEN shift_assignments ELSE 0 END,
        shift = excluded.shift,
        last_assigned_at = excluded.last_assigned_at";

const DECIDED: &str = "UPDATE accounts SET decided = decided + ?2 WHERE id = ?1";

impl Call<'_> {
    /// Takes the slots of `choices`, and counts them in loads and windows.
    pub(super) fn take(
        &self,
        round: &Round<'_>,
        choices: &[Choice<'_>],
        snapshot: &Snapshot,
    ) -> Result<Vec<Reservation>, StoreError> {
        let account = round.request.account;
        let reserved = (round.locked.decided + 1..)
            .zip(choices)
            .map(|(number, choice)| self.reserve(choice, number))
            .collect::<Result<Vec<_>, _>>()?;
        let mut slots: BTreeMap<AgentId, u32> = BTreeMap::new();
        choices.iter().for_each(|choice| *slots.entry(choice.agent).or_default() += 1);
        for (agent, taken) in slots {
            let shift = snapshot.roster.agent(agent).and_then(|agent| agent.online_since).map(millis);
            rows::run(self.tx, ADD_LOAD, &[&account.0, &agent.0, &taken, &shift, &millis(self.now)])?;
        }
        let taken = i64::try_from(choices.len()).unwrap_or(i64::MAX);
        rows::run(self.tx, DECIDED, &[&account.0, &taken])?;
        self.set_windows(account, &round::windows_after(choices, &snapshot.windows, self.now))?;
        Ok(reserved)
    }

    fn reserve(&self, choice: &Choice<'_>, number: i64) -> Result<Reservation, StoreError> {
        let Choice { head, agent, .. } = choice;
        let conversation = head.conversation;
        let deadline = millis(self.now + self.store.timing.reservation);
        let turn = rows::json(&choice.turn())?;
        let reserved = |row: &Row<'_>| {
            Ok(Reservation {
                attempt: Attempt { conversation, number: row.get("attempt")? },
                room: head.room.clone(),
                agent: *agent,
                opened_at: head.opened_at,
                reserved_at: self.now,
                takeovers: 0,
                replaces: row.get::<_, Option<i64>>("replaces_agent")?.map(AgentId),
            })
        };
        let values: &[&dyn ToSql] = &[&conversation.0, &agent.0, &turn, &deadline, &number];
        rows::first(self.tx, RESERVE, values, reserved)?.ok_or_else(|| {
            StoreError::Broken(format!("conversation {conversation} left its queue during a decision"), None)
        })
    }
}
