//! What the platform's ledger and ours say at rest, and the promises read off them.

use std::collections::{BTreeMap, BTreeSet};

use sebastian_core::{
    AgentId, RoomId, Seq,
    invariants::{self, Violation},
};

/// One look at both ledgers.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Rooms whose webhook was accepted.
    pub accepted: Vec<RoomId>,
    /// Assignments the platform made for us, in its order: room, session, agent.
    pub applied: Vec<(RoomId, i64, AgentId)>,
    /// Sessions that are over on the platform.
    pub resolved: BTreeSet<RoomId>,
    /// Rooms that wait in our ledger, and the agents the platform refused for each.
    pub waiting: BTreeMap<RoomId, Vec<AgentId>>,
    /// Places in the order of their first reservations.
    pub reserved: Vec<Seq>,
    /// Reservations nobody has settled, and events nobody has folded.
    pub unfinished: u64,
    /// Open conversations an agent holds: by our ledger's counters, and on the platform.
    pub loads: (BTreeMap<AgentId, u32>, BTreeMap<AgentId, u32>),
    /// The most each agent ever held.
    pub highest: BTreeMap<AgentId, u32>,
    /// Most each may hold.
    pub capacity: u32,
}

impl History {
    /// Every promise that does not hold. At rest there are none.
    pub fn violations(&self) -> Vec<Violation> {
        let (ours, theirs) = &self.loads;
        let served: BTreeSet<&RoomId> = self.applied.iter().map(|(room, ..)| room).collect();
        let accounted_for = |room: &RoomId| {
            served.contains(room) || self.resolved.contains(room) || self.waiting.contains_key(room)
        };
        let room_left = |agent: &AgentId| theirs.get(agent).copied().unwrap_or(0) < self.capacity;
        let could = |room: &RoomId| {
            let refused = &self.waiting[room];
            self.highest.keys().copied().find(|agent| room_left(agent) && !refused.contains(agent))
        };
        let applied = self.applied.iter().map(|(room, session, agent)| (room, *session, *agent));
        [
            invariants::none_lost(&self.accepted, accounted_for),
            invariants::one_agent_each(applied),
            invariants::never_over_capacity(&self.highest, self.capacity),
            invariants::first_come_first_served(&self.reserved),
            invariants::loads_agree(ours, theirs),
            invariants::none_waits_in_vain(self.waiting.keys(), could),
        ]
        .concat()
    }

    /// `Err` says what is still under way or broken.
    pub fn at_rest(&self) -> Result<(), String> {
        let violations = self.violations();
        if self.unfinished == 0 && violations.is_empty() {
            return Ok(());
        }
        Err(format!("{} unfinished, {violations:?}", self.unfinished))
    }
}

fn room(n: u32) -> RoomId {
    RoomId::parse(&n.to_string()).unwrap()
}

/// Two agents with room for one each; one chat served, one resolved, one waiting because its only free agent was refused.
fn kept() -> History {
    let (ana, budi) = (AgentId(1), AgentId(2));
    let loads = BTreeMap::from([(ana, 1)]);
    History {
        accepted: vec![room(1), room(2), room(3)],
        applied: vec![(room(1), 1, budi), (room(2), 2, ana)],
        resolved: BTreeSet::from([room(1)]),
        waiting: BTreeMap::from([(room(3), vec![budi])]),
        reserved: vec![Seq(1), Seq(2)],
        unfinished: 0,
        loads: (loads.clone(), loads),
        highest: BTreeMap::from([(ana, 1), (budi, 1)]),
        capacity: 1,
    }
}

#[test]
fn a_kept_history_raises_nothing() {
    assert_eq!(kept().at_rest(), Ok(()));
}

#[test]
fn each_promise_broken_in_a_doctored_history_is_reported_by_its_number() {
    type Doctor = fn(&mut History);
    let doctored: [(&str, Doctor); 8] = [
        ("I1", |history| drop(history.waiting.remove(&room(3)))),
        ("I2", |history| history.applied.push((room(2), 2, AgentId(2)))),
        ("I3", |history| *history.highest.get_mut(&AgentId(2)).unwrap() = 2),
        ("I4", |history| history.reserved.reverse()),
        ("I5", |history| history.loads.0.clear()),
        ("I5", |history| history.loads.1.extend([(AgentId(2), 1)])),
        ("I8", |history| history.waiting.values_mut().for_each(Vec::clear)),
        ("1 unfinished", |history| history.unfinished = 1),
    ];
    for (id, doctor) in doctored {
        let mut history = kept();
        doctor(&mut history);
        let report = history.at_rest().expect_err(id);
        assert!(report.contains(id), "{id}: {report}");
    }
}
