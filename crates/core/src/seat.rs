//! A desk during one round of decisions: who sits there, what they hold by now, who is to be preferred.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BTreeMap, BinaryHeap, binary_heap::PeekMut},
};

use crate::{Agent, AgentId, AgentLoad, Answers, Policy, Rejection, Timestamp};

/// An agent and their work, as the round goes on.
#[derive(Debug, Clone)]
pub(crate) struct Seat<'a> {
    pub agent: &'a Agent,
    /// Fails every conversation alike.
    pub barred: Option<Rejection>,
    /// Open conversations; `None` is unknown.
    pub load: Option<u32>,
    capacity: u32,
    assignments: u32,
    online_ms: u64,
    last_assigned_at: Option<Timestamp>,
}

impl<'a> Seat<'a> {
    pub fn new(
        agent: &'a Agent,
        loads: &BTreeMap<AgentId, AgentLoad>,
        policy: &Policy,
        now: Timestamp,
    ) -> Self {
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
        let capacity = policy.capacity.unwrap_or(u32::MAX);
        // Whoever is full by our own count is full whatever the platform would say: nobody need ask.
        let full_by_ours = (load.open >= capacity).then_some(load.open);
        let online_ms = agent.online_since.map_or(0, |since| now.since(since).as_millis());
        Self {
            agent,
            barred,
            load: load.effective(agent).or(full_by_ours),
            capacity,
            assignments: load.assignments_since(agent.online_since),
            online_ms: u64::try_from(online_ms).unwrap_or(u64::MAX).max(1),
            last_assigned_at: load.last_assigned_at,
        }
    }

    /// Every agent's seat, ascending by agent. Loads the roster does not tell are taken from the answers; where two
    /// answers differ, one of them lags, and the higher is the safe one.
    pub fn desk(
        agents: &'a [Agent],
        loads: &BTreeMap<AgentId, AgentLoad>,
        answers: &Answers,
        policy: &Policy,
        now: Timestamp,
    ) -> Vec<Self> {
        let mut told: BTreeMap<AgentId, u32> = BTreeMap::new();
        for answer in answers.0.values().flatten() {
            let Some(load) = answer.reported_load else { continue };
            let most = told.entry(answer.id).or_default();
            *most = load.max(*most);
        }
        let seat = |agent| {
            let mut seat = Self::new(agent, loads, policy, now);
            if let (None, Some(reported)) = (seat.load, told.get(&agent.id)) {
                let none = AgentLoad::none(agent.id);
                seat.load = Some(loads.get(&agent.id).unwrap_or(&none).believing(*reported));
            }
            seat
        };
        agents.iter().map(seat).collect()
    }

    pub fn free(&self) -> u32 {
        match (self.barred, self.load) {
            (None, Some(load)) => self.capacity.saturating_sub(load),
            // An answer for a room may yet tell the load: worth a look, so never counted as nothing.
            (None, None) => 1,
            (Some(_), _) => 0,
        }
    }

    pub fn has_room(&self) -> bool {
        self.free() > 0
    }

    /// Counts a conversation given now.
    pub fn take(&mut self, now: Timestamp) {
        self.load = self.load.map(|load| load + 1);
        self.assignments += 1;
        self.last_assigned_at = Some(now);
    }

    fn rank(&self, index: usize) -> Rank {
        let Self { load, capacity, assignments, online_ms, last_assigned_at, .. } = *self;
        Rank { load: load.unwrap_or(0), capacity, assignments, online_ms, last_assigned_at, index }
    }
}

/// How much a seat is to be preferred: the least first. Fractions are compared by cross-multiplication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rank {
    load: u32,
    capacity: u32,
    assignments: u32,
    online_ms: u64,
    last_assigned_at: Option<Timestamp>,
    index: usize,
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> Ordering {
        let fill = |a: &Self, b: &Self| u64::from(a.load) * u64::from(b.capacity);
        let pace = |a: &Self, b: &Self| u128::from(a.assignments) * u128::from(b.online_ms);
        fill(self, other)
            .cmp(&fill(other, self))
            .then_with(|| pace(self, other).cmp(&pace(other, self)))
            .then_with(|| self.last_assigned_at.cmp(&other.last_assigned_at))
            .then_with(|| self.index.cmp(&other.index))
    }
}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Seats by rank, the one to prefer on top. A rank only falls during a round, so it is brought up to date when it
/// comes to the top: a round looks at each seat a few times instead of once a conversation.
#[derive(Debug, Clone, Default)]
pub(crate) struct Candidates(BinaryHeap<Reverse<Rank>>);

impl Candidates {
    pub fn new(desk: &[Seat<'_>], eligible: &[usize]) -> Self {
        Self(eligible.iter().map(|&index| Reverse(desk[index].rank(index))).collect())
    }

    /// The seat to prefer among those that have room and are not `refused`.
    pub fn best(&mut self, desk: &[Seat<'_>], refused: impl Fn(AgentId) -> bool) -> Option<usize> {
        let mut set_aside = Vec::new();
        let best = loop {
            let Some(mut top) = self.0.peek_mut() else { break None };
            let index = top.0.index;
            let (seat, rank) = (&desk[index], desk[index].rank(index));
            if !seat.has_room() {
                PeekMut::pop(top);
            } else if top.0 != rank {
                top.0 = rank;
            } else if refused(seat.agent.id) {
                set_aside.push(PeekMut::pop(top));
            } else {
                break Some(index);
            }
        };
        self.0.extend(set_aside);
        best
    }
}
