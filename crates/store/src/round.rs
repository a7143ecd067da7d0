//! What every ledger works out around a decision: by what a queue is sorted, what is counted, what is recorded.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use sebastian_core::{
    Agent, AgentId, Answers, Conversation, ConversationId, Decision, FairDistribution, InboxId, Order,
    Outcome, Policy, QueueKey, QueueRules, RoomId, Roster, Rulebook, Snapshot, Timestamp, order,
    rulebook::PriorityBoost,
};
use serde::{Deserialize, Serialize};

/// By what the conversations of a queue are sorted. Stored beside the queue: where it is no longer what the rules say, the
/// queue is sorted anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sorting {
    pub order: Order,
    pub boost: PriorityBoost,
}

impl Sorting {
    pub fn of(rules: &Rulebook, policy: &Policy, queue: QueueKey, now: Timestamp) -> Self {
        let rules = QueueRules::of(rules, policy, (queue.inbox, queue.team), now);
        Self { order: rules.order, boost: rules.boost }
    }

    pub fn key(&self, conversation: &Conversation) -> Timestamp {
        order::key(self.order, &self.boost, conversation)
    }
}

/// The queue a conversation stands in, or would.
pub(crate) fn queue_of(conversation: &Conversation) -> QueueKey {
    QueueKey { inbox: conversation.inbox, team: conversation.traits.team }
}

/// Whether a decision reads how many conversations of each inbox an agent holds.
pub(crate) fn counts_by_inbox(rules: &Rulebook, policy: &Policy) -> bool {
    rules.counts_by_inbox(policy)
}

/// Those of `inboxes` that are under fair distribution.
pub(crate) fn fair_inboxes(
    rules: &Rulebook,
    policy: &Policy,
    inboxes: impl IntoIterator<Item = Option<InboxId>>,
    now: Timestamp,
) -> BTreeMap<Option<InboxId>, FairDistribution> {
    let inboxes: BTreeSet<Option<InboxId>> = inboxes.into_iter().collect();
    let fair = |inbox| QueueRules::of(rules, policy, (inbox, None), now).fair_distribution;
    inboxes.into_iter().filter_map(|inbox| Some((inbox, fair(inbox)?))).collect()
}

/// What of `snapshot` the reservations among `decisions` rest on, without anybody's name: deciding over it makes the same
/// ones. `None` when nothing was reserved.
pub(crate) fn recordable(snapshot: &Snapshot, decisions: &[Decision]) -> Option<Snapshot> {
    let reserved = |decision: &&Decision| matches!(decision.outcome, Outcome::Reserve { .. });
    let last: ConversationId = decisions.iter().rev().find(reserved)?.conversation;
    let end = snapshot.waiting.iter().position(|head| head.conversation == last)?;
    let waiting = snapshot.waiting[..=end].to_vec();
    let rooms: HashSet<&RoomId> = waiting.iter().map(|head| &head.room).collect();
    let queues: BTreeSet<QueueKey> = waiting.iter().map(|head| head.queue()).collect();
    Some(Snapshot {
        roster: Roster { agents: snapshot.roster.agents.iter().map(nameless).collect(), ..*snapshot.roster }
            .into(),
        loads: snapshot.loads.clone(),
        inbox_loads: snapshot.inbox_loads.clone(),
        windows: snapshot.windows.clone(),
        answers: answers_for(&rooms, snapshot).into(),
        rotations: snapshot.rotations.iter().filter(|(key, _)| queues.contains(key)).map(cloned).collect(),
        waiting,
        rules: snapshot.rules.clone(),
        limit: snapshot.limit,
    })
}

/// The answers for `rooms`, and those for others that tell the load of an agent whose load nothing else tells.
fn answers_for(rooms: &HashSet<&RoomId>, snapshot: &Snapshot) -> Answers {
    let untold = |agent: &&Agent| !agent.listed && agent.reported_load.is_none();
    let untold: HashSet<AgentId> =
        snapshot.roster.agents.iter().filter(untold).map(|agent| agent.id).collect();
    let tells = |agent: &Agent| agent.reported_load.is_some() && untold.contains(&agent.id);
    let Answers { agents, proposed } = &*snapshot.answers;
    let agents = agents.iter().filter(|(room, agents)| rooms.contains(room) || agents.iter().any(tells));
    Answers {
        agents: agents.map(|(room, agents)| (room.clone(), agents.iter().map(nameless).collect())).collect(),
        proposed: proposed.iter().filter(|(room, _)| rooms.contains(room)).map(cloned).collect(),
    }
}

fn nameless(agent: &Agent) -> Agent {
    Agent { name: String::new(), ..agent.clone() }
}

fn cloned<K: Clone, V: Clone>((key, value): (&K, &V)) -> (K, V) {
    (key.clone(), value.clone())
}
