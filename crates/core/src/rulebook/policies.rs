//! Assignment policies and agent capacity policies, as operators write them. Field names and figures are Chatwoot's
//! where Chatwoot has them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    FairDistribution, InboxId, InboxLimitId, Order, Priority, Strategy, Timestamp, conversation::Label,
};

/// How the conversations of the inboxes linked to it are dealt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssignmentPolicy {
    /// Unique in its account.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Whether the inboxes linked to it are dealt at all.
    pub enabled: bool,
    /// How to choose.
    pub strategy: Strategy,
    /// Which conversation comes first.
    pub order: Order,
    /// What a priority is worth under [`Order::Priority`].
    pub boost: PriorityBoost,
    /// Most conversations an agent is given of an inbox in a window. `None`: no limit.
    pub fair_distribution: Option<FairDistribution>,
    /// Conversations silent for longer are not dealt. `None`: however long.
    pub exclude_older_than_hours: Option<u32>,
    /// Most open conversations an agent may hold, where nothing is set for the agent or the team. `None`: the account's.
    pub capacity: Option<u32>,
    /// Whether a conversation goes back to its place when its agent is deleted or leaves the inbox. `None`: as for the account.
    pub reassigns_strays: Option<bool>,
    /// What [`Strategy::Random`] draws by.
    pub seed: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// How much earlier than it opened a conversation counts, by priority; in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct PriorityBoost {
    /// For `low`.
    pub low: u32,
    /// For `medium`.
    pub medium: u32,
    /// For `high`.
    pub high: u32,
    /// For `urgent`.
    pub urgent: u32,
}

impl Default for PriorityBoost {
    fn default() -> Self {
        Self { low: 0, medium: 300, high: 1_800, urgent: 7_200 }
    }
}

impl PriorityBoost {
    /// What a priority is worth; none is worth nothing.
    #[must_use]
    pub fn of(&self, priority: Option<Priority>) -> Duration {
        let seconds = match priority {
            None => 0,
            Some(Priority::Low) => self.low,
            Some(Priority::Medium) => self.medium,
            Some(Priority::High) => self.high,
            Some(Priority::Urgent) => self.urgent,
        };
        Duration::from_secs(u64::from(seconds))
    }
}

/// What differs in one inbox from the policy it is linked to (Chatwoot's `auto_assignment_config`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Overrides {
    /// How to choose.
    pub strategy: Option<Strategy>,
    /// Which conversation comes first.
    pub order: Option<Order>,
    /// Most conversations an agent is given in a window.
    pub fair_distribution: Option<FairDistribution>,
    /// Most open conversations of this inbox an agent may hold.
    pub max_assignment_limit: Option<u32>,
}

/// How much the agents under it may hold, and of what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapacityPolicy {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Most open conversations of single inboxes, each inbox once, ascending by age.
    pub inbox_limits: Vec<InboxLimit>,
    /// Most open conversations in all. `None`: no limit of the policy's.
    pub total_limit: Option<u32>,
    /// Conversations that its agents are not given.
    pub exclusion_rules: ExclusionRules,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl CapacityPolicy {
    /// Most open conversations of `inbox`. `None`: nothing is said of it.
    #[must_use]
    pub fn limit_of(&self, inbox: InboxId) -> Option<u32> {
        self.inbox_limits.iter().find(|limit| limit.inbox == inbox).map(|limit| limit.limit)
    }
}

/// Most open conversations of one inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct InboxLimit {
    /// Its number.
    pub id: InboxLimitId,
    /// The inbox.
    pub inbox: InboxId,
    /// How many; 0 is none ever.
    pub limit: u32,
}

/// Conversations that are not dealt.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExclusionRules {
    /// Those with any of these labels; each once, in the operator's order.
    pub excluded_labels: Vec<Label>,
    /// Those silent for longer. `None`: however long.
    pub exclude_older_than_hours: Option<u32>,
}
