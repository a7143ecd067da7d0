//! What capacity policies keep from their agents, and who is left out for one conversation alone.

use std::{collections::BTreeMap, time::Duration};

use super::{Head, standing::Member};
use crate::{AgentId, CapacityPolicyId, Policy, Preset, Rejection, Rulebook, Timestamp, conversation::Label};

/// Who is left out for one conversation alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct LeftOut {
    pub refused: Vec<AgentId>,
    /// Everybody of one of these.
    groups: Vec<usize>,
}

impl LeftOut {
    pub fn is_nobody(&self) -> bool {
        self.refused.is_empty() && self.groups.is_empty()
    }

    /// Whether members of this group may have it.
    pub fn admits(&self, group: usize) -> bool {
        !self.groups.contains(&group)
    }

    pub fn contains(&self, member: &Member) -> bool {
        self.refused.contains(&member.agent) || !self.admits(member.group)
    }

    pub fn why(&self, member: &Member) -> Option<Rejection> {
        if self.refused.contains(&member.agent) {
            Some(Rejection::Refused)
        } else {
            (!self.admits(member.group)).then_some(Rejection::Excluded)
        }
    }
}

/// The exclusion rules of all capacity policies. The agents under one policy are a group, kept from the same conversations.
#[derive(Debug)]
pub(super) struct Exclusions<'a> {
    /// Of each group the policy, ascending. Behind them is one more, of whoever takes everything.
    policies: Vec<CapacityPolicyId>,
    by_label: BTreeMap<&'a Label, Vec<usize>>,
    /// After which silence, ascending.
    by_age: Vec<(Duration, usize)>,
}

impl<'a> Exclusions<'a> {
    pub fn of(rules: &'a Rulebook, policy: &Policy) -> Self {
        let mut exclusions = Self { policies: Vec::new(), by_label: BTreeMap::new(), by_age: Vec::new() };
        // There the inbox has exclusions, and agents have none.
        if policy.preset == Preset::Chatwoot {
            return exclusions;
        }
        for (id, policy) in &rules.capacity_policies {
            let (labels, age) =
                (&policy.exclusion_rules.excluded_labels, policy.exclusion_rules.silent_after());
            if labels.is_empty() && age.is_none() {
                continue;
            }
            let group = exclusions.policies.len();
            exclusions.policies.push(*id);
            labels.iter().for_each(|label| exclusions.by_label.entry(label).or_default().push(group));
            exclusions.by_age.extend(age.map(|age| (age, group)));
        }
        exclusions.by_age.sort_unstable();
        exclusions
    }

    /// The group of whoever is under `policy`.
    pub fn group(&self, policy: Option<CapacityPolicyId>) -> usize {
        let found = policy.and_then(|policy| self.policies.binary_search(&policy).ok());
        found.unwrap_or(self.policies.len())
    }

    /// Who is left out for `head` alone.
    pub fn left_out(&self, head: &Head, now: Timestamp) -> LeftOut {
        let refused = head.refused.iter().filter(|(_, until)| *until > now).map(|(agent, _)| *agent);
        let mut groups = Vec::new();
        if !self.by_label.is_empty() {
            let by_label = head.traits.labels.iter().filter_map(|label| self.by_label.get(label));
            groups.extend(by_label.flatten());
        }
        if !self.by_age.is_empty() {
            let silent = now.since(head.last_activity_at);
            let by_age = self.by_age.iter().take_while(|(most, _)| silent > *most);
            groups.extend(by_age.map(|(_, group)| *group));
        }
        LeftOut { refused: refused.collect(), groups }
    }
}
