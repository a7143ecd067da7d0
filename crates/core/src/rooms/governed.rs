//! What the rules of its account make of a conversation: where it waits, and for whom.

use std::sync::Arc;

use super::Rooms;
use crate::{
    AgentId, Conversation, InboxId, Park, ParkReason, Policy, Presence, QueueRules, Roster, Rulebook, State,
    Status, conversation::FAR, event::Hints, order, policy::SlotRule, routes::Routed,
};

impl Rooms {
    /// The same set under `rules`, and under `policy` where they say nothing. Without it nothing is routed, a place in line
    /// is kept as it is, and a conversation that is put off holds no slot.
    #[must_use]
    pub fn governed_by(mut self, rules: Arc<Rulebook>, policy: &Policy) -> Self {
        self.rules = rules;
        self.policy = Some(policy.clone());
        self
    }

    /// The same set, knowing which agents have set themselves away for long.
    #[must_use]
    pub fn with_roster(mut self, roster: &Roster) -> Self {
        let absent = roster.agents.iter().filter(|agent| agent.presence == Presence::AwayAndReassigning);
        self.absent = absent.map(|agent| agent.id).collect();
        self
    }

    /// What the routes give a conversation that arrives by `inbox` with `hints`.
    pub(crate) fn route(&self, inbox: Option<InboxId>, hints: &Hints) -> Routed {
        self.rules.route(inbox, hints)
    }

    /// Lets a conversation wait in its place, or sit out if it is put off or its room's last one still closes.
    pub(crate) fn enqueue(&mut self, index: usize) {
        let park = self.park_of(&self.conversations[index].conversation);
        self.change(index).state = State::Waiting { park };
        self.rerank(index);
    }

    fn park_of(&self, conversation: &Conversation) -> Option<Park> {
        let park = |until, why| Some(Park { until, why });
        match conversation.status {
            Status::Pending => park(FAR, ParkReason::Pending),
            Status::Snoozed => park(conversation.snoozed_until.unwrap_or(FAR), ParkReason::Snoozed),
            Status::Open => {
                let index = *self.closing.get(&conversation.room)?;
                let State::Closing { deadline, .. } = self.conversations[index].conversation.state else {
                    return None;
                };
                park(deadline + self.timing.settle_window, ParkReason::PreviousClosing)
            }
        }
    }

    /// Gives a conversation the key its queue is sorted by under the rules as they are.
    pub(crate) fn rerank(&mut self, index: usize) {
        let Some(policy) = &self.policy else { return };
        let conversation = &self.conversations[index].conversation;
        let queue = (conversation.inbox, conversation.traits.team);
        let rules = QueueRules::of(&self.rules, policy, queue, self.now);
        let rank = order::key(rules.order, &rules.boost, conversation);
        if conversation.rank != rank {
            self.change(index).rank = rank;
        }
    }

    /// Whether `agent` may serve `conversation` as far as teams go: one that is not known keeps nobody out.
    pub(crate) fn serves(&self, agent: AgentId, conversation: &Conversation) -> bool {
        let team = conversation.traits.team.and_then(|team| self.rules.teams.get(&team));
        team.is_none_or(|team| team.members.contains(&agent))
    }

    /// Whether a conversation of `agent` that is taken up again goes to somebody else.
    pub(crate) fn is_absent(&self, agent: AgentId) -> bool {
        let reassigns = || self.rules.agents.get(&agent).is_some_and(|agent| agent.reassigns);
        self.absent.contains(&agent) || (self.rules.is_paused(agent, self.now) && reassigns())
    }

    /// What conversations that are put off count for.
    pub(crate) fn slot_rule(&self) -> SlotRule {
        self.policy.as_ref().map(|policy| policy.slots).unwrap_or_default()
    }
}
