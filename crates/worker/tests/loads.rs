//! Loads stay right whatever is told, by whomever, how often and how late.

use std::time::Duration;

use sebastian_core::{AgentId, InboxId, State};
use sebastian_platform::simulated::{
    AgentSpec, Answer, CountFault, Endpoint, Fault, FaultKind, RosterFault, SimulatedConfig,
};
use sebastian_testkit::eventually;
use serde_json::Value;

use crate::desk::{Desk, SOON, WA};

const FB: InboxId = InboxId(88122);
const OWNER: AgentId = AgentId(209_900);

/// The body as an older generation of the platform sends it: no channel.
fn without_channel(mut body: Value) -> Value {
    body.as_object_mut().unwrap().remove("channel");
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn however_often_and_by_whomever_a_room_is_resolved_one_slot_comes_free() {
    let mut desk = Desk::of(1, 5).await;
    let agent = desk.agents()[0];
    desk.add_worker();
    for room in ["room-1", "room-2", "room-3"] {
        desk.chat(room).await;
    }
    desk.assigned(3).await;

    let by_admin = desk.platform.resolve("room-1", Some(OWNER)).unwrap();
    desk.resolved(&by_admin).await;
    desk.resolved(&by_admin).await;
    eventually("one slot is free", SOON, async || desk.load(agent).await == 2).await;

    // Never assigned: resolved while it waited, and a room nobody ever heard of.
    desk.platform.set_presence(agent, false);
    desk.called_again(Endpoint::Agents, 2).await;
    desk.chat("room-4").await;
    eventually("it waits", SOON, async || desk.conversation("room-4").await.is_some()).await;
    desk.resolve("room-4").await;
    desk.platform.set_presence(agent, true);
    eventually("it is over", SOON, async || {
        matches!(desk.state("room-4").await, Some(State::Resolved { .. }))
    })
    .await;

    // The customer of room 1 is back, and the first session's resolve comes once more.
    desk.chat("room-1").await;
    desk.assigned_in_ledger("room-1").await;
    desk.resolved(&by_admin).await;
    desk.chat("room-5").await;
    desk.assigned_in_ledger("room-5").await;
    assert_eq!(desk.load(agent).await, 4);
    desk.loads_agree().await;
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rooms_given_in_the_dashboard_count_even_while_counts_are_frozen() {
    let mut desk = Desk::of(1, 3).await;
    let agent = desk.agents()[0];
    desk.platform.set_fault(Fault::counts(CountFault::Frozen));
    desk.add_worker();
    for room in ["gift-1", "gift-2"] {
        desk.platform.new_chat(room, WA);
        desk.platform.dashboard_assign(room, agent);
    }
    eventually("two are adopted", SOON, async || desk.load(agent).await == 2).await;

    for room in ["room-1", "room-2", "room-3"] {
        desk.chat(room).await;
    }
    desk.assigned(1).await;
    desk.resolve("gift-1").await;
    desk.assigned(2).await;

    assert_eq!(desk.platform.max_load_seen(agent), 3);
    desk.loads_agree().await;
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_that_lag_adopt_nothing_and_block_nobody_for_long() {
    let mut desk = Desk::of(2, 3).await;
    desk.platform.set_fault(Fault::counts(CountFault::Lag(Duration::from_secs(2))));
    desk.add_worker();
    for round in 0..4 {
        let rooms: Vec<String> = (0..6).map(|n| format!("room-{round}-{n}")).collect();
        for room in &rooms {
            desk.chat(room).await;
        }
        desk.assigned(6 * (round + 1)).await;
        for room in &rooms {
            desk.assigned_in_ledger(room).await;
            desk.resolve(room).await;
        }
    }
    desk.loads_agree().await;
    assert_eq!(desk.violations(3).await, []);
    desk.stop().await;
}

/// Agents whose counts nobody tells are asked about before they are given anything, and not while they are full.
async fn loads_nobody_tells(fault: CountFault) {
    let mut desk = Desk::of(2, 2).await;
    let agent = desk.agents()[0];
    desk.platform.new_chat("gift", WA);
    desk.platform.dashboard_assign("gift", agent);
    desk.platform.set_fault(Fault::counts(fault));
    desk.add_worker();

    let rooms: Vec<String> = (0..6).map(|n| format!("room-{n}")).collect();
    for room in &rooms {
        desk.chat(room).await;
    }
    desk.assigned(3).await;
    eventually("both are full", SOON, async || desk.store.counts(desk.account).await.unwrap().assigned == 4)
        .await;
    let asked = desk.calls(Endpoint::AvailableAgents);
    // Until every answer is too old to be believed.
    desk.called_again(Endpoint::Agents, 8).await;
    assert!(desk.calls(Endpoint::AvailableAgents) <= asked + 3, "asked about rooms while everyone was full");

    for (n, room) in rooms[..3].iter().enumerate() {
        desk.resolve(room).await;
        desk.assigned(4 + n).await;
    }
    desk.loads_agree().await;
    assert_eq!(desk.violations(2).await, []);
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_counts_are_asked_for_and_never_read_as_free() {
    loads_nobody_tells(CountFault::Missing).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn negative_counts_are_asked_for_and_never_read_as_free() {
    loads_nobody_tells(CountFault::Negative).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_neither_roster_nor_webhook_names_channels_each_room_is_asked_about() {
    let mut desk = Desk::on(SimulatedConfig::tenant(), 3).await;
    desk.platform.set_fault(Fault::roster(RosterFault::NoChannels));
    desk.add_worker();

    for (n, inbox) in [WA, FB, WA, FB, WA].into_iter().enumerate() {
        let body = desk.platform.new_chat(&format!("room-{n}"), inbox).unwrap();
        desk.allocate(&without_channel(body)).await;
    }

    desk.assigned(5).await;
    // Only Eka serves Facebook, and nothing else.
    let eka = AgentId(210_441);
    for (n, is_ekas) in [false, true, false, true, false].into_iter().enumerate() {
        assert_eq!(desk.assigned_in_ledger(&format!("room-{n}")).await == eka, is_ekas);
    }
    desk.loads_agree().await;
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_that_nobody_online_serves_delays_no_other() {
    let mut desk = Desk::on(SimulatedConfig::tenant(), 3).await;
    let eka = AgentId(210_441);
    desk.platform.set_presence(eka, false);
    desk.add_worker();

    desk.chat_in(FB, "fb-1").await;
    for room in ["wa-1", "wa-2", "wa-3"] {
        desk.chat(room).await;
    }
    desk.assigned(3).await;
    assert!(matches!(desk.state("fb-1").await, Some(State::Waiting { park: None })));

    desk.platform.set_presence(eka, true);
    assert_eq!(desk.assigned_in_ledger("fb-1").await, eka);
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_with_two_agents_stays_with_the_one_it_was_given_to() {
    let mut desk = Desk::of(2, 3).await;
    desk.add_worker();
    desk.chat("room-1").await;
    let first = desk.assigned_in_ledger("room-1").await;
    let second = desk.agents().into_iter().find(|agent| *agent != first).unwrap();

    desk.platform.dashboard_assign("room-1", second);

    desk.called_again(Endpoint::Rooms, 12).await;
    assert_eq!(desk.assigned_in_ledger("room-1").await, first);
    assert_eq!((desk.load(first).await, desk.load(second).await), (1, 0));
    desk.resolve("room-1").await;
    eventually("its slot is free", SOON, async || desk.load(first).await == 0).await;
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_whose_agent_was_removed_in_the_dashboard_is_given_again_and_first() {
    let mut desk = Desk::of(1, 2).await;
    let agent = desk.agents()[0];
    desk.add_worker();
    for room in ["room-1", "room-2", "room-3"] {
        desk.chat(room).await;
    }
    desk.assigned_in_ledger("room-1").await;
    desk.assigned_in_ledger("room-2").await;
    // Nobody is there to serve either, until the ledger has followed.
    desk.platform.set_presence(agent, false);
    desk.called_again(Endpoint::Agents, 2).await;

    desk.remove("room-1", agent).await;

    eventually("it waits again", SOON, async || {
        matches!(desk.state("room-1").await, Some(State::Waiting { .. }))
    })
    .await;
    assert_eq!(desk.load(agent).await, 1);
    desk.platform.set_presence(agent, true);
    desk.assigned_in_ledger("room-1").await;
    assert!(!desk.is_assigned("room-3").await);
    desk.loads_agree().await;
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rooms_whose_webhooks_were_lost_are_served_longest_waiting_first() {
    let mut desk = Desk::of(1, 20).await;
    let rooms: Vec<String> = (0..8).map(|n| format!("room-{n}")).collect();
    for room in &rooms {
        desk.platform.new_chat(room, WA);
    }
    desk.platform.set_fault(Fault::new(Endpoint::Rooms, FaultKind::DirtyRows(3)));
    desk.platform.new_chat("over", WA);
    desk.platform.resolve("over", None);

    desk.add_worker();

    desk.assigned(8).await;
    let places = desk.store.first_reservations(desk.account, 100).await.unwrap();
    let mut found = Vec::new();
    for room in &rooms {
        found.push(desk.conversation(room).await.unwrap().position);
    }
    assert_eq!(places, found);
    assert_eq!(desk.conversation("over").await, None);
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_right_after_rooms_were_given_in_the_dashboard_exceeds_no_capacity() {
    let mut desk = Desk::of(1, 4).await;
    let agent = desk.agents()[0];
    desk.platform.set_presence(agent, false);
    desk.platform.set_fault(Fault::latency(Endpoint::Rooms, Duration::from_millis(150)));
    desk.add_worker();
    for n in 0..10 {
        desk.chat(&format!("room-{n}")).await;
    }
    desk.called_again(Endpoint::Agents, 2).await;
    for room in ["gift-1", "gift-2"] {
        desk.platform.new_chat(room, WA);
        desk.platform.dashboard_assign(room, agent);
    }

    desk.platform.set_presence(agent, true);

    desk.assigned(2).await;
    desk.called_again(Endpoint::Agents, 3).await;
    assert_eq!(desk.platform.max_load_seen(agent), 4);
    desk.loads_agree().await;
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_whose_rooms_cannot_be_listed_is_left_alone_until_they_can() {
    let mut desk = Desk::of(2, 2).await;
    let [busy, free] = desk.agents()[..] else { panic!("two agents") };
    desk.platform.new_chat("gift", WA);
    desk.platform.dashboard_assign("gift", busy);
    let down = desk.platform.set_fault(Fault::instead(Endpoint::Rooms, Answer::Status(500)));
    desk.add_worker();

    for room in ["room-1", "room-2", "room-3", "room-4"] {
        desk.chat(room).await;
    }
    desk.assigned(2).await;
    desk.called_again(Endpoint::Agents, 3).await;
    assert_eq!((desk.platform.load(busy), desk.platform.load(free)), (1, 2));
    desk.platform.clear_fault(down);

    desk.assigned(3).await;
    desk.loads_agree().await;
    assert_eq!(desk.platform.max_load_seen(busy), 2);
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_moved_to_a_supervisor_is_no_longer_its_agents() {
    let mut desk = Desk::on(SimulatedConfig::tenant(), 3).await;
    let supervisor = AgentId(209_915);
    desk.add_worker();
    desk.chat("room-1").await;
    let agent = desk.assigned_in_ledger("room-1").await;

    desk.platform.dashboard_transfer("room-1", supervisor);

    eventually("it moved", SOON, async || (desk.load(agent).await, desk.load(supervisor).await) == (0, 1))
        .await;
    desk.loads_agree().await;
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_agents_with_work_from_before_are_all_adopted() {
    let mut config = SimulatedConfig::desk(0);
    config.agents.extend((0..150).map(|n| AgentSpec::online(400_000 + n, &format!("Agent {n}"), &[WA])));
    let mut desk = Desk::on(config, 1).await;
    for n in 0..150 {
        desk.platform.new_chat(&format!("old-{n}"), WA);
        desk.platform.dashboard_assign(&format!("old-{n}"), AgentId(400_000 + n));
    }
    desk.add_worker();
    desk.chat("room-1").await;

    desk.loads_agree().await;
    desk.resolve("old-149").await;

    assert_eq!(desk.assigned_in_ledger("room-1").await, AgentId(400_149));
    assert_eq!(desk.violations(1).await, []);
    desk.stop().await;
}
