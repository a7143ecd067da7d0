//! What the API shows. Keys are Chatwoot's where Chatwoot has them; times are seconds since 1970.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use sebastian_core::{
    AgentId, CapacityPolicyId, InboxId, InboxLimitId, Label, LeaveId, Order, PolicyId, Preset, Roster,
    Rulebook, Strategy, TeamId, Timestamp,
    roster::{Presence, Role},
    rulebook::{
        self, AssignmentPolicy, CapacityPolicy, ExclusionRules, InboxLimit, Leave, LeaveStatus,
        PriorityBoost, Route, Team,
    },
};
use serde::Serialize;

/// An account.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(super) struct AccountView {
    id: i64,
    /// The platform's name for it.
    tenant: String,
    /// Whose way of assigning holds where no policy says otherwise.
    preset: Preset,
    /// Grows with every change of what operators set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rules_version: Option<u64>,
    paused: Option<PausedView>,
}

/// An assignment policy.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(super) struct PolicyView {
    id: PolicyId,
    name: String,
    description: String,
    assignment_order: Strategy,
    conversation_priority: Order,
    /// Null: no limit.
    fair_distribution_limit: Option<u32>,
    /// In seconds. Null: no limit.
    fair_distribution_window: Option<u64>,
    enabled: bool,
    /// Null: however long.
    exclude_older_than_hours: Option<u32>,
    assigned_inbox_count: usize,
    capacity: Option<u32>,
    priority_boost: PriorityBoost,
    reassigns_strays: Option<bool>,
    seed: u64,
    created_at: i64,
    updated_at: i64,
}

/// Inboxes of a policy.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(super) struct InboxesView {
    pub inboxes: Vec<InboxView>,
}

/// An inbox, as far as assignment goes.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(super) struct InboxView {
    id: InboxId,
    enable_auto_assignment: bool,
    auto_assignment_config: OverridesView,
    assignment_policy_id: Option<PolicyId>,
    paused: Option<PausedView>,
}

/// What differs in an inbox from its policy; what does not is left out.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
struct OverridesView {
    #[serde(skip_serializing_if = "Option::is_none")]
    max_assignment_limit: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    assignment_order: Option<Strategy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    conversation_priority: Option<Order>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fair_distribution_limit: Option<u32>,
    /// In seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    fair_distribution_window: Option<u64>,
}

/// A pause that stands.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(super) struct PausedView {
    since: i64,
    /// Null: until resumed.
    until: Option<i64>,
    reason: Option<String>,
}

/// An agent capacity policy.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(super) struct CapacityPolicyView {
    id: CapacityPolicyId,
    name: String,
    description: String,
    exclusion_rules: ExclusionView,
    /// Null: no limit of the policy's.
    total_limit: Option<u32>,
    assigned_agent_count: usize,
    inbox_capacity_limits: Vec<InboxLimitView>,
    created_at: i64,
    updated_at: i64,
}

/// Which conversations agents are not given; what nothing was said of is left out.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
struct ExclusionView {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    excluded_labels: Vec<Label>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exclude_older_than_hours: Option<u32>,
}

/// An inbox's limit in a capacity policy.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(super) struct InboxLimitView {
    id: InboxLimitId,
    inbox_id: InboxId,
    conversation_limit: u32,
}

/// A team.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(super) struct TeamView {
    id: TeamId,
    name: String,
    description: String,
    allow_auto_assign: bool,
    /// Null: no limit of the team's.
    capacity: Option<u32>,
    members_count: usize,
    created_at: i64,
    updated_at: i64,
}

/// An agent, as far as assignment goes. What the roster does not tell is null.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(super) struct AgentView {
    id: AgentId,
    name: Option<String>,
    role: Option<Role>,
    presence: Option<Presence>,
    weight: u32,
    /// Null: their policy's, their team's or the account's.
    capacity: Option<u32>,
    agent_capacity_policy_id: Option<CapacityPolicyId>,
    team_ids: BTreeSet<TeamId>,
    paused: Option<PausedView>,
    /// While paused, a conversation whose customer writes again goes to somebody else.
    reassigns: bool,
    on_leave: bool,
}

/// A leave.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(super) struct LeaveView {
    id: LeaveId,
    user_id: AgentId,
    /// As `2026-11-21`.
    start_date: String,
    /// Itself included.
    end_date: String,
    days: u32,
    utc_offset_minutes: i16,
    leave_type: String,
    reason: Option<String>,
    status: LeaveStatus,
    /// Whether it is on right now.
    active: bool,
    approved_at: Option<i64>,
    created_at: i64,
    updated_at: i64,
}

/// What arriving conversations are given by where they come from; in order, the first to set a thing wins.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(super) struct RoutesView {
    pub routes: Vec<Route>,
}

fn seconds(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(1_000)
}

impl AccountView {
    pub fn of(id: i64, tenant: &str, preset: Preset, rules: &Rulebook, now: Timestamp) -> Self {
        let paused = PausedView::of(rules.paused.as_ref(), now);
        Self { id, tenant: tenant.to_owned(), preset, rules_version: None, paused }
    }
}

impl PolicyView {
    pub fn of(id: PolicyId, policy: &AssignmentPolicy, rules: &Rulebook) -> Self {
        Self {
            id,
            name: policy.name.clone(),
            description: policy.description.clone(),
            assignment_order: policy.strategy,
            conversation_priority: policy.order,
            fair_distribution_limit: policy.fair_distribution.map(|rule| rule.limit),
            fair_distribution_window: policy.fair_distribution.map(|rule| rule.window.as_secs()),
            enabled: policy.enabled,
            exclude_older_than_hours: policy.exclude_older_than_hours,
            assigned_inbox_count: rules.inboxes_of_policy(id).count(),
            capacity: policy.capacity,
            priority_boost: policy.boost,
            reassigns_strays: policy.reassigns_strays,
            seed: policy.seed,
            created_at: seconds(policy.created_at),
            updated_at: seconds(policy.updated_at),
        }
    }
}

impl InboxView {
    pub fn of(id: InboxId, rules: &Rulebook, now: Timestamp) -> Self {
        let said = rules.inboxes.get(&id).cloned().unwrap_or_default();
        let rulebook::Overrides { strategy, order, fair_distribution, max_assignment_limit } = said.overrides;
        Self {
            id,
            enable_auto_assignment: !said.manual,
            auto_assignment_config: OverridesView {
                max_assignment_limit,
                assignment_order: strategy,
                conversation_priority: order,
                fair_distribution_limit: fair_distribution.map(|rule| rule.limit),
                fair_distribution_window: fair_distribution.map(|rule| rule.window.as_secs()),
            },
            assignment_policy_id: said.policy,
            paused: PausedView::of(said.paused.as_ref(), now),
        }
    }
}

impl PausedView {
    pub fn of(paused: Option<&rulebook::Paused>, now: Timestamp) -> Option<Self> {
        let paused = paused.filter(|paused| paused.stands(now))?;
        let (since, until) = (seconds(paused.since), paused.until.map(seconds));
        Some(Self { since, until, reason: paused.reason.clone() })
    }
}

impl CapacityPolicyView {
    pub fn of(id: CapacityPolicyId, policy: &CapacityPolicy, rules: &Rulebook) -> Self {
        let ExclusionRules { excluded_labels, exclude_older_than_hours } = policy.exclusion_rules.clone();
        Self {
            id,
            name: policy.name.clone(),
            description: policy.description.clone(),
            exclusion_rules: ExclusionView { excluded_labels, exclude_older_than_hours },
            total_limit: policy.total_limit,
            assigned_agent_count: rules.agents_under(id).count(),
            inbox_capacity_limits: policy.inbox_limits.iter().copied().map(InboxLimitView::of).collect(),
            created_at: seconds(policy.created_at),
            updated_at: seconds(policy.updated_at),
        }
    }
}

impl InboxLimitView {
    pub fn of(limit: InboxLimit) -> Self {
        Self { id: limit.id, inbox_id: limit.inbox, conversation_limit: limit.limit }
    }
}

impl TeamView {
    pub fn of(id: TeamId, team: &Team) -> Self {
        Self {
            id,
            name: team.name.clone(),
            description: team.description.clone(),
            allow_auto_assign: team.allow_auto_assign,
            capacity: team.capacity,
            members_count: team.members.len(),
            created_at: seconds(team.created_at),
            updated_at: seconds(team.updated_at),
        }
    }
}

impl AgentView {
    pub fn of(id: AgentId, roster: Option<&Roster>, rules: &Rulebook, now: Timestamp) -> Self {
        let said = rules.agent(id);
        let seen = roster.and_then(|roster| roster.agent(id));
        let leaves = rules.leaves.values();
        Self {
            id,
            name: seen.map(|agent| agent.name.clone()),
            role: seen.map(|agent| agent.role),
            presence: seen.map(|agent| agent.presence),
            weight: said.weight,
            capacity: said.capacity,
            agent_capacity_policy_id: said.capacity_policy,
            team_ids: rules
                .teams
                .iter()
                .filter(|(_, team)| team.members.contains(&id))
                .map(|(id, _)| *id)
                .collect(),
            paused: PausedView::of(said.paused.as_ref(), now),
            reassigns: said.reassigns,
            on_leave: leaves.into_iter().any(|leave| leave.agent == id && leave.covers(now)),
        }
    }
}

impl AgentView {
    /// Without what the roster tells, for the audit: no name is ever stored.
    pub fn nameless(id: AgentId, rules: &Rulebook, now: Timestamp) -> Self {
        Self::of(id, None, rules, now)
    }
}

impl LeaveView {
    pub fn of(id: LeaveId, leave: &Leave, now: Timestamp) -> Self {
        Self {
            id,
            user_id: leave.agent,
            start_date: leave.start.to_string(),
            end_date: leave.end.to_string(),
            days: leave.days(),
            utc_offset_minutes: leave.utc_offset_minutes,
            leave_type: leave.kind.clone(),
            reason: leave.reason.clone(),
            status: leave.status,
            active: leave.covers(now),
            approved_at: leave.approved_at.map(seconds),
            created_at: seconds(leave.created_at),
            updated_at: seconds(leave.updated_at),
        }
    }
}
