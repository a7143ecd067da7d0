//! What keeps a whole queue, a conversation, or everybody from being dealt, in words.

use serde::Serialize;

use super::{
    Candidate, Case,
    words::{self, Tense, printable, roll_call, span},
};
use crate::{
    Exclusion, Hold, InboxId, Order, Policy, PolicyId, Preset, QueueRules, Rejection, Rulebook, Strategy,
    rulebook::CapacityPolicy,
};

/// What a queue is dealt by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Governed {
    /// The version of the rulebook; 0 while nothing was ever set.
    pub version: u64,
    /// The assignment policy its inbox is linked to. `None`: the account's own policy holds.
    pub policy: Option<Named>,
    /// How an agent is chosen.
    pub strategy: Strategy,
    /// Which conversation comes first.
    pub order: Order,
}

/// An assignment policy, as people know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Named {
    /// Its number.
    pub id: PolicyId,
    /// Its name, of printable characters only.
    pub name: String,
}

/// Why nothing of a queue is dealt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Held {
    /// Why.
    pub reason: Hold,
    /// In words.
    pub detail: String,
}

/// Why a conversation is not dealt for what it carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Excluded {
    /// By which rule.
    #[serde(flatten)]
    pub reason: Exclusion,
    /// In words.
    pub detail: String,
}

impl Governed {
    /// The rules in words: `assignment policy Night: balanced, earliest first (version 4)`.
    #[must_use]
    pub fn in_words(&self) -> String {
        let (strategy, order) = (words::strategy(self.strategy), words::order(self.order));
        format!("{}: {strategy}, {order}", self.name())
    }

    pub(super) fn name(&self) -> String {
        let version = match self.version {
            0 => String::new(),
            version => format!(" (version {version} of the rules)"),
        };
        match &self.policy {
            Some(policy) => format!("assignment policy {}{version}", policy.name),
            None => format!("the account's own policy{version}"),
        }
    }
}

pub(super) fn governed(rules: &QueueRules<'_>, rulebook: &Rulebook, inbox: Option<InboxId>) -> Governed {
    let linked = inbox.and_then(|inbox| rulebook.inboxes.get(&inbox)?.policy);
    let policy = linked.and_then(|id| {
        let policy = rulebook.assignment_policies.get(&id)?;
        Some(Named { id, name: printable(&policy.name) })
    });
    Governed { version: rulebook.version, policy, strategy: rules.strategy, order: rules.order }
}

impl Case<'_> {
    /// A hold in words.
    pub(super) fn held(&self, hold: Hold) -> Held {
        let detail = match hold {
            Hold::AccountPaused => {
                let paused = self.rules.paused.as_ref().map_or_else(|| "paused".into(), words::paused);
                format!("the account is {paused}")
            }
            Hold::InboxPaused => {
                let said = self.conversation.inbox.and_then(|inbox| self.rules.inboxes.get(&inbox));
                let paused = said.and_then(|said| said.paused.as_ref());
                format!("{} is {}", self.inbox(), paused.map_or_else(|| "paused".into(), words::paused))
            }
            Hold::InboxManual => format!("automatic assignment is switched off for {}", self.inbox()),
            Hold::PolicyDisabled => {
                let governed = governed(&self.queue(), &self.rules, self.conversation.inbox);
                let name = governed.policy.map_or_else(String::new, |policy| format!(" {}", policy.name));
                format!("assignment policy{name} of {} is disabled", self.inbox())
            }
            Hold::TeamManual => format!("{} assigns by hand", self.team()),
            Hold::TeamGone => format!("{} no longer exists", self.team()),
            Hold::NoTeam => "it has no team, and only conversations of a team are dealt".into(),
        };
        Held { reason: hold, detail }
    }

    /// What the conversation carries that keeps it from everybody, in words.
    pub(super) fn excluded(&self, rules: &QueueRules<'_>) -> Option<Excluded> {
        let (labels, active_at) = (&self.conversation.traits.labels, self.conversation.last_activity_at);
        let reason = rules.excludes(labels, active_at, self.now)?;
        let by_inbox = self.oldest_capacity_policy().filter(|policy| {
            policy.exclusion_rules.excludes(labels, active_at, self.now).as_ref() == Some(&reason)
        });
        let by = match by_inbox {
            Some(policy) => format!("capacity policy {}", printable(&policy.name)),
            None => governed(rules, &self.rules, self.conversation.inbox).name(),
        };
        let detail = match &reason {
            Exclusion::Label(label) => format!("label {label} is excluded by {by}"),
            Exclusion::Silent(hours) => {
                format!("silent for {}, over the limit of {hours} h of {by}", span(self.silence()))
            }
        };
        Some(Excluded { reason, detail })
    }

    /// The capacity policy by whose rules all conversations of the inbox are excluded, under Chatwoot's preset.
    fn oldest_capacity_policy(&self) -> Option<&CapacityPolicy> {
        if self.policy.preset != Preset::Chatwoot {
            return None;
        }
        let policies = self.rules.capacity_policies.values();
        let limits = policies.flat_map(|policy| policy.inbox_limits.iter().map(move |limit| (limit, policy)));
        let ours = limits.filter(|(limit, _)| Some(limit.inbox) == self.conversation.inbox);
        ours.min_by_key(|(limit, _)| limit.id).map(|(_, policy)| policy)
    }

    /// Why none of the agents is given it: what holds for all of them, then each.
    pub(super) fn why_not_them(&self, agents: &[Candidate]) -> String {
        // Supervisors and admins are no news: nobody expects them to take it.
        let agents: Vec<&Candidate> =
            agents.iter().filter(|agent| agent.reason != Some(Rejection::Role)).collect();
        if agents.is_empty() {
            return "the roster names nobody who is given chats".into();
        }
        let each = roll_call(&agents, Tense::Now);
        match self.common_reason(&agents) {
            Some(common) => format!("{common}: {each}"),
            None => each,
        }
    }

    /// What is wrong with all of them.
    fn common_reason(&self, agents: &[&Candidate]) -> Option<String> {
        let all = |reasons: &[Rejection]| {
            agents.iter().all(|agent| agent.reason.is_some_and(|reason| reasons.contains(&reason)))
        };
        if self.has_no_members(|agent| self.queue().in_team(agent.id)) {
            Some(format!("nobody of the roster is in {}", self.team()))
        } else if self.has_no_members(|agent| self.is_in_inbox(agent)) {
            Some(format!("nobody of the roster is a member of {}", self.inbox()))
        } else if all(&[Rejection::Presence, Rejection::ForcedOffline]) {
            Some(format!("nobody is {}", presences(self.policy)))
        } else if agents.len() > 1 && all(&[Rejection::Full]) {
            Some("everybody is full".into())
        } else if agents.len() > 1 && all(&[Rejection::RateLimited]) {
            Some("everybody was given as many as fair distribution allows".into())
        } else {
            None
        }
    }

    /// Whether none of those who are given chats is in it.
    fn has_no_members(&self, is_member: impl Fn(&crate::Agent) -> bool) -> bool {
        let Some(roster) = self.names() else { return false };
        let mut agents = roster.agents.iter().filter(|agent| self.policy.roles.contains(&agent.role));
        !agents.any(is_member)
    }

    /// Whether an agent is a member of its inbox, or may be.
    fn is_in_inbox(&self, agent: &crate::Agent) -> bool {
        let (Some(inbox), Some(inboxes)) = (self.conversation.inbox, &agent.inboxes) else { return true };
        inboxes.binary_search(&inbox).is_ok()
    }

    fn inbox(&self) -> String {
        self.conversation.inbox.map_or_else(|| "its inbox".into(), |inbox| format!("inbox {inbox}"))
    }

    fn team(&self) -> String {
        let Some(id) = self.conversation.traits.team else { return "its team".into() };
        let name = self.rules.teams.get(&id).map(|team| printable(&team.name));
        name.filter(|name| !name.is_empty())
            .map_or_else(|| format!("team {id}"), |name| format!("team {name}"))
    }
}

/// The presences that are given chats, in words.
fn presences(policy: &Policy) -> String {
    let words = policy.presences.iter().map(|presence| match presence {
        crate::Presence::Online => "online",
        crate::Presence::Busy => "busy",
        crate::Presence::Away => "away",
        crate::Presence::Offline => "offline",
        crate::Presence::AwayManual => "away by choice",
        crate::Presence::AwayAndReassigning => "away and handing over",
    });
    words.collect::<Vec<_>>().join(" or ")
}
