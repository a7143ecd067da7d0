//! What every ledger works out around a decision: by what a queue is sorted, what is counted, what is recorded.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    time::Duration,
};

use sebastian_core::{
    Agent, AgentId, AgentLoad, Answers, Changes, Conversation, ConversationId, Decision, FairDistribution,
    Head, InboxId, Order, Outcome, Park, Policy, QueueKey, QueueRules, RateWindow, RoomId, Roster, Rulebook,
    Snapshot, State, Timestamp, Turn, order, rulebook::PriorityBoost,
};
use serde::{Deserialize, Serialize};

use crate::{
    Pause, PauseReason,
    port::{HEADS_MAX, SPARE_HEADS},
};

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

/// How many heads of each queue are read for a round.
pub(crate) struct Reach(BTreeMap<QueueKey, usize>);

impl Reach {
    /// Enough of each of `queues` to fill `slots`.
    pub fn new(queues: impl IntoIterator<Item = QueueKey>, slots: u32) -> Self {
        Self(queues.into_iter().map(|queue| (queue, slots as usize + SPARE_HEADS)).collect())
    }

    pub fn iter(&self) -> impl Iterator<Item = (QueueKey, usize)> {
        self.0.iter().map(|(queue, most)| (*queue, *most))
    }

    pub fn of(&self, queue: QueueKey) -> usize {
        self.0.get(&queue).copied().unwrap_or(0)
    }

    /// Reaches deeper into queues that may hide somebody: those read to no end in which some were passed over for a
    /// reason of their own, while `decisions` left something to give. False when there is none.
    pub fn extend(&mut self, snapshot: &Snapshot, decisions: &[Decision]) -> bool {
        let reserved =
            decisions.iter().filter(|decision| matches!(decision.outcome, Outcome::Reserve { .. }));
        if decisions.len() < snapshot.waiting.len() || reserved.count() >= snapshot.limit as usize {
            return false;
        }
        let mut read: BTreeMap<QueueKey, (usize, bool)> = BTreeMap::new();
        for (head, decision) in snapshot.waiting.iter().zip(decisions) {
            let (count, blocked) = read.entry(head.queue()).or_default();
            *count += 1;
            *blocked |= decision.blocked;
        }
        let mut deeper = false;
        for (queue, (count, blocked)) in read {
            let Some(most) = self.0.get_mut(&queue) else { continue };
            if blocked && count >= *most && *most < HEADS_MAX {
                *most = most.saturating_mul(4).min(HEADS_MAX);
                deeper = true;
            }
        }
        deeper
    }
}

/// Rate windows by (inbox, agent).
pub(crate) type Windows = BTreeMap<(Option<InboxId>, AgentId), RateWindow>;

/// A slot to take, as the rule chose it.
pub(crate) struct Choice<'a> {
    pub head: &'a Head,
    pub agent: AgentId,
    pub turn_charge: i64,
    /// The assignment counts in the agent's window of this length.
    pub window: Option<Duration>,
}

impl Choice<'_> {
    pub fn turn(&self) -> Turn {
        Turn { inbox: self.head.inbox, team: self.head.traits.team, charge: self.turn_charge }
    }
}

/// What decisions ask a ledger to do, beside writing rotations.
#[derive(Default)]
pub(crate) struct Orders<'a> {
    pub choices: Vec<Choice<'a>>,
    pub park: Vec<(ConversationId, Park)>,
    pub ask: Vec<RoomId>,
}

impl<'a> Orders<'a> {
    pub fn of(snapshot: &'a Snapshot, decisions: &[Decision]) -> Self {
        let heads: HashMap<ConversationId, &Head> =
            snapshot.waiting.iter().map(|head| (head.conversation, head)).collect();
        let mut orders = Self::default();
        for decision in decisions {
            let Some(head) = heads.get(&decision.conversation).copied() else { continue };
            match decision.outcome {
                Outcome::Reserve { agent, turn_charge, window } => {
                    orders.choices.push(Choice { head, agent, turn_charge, window });
                }
                Outcome::Ask => orders.ask.push(head.room.clone()),
                Outcome::Park(park) => orders.park.push((head.conversation, park)),
                Outcome::Pass => {}
            }
        }
        orders
    }
}

/// Agents whom the platform credits with more than they hold here, or may: what explains its count has to be read.
pub(crate) fn overcounted(roster: &Roster, loads: &BTreeMap<AgentId, AgentLoad>) -> BTreeSet<AgentId> {
    let open = |agent| loads.get(&agent).map_or(0, |load| load.open);
    let unlisted = roster.agents.iter().filter(|agent| !agent.listed);
    let over = unlisted.filter(|agent| agent.reported_load.is_none_or(|reported| reported > open(agent.id)));
    over.map(|agent| agent.id).collect()
}

/// The windows of those who are given something, with what they are given.
pub(crate) fn windows_after(choices: &[Choice<'_>], read: &Windows, now: Timestamp) -> Windows {
    let mut windows = Windows::new();
    for Choice { head, agent, window, .. } in choices {
        let Some(span) = *window else { continue };
        let key = (head.inbox, *agent);
        let given = windows.entry(key).or_insert_with(|| read.get(&key).cloned().unwrap_or_default());
        given.give(head.conversation, now);
        given.prune(span, now);
    }
    windows
}

/// The pause that an account's row tells of, unless it is over.
pub(crate) fn pause(until: Option<Timestamp>, reason: Option<&str>, now: Timestamp) -> Option<Pause> {
    let until = until.filter(|until| *until > now)?;
    let reason = match reason {
        Some("denied") => PauseReason::Denied,
        Some(_) | None => PauseReason::Busy,
    };
    Some(Pause { until, reason })
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

/// By what this process ranked those that wait after `changes`, by queue.
pub(crate) fn sortings(
    changes: &Changes,
    rules: &Rulebook,
    policy: &Policy,
    now: Timestamp,
) -> BTreeMap<QueueKey, Sorting> {
    let changed = changes.opened.iter().chain(&changes.updated);
    let waiting = changed.filter(|one| matches!(one.state, State::Waiting { .. }));
    let queues: BTreeSet<QueueKey> = waiting.map(queue_of).collect();
    queues.into_iter().map(|queue| (queue, Sorting::of(rules, policy, queue, now))).collect()
}

/// What of `snapshot` the reservations among `decisions` rest on, without anybody's name: deciding over it makes the same
/// ones. `None` when nothing was reserved.
///
/// Heads that were given to nobody are left out, unless the platform answered for their rooms: nothing else of them
/// outlasts their turn. So are counts that say nothing, so that the agents of two rounds are mostly the same.
pub(crate) fn recordable(snapshot: &Snapshot, decisions: &[Decision]) -> Option<Snapshot> {
    let is_reserved = |decision: &Decision| matches!(decision.outcome, Outcome::Reserve { .. });
    let last = decisions.iter().rposition(is_reserved)?;
    let reserved: HashSet<ConversationId> =
        decisions.iter().filter(|one| is_reserved(one)).map(|one| one.conversation).collect();
    let end = snapshot.waiting.iter().position(|head| head.conversation == decisions[last].conversation)?;
    let matters = |head: &&Head| {
        reserved.contains(&head.conversation) || snapshot.answers.agents.contains_key(&head.room)
    };
    let waiting: Vec<Head> = snapshot.waiting[..=end].iter().filter(matters).cloned().collect();
    let rooms: HashSet<&RoomId> = waiting.iter().map(|head| &head.room).collect();
    let queues: BTreeSet<QueueKey> = waiting.iter().map(|head| head.queue()).collect();
    let inboxes: BTreeSet<Option<InboxId>> = queues.iter().map(|queue| queue.inbox).collect();
    let of_these = |(inbox, agent): &(Option<InboxId>, AgentId)| {
        inboxes.contains(inbox) && snapshot.roster.agent(*agent).is_some()
    };
    let (agents, loads) = plain(snapshot);
    Some(Snapshot {
        roster: Roster { agents, ..*snapshot.roster }.into(),
        loads,
        inbox_loads: snapshot.inbox_loads.iter().filter(|(key, _)| of_these(key)).map(cloned).collect(),
        windows: snapshot.windows.iter().filter(|(key, _)| of_these(key)).map(cloned).collect(),
        answers: answers_for(&rooms, snapshot).into(),
        rotations: snapshot.rotations.iter().filter(|(key, _)| queues.contains(key)).map(cloned).collect(),
        waiting,
        rules: snapshot.rules.clone(),
        limit: snapshot.limit,
    })
}

/// The agents without names and their loads. Where the platform's count adds nothing to ours, it is set to zero, and what
/// explains it too. What was given in another shift is not counted.
fn plain(snapshot: &Snapshot) -> (Vec<Agent>, BTreeMap<AgentId, AgentLoad>) {
    let mut agents: Vec<Agent> = snapshot.roster.agents.iter().map(nameless).collect();
    let mut loads = BTreeMap::new();
    for agent in &mut agents {
        let none = AgentLoad::none(agent.id);
        let mut load = snapshot.loads.get(&agent.id).unwrap_or(&none).clone();
        if load.effective(agent) == Some(load.open) {
            (agent.reported_load, agent.listed) = (Some(0), false);
            (load.closed_recently, load.put_off) = (0, 0);
        }
        load.shift_assignments = load.assignments_since(agent.online_since);
        load.shift = agent.online_since.filter(|_| load.shift_assignments > 0);
        if load != none {
            loads.insert(agent.id, load);
        }
    }
    (agents, loads)
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
