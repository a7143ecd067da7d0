//! Agent capacity policies: their limits, what they exclude, and who is under them.

use serde::Deserialize;

use super::{
    DESCRIPTION_CHARS_MAX, EditError, FIGURE_MAX, Field, Invalid, THINGS_MAX, check_room, count,
    field::{Read, read_by_serde},
    optional_count, set_name, set_text,
};
use crate::{
    AgentId, CapacityPolicyId, InboxId, InboxLimitId, Label, Rulebook, Timestamp,
    rulebook::{CapacityPolicy, ExclusionRules, InboxLimit},
};

/// Most labels of one policy: each is compared with each conversation's.
const LABELS_MAX: usize = 100;

/// What is sent of an agent capacity policy; of a new one all but the name may be left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct CapacityPolicyDraft {
    /// At most 255 characters.
    pub name: Field<String>,
    /// What it is for; at most 20,000 characters.
    pub description: Field<String>,
    /// Which conversations its agents are not given; replaces all that was said before.
    pub exclusion_rules: Field<ExclusionDraft>,
    /// Most open conversations in all; 0 is none ever. Null: no limit of the policy's.
    pub total_limit: Field<i64>,
}

/// What is sent of exclusion rules.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct ExclusionDraft {
    /// Conversations with any of these labels, whatever the case of their letters.
    pub excluded_labels: Field<Vec<String>>,
    /// Those silent for longer, in hours. Null or less than 1: however long.
    pub exclude_older_than_hours: Field<i64>,
}

read_by_serde!(ExclusionDraft);

/// What is sent of an inbox's limit in a policy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct InboxLimitDraft {
    /// The inbox; only of a new limit.
    pub inbox_id: Field<i64>,
    /// Most open conversations of it; 0 is none ever.
    pub conversation_limit: Field<i64>,
}

impl Rulebook {
    /// Makes a capacity policy.
    pub fn create_capacity_policy(
        &mut self,
        draft: CapacityPolicyDraft,
        now: Timestamp,
    ) -> Result<CapacityPolicyId, EditError> {
        let mut wrong = Invalid::default();
        check_room("agent_capacity_policies", self.capacity_policies.len(), THINGS_MAX, &mut wrong);
        let blank = CapacityPolicy {
            name: String::new(),
            description: String::new(),
            inbox_limits: Vec::new(),
            total_limit: None,
            exclusion_rules: ExclusionRules::default(),
            created_at: now,
            updated_at: now,
        };
        let made = drafted(blank, draft, wrong)?;
        let id = CapacityPolicyId(self.next_id());
        self.capacity_policies.insert(id, made);
        Ok(id)
    }

    /// Changes of a capacity policy what the draft holds.
    pub fn update_capacity_policy(
        &mut self,
        id: CapacityPolicyId,
        draft: CapacityPolicyDraft,
        now: Timestamp,
    ) -> Result<(), EditError> {
        let policy = self.capacity_policy_mut(id)?;
        let new = drafted(policy.clone(), draft, Invalid::default())?;
        if new != *policy {
            *policy = CapacityPolicy { updated_at: now, ..new };
        }
        Ok(())
    }

    /// Deletes a capacity policy with its limits; its agents are under none from then on.
    pub fn delete_capacity_policy(&mut self, id: CapacityPolicyId) -> Result<(), EditError> {
        self.capacity_policies.remove(&id).ok_or_else(|| unknown(id))?;
        for agent in self.agents.values_mut().filter(|agent| agent.capacity_policy == Some(id)) {
            agent.capacity_policy = None;
        }
        self.drop_blank_agents();
        Ok(())
    }

    /// Limits an inbox for the agents under a policy.
    pub fn add_inbox_limit(
        &mut self,
        id: CapacityPolicyId,
        draft: InboxLimitDraft,
        now: Timestamp,
    ) -> Result<InboxLimitId, EditError> {
        self.capacity_policy(id)?;
        let mut wrong = Invalid::default();
        let inbox = match draft.inbox_id {
            Field::Absent | Field::Null => {
                wrong.add("inbox_id", "must exist");
                None
            }
            given => given.take("inbox_id", &mut wrong).flatten().map(InboxId),
        };
        let limit = conversation_limit(draft.conversation_limit, &mut wrong);
        let limits = &self.capacity_policy(id)?.inbox_limits;
        check_room("inbox_limits", limits.len(), THINGS_MAX, &mut wrong);
        if limits.iter().any(|limit| Some(limit.inbox) == inbox) {
            return Err(EditError::AlreadyLimited);
        }
        let (inbox, limit) = wrong.unless_empty(inbox.zip(limit))?.ok_or_else(|| unknown(id))?;
        let made = InboxLimitId(self.next_id());
        let policy = self.capacity_policy_mut(id)?;
        policy.inbox_limits.push(InboxLimit { id: made, inbox, limit });
        policy.updated_at = now;
        Ok(made)
    }

    /// Changes a limit of a policy.
    pub fn set_inbox_limit(
        &mut self,
        id: CapacityPolicyId,
        limit: InboxLimitId,
        draft: InboxLimitDraft,
        now: Timestamp,
    ) -> Result<(), EditError> {
        self.inbox_limit(id, limit)?;
        let policy = self.capacity_policy_mut(id)?;
        if draft.conversation_limit == Field::Absent {
            return Ok(());
        }
        let mut wrong = Invalid::default();
        let value = conversation_limit(draft.conversation_limit, &mut wrong);
        let value = wrong.unless_empty(value)?;
        let found = policy.inbox_limits.iter_mut().find(|found| found.id == limit);
        if let (Some(found), Some(value)) = (found, value) {
            found.limit = value;
            policy.updated_at = now;
        }
        Ok(())
    }

    /// Takes a limit out of a policy.
    pub fn remove_inbox_limit(
        &mut self,
        id: CapacityPolicyId,
        limit: InboxLimitId,
        now: Timestamp,
    ) -> Result<(), EditError> {
        self.inbox_limit(id, limit)?;
        let policy = self.capacity_policy_mut(id)?;
        policy.inbox_limits.retain(|found| found.id != limit);
        policy.updated_at = now;
        Ok(())
    }

    /// Puts an agent under a policy, out of whichever they were under.
    pub fn put_under(&mut self, agent: AgentId, id: CapacityPolicyId) -> Result<(), EditError> {
        self.capacity_policy(id)?;
        self.agents.entry(agent).or_default().capacity_policy = Some(id);
        Ok(())
    }

    /// Takes an agent out of a policy. Fails when they are not under it.
    pub fn take_out(&mut self, agent: AgentId, id: CapacityPolicyId) -> Result<(), EditError> {
        self.capacity_policy(id)?;
        let said = self.agents.get_mut(&agent).filter(|said| said.capacity_policy == Some(id));
        said.ok_or(EditError::Unknown { what: "agent of this policy", id: agent.0 })?.capacity_policy = None;
        self.drop_blank_agents();
        Ok(())
    }

    /// A capacity policy.
    pub fn capacity_policy(&self, id: CapacityPolicyId) -> Result<&CapacityPolicy, EditError> {
        self.capacity_policies.get(&id).ok_or_else(|| unknown(id))
    }

    /// A limit of a capacity policy.
    pub fn inbox_limit(&self, id: CapacityPolicyId, limit: InboxLimitId) -> Result<InboxLimit, EditError> {
        let found = self.capacity_policy(id)?.inbox_limits.iter().find(|found| found.id == limit);
        found.copied().ok_or(EditError::Unknown { what: "inbox limit", id: limit.0 })
    }

    /// Agents under a capacity policy, ascending.
    pub fn agents_under(&self, id: CapacityPolicyId) -> impl Iterator<Item = AgentId> + '_ {
        self.agents.iter().filter(move |(_, said)| said.capacity_policy == Some(id)).map(|(agent, _)| *agent)
    }

    fn capacity_policy_mut(&mut self, id: CapacityPolicyId) -> Result<&mut CapacityPolicy, EditError> {
        self.capacity_policies.get_mut(&id).ok_or_else(|| unknown(id))
    }
}

fn unknown(id: CapacityPolicyId) -> EditError {
    EditError::Unknown { what: "agent capacity policy", id: id.0 }
}

fn conversation_limit(sent: Field<i64>, wrong: &mut Invalid) -> Option<u32> {
    const NAME: &str = "conversation_limit";
    let sent = if sent == Field::Absent { Field::Null } else { sent };
    let value = sent.take_some(NAME, "is not a number", wrong)?;
    count(NAME, value, (0, FIGURE_MAX), wrong)
}

fn drafted(
    mut policy: CapacityPolicy,
    draft: CapacityPolicyDraft,
    mut wrong: Invalid,
) -> Result<CapacityPolicy, EditError> {
    set_name(&mut policy.name, draft.name, std::iter::empty(), &mut wrong);
    let description = (draft.description, DESCRIPTION_CHARS_MAX);
    set_text("description", &mut policy.description, description.0, description.1, &mut wrong);
    let total = optional_count("total_limit", draft.total_limit, 0, &mut wrong);
    policy.total_limit = total.unwrap_or(policy.total_limit);
    if let Some(rules) = draft.exclusion_rules.take("exclusion_rules", &mut wrong) {
        policy.exclusion_rules = exclusion_rules(rules.unwrap_or_default(), &mut wrong);
    }
    wrong.unless_empty(policy)
}

fn exclusion_rules(draft: ExclusionDraft, wrong: &mut Invalid) -> ExclusionRules {
    const LABELS: &str = "exclusion_rules.excluded_labels";
    let sent = draft.excluded_labels.take(LABELS, wrong).flatten().unwrap_or_default();
    if sent.len() > LABELS_MAX {
        wrong.add(LABELS, format!("is too long (maximum is {LABELS_MAX} labels)"));
    }
    let mut rules = ExclusionRules::default();
    for label in sent.into_iter().take(LABELS_MAX) {
        match Label::parse(&label) {
            Ok(label) if rules.excluded_labels.contains(&label) => {}
            Ok(label) => rules.excluded_labels.push(label),
            Err(why) => wrong.add(LABELS, format!("holds one that {why}")),
        }
    }
    let hours =
        draft.exclude_older_than_hours.take("exclusion_rules.exclude_older_than_hours", wrong).flatten();
    let hours = hours.filter(|hours| *hours > 0).map(|hours| hours.min(FIGURE_MAX));
    rules.exclude_older_than_hours = hours.and_then(|hours| u32::try_from(hours).ok());
    rules
}

impl Read for Label {
    fn read(value: serde_json::Value) -> Result<Self, String> {
        Self::parse(&String::read(value)?).map_err(|why| why.to_string())
    }

    #[cfg(feature = "schema")]
    fn schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        String::schema(generator)
    }
}
