//! Where an agent sits during one round of decisions: what is set for them, and what they hold by now.

use std::collections::{BTreeMap, BTreeSet};

use super::{Snapshot, exclusions::Exclusions};
use crate::{
    Agent, AgentId, AgentLoad, Policy, Rejection, Rulebook, Timestamp,
    beside::Beside,
    rulebook::{AgentRules, Own},
};

/// An agent and their work, as the round goes on.
#[derive(Debug, Clone)]
pub(crate) struct Seat<'a> {
    pub agent: &'a Agent,
    /// What is set for them.
    pub own: Own<'a>,
    /// Of those whose capacity policies keep the same conversations from them.
    pub group: usize,
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
    pub last_in_round: u32,
}

impl<'a> Seat<'a> {
    fn new(
        agent: &'a Agent,
        load: Option<&AgentLoad>,
        said: Option<&AgentRules>,
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
            group: house.exclusions.group(said.and_then(|said| said.capacity_policy)),
            barred: house.bars(agent, said, now),
            load,
            held: known.open,
            excess: load.map_or(0, |load| load - known.open),
            widest,
            weight: said.map_or(1, |said| said.weight),
            assignments: known.assignments_since(agent.online_since),
            online_ms: u64::try_from(online_ms).unwrap_or(u64::MAX).max(1),
            last_assigned_at: known.last_assigned_at,
            last_in_round: 0,
        }
    }

    fn all<'h>(
        agents: &'a [Agent],
        loads: &'h BTreeMap<AgentId, AgentLoad>,
        rules: &'a Rulebook,
        exclusions: &'h Exclusions<'h>,
        policy: &'h Policy,
        now: Timestamp,
    ) -> impl Iterator<Item = Self> {
        let house = HouseRules::new(rules, exclusions, policy, now);
        let mut loads = Beside::new(loads.iter().map(|(agent, load)| (*agent, load)));
        let mut said = Beside::new(rules.agents.iter().map(|(agent, said)| (*agent, said)));
        agents.iter().map(move |agent| {
            let said = said.at(agent.id);
            Self::new(agent, loads.at(agent.id), said, Own::said(rules, said), &house, now)
        })
    }

    /// Every agent's seat, ascending by agent. Loads the roster does not tell are taken from the answers; where two
    /// answers differ, one of them lags, and the higher is the safe one.
    pub fn desk(
        snapshot: &'a Snapshot,
        exclusions: &Exclusions<'_>,
        policy: &Policy,
        now: Timestamp,
    ) -> Vec<Self> {
        let mut told: BTreeMap<AgentId, u32> = BTreeMap::new();
        for answer in snapshot.answers.agents.values().flatten() {
            let Some(load) = answer.reported_load else { continue };
            let most = told.entry(answer.id).or_default();
            *most = load.max(*most);
        }
        let Snapshot { roster, loads, rules, .. } = snapshot;
        let mut desk: Vec<Self> = Self::all(&roster.agents, loads, rules, exclusions, policy, now).collect();
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
        let exclusions = Exclusions::of(rules, policy);
        let seats = Self::all(agents, loads, rules, &exclusions, policy, now);
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
    pub fn take(&mut self, now: Timestamp, nth: u32) {
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
    exclusions: &'a Exclusions<'a>,
    on_leave: BTreeSet<AgentId>,
    /// The most anybody may hold for whom nothing is set.
    widest: Option<u32>,
}

impl<'a> HouseRules<'a> {
    fn new(rules: &Rulebook, exclusions: &'a Exclusions<'a>, policy: &'a Policy, now: Timestamp) -> Self {
        let teams = rules.teams.values().filter_map(|team| team.capacity);
        let policies = rules.assignment_policies.values().filter_map(|policy| policy.capacity);
        let widest = policy.capacity.map(|default| teams.chain(policies).fold(default, u32::max));
        Self { policy, exclusions, on_leave: rules.on_leave(now), widest }
    }

    /// Why an agent is given nothing at all.
    fn bars(&self, agent: &Agent, said: Option<&AgentRules>, now: Timestamp) -> Option<Rejection> {
        if !self.policy.roles.contains(&agent.role) {
            Some(Rejection::Role)
        } else if agent.forced_offline {
            Some(Rejection::ForcedOffline)
        } else if !self.policy.presences.contains(&agent.presence) {
            Some(Rejection::Presence)
        } else if self.on_leave.contains(&agent.id) {
            Some(Rejection::OnLeave)
        } else {
            let paused = said.and_then(|said| said.paused.as_ref());
            paused.is_some_and(|paused| paused.stands(now)).then_some(Rejection::Paused)
        }
    }

    /// The most an agent may hold in all, in whichever queue they may hold most. `None`: no limit.
    fn widest_limit(&self, own: Own<'_>) -> Option<u32> {
        let by_inbox = own.policy.is_some_and(|policy| !policy.inbox_limits.is_empty());
        own.capacity.or(if by_inbox { None } else { self.widest })
    }
}
