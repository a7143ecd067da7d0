//! Assignment policies and their links to inboxes.

use std::time::Duration;

use serde::Deserialize;

use super::{
    DESCRIPTION_CHARS_MAX, EditError, Field, Invalid, THINGS_MAX, check_room, count, field::read_by_serde,
    optional_count, set_name, set_text,
};
use crate::{
    FairDistribution, InboxId, Order, Policy, PolicyId, Preset, Rulebook, Strategy, Timestamp,
    rulebook::{AssignmentPolicy, InboxRules, PriorityBoost},
};

/// Most conversations of a window; what Chatwoot's dashboard allows.
const LIMIT_MAX: i64 = 100_000;

/// Longest window, in seconds: each assignment of a window is kept until it leaves it.
const WINDOW_S_MAX: i64 = 31 * 24 * 60 * 60;

/// What is sent of an assignment policy; of a new one all but the name may be left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct PolicyDraft {
    /// Unique in its account; at most 255 characters.
    pub name: Field<String>,
    /// What it is for; at most 20,000 characters.
    pub description: Field<String>,
    /// How to choose among eligible agents.
    pub assignment_order: Field<Strategy>,
    /// Which waiting conversation comes first.
    pub conversation_priority: Field<Order>,
    /// Most conversations an agent is given of an inbox in a window. Null or 0: no limit (not under preset `chatwoot`).
    pub fair_distribution_limit: Field<i64>,
    /// Length of that window, in seconds.
    pub fair_distribution_window: Field<i64>,
    /// Whether the inboxes linked to it are dealt at all.
    pub enabled: Field<bool>,
    /// Conversations silent for longer are not dealt, in hours. Null: however long.
    pub exclude_older_than_hours: Field<i64>,
    /// Most open conversations an agent may hold, where nothing is set for the agent or the team. Null: the account's.
    pub capacity: Field<i64>,
    /// What a priority is worth where the order is `priority`: how much earlier than it opened a conversation counts, in
    /// seconds.
    pub priority_boost: Field<PriorityBoost>,
    /// Whether a conversation goes back to its place when its agent is deleted or leaves the inbox. Null: as for the
    /// account.
    pub reassigns_strays: Field<bool>,
    /// What the strategy `random` draws by.
    pub seed: Field<i64>,
}

read_by_serde!(PriorityBoost);

impl Rulebook {
    /// Makes an assignment policy. What the draft leaves out is as `policy`, the account's default, has it.
    pub fn create_policy(
        &mut self,
        draft: PolicyDraft,
        policy: &Policy,
        now: Timestamp,
    ) -> Result<PolicyId, EditError> {
        let mut wrong = Invalid::default();
        check_room("assignment_policies", self.assignment_policies.len(), THINGS_MAX, &mut wrong);
        let made = self.drafted(blank(policy, now), None, draft, policy.preset, wrong)?;
        let id = PolicyId(self.next_id());
        self.assignment_policies.insert(id, made);
        Ok(id)
    }

    /// Changes of an assignment policy what the draft holds.
    pub fn update_policy(
        &mut self,
        id: PolicyId,
        draft: PolicyDraft,
        policy: &Policy,
        now: Timestamp,
    ) -> Result<(), EditError> {
        let old = self.assignment_policy(id)?;
        let new = self.drafted(old.clone(), Some(id), draft, policy.preset, Invalid::default())?;
        if new != *old {
            self.assignment_policies.insert(id, AssignmentPolicy { updated_at: now, ..new });
        }
        Ok(())
    }

    /// Deletes an assignment policy and its links to inboxes.
    pub fn delete_policy(&mut self, id: PolicyId) -> Result<(), EditError> {
        self.assignment_policies.remove(&id).ok_or_else(|| unknown(id))?;
        for inbox in self.inboxes.values_mut().filter(|inbox| inbox.policy == Some(id)) {
            inbox.policy = None;
        }
        self.drop_blank_inboxes();
        Ok(())
    }

    /// Links an inbox to a policy, in the place of whichever it was linked to.
    pub fn link(&mut self, inbox: InboxId, policy: PolicyId) -> Result<(), EditError> {
        self.assignment_policy(policy)?;
        self.inboxes.entry(inbox).or_default().policy = Some(policy);
        Ok(())
    }

    /// Takes an inbox's policy from it. Fails with [`EditError::NotLinked`] when it has none.
    pub fn unlink(&mut self, inbox: InboxId) -> Result<PolicyId, EditError> {
        let linked = self.inboxes.get_mut(&inbox).and_then(|inbox| inbox.policy.take());
        self.drop_blank_inboxes();
        linked.ok_or(EditError::NotLinked)
    }

    /// An assignment policy.
    pub fn assignment_policy(&self, id: PolicyId) -> Result<&AssignmentPolicy, EditError> {
        self.assignment_policies.get(&id).ok_or_else(|| unknown(id))
    }

    /// The policy an inbox is linked to. Fails with [`EditError::NotLinked`] when it has none.
    pub fn policy_of_inbox(&self, inbox: InboxId) -> Result<(PolicyId, &AssignmentPolicy), EditError> {
        let linked = self.inboxes.get(&inbox).and_then(|inbox| inbox.policy);
        let found = linked.and_then(|id| self.assignment_policies.get_key_value(&id));
        found.map(|(id, policy)| (*id, policy)).ok_or(EditError::NotLinked)
    }

    /// Inboxes linked to a policy, ascending.
    pub fn inboxes_of_policy(&self, id: PolicyId) -> impl Iterator<Item = InboxId> + '_ {
        self.inboxes.iter().filter(move |(_, said)| said.policy == Some(id)).map(|(inbox, _)| *inbox)
    }

    /// An inbox of which nothing is said any more needs no entry.
    pub(super) fn drop_blank_inboxes(&mut self) {
        self.inboxes.retain(|_, said| *said != InboxRules::default());
    }

    fn drafted(
        &self,
        mut policy: AssignmentPolicy,
        id: Option<PolicyId>,
        draft: PolicyDraft,
        preset: Preset,
        mut wrong: Invalid,
    ) -> Result<AssignmentPolicy, EditError> {
        let wrong_kind = "must be true or false";
        let others = self.assignment_policies.iter().filter(|(other, _)| Some(**other) != id);
        set_name(&mut policy.name, draft.name, others.map(|(_, other)| other.name.as_str()), &mut wrong);
        let description = (draft.description, DESCRIPTION_CHARS_MAX);
        set_text("description", &mut policy.description, description.0, description.1, &mut wrong);
        let order = draft.assignment_order.take_some("assignment_order", "can't be blank", &mut wrong);
        policy.strategy = order.unwrap_or(policy.strategy);
        let priority = draft.conversation_priority;
        let priority = priority.take_some("conversation_priority", "can't be blank", &mut wrong);
        policy.order = priority.unwrap_or(policy.order);
        policy.enabled = draft.enabled.take_some("enabled", wrong_kind, &mut wrong).unwrap_or(policy.enabled);
        policy.fair_distribution = fair_distribution(
            policy.fair_distribution,
            draft.fair_distribution_limit,
            draft.fair_distribution_window,
            preset == Preset::Chatwoot,
            &mut wrong,
        );
        let hours = optional_count("exclude_older_than_hours", draft.exclude_older_than_hours, 1, &mut wrong);
        policy.exclude_older_than_hours = hours.unwrap_or(policy.exclude_older_than_hours);
        let capacity = optional_count("capacity", draft.capacity, 0, &mut wrong);
        policy.capacity = capacity.unwrap_or(policy.capacity);
        let boost = draft.priority_boost.take("priority_boost", &mut wrong);
        policy.boost = boost.map_or(policy.boost, Option::unwrap_or_default);
        let strays = draft.reassigns_strays.take("reassigns_strays", &mut wrong);
        policy.reassigns_strays = strays.unwrap_or(policy.reassigns_strays);
        if let Some(seed) = draft.seed.take("seed", &mut wrong) {
            match u64::try_from(seed.unwrap_or_default()) {
                Ok(seed) => policy.seed = seed,
                Err(_) => wrong.add("seed", "must be greater than or equal to 0"),
            }
        }
        wrong.unless_empty(policy)
    }
}

fn unknown(id: PolicyId) -> EditError {
    EditError::Unknown { what: "assignment policy", id: id.0 }
}

/// A policy nobody has said anything of yet. Under Chatwoot's preset it has the defaults of Chatwoot's table.
fn blank(policy: &Policy, now: Timestamp) -> AssignmentPolicy {
    let is_chatwoot = policy.preset == Preset::Chatwoot;
    AssignmentPolicy {
        name: String::new(),
        description: String::new(),
        enabled: true,
        strategy: if is_chatwoot { Strategy::RoundRobin } else { policy.strategy },
        order: if is_chatwoot { Order::EarliestCreated } else { policy.order },
        boost: PriorityBoost::default(),
        fair_distribution: is_chatwoot.then_some(DEFAULT),
        exclude_older_than_hours: is_chatwoot.then_some(168),
        capacity: None,
        reassigns_strays: None,
        seed: 0,
        created_at: now,
        updated_at: now,
    }
}

/// A limit without a window, and a window without a limit under Chatwoot's preset, are completed by this.
const DEFAULT: FairDistribution = FairDistribution { limit: 100, window: Duration::from_secs(3_600) };

/// Fair distribution after a change of its limit or its window. `required`: it cannot be switched off.
pub(super) fn fair_distribution(
    now: Option<FairDistribution>,
    limit: Field<i64>,
    window: Field<i64>,
    required: bool,
    wrong: &mut Invalid,
) -> Option<FairDistribution> {
    const LIMIT: &str = "fair_distribution_limit";
    const WINDOW: &str = "fair_distribution_window";
    let (limit, window) = (limit.take(LIMIT, wrong), window.take(WINDOW, wrong));
    if required {
        for (name, sent) in [(LIMIT, limit), (WINDOW, window)] {
            if sent == Some(None) {
                wrong.add(name, "is not a number");
            }
        }
    } else if [limit, window].contains(&Some(Some(0))) || limit == Some(None) {
        return None;
    }
    let limit = limit.flatten().and_then(|limit| count(LIMIT, limit, (1, LIMIT_MAX), wrong));
    let seconds = window.flatten().and_then(|window| count(WINDOW, window, (1, WINDOW_S_MAX), wrong));
    if now.is_none() && limit.is_none() {
        if seconds.is_some() {
            wrong.add(LIMIT, "can't be blank where there is a window");
        }
        return None;
    }
    let window_now = if window == Some(None) { DEFAULT.window } else { now.unwrap_or(DEFAULT).window };
    Some(FairDistribution {
        limit: limit.unwrap_or(now.unwrap_or(DEFAULT).limit),
        window: seconds.map_or(window_now, |seconds| Duration::from_secs(seconds.into())),
    })
}
