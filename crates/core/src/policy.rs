//! Who may be given a conversation, and how to choose among them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Agent, Presence, Role};

/// An assignment policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// How to choose among eligible agents.
    pub strategy: Strategy,
    /// Most open conversations an agent may hold. `None`: no limit.
    pub capacity: Option<u32>,
    /// Roles that are dealt conversations.
    pub roles: Vec<Role>,
    /// Presences that are dealt conversations.
    pub presences: Vec<Presence>,
    /// A roster older than this assigns to nobody.
    pub staleness_max: Duration,
}

impl Policy {
    /// Whether an agent is at their desk and of a kind that is dealt conversations, membership and load apart.
    #[must_use]
    pub fn deals_to(&self, agent: &Agent) -> bool {
        self.roles.contains(&agent.role) && !agent.forced_offline && self.presences.contains(&agent.presence)
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            strategy: Strategy::Balanced,
            capacity: Some(3),
            roles: vec![Role::Agent],
            presences: vec![Presence::Online],
            staleness_max: Duration::from_secs(60),
        }
    }
}

/// How to choose among the agents who may be given a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Lowest load for its capacity; then fewest assignments per hour online; then longest since the last.
    Balanced,
    /// Smooth weighted round robin, one rotation a queue.
    RoundRobin,
}

/// How long things take to be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// The platform's lists and counts may lag behind its writes by this much.
    pub settle_window: Duration,
    /// From taking a slot to the last moment a call for it may be sent.
    pub reservation: Duration,
    /// How long an agent the platform refused for a conversation is left out for it.
    pub refusal: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            settle_window: Duration::from_secs(10),
            reservation: Duration::from_secs(8),
            refusal: Duration::from_secs(300),
        }
    }
}
