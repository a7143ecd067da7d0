//! The decision: which waiting conversation goes to which agent, and why each other agent was passed over.
//!
//! Conversations are taken in order of acceptance. For each, agents are filtered first and chosen second. One that
//! nobody can take now is passed over and holds nobody up: everyone eligible for a later one was out of reach for it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    Agent, AgentId, AgentLoad, ConversationId, InboxId, Park, ParkReason, Policy, RoomId, Roster, Seq,
    Strategy, Timestamp,
    rotation::Rotation,
    seat::{Candidates, Seat},
};

/// Everything a decision looks at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The agents.
    pub roster: Arc<Roster>,
    /// What the ledger knows of their work. An agent not in here has none.
    pub loads: BTreeMap<AgentId, AgentLoad>,
    /// What the platform answered for single rooms, where the roster cannot tell.
    pub answers: Arc<Answers>,
    /// Heads of the queues, ascending by position.
    pub waiting: Vec<Head>,
    /// The rotation of each queue, by inbox. Only read by [`Strategy::RoundRobin`].
    #[serde(with = "pairs")]
    pub rotations: BTreeMap<Option<InboxId>, Rotation>,
    /// Most conversations to give out in this round.
    pub limit: u32,
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
    /// Its place in line.
    pub position: Seq,
    /// When it opened.
    pub opened_at: Timestamp,
    /// Agents the platform refused for it, each until a time.
    pub refused: Vec<(AgentId, Timestamp)>,
}

/// Agents the platform would let into a room, by room: for conversations whose inbox is unknown and agents whose
/// inboxes or load are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answers(pub BTreeMap<RoomId, Vec<Agent>>);

/// What becomes of one waiting conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Which conversation.
    pub conversation: ConversationId,
    /// What to do.
    pub outcome: Outcome,
    /// Why each other agent was not chosen.
    pub rejected: Rejections,
    /// The queue's rotation after this decision; on the last reservation of each queue.
    pub rotation: Option<(Option<InboxId>, Rotation)>,
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
    },
    /// Nobody can take it now.
    Pass,
    /// The roster cannot tell who may serve the room: ask the platform.
    Ask,
    /// Nobody can take it until a time, for a reason of its own.
    Park(Park),
}

/// Why an agent may not be given a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rejection {
    /// The roster is too old to trust.
    RosterStale,
    /// The policy deals nothing to this role.
    Role,
    /// Forced offline by an operator.
    ForcedOffline,
    /// Not in a presence the policy deals to.
    Presence,
    /// Not a member of the conversation's inbox.
    NotInInbox,
    /// Nobody told whether they are a member.
    InboxUnknown,
    /// Nobody told how many conversations they hold.
    LoadUnknown,
    /// At capacity.
    Full,
    /// The platform refused them for this conversation a short while ago.
    Refused,
    /// Could have taken it; another was preferred.
    NotPreferred,
}

/// Agents and why each was rejected. Worked out when asked for: all decisions of a round share what they rest on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rejections {
    standing: Arc<Standing>,
    /// For each seat its agent, and after how many decisions of the round it was full.
    filled: Arc<[(AgentId, u32)]>,
    /// Which decision of the round this is.
    turn: u32,
    /// Eligible otherwise, but refused by the platform for this conversation.
    refused: Vec<AgentId>,
    chosen: Option<AgentId>,
}

impl Rejections {
    /// Every rejected agent with the reason.
    pub fn iter(&self) -> impl Iterator<Item = (AgentId, Rejection)> + '_ {
        let eligible = self.standing.eligible.iter().map(|&index| self.filled[index]);
        let others = eligible.filter_map(|(agent, filled_at)| {
            let why = if self.refused.contains(&agent) {
                Rejection::Refused
            } else if filled_at <= self.turn {
                Rejection::Full
            } else {
                Rejection::NotPreferred
            };
            (self.chosen != Some(agent)).then_some((agent, why))
        });
        self.standing.rejected.iter().copied().chain(others)
    }
}

/// Who may serve an inbox at all, apart from load. Seats by index, ascending.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Standing {
    rejected: Vec<(AgentId, Rejection)>,
    eligible: Vec<usize>,
    /// Some agent would be eligible if only the platform told us more.
    unknown: bool,
}

impl Standing {
    /// Nobody may serve it whatever becomes of loads.
    fn is_hopeless(&self) -> bool {
        let hope = [Rejection::RosterStale, Rejection::InboxUnknown, Rejection::LoadUnknown];
        self.eligible.is_empty() && self.rejected.iter().all(|(_, why)| !hope.contains(why))
    }
}

/// Longest a conversation sits out before somebody new may be found for it.
pub const PARK_MAX: Duration = Duration::from_secs(5);

/// When a seat is full that has room until the round ends.
const NEVER: u32 = u32::MAX;

/// Decides over the waiting conversations of `snapshot`, in order, until the limit or the last free slot is spent.
///
/// Pure and deterministic: the same arguments give the same decisions. Conversations past the point where the
/// last slot went get no decision.
#[must_use]
pub fn decide(snapshot: &Snapshot, policy: &Policy, now: Timestamp) -> Vec<Decision> {
    let mut round = Round::new(snapshot, policy, now);
    let mut decisions = Vec::with_capacity(snapshot.waiting.len());
    for head in &snapshot.waiting {
        if round.left == 0 || round.with_room == 0 {
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
    policy: &Policy,
    now: Timestamp,
) -> u32 {
    if is_stale(roster, policy, now) {
        return 0;
    }
    let seats = roster.agents.iter().map(|agent| Seat::new(agent, loads, policy, now));
    seats.fold(0, |slots, seat| slots.saturating_add(seat.free()))
}

/// Why each agent of the roster would or would not be given `head` now; for people who ask.
#[must_use]
pub fn explain(
    snapshot: &Snapshot,
    policy: &Policy,
    now: Timestamp,
    head: &Head,
) -> Vec<(AgentId, Option<Rejection>)> {
    let round = Round::new(snapshot, policy, now);
    let answer = snapshot.answers.0.get(&head.room);
    let verdict = |seat: &Seat<'_>| {
        let refused = || is_refused(head, seat.agent.id, now).then_some(Rejection::Refused);
        let full = || (!seat.has_room()).then_some(Rejection::Full);
        round.stands(seat, head.inbox, answer).or_else(refused).or_else(full)
    };
    round.desk.iter().map(|seat| (seat.agent.id, verdict(seat))).collect()
}

fn is_stale(roster: &Roster, policy: &Policy, now: Timestamp) -> bool {
    now.since(roster.polled_at) > policy.staleness_max
}

fn is_refused(head: &Head, agent: AgentId, now: Timestamp) -> bool {
    head.refused.iter().any(|(refused, until)| *refused == agent && *until > now)
}

/// The conversations that the same agents may serve.
struct Queue {
    standing: Arc<Standing>,
    candidates: Candidates,
}

struct Round<'a> {
    snapshot: &'a Snapshot,
    policy: &'a Policy,
    now: Timestamp,
    stale: bool,
    desk: Vec<Seat<'a>>,
    /// See [`Rejections`].
    filled: Vec<(AgentId, u32)>,
    with_room: usize,
    queues: HashMap<Option<InboxId>, Queue>,
    rotations: BTreeMap<Option<InboxId>, Rotation>,
    turn: u32,
    left: u32,
}

impl<'a> Round<'a> {
    fn new(snapshot: &'a Snapshot, policy: &'a Policy, now: Timestamp) -> Self {
        let desk = Seat::desk(&snapshot.roster.agents, &snapshot.loads, &snapshot.answers, policy, now);
        let filled_at = |seat: &Seat<'_>| if seat.has_room() { NEVER } else { 0 };
        Self {
            snapshot,
            policy,
            now,
            stale: is_stale(&snapshot.roster, policy, now),
            filled: desk.iter().map(|seat| (seat.agent.id, filled_at(seat))).collect(),
            with_room: desk.iter().filter(|seat| seat.has_room()).count(),
            desk,
            queues: HashMap::new(),
            rotations: BTreeMap::new(),
            turn: 0,
            left: snapshot.limit,
        }
    }

    fn decide(&mut self, head: &Head) -> Decision {
        let (key, answer) = (head.inbox, self.snapshot.answers.0.get(&head.room));
        let known = if answer.is_none() { self.queues.remove(&key) } else { None };
        let mut queue = known.unwrap_or_else(|| self.queue(key, answer));
        let standing = queue.standing.clone();
        let outcome = match self.choose(head, &mut queue) {
            Some((index, turn_charge)) => self.reserve(index, turn_charge),
            None if standing.unknown => Outcome::Ask,
            // Others in its queue may be rooms of other inboxes: it must not stand before them.
            None if answer.is_some() && standing.is_hopeless() => {
                Outcome::Park(Park { until: self.now + PARK_MAX, why: ParkReason::NobodyEligible })
            }
            None => self.passed_over(head, &standing),
        };
        if answer.is_none() {
            self.queues.insert(key, queue);
        }
        let rejected = self.rejections(head, standing, outcome);
        self.turn += 1;
        Decision { conversation: head.conversation, outcome, rejected, rotation: None }
    }

    fn rejections(&self, head: &Head, standing: Arc<Standing>, outcome: Outcome) -> Rejections {
        let chosen = match outcome {
            Outcome::Reserve { agent, .. } => Some(agent),
            Outcome::Pass | Outcome::Ask | Outcome::Park(_) => None,
        };
        let refused = head.refused.iter().filter(|(_, until)| *until > self.now).map(|(agent, _)| *agent);
        Rejections { standing, filled: Arc::default(), turn: self.turn, refused: refused.collect(), chosen }
    }

    /// A conversation all of whose agents were refused for it sits out until the first of them may be tried again, and
    /// is looked at in between, for somebody else may have come.
    fn passed_over(&self, head: &Head, standing: &Standing) -> Outcome {
        let refused_until = |index: &usize| {
            let id = self.desk[*index].agent.id;
            head.refused
                .iter()
                .find(|(agent, until)| *agent == id && *until > self.now)
                .map(|(_, until)| *until)
        };
        let expiries: Option<Vec<Timestamp>> = standing.eligible.iter().map(refused_until).collect();
        match expiries.and_then(|expiries| expiries.into_iter().min()) {
            Some(expiry) => {
                let until = expiry.min(self.now + PARK_MAX);
                Outcome::Park(Park { until, why: ParkReason::Refused })
            }
            None => Outcome::Pass,
        }
    }

    fn reserve(&mut self, index: usize, turn_charge: i64) -> Outcome {
        let seat = &mut self.desk[index];
        seat.take(self.now);
        if !seat.has_room() {
            self.filled[index].1 = self.turn + 1;
            self.with_room -= 1;
        }
        self.left -= 1;
        Outcome::Reserve { agent: seat.agent.id, turn_charge }
    }

    fn choose(&mut self, head: &Head, queue: &mut Queue) -> Option<(usize, i64)> {
        let (desk, now) = (&self.desk, self.now);
        match self.policy.strategy {
            Strategy::Balanced => {
                let best = queue.candidates.best(desk, |agent| is_refused(head, agent, now))?;
                Some((best, 0))
            }
            Strategy::RoundRobin => {
                let stored = &self.snapshot.rotations;
                let rotation = self
                    .rotations
                    .entry(head.inbox)
                    .or_insert_with(|| stored.get(&head.inbox).cloned().unwrap_or_default());
                let seats = queue.standing.eligible.iter().map(|&index| &desk[index]);
                let pool = seats.filter(|seat| seat.has_room() && !is_refused(head, seat.agent.id, now));
                let (agent, charge) = rotation.choose(pool.map(|seat| (seat.agent.id, 1)))?;
                let index = desk.binary_search_by_key(&agent, |seat| seat.agent.id).ok()?;
                Some((index, charge))
            }
        }
    }

    fn queue(&self, inbox: Option<InboxId>, answer: Option<&Vec<Agent>>) -> Queue {
        let standing = self.stand(inbox, answer);
        let candidates = match self.policy.strategy {
            Strategy::Balanced => Candidates::new(&self.desk, &standing.eligible),
            Strategy::RoundRobin => Candidates::default(),
        };
        Queue { standing: standing.into(), candidates }
    }

    fn stand(&self, inbox: Option<InboxId>, answer: Option<&Vec<Agent>>) -> Standing {
        let mut rejected = Vec::new();
        let mut eligible = Vec::new();
        let mut unknown = false;
        for (index, seat) in self.desk.iter().enumerate() {
            match self.stands(seat, inbox, answer) {
                None => eligible.push(index),
                Some(why) => {
                    unknown |=
                        matches!(why, Rejection::InboxUnknown | Rejection::LoadUnknown) && answer.is_none();
                    rejected.push((seat.agent.id, why));
                }
            }
        }
        Standing { rejected, eligible, unknown }
    }

    /// Why `seat` may serve no conversation of `inbox`, load apart.
    fn stands(
        &self,
        seat: &Seat<'_>,
        inbox: Option<InboxId>,
        answer: Option<&Vec<Agent>>,
    ) -> Option<Rejection> {
        if self.stale {
            return Some(Rejection::RosterStale);
        }
        if seat.barred.is_some() {
            return seat.barred;
        }
        let member = match (inbox, &seat.agent.inboxes, answer) {
            (Some(inbox), Some(inboxes), _) => inboxes.binary_search(&inbox).is_ok(),
            (_, _, Some(answer)) => answer.iter().any(|agent| agent.id == seat.agent.id),
            (None, _, None) | (_, None, None) => return Some(Rejection::InboxUnknown),
        };
        if !member {
            return Some(Rejection::NotInInbox);
        }
        seat.load.is_none().then_some(Rejection::LoadUnknown)
    }

    /// Adds to the decisions what only the end of the round tells.
    fn complete(self, decisions: &mut [Decision], heads: &[Head]) {
        let filled: Arc<[_]> = self.filled.into();
        let mut turned = self.rotations;
        for (decision, head) in decisions.iter_mut().zip(heads).rev() {
            decision.rejected.filled = filled.clone();
            if matches!(decision.outcome, Outcome::Reserve { .. }) {
                decision.rotation = turned.remove_entry(&head.inbox);
            }
        }
    }
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
