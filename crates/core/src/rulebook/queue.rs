//! What the rulebook means for one queue: the conversations of an (inbox, team) pair.

use std::{collections::BTreeSet, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    AgentRules, AssignmentPolicy, CapacityPolicy, ExclusionRules, InboxRules, PriorityBoost, Rulebook, Team,
};
use crate::{
    AgentId, FairDistribution, InboxId, Order, Policy, Preset, Strategy, TeamId, Timestamp,
    conversation::Label,
};

const SECONDS_PER_HOUR: u64 = 3_600;

/// Why nothing of a queue is dealt, whoever is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// The account is paused.
    AccountPaused,
    /// The inbox is paused.
    InboxPaused,
    /// Automatic assignment is switched off for the inbox.
    InboxManual,
    /// The inbox's assignment policy is not enabled.
    PolicyDisabled,
    /// The team's members pick their conversations.
    TeamManual,
    /// The team no longer exists.
    TeamGone,
    /// It has no team, and only conversations of a team are dealt.
    NoTeam,
}

/// Why a conversation is not dealt, or not to some agent, for what it carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case", tag = "rule", content = "value")]
pub enum Exclusion {
    /// It carries this label.
    Label(Label),
    /// It has been silent for longer than this many hours, the last of which may be a part of one.
    Silent(u32),
}

/// What is set for one agent.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Own<'a> {
    /// Most open conversations in all.
    pub capacity: Option<u32>,
    pub policy: Option<&'a CapacityPolicy>,
}

impl<'a> Own<'a> {
    pub fn of(rulebook: &'a Rulebook, agent: AgentId) -> Self {
        Self::said(rulebook, rulebook.agents.get(&agent))
    }

    /// Of an agent of whom `rules` are said.
    pub fn said(rulebook: &'a Rulebook, rules: Option<&'a AgentRules>) -> Self {
        let named = rules.and_then(|rules| rules.capacity_policy);
        let policy = named.and_then(|id| rulebook.capacity_policies.get(&id));
        let capacity = rules.and_then(|rules| rules.capacity).or_else(|| policy?.total_limit);
        Self { capacity, policy }
    }
}

/// Most open conversations of one agent. `None`: no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    pub in_all: Option<u32>,
    pub of_inbox: Option<u32>,
}

/// How one queue is dealt.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueRules<'a> {
    /// Why nothing of it is.
    pub hold: Option<Hold>,
    /// How to choose.
    pub strategy: Strategy,
    /// Which conversation comes first.
    pub order: Order,
    /// What a priority is worth.
    pub boost: PriorityBoost,
    /// Most conversations an agent is given of the inbox in a window.
    pub fair_distribution: Option<FairDistribution>,
    /// Conversations silent for longer are not dealt. `None`: however long.
    pub exclude_older_than: Option<Duration>,
    /// What [`Strategy::Random`] draws by.
    pub seed: u64,
    /// Whether a conversation goes back to its place when its agent is gone.
    pub reassigns_strays: bool,
    rulebook: &'a Rulebook,
    policy: &'a Policy,
    inbox: Option<InboxId>,
    team: Option<&'a Team>,
    linked: Option<&'a AssignmentPolicy>,
    override_limit: Option<u32>,
    /// Chatwoot excludes by inbox: by the policy of the inbox's oldest capacity limit.
    excluded: Option<&'a ExclusionRules>,
}

impl<'a> QueueRules<'a> {
    /// The rules of the queue of `inbox` and `team`.
    #[must_use]
    pub fn of(
        rulebook: &'a Rulebook,
        policy: &'a Policy,
        (inbox, team): (Option<InboxId>, Option<TeamId>),
        now: Timestamp,
    ) -> Self {
        let said = inbox.and_then(|inbox| rulebook.inboxes.get(&inbox));
        let linked = said.and_then(|said| rulebook.assignment_policies.get(&said.policy?));
        let overrides = said.map(|said| &said.overrides);
        let (fair, silent) = match linked {
            Some(linked) => (linked.fair_distribution, linked.exclude_older_than_hours.map(hours)),
            None => (policy.fair_distribution, policy.exclude_older_than),
        };
        let found = team.and_then(|team| rulebook.teams.get(&team));
        Self {
            hold: hold(rulebook, policy, said, linked, (team, found), now),
            strategy: overrides
                .and_then(|overrides| overrides.strategy)
                .or(linked.map(|linked| linked.strategy))
                .unwrap_or(policy.strategy),
            order: overrides
                .and_then(|overrides| overrides.order)
                .or(linked.map(|linked| linked.order))
                .unwrap_or(policy.order),
            boost: linked.map(|linked| linked.boost).unwrap_or_default(),
            fair_distribution: overrides.and_then(|overrides| overrides.fair_distribution).or(fair),
            exclude_older_than: silent,
            seed: linked.map_or(0, |linked| linked.seed),
            reassigns_strays: linked
                .and_then(|linked| linked.reassigns_strays)
                .unwrap_or(policy.reassigns_strays),
            rulebook,
            policy,
            inbox,
            team: found,
            linked,
            override_limit: overrides.and_then(|overrides| overrides.max_assignment_limit),
            excluded: inbox
                .filter(|_| policy.preset == Preset::Chatwoot)
                .and_then(|inbox| oldest_rules(rulebook, inbox)),
        }
    }

    /// Whether an agent may serve the queue as far as teams go.
    #[must_use]
    pub fn in_team(&self, agent: AgentId) -> bool {
        self.team.is_none_or(|team| team.members.contains(&agent))
    }

    /// Most conversations of this inbox the agent may hold. `None`: no limit.
    #[must_use]
    pub fn inbox_limit(&self, agent: AgentId) -> Option<u32> {
        self.limits(Own::of(self.rulebook, agent)).of_inbox
    }

    /// Most conversations the agent may hold in all, as far as this queue goes. `None`: no limit.
    ///
    /// The first that is set of: the agent's own, the team's, the assignment policy's, the account's. An agent with
    /// a limit of their own for the inbox is held to that instead of the last three.
    #[must_use]
    pub fn total_limit(&self, agent: AgentId) -> Option<u32> {
        self.limits(Own::of(self.rulebook, agent)).in_all
    }

    /// Both limits of an agent for whom `own` is set.
    pub(crate) fn limits(&self, own: Own<'_>) -> Limits {
        let own_of_inbox = own.policy.and_then(|policy| policy.limit_of(self.inbox?));
        let shared = || {
            let team = self.team.and_then(|team| team.capacity);
            team.or_else(|| self.linked?.capacity).or(self.policy.capacity)
        };
        Limits {
            in_all: own.capacity.or_else(|| if own_of_inbox.is_some() { None } else { shared() }),
            of_inbox: own_of_inbox.or(self.override_limit),
        }
    }

    /// Who serves it, where not everybody does.
    pub(crate) fn team_members(&self) -> Option<&'a BTreeSet<AgentId>> {
        self.team.map(|team| &team.members)
    }

    /// Why no agent is given a conversation that carries `labels` and was last active at `last_activity_at`.
    #[must_use]
    pub fn excludes(
        &self,
        labels: &BTreeSet<Label>,
        last_activity_at: Timestamp,
        now: Timestamp,
    ) -> Option<Exclusion> {
        let by_inbox = self.excluded.and_then(|rules| rules.excludes(labels, last_activity_at, now));
        by_inbox.or_else(|| silent(self.exclude_older_than, last_activity_at, now))
    }

    /// Why this agent in particular is not given such a conversation.
    #[must_use]
    pub fn excludes_for(
        &self,
        agent: AgentId,
        labels: &BTreeSet<Label>,
        last_activity_at: Timestamp,
        now: Timestamp,
    ) -> Option<Exclusion> {
        let own = self.excludes_by_agent().then(|| self.rulebook.capacity_policy_of(agent)).flatten()?;
        own.exclusion_rules.excludes(labels, last_activity_at, now)
    }

    /// Whether agents have exclusions of their own; otherwise the inbox has.
    pub(crate) fn excludes_by_agent(&self) -> bool {
        self.policy.preset != Preset::Chatwoot
    }
}

impl ExclusionRules {
    /// Why a conversation is not dealt under these rules.
    #[must_use]
    pub fn excludes(
        &self,
        labels: &BTreeSet<Label>,
        last_activity_at: Timestamp,
        now: Timestamp,
    ) -> Option<Exclusion> {
        let label =
            self.excluded_labels.iter().find(|label| labels.contains(*label)).cloned().map(Exclusion::Label);
        label.or_else(|| silent(self.silent_after(), last_activity_at, now))
    }

    /// After which silence a conversation is not dealt.
    pub(crate) fn silent_after(&self) -> Option<Duration> {
        self.exclude_older_than_hours.map(hours).filter(|age| !age.is_zero())
    }
}

/// The exclusion rules of the oldest capacity limit of `inbox`.
fn oldest_rules(rulebook: &Rulebook, inbox: InboxId) -> Option<&ExclusionRules> {
    let policies = rulebook.capacity_policies.values();
    let limits = policies.flat_map(|policy| policy.inbox_limits.iter().map(move |limit| (limit, policy)));
    let ours = limits.filter(|(limit, _)| limit.inbox == inbox);
    ours.min_by_key(|(limit, _)| limit.id).map(|(_, policy)| &policy.exclusion_rules)
}

fn hours(hours: u32) -> Duration {
    Duration::from_secs(u64::from(hours) * SECONDS_PER_HOUR)
}

/// Nothing is excluded for an age of zero, which Chatwoot takes for none.
fn silent(most: Option<Duration>, last_activity_at: Timestamp, now: Timestamp) -> Option<Exclusion> {
    let most = most.filter(|most| !most.is_zero())?;
    let hours = || u32::try_from(most.as_secs().div_ceil(SECONDS_PER_HOUR)).unwrap_or(u32::MAX);
    (now.since(last_activity_at) > most).then(|| Exclusion::Silent(hours()))
}

/// A team that deals does so even where its inbox does not.
fn hold(
    rulebook: &Rulebook,
    policy: &Policy,
    inbox: Option<&InboxRules>,
    linked: Option<&AssignmentPolicy>,
    (named, team): (Option<TeamId>, Option<&Team>),
    now: Timestamp,
) -> Option<Hold> {
    let stands = |paused: &Option<super::Paused>| paused.as_ref().is_some_and(|paused| paused.stands(now));
    if stands(&rulebook.paused) {
        return Some(Hold::AccountPaused);
    }
    if inbox.is_some_and(|inbox| stands(&inbox.paused)) {
        return Some(Hold::InboxPaused);
    }
    if linked.is_some_and(|linked| !linked.enabled) {
        return Some(Hold::PolicyDisabled);
    }
    match (named, team) {
        (Some(_), None) => Some(Hold::TeamGone),
        (Some(_), Some(team)) => (!team.allow_auto_assign).then_some(Hold::TeamManual),
        (None, _) if !policy.deals_without_team => Some(Hold::NoTeam),
        (None, _) => inbox.is_some_and(|inbox| inbox.manual).then_some(Hold::InboxManual),
    }
}
