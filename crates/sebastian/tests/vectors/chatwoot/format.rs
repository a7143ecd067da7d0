//! The world of a row, as the file writes it. A field nobody knows is an error, so that no row says more than is tried.

use std::collections::BTreeMap;

use sebastian_core::Timestamp;
use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Given {
    pub now: String,
    pub account: Account,
    pub inbox: Inbox,
    pub policy: Option<AssignmentPolicy>,
    pub agents: Vec<Agent>,
    pub teams: Vec<Team>,
    pub capacity_policies: Vec<CapacityPolicy>,
    pub conversations: Vec<Conversation>,
    pub assignment_log: Vec<Logged>,
    pub round_robin_next_first: Vec<i64>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    #[serde(rename = "id")]
    _id: i64,
    pub features: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inbox {
    pub id: i64,
    pub enable_auto_assignment: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssignmentPolicy {
    pub id: i64,
    pub enabled: bool,
    pub assignment_order: String,
    pub conversation_priority: String,
    pub fair_distribution_limit: Option<u32>,
    pub fair_distribution_window: Option<u32>,
    pub exclude_older_than_hours: Option<u32>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agent {
    pub id: i64,
    pub presence: String,
    pub role: String,
    pub inbox_member: bool,
    pub capacity_policy_id: Option<i64>,
    #[serde(default)]
    pub on_leave: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Team {
    pub id: i64,
    pub allow_auto_assign: bool,
    pub members: Vec<i64>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CapacityPolicy {
    pub id: i64,
    pub inbox_limits: Vec<Limit>,
    pub exclusion_rules: Exclusion,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    pub inbox_id: i64,
    pub conversation_limit: u32,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Exclusion {
    pub excluded_labels: Vec<String>,
    pub exclude_older_than_hours: Option<Value>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conversation {
    pub id: i64,
    pub inbox_id: i64,
    pub status: String,
    pub assignee_id: Option<i64>,
    pub ai_assignee_id: Option<i64>,
    pub team_id: Option<i64>,
    pub labels: Vec<String>,
    pub created_at: String,
    pub last_activity_at: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logged {
    pub agent_id: i64,
    pub conversation_id: i64,
    pub at: String,
    #[serde(default)]
    pub inbox_id: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub enum Step {
    Run { limit: u32, expect: Box<Expect> },
    SetPresence { agent_id: i64, presence: String },
    AddConversations { conversations: Vec<Conversation> },
    Advance { seconds: u64 },
    SetStatus { conversation_id: i64, status: String },
    SetAssignee { conversation_id: i64, assignee_id: Option<i64> },
    ResolveSome { agent_id: i64, count: usize },
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Expect {
    pub assigned_count: Option<usize>,
    pub assignees: BTreeMap<String, Option<i64>>,
    pub assignee_in: BTreeMap<String, Vec<i64>>,
    pub ai_assignees: BTreeMap<String, Option<i64>>,
    pub unassigned_count: Option<usize>,
    pub open_counts: BTreeMap<String, usize>,
    pub window_counts: BTreeMap<String, u32>,
    pub assigned_ids: Option<Vec<i64>>,
    pub conversations_examined: Option<usize>,
    pub queue_after: Option<Vec<i64>>,
    pub events: Option<Vec<Value>>,
    pub provenance: BTreeMap<String, Value>,
}

pub fn time(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse_rfc3339(text).ok_or_else(|| format!("{text} is no time"))
}

/// The number a key stands for.
pub fn number(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| format!("{text} is no number"))
}

pub fn read<T: serde::de::DeserializeOwned>(value: &Value) -> Result<T, String> {
    T::deserialize(value).map_err(|error| error.to_string())
}
