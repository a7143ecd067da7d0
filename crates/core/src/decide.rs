//! The decision: which waiting conversation goes to which agent, and why each other agent was passed over.
//!
//! Conversations are taken in order of acceptance. For each, agents are filtered first and chosen second. One that
//! nobody can take now is passed over and holds nobody up: everyone eligible for a later one was out of reach for it.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::{
    Agent, AgentId, AgentLoad, ConversationId, InboxId, Park, ParkReason, Policy, RoomId, Roster, Seq,
    Strategy, Timestamp, rotation::Rotation,
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
    /// The queue's rotation after this decision; on the last decision of each queue that turned.
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

/// Agents and why each was rejected.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rejections {
    /// Rejected for the whole inbox; shared by every decision about it.
    standing: Arc<[(AgentId, Rejection)]>,
    /// Rejected for this conversation at this moment.
    momentary: Vec<(AgentId, Rejection)>,
}

impl Rejections {
    /// Every rejected agent with the reason.
    pub fn iter(&self) -> impl Iterator<Item = (AgentId, Rejection)> + '_ {
        self.standing.iter().chain(&self.momentary).copied()
    }
}

/// Decides over the waiting conversations of `snapshot`, in order, until the limit or the last free slot is spent.
///
/// Pure and deterministic: the same arguments give the same decisions. Conversations past the point where the
/// last slot went get no decision.
#[must_use]
pub fn decide(snapshot: &Snapshot, policy: &Policy, now: Timestamp) -> Vec<Decision> {
    let mut round = Round::new(snapshot, policy, now);
    let mut decisions = Vec::new();
    for head in &snapshot.waiting {
        if round.left == 0 || round.desk.iter().all(|seat| !seat.has_room()) {
            break;
        }
        decisions.push(round.decide(head));
    }
    round.attach_rotations(&mut decisions, &snapshot.waiting);
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
    let seats = roster.agents.iter().map(|agent| Seat::new(agent, loads, policy));
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
    let verdict =
        |seat: &Seat<'_>| round.stands(seat, head.inbox, answer).or_else(|| refusal(seat, head, now));
    round
        .desk
        .iter()
        .map(|seat| (seat.agent.id, verdict(seat).or((!seat.has_room()).then(|| seat.shut()))))
        .collect()
}

fn is_stale(roster: &Roster, policy: &Policy, now: Timestamp) -> bool {
    now.since(roster.polled_at) > policy.staleness_max
}

fn refusal(seat: &Seat<'_>, head: &Head, now: Timestamp) -> Option<Rejection> {
    let refused = head.refused.iter().any(|(agent, until)| *agent == seat.agent.id && *until > now);
    refused.then_some(Rejection::Refused)
}

/// An agent and their work, as the round goes on.
#[derive(Debug, Clone)]
struct Seat<'a> {
    agent: &'a Agent,
    /// Fails every conversation alike.
    barred: Option<Rejection>,
    /// Open conversations; `None` is unknown.
    load: Option<u32>,
    capacity: u32,
    assignments: u32,
    last_assigned_at: Option<Timestamp>,
}

impl<'a> Seat<'a> {
    fn new(agent: &'a Agent, loads: &BTreeMap<AgentId, AgentLoad>, policy: &Policy) -> Self {
        let none = AgentLoad::none(agent.id);
        let load = loads.get(&agent.id).unwrap_or(&none);
        let barred = if !policy.roles.contains(&agent.role) {
            Some(Rejection::Role)
        } else if agent.forced_offline {
            Some(Rejection::ForcedOffline)
        } else if !policy.presences.contains(&agent.presence) {
            Some(Rejection::Presence)
        } else {
            None
        };
        Self {
            agent,
            barred,
            load: load.effective(agent),
            capacity: policy.capacity.unwrap_or(u32::MAX),
            assignments: load.assignments_since(agent.online_since),
            last_assigned_at: load.last_assigned_at,
        }
    }

    fn free(&self) -> u32 {
        match (self.barred, self.load) {
            (None, Some(load)) => self.capacity.saturating_sub(load),
            // An answer for a room may yet tell the load: worth a look, so never counted as nothing.
            (None, None) => 1,
            (Some(_), _) => 0,
        }
    }

    fn has_room(&self) -> bool {
        self.free() > 0
    }

    /// Why a seat without room is shut.
    fn shut(&self) -> Rejection {
        self.barred.unwrap_or(Rejection::Full)
    }
}

/// Who may serve an inbox at all, apart from load.
#[derive(Debug, Clone)]
struct Standing {
    rejected: Arc<[(AgentId, Rejection)]>,
    eligible: Vec<usize>,
    /// Some agent would be eligible if only the platform told us more.
    unknown: bool,
}

struct Round<'a> {
    snapshot: &'a Snapshot,
    policy: &'a Policy,
    now: Timestamp,
    stale: bool,
    desk: Vec<Seat<'a>>,
    standings: HashMap<Option<InboxId>, Arc<Standing>>,
    rotations: BTreeMap<Option<InboxId>, Rotation>,
    left: u32,
}

impl<'a> Round<'a> {
    fn new(snapshot: &'a Snapshot, policy: &'a Policy, now: Timestamp) -> Self {
        Self {
            snapshot,
            policy,
            now,
            stale: is_stale(&snapshot.roster, policy, now),
            desk: snapshot
                .roster
                .agents
                .iter()
                .map(|agent| Seat::new(agent, &snapshot.loads, policy))
                .collect(),
            standings: HashMap::new(),
            rotations: BTreeMap::new(),
            left: snapshot.limit,
        }
    }

    fn decide(&mut self, head: &Head) -> Decision {
        let standing = self.standing(head);
        let mut momentary = Vec::new();
        let mut pool = Vec::with_capacity(standing.eligible.len());
        for &index in &standing.eligible {
            let seat = &self.desk[index];
            match refusal(seat, head, self.now) {
                Some(why) => momentary.push((seat.agent.id, why)),
                None if seat.has_room() => pool.push(index),
                None => momentary.push((seat.agent.id, Rejection::Full)),
            }
        }
        let outcome = match self.choose(head.inbox, &pool) {
            Some((index, turn_charge)) => {
                let others = pool.iter().filter(|&&other| other != index);
                momentary.extend(others.map(|&other| (self.desk[other].agent.id, Rejection::NotPreferred)));
                self.reserve(index, turn_charge)
            }
            None if standing.unknown => Outcome::Ask,
            None => self.passed_over(head, &standing),
        };
        let rejected = Rejections { standing: standing.rejected.clone(), momentary };
        Decision { conversation: head.conversation, outcome, rejected, rotation: None }
    }

    /// A conversation all of whose agents were refused for it sits out until the first of them may be tried again.
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
            Some(until) => Outcome::Park(Park { until, why: ParkReason::Refused }),
            None => Outcome::Pass,
        }
    }

    fn reserve(&mut self, index: usize, turn_charge: i64) -> Outcome {
        let now = self.now;
        let seat = &mut self.desk[index];
        seat.load = seat.load.map(|load| load + 1);
        seat.assignments += 1;
        seat.last_assigned_at = Some(now);
        self.left -= 1;
        Outcome::Reserve { agent: seat.agent.id, turn_charge }
    }

    fn choose(&mut self, inbox: Option<InboxId>, pool: &[usize]) -> Option<(usize, i64)> {
        match self.policy.strategy {
            Strategy::Balanced => {
                let best =
                    pool.iter().copied().min_by(|&a, &b| self.balance(&self.desk[a], &self.desk[b]))?;
                Some((best, 0))
            }
            Strategy::RoundRobin => {
                let rotations = &self.snapshot.rotations;
                let rotation = self
                    .rotations
                    .entry(inbox)
                    .or_insert_with(|| rotations.get(&inbox).cloned().unwrap_or_default());
                let (agent, charge) =
                    rotation.choose(pool.iter().map(|&index| (self.desk[index].agent.id, 1)))?;
                let index = pool.iter().copied().find(|&index| self.desk[index].agent.id == agent)?;
                Some((index, charge))
            }
        }
    }

    /// Orders two seats that both have room: the one to prefer comes first.
    fn balance(&self, a: &Seat<'_>, b: &Seat<'_>) -> Ordering {
        let fill =
            |seat: &Seat<'_>, by: &Seat<'_>| u64::from(seat.load.unwrap_or(0)) * u64::from(by.capacity);
        let online_ms = |seat: &Seat<'_>| {
            seat.agent.online_since.map_or(0, |since| self.now.since(since).as_millis()).max(1)
        };
        let pace = |seat: &Seat<'_>, by: &Seat<'_>| u128::from(seat.assignments) * online_ms(by);
        fill(a, b)
            .cmp(&fill(b, a))
            .then_with(|| pace(a, b).cmp(&pace(b, a)))
            .then_with(|| a.last_assigned_at.cmp(&b.last_assigned_at))
            .then_with(|| a.agent.id.cmp(&b.agent.id))
    }

    fn standing(&mut self, head: &Head) -> Arc<Standing> {
        if let Some(answer) = self.snapshot.answers.0.get(&head.room) {
            self.learn_loads(answer);
            return Arc::new(self.stand(head.inbox, Some(answer)));
        }
        if let Some(standing) = self.standings.get(&head.inbox) {
            return standing.clone();
        }
        let standing = Arc::new(self.stand(head.inbox, None));
        self.standings.insert(head.inbox, standing.clone());
        standing
    }

    /// An answer for a room also tells loads the roster did not.
    fn learn_loads(&mut self, answer: &[Agent]) {
        for told in answer {
            let seat = self.desk.iter_mut().find(|seat| seat.agent.id == told.id && seat.load.is_none());
            let Some(seat) = seat else { continue };
            let none = AgentLoad::none(told.id);
            let known = self.snapshot.loads.get(&told.id).unwrap_or(&none);
            seat.load = told.reported_load.map(|reported| known.open + known.excess(reported));
        }
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
        Standing { rejected: rejected.into(), eligible, unknown }
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

    fn attach_rotations(self, decisions: &mut [Decision], heads: &[Head]) {
        let mut turned = self.rotations;
        for (decision, head) in decisions.iter_mut().zip(heads).rev() {
            decision.rotation = turned.remove_entry(&head.inbox);
        }
    }
}

/// Sorts heads into the order in which they are decided.
pub fn sort_heads(heads: &mut [Head]) {
    heads.sort_by_key(|head| (head.position, head.conversation));
}
