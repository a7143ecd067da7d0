//! Answers that tell nothing, workers that stop in the middle, people who are faster.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use sebastian_core::{Closed, Park, ParkReason, State, Timing};
use sebastian_platform::simulated::{
    Answer, AssignAgain, Endpoint, Fault, FaultKind, SimulatedConfig, Target,
};
use sebastian_store::Selection;
use sebastian_testkit::eventually;
use serde_json::json;

use crate::{
    desk::{Desk, Hands, SOON, WA},
    wrapped::{Gate, HeldClient, Wrapped},
};

/// Short enough to see a conversation through every take-over.
const HASTY: Timing = Timing {
    settle_window: Duration::from_millis(100),
    reservation: Duration::from_millis(300),
    refusal: Duration::from_secs(300),
};

/// Every answer that says nothing of what was done.
fn riddles() -> Vec<Answer> {
    let mut riddles: Vec<Answer> = [408, 500, 502, 503, 504].map(Answer::Status).into();
    riddles.extend([
        Answer::Json(200, json!({"success": false})),
        Answer::Json(200, json!({"data": {"added_agent": {"id": 1}}})),
        Answer::Html,
        Answer::Huge(2 << 20),
        Answer::Redirect("http://169.254.169.254/".into()),
        Answer::Drop,
        Answer::Hang,
    ]);
    riddles
}

/// Every riddle once in place of the call and once after it took effect: each room ends at exactly one agent.
async fn every_riddle_is_solved(assign_again: AssignAgain) {
    let mut desk = Desk::on(SimulatedConfig { assign_again, ..SimulatedConfig::desk(4) }, 10).await;
    let mut rooms = Vec::new();
    for (n, riddle) in riddles().into_iter().enumerate() {
        let (lost, done) = (format!("lost-{n:02}"), format!("done-{n:02}"));
        desk.platform.set_fault(Fault::instead(Endpoint::Assign, riddle.clone()).for_room(&lost).times(1));
        desk.platform.set_fault(Fault::after_apply(Endpoint::Assign, riddle).for_room(&done).times(1));
        rooms.extend([lost, done]);
    }
    desk.add_worker();

    for room in &rooms {
        desk.chat(room).await;
    }

    for room in &rooms {
        let agent = desk.assigned_in_ledger(room).await;
        assert_eq!(desk.platform.agent_of(room), Some(agent), "{room}");
    }
    desk.loads_agree().await;
    assert_eq!(desk.violations(10).await, []);
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_tells_nothing_costs_no_chat_and_gives_it_to_one_agent() {
    every_riddle_is_solved(AssignAgain::Succeeds).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_holds_where_a_repeated_call_is_refused() {
    every_riddle_is_solved(AssignAgain::ExceedsMaxAgents).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_lags_behind_a_lost_answer_frees_no_slot() {
    let config = SimulatedConfig { assign_again: AssignAgain::ExceedsMaxAgents, ..SimulatedConfig::desk(1) };
    let mut desk = Desk::on(config, 1).await;
    let agent = desk.agents()[0];
    desk.platform.set_fault(Fault::after_apply(Endpoint::Assign, Answer::Drop).times(1));
    desk.platform.set_fault(Fault::new(Target::Rooms, FaultKind::RoomsLag(Duration::from_millis(350))));
    desk.add_worker();

    desk.chat("room-1").await;
    desk.chat("room-2").await;

    assert_eq!(desk.assigned_in_ledger("room-1").await, agent);
    desk.called_again(Endpoint::Agents, 3).await;
    assert_eq!(desk.platform.max_load_seen(agent), 1);
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_and_a_list_that_still_shows_the_last_session_end_no_new_one() {
    // Another agent, for the platform may be taken to refuse the first.
    let mut desk = Desk::of(2, 3).await;
    desk.add_worker();
    desk.chat("room-1").await;
    desk.assigned_in_ledger("room-1").await;
    desk.resolve("room-1").await;
    eventually("the first session is over", SOON, async || match desk.state("room-1").await {
        Some(State::Resolved { .. }) => Ok(()),
        other => Err(other),
    })
    .await;
    desk.platform.set_fault(Fault::new(Target::Rooms, FaultKind::RoomsLag(Duration::from_millis(500))));
    desk.platform.set_fault(Fault::instead(Endpoint::Assign, Answer::Status(400)).times(1));

    desk.chat("room-1").await;
    desk.assigned_in_ledger("room-1").await;
    let page = desk.store.list(desk.account, &Selection::Resolved, 10).await.unwrap();
    assert_eq!(page.conversations.len(), 1, "only the first session is over");
    desk.stop().await;
}

/// A worker that leaves to others whatever it does not finish, and the calls it sends.
fn left_alone(
    desk: &Desk,
    reserved: Option<Arc<Gate>>,
    client: Option<Arc<Gate>>,
) -> (Hands, Arc<Wrapped>, Arc<HeldClient>) {
    let client = HeldClient::new(Arc::new(desk.client()), client);
    let store = Arc::new(Wrapped { reserved, settles: false, ..Wrapped::new(desk.store.clone()) });
    (Hands { store: store.clone(), platform: client.clone(), ..desk.hands() }, store, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_wakes_up_past_its_deadline_sends_nothing() {
    let mut desk = Desk::of(2, 3).await;
    let gate = Gate::shut();
    let (hands, store, client) = left_alone(&desk, Some(gate.clone()), None);
    desk.add(hands);
    desk.chat("room-1").await;
    gate.somebody_held().await;

    desk.add_worker();
    let agent = desk.assigned_in_ledger("room-1").await;
    gate.open();
    eventually("it is done", SOON, async || store.settlements.load(Ordering::SeqCst) > 0).await;
    desk.stop_first().await;

    assert_eq!(*client.sent.lock().unwrap(), []);
    assert_eq!((desk.platform.agent_of("room-1"), desk.load(agent).await), (Some(agent), 1));
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_lands_after_another_worker_took_over_changes_nothing() {
    let mut desk = Desk::of(2, 3).await;
    let gate = Gate::shut();
    let (hands, store, client) = left_alone(&desk, None, Some(gate.clone()));
    desk.add(hands);
    desk.chat("room-1").await;
    gate.somebody_held().await;

    desk.add_worker();
    let agent = desk.assigned_in_ledger("room-1").await;
    gate.open();
    eventually("it is done", SOON, async || store.settlements.load(Ordering::SeqCst) > 0).await;
    desk.stop_first().await;

    assert_eq!(client.sent.lock().unwrap().len(), 1);
    assert_eq!(desk.assigned_in_ledger("room-1").await, agent);
    desk.loads_agree().await;
    assert_eq!(desk.violations(3).await, []);
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confirmation_whose_answer_was_lost_is_repeated_and_counts_once() {
    let mut desk = Desk::of(1, 3).await;
    let store = Wrapped { confirms_failing: 3.into(), ..Wrapped::new(desk.store.clone()) };
    desk.add(Hands { store: Arc::new(store), ..desk.hands() });

    desk.chat("room-1").await;

    let agent = desk.assigned_in_ledger("room-1").await;
    desk.stop().await;
    assert_eq!(desk.load(agent).await, 1);
    assert_eq!(desk.violations(3).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ended_during_the_call_never_gets_the_agent_of_the_next() {
    let mut desk = Desk::of(1, 1).await;
    let down = desk.platform.set_fault(Fault::instead(Endpoint::Assign, Answer::Status(500)));
    desk.add_worker();
    desk.chat("room-1").await;
    desk.called_again(Endpoint::Assign, 1).await;

    // The session ends and the customer writes again; that second webhook is late.
    let over = desk.platform.resolve("room-1", None).unwrap();
    let body = desk.platform.new_chat("room-1", WA).unwrap();
    desk.resolved(&over).await;
    eventually("it is closing", SOON, async || {
        matches!(desk.state("room-1").await, Some(State::Closing { .. }))
    })
    .await;
    desk.called_again(Endpoint::Room, 1).await;
    let sent = desk.calls(Endpoint::Assign);
    desk.platform.clear_fault(down);

    eventually("it is over", SOON, async || {
        matches!(desk.state("room-1").await, Some(State::Resolved { .. }))
    })
    .await;
    assert_eq!(desk.calls(Endpoint::Assign), sent, "nothing more was sent for a session that is over");
    assert_eq!(desk.platform.agent_of("room-1"), None);

    desk.allocate(&body).await;
    desk.assigned(1).await;
    desk.loads_agree().await;
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resolve_during_the_call_frees_the_slot_once_the_call_is_over() {
    let mut desk = Desk::of(1, 1).await;
    let agent = desk.agents()[0];
    desk.platform.set_fault(Fault::after_apply(Endpoint::Assign, Answer::Hang).times(1));
    desk.add_worker();
    desk.chat("room-1").await;
    desk.assigned(1).await;

    desk.resolve("room-1").await;

    eventually("the slot is free", SOON, async || desk.load(agent).await == 0).await;
    desk.chat("room-2").await;
    desk.assigned(2).await;
    assert_eq!(desk.violations(1).await, []);
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_takes_the_room_in_the_dashboard_during_the_call_keeps_it() {
    let mut desk = Desk::of(1, 3).await;
    let owner = sebastian_core::AgentId(209_900);
    desk.platform.set_fault(Fault::latency(Endpoint::Assign, Duration::from_millis(150)).times(1));
    let reserved = |state: &Option<State>| matches!(state, Some(State::Reserved { .. }));
    desk.add_worker();
    desk.chat("room-1").await;
    eventually("it is reserved", SOON, async || reserved(&desk.state("room-1").await)).await;

    assert!(desk.platform.dashboard_assign("room-1", owner));

    eventually("it is the owner's", SOON, async || desk.load(owner).await == 1).await;
    desk.loads_agree().await;
    assert_eq!(desk.platform.agent_of("room-1"), Some(owner));
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_resolved_in_the_dashboard_during_the_call_is_closed() {
    let mut desk = Desk::of(1, 1).await;
    desk.platform.set_fault(Fault::latency(Endpoint::Assign, Duration::from_millis(150)).times(1));
    desk.add_worker();
    desk.chat("room-1").await;
    eventually("it is reserved", SOON, async || desk.load(desk.agents()[0]).await == 1).await;

    desk.platform.resolve("room-1", None);

    eventually("it is closed", SOON, async || {
        matches!(desk.state("room-1").await, Some(State::Resolved { how: Closed::Resolved, .. }))
    })
    .await;
    desk.loads_agree().await;
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_the_platform_refuses_is_left_out_and_another_is_asked() {
    let mut desk = Desk::of(2, 3).await;
    let [gone, other] = desk.agents()[..] else { panic!("two agents") };
    let refusal = Answer::Json(404, json!({"errors": {"message": "Agent not found"}}));
    desk.platform.set_fault(Fault::instead(Endpoint::Assign, refusal).for_agent(gone));
    desk.add_worker();

    for room in ["room-1", "room-2", "room-3"] {
        desk.chat(room).await;
    }

    desk.assigned(3).await;
    assert_eq!(desk.platform.load(other), 3);
    desk.loads_agree().await;
    desk.stop().await;
}

fn is_parked(state: &Option<State>) -> bool {
    matches!(state, Some(State::Waiting { park: Some(Park { why: ParkReason::Refused, .. }) }))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_that_is_always_refused_is_parked_and_those_behind_it_move() {
    for answer in [Answer::ExceedMaxAgents, Answer::Status(400), Answer::Status(409), Answer::Status(422)] {
        let mut desk = Desk::timed(SimulatedConfig::desk(1), 1, HASTY).await;
        desk.platform.set_fault(Fault::instead(Endpoint::Assign, answer.clone()).for_room("poison"));
        desk.add_worker();

        desk.chat("poison").await;
        desk.chat("room-2").await;

        desk.assigned(1).await;
        assert!(desk.platform.agent_of("room-2").is_some());
        assert!(is_parked(&desk.state("poison").await), "{answer:?}: {:?}", desk.state("poison").await);
        desk.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_that_is_never_answered_for_is_parked_and_those_behind_it_move() {
    let mut desk = Desk::timed(SimulatedConfig::desk(1), 1, HASTY).await;
    desk.platform.set_fault(Fault::instead(Endpoint::Assign, Answer::Status(500)).for_room("poison"));
    desk.add_worker();

    desk.chat("poison").await;
    desk.chat("room-2").await;

    desk.assigned(1).await;
    assert!(is_parked(&desk.state("poison").await));
    desk.loads_agree().await;
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_outage_no_agent_is_left_out() {
    let mut desk = Desk::timed(SimulatedConfig::desk(1), 4, HASTY).await;
    desk.add_worker();
    desk.chat("room-0").await;
    desk.assigned(1).await;

    // Only assignments fail, which is the harder case: rooms read well, as if each were to blame itself.
    let down = desk.platform.set_fault(Fault::instead(Endpoint::Assign, Answer::Status(500)));
    for room in ["room-1", "room-2", "room-3"] {
        desk.chat(room).await;
    }
    eventually("it was tried again and again", SOON, async || desk.failures().await >= 2).await;
    desk.platform.clear_fault(down);

    desk.assigned(4).await;
    desk.loads_agree().await;
    desk.stop().await;
}
