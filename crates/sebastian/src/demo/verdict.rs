//! The verdict: every promise of the product, judged over the platform's own ledger and ours.
//!
//! The platform wrote its ledger where things took effect, so no lost reply and no lagging list can mislead the judge.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::{Duration, Instant},
};

use sebastian_core::{
    AgentId, RoomId, Seq,
    invariants::{self, Violation},
};
use sebastian_platform::simulated::{Applied, By, Change, State};

use super::{
    desk::{Desk, Lag, SWITCH_NOTICED_WITHIN, Standing},
    play::{Ended, Notes, Play},
};
use crate::failure::Failure;

/// More first reservations than any play makes.
const RESERVATIONS_MAX: u32 = 1_000_000;

/// The one finding that is no numbered promise.
pub(crate) const REST: &str = "rest";

/// What a verdict rests on.
pub(crate) struct Evidence {
    pub ended: Ended,
    pub capacity: u32,
    /// What people did by hand is known to us after this.
    pub gift_noticed_within: Duration,
    pub applied: Vec<Applied>,
    pub notes: Notes,
    /// Positions in the order of their first reservations.
    pub first_reservations: Vec<Seq>,
    /// Rooms the ledger knows, of those that ever held a session.
    pub known: BTreeSet<RoomId>,
    pub ledger: Standing,
    /// Open rooms by agent, the platform's truth.
    pub platform_loads: BTreeMap<AgentId, u32>,
}

/// One promise and whether it held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub id: &'static str,
    pub promise: &'static str,
    /// What was counted.
    pub figure: String,
    pub violations: Vec<Violation>,
}

impl Finding {
    pub fn holds(&self) -> bool {
        self.violations.is_empty()
    }
}

impl Evidence {
    /// Reads both ledgers.
    pub async fn gather(desk: &Desk, play: &Play, lag: Lag, ended: Ended) -> Result<Self, Failure> {
        let applied = desk.platform.applied();
        let notes = play.notes().clone();
        let mut known = BTreeSet::new();
        for room in sessions(&applied).into_iter().map(|session| session.room) {
            if let Ok(room) = RoomId::parse(room)
                && desk.store.latest_in(desk.account, &room).await?.is_some()
            {
                known.insert(room);
            }
        }
        let loads = |state: &State| state.agents().map(|agent| (agent.id, state.load(agent.id))).collect();
        Ok(Self {
            ended,
            capacity: play.script.capacity,
            gift_noticed_within: lag.gift_noticed_within(),
            notes,
            first_reservations: desk.store.first_reservations(desk.account, RESERVATIONS_MAX).await?,
            known,
            ledger: desk.standing().await?,
            platform_loads: desk.platform.read(loads),
            applied,
        })
    }

    /// Judges every promise.
    pub fn judge(&self) -> Vec<Finding> {
        vec![
            self.rest(),
            self.none_lost(),
            self.one_agent_each(),
            self.never_over_capacity(),
            self.first_come_first_served(),
            self.loads_agree(),
            self.nobody_on_a_break(),
        ]
    }

    fn rest(&self) -> Finding {
        let open = sessions(&self.applied).into_iter().filter(|session| !session.over);
        let open: Vec<&str> = open.map(|session| session.room).collect();
        let mut violations = Vec::new();
        if self.ended == Ended::Stalled {
            let counts = self.ledger.counts;
            let what =
                format!("nothing moves any more; open at the platform: {open:?}; in the ledger: {counts:?}");
            violations.push(Violation { id: REST, what });
        }
        Finding {
            id: REST,
            promise: "the desk comes to rest",
            figure: format!("{} chats open, {} of them waiting", open.len(), self.ledger.counts.waiting),
            violations,
        }
    }

    /// Stricter than what was accepted: whoever wrote was served, webhook or not.
    fn none_lost(&self) -> Finding {
        let sessions = sessions(&self.applied);
        let rooms: Vec<(RoomId, bool)> = sessions
            .iter()
            .filter_map(|session| Some((RoomId::parse(session.room).ok()?, session.served)))
            .collect();
        let unserved: BTreeSet<&RoomId> =
            rooms.iter().filter(|(_, served)| !served).map(|(room, _)| room).collect();
        let accounted_for = |room: &RoomId| !unserved.contains(room) && self.known.contains(room);
        let served = rooms.iter().filter(|(_, served)| *served).count();
        Finding {
            id: "I1",
            promise: "no chat is lost",
            figure: format!("{served} of {} served", rooms.len()),
            violations: invariants::none_lost(rooms.iter().map(|(room, _)| room), accounted_for),
        }
    }

    fn one_agent_each(&self) -> Finding {
        let ours = self.applied.iter().filter_map(|applied| match applied.change {
            Change::Assigned { agent, by: By::Api, .. } => {
                Some((RoomId::parse(&applied.room).ok()?, applied.service, agent))
            }
            _ => None,
        });
        let ours: Vec<(RoomId, i64, AgentId)> = ours.collect();
        Finding {
            id: "I2",
            promise: "at most one agent for each chat",
            figure: format!("{} assignments", ours.len()),
            violations: invariants::one_agent_each(
                ours.iter().map(|(room, service, agent)| (room, *service, *agent)),
            ),
        }
    }

    fn never_over_capacity(&self) -> Finding {
        let highest = highest_by_us(&self.applied, self.gift_noticed_within);
        let most = highest.values().max().copied().unwrap_or_default();
        Finding {
            id: "I3",
            promise: "we take nobody above capacity",
            figure: format!("at most {most} of {}", self.capacity),
            violations: invariants::never_over_capacity(&highest, self.capacity),
        }
    }

    /// Every agent serves every channel, so all chats stand in one line.
    fn first_come_first_served(&self) -> Finding {
        Finding {
            id: "I4",
            promise: "first come, first served",
            figure: format!("{} places in line", self.first_reservations.len()),
            violations: invariants::first_come_first_served(&self.first_reservations),
        }
    }

    fn loads_agree(&self) -> Finding {
        let open: u32 = self.platform_loads.values().sum();
        Finding {
            id: "I5",
            promise: "our count is the platform's",
            figure: format!("{} people, {open} chats open", self.platform_loads.len()),
            violations: invariants::loads_agree(&self.ledger.loads, &self.platform_loads),
        }
    }

    fn nobody_on_a_break(&self) -> Finding {
        let breaks = self.notes.presence.values().flatten().filter(|(_, online)| !online).count();
        let known_away = |agent: AgentId, at: Instant| {
            let turns = self.notes.presence.get(&agent);
            let last = turns.and_then(|turns| turns.iter().rfind(|(when, _)| *when <= at));
            last.is_some_and(|(when, online)| !online && at.duration_since(*when) > SWITCH_NOTICED_WITHIN)
        };
        let given = self.applied.iter().filter_map(|applied| match applied.change {
            Change::Assigned { agent, by: By::Api, online: false, .. } if known_away(agent, applied.at) => {
                let what = format!("room {} went to agent {agent}, who was on a break", applied.room);
                Some(Violation { id: "I6", what })
            }
            _ => None,
        });
        Finding {
            id: "I6",
            promise: "nobody on a break is given a chat",
            figure: format!("{breaks} breaks"),
            violations: given.collect(),
        }
    }
}

/// What became of one session at the platform.
struct Session<'a> {
    room: &'a str,
    served: bool,
    over: bool,
}

/// Every session, in the order they opened.
fn sessions(applied: &[Applied]) -> Vec<Session<'_>> {
    let mut sessions: Vec<Session<'_>> = Vec::new();
    let mut by_service: HashMap<i64, usize> = HashMap::new();
    for Applied { room, service, change, .. } in applied {
        if matches!(change, Change::Opened { .. }) {
            by_service.insert(*service, sessions.len());
            sessions.push(Session { room, served: false, over: false });
        }
        let Some(session) = by_service.get(service).and_then(|index| sessions.get_mut(*index)) else {
            continue;
        };
        match change {
            Change::Opened { .. } | Change::Transferred { .. } | Change::Removed { .. } => {}
            Change::Assigned { .. } => session.served = true,
            Change::Resolved { .. } => session.over = true,
        }
    }
    sessions
}

/// The most each agent held right after an assignment of ours.
///
/// What people give an agent by hand counts as soon as we can have noticed it; before that it is their choice, not ours.
fn highest_by_us(applied: &[Applied], noticed_within: Duration) -> BTreeMap<AgentId, u32> {
    let mut highest: BTreeMap<AgentId, u32> = BTreeMap::new();
    let mut gifts: BTreeMap<AgentId, HashMap<i64, Instant>> = BTreeMap::new();
    for Applied { at, service, change, .. } in applied {
        match change {
            Change::Assigned { agent, by: By::Api, load, .. } => {
                let fresh = gifts.get(agent).map_or(0, |gifts| count_fresh(gifts, *at, noticed_within));
                let most = highest.entry(*agent).or_default();
                *most = (*most).max(load.saturating_sub(fresh));
            }
            Change::Assigned { agent, by: By::Dashboard, .. } | Change::Transferred { to: agent, .. } => {
                take_back(&mut gifts, *service);
                gifts.entry(*agent).or_default().insert(*service, *at);
            }
            Change::Opened { .. } => {}
            Change::Removed { .. } | Change::Resolved { .. } => take_back(&mut gifts, *service),
        }
    }
    highest
}

fn take_back(gifts: &mut BTreeMap<AgentId, HashMap<i64, Instant>>, service: i64) {
    for gifts in gifts.values_mut() {
        gifts.remove(&service);
    }
}

fn count_fresh(gifts: &HashMap<i64, Instant>, at: Instant, noticed_within: Duration) -> u32 {
    let is_fresh = |given: &&Instant| at.duration_since(**given) <= noticed_within;
    u32::try_from(gifts.values().filter(is_fresh).count()).unwrap_or(u32::MAX)
}

/// Whether the play ended as it should.
pub(crate) fn all_hold(findings: &[Finding]) -> bool {
    findings.iter().all(Finding::holds)
}

#[cfg(test)]
mod tests {
    use sebastian_store::Counts;

    use super::*;

    const NOTICED: Duration = Duration::from_secs(3);
    const ONE: AgentId = AgentId(1);
    const TWO: AgentId = AgentId(2);

    /// A history told by (millisecond, session, change); session n is held in room n.
    fn history(told: Vec<(u64, i64, Change)>) -> Vec<Applied> {
        let began = Instant::now();
        let change = |(ms, service, change): (u64, i64, Change)| Applied {
            seq: 0,
            at: began + Duration::from_millis(ms),
            room: service.to_string().into(),
            service,
            change,
        };
        told.into_iter().map(change).collect()
    }

    fn opened() -> Change {
        Change::Opened { channel: None }
    }

    fn assigned(agent: AgentId, by: By, load: u32) -> Change {
        Change::Assigned { agent, by, load, online: true }
    }

    fn resolved(agent: AgentId) -> Change {
        Change::Resolved { by: agent, served_by: vec![agent] }
    }

    /// One chat that was served and is over.
    fn evidence() -> Evidence {
        let applied =
            history(vec![(0, 1, opened()), (5, 1, assigned(ONE, By::Api, 1)), (90, 1, resolved(ONE))]);
        Evidence {
            ended: Ended::AtRest,
            capacity: 1,
            gift_noticed_within: NOTICED,
            applied,
            notes: Notes::default(),
            first_reservations: vec![Seq(1)],
            known: BTreeSet::from([RoomId::parse("1").unwrap()]),
            ledger: Standing { counts: Counts::default(), loads: BTreeMap::new() },
            platform_loads: BTreeMap::new(),
        }
    }

    fn broken(evidence: &Evidence) -> Vec<&'static str> {
        let findings = evidence.judge();
        assert_eq!(all_hold(&findings), findings.iter().all(|finding| finding.violations.is_empty()));
        findings.iter().filter(|finding| !finding.holds()).map(|finding| finding.id).collect()
    }

    #[test]
    fn an_hour_in_which_all_went_well_breaks_nothing() {
        assert_eq!(broken(&evidence()), [""; 0]);
    }

    #[test]
    fn each_broken_promise_is_seen() {
        let stalled = Evidence { ended: Ended::Stalled, ..evidence() };
        assert_eq!(broken(&stalled), ["rest"]);

        let unknown = Evidence { known: BTreeSet::new(), ..evidence() };
        assert_eq!(broken(&unknown), ["I1"]);

        let unserved = Evidence { applied: history(vec![(0, 1, opened())]), ..evidence() };
        assert_eq!(broken(&unserved), ["I1"]);

        let twice =
            vec![(0, 1, opened()), (1, 1, assigned(ONE, By::Api, 1)), (2, 1, assigned(TWO, By::Api, 1))];
        assert_eq!(broken(&Evidence { applied: history(twice), ..evidence() }), ["I2"]);

        let overloaded = vec![(0, 1, opened()), (5, 1, assigned(ONE, By::Api, 2))];
        assert_eq!(broken(&Evidence { applied: history(overloaded), ..evidence() }), ["I3"]);

        let inverted = Evidence { first_reservations: vec![Seq(2), Seq(1)], ..evidence() };
        assert_eq!(broken(&inverted), ["I4"]);

        let apart = Evidence { platform_loads: BTreeMap::from([(TWO, 1)]), ..evidence() };
        assert_eq!(broken(&apart), ["I5"]);
    }

    #[test]
    fn a_break_counts_once_it_can_have_been_noticed() {
        let away = Change::Assigned { agent: ONE, by: By::Api, load: 1, online: false };
        let noticed = u64::try_from(SWITCH_NOTICED_WITHIN.as_millis()).unwrap();
        for (ms, breaks) in [(noticed, &[][..]), (noticed + 1, &["I6"])] {
            let mut evidence = evidence();
            evidence.applied = history(vec![(0, 1, opened()), (ms, 1, away.clone())]);
            evidence.notes.presence.insert(ONE, vec![(evidence.applied[0].at, false)]);
            assert_eq!(broken(&evidence), breaks);
        }
    }

    #[test]
    fn a_gift_of_people_counts_once_it_can_have_been_noticed() {
        let noticed = u64::try_from(NOTICED.as_millis()).unwrap();
        for (ms, most) in [(noticed, 1), (noticed + 1, 2)] {
            let gift = (0, 7, assigned(ONE, By::Dashboard, 1));
            let told = vec![gift.clone(), (ms, 8, assigned(ONE, By::Api, 2))];
            assert_eq!(highest_by_us(&history(told), NOTICED)[&ONE], most);
        }
        let gone = vec![
            (0, 7, assigned(ONE, By::Dashboard, 1)),
            (1, 7, Change::Transferred { from: ONE, to: TWO, by: By::Dashboard }),
            (2, 8, assigned(ONE, By::Api, 1)),
            (3, 9, assigned(TWO, By::Api, 2)),
        ];
        assert_eq!(highest_by_us(&history(gone), NOTICED), BTreeMap::from([(ONE, 1), (TWO, 1)]));
    }
}
