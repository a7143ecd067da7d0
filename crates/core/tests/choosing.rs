//! Which of the agents who may take a conversation gets it.

use std::collections::BTreeMap;

use sebastian_core::{
    Agent, AgentId, AgentLoad, Decision, Head, InboxId, Outcome, Policy, Presence, QueueKey, Rotation,
    Snapshot, Strategy, Timestamp, decide, rotation::Turns,
};

use crate::support::*;

fn queue(inbox: InboxId) -> QueueKey {
    QueueKey { inbox: Some(inbox), team: None }
}

fn round_robin(snapshot: &Snapshot) -> Vec<Decision> {
    decide(snapshot, &Policy { strategy: Strategy::RoundRobin, ..Policy::default() }, NOW)
}

fn chosen(decisions: &[Decision]) -> Vec<i64> {
    let agent = |decision: &Decision| match decision.outcome {
        Outcome::Reserve { agent, .. } => Some(agent.0),
        Outcome::Pass | Outcome::Ask | Outcome::Park(_) => None,
    };
    decisions.iter().filter_map(agent).collect()
}

fn online_for(id: i64, hours: u32) -> Agent {
    Agent { online_since: Some(NOW - 3600 * hours * SECOND), ..agent(id) }
}

/// What the ledger knows of an agent of [`online_for`] who was given `assignments` since then.
fn shift(agent: &Agent, assignments: u32, last_assigned_at: Option<Timestamp>) -> (AgentId, AgentLoad) {
    let none = AgentLoad::none(agent.id);
    let load =
        AgentLoad { shift: agent.online_since, shift_assignments: assignments, last_assigned_at, ..none };
    (agent.id, load)
}

#[test]
fn balanced_fills_the_emptiest_first_and_evenly() {
    let mut snapshot = snapshot((1..=3).map(agent), (1..=6).map(head).collect());
    snapshot.loads = BTreeMap::from([load(1, 2), load(2, 1)]);

    assert_eq!(outcomes(&snapshot), [to(3), to(2), to(3), to(1), to(2), to(3)]);
}

#[test]
fn balanced_prefers_fewer_assignments_an_hour_online() {
    let (long, short) = (online_for(1, 8), online_for(2, 1));
    let mut snapshot = snapshot([long.clone(), short.clone()], vec![head(1)]);

    snapshot.loads = BTreeMap::from([shift(&long, 8, None), shift(&short, 2, None)]);

    assert_eq!(outcomes(&snapshot), [to(1)]);
}

#[test]
fn balanced_forgets_the_assignments_of_an_earlier_shift() {
    let (busy_yesterday, today) = (online_for(1, 1), online_for(2, 1));
    let mut snapshot = snapshot([busy_yesterday.clone(), today.clone()], vec![head(1)]);
    let (_, earlier) = shift(&online_for(1, 20), 90, None);

    snapshot.loads = BTreeMap::from([(ANA, earlier), shift(&today, 1, None)]);

    assert_eq!(outcomes(&snapshot), [to(1)]);
}

#[test]
fn balanced_then_prefers_the_one_who_waited_longest() {
    let agents = [online_for(1, 1), online_for(2, 1)];
    let mut snapshot = snapshot(agents.clone(), vec![head(1)]);

    snapshot.loads = BTreeMap::from([
        shift(&agents[0], 1, Some(NOW - SECOND)),
        shift(&agents[1], 1, Some(NOW - 2 * SECOND)),
    ]);

    assert_eq!(outcomes(&snapshot), [to(2)]);
}

#[test]
fn round_robin_takes_turns_and_goes_on_where_it_stopped() {
    let mut snapshot = snapshot((1..=3).map(agent), (1..=4).map(head).collect());
    let first = round_robin(&snapshot);
    assert_eq!(chosen(&first), [1, 2, 3, 1]);

    snapshot.rotations.extend(first.into_iter().filter_map(|decision| decision.rotation));
    snapshot.waiting = (5..=7).map(head).collect();

    assert_eq!(chosen(&round_robin(&snapshot)), [2, 3, 1]);
}

#[test]
fn round_robin_reports_each_queues_rotation_once_with_its_last_turn() {
    let elsewhere = |n| Head { inbox: Some(SUPPORT), ..head(n) };
    let both = |id| Agent { inboxes: Some(vec![SALES, SUPPORT]), ..agent(id) };
    let waiting = vec![head(1), elsewhere(2), head(3), elsewhere(4), head(5)];

    let decisions = round_robin(&snapshot((1..=3).map(both), waiting));

    let reported: Vec<Option<Option<InboxId>>> =
        decisions.iter().map(|decision| decision.rotation.as_ref().map(|(queue, _)| queue.inbox)).collect();
    assert_eq!(reported, [None, None, None, Some(Some(SUPPORT)), Some(Some(SALES))]);
}

#[test]
fn a_queue_in_which_nobody_took_a_turn_reports_no_rotation() {
    let elsewhere = Head { inbox: Some(SUPPORT), ..head(1) };

    let decisions = round_robin(&snapshot([agent(1)], vec![elsewhere]));

    assert_eq!(decisions[0].rotation, None);
}

#[test]
fn a_turn_given_back_is_taken_by_the_same_agent() {
    let mut snapshot = snapshot((1..=3).map(agent), vec![head(1)]);
    let mut first = round_robin(&snapshot).remove(0);
    let Outcome::Reserve { agent, turn_charge, .. } = first.outcome else { panic!("nobody was chosen") };
    let (queue, mut rotation) = first.rotation.take().unwrap();

    rotation.refund(agent, turn_charge);
    snapshot.rotations = BTreeMap::from([(queue, rotation)]);

    assert_eq!(chosen(&round_robin(&snapshot)), [agent.0]);
}

#[test]
fn an_agent_away_for_a_while_keeps_their_place_and_neither_gains_nor_loses_turns() {
    let all = Rotation::from_stored([(AgentId(3), 1), (AgentId(1), 0), (AgentId(2), -1)]);
    let away = Agent { presence: Presence::Away, ..agent(3) };
    let mut snapshot = snapshot([agent(1), agent(2), away], (1..=4).map(head).collect());
    snapshot.rotations = BTreeMap::from([(queue(SALES), all)]);

    let (_, after) =
        round_robin(&snapshot).into_iter().filter_map(|decision| decision.rotation).last().unwrap();

    assert_eq!(after.iter().next(), Some((AgentId(3), 1)));
}

#[test]
fn a_rotation_forgets_who_left_and_takes_in_who_came_behind_the_others() {
    let left = Rotation::from_stored([(AgentId(9), 5), (AgentId(2), 0), (AgentId(3), 0)]);
    let elsewhere = Agent { inboxes: Some(vec![SUPPORT]), ..agent(3) };
    let mut snapshot = snapshot([agent(1), agent(2), elsewhere], (1..=2).map(head).collect());
    snapshot.rotations = BTreeMap::from([(queue(SALES), left)]);

    let decisions = round_robin(&snapshot);

    assert_eq!(chosen(&decisions), [2, 1]);
    let (_, after) = decisions.into_iter().filter_map(|decision| decision.rotation).last().unwrap();
    assert_eq!(after.iter().map(|(agent, _)| agent.0).collect::<Vec<_>>(), [2, 1]);
}

#[test]
fn an_agent_of_whose_inboxes_the_platform_is_silent_for_once_keeps_their_place() {
    let all = Rotation::from_stored([(AgentId(2), 0), (AgentId(1), 0)]);
    let unknown = Agent { inboxes: None, ..agent(2) };
    let mut snapshot = snapshot([agent(1), unknown], vec![head(1)]);
    snapshot.rotations = BTreeMap::from([(queue(SALES), all)]);

    let (_, after) = round_robin(&snapshot).remove(0).rotation.unwrap();

    assert_eq!(after.iter().collect::<Vec<_>>(), [(AgentId(2), 0), (AgentId(1), 0)]);
}

/// A rotation after a platform refused `refusals` times whom it was told of.
fn refused(agents: impl Iterator<Item = i64>, refusals: usize) -> Rotation {
    let mut snapshot = snapshot(agents.map(agent), vec![head(1)]);
    for _ in 0..refusals {
        let Decision { outcome, rotation, .. } = round_robin(&snapshot).remove(0);
        let Outcome::Reserve { agent, turn_charge, .. } = outcome else { panic!("nobody was chosen") };
        snapshot.rotations.extend(rotation);
        snapshot.rotations.values_mut().for_each(|rotation| rotation.refund(agent, turn_charge));
    }
    snapshot.rotations.remove(&queue(SALES)).unwrap_or_default()
}

/// Whom ten rounds of turns go to, capacity apart.
fn ten_rounds(agents: &[i64], rotation: Rotation) -> Vec<i64> {
    let turns = 10 * agents.len() as i64;
    let mut snapshot = snapshot(agents.iter().map(|id| agent(*id)), (1..=turns).map(head).collect());
    snapshot.rotations = BTreeMap::from([(queue(SALES), rotation)]);
    let policy = Policy { strategy: Strategy::RoundRobin, capacity: None, ..Policy::default() };
    chosen(&decide(&snapshot, &policy, NOW))
}

#[test]
fn after_a_thousand_turns_given_back_a_newcomer_has_their_share_within_three_rounds() {
    let turns = ten_rounds(&[1, 2, 3, 4, 5], refused(1..5, 1_000));

    let of_the_newcomer = |turns: &[i64]| turns.iter().filter(|agent| **agent == 5).count();
    assert!(of_the_newcomer(&turns[..15]) >= 1, "{turns:?}");
    assert!((6..=7).contains(&of_the_newcomer(&turns[15..])), "{turns:?}");
}

#[test]
fn after_a_thousand_turns_given_back_to_others_a_returner_has_their_share_within_three_rounds() {
    let away = Rotation::from_stored([(AgentId(5), -4)].into_iter().chain(refused(1..5, 1_000).iter()));

    let turns = ten_rounds(&[1, 2, 3, 4, 5], away);

    assert!(turns[..15].contains(&5), "{turns:?}");
    assert!(turns[15..].iter().filter(|agent| **agent == 5).count() >= 6, "{turns:?}");
}

#[test]
fn a_newcomer_before_whom_all_others_owe_turns_has_no_more_than_three_rounds_of_them() {
    let owing = Rotation::from_stored((1..5).map(|id| (AgentId(id), -100_000)));

    let turns = ten_rounds(&[1, 2, 3, 4, 5], owing);

    assert!(turns.iter().filter(|agent| **agent == 5).count() <= 13, "{turns:?}");
}

#[test]
fn the_greatest_weights_and_the_longest_rotation_fit() {
    let mut rotation = Rotation::from_stored((0..1 << 20).map(|id| (AgentId(id), 0)));
    let everybody = || (0..1 << 20).map(|place| (place, u32::MAX));

    let turns: Vec<usize> =
        (0..3).filter_map(|_| rotation.choose(everybody(), Turns::Smooth)).map(|(place, _)| place).collect();

    assert_eq!(turns, [0, 1, 2]);
}
