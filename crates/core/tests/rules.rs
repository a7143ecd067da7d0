//! Builders for what operators set.

use sebastian_core::{
    AgentId, InboxId, Label, Order, PolicyId, Rulebook, Strategy,
    rulebook::{
        AssignmentPolicy, CapacityPolicy, Day, ExclusionRules, InboxRules, Leave, LeaveStatus, PriorityBoost,
        Team,
    },
};

use crate::support::NOW;

pub fn label(text: &str) -> Label {
    Label::parse(text).expect("a short word is a label")
}

/// An enabled policy that sets nothing but `name`, and the strategy that is the default's.
pub fn assignment_policy(name: &str) -> AssignmentPolicy {
    AssignmentPolicy {
        name: name.into(),
        description: String::new(),
        enabled: true,
        strategy: Strategy::Balanced,
        order: Order::EarliestCreated,
        boost: PriorityBoost::default(),
        fair_distribution: None,
        exclude_older_than_hours: None,
        capacity: None,
        reassigns_strays: None,
        seed: 0,
        created_at: NOW,
        updated_at: NOW,
    }
}

/// A capacity policy that limits and excludes nothing.
pub fn capacity_policy(name: &str) -> CapacityPolicy {
    CapacityPolicy {
        name: name.into(),
        description: String::new(),
        inbox_limits: Vec::new(),
        total_limit: None,
        exclusion_rules: ExclusionRules::default(),
        created_at: NOW,
        updated_at: NOW,
    }
}

/// A team of `members` to whom conversations are dealt.
pub fn team(members: impl IntoIterator<Item = AgentId>) -> Team {
    Team {
        name: "any".into(),
        description: String::new(),
        allow_auto_assign: true,
        capacity: None,
        members: members.into_iter().collect(),
        created_at: NOW,
        updated_at: NOW,
    }
}

/// An approved leave of `agent` on 1 January 1970.
pub fn leave(agent: AgentId) -> Leave {
    Leave {
        agent,
        start: Day(0),
        end: Day(0),
        utc_offset_minutes: 0,
        kind: "annual".into(),
        reason: None,
        status: LeaveStatus::Approved,
        approved_at: Some(NOW),
        created_at: NOW,
        updated_at: NOW,
    }
}

/// A rulebook with `policy`, to which `inbox` is linked.
pub fn linked(inbox: InboxId, policy: AssignmentPolicy) -> Rulebook {
    let mut rules = Rulebook::default();
    rules.assignment_policies.insert(PolicyId(1), policy);
    rules.inboxes.insert(inbox, InboxRules { policy: Some(PolicyId(1)), ..InboxRules::default() });
    rules
}
