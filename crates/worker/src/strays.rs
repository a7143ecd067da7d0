//! Strays: assigned conversations whose agent was deleted or left their inbox. Where the rules say so they go back to
//! their place and are dealt again.
//!
//! A roster may lack somebody by accident, so whoever is astray must be so in two complete rosters in a row. An empty
//! roster says nothing of anybody.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    time::Instant,
};

use metrics::counter;
use sebastian_core::{Agent, AgentId, Conversation, ConversationId, Policy, QueueRules, Rulebook, Timestamp};
use sebastian_roster::WakeReason;
use sebastian_store::{Selection, StoreError};
use tracing::{info, warn};

use crate::{desk::Desk, metrics::RECONCILED_TOTAL, trouble};

/// Assigned conversations looked at, the first in line: twice what 3,000 agents with room for three hold.
const ASSIGNED_MAX: u32 = 20_000;

/// What the leader saw in its last complete roster.
#[derive(Default)]
pub(crate) struct Strays {
    suspected: BTreeSet<(ConversationId, AgentId)>,
    /// Who was in which inbox under which rules, and when that was last compared with the ledger.
    looked: Option<(u64, Instant)>,
}

impl Strays {
    /// Forgets the last roster: another worker leads.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// Compares `agents`, everyone whom a complete poll showed, with the ledger.
    pub async fn look(&mut self, desk: &Desk, agents: &[Agent]) {
        match self.put_back(desk, agents).await {
            Ok(0) => {}
            Ok(strays) => {
                counter!(RECONCILED_TOTAL, "what" => "strays").increment(u64::from(strays));
                info!(strays, "{strays} conversations go back to their places: their agents are gone");
                desk.ring(WakeReason::Freed).await;
            }
            Err(error) => {
                warn!(error = %trouble::chain(&error), "strays could not be looked for; the next poll tries again");
            }
        }
    }

    async fn put_back(&mut self, desk: &Desk, agents: &[Agent]) -> Result<u32, StoreError> {
        let rules = desk.store.rulebook(desk.account).await?;
        if agents.is_empty() || !is_wanted(&rules, &desk.policy) {
            self.forget();
            return Ok(0);
        }
        let seen = digest(&rules, agents);
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
            is_astray(conversation, agents.get(&holder).copied(), &rules, &desk.policy, page.now)
                .then_some((conversation.id, holder))
        });
        let astray: BTreeSet<_> = astray.collect();
        let again: Vec<_> = astray.intersection(&self.suspected).copied().collect();
        (self.suspected, self.looked) = (astray, Some((seen, Instant::now())));
        if again.is_empty() {
            return Ok(0);
        }
        desk.store.put_back(desk.account, &again).await
    }
}

/// Whether any queue gives strays back.
fn is_wanted(rules: &Rulebook, policy: &Policy) -> bool {
    let linked = || rules.assignment_policies.values().any(|linked| linked.reassigns_strays == Some(true));
    policy.reassigns_strays || linked()
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

fn digest(rules: &Rulebook, agents: &[Agent]) -> u64 {
    let mut hasher = DefaultHasher::new();
    rules.version.hash(&mut hasher);
    agents.iter().for_each(|agent| (agent.id, agent.role, &agent.inboxes).hash(&mut hasher));
    hasher.finish()
}
