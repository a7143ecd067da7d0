//! What must always hold, as functions over histories and final states.
//!
//! Used by tests and by the demo's verdict. The numbers are those of the README's promises.

use std::collections::{BTreeMap, HashMap};

use crate::{AgentId, RoomId, Seq};

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

/// I3: nobody above capacity. `highest` is the most each agent ever held through assignments of ours.
pub fn never_over_capacity(highest: &BTreeMap<AgentId, u32>, capacity: u32) -> Vec<Violation> {
    let over = highest.iter().filter(|(_, held)| **held > capacity);
    over.map(|(agent, held)| Violation::new("I3", format!("agent {agent} held {held} of {capacity}")))
        .collect()
}

/// I4: among conversations any agent could take, first come is first reserved. `reserved` are positions in the
/// order of their first reservations. Returns one violation per adjacent pair out of order.
#[must_use]
pub fn first_come_first_served(reserved: &[Seq]) -> Vec<Violation> {
    let inverted = reserved.windows(2).filter(|pair| pair[0] > pair[1]);
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
        assert_eq!(never_over_capacity(&BTreeMap::from([(a, 4)]), 3).len(), 1);
        assert_eq!(first_come_first_served(&[Seq(1), Seq(3), Seq(2)]).len(), 1);
        assert_eq!(loads_agree(&BTreeMap::from([(a, 1)]), &BTreeMap::from([(b, 1)])).len(), 2);
    }

    #[test]
    fn a_kept_promise_raises_nothing() {
        let a = AgentId(1);
        let r = room("7");
        assert_eq!(none_lost([&r], |_| true), []);
        assert_eq!(one_agent_each([(&r, 1, a), (&r, 2, AgentId(2)), (&r, 1, a)]), []);
        assert_eq!(never_over_capacity(&BTreeMap::from([(a, 3)]), 3), []);
        assert_eq!(first_come_first_served(&[Seq(1), Seq(2), Seq(9)]), []);
        assert_eq!(loads_agree(&BTreeMap::from([(a, 0)]), &BTreeMap::new()), []);
    }
}
