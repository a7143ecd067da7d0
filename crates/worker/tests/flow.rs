//! Chats come, are assigned, end.

use sebastian_core::State;
use sebastian_testkit::eventually;

use crate::desk::{Desk, SOON};

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_is_assigned_and_resolved() {
    let mut desk = Desk::of(2, 3).await;
    desk.add_worker();

    desk.chat("room-1").await;
    desk.assigned(1).await;
    let agent = desk.platform.agent_of("room-1").unwrap();
    eventually("the ledger calls it assigned", SOON, async || {
        matches!(desk.conversation("room-1").await.unwrap().state, State::Assigned { .. })
    })
    .await;
    assert_eq!(desk.load(agent).await, 1);

    desk.resolve("room-1").await;
    eventually("its slot is free", SOON, async || desk.load(agent).await == 0).await;
    assert_eq!(desk.violations(3).await, []);
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chats_beyond_capacity_wait_and_follow_in_order_as_rooms_resolve() {
    let mut desk = Desk::of(3, 3).await;
    desk.add_worker();
    let rooms: Vec<String> = (1..=20).map(|n| format!("room-{n:02}")).collect();

    for room in &rooms {
        desk.chat(room).await;
    }
    desk.assigned(9).await;
    for (done, room) in rooms.iter().enumerate().take(11) {
        desk.resolve(room).await;
        desk.assigned(10 + done).await;
    }

    let served: Vec<String> =
        desk.platform.assign_order().iter().map(|(room, ..)| room.to_string()).collect();
    assert_eq!(served[9..], rooms[9..], "those who waited are served in order");
    assert_eq!(desk.violations(3).await, []);
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_on_two_workers_is_assigned_once_each_and_within_capacity() {
    let mut desk = Desk::of(50, 20).await;
    desk.add_worker();
    desk.add_worker();

    for n in 0..1_000 {
        desk.chat(&format!("room-{n:04}")).await;
    }

    desk.assigned(1_000).await;
    assert_eq!(desk.violations(20).await, []);
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_returning_customer_is_assigned_again() {
    let mut desk = Desk::of(1, 1).await;
    desk.add_worker();

    desk.chat("room-1").await;
    desk.assigned(1).await;
    desk.resolve("room-1").await;
    desk.chat("room-1").await;

    desk.assigned(2).await;
    assert_eq!(desk.violations(1).await, []);
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_worker_hands_back_and_another_goes_on() {
    let mut desk = Desk::of(5, 10).await;
    desk.add_worker();
    for n in 0..50 {
        desk.chat(&format!("room-{n:02}")).await;
    }
    desk.stop().await;

    desk.add_worker();

    desk.assigned(50).await;
    assert_eq!(desk.violations(10).await, []);
    desk.stop().await;
}
