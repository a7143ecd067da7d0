//! The roster: who the agents are, as the platform last told us.

use serde::{Deserialize, Serialize};

use crate::{AgentId, InboxId, Timestamp};

/// What an agent is on the platform. Only [`Role::Agent`] is dealt conversations unless a policy says more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Serves customers.
    Agent,
    /// Watches over agents.
    Supervisor,
    /// Owns the account.
    Admin,
    /// A type we do not know; never dealt anything.
    Other,
}

/// Whether an agent is at their desk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// Ready for work.
    Online,
    /// There, not ready.
    Busy,
    /// Gone for a moment.
    Away,
    /// Not there.
    Offline,
    /// Set themselves away: given nothing, and keeps what they have.
    AwayManual,
    /// Set themselves away for long: a conversation whose customer writes again goes to somebody else.
    AwayAndReassigning,
}

/// One agent as a poll saw them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    /// The platform's number.
    pub id: AgentId,
    /// Display name, for people who read the roster. Never logged, never stored in the ledger.
    pub name: String,
    /// What the agent is.
    pub role: Role,
    /// Whether they are at their desk.
    pub presence: Presence,
    /// An operator forced the agent offline, whatever their presence says.
    pub forced_offline: bool,
    /// Inboxes the agent belongs to, ascending. `None`: the platform did not say.
    pub inboxes: Option<Vec<InboxId>>,
    /// Open conversations by the platform's count. It lags behind writes. `None`: missing or negative, thus unknown.
    pub reported_load: Option<u32>,
    /// The agent's conversations were listed and adopted after this poll, so the ledger's load is complete
    /// and the reported one has nothing to add.
    pub listed: bool,
    /// When this run of being online began, as far as polls saw it.
    pub online_since: Option<Timestamp>,
}

/// Every agent of one account, from one complete poll. A failed or partial poll never becomes a roster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roster {
    /// Grows with every publication; an older roster never replaces a newer one.
    pub version: u64,
    /// When the poll began, by the ledger's clock.
    pub polled_at: Timestamp,
    /// Agents, ascending by id, each once.
    pub agents: Vec<Agent>,
}

impl Roster {
    /// A roster of `agents`; sorts them and keeps the first of any that appear twice.
    #[must_use]
    pub fn new(version: u64, polled_at: Timestamp, mut agents: Vec<Agent>) -> Self {
        agents.sort_by_key(|agent| agent.id);
        agents.dedup_by_key(|agent| agent.id);
        for agent in &mut agents {
            if let Some(inboxes) = &mut agent.inboxes {
                inboxes.sort_unstable();
                inboxes.dedup();
            }
        }
        Self { version, polled_at, agents }
    }

    /// The agent with this id.
    #[must_use]
    pub fn agent(&self, id: AgentId) -> Option<&Agent> {
        self.agents.binary_search_by_key(&id, |agent| agent.id).ok().map(|i| &self.agents[i])
    }
}
