//! What must always hold, as functions over histories and final states.
//!
//! Used by the world simulation, by black-box tests, by the demo's verdict and by whoever audits a ledger at work. The
//! numbers are those of the README's promises.
//!
//! | promise | over a history or at rest | over one decision or one look at the ledger |
//! |---|---|---|
//! | I1 | [`none_lost`] | [`none_lost`] |
//! | I2 | [`one_agent_each`] | [`one_open_each`], [`one_call_each`] |
//! | I3 | [`never_over_capacity`] | [`taken_within_capacity`] |
//! | I4 | [`first_come_first_served`] | [`none_overtaken`] |
//! | I5 | [`loads_agree`] | |
//! | I6 | | [`only_eligible`] |
//! | I7 | [`replay_agrees`] | |
//! | I8 | [`none_waits_in_vain`] | [`none_waits_in_vain`] |
//! | I9 | [`one_decrement_each`] | [`one_decrement_each`] |
//! | I10 | [`window_kept`] | [`window_kept`] |
//! | I13 | [`decided_again`] | [`decided_again`] |
//!
//! I11 (nothing private leaks) and I12 (everything is bounded) are about processes and have tests, but no function.

use std::collections::{BTreeMap, HashMap};

use crate::{AgentId, ConversationId, FairDistribution, RoomId, Seq, Timestamp};

/// A promise that was broken, in words an operator can act on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which promise (`I2`).
    pub id: &'static str,
    /// What was seen.
    pub what: String,
}

impl Violation {
    fn new(id: &'static str, what: String) -> Self {
        Self { id, what }
    }
}

/// I1: every accepted room is with an agent, waiting or over.
pub fn none_lost<'a>(
    accepted: impl IntoIterator<Item = &'a RoomId>,
    accounted_for: impl Fn(&RoomId) -> bool,
) -> Vec<Violation> {
    let lost = accepted.into_iter().filter(|room| !accounted_for(room));
    lost.map(|room| Violation::new("I1", format!("room {room} was accepted and is nowhere"))).collect()
}

/// I2: at most one agent per session. `applied` are the (room, session, agent) assignments the platform made for us.
pub fn one_agent_each<'a>(applied: impl IntoIterator<Item = (&'a RoomId, i64, AgentId)>) -> Vec<Violation> {
    let mut first: HashMap<(&RoomId, i64), AgentId> = HashMap::new();
    let mut violations = Vec::new();
    for (room, session, agent) in applied {
        let holder = *first.entry((room, session)).or_insert(agent);
        if holder != agent {
            violations.push(Violation::new("I2", format!("room {room} went to agents {holder} and {agent}")));
        }
    }
    violations
}

/// I2 in the ledger: a room has at most one open conversation. `open` are the rooms of all that are open.
#[must_use]
pub fn one_open_each<'a>(open: impl IntoIterator<Item = &'a RoomId>) -> Vec<Violation> {
    let mut times: BTreeMap<&RoomId, u32> = BTreeMap::new();
    open.into_iter().for_each(|room| *times.entry(room).or_default() += 1);
    let twice = times.into_iter().filter(|(_, times)| *times > 1);
    twice
        .map(|(room, times)| Violation::new("I2", format!("room {room} has {times} open conversations")))
        .collect()
}

/// I2 on the way: a call for `agent` goes out only when none for another agent may still land in the room's session.
/// `under_way` are the agents of those that may.
#[must_use]
pub fn one_call_each(
    room: &RoomId,
    agent: AgentId,
    under_way: impl IntoIterator<Item = AgentId>,
) -> Option<Violation> {
    let other = under_way.into_iter().find(|other| *other != agent)?;
    let what = format!("agent {agent} is put into room {room} while a call for agent {other} may still land");
    Some(Violation::new("I2", what))
}

/// I3: nobody above capacity. `highest` is the most each agent ever held through assignments of ours.
pub fn never_over_capacity(highest: &BTreeMap<AgentId, u32>, capacity: u32) -> Vec<Violation> {
    let over = highest.iter().filter(|(_, held)| **held > capacity);
    over.map(|(agent, held)| Violation::new("I3", format!("agent {agent} held {held} of {capacity}")))
        .collect()
}

/// I4: among conversations any agent could take, first come is first reserved. `reserved` are positions in the
/// order of their first reservations; zero is one that was adopted, never had a place and was given back. Returns one
/// violation per adjacent pair out of order.
#[must_use]
pub fn first_come_first_served(reserved: &[Seq]) -> Vec<Violation> {
    let placed: Vec<Seq> = reserved.iter().copied().filter(|place| place.0 != 0).collect();
    let inverted = placed.windows(2).filter(|pair| pair[0] > pair[1]);
    inverted
        .map(|pair| Violation::new("I4", format!("place {} was served before place {}", pair[0], pair[1])))
        .collect()
}

/// I5: at rest, what the ledger counts for each agent is what the platform says they serve.
#[must_use]
pub fn loads_agree(ledger: &BTreeMap<AgentId, u32>, platform: &BTreeMap<AgentId, u32>) -> Vec<Violation> {
    let held = |loads: &BTreeMap<AgentId, u32>, agent| loads.get(agent).copied().unwrap_or(0);
    let mut agents: Vec<&AgentId> = ledger.keys().chain(platform.keys()).collect();
    agents.sort();
    agents.dedup();
    let apart = agents.into_iter().filter(|agent| held(ledger, agent) != held(platform, agent));
    apart
        .map(|agent| {
            let (ours, theirs) = (held(ledger, agent), held(platform, agent));
            Violation::new("I5", format!("agent {agent}: ledger {ours}, platform {theirs}"))
        })
        .collect()
}

/// A slot that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// For which conversation.
    pub conversation: ConversationId,
    /// Its place in the order its queue is served by.
    pub place: (Timestamp, Seq),
    /// Whose.
    pub agent: AgentId,
    /// Slots they hold, this one among them.
    pub held: u32,
    /// Most they may hold. `None`: no limit.
    pub capacity: Option<u32>,
}

/// I3, one decision at a time: no slot was taken of an agent who thereby holds more than they may.
#[must_use]
pub fn taken_within_capacity(taken: &[Taken]) -> Vec<Violation> {
    let over = taken.iter().filter(|one| one.capacity.is_some_and(|capacity| one.held > capacity));
    over.map(|Taken { agent, held, capacity, conversation, .. }| {
        let most = capacity.unwrap_or(0);
        Violation::new("I3", format!("agent {agent} holds {held} of {most} with conversation {conversation}"))
    })
    .collect()
}

/// I4, one decision at a time: nobody who came earlier, and whom the agent could have served, still waits. `left` are the
/// conversations that wait after the decision.
pub fn none_overtaken(
    taken: &[Taken],
    left: &[(ConversationId, (Timestamp, Seq))],
    could_serve: impl Fn(AgentId, ConversationId) -> bool,
) -> Vec<Violation> {
    let mut violations = Vec::new();
    for one in taken {
        let earlier = left.iter().filter(|(id, place)| *place < one.place && could_serve(one.agent, *id));
        violations.extend(earlier.map(|(id, _)| {
            let Taken { agent, conversation, .. } = one;
            Violation::new("I4", format!("agent {agent} was given conversation {conversation} before {id}"))
        }));
    }
    violations
}

/// I6: nobody was given a conversation who was not to be given it. `why_not` says why, if so.
pub fn only_eligible<'a>(
    taken: &[Taken],
    why_not: impl Fn(AgentId, ConversationId) -> Option<&'a str>,
) -> Vec<Violation> {
    let bad = taken.iter().filter_map(|one| Some((one, why_not(one.agent, one.conversation)?)));
    bad.map(|(one, why)| {
        let Taken { agent, conversation, .. } = one;
        Violation::new("I6", format!("agent {agent} was given conversation {conversation}: {why}"))
    })
    .collect()
}

/// I7: a replay ends in the state the log ended in. States are (room, conversations still to be resolved).
#[must_use]
pub fn replay_agrees(once: &BTreeMap<RoomId, u32>, again: &BTreeMap<RoomId, u32>) -> Vec<Violation> {
    let open = |state: &BTreeMap<RoomId, u32>, room| state.get(room).copied().unwrap_or(0);
    let mut rooms: Vec<&RoomId> = once.keys().chain(again.keys()).collect();
    rooms.sort();
    rooms.dedup();
    let apart = rooms.into_iter().filter(|room| open(once, room) != open(again, room));
    apart
        .map(|room| {
            let (first, second) = (open(once, room), open(again, room));
            Violation::new("I7", format!("room {room}: {first} open, and {second} when replayed"))
        })
        .collect()
}

/// I8: nobody waits while somebody could serve them. `waiting` are rooms whose customers wait.
pub fn none_waits_in_vain<'a>(
    waiting: impl IntoIterator<Item = &'a RoomId>,
    who_could: impl Fn(&RoomId) -> Option<AgentId>,
) -> Vec<Violation> {
    let vain = waiting.into_iter().filter_map(|room| Some((room, who_could(room)?)));
    vain.map(|(room, agent)| Violation::new("I8", format!("room {room} waits, and agent {agent} has room")))
        .collect()
}

/// I9: as many sessions were closed in a room by resolves as were resolved there, and no agent's counter is apart from the
/// slots they hold. `rooms` are (room, closed in the ledger, resolved on the platform); `counters` are (agent, counted,
/// held).
pub fn one_decrement_each<'a>(
    rooms: impl IntoIterator<Item = (&'a RoomId, u32, u32)>,
    counters: impl IntoIterator<Item = (AgentId, u32, u32)>,
) -> Vec<Violation> {
    let rooms = rooms.into_iter().filter(|(_, closed, resolved)| closed > resolved);
    let rooms = rooms.map(|(room, closed, resolved)| {
        Violation::new("I9", format!("room {room}: {resolved} resolves closed {closed} served conversations"))
    });
    let counters = counters.into_iter().filter(|(_, counted, held)| counted != held);
    let counters = counters.map(|(agent, counted, held)| {
        Violation::new("I9", format!("agent {agent} is counted {counted} slots and holds {held}"))
    });
    rooms.chain(counters).collect()
}

/// I10: in every window of this length nobody was given more than the limit. `given` are ascending times for one agent and
/// inbox, without those that came to nothing.
#[must_use]
pub fn window_kept(agent: AgentId, given: &[Timestamp], rule: FairDistribution) -> Vec<Violation> {
    let most = usize::try_from(rule.limit).unwrap_or(usize::MAX);
    let bursts = given.windows(most.saturating_add(1).min(given.len() + 1));
    let over = bursts.filter(|burst| burst.len() > most && burst[most].since(burst[0]) < rule.window);
    over.map(|burst| {
        Violation::new("I10", format!("agent {agent} was given {} by {}", burst.len(), burst[most]))
    })
    .collect()
}

/// I13: a recorded decision, made again, chose the same agent.
#[must_use]
pub fn decided_again(id: ConversationId, was: AgentId, again: Option<AgentId>) -> Option<Violation> {
    (again != Some(was)).then(|| {
        let again = again.map_or_else(|| "nobody".to_owned(), |agent| format!("agent {agent}"));
        Violation::new("I13", format!("conversation {id} went to agent {was}, and again to {again}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(id: &str) -> RoomId {
        RoomId::parse(id).unwrap()
    }

    #[test]
    fn each_broken_promise_is_seen() {
        let (a, b) = (AgentId(1), AgentId(2));
        let r = room("7");
        assert_eq!(none_lost([&r], |_| false).len(), 1);
        assert_eq!(one_agent_each([(&r, 1, a), (&r, 1, b)]).len(), 1);
        assert_eq!(one_open_each([&r, &r]).len(), 1);
        assert_eq!(one_call_each(&r, a, [a, b]).map(|broken| broken.id), Some("I2"));
        assert_eq!(never_over_capacity(&BTreeMap::from([(a, 4)]), 3).len(), 1);
        assert_eq!(first_come_first_served(&[Seq(1), Seq(3), Seq(2)]).len(), 1);
        assert_eq!(loads_agree(&BTreeMap::from([(a, 1)]), &BTreeMap::from([(b, 1)])).len(), 2);
    }

    #[test]
    fn a_broken_promise_about_one_decision_is_seen() {
        let (a, id, at) = (AgentId(1), ConversationId(1), Timestamp::from_millis);
        let full = Taken { conversation: id, place: (at(5), Seq(2)), agent: a, held: 4, capacity: Some(3) };
        assert_eq!(taken_within_capacity(&[full]).len(), 1);
        let left = [(ConversationId(2), (at(5), Seq(1))), (ConversationId(3), (at(5), Seq(3)))];
        assert_eq!(none_overtaken(&[full], &left, |_, _| true).len(), 1);
        assert_eq!(none_overtaken(&[full], &left, |_, _| false), []);
        assert_eq!(only_eligible(&[full], |_, _| Some("offline")).len(), 1);
        assert_eq!(decided_again(id, a, None).map(|broken| broken.id), Some("I13"));
        assert_eq!(decided_again(id, a, Some(a)), None);
        let rule = FairDistribution { limit: 2, window: std::time::Duration::from_millis(10) };
        assert_eq!(window_kept(a, &[at(1), at(2), at(10)], rule).len(), 1);
        assert_eq!(window_kept(a, &[at(1), at(2), at(11)], rule), []);
        assert_eq!(window_kept(a, &[], rule), []);
    }

    #[test]
    fn a_broken_promise_about_an_end_is_seen() {
        let (a, r) = (AgentId(1), room("7"));
        let (one, none) = (BTreeMap::from([(r.clone(), 1)]), BTreeMap::new());
        assert_eq!(replay_agrees(&one, &none).len(), 1);
        assert_eq!(replay_agrees(&one, &one), []);
        assert_eq!(none_waits_in_vain([&r], |_| Some(a)).len(), 1);
        assert_eq!(none_waits_in_vain([&r], |_| None), []);
        assert_eq!(one_decrement_each([(&r, 2, 1)], [(a, 1, 0)]).len(), 2);
        assert_eq!(one_decrement_each([(&r, 1, 1)], [(a, 1, 1)]), []);
    }

    #[test]
    fn a_kept_promise_raises_nothing() {
        let a = AgentId(1);
        let r = room("7");
        assert_eq!(none_lost([&r], |_| true), []);
        assert_eq!(one_agent_each([(&r, 1, a), (&r, 2, AgentId(2)), (&r, 1, a)]), []);
        assert_eq!(one_open_each([&r, &room("8")]), []);
        assert_eq!(one_call_each(&r, a, [a]), None);
        assert_eq!(never_over_capacity(&BTreeMap::from([(a, 3)]), 3), []);
        assert_eq!(first_come_first_served(&[Seq(1), Seq(2), Seq(0), Seq(9)]), []);
        assert_eq!(loads_agree(&BTreeMap::from([(a, 0)]), &BTreeMap::new()), []);
    }
}
