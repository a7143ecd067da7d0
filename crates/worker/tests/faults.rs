//! What platforms do that a clean mock never shows.

use std::time::Duration;

use sebastian_core::State;
use sebastian_platform::simulated::{Answer, CountFault, Endpoint, Fault, FaultKind};
use sebastian_testkit::eventually;

use crate::desk::{Desk, SOON, WA};

#[tokio::test(flavor = "multi_thread")]
async fn an_assignment_whose_answer_was_lost_is_found_by_reading_back() {
    let mut desk = Desk::of(3, 3).await;
    desk.platform.set_fault(Fault::after_apply(Endpoint::Assign, Answer::Drop).times(1));
    desk.add_worker();

    desk.chat("room-1").await;

    eventually("the ledger calls it assigned", SOON, async || {
        matches!(desk.conversation("room-1").await.map(|found| found.state), Some(State::Assigned { .. }))
    })
    .await;
    assert_eq!(desk.violations(3).await, []);
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_room_that_claims_to_be_taken_is_tried_again() {
    let mut desk = Desk::of(1, 3).await;
    desk.platform.set_fault(Fault::new(Endpoint::Assign, FaultKind::ExceedOnFreshRoom { first: 2 }));
    desk.add_worker();

    desk.chat("room-1").await;

    desk.assigned(1).await;
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frozen_counts_never_let_anyone_exceed_their_capacity() {
    let mut desk = Desk::of(2, 2).await;
    desk.platform.set_fault(Fault::counts(CountFault::Frozen));
    desk.add_worker();
    desk.add_worker();

    for n in 0..20 {
        desk.chat(&format!("room-{n:02}")).await;
    }
    desk.assigned(4).await;

    desk.resolve("room-00").await;
    desk.assigned(5).await;
    assert_eq!(desk.violations(2).await, []);
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rooms_given_in_the_dashboard_are_counted() {
    let mut desk = Desk::of(1, 3).await;
    let agent = desk.agents()[0];
    desk.add_worker();
    for room in ["gift-1", "gift-2"] {
        desk.platform.new_chat(room, WA);
        desk.platform.dashboard_assign(room, agent);
    }
    eventually("two are adopted", SOON, async || desk.load(agent).await == 2).await;

    desk.chat("room-1").await;
    desk.chat("room-2").await;
    desk.assigned(1).await;

    desk.resolve("gift-1").await;
    desk.assigned(2).await;
    assert_eq!(desk.platform.max_load_seen(agent), 3);
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_in_the_dashboard_moves_one_conversation_once() {
    let mut desk = Desk::of(2, 3).await;
    desk.add_worker();
    desk.chat("room-1").await;
    desk.assigned(1).await;
    let from = desk.platform.agent_of("room-1").unwrap();
    let to = desk.agents().into_iter().find(|agent| *agent != from).unwrap();

    desk.platform.dashboard_transfer("room-1", to);

    eventually("it moved", SOON, async || (desk.load(from).await, desk.load(to).await) == (0, 1)).await;
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_allocation_and_a_lost_resolve_are_healed() {
    let mut desk = Desk::of(1, 1).await;
    let agent = desk.agents()[0];
    desk.add_worker();

    desk.platform.new_chat("room-1", WA);
    desk.assigned(1).await;
    desk.platform.resolve("room-1", None);
    eventually("the slot is free", SOON, async || desk.load(agent).await == 0).await;

    desk.chat("room-2").await;
    desk.assigned(2).await;
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_in_the_middle_of_a_burst_loses_and_doubles_nothing() {
    let mut desk = Desk::of(10, 20).await;
    desk.platform.set_fault(Fault::latency(Endpoint::Assign, Duration::from_millis(50)));
    desk.add_worker();
    for n in 0..200 {
        desk.chat(&format!("room-{n:03}")).await;
    }
    desk.assigned(20).await;
    desk.crash();

    desk.add_worker();

    desk.assigned(200).await;
    assert_eq!(desk.violations(20).await, []);
    desk.stop().await;
}
