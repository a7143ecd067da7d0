//! `decide` against a naive model of itself, and what must not change its mind.

use std::collections::{BTreeMap, BTreeSet};

use proptest::{collection::vec, prelude::*, sample::select};
use sebastian_core::{
    Agent, AgentId, AgentLoad, Answers, Decision, Head, InboxId, Outcome, Park, ParkReason, Policy, Presence,
    Rejection, Role, Roster, Rotation, Seq, Snapshot, Strategy as Choice, Timestamp, decide,
    decide::{PARK_MAX, explain, free_slots},
};

use crate::support::*;

const INBOXES: [InboxId; 3] = [InboxId(7), InboxId(8), InboxId(9)];

fn an_instant() -> impl Strategy<Value = Timestamp> {
    (-20i64..20).prop_map(|hours| Timestamp::from_millis(NOW.as_millis() + hours * 1_800_000))
}

fn an_agent() -> impl Strategy<Value = Agent> {
    let standing = (
        prop_oneof![6 => Just(Role::Agent), 1 => Just(Role::Supervisor), 1 => Just(Role::Other)],
        prop_oneof![6 => Just(Presence::Online), 1 => Just(Presence::Away), 1 => Just(Presence::Offline)],
        prop::bool::weighted(0.1),
    );
    let work = (
        prop_oneof![8 => proptest::sample::subsequence(&INBOXES, 0..=3).prop_map(Some), 1 => Just(None)],
        prop_oneof![8 => (0u32..4).prop_map(Some), 1 => Just(None)],
        prop::bool::weighted(0.3),
        proptest::option::of(an_instant()),
    );
    (standing, work).prop_map(
        |((role, presence, forced_offline), (inboxes, reported_load, listed, online_since))| Agent {
            role,
            presence,
            forced_offline,
            inboxes,
            reported_load,
            listed,
            online_since,
            ..agent(0)
        },
    )
}

fn a_load() -> impl Strategy<Value = AgentLoad> {
    let shift = (proptest::option::of(an_instant()), 0u32..5, proptest::option::of(an_instant()));
    (0u32..4, 0u32..2, shift).prop_map(
        |(open, closed_recently, (shift, shift_assignments, last_assigned_at))| AgentLoad {
            agent: ANA,
            open,
            closed_recently,
            shift,
            shift_assignments,
            last_assigned_at,
        },
    )
}

fn a_head() -> impl Strategy<Value = Head> {
    let inbox = prop_oneof![8 => select(&INBOXES[..]).prop_map(Some), 1 => Just(None)];
    (inbox, vec((1i64..=6, an_instant()), 0..3)).prop_map(|(inbox, refused)| {
        let refused: BTreeMap<_, _> = refused.into_iter().map(|(id, until)| (AgentId(id), until)).collect();
        Head { inbox, refused: refused.into_iter().collect(), ..head(0) }
    })
}

/// A small desk with everything that can be known, unknown or wrong about it.
fn a_world() -> impl Strategy<Value = (Snapshot, Policy)> {
    let rotation = vec((1i64..=6, -9i64..9), 0..6);
    let desk = (vec((an_agent(), proptest::option::of(a_load())), 0..6), vec(a_head(), 0..8));
    let answered = vec((0usize..8, vec((1i64..=6, proptest::option::of(0u32..4)), 0..4)), 0..3);
    let policy =
        (proptest::option::weighted(0.9, 0u32..5), select(vec![Choice::Balanced, Choice::RoundRobin]));
    (desk, answered, vec(rotation, 4), 0u32..9, 0u64..62, policy).prop_map(
        |((agents, heads), answered, rotations, limit, age_s, (capacity, strategy))| {
            let ids = (1..).map(AgentId);
            let agents: Vec<_> =
                ids.zip(agents).map(|(id, (agent, load))| (Agent { id, ..agent }, load)).collect();
            let waiting: Vec<Head> = (1..)
                .zip(heads)
                .map(|(n, one)| Head { inbox: one.inbox, refused: one.refused, ..head(n) })
                .collect();
            let told = |(id, reported_load)| Agent { reported_load, ..agent(id) };
            let answers = answered.into_iter().filter_map(|(n, agents)| {
                Some((waiting.get(n)?.room.clone(), agents.into_iter().map(told).collect()))
            });
            let queues = INBOXES.into_iter().map(Some).chain([None]);
            let turns = |stored: Vec<(i64, i64)>| {
                Rotation::from_stored(stored.into_iter().map(|(id, turn)| (AgentId(id), turn)))
            };
            let snapshot = Snapshot {
                loads: agents
                    .iter()
                    .filter_map(|(agent, load)| {
                        Some((agent.id, AgentLoad { agent: agent.id, ..load.clone()? }))
                    })
                    .collect(),
                answers: Answers(answers.collect()).into(),
                rotations: queues.zip(rotations.into_iter().map(turns)).collect(),
                limit,
                roster: Roster::new(
                    1,
                    NOW - age_s as u32 * SECOND,
                    agents.into_iter().map(|(agent, _)| agent).collect(),
                )
                .into(),
                waiting,
            };
            (snapshot, Policy { capacity, strategy, ..Policy::default() })
        },
    )
}

/// What [`decide`] promises, written without a thought for speed.
struct Model<'a> {
    snapshot: &'a Snapshot,
    policy: &'a Policy,
    given: BTreeMap<AgentId, u32>,
    rotations: BTreeMap<Option<InboxId>, BTreeMap<AgentId, i64>>,
}

impl<'a> Model<'a> {
    fn new((snapshot, policy): &'a (Snapshot, Policy)) -> Self {
        let turns = |rotation: &Rotation| rotation.iter().collect();
        let rotations =
            snapshot.rotations.iter().map(|(queue, rotation)| (*queue, turns(rotation))).collect();
        Self { snapshot, policy, given: BTreeMap::new(), rotations }
    }

    fn is_stale(&self) -> bool {
        NOW.since(self.snapshot.roster.polled_at) > self.policy.staleness_max
    }

    fn given(&self, agent: &Agent) -> u32 {
        self.given.get(&agent.id).copied().unwrap_or(0)
    }

    fn known(&self, agent: &Agent) -> AgentLoad {
        self.snapshot.loads.get(&agent.id).cloned().unwrap_or_else(|| AgentLoad::none(agent.id))
    }

    fn load(&self, agent: &Agent) -> Option<u32> {
        let known = self.known(agent);
        let told = self.snapshot.answers.0.values().flatten().filter(|told| told.id == agent.id);
        let most_told = told.filter_map(|told| told.reported_load).max();
        let reported = agent.reported_load.or(most_told);
        let unexplained = |reported: u32| reported.saturating_sub(known.open + known.closed_recently);
        let before =
            if agent.listed { Some(known.open) } else { reported.map(|n| known.open + unexplained(n)) };
        // Full by our own count is full, whatever the platform does not tell.
        let before = before.or((known.open >= self.capacity()).then_some(known.open));
        Some(before? + self.given(agent))
    }

    fn capacity(&self) -> u32 {
        self.policy.capacity.unwrap_or(u32::MAX)
    }

    fn barred(&self, agent: &Agent) -> Option<Rejection> {
        if !self.policy.roles.contains(&agent.role) {
            return Some(Rejection::Role);
        }
        if agent.forced_offline {
            return Some(Rejection::ForcedOffline);
        }
        (!self.policy.presences.contains(&agent.presence)).then_some(Rejection::Presence)
    }

    fn reject(&self, agent: &Agent, head: &Head) -> Option<Rejection> {
        if self.is_stale() {
            return Some(Rejection::RosterStale);
        }
        if let Some(why) = self.barred(agent) {
            return Some(why);
        }
        let answer = self.snapshot.answers.0.get(&head.room);
        let by_roster = head.inbox.and_then(|inbox| Some(agent.inboxes.as_ref()?.contains(&inbox)));
        let by_answer = answer.map(|answer| answer.iter().any(|told| told.id == agent.id));
        match by_roster.or(by_answer) {
            None => return Some(Rejection::InboxUnknown),
            Some(false) => return Some(Rejection::NotInInbox),
            Some(true) => {}
        }
        let Some(load) = self.load(agent) else { return Some(Rejection::LoadUnknown) };
        if head.refused.iter().any(|(who, until)| *who == agent.id && *until > NOW) {
            return Some(Rejection::Refused);
        }
        (load >= self.capacity()).then_some(Rejection::Full)
    }

    /// Smaller is better: fill, pace and the last assignment, as fractions of one denominator.
    fn rank(&self, agent: &Agent, pool: &[&Agent]) -> (u32, u128, Option<Timestamp>, AgentId) {
        let online_ms =
            |agent: &Agent| agent.online_since.map_or(0, |since| NOW.since(since).as_millis()).max(1);
        let others: u128 =
            pool.iter().filter(|other| other.id != agent.id).map(|other| online_ms(other)).product();
        let known = self.known(agent);
        let before = if known.shift == agent.online_since { known.shift_assignments } else { 0 };
        let last = if self.given(agent) > 0 { Some(NOW) } else { known.last_assigned_at };
        let load = self.load(agent).unwrap_or(u32::MAX);
        (load, u128::from(before + self.given(agent)) * others, last, agent.id)
    }

    fn choose(&mut self, head: &Head, pool: &[&Agent]) -> Option<(AgentId, i64)> {
        if pool.is_empty() {
            return None;
        }
        match self.policy.strategy {
            Choice::Balanced => Some((pool.iter().min_by_key(|agent| self.rank(agent, pool))?.id, 0)),
            Choice::RoundRobin => {
                let turns = self.rotations.entry(head.inbox).or_default();
                pool.iter().for_each(|agent| *turns.entry(agent.id).or_default() += 1);
                let best = pool.iter().map(|agent| agent.id).min_by_key(|id| (-turns[id], *id))?;
                let charge = pool.len() as i64;
                *turns.entry(best).or_default() -= charge;
                Some((best, charge))
            }
        }
    }

    fn outcome(&mut self, head: &Head) -> Outcome {
        let roster = self.snapshot.roster.clone();
        let verdicts: Vec<_> = roster.agents.iter().map(|agent| (agent, self.reject(agent, head))).collect();
        let pool: Vec<&Agent> =
            verdicts.iter().filter(|(_, why)| why.is_none()).map(|(agent, _)| *agent).collect();
        if let Some((agent, turn_charge)) = self.choose(head, &pool) {
            *self.given.entry(agent).or_default() += 1;
            return Outcome::Reserve { agent, turn_charge };
        }
        let some = |wanted| verdicts.iter().any(|(_, why)| *why == Some(wanted));
        let is_answered = self.snapshot.answers.0.contains_key(&head.room);
        if !is_answered && (some(Rejection::InboxUnknown) || some(Rejection::LoadUnknown)) {
            return Outcome::Ask;
        }
        let is_hopeless = |why: &Option<Rejection>| {
            use Rejection::{ForcedOffline, NotInInbox, Presence, Role};
            matches!(why, Some(Role | ForcedOffline | Presence | NotInInbox))
        };
        if is_answered && verdicts.iter().all(|(_, why)| is_hopeless(why)) {
            return Outcome::Park(Park { until: NOW + PARK_MAX, why: ParkReason::NobodyEligible });
        }
        let is_refused =
            |id| verdicts.iter().any(|(agent, why)| agent.id == id && *why == Some(Rejection::Refused));
        let expiries = head.refused.iter().filter(|(id, _)| is_refused(*id)).map(|(_, until)| *until);
        match expiries.min() {
            Some(expiry) if !some(Rejection::Full) => {
                Outcome::Park(Park { until: expiry.min(NOW + PARK_MAX), why: ParkReason::Refused })
            }
            _ => Outcome::Pass,
        }
    }

    fn has_slot(&self) -> bool {
        let mut seats = self.snapshot.roster.agents.iter().filter(|agent| self.barred(agent).is_none());
        seats.any(|agent| self.load(agent).is_none_or(|load| load < self.capacity()))
    }

    fn decide(mut self) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for head in &self.snapshot.waiting {
            let given: u32 = self.given.values().sum();
            if given == self.snapshot.limit || !self.has_slot() {
                break;
            }
            outcomes.push(self.outcome(head));
        }
        outcomes
    }
}

fn decided((snapshot, policy): &(Snapshot, Policy)) -> Vec<Decision> {
    decide(snapshot, policy, NOW)
}

fn outcomes_of(world: &(Snapshot, Policy)) -> Vec<Outcome> {
    decided(world).into_iter().map(|decision| decision.outcome).collect()
}

/// Who was eligible for each head before anything was given out in this round.
fn eligible((snapshot, policy): &(Snapshot, Policy), head: &Head) -> BTreeSet<AgentId> {
    let verdicts = explain(snapshot, policy, NOW, head).into_iter();
    verdicts.filter(|(_, why)| why.is_none()).map(|(agent, _)| agent).collect()
}

fn reserved(outcome: Outcome) -> Option<AgentId> {
    match outcome {
        Outcome::Reserve { agent, .. } => Some(agent),
        Outcome::Pass | Outcome::Ask | Outcome::Park(_) => None,
    }
}

fn shifted(world: &(Snapshot, Policy), by: i64) -> (Snapshot, Policy) {
    let later = |at: &mut Timestamp| *at = Timestamp::from_millis(at.as_millis() + by);
    let (mut snapshot, policy) = world.clone();
    let mut roster = Roster::clone(&snapshot.roster);
    later(&mut roster.polled_at);
    roster.agents.iter_mut().filter_map(|agent| agent.online_since.as_mut()).for_each(later);
    snapshot.roster = roster.into();
    for load in snapshot.loads.values_mut() {
        load.shift.iter_mut().chain(&mut load.last_assigned_at).for_each(later);
    }
    for head in &mut snapshot.waiting {
        later(&mut head.opened_at);
        head.refused.iter_mut().for_each(|(_, until)| later(until));
    }
    (snapshot, policy)
}

proptest! {
    #![proptest_config(cases(10_000))]

    #[test]
    fn decide_agrees_with_the_naive_model(world in a_world()) {
        prop_assert_eq!(outcomes_of(&world), Model::new(&world).decide());
    }
}

proptest! {
    #![proptest_config(cases(2_000))]

    #[test]
    fn chosen_and_rejected_are_the_whole_roster(world in a_world()) {
        let (snapshot, policy) = &world;
        let mut model = Model::new(&world);
        for (decision, head) in decide(snapshot, policy, NOW).iter().zip(&snapshot.waiting) {
            let chosen = reserved(decision.outcome);
            let mut seen: Vec<AgentId> = decision.rejected.iter().map(|(agent, _)| agent).chain(chosen).collect();
            seen.sort();
            let whole: Vec<AgentId> = snapshot.roster.agents.iter().map(|agent| agent.id).collect();
            prop_assert_eq!(seen, whole);
            for (agent, why) in decision.rejected.iter() {
                let expected = model.reject(snapshot.roster.agent(agent).unwrap(), head);
                prop_assert_eq!(why, expected.unwrap_or(Rejection::NotPreferred));
            }
            if let Some(agent) = chosen {
                *model.given.entry(agent).or_default() += 1;
            }
        }
    }

    #[test]
    fn i3_no_reserve_above_capacity_and_i6_only_of_the_eligible(world in a_world()) {
        let model = Model::new(&world);
        let mut held = BTreeMap::new();
        for (outcome, head) in outcomes_of(&world).into_iter().zip(&world.0.waiting) {
            let Some(id) = reserved(outcome) else { continue };
            prop_assert!(eligible(&world, head).contains(&id));
            let load = held.entry(id).or_insert_with(|| model.load(world.0.roster.agent(id).unwrap()).unwrap());
            *load += 1;
            prop_assert!(*load <= model.capacity());
        }
    }

    #[test]
    fn i4_nobody_is_served_before_one_whom_all_of_theirs_could_serve(world in a_world()) {
        let heads: Vec<_> = outcomes_of(&world).into_iter().zip(&world.0.waiting).collect();
        for (n, (later, b)) in heads.iter().enumerate() {
            for (earlier, a) in &heads[..n] {
                let inverted = reserved(*later).is_some()
                    && reserved(*earlier).is_none()
                    && eligible(&world, b).is_subset(&eligible(&world, a));
                prop_assert!(!inverted, "place {} before place {}", b.position, a.position);
            }
        }
    }

    #[test]
    fn i13_a_stored_decision_decides_the_same_again(world in a_world()) {
        let stored = serde_json::to_string(&world).unwrap();
        let restored: (Snapshot, Policy) = serde_json::from_str(&stored).unwrap();
        prop_assert_eq!(&restored, &world);
        prop_assert_eq!(decided(&restored), decided(&world));
    }

    #[test]
    fn the_order_of_the_poll_changes_nothing(world in a_world(), keys in vec(any::<u32>(), 6)) {
        let (mut snapshot, policy) = world.clone();
        let mut agents: Vec<_> = keys.into_iter().zip(snapshot.roster.agents.clone()).collect();
        agents.sort_by_key(|(key, _)| *key);
        let agents = agents.into_iter().map(|(_, agent)| agent).collect();
        snapshot.roster = Roster::new(snapshot.roster.version, snapshot.roster.polled_at, agents).into();
        prop_assert_eq!(decided(&(snapshot, policy)), decided(&world));
    }

    #[test]
    fn an_agent_who_may_take_nothing_changes_nothing(world in a_world(), stranger in an_agent()) {
        let (mut snapshot, policy) = world.clone();
        let mut agents = snapshot.roster.agents.clone();
        agents.push(Agent { id: AgentId(99), forced_offline: true, ..stranger });
        snapshot.roster = Roster::new(snapshot.roster.version, snapshot.roster.polled_at, agents).into();
        prop_assert_eq!(outcomes_of(&(snapshot, policy)), outcomes_of(&world));
    }

    #[test]
    fn a_shift_of_all_times_changes_nothing(world in a_world(), by in -1_000_000_000i64..1_000_000_000) {
        let (snapshot, policy) = shifted(&world, by);
        let now = Timestamp::from_millis(NOW.as_millis() + by);
        let moved = |outcome| match outcome {
            Outcome::Park(Park { until, why }) => {
                Outcome::Park(Park { until: Timestamp::from_millis(until.as_millis() + by), why })
            }
            Outcome::Reserve { .. } | Outcome::Pass | Outcome::Ask => outcome,
        };
        let expected: Vec<Outcome> = outcomes_of(&world).into_iter().map(moved).collect();
        let outcomes: Vec<Outcome> =
            decide(&snapshot, &policy, now).into_iter().map(|decision| decision.outcome).collect();
        prop_assert_eq!(outcomes, expected);
    }

    #[test]
    fn gaps_in_the_order_of_acceptance_change_nothing(world in a_world(), gap in 1i64..1_000) {
        let (mut snapshot, policy) = world.clone();
        snapshot.waiting.iter_mut().for_each(|head| head.position = Seq(head.position.0 * gap));
        prop_assert_eq!(outcomes_of(&(snapshot, policy)), outcomes_of(&world));
    }

    #[test]
    fn a_round_gives_out_no_more_than_the_slots_it_was_told_of(world in a_world()) {
        let (snapshot, policy) = &world;
        let unknown = snapshot.roster.agents.iter().any(|agent| agent.reported_load.is_none());
        let given = outcomes_of(&world).into_iter().filter_map(reserved).count();
        prop_assert!(given <= snapshot.limit as usize);
        let slots = free_slots(&snapshot.roster, &snapshot.loads, policy, NOW) as usize;
        prop_assert!(unknown || given <= slots);
    }
}
