//! How many conversations an agent holds, and how much of that we have to believe.

use serde::{Deserialize, Serialize};

use crate::{Agent, AgentId, Timestamp};

/// What the ledger knows of one agent's work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentLoad {
    /// Whose.
    pub agent: AgentId,
    /// Slots held: reserved, closing and assigned conversations, whatever their origin.
    pub open: u32,
    /// Conversations of the agent that closed so recently that the platform's count may still hold them:
    /// since the settle window before the roster's poll.
    pub closed_recently: u32,
    /// Conversations that the platform shows with the agent and that hold no slot of theirs: put off, or waiting for
    /// somebody to take the agent's place.
    pub put_off: u32,
    /// The `online_since` under which `shift_assignments` was counted.
    pub shift: Option<Timestamp>,
    /// Conversations given since then.
    pub shift_assignments: u32,
    /// When the agent was last given one.
    pub last_assigned_at: Option<Timestamp>,
}

impl AgentLoad {
    /// An agent the ledger has never given anything.
    #[must_use]
    pub fn none(agent: AgentId) -> Self {
        Self {
            agent,
            open: 0,
            closed_recently: 0,
            put_off: 0,
            shift: None,
            shift_assignments: 0,
            last_assigned_at: None,
        }
    }

    /// What the agent is taken to hold, or `None` while that is unknown.
    ///
    /// The ledger's count, plus whatever the platform counts beyond it until a listing says which rooms those
    /// are. The platform's count lags behind writes, so a lower one lowers nothing.
    #[must_use]
    pub fn effective(&self, agent: &Agent) -> Option<u32> {
        if agent.listed {
            return Some(self.open);
        }
        Some(self.believing(agent.reported_load?))
    }

    /// What the agent is taken to hold when the platform counts `reported`.
    pub(crate) fn believing(&self, reported: u32) -> u32 {
        self.open + self.excess(reported)
    }

    /// Conversations that the platform, once it has caught up, shows with the agent as far as the ledger knows.
    #[must_use]
    pub fn shown(&self) -> u32 {
        self.open.saturating_add(self.put_off)
    }

    /// How far `reported` exceeds everything the ledger can explain. Above zero: list the agent's rooms.
    #[must_use]
    pub fn excess(&self, reported: u32) -> u32 {
        reported.saturating_sub(self.shown().saturating_add(self.closed_recently))
    }

    /// Conversations given in the agent's current run of being online.
    #[must_use]
    pub fn assignments_since(&self, online_since: Option<Timestamp>) -> u32 {
        if self.shift == online_since { self.shift_assignments } else { 0 }
    }
}
