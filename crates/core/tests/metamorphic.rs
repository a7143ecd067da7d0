//! What must not change the mind of `decide`, and what must change it in a way that is known beforehand.

use proptest::{collection::vec, prelude::*, sample::select};
use sebastian_core::{
    Agent, AgentId, AgentLoad, ConversationId, Decision, Head, InboxId, Outcome, Park, Preset, RateWindow,
    Role, Roster, Rotation, Seq, Strategy as Choice, Timestamp, decide,
    rulebook::{Day, Paused},
};

use crate::{support::*, worlds::*};

fn chosen(decisions: &[Decision]) -> Vec<Option<AgentId>> {
    decisions.iter().map(|decision| reserved(decision.outcome)).collect()
}

fn roster_of(world: &mut World, change: impl FnOnce(&mut Vec<Agent>)) {
    let roster = &world.snapshot.roster;
    let mut agents = roster.agents.clone();
    change(&mut agents);
    world.snapshot.roster = Roster::new(roster.version, roster.polled_at, agents).into();
}

fn rotations_of(world: &mut World, change: impl Fn(AgentId, i64) -> (AgentId, i64)) {
    for rotation in world.snapshot.rotations.values_mut() {
        *rotation = Rotation::from_stored(
            rotation.iter().map(|(agent, turn)| change(agent, turn)).collect::<Vec<_>>(),
        );
    }
}

/// The same world, in which the agents have other numbers.
fn renamed(world: &World, to: impl Fn(AgentId) -> AgentId) -> World {
    let mut world = world.clone();
    roster_of(&mut world, |agents| agents.iter_mut().for_each(|agent| agent.id = to(agent.id)));
    rotations_of(&mut world, |agent, turn| (to(agent), turn));
    let snapshot = &mut world.snapshot;
    let load = |(id, load): (AgentId, AgentLoad)| (to(id), AgentLoad { agent: to(id), ..load });
    snapshot.loads = std::mem::take(&mut snapshot.loads).into_iter().map(load).collect();
    let by_inbox = std::mem::take(&mut snapshot.inbox_loads).into_iter();
    snapshot.inbox_loads = by_inbox.map(|((inbox, agent), open)| ((inbox, to(agent)), open)).collect();
    let windows = std::mem::take(&mut snapshot.windows).into_iter();
    snapshot.windows = windows.map(|((inbox, agent), window)| ((inbox, to(agent)), window)).collect();
    let mut answers = (*snapshot.answers).clone();
    answers.agents.values_mut().flatten().for_each(|agent| agent.id = to(agent.id));
    answers.proposed.values_mut().flatten().for_each(|agent| *agent = to(*agent));
    snapshot.answers = answers.into();
    for head in &mut snapshot.waiting {
        head.refused.iter_mut().for_each(|(agent, _)| *agent = to(*agent));
    }
    let mut rules = (*snapshot.rules).clone();
    rules.agents = rules.agents.into_iter().map(|(agent, said)| (to(agent), said)).collect();
    rules.leaves.values_mut().for_each(|leave| leave.agent = to(leave.agent));
    for team in rules.teams.values_mut() {
        team.members = team.members.iter().map(|agent| to(*agent)).collect();
    }
    snapshot.rules = rules.into();
    world
}

/// The same world, in which everything happened `days` days and `ms` later.
fn shifted(world: &World, days: i32, ms: i64) -> (World, Timestamp) {
    let mut world = world.clone();
    let by = i64::from(days) * 86_400_000 + ms;
    let later = |at: &mut Timestamp| *at = Timestamp::from_millis(at.as_millis() + by);
    let paused = |paused: &mut Option<Paused>| {
        paused.iter_mut().for_each(|paused| {
            later(&mut paused.since);
            paused.until.iter_mut().for_each(later);
        });
    };
    let mut roster = Roster::clone(&world.snapshot.roster);
    later(&mut roster.polled_at);
    roster.agents.iter_mut().filter_map(|agent| agent.online_since.as_mut()).for_each(later);
    world.snapshot.roster = roster.into();
    for load in world.snapshot.loads.values_mut() {
        load.shift.iter_mut().chain(&mut load.last_assigned_at).for_each(later);
    }
    for window in world.snapshot.windows.values_mut() {
        let mut given: Vec<_> = window.iter().collect();
        given.iter_mut().for_each(|(at, _)| later(at));
        *window = RateWindow::from_stored(given);
    }
    for head in &mut world.snapshot.waiting {
        [&mut head.opened_at, &mut head.last_activity_at, &mut head.rank].into_iter().for_each(later);
        head.refused.iter_mut().for_each(|(_, until)| later(until));
    }
    let mut rules = (*world.snapshot.rules).clone();
    paused(&mut rules.paused);
    rules.inboxes.values_mut().for_each(|inbox| paused(&mut inbox.paused));
    rules.agents.values_mut().for_each(|agent| paused(&mut agent.paused));
    for leave in rules.leaves.values_mut() {
        (leave.start, leave.end) = (Day(leave.start.0 + days), Day(leave.end.0 + days));
    }
    world.snapshot.rules = rules.into();
    (world, Timestamp::from_millis(NOW.as_millis() + by))
}

/// A conversation in an inbox nobody is in, by number.
fn stray(n: i64) -> Head {
    Head { inbox: Some(InboxId(99)), ..head(n) }
}

proptest! {
    #![proptest_config(cases(10_000))]

    #[test]
    fn the_order_of_the_poll_changes_nothing(world in a_world(), keys in vec(any::<u32>(), 6)) {
        let mut shuffled = world.clone();
        roster_of(&mut shuffled, |agents| {
            let mut keyed: Vec<_> = keys.into_iter().zip(agents.drain(..)).collect();
            keyed.sort_by_key(|(key, _)| *key);
            agents.extend(keyed.into_iter().map(|(_, agent)| agent));
        });
        prop_assert_eq!(decided(&shuffled), decided(&world));
    }

    /// Under any strategy the numbers themselves matter no more than their order.
    #[test]
    fn agents_with_other_numbers_in_the_same_order_are_chosen_alike(world in a_world(), k in 2i64..9, b in -50i64..50) {
        let to = |agent: AgentId| AgentId(agent.0 * k + b);
        let expected: Vec<_> = outcomes_of(&world).into_iter().map(|outcome| match outcome {
            Outcome::Reserve { agent, turn_charge, window } => {
                Outcome::Reserve { agent: to(agent), turn_charge, window }
            }
            Outcome::Pass | Outcome::Ask | Outcome::Park(_) => outcome,
        }).collect();
        prop_assert_eq!(outcomes_of(&renamed(&world, to)), expected);
    }

    /// Where no two agents stand alike, not even their order matters.
    #[test]
    fn agents_who_change_numbers_are_chosen_alike(
        mut world in a_world(),
        strategy in select(vec![Choice::Balanced, Choice::LeastLoaded, Choice::LongestIdle]),
        numbers in Just((1i64..7).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        world.policy.preset = Preset::Sebastian;
        world.snapshot.limit = 1;
        world.policy.strategy = strategy;
        let mut rules = (*world.snapshot.rules).clone();
        rules.inboxes.values_mut().for_each(|inbox| inbox.overrides.strategy = Some(strategy));
        world.snapshot.rules = rules.into();
        for n in 1..7u32 {
            let agent = AgentId(n.into());
            let load = world.snapshot.loads.entry(agent).or_insert_with(|| AgentLoad::none(agent));
            load.last_assigned_at = Some(NOW - SECOND * (n * 7 % 5 * 10 + n));
        }
        let to = |agent: AgentId| AgentId(numbers.get(agent.0 as usize - 1).copied().unwrap_or(agent.0));
        let expected: Vec<_> = chosen(&decided(&world)).into_iter().map(|agent| agent.map(to)).collect();
        prop_assert_eq!(chosen(&decided(&renamed(&world, to))), expected);
    }

    /// A rotation goes by its own order, whoever is in it.
    #[test]
    fn turns_go_round_alike_when_agents_change_numbers(
        mut world in a_world(),
        order in Just((1i64..7).collect::<Vec<_>>()).prop_shuffle(),
        turns in vec(-9i64..9, 6),
        numbers in Just((1i64..7).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        world.policy.strategy = Choice::RoundRobin;
        let mut rules = (*world.snapshot.rules).clone();
        rules.inboxes.values_mut().for_each(|inbox| inbox.overrides.strategy = Some(Choice::RoundRobin));
        world.snapshot.rules = rules.into();
        let everybody = || order.iter().map(|id| AgentId(*id)).zip(turns.iter().copied());
        roster_of(&mut world, |agents| agents.iter_mut().for_each(|agent| agent.inboxes = Some(INBOXES.to_vec())));
        for head in &mut world.snapshot.waiting {
            head.traits.team = None;
            world.snapshot.rotations.insert(head.queue(), Rotation::from_stored(everybody()));
        }
        let to = |agent: AgentId| AgentId(numbers.get(agent.0 as usize - 1).copied().unwrap_or(agent.0));
        let expected: Vec<_> = chosen(&decided(&world)).into_iter().map(|agent| agent.map(to)).collect();
        prop_assert_eq!(chosen(&decided(&renamed(&world, to))), expected);
    }

    #[test]
    fn an_agent_who_may_take_nothing_changes_nobodys_choice(world in a_world(), n in 0..4usize, id in select(vec![0i64, 99])) {
        let stranger = agent(id);
        let stranger = [
            Agent { forced_offline: true, ..stranger.clone() },
            Agent { role: Role::Other, inboxes: None, ..stranger.clone() },
            Agent { presence: sebastian_core::Presence::AwayManual, reported_load: None, ..stranger.clone() },
            Agent { inboxes: Some(vec![InboxId(77)]), ..stranger },
        ][n].clone();
        // In rooms of unknown inbox the last could serve for all the roster tells: there it would be asked.
        prop_assume!(n < 3 || world.snapshot.waiting.iter().all(|head| head.inbox.is_some()));
        let mut crowded = world.clone();
        roster_of(&mut crowded, |agents| agents.push(stranger));
        let decisions = decided(&crowded);
        // Who is not in the inbox might still take something elsewhere, so a round goes on for them.
        let as_before = decided(&world).len();
        prop_assert_eq!(chosen(&decisions[..as_before]), chosen(&decided(&world)));
        prop_assert!(decisions[as_before..].iter().all(|decision| reserved(decision.outcome).is_none()));
    }

    #[test]
    fn weights_in_the_same_proportion_give_the_same_turns(mut world in a_world(), k in 2u32..1_000) {
        world.policy.preset = Preset::Libredesk;
        world.policy.strategy = Choice::RoundRobin;
        let mut scaled = world.clone();
        let mut rules = (*world.snapshot.rules).clone();
        (1..7).for_each(|id| rules.agents.entry(AgentId(id)).or_default().weight *= k);
        scaled.snapshot.rules = rules.into();
        rotations_of(&mut scaled, |agent, turn| (agent, turn * i64::from(k)));
        let expected: Vec<_> = outcomes_of(&world).into_iter().map(|outcome| match outcome {
            Outcome::Reserve { agent, turn_charge, window } => {
                Outcome::Reserve { agent, turn_charge: turn_charge * i64::from(k), window }
            }
            Outcome::Pass | Outcome::Ask | Outcome::Park(_) => outcome,
        }).collect();
        prop_assert_eq!(outcomes_of(&scaled), expected);
    }

    #[test]
    fn a_shift_of_all_times_changes_nothing(world in a_world(), days in -4_000i32..4_000, ms in -9_000_000i64..9_000_000) {
        // A leave begins at midnight wherever the clock stands.
        let ms = if world.snapshot.rules.leaves.is_empty() { ms } else { 0 };
        let (later, now) = shifted(&world, days, ms);
        let moved = |outcome| match outcome {
            Outcome::Park(Park { until, why }) => {
                let by = now.as_millis() - NOW.as_millis();
                Outcome::Park(Park { until: Timestamp::from_millis(until.as_millis() + by), why })
            }
            Outcome::Reserve { .. } | Outcome::Pass | Outcome::Ask => outcome,
        };
        let expected: Vec<Outcome> = outcomes_of(&world).into_iter().map(moved).collect();
        let decisions = decide(&later.snapshot, &later.policy, now).into_iter();
        prop_assert_eq!(decisions.map(|decision| decision.outcome).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn conversations_of_a_queue_that_nobody_serves_change_nothing(world in a_world(), places in vec(0usize..9, 1..4)) {
        let mut crowded = world.clone();
        for (n, place) in (100..).zip(places) {
            let place = place.min(crowded.snapshot.waiting.len());
            crowded.snapshot.waiting.insert(place, stray(n));
        }
        let is_ours = |decision: &&Decision| decision.conversation < ConversationId(100);
        let decisions = decided(&crowded);
        let ours: Vec<_> = decisions.iter().filter(is_ours).map(|one| (one.conversation, one.outcome)).collect();
        let before: Vec<_> = decided(&world).iter().map(|one| (one.conversation, one.outcome)).collect();
        prop_assert_eq!(ours, before);
        let theirs = decisions.iter().filter(|one| !is_ours(one));
        prop_assert!(theirs.map(|one| one.outcome).all(|outcome| reserved(outcome).is_none()));
    }

    #[test]
    fn gaps_in_the_order_of_acceptance_change_nothing(world in a_world(), gap in 1i64..1_000) {
        let mut sparse = world.clone();
        sparse.snapshot.waiting.iter_mut().for_each(|head| head.position = Seq(head.position.0 * gap));
        prop_assert_eq!(outcomes_of(&sparse), outcomes_of(&world));
    }

    /// A lower limit ends the round sooner and changes nothing of it; it counts assignments, not what was looked at.
    #[test]
    fn a_round_with_a_lower_limit_begins_alike(world in a_world(), limit in 0u32..9) {
        let whole = World { snapshot: sebastian_core::Snapshot { limit: u32::MAX, ..world.snapshot.clone() }, ..world.clone() };
        let part = World { snapshot: sebastian_core::Snapshot { limit, ..world.snapshot.clone() }, ..world };
        let (whole, part) = (outcomes_of(&whole), outcomes_of(&part));
        prop_assert!(whole.starts_with(&part));
        let given = part.iter().filter(|outcome| reserved(**outcome).is_some()).count();
        prop_assert!(given <= limit as usize);
        prop_assert!(part.len() == whole.len() || given == limit as usize);
    }

    /// What was decided in two rounds, with the first written down in between, is what one round decides.
    #[test]
    fn a_round_cut_in_two_decides_alike(
        mut world in a_plain_world(),
        strategy in select(vec![Choice::RoundRobin, Choice::FirstFit, Choice::Random]),
        at in 1u32..6,
    ) {
        world.policy.strategy = strategy;
        // What the platform counts beyond the ledger shrinks as the ledger grows.
        roster_of(&mut world, |agents| agents.iter_mut().for_each(|agent| agent.listed = true));
        world.snapshot.limit = u32::MAX;
        let whole = outcomes_of(&world);
        world.snapshot.limit = at;
        let first = decided(&world);
        write_down(&mut world, &first);
        world.snapshot.limit = u32::MAX;
        let mut both: Vec<Outcome> = first.iter().map(|decision| decision.outcome).collect();
        both.extend(outcomes_of(&world));
        let served = |outcomes: Vec<Outcome>| outcomes.into_iter().filter_map(reserved).collect::<Vec<_>>();
        prop_assert_eq!(served(both), served(whole));
    }
}

/// Does what a ledger does with the decisions of a round.
fn write_down(world: &mut World, decisions: &[Decision]) {
    let snapshot = &mut world.snapshot;
    let seen: Vec<Head> = snapshot.waiting.drain(..decisions.len()).collect();
    for (decision, head) in decisions.iter().zip(seen) {
        snapshot.rotations.extend(decision.rotation.clone());
        let Some(agent) = reserved(decision.outcome) else { continue };
        let online_since = snapshot.roster.agent(agent).and_then(|agent| agent.online_since);
        let load = snapshot.loads.entry(agent).or_insert_with(|| AgentLoad::none(agent));
        load.open += 1;
        load.shift_assignments = load.assignments_since(online_since) + 1;
        load.shift = online_since;
        load.last_assigned_at = load.last_assigned_at.max(Some(NOW));
        *snapshot.inbox_loads.entry((head.inbox, agent)).or_default() += 1;
        snapshot.windows.entry((head.inbox, agent)).or_default().give(head.conversation, NOW);
    }
}
