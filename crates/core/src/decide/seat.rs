//! A desk during one round of decisions: who sits there, what they hold by now, who is to be preferred.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BTreeMap, BTreeSet, BinaryHeap, binary_heap::PeekMut},
    iter::Peekable,
};

use super::Snapshot;
use crate::{Agent, AgentId, AgentLoad, Policy, Rejection, Rulebook, Timestamp, rulebook::Own};

/// An agent and their work, as the round goes on.
#[derive(Debug, Clone)]
pub(crate) struct Seat<'a> {
    pub agent: &'a Agent,
    /// What is set for them.
    pub own: Own<'a>,
    /// Fails every conversation alike.
    pub barred: Option<Rejection>,
    /// Open conversations; `None` is unknown.
    pub load: Option<u32>,
    /// Open conversations by the ledger alone, when the round began.
    pub held: u32,
    /// Open conversations that only the platform counts; they may be of any inbox.
    pub excess: u32,
    /// The most they may hold under any rule.
    widest: u32,
    pub weight: u32,
    pub assignments: u32,
    pub online_ms: u64,
    pub last_assigned_at: Option<Timestamp>,
    /// Which of the round's assignments was their last; zero before the first.
    pub last_in_round: usize,
}

impl<'a> Seat<'a> {
    fn new(
        agent: &'a Agent,
        load: Option<&AgentLoad>,
        own: Own<'a>,
        house: &HouseRules<'_>,
        now: Timestamp,
    ) -> Self {
        let none = AgentLoad::none(agent.id);
        let known = load.unwrap_or(&none);
        let widest = house.widest_limit(own).unwrap_or(u32::MAX);
        // Whoever is full by our own count is full whatever the platform would say: nobody need ask.
        let full_by_ours = (known.open >= widest).then_some(known.open);
        let load = known.effective(agent).or(full_by_ours);
        let online_ms = agent.online_since.map_or(0, |since| now.since(since).as_millis());
        Self {
            agent,
            own,
            barred: house.bars(agent, own, now),
            load,
            held: known.open,
            excess: load.map_or(0, |load| load - known.open),
            widest,
            weight: own.rules.map_or(1, |rules| rules.weight),
            assignments: known.assignments_since(agent.online_since),
            online_ms: u64::try_from(online_ms).unwrap_or(u64::MAX).max(1),
            last_assigned_at: known.last_assigned_at,
            last_in_round: 0,
        }
    }

    fn all(
        agents: &'a [Agent],
        loads: &BTreeMap<AgentId, AgentLoad>,
        rules: &'a Rulebook,
        policy: &Policy,
        now: Timestamp,
    ) -> impl Iterator<Item = Self> {
        let house = HouseRules::new(rules, policy, now);
        let mut loads = Beside::new(loads.iter().map(|(agent, load)| (*agent, load)));
        let mut said = Beside::new(rules.agents.iter().map(|(agent, said)| (*agent, said)));
        agents.iter().map(move |agent| {
            let own = Own::said(rules, said.at(agent.id));
            Self::new(agent, loads.at(agent.id), own, &house, now)
        })
    }

    /// Every agent's seat, ascending by agent. Loads the roster does not tell are taken from the answers; where two
    /// answers differ, one of them lags, and the higher is the safe one.
    pub fn desk(snapshot: &'a Snapshot, policy: &Policy, now: Timestamp) -> Vec<Self> {
        let mut told: BTreeMap<AgentId, u32> = BTreeMap::new();
        for answer in snapshot.answers.agents.values().flatten() {
            let Some(load) = answer.reported_load else { continue };
            let most = told.entry(answer.id).or_default();
            *most = load.max(*most);
        }
        let Snapshot { roster, loads, rules, .. } = snapshot;
        let mut desk: Vec<Self> = Self::all(&roster.agents, loads, rules, policy, now).collect();
        for seat in desk.iter_mut().filter(|seat| seat.load.is_none()) {
            let Some(reported) = told.get(&seat.agent.id) else { continue };
            let none = AgentLoad::none(seat.agent.id);
            let load = loads.get(&seat.agent.id).unwrap_or(&none).believing(*reported);
            (seat.load, seat.excess) = (Some(load), load - seat.held);
        }
        desk
    }

    /// Slots of all agents that could be filled.
    pub fn free_slots(
        agents: &'a [Agent],
        loads: &BTreeMap<AgentId, AgentLoad>,
        rules: &'a Rulebook,
        policy: &Policy,
        now: Timestamp,
    ) -> u32 {
        let seats = Self::all(agents, loads, rules, policy, now);
        seats.fold(0, |slots, seat| slots.saturating_add(seat.free()))
    }

    pub fn free(&self) -> u32 {
        match (self.barred, self.load) {
            (None, Some(load)) => self.widest.saturating_sub(load),
            // An answer for a room may yet tell the load: worth a look, so never counted as nothing.
            (None, None) => 1,
            (Some(_), _) => 0,
        }
    }

    /// What they hold for certain.
    pub fn certain_load(&self) -> u32 {
        self.load.unwrap_or(self.held)
    }

    /// Counts a conversation given now, as the `nth` of the round.
    pub fn take(&mut self, now: Timestamp, nth: usize) {
        self.load = self.load.map(|load| load + 1);
        self.assignments += 1;
        // A clock that stepped back must not make anybody seem idle for longer.
        self.last_assigned_at = self.last_assigned_at.max(Some(now));
        self.last_in_round = nth;
    }
}

/// What holds for whole agents, whatever the queue.
struct HouseRules<'a> {
    policy: &'a Policy,
    on_leave: BTreeSet<AgentId>,
    /// The most anybody may hold for whom nothing is set.
    widest: Option<u32>,
}

impl<'a> HouseRules<'a> {
    fn new(rules: &Rulebook, policy: &'a Policy, now: Timestamp) -> Self {
        let teams = rules.teams.values().filter_map(|team| team.capacity);
        let policies = rules.assignment_policies.values().filter_map(|policy| policy.capacity);
        let widest = policy.capacity.map(|default| teams.chain(policies).fold(default, u32::max));
        Self { policy, on_leave: rules.on_leave(now), widest }
    }

    /// Why an agent is given nothing at all.
    fn bars(&self, agent: &Agent, own: Own<'_>, now: Timestamp) -> Option<Rejection> {
        if !self.policy.roles.contains(&agent.role) {
            Some(Rejection::Role)
        } else if agent.forced_offline {
            Some(Rejection::ForcedOffline)
        } else if !self.policy.presences.contains(&agent.presence) {
            Some(Rejection::Presence)
        } else if self.on_leave.contains(&agent.id) {
            Some(Rejection::OnLeave)
        } else {
            let paused = own.rules.and_then(|rules| rules.paused.as_ref());
            paused.is_some_and(|paused| paused.stands(now)).then_some(Rejection::Paused)
        }
    }

    /// The most an agent may hold in all, in whichever queue they may hold most. `None`: no limit.
    fn widest_limit(&self, own: Own<'_>) -> Option<u32> {
        let by_inbox = own.policy.is_some_and(|(_, policy)| !policy.inbox_limits.is_empty());
        own.capacity().or(if by_inbox { None } else { self.widest })
    }
}

/// Entries walked beside keys that ascend as they do: a lookup costs a step instead of a search.
pub(super) struct Beside<I: Iterator>(Peekable<I>);

impl<V, I: Iterator<Item = (AgentId, V)>> Beside<I> {
    pub fn new(entries: I) -> Self {
        Self(entries.peekable())
    }

    /// What is entered for `agent`, who comes after all that were asked for.
    pub fn at(&mut self, agent: AgentId) -> Option<V> {
        while self.0.next_if(|(other, _)| *other < agent).is_some() {}
        self.0.next_if(|(other, _)| *other == agent).map(|(_, value)| value)
    }
}

/// How much somebody is to be preferred: the least first. Fractions are compared by cross-multiplication. A strategy
/// that does not look at a figure leaves it equal for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rank {
    pub load: u32,
    pub capacity: u32,
    pub assignments: u32,
    pub online_ms: u64,
    pub last_assigned_at: Option<Timestamp>,
    pub last_in_round: usize,
    pub index: usize,
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> Ordering {
        let fill = |a: &Self, b: &Self| u64::from(a.load) * u64::from(b.capacity);
        let pace = |a: &Self, b: &Self| u128::from(a.assignments) * u128::from(b.online_ms);
        fill(self, other)
            .cmp(&fill(other, self))
            .then_with(|| pace(self, other).cmp(&pace(other, self)))
            .then_with(|| self.last_assigned_at.cmp(&other.last_assigned_at))
            .then_with(|| self.last_in_round.cmp(&other.last_in_round))
            .then_with(|| self.index.cmp(&other.index))
    }
}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Members of a queue by rank, the one to prefer on top. A rank only falls during a round, so it is brought up to date
/// when it comes to the top: a round looks at each member a few times instead of once a conversation.
#[derive(Debug, Clone, Default)]
pub(crate) struct Candidates(BinaryHeap<Reverse<Rank>>);

impl Candidates {
    pub fn new(ranks: Vec<Rank>) -> Self {
        Self(ranks.into_iter().map(Reverse).collect())
    }

    /// The rank of the member to prefer among those that have one by now (the others have no room) and are not
    /// `passed_over`.
    pub fn best(
        &mut self,
        rank: impl Fn(usize) -> Option<Rank>,
        passed_over: impl Fn(usize) -> bool,
    ) -> Option<Rank> {
        let mut set_aside = Vec::new();
        let best = loop {
            let Some(mut top) = self.0.peek_mut() else { break None };
            match rank(top.0.index) {
                None => drop(PeekMut::pop(top)),
                Some(rank) if top.0 != rank => top.0 = rank,
                Some(rank) if passed_over(rank.index) => set_aside.push(PeekMut::pop(top)),
                Some(rank) => break Some(rank),
            }
        };
        self.0.extend(set_aside);
        best
    }

    /// Whether any of them still has room, as `has_room` tells.
    pub fn any(&mut self, has_room: impl Fn(usize) -> bool) -> bool {
        while let Some(top) = self.0.peek_mut() {
            if has_room(top.0.index) {
                return true;
            }
            PeekMut::pop(top);
        }
        false
    }
}
