//! The decision: which waiting conversation goes to which agent, and why each other agent was passed over.
//!
//! Conversations are taken in the order of their queues. For each, agents are filtered first and chosen second. One that
//! nobody can take now is passed over and holds nobody up: everyone eligible for a later one was out of reach for it.

mod desk;
mod exclusions;
mod preference;
mod queue;
mod rejections;
mod round;
mod seat;
mod standing;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

pub use self::rejections::{Rejection, Rejections};
use self::{round::Round, seat::Seat};
use crate::{
    Agent, AgentId, AgentLoad, Conversation, ConversationId, Exclusion, Hold, InboxId, Park, Policy,
    RateWindow, RoomId, Roster, Rulebook, Seq, TeamId, Timestamp, conversation::Traits, rotation::Rotation,
};

/// Everything a decision looks at, beside the account's [`Policy`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The agents.
    pub roster: Arc<Roster>,
    /// What the ledger knows of their work. An agent not in here has none.
    pub loads: BTreeMap<AgentId, AgentLoad>,
    /// How many of the conversations in `loads` are of which inbox. Only read where a limit counts by inbox.
    #[serde(with = "pairs")]
    pub inbox_loads: BTreeMap<(Option<InboxId>, AgentId), u32>,
    /// What each agent was given of an inbox. Only read under fair distribution.
    #[serde(with = "pairs")]
    pub windows: BTreeMap<(Option<InboxId>, AgentId), RateWindow>,
    /// What the platform answered for single rooms, where the roster cannot tell.
    pub answers: Arc<Answers>,
    /// Heads of the queues, in order.
    pub waiting: Vec<Head>,
    /// The rotation of each queue. Only read by [`Strategy::RoundRobin`](crate::Strategy::RoundRobin).
    #[serde(with = "pairs")]
    pub rotations: BTreeMap<QueueKey, Rotation>,
    /// What operators have set. Not stored with a snapshot: its version names it.
    #[serde(skip)]
    pub rules: Arc<Rulebook>,
    /// Most conversations to give out in this round.
    pub limit: u32,
}

/// A queue: the conversations of an inbox that a team serves, or everybody.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct QueueKey {
    /// The inbox, when known.
    pub inbox: Option<InboxId>,
    /// The team, when it was given to one.
    pub team: Option<TeamId>,
}

/// A waiting conversation at the head of its queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Which conversation.
    pub conversation: ConversationId,
    /// Where it is held.
    pub room: RoomId,
    /// Its inbox, when known.
    pub inbox: Option<InboxId>,
    /// What else it carries.
    pub traits: Traits,
    /// What its queue is sorted by, before `position`.
    pub rank: Timestamp,
    /// Its place in the order of acceptance.
    pub position: Seq,
    /// When it opened.
    pub opened_at: Timestamp,
    /// When its customer last wrote.
    pub last_activity_at: Timestamp,
    /// Agents the platform refused for it, each until a time.
    pub refused: Vec<(AgentId, Timestamp)>,
}

impl Head {
    /// A conversation as a decision looks at it.
    #[must_use]
    pub fn of(conversation: &Conversation) -> Self {
        Self {
            conversation: conversation.id,
            room: conversation.room.clone(),
            inbox: conversation.inbox,
            traits: conversation.traits.clone(),
            rank: conversation.rank,
            position: conversation.position,
            opened_at: conversation.opened_at,
            last_activity_at: conversation.last_activity_at,
            refused: conversation.refused.clone(),
        }
    }

    /// The queue it stands in.
    #[must_use]
    pub fn queue(&self) -> QueueKey {
        QueueKey { inbox: self.inbox, team: self.traits.team }
    }

    fn refuses(&self, agent: AgentId, now: Timestamp) -> bool {
        self.refused.iter().any(|(refused, until)| *refused == agent && *until > now)
    }
}

/// What the platform said of single rooms.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answers {
    /// Agents it would let in: for conversations whose inbox is unknown and agents whose inboxes or load are.
    pub agents: BTreeMap<RoomId, Vec<Agent>>,
    /// Whom it proposes, if anybody. Only read by [`Strategy::Platform`](crate::Strategy::Platform).
    pub proposed: BTreeMap<RoomId, Option<AgentId>>,
}

/// What becomes of one waiting conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Which conversation.
    pub conversation: ConversationId,
    /// What to do.
    pub outcome: Outcome,
    /// Why nothing of its queue is dealt.
    pub hold: Option<Hold>,
    /// Why it is not dealt for what it carries.
    pub excluded: Option<Exclusion>,
    /// It is passed over for a reason of its own: another conversation of its queue might be given out now.
    pub blocked: bool,
    /// Why each other agent was not chosen.
    pub rejected: Rejections,
    /// The queue's rotation after this decision; on the last reservation of each queue.
    pub rotation: Option<(QueueKey, Rotation)>,
}

/// What to do with a waiting conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Take a slot of this agent, then tell the platform.
    Reserve {
        /// Who.
        agent: AgentId,
        /// What the turn cost, to be given back on release.
        turn_charge: i64,
        /// The assignment counts in the agent's window of this length.
        window: Option<Duration>,
    },
    /// Nobody can take it now.
    Pass,
    /// The roster cannot tell who may serve the room: ask the platform.
    Ask,
    /// Nobody can take it until a time, for a reason of its own.
    Park(Park),
}

/// Longest a conversation sits out before somebody new may be found for it.
pub const PARK_MAX: Duration = Duration::from_secs(5);

/// How long a conversation sits out that its own labels or age keep from being dealt. Whatever could end that, a
/// change of it or of the rules, takes it up again sooner.
pub const EXCLUSION_PARK: Duration = Duration::from_secs(600);

/// Decides over the waiting conversations of `snapshot`, in order, until the limit or the last free slot is spent.
///
/// Pure and deterministic: the same arguments give the same decisions. Conversations past the point where the
/// last slot went get no decision. `limit` counts assignments, never conversations looked at.
#[must_use]
pub fn decide(snapshot: &Snapshot, policy: &Policy, now: Timestamp) -> Vec<Decision> {
    let mut round = Round::new(snapshot, policy, now);
    let mut decisions = Vec::with_capacity(snapshot.waiting.len());
    for head in &snapshot.waiting {
        if round.is_over() {
            break;
        }
        decisions.push(round.decide(head));
    }
    round.complete(&mut decisions, &snapshot.waiting);
    decisions
}

/// Slots that could be filled now: how many heads of a queue are worth reading.
#[must_use]
pub fn free_slots(
    roster: &Roster,
    loads: &BTreeMap<AgentId, AgentLoad>,
    rules: &Rulebook,
    policy: &Policy,
    now: Timestamp,
) -> u32 {
    let is_paused = rules.paused.as_ref().is_some_and(|paused| paused.stands(now));
    if is_stale(roster, policy, now) || is_paused {
        return 0;
    }
    Seat::free_slots(&roster.agents, loads, rules, policy, now)
}

/// Those of `queues` of which something may be given out now, or might if the platform told more: the others need not
/// be read. Of `snapshot` everything but the waiting is looked at.
pub fn servable(
    snapshot: &Snapshot,
    policy: &Policy,
    now: Timestamp,
    queues: impl IntoIterator<Item = QueueKey>,
) -> Vec<QueueKey> {
    let mut round = Round::new(snapshot, policy, now);
    queues.into_iter().filter(|queue| round.could_serve(*queue)).collect()
}

/// Why a conversation is or is not dealt, whole and agent by agent; for people who ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdicts {
    /// Why nothing of its queue is dealt.
    pub hold: Option<Hold>,
    /// Why it is not dealt for what it carries.
    pub excluded: Option<Exclusion>,
    /// Every agent of the roster, ascending.
    pub agents: Vec<Standpoint>,
}

/// How an agent stands towards a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standpoint {
    /// Who.
    pub agent: AgentId,
    /// Why they are not given it; `None` when they could take it.
    pub rejection: Option<Rejection>,
    /// What they hold of what the limit counts. `None`: unknown.
    pub load: Option<u32>,
    /// The limit nearest to being reached. `None`: no limit.
    pub limit: Option<u32>,
    /// What they were given in their window, and when the next may be; under fair distribution.
    pub rate: Option<Rate>,
    /// What of the conversation keeps it from them.
    pub excluded: Option<Exclusion>,
}

/// Where an agent stands in their window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Rate {
    /// How many they were given.
    pub given: u32,
    /// How many they may be.
    pub limit: u32,
    /// In how long.
    pub window: Duration,
    /// When the next may be given. `None`: now.
    pub free_at: Option<Timestamp>,
}

/// Why `head` is or is not dealt now.
#[must_use]
pub fn explain(snapshot: &Snapshot, policy: &Policy, now: Timestamp, head: &Head) -> Verdicts {
    Round::new(snapshot, policy, now).explain(head)
}

fn is_stale(roster: &Roster, policy: &Policy, now: Timestamp) -> bool {
    now.since(roster.polled_at) > policy.staleness_max
}

/// Maps as lists of pairs, since not every format takes a key that is not text.
mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<K: Serialize, V: Serialize, S: Serializer>(
        map: &BTreeMap<K, V>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(map)
    }

    pub fn deserialize<'de, K, V, D>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
    where
        K: Deserialize<'de> + Ord,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Ok(Vec::deserialize(deserializer)?.into_iter().collect())
    }
}
