//! Recorded snapshots as every ledger stores them.

use std::sync::Arc;

use sebastian_core::{Agent, AgentId, AgentLoad, Roster, Rulebook, Snapshot, Timestamp};
use serde::{Deserialize, Serialize};

/// A snapshot as a row has it: without agents, which are stored beside it, and with a line of figures for what each held.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Stored {
    snapshot: Snapshot,
    held: Vec<Held>,
}

/// Agent; open; given in this shift; since when the last, in ms before the round; closed recently; put off.
type Held = (AgentId, u32, u32, Option<i64>, u32, u32);

impl Stored {
    /// What of a snapshot goes into the row of its round, and the roster, which does not.
    pub fn new(mut snapshot: Snapshot, now: Timestamp) -> (Self, Arc<Roster>) {
        let ago = |last: Timestamp| now.as_millis().saturating_sub(last.as_millis());
        let held = std::mem::take(&mut snapshot.loads).into_values().map(|load| {
            let last = load.last_assigned_at.map(ago);
            (load.agent, load.open, load.shift_assignments, last, load.closed_recently, load.put_off)
        });
        let held = held.collect();
        let roster = Roster { agents: Vec::new(), ..*snapshot.roster };
        let roster = std::mem::replace(&mut snapshot.roster, roster.into());
        (Self { snapshot, held }, roster)
    }

    /// The version of the rulebook that the round went by.
    pub fn version(&self) -> u64 {
        self.snapshot.rules.version
    }

    /// The snapshot as it was, of a round at a time.
    pub fn read(self, agents: Vec<Agent>, rules: Arc<Rulebook>, at: Timestamp) -> Snapshot {
        let roster = Roster { agents, ..*self.snapshot.roster };
        let load = |(agent, open, given, ago, closed_recently, put_off): Held| {
            let since = roster.agent(agent).and_then(|agent| agent.online_since);
            let last = |ago| Timestamp::from_millis(at.as_millis().saturating_sub(ago));
            let load = AgentLoad {
                agent,
                open,
                closed_recently,
                put_off,
                shift: since.filter(|_| given > 0),
                shift_assignments: given,
                last_assigned_at: ago.map(last),
            };
            (agent, load)
        };
        let loads = self.held.into_iter().map(load).collect();
        Snapshot { loads, rules, roster: roster.into(), ..self.snapshot }
    }
}
