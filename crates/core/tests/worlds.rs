//! Small desks with everything that can be set, known, unknown or wrong about them, for properties of `decide`.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    time::Duration,
};

use proptest::{collection::vec, prelude::*};
use sebastian_core::{
    Agent, AgentId, AgentLoad, Answers, CapacityPolicyId, ConversationId, Decision, FairDistribution, Head,
    InboxId, InboxLimitId, Label, LeaveId, Outcome, Policy, PolicyId, Presence, Preset, QueueKey, RateWindow,
    Role, Roster, Rotation, Rulebook, Snapshot, Strategy as Choice, TeamId, Timestamp, Traits, decide,
    rulebook::{
        AgentRules, AssignmentPolicy, CapacityPolicy, Day, ExclusionRules, InboxLimit, InboxRules, Leave,
        LeaveStatus, Overrides, Paused, Team,
    },
};

use crate::support::*;

pub const INBOXES: [InboxId; 3] = [InboxId(7), InboxId(8), InboxId(9)];
pub const STRATEGIES: [Choice; 7] = [
    Choice::Balanced,
    Choice::RoundRobin,
    Choice::LeastLoaded,
    Choice::LongestIdle,
    Choice::FirstFit,
    Choice::Random,
    Choice::Platform,
];
const AGENTS: Range<i64> = 1..7;
/// 14 November 2023, the day of [`NOW`] in UTC.
pub const TODAY: i32 = 19_675;

/// A decision to make, and the account's default.
#[derive(Debug, Clone, PartialEq)]
pub struct World {
    pub snapshot: Snapshot,
    pub policy: Policy,
}

/// A world under any rules.
pub fn a_world() -> impl Strategy<Value = World> {
    // Zeros build the plainest world, so that is what a failure shrinks to.
    vec(any::<u8>(), 200..600).prop_map(|bytes| Dice(bytes.into_iter()).world())
}

/// A world in which no operator has set anything.
pub fn a_plain_world() -> impl Strategy<Value = World> {
    a_world().prop_map(|mut world| {
        world.snapshot.rules = Rulebook::default().into();
        world.policy =
            Policy { capacity: world.policy.capacity, strategy: world.policy.strategy, ..Policy::default() };
        world.snapshot.waiting.iter_mut().for_each(|head| head.traits.team = None);
        world
    })
}

/// Where a world comes from. Out of bytes, everything is nought.
struct Dice(std::vec::IntoIter<u8>);

impl Dice {
    fn roll(&mut self) -> i64 {
        i64::from(self.0.next().unwrap_or(0))
    }

    fn within(&mut self, range: Range<i64>) -> i64 {
        range.start + self.roll() % (range.end - range.start)
    }

    fn count(&mut self, below: u32) -> u32 {
        self.within(0..i64::from(below)) as u32
    }

    /// True once in so many times.
    fn once_in(&mut self, times: i64) -> bool {
        self.roll() % times == times - 1
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.roll() as usize % from.len()]
    }

    /// Something, once in so many times.
    fn seldom<T>(&mut self, times: i64, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.once_in(times).then(|| make(self))
    }

    fn some_of<T: Copy + Ord>(&mut self, from: impl IntoIterator<Item = T>) -> BTreeSet<T> {
        let mask = self.roll();
        from.into_iter().enumerate().filter(|(n, _)| mask >> n & 1 == 1).map(|(_, one)| one).collect()
    }

    fn instant(&mut self) -> Timestamp {
        let halves = self.within(-20..20);
        Timestamp::from_millis(NOW.as_millis() + halves * 1_800_000)
    }

    fn agent_id(&mut self) -> AgentId {
        AgentId(self.within(AGENTS))
    }

    fn agent(&mut self, id: i64) -> Agent {
        Agent {
            role: if self.once_in(12) { Role::Supervisor } else { Role::Agent },
            presence: match self.roll() % 16 {
                14 => Presence::Away,
                15 => Presence::AwayManual,
                _ => Presence::Online,
            },
            forced_offline: self.once_in(20),
            inboxes: if self.once_in(20) {
                None
            } else {
                Some(if self.once_in(3) {
                    self.some_of(INBOXES).into_iter().collect()
                } else {
                    INBOXES.to_vec()
                })
            },
            reported_load: if self.once_in(20) { None } else { Some(self.count(3)) },
            listed: self.once_in(3),
            online_since: self.seldom(2, Self::instant),
            ..agent(id)
        }
    }

    fn load(&mut self, id: AgentId) -> AgentLoad {
        AgentLoad {
            agent: id,
            open: self.count(4),
            closed_recently: self.count(2),
            put_off: self.count(2),
            shift: self.seldom(2, Self::instant),
            shift_assignments: self.count(5),
            last_assigned_at: self.seldom(2, Self::instant),
        }
    }

    fn labels(&mut self) -> BTreeSet<Label> {
        self.some_of(0..2).into_iter().map(|n| label(["vip", "spam"][n])).collect()
    }

    fn head(&mut self, n: i64) -> Head {
        let refused: BTreeMap<_, _> =
            (0..self.count(5).saturating_sub(2)).map(|_| (self.agent_id(), self.instant())).collect();
        // The third team does not exist.
        let team = self.pick(&[0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 3]);
        Head {
            inbox: if self.once_in(10) { None } else { Some(self.pick(&INBOXES)) },
            traits: Traits {
                labels: if self.once_in(3) { self.labels() } else { BTreeSet::new() },
                team: (team > 0).then_some(TeamId(team)),
                ..Traits::default()
            },
            last_activity_at: NOW - SECOND * 1_800 * self.count(6),
            refused: refused.into_iter().collect(),
            ..head(n)
        }
    }

    fn paused(&mut self) -> Paused {
        Paused { since: NOW - SECOND, until: self.seldom(2, Self::instant), reason: None }
    }

    fn fair(&mut self) -> FairDistribution {
        FairDistribution { limit: 1 + self.count(4), window: SECOND * self.pick(&[60, 300]) }
    }

    fn hours(&mut self) -> u32 {
        self.count(3)
    }

    fn assignment_policy(&mut self) -> AssignmentPolicy {
        AssignmentPolicy {
            enabled: !self.once_in(15),
            strategy: self.pick(&STRATEGIES),
            fair_distribution: self.seldom(2, Self::fair),
            exclude_older_than_hours: self.seldom(3, Self::hours),
            capacity: self.seldom(3, |dice| dice.count(6)),
            seed: self.roll() as u64,
            ..assignment_policy("any")
        }
    }

    fn capacity_policy(&mut self, id: i64) -> CapacityPolicy {
        let limited = self.some_of(INBOXES);
        let limits = (id * 10..).zip(limited).map(|(number, inbox)| InboxLimit {
            id: InboxLimitId(number),
            inbox,
            limit: self.count(4),
        });
        CapacityPolicy {
            inbox_limits: limits.collect(),
            total_limit: self.seldom(3, |dice| dice.count(6)),
            exclusion_rules: ExclusionRules {
                excluded_labels: if self.once_in(2) {
                    self.labels().into_iter().collect()
                } else {
                    Vec::new()
                },
                exclude_older_than_hours: self.seldom(3, Self::hours),
            },
            ..capacity_policy("any")
        }
    }

    fn inbox_rules(&mut self) -> InboxRules {
        InboxRules {
            manual: self.once_in(15),
            policy: self.seldom(2, |dice| PolicyId(dice.within(1..4))),
            overrides: Overrides {
                strategy: self.seldom(5, |dice| dice.pick(&STRATEGIES)),
                order: None,
                fair_distribution: self.seldom(5, Self::fair),
                max_assignment_limit: self.seldom(5, |dice| dice.count(4)),
            },
            paused: self.seldom(15, Self::paused),
        }
    }

    fn agent_rules(&mut self) -> AgentRules {
        AgentRules {
            capacity_policy: self.seldom(2, |dice| CapacityPolicyId(dice.within(1..4))),
            capacity: self.seldom(6, |dice| dice.count(6)),
            weight: if self.once_in(2) { self.count(4) } else { 1 },
            paused: self.seldom(8, Self::paused),
            reassigns: false,
        }
    }

    fn leave(&mut self) -> Leave {
        let start = TODAY + self.within(-2..2) as i32;
        Leave {
            end: Day(start + self.count(3) as i32),
            start: Day(start),
            utc_offset_minutes: self.pick(&[0, 420, -480, 345]),
            status: self.pick(&[LeaveStatus::Approved, LeaveStatus::Approved, LeaveStatus::Pending]),
            ..leave(self.agent_id())
        }
    }

    fn rulebook(&mut self) -> Rulebook {
        Rulebook {
            version: 3,
            paused: self.seldom(30, Self::paused),
            inboxes: INBOXES
                .into_iter()
                .filter_map(|id| Some((id, self.seldom(2, Self::inbox_rules)?)))
                .collect(),
            teams: (1..3)
                .map(|id| {
                    let members = self.some_of(AGENTS.map(AgentId));
                    let (manual, capacity) = (self.once_in(8), self.seldom(3, |dice| dice.count(6)));
                    (TeamId(id), Team { allow_auto_assign: !manual, capacity, ..team(members) })
                })
                .collect(),
            agents: AGENTS.filter_map(|id| Some((AgentId(id), self.seldom(2, Self::agent_rules)?))).collect(),
            assignment_policies: (1..3).map(|id| (PolicyId(id), self.assignment_policy())).collect(),
            capacity_policies: (1..3).map(|id| (CapacityPolicyId(id), self.capacity_policy(id))).collect(),
            leaves: (0..self.count(6).saturating_sub(3))
                .map(|id| (LeaveId(i64::from(id)), self.leave()))
                .collect(),
            ..Rulebook::default()
        }
    }

    fn policy(&mut self) -> Policy {
        let preset = self.pick(&[
            Preset::Sebastian,
            Preset::Sebastian,
            Preset::Chatwoot,
            Preset::Libredesk,
            Preset::QiscusOriginal,
        ]);
        let asis = self.once_in(3);
        let policy = Policy { capacity: Some(1 + self.count(5)), ..Policy::of(preset) };
        if asis {
            return Policy::of(preset);
        }
        Policy {
            strategy: self.pick(&STRATEGIES),
            capacity: if self.once_in(6) { None } else { policy.capacity },
            fair_distribution: self.seldom(4, Self::fair),
            exclude_older_than: self.seldom(6, |dice| Duration::from_secs(2_700 * u64::from(dice.count(4)))),
            deals_without_team: !self.once_in(6),
            ..policy
        }
    }

    fn rotation(&mut self) -> Rotation {
        let mut agents: Vec<i64> = self.some_of(1..9).into_iter().collect();
        if self.once_in(2) {
            agents.reverse();
        }
        Rotation::from_stored(agents.into_iter().map(|id| (AgentId(id), self.within(-9..9))))
    }

    fn answers(&mut self, waiting: &[Head]) -> Answers {
        let mut answers = Answers::default();
        for head in waiting {
            if self.once_in(6) {
                let told = (0..self.count(4)).map(|_| {
                    let reported_load = if self.once_in(5) { None } else { Some(self.count(4)) };
                    Agent { reported_load, ..agent(self.within(AGENTS)) }
                });
                answers.agents.insert(head.room.clone(), told.collect());
            }
            if self.once_in(2) {
                let proposed = if self.once_in(5) { None } else { Some(self.agent_id()) };
                answers.proposed.insert(head.room.clone(), proposed);
            }
        }
        answers
    }

    fn world(&mut self) -> World {
        let policy = self.policy();
        let rules = if self.once_in(5) { Rulebook::default() } else { self.rulebook() };
        let agents: Vec<Agent> = (1..=self.within(0..7)).map(|id| self.agent(id)).collect();
        let loads: BTreeMap<_, _> = agents
            .iter()
            .filter_map(|agent| self.seldom(2, |dice| (agent.id, dice.load(agent.id))))
            .collect();
        let mut waiting: Vec<Head> = (1..=self.within(0..9)).map(|n| self.head(n)).collect();
        if rules == Rulebook::default() {
            waiting.iter_mut().for_each(|head| head.traits.team = None);
        }
        let inboxes = || INBOXES.into_iter().map(Some).chain([None]);
        let places = || inboxes().flat_map(|inbox| AGENTS.map(move |id| (inbox, AgentId(id))));
        let mut inbox_loads = BTreeMap::new();
        let mut windows = BTreeMap::new();
        for place in places() {
            if self.once_in(4) {
                inbox_loads.insert(place, self.count(4));
                let ages = (0..self.count(4)).map(|_| NOW - SECOND * 30 * self.count(12));
                windows.insert(place, RateWindow::from_stored(ages.zip((1_000..).map(ConversationId))));
            }
        }
        let mut rotations = BTreeMap::new();
        for inbox in inboxes() {
            for team in [None, Some(TeamId(1))] {
                if self.once_in(3) {
                    rotations.insert(QueueKey { inbox, team }, self.rotation());
                }
            }
        }
        let age = if self.once_in(30) { 61 } else { self.count(61) };
        let snapshot = Snapshot {
            answers: self.answers(&waiting).into(),
            limit: if self.once_in(4) { self.count(9) } else { u32::MAX },
            roster: Roster::new(1, NOW - SECOND * age, agents).into(),
            loads,
            inbox_loads,
            windows,
            waiting,
            rotations,
            rules: rules.into(),
        };
        World { snapshot, policy }
    }
}

pub fn decided(world: &World) -> Vec<Decision> {
    decide(&world.snapshot, &world.policy, NOW)
}

pub fn outcomes_of(world: &World) -> Vec<Outcome> {
    decided(world).into_iter().map(|decision| decision.outcome).collect()
}

pub fn reserved(outcome: Outcome) -> Option<AgentId> {
    match outcome {
        Outcome::Reserve { agent, .. } => Some(agent),
        Outcome::Pass | Outcome::Ask | Outcome::Park(_) => None,
    }
}
