//! Taking the slots that a round of decisions chose.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

use futures_util::try_join;
use sebastian_core::{AccountId, AgentLoad, ConversationId, Roster, Snapshot, Timestamp};
use tokio_postgres::{Row, Statement};

use super::{loads::Loads, rows, transaction::Transaction, turns, working_set::Locked};
use crate::{
    Attempt, Reservation, StoreError,
    round::{self, Choice},
};

pub(super) const ALL_SQL: &[&str] = &[RESERVE];

/// $1 deadline, $2 first reservations so far, $3 conversations, $4 agents, $5 turns; in order of decision.
const RESERVE: &str = "
    UPDATE conversations c
    SET state = 'reserved',
        agent_id = u.agent_id,
        attempt = c.attempt + 1,
        takeovers = 0,
        deadline_at = $1,
        turn = u.turn,
        decided_no = COALESCE(c.decided_no, $2 + u.place)
    FROM unnest($3::bigint[], $4::bigint[], $5::jsonb[]) WITH ORDINALITY AS u (id, agent_id, turn, place)
    WHERE c.id = u.id AND c.state = 'waiting'
    RETURNING c.id, c.attempt, c.replaces_agent";

/// What takes slots, for [`take`].
pub(super) const TAKING: [&str; 2] = [RESERVE, turns::SET_WINDOWS];

/// Takes the slots of `choices`, and counts them in windows; sent at the first poll. `span` is how long the platform may be
/// told.
pub(super) async fn take(
    tx: &Transaction,
    [reserve, set_windows]: &[Statement; TAKING.len()],
    account: AccountId,
    locked: &Locked,
    choices: &[Choice<'_>],
    snapshot: &Snapshot,
    span: Duration,
) -> Result<Vec<Reservation>, StoreError> {
    if choices.is_empty() {
        return Ok(Vec::new());
    }
    let now = locked.now;
    let deadline = SystemTime::from(now + span);
    let ids: Vec<i64> = choices.iter().map(|choice| choice.head.conversation.0).collect();
    let agents: Vec<i64> = choices.iter().map(|choice| choice.agent.0).collect();
    let turns = choices.iter().map(|choice| rows::json(&choice.turn())).collect::<Result<Vec<_>, _>>()?;

    let windows = round::windows_after(choices, &snapshot.windows, now);
    let (reserved, ()) = try_join!(
        async { Ok(tx.query(reserve, &[&deadline, &locked.decided, &ids, &agents, &turns]).await?) },
        turns::set_windows(tx, set_windows, account, &windows),
    )?;
    let mut attempts: HashMap<ConversationId, &Row> = HashMap::with_capacity(reserved.len());
    for row in &reserved {
        attempts.insert(ConversationId(row.try_get("id")?), row);
    }
    choices.iter().map(|choice| reservation(choice, &attempts, now)).collect()
}

/// Counts slots that were taken in `loads`.
pub(super) fn count(loads: &mut Loads, taken: &[Reservation], roster: &Roster, now: Timestamp) {
    for Reservation { agent, .. } in taken {
        let shift = roster.agent(*agent).and_then(|agent| agent.online_since);
        let load = loads.entry(*agent).or_insert_with(|| AgentLoad::none(*agent));
        load.open += 1;
        load.shift_assignments = load.assignments_since(shift) + 1;
        load.shift = shift;
        load.last_assigned_at = Some(now);
    }
}

fn reservation(
    choice: &Choice<'_>,
    attempts: &HashMap<ConversationId, &Row>,
    now: Timestamp,
) -> Result<Reservation, StoreError> {
    let Choice { head, agent, .. } = choice;
    let conversation = head.conversation;
    let row = attempts.get(&conversation).ok_or_else(|| {
        StoreError::Broken(
            format!("conversation {conversation} left its queue under the account's lock"),
            None,
        )
    })?;
    Ok(Reservation {
        attempt: Attempt { conversation, number: rows::count(row, "attempt")? },
        room: head.room.clone(),
        agent: *agent,
        opened_at: head.opened_at,
        reserved_at: now,
        takeovers: 0,
        replaces: rows::agent(row, "replaces_agent")?,
    })
}
