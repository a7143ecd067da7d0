//! Conversations dealt as the platform proposes, within our limits.

use sebastian_core::{AgentId, ParkReason, State, Strategy};
use sebastian_platform::simulated::{Answer, Endpoint, Fault};
use sebastian_testkit::eventually;

use crate::desk::{Desk, SOON};

const ONE: AgentId = AgentId(300_001);

async fn as_proposed(agents: u32, capacity: u32) -> Desk {
    let mut desk = Desk::of(agents, capacity).await;
    desk.policy.strategy = Strategy::Platform;
    desk
}

#[tokio::test]
async fn the_platform_is_asked_and_its_proposal_is_taken() {
    let mut desk = as_proposed(3, 5).await;
    desk.add_worker();

    for room in ["a", "b", "c"] {
        desk.chat(room).await;
        desk.assigned_in_ledger(room).await;
    }

    // It proposes whoever holds fewest, and of those the first.
    let given: Vec<AgentId> = desk.platform.assign_order().into_iter().map(|(_, agent, _)| agent).collect();
    assert_eq!(given, [ONE, AgentId(300_002), AgentId(300_003)]);
    assert_eq!(desk.calls(Endpoint::Propose), 3);
    assert!(desk.violations(5).await.is_empty());
    desk.stop().await;
}

#[tokio::test]
async fn a_burst_goes_over_nobodys_capacity_whatever_is_proposed() {
    let mut desk = as_proposed(3, 2).await;
    desk.add_worker();

    for n in 0..9 {
        desk.chat(&n.to_string()).await;
    }
    desk.assigned(6).await;

    let highest: Vec<u32> = desk.agents().iter().map(|agent| desk.platform.max_load_seen(*agent)).collect();
    assert_eq!(highest, [2, 2, 2]);
    desk.stop().await;
}

#[tokio::test]
async fn whoever_is_proposed_and_full_is_given_nothing_and_the_chat_waits() {
    let mut desk = as_proposed(2, 5).await;
    let full = serde_json::json!({"data": {"agent": {"id": 209_900}}});
    let wrong = desk.platform.set_fault(Fault::instead(Endpoint::Propose, Answer::Json(200, full)));
    desk.add_worker();

    desk.chat("a").await;
    eventually("it is parked", SOON, async || match desk.state("a").await {
        Some(State::Waiting { park: Some(park) }) if park.why == ParkReason::NotProposed => Ok(()),
        other => Err(other),
    })
    .await;
    desk.platform.clear_fault(wrong);

    desk.assigned_in_ledger("a").await;
    desk.stop().await;
}

#[tokio::test]
async fn a_proposal_that_fails_is_asked_for_again() {
    let mut desk = as_proposed(1, 5).await;
    desk.platform.set_fault(Fault::instead(Endpoint::Propose, Answer::Drop).times(1));
    desk.add_worker();

    desk.chat("a").await;

    assert_eq!(desk.assigned_in_ledger("a").await, ONE);
    assert_eq!(desk.calls(Endpoint::Propose), 2);
    desk.stop().await;
}
