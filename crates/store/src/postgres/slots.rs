//! Taking the slots that a round of decisions chose.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, SystemTime},
};

use deadpool_postgres::Transaction;
use futures_util::try_join;
use sebastian_core::{AccountId, AgentId, ConversationId, Snapshot, Timestamp};
use tokio_postgres::{Row, Statement};

use super::{rows, turns, working_set::Locked};
use crate::{
    Attempt, Reservation, StoreError,
    round::{self, Choice},
};

pub(super) const ALL_SQL: &[&str] = &[RESERVE, ADD_LOADS, DECIDED];

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

/// $2 agents, $3 slots taken, $4 shifts, $5 now.
const ADD_LOADS: &str = "
    INSERT INTO agent_loads (account_id, agent_id, open, shift, shift_assignments, last_assigned_at)
    SELECT $1, agent_id, slots, shift, slots, $5
    FROM unnest($2::bigint[], $3::int[], $4::timestamptz[]) AS u (agent_id, slots, shift)
    ON CONFLICT (account_id, agent_id) DO UPDATE
    SET open = agent_loads.open + EXCLUDED.open,
        shift_assignments = EXCLUDED.shift_assignments
            + CASE WHEN agent_loads.shift IS NOT DISTINCT FROM EXCLUDED.shift THEN agent_loads.shift_assignments ELSE 0 END,
        shift = EXCLUDED.shift,
        last_assigned_at = EXCLUDED.last_assigned_at";

const DECIDED: &str = "UPDATE accounts SET decided = decided + $2 WHERE id = $1";

/// What takes slots, for [`take`].
pub(super) const TAKING: [&str; 4] = [RESERVE, ADD_LOADS, DECIDED, turns::SET_WINDOWS];

/// Takes the slots of `choices`, and counts them in loads and windows; sent at the first poll. `span` is how long the
/// platform may be told.
pub(super) async fn take(
    tx: &Transaction<'_>,
    [reserve, add_loads, counted, set_windows]: &[Statement; TAKING.len()],
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
    let (clock, deadline) = (SystemTime::from(now), SystemTime::from(now + span));
    let ids: Vec<i64> = choices.iter().map(|choice| choice.head.conversation.0).collect();
    let agents: Vec<i64> = choices.iter().map(|choice| choice.agent.0).collect();
    let turns = choices.iter().map(|choice| rows::json(&choice.turn())).collect::<Result<Vec<_>, _>>()?;
    let places = i64::try_from(choices.len()).unwrap_or(i64::MAX);

    let mut slots: BTreeMap<AgentId, i32> = BTreeMap::new();
    choices.iter().for_each(|choice| *slots.entry(choice.agent).or_default() += 1);
    let online_since =
        |agent| snapshot.roster.agent(agent).and_then(|agent| agent.online_since).map(SystemTime::from);
    let shifts: Vec<Option<SystemTime>> = slots.keys().map(|agent| online_since(*agent)).collect();
    let (takers, taken): (Vec<i64>, Vec<i32>) =
        slots.into_iter().map(|(agent, taken)| (agent.0, taken)).unzip();

    let windows = round::windows_after(choices, &snapshot.windows, now);
    let (reserved, _, _, ()) = try_join!(
        async { Ok(tx.query(reserve, &[&deadline, &locked.decided, &ids, &agents, &turns]).await?) },
        async { Ok(tx.execute(add_loads, &[&account.0, &takers, &taken, &shifts, &clock]).await?) },
        async { Ok(tx.execute(counted, &[&account.0, &places]).await?) },
        turns::set_windows(tx, set_windows, account, &windows),
    )?;
    let mut attempts: HashMap<ConversationId, &Row> = HashMap::with_capacity(reserved.len());
    for row in &reserved {
        attempts.insert(ConversationId(row.try_get("id")?), row);
    }
    choices.iter().map(|choice| reservation(choice, &attempts, now)).collect()
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
