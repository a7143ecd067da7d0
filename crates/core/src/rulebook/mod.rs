//! The rulebook: everything an operator has set for an account, as one value.
//!
//! A change makes the next version, and a version never changes. A decision is made under one version and names it, so
//! that it can be made again later. Inboxes, teams and agents are the platform's; the rulebook holds what operators say of
//! them. All of it is optional: an empty rulebook leaves everything to [`Policy`].

mod day;
pub mod edit;
mod leave;
mod policies;
mod queue;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub(crate) use self::queue::{Limits, Own};
pub use self::{
    leave::{Day, Leave, LeaveStatus},
    policies::{AssignmentPolicy, CapacityPolicy, ExclusionRules, InboxLimit, Overrides, PriorityBoost},
    queue::{Exclusion, Hold, QueueRules},
};
use crate::{
    AgentId, CapacityPolicyId, InboxId, LeaveId, Policy, PolicyId, Preset, Priority, TeamId, Timestamp,
    conversation::Label,
};

/// Everything an operator has set for an account.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rulebook {
    /// Grows with every change; zero until the first.
    pub version: u64,
    /// Nothing is dealt.
    pub paused: Option<Paused>,
    /// What is said of inboxes.
    pub inboxes: BTreeMap<InboxId, InboxRules>,
    /// Teams.
    pub teams: BTreeMap<TeamId, Team>,
    /// What is said of agents.
    pub agents: BTreeMap<AgentId, AgentRules>,
    /// Assignment policies.
    pub assignment_policies: BTreeMap<PolicyId, AssignmentPolicy>,
    /// Agent capacity policies, ascending by age.
    pub capacity_policies: BTreeMap<CapacityPolicyId, CapacityPolicy>,
    /// Leaves.
    pub leaves: BTreeMap<LeaveId, Leave>,
    /// What arriving conversations are given by where they come from. In order; the first to set a thing wins.
    pub routes: Vec<Route>,
    /// The last number given to anything in here.
    pub last_id: i64,
}

/// Somebody or something is given nothing for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paused {
    /// Since when.
    pub since: Timestamp,
    /// Until when. `None`: until resumed.
    pub until: Option<Timestamp>,
    /// Why, in the operator's words.
    pub reason: Option<String>,
}

impl Paused {
    /// Whether it still stands.
    #[must_use]
    pub fn stands(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| until > now)
    }
}

/// What is said of an inbox.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InboxRules {
    /// Automatic assignment is switched off.
    pub manual: bool,
    /// The policy it is linked to.
    pub policy: Option<PolicyId>,
    /// What differs from that policy here.
    pub overrides: Overrides,
    /// Nothing of it is dealt.
    pub paused: Option<Paused>,
}

/// A team: agents who serve the conversations it is given, and nobody else does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Team {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Whether its conversations are dealt; otherwise its members pick them.
    pub allow_auto_assign: bool,
    /// Most open conversations a member may hold in all. `None`: no limit of the team's.
    pub capacity: Option<u32>,
    /// Members.
    pub members: BTreeSet<AgentId>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// What is said of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AgentRules {
    /// The capacity policy they are under.
    pub capacity_policy: Option<CapacityPolicyId>,
    /// Most open conversations they may hold in all; goes before the policy's.
    pub capacity: Option<u32>,
    /// Their share in a round robin; 1 is an ordinary one, 0 none.
    pub weight: u32,
    /// They are given nothing.
    pub paused: Option<Paused>,
    /// While paused, a conversation whose customer writes again goes to somebody else.
    pub reassigns: bool,
}

impl Default for AgentRules {
    fn default() -> Self {
        Self { capacity_policy: None, capacity: None, weight: 1, paused: None, reassigns: false }
    }
}

/// A rule that gives arriving conversations something by where they come from. Whatever it does not name matches.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Route {
    /// Matches this source (`wa`, `fb`), whatever the case of its letters.
    pub source: Option<String>,
    /// Matches this inbox.
    pub channel: Option<InboxId>,
    /// Matches conversations that bring this tag.
    pub tag: Option<Label>,
    /// Files it under this inbox.
    pub inbox: Option<InboxId>,
    /// Gives it to this team.
    pub team: Option<TeamId>,
    /// Gives it this priority.
    pub priority: Option<Priority>,
    /// Puts this label on it.
    pub label: Option<Label>,
    /// Says which language it is in.
    pub language: Option<String>,
}

impl Rulebook {
    /// What is said of an agent.
    #[must_use]
    pub fn agent(&self, id: AgentId) -> AgentRules {
        self.agents.get(&id).cloned().unwrap_or_default()
    }

    /// The capacity policy an agent is under.
    #[must_use]
    pub fn capacity_policy_of(&self, agent: AgentId) -> Option<&CapacityPolicy> {
        self.capacity_policies.get(&self.agents.get(&agent)?.capacity_policy?)
    }

    /// Most open conversations an agent may hold in all, as set for them.
    #[must_use]
    pub fn capacity_of(&self, agent: AgentId) -> Option<u32> {
        Own::of(self, agent).capacity
    }

    /// Whether decisions go by what agents hold of single inboxes.
    #[must_use]
    pub fn counts_by_inbox(&self, policy: &Policy) -> bool {
        policy.preset == Preset::Chatwoot
            || self.capacity_policies.values().any(|policy| !policy.inbox_limits.is_empty())
            || self.inboxes.values().any(|inbox| inbox.overrides.max_assignment_limit.is_some())
    }

    /// Agents on an approved leave.
    #[must_use]
    pub fn on_leave(&self, now: Timestamp) -> BTreeSet<AgentId> {
        self.leaves.values().filter(|leave| leave.covers(now)).map(|leave| leave.agent).collect()
    }

    /// Whether an agent is paused.
    #[must_use]
    pub fn is_paused(&self, agent: AgentId, now: Timestamp) -> bool {
        let paused = self.agents.get(&agent).and_then(|agent| agent.paused.as_ref());
        paused.is_some_and(|paused| paused.stands(now))
    }
}
