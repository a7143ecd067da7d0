//! Agents who are deleted or leave an inbox, and conversations that are given back: somebody else takes their place.

use std::time::Duration;

use sebastian_core::{
    AbsenceRule, AgentId, EventKind, Hints, NewEvent, Policy, ReassignOffline, RoomId, Rulebook, Source,
    State, Update, rulebook::AssignmentPolicy,
};
use sebastian_platform::simulated::{Answer, By, Change, Endpoint, Fault, RosterFault, SimulatedConfig};
use sebastian_roster::WakeReason;
use sebastian_testkit::eventually;

use crate::desk::{Desk, SOON, WA};

const ONE: AgentId = AgentId(300_001);
const TWO: AgentId = AgentId(300_002);

/// Two agents with room for five; where strays are dealt again, or not.
async fn two_agents(reassigns_strays: bool) -> Desk {
    let mut desk = Desk::of(2, 5).await;
    desk.policy = Policy { reassigns_strays, ..desk.policy.clone() };
    desk
}

/// As many rooms with each agent.
async fn served(desk: &Desk, rooms: usize) {
    for n in 0..rooms {
        desk.chat(&n.to_string()).await;
    }
    desk.assigned(rooms).await;
    for n in 0..rooms {
        desk.assigned_in_ledger(&n.to_string()).await;
    }
}

/// Rooms of `agent`.
fn rooms_of(desk: &Desk, agent: AgentId, rooms: usize) -> Vec<String> {
    let rooms = (0..rooms).map(|n| n.to_string());
    rooms.filter(|room| desk.platform.agent_of(room) == Some(agent)).collect()
}

/// Waits until ledger and platform call `agent` the one who serves `room`.
async fn is_served_by(desk: &Desk, room: &str, agent: AgentId) {
    eventually("the other agent serves it", SOON, async || {
        let ledger = desk.state(room).await;
        let served = matches!(ledger, Some(State::Assigned { agent: holder, .. }) if holder == agent);
        if served && desk.platform.agent_of(room) == Some(agent) { Ok(()) } else { Err(ledger) }
    })
    .await;
}

/// Its customer writes in a conversation that somebody serves.
async fn write_again(desk: &Desk, room: &str) {
    let wrote = EventKind::Allocate { inbox: Some(WA), latest_service: None, hints: Hints::default() };
    let event = NewEvent { room: RoomId::parse(room).unwrap(), kind: wrote, source: Source::Webhook };
    desk.store.accept(desk.account, &[event]).await.unwrap();
    desk.ring(WakeReason::Allocate).await;
}

async fn give_back(desk: &Desk, room: &str) {
    let update = EventKind::Update(Update { unassign: true, ..Update::default() });
    let event = NewEvent { room: RoomId::parse(room).unwrap(), kind: update, source: Source::Operator };
    desk.store.accept(desk.account, &[event]).await.unwrap();
    desk.ring(WakeReason::Allocate).await;
}

/// Waits for `times` more complete rosters.
async fn polled(desk: &Desk, times: usize) {
    desk.called_again(Endpoint::Agents, times + 1).await;
}

#[tokio::test]
async fn what_a_deleted_agent_served_goes_to_another_in_their_place() {
    let mut desk = two_agents(true).await;
    desk.add_worker();
    served(&desk, 4).await;
    let strays = rooms_of(&desk, ONE, 4);
    assert_eq!(strays.len(), 2);

    desk.platform.delete_agent(ONE);

    for room in &strays {
        is_served_by(&desk, room, TWO).await;
    }
    assert_eq!((desk.load(ONE).await, desk.load(TWO).await), (0, 4));
    let moved = |change: &Change| *change == Change::Transferred { from: ONE, to: TWO, by: By::Api };
    assert_eq!(desk.platform.applied().iter().filter(|applied| moved(&applied.change)).count(), 2);
    assert!(
        strays.iter().all(|room| desk.platform.read(|state| state.room(room).unwrap().agents() == [TWO]))
    );
    desk.stop().await;
}

#[tokio::test]
async fn what_an_agent_served_in_an_inbox_they_left_goes_to_another() {
    let mut desk = two_agents(true).await;
    desk.add_worker();
    served(&desk, 2).await;
    let [stray] = &rooms_of(&desk, ONE, 2)[..] else { panic!("one room each") };

    desk.platform.leave_channel(ONE, WA);

    is_served_by(&desk, stray, TWO).await;
    desk.stop().await;
}

#[tokio::test]
async fn where_no_rule_says_so_what_a_deleted_agent_served_stays() {
    let mut desk = two_agents(false).await;
    desk.add_worker();
    served(&desk, 2).await;
    let [stray] = &rooms_of(&desk, ONE, 2)[..] else { panic!("one room each") };

    desk.platform.delete_agent(ONE);
    polled(&desk, 5).await;

    assert_eq!(desk.platform.agent_of(stray), Some(ONE));
    assert!(desk.is_assigned(stray).await);
    desk.stop().await;
}

#[tokio::test]
async fn the_rule_of_a_linked_policy_counts_as_soon_as_it_is_set() {
    let mut desk = two_agents(false).await;
    desk.add_worker();
    served(&desk, 2).await;
    let [stray] = &rooms_of(&desk, ONE, 2)[..] else { panic!("one room each") };
    desk.platform.delete_agent(ONE);
    polled(&desk, 3).await;

    let mut linked = |rules: &mut Rulebook, now| {
        let policy = AssignmentPolicy { reassigns_strays: Some(true), ..crate::desk::assignment_policy(now) };
        rules.assignment_policies.insert(sebastian_core::PolicyId(1), policy);
        rules.inboxes.entry(WA).or_default().policy = Some(sebastian_core::PolicyId(1));
        vec![crate::desk::entry()]
    };
    desk.store.amend(desk.account, "test", &mut linked).await.unwrap();

    is_served_by(&desk, stray, TWO).await;
    desk.stop().await;
}

#[tokio::test]
async fn one_roster_cut_short_or_an_empty_one_takes_nobodys_conversations() {
    let mut desk = two_agents(true).await;
    desk.add_worker();
    served(&desk, 2).await;

    desk.platform.set_fault(Fault::roster(RosterFault::Partial(1)).times(1));
    polled(&desk, 3).await;
    let empty = desk.platform.set_fault(Fault::roster(RosterFault::Empty));
    polled(&desk, 4).await;
    desk.platform.clear_fault(empty);
    polled(&desk, 3).await;

    let transfers = |change: &Change| matches!(change, Change::Transferred { .. });
    assert!(!desk.platform.applied().iter().any(|applied| transfers(&applied.change)));
    assert_eq!((desk.load(ONE).await, desk.load(TWO).await), (1, 1));
    desk.stop().await;
}

#[tokio::test]
async fn a_conversation_taken_by_a_supervisor_is_no_stray() {
    let mut config = SimulatedConfig::desk(1);
    let owner = AgentId(209_900);
    config.agents.iter_mut().filter(|agent| agent.id == owner).for_each(|owner| owner.channels.clear());
    let mut desk = Desk::on(config, 5).await;
    desk.policy.reassigns_strays = true;
    desk.platform.new_chat("hers", WA);
    // The simulation lets only members of a channel in: she joins, then leaves the channel.
    desk.platform.add_agent(sebastian_platform::simulated::AgentSpec {
        role: sebastian_core::Role::Admin,
        ..sebastian_platform::simulated::AgentSpec::online(owner.0, "Owner Toko", &[WA])
    });
    assert!(desk.platform.dashboard_assign("hers", owner));
    desk.platform.leave_channel(owner, WA);
    desk.add_worker();
    assert_eq!(desk.assigned_in_ledger("hers").await, owner);

    polled(&desk, 4).await;

    assert_eq!(desk.platform.agent_of("hers"), Some(owner));
    desk.stop().await;
}

#[tokio::test]
async fn a_conversation_given_back_goes_to_somebody_in_its_agents_place() {
    let mut desk = two_agents(false).await;
    desk.add_worker();
    served(&desk, 1).await;
    let first = desk.platform.agent_of("0").unwrap();
    let other = if first == ONE { TWO } else { ONE };
    desk.platform.set_presence(first, false);
    polled(&desk, 2).await;

    give_back(&desk, "0").await;

    is_served_by(&desk, "0", other).await;
    assert_eq!(desk.conversation("0").await.unwrap().replaces, None);
    desk.loads_agree().await;
    desk.stop().await;
}

#[tokio::test]
async fn a_replacement_whose_answer_was_lost_is_proven_by_our_agents_own_list() {
    for lost in [Answer::Drop, Answer::Status(500)] {
        for took_effect in [true, false] {
            let mut desk = two_agents(false).await;
            desk.add_worker();
            served(&desk, 1).await;
            let first = desk.platform.agent_of("0").unwrap();
            let other = if first == ONE { TWO } else { ONE };
            desk.platform.set_presence(first, false);
            polled(&desk, 2).await;
            let lost = lost.clone();
            desk.platform.set_fault(match took_effect {
                true => Fault::after_apply(Endpoint::Assign, lost).times(1),
                false => Fault::instead(Endpoint::Assign, lost).times(1),
            });

            give_back(&desk, "0").await;

            is_served_by(&desk, "0", other).await;
            desk.loads_agree().await;
            desk.stop().await;
        }
    }
}

#[tokio::test]
async fn a_replacement_that_never_happened_leaves_the_conversation_in_line() {
    let mut desk = two_agents(false).await;
    desk.add_worker();
    served(&desk, 1).await;
    let first = desk.platform.agent_of("0").unwrap();
    let other = if first == ONE { TWO } else { ONE };
    desk.platform.set_presence(first, false);
    polled(&desk, 2).await;
    let mute = desk.platform.set_fault(Fault::instead(Endpoint::Assign, Answer::Drop));

    give_back(&desk, "0").await;
    eventually("its attempts are given up one after the other", SOON, async || {
        let attempt = desk.conversation("0").await.unwrap().attempt;
        if attempt > 2 { Ok(()) } else { Err(attempt) }
    })
    .await;
    let ours = desk.conversation("0").await.unwrap();
    assert_eq!(ours.replaces, Some(first), "the platform still shows them");
    desk.platform.clear_fault(mute);

    is_served_by(&desk, "0", other).await;
    desk.stop().await;
}

#[tokio::test]
async fn whoever_takes_a_conversation_given_back_in_the_dashboard_keeps_it() {
    let mut desk = Desk::of(3, 5).await;
    desk.add_worker();
    served(&desk, 1).await;
    let first = desk.platform.agent_of("0").unwrap();
    let mut others = desk.agents().into_iter().filter(|agent| *agent != first);
    let (hand, _) = (others.next().unwrap(), others.next().unwrap());
    for agent in desk.agents() {
        desk.platform.set_presence(agent, false);
    }
    polled(&desk, 2).await;
    give_back(&desk, "0").await;
    eventually("it waits", SOON, async || match desk.state("0").await {
        Some(State::Waiting { .. }) => Ok(()),
        other => Err(other),
    })
    .await;

    assert!(desk.platform.dashboard_transfer("0", hand));
    for agent in desk.agents() {
        desk.platform.set_presence(agent, true);
    }

    is_served_by(&desk, "0", hand).await;
    polled(&desk, 2).await;
    assert_eq!(desk.platform.agent_of("0"), Some(hand));
    desk.stop().await;
}

/// Not longer than a test may take; a snooze in real time.
const NAP: Duration = Duration::from_millis(600);

#[tokio::test]
async fn a_snoozed_conversation_makes_room_for_another_until_it_wakes() {
    let mut desk = Desk::of(1, 1).await;
    desk.add_worker();
    served(&desk, 1).await;
    let until = desk.store.now().await.unwrap() + NAP;
    let update = Update {
        status: Some(sebastian_core::Status::Snoozed),
        snoozed_until: Some(until),
        ..Update::default()
    };
    let kind = EventKind::Update(update);
    let event = NewEvent { room: RoomId::parse("0").unwrap(), kind, source: Source::Operator };
    desk.store.accept(desk.account, &[event]).await.unwrap();
    desk.chat("1").await;

    assert_eq!(desk.assigned_in_ledger("1").await, ONE);
    eventually("it wakes", SOON, async || match desk.load(ONE).await {
        2 => Ok(()),
        other => Err(other),
    })
    .await;
    desk.stop().await;
}

/// Two agents with room for five, where what an absent one serves goes to somebody else after a short grace.
async fn where_absence_counts(reassign: ReassignOffline) -> Desk {
    let mut desk = two_agents(false).await;
    desk.policy.absence = AbsenceRule { reassign, grace: Duration::from_millis(300) };
    desk
}

#[tokio::test]
async fn what_an_agent_serves_who_stays_offline_goes_to_another_in_their_place() {
    let mut desk = where_absence_counts(ReassignOffline::After).await;
    desk.add_worker();
    served(&desk, 2).await;
    let [stray] = &rooms_of(&desk, ONE, 2)[..] else { panic!("one room each") };

    desk.platform.set_presence(ONE, false);

    is_served_by(&desk, stray, TWO).await;
    assert_eq!(desk.platform.read(|state| state.room(stray).unwrap().agents().to_vec()), [TWO]);
    desk.stop().await;
}

#[tokio::test]
async fn while_nobody_is_at_their_desk_nothing_leaves_an_absent_agent() {
    let mut desk = where_absence_counts(ReassignOffline::After).await;
    desk.add_worker();
    served(&desk, 2).await;
    let [stray] = &rooms_of(&desk, ONE, 2)[..] else { panic!("one room each") };

    desk.platform.set_presence(ONE, false);
    desk.platform.set_presence(TWO, false);
    polled(&desk, 30).await;

    assert!(desk.is_assigned(stray).await);
    desk.stop().await;
}

#[tokio::test]
async fn only_what_a_customer_wrote_in_since_leaves_an_absent_agent_where_the_rule_says_so() {
    let mut desk = where_absence_counts(ReassignOffline::WaitingReply).await;
    desk.add_worker();
    served(&desk, 4).await;
    let rooms = rooms_of(&desk, ONE, 4);
    let [written_in, silent] = &rooms[..] else { panic!("two rooms each") };
    desk.platform.set_presence(ONE, false);
    polled(&desk, 2).await;

    write_again(&desk, written_in).await;

    is_served_by(&desk, written_in, TWO).await;
    assert_eq!(desk.platform.agent_of(silent), Some(ONE));
    desk.stop().await;
}
