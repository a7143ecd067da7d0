//! Strays: assigned conversations whose agent was deleted, left their inbox, or stays offline. Where the rules say so they
//! go back to their place and are dealt again; the platform is told of the next agent in place of this one.
//!
//! A roster may lack somebody by accident, so whoever is astray must be so in two complete rosters in a row, and offline
//! in every roster of the grace. An empty roster says nothing of anybody; one in which nobody is at their desk moves
//! nothing, for nobody could take it.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    time::Instant,
};

use metrics::counter;
use sebastian_core::{
    Agent, AgentId, Astray, Conversation, ConversationId, Policy, Presence, QueueRules, ReassignOffline,
    Rulebook, Status, Timestamp, chain,
};
use sebastian_roster::WakeReason;
use sebastian_store::{Selection, StoreError};
use tracing::{info, warn};

use crate::{desk::Desk, metrics::RECONCILED_TOTAL};

/// Assigned conversations looked at, the first in line: twice what 3,000 agents with room for three hold.
const ASSIGNED_MAX: u32 = 20_000;

/// What the leader saw in its last complete roster.
#[derive(Default)]
pub(crate) struct Strays {
    suspected: BTreeSet<(ConversationId, AgentId, Astray)>,
    /// Since when agents were offline in every roster. Another leader starts anew: it moves nobody too soon.
    offline_since: BTreeMap<AgentId, Timestamp>,
    /// When the last roster was polled.
    polled_at: Option<Timestamp>,
    /// Who was in which inbox under which rules, and when that was last compared with the ledger.
    looked: Option<(u64, Instant)>,
}

impl Strays {
    /// Forgets the last roster: another worker leads.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// Compares `agents`, everyone whom a complete poll showed at `polled_at`, with the ledger.
    pub async fn look(&mut self, desk: &Desk, agents: &[Agent], polled_at: Timestamp) {
        match self.put_back(desk, agents, polled_at).await {
            Ok(0) => {}
            Ok(strays) => {
                counter!(RECONCILED_TOTAL, "what" => "strays").increment(u64::from(strays));
                info!(
                    strays,
                    "{strays} conversations go back to their places: their agents are gone or offline"
                );
                desk.ring(WakeReason::Freed).await;
            }
            Err(error) => {
                warn!(error = %chain(&error), "strays could not be looked for; the next poll tries again");
            }
        }
    }

    async fn put_back(
        &mut self,
        desk: &Desk,
        agents: &[Agent],
        polled_at: Timestamp,
    ) -> Result<u32, StoreError> {
        let rules = desk.store.rulebook(desk.account).await?;
        if agents.is_empty() || !is_wanted(&rules, &desk.policy) {
            self.forget();
            return Ok(0);
        }
        let offline = self.offline(agents, &desk.policy, polled_at);
        let seen = digest(&rules, agents, &offline);
        let is_known =
            |(before, at): (u64, Instant)| before == seen && at.elapsed() < desk.settings.reconcile_interval;
        if self.suspected.is_empty() && self.looked.is_some_and(is_known) {
            return Ok(0);
        }
        let page = desk.store.list(desk.account, &Selection::Assigned, ASSIGNED_MAX).await?;
        let agents: BTreeMap<AgentId, &Agent> = agents.iter().map(|agent| (agent.id, agent)).collect();
        let assigned = page.conversations.iter().map(|listed| &listed.conversation);
        let astray = assigned.filter_map(|conversation| {
            let holder = conversation.holder()?;
            let agent = agents.get(&holder).copied();
            let leaves = |since: &Timestamp| {
                conversation.status == Status::Open
                    && desk.policy.absence.moves(*since, conversation.last_activity_at, page.now)
            };
            if is_astray(conversation, agent, &rules, &desk.policy, page.now) {
                Some((conversation.id, holder, Astray::Gone))
            } else {
                offline.get(&holder).is_some_and(leaves).then_some((conversation.id, holder, Astray::Offline))
            }
        });
        let astray: BTreeSet<_> = astray.collect();
        // Who is offline was so for the whole grace; who is gone may be missing by accident.
        let is_sure = |one: &&(_, _, Astray)| one.2 == Astray::Offline || self.suspected.contains(*one);
        let sure: Vec<_> = astray.iter().filter(is_sure).copied().collect();
        self.suspected = astray.into_iter().filter(|(_, _, why)| *why == Astray::Gone).collect();
        self.looked = Some((seen, Instant::now()));
        if sure.is_empty() {
            return Ok(0);
        }
        desk.store.put_back(desk.account, &sure).await
    }

    /// Who is offline for longer than the grace, and since when. Nobody while there is nobody else to take their place.
    fn offline(
        &mut self,
        agents: &[Agent],
        policy: &Policy,
        polled_at: Timestamp,
    ) -> BTreeMap<AgentId, Timestamp> {
        // Between rosters as far apart as this, anybody may have come and gone.
        let is_blind = self.polled_at.is_none_or(|before| polled_at.since(before) > policy.staleness_max);
        let before = std::mem::take(&mut self.offline_since);
        let before = if is_blind { BTreeMap::new() } else { before };
        self.polled_at = Some(polled_at);
        let absent =
            agents.iter().filter(|agent| agent.presence == Presence::Offline || agent.forced_offline);
        let since = |agent: &Agent| before.get(&agent.id).copied().unwrap_or(polled_at);
        self.offline_since = absent.map(|agent| (agent.id, since(agent))).collect();
        if policy.absence.reassign == ReassignOffline::Never
            || !agents.iter().any(|agent| policy.deals_to(agent))
        {
            return BTreeMap::new();
        }
        let is_over = |since: &Timestamp| polled_at.since(*since) >= policy.absence.grace;
        self.offline_since
            .iter()
            .filter(|(_, since)| is_over(since))
            .map(|(id, since)| (*id, *since))
            .collect()
    }
}

/// Whether any conversation is ever taken from anybody.
fn is_wanted(rules: &Rulebook, policy: &Policy) -> bool {
    let linked = || rules.assignment_policies.values().any(|linked| linked.reassigns_strays == Some(true));
    policy.reassigns_strays || policy.absence.reassign != ReassignOffline::Never || linked()
}

/// Whether the agent of `conversation` is gone, or of those who are dealt conversations and no longer in its inbox. Whoever
/// else serves it took it by hand, and need not be in any inbox.
fn is_astray(
    conversation: &Conversation,
    agent: Option<&Agent>,
    rules: &Rulebook,
    policy: &Policy,
    now: Timestamp,
) -> bool {
    let has_left = |agent: &Agent| {
        let inboxes = agent.inboxes.as_ref().zip(conversation.inbox);
        policy.roles.contains(&agent.role)
            && inboxes.is_some_and(|(inboxes, inbox)| !inboxes.contains(&inbox))
    };
    let queue = (conversation.inbox, conversation.traits.team);
    agent.is_none_or(has_left) && QueueRules::of(rules, policy, queue, now).reassigns_strays
}

fn digest(rules: &Rulebook, agents: &[Agent], offline: &BTreeMap<AgentId, Timestamp>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (rules.version, offline).hash(&mut hasher);
    agents.iter().for_each(|agent| (agent.id, agent.role, &agent.inboxes).hash(&mut hasher));
    hasher.finish()
}
