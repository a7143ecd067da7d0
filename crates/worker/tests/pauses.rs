//! A platform that is busy, refuses us, or answers nobody.

use std::time::{Duration, Instant};

use sebastian_platform::simulated::{Answer, Endpoint, Fault, Request, Target};
use sebastian_testkit::eventually;

use crate::desk::{Desk, SOON};

/// Calls on their way when the answer came, and the moment it takes the other worker to hear of it.
const NEWS: Duration = Duration::from_millis(350);

fn calls_between(calls: &[Request], from: Instant, to: Instant) -> Vec<(Endpoint, Duration)> {
    let within = calls.iter().filter(|call| call.at > from && call.at < to);
    within.map(|call| (call.endpoint, call.at.duration_since(from))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_leave_a_busy_platform_alone_for_as_long_as_it_asks() {
    let mut desk = Desk::of(4, 10).await;
    desk.add_worker();
    desk.add_worker();
    desk.chat("room-00").await;
    desk.assigned(1).await;
    // Calls that were under way succeed after the refusal: no sign that the platform can be called again.
    desk.platform.set_fault(Fault::latency(Endpoint::Assign, Duration::from_millis(100)));
    let busy = Fault::instead(Endpoint::Assign, Answer::RetryAfter(429, "2".into()));
    desk.platform.set_fault(busy.for_room("room-01").times(1));

    for n in 1..=10 {
        desk.chat(&format!("room-{n:02}")).await;
    }
    desk.platform
        .wait_until(SOON, |state| state.requests().iter().any(|call| call.status == Some(429)))
        .await
        .unwrap();
    for n in 11..=20 {
        desk.chat(&format!("room-{n:02}")).await;
    }

    desk.assigned(21).await;
    let calls = desk.platform.requests();
    let told_at = calls.iter().find(|call| call.status == Some(429)).unwrap().answered_at;
    let hushed = calls_between(&calls, told_at + NEWS, told_at + Duration::from_millis(1_950));
    assert_eq!(hushed, [], "called in a pause of 2 s");
    let again = calls.iter().find(|call| call.room.as_deref() == Some("room-01") && call.at > told_at);
    let after = again.unwrap().at.duration_since(told_at);
    assert!(after >= Duration::from_millis(1_950), "tried again after {after:?}");
    assert_eq!(desk.violations(10).await, []);
    desk.loads_agree().await;
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_stops_neither_folding_nor_the_freeing_of_slots() {
    let mut desk = Desk::of(1, 2).await;
    let agent = desk.agents()[0];
    desk.add_worker();
    desk.chat("room-1").await;
    desk.assigned_in_ledger("room-1").await;
    desk.platform.set_fault(Fault::instead(Endpoint::Assign, Answer::RetryAfter(429, "2".into())).times(1));
    desk.chat("room-2").await;
    eventually("decisions pause", SOON, async || desk.failures().await == 1).await;
    let paused_at = Instant::now();

    desk.resolve("room-1").await;
    desk.chat("room-3").await;

    eventually("the slot is free", SOON, async || desk.load(agent).await == 0).await;
    eventually("the chat is in line", SOON, async || desk.conversation("room-3").await.is_some()).await;
    assert!(paused_at.elapsed() < Duration::from_secs(2), "it took the end of the pause");
    desk.assigned(3).await;
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_pause_one_chat_is_tried_before_the_others() {
    let mut desk = Desk::of(5, 10).await;
    desk.add_worker();
    desk.platform.set_fault(Fault::instead(Endpoint::Assign, Answer::RetryAfter(429, "1".into())).times(1));
    desk.chat("room-00").await;
    eventually("decisions pause", SOON, async || desk.failures().await == 1).await;
    desk.platform.set_fault(Fault::latency(Endpoint::Assign, Duration::from_millis(200)));
    for n in 1..20 {
        desk.chat(&format!("room-{n:02}")).await;
    }

    desk.assigned(20).await;
    let calls = desk.platform.requests();
    let assigns: Vec<&Request> = calls.iter().filter(|call| call.endpoint == Endpoint::Assign).collect();
    let probe = assigns.iter().find(|call| call.status == Some(200)).unwrap();
    let early = assigns.iter().filter(|call| call.status == Some(200) && call.at < probe.answered_at);
    assert_eq!(early.count(), 1, "others were sent before the first was answered");
    assert_eq!(desk.violations(10).await, []);
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_credentials_cost_few_calls_and_no_chat() {
    let mut desk = Desk::of(4, 10).await;
    desk.add_worker();
    desk.chat("room-00").await;
    desk.assigned(1).await;
    let denied = desk.platform.set_fault(Fault::instead(Target::Everything, Answer::Status(401)));

    for n in 1..=30 {
        desk.chat(&format!("room-{n:02}")).await;
    }
    let refused = |call: &&Request| call.status == Some(401);
    desk.platform
        .wait_until(SOON, |state| state.requests().iter().any(|call| call.status == Some(401)))
        .await
        .unwrap();
    let told_at = desk.platform.requests().iter().find(refused).unwrap().answered_at;
    eventually("all chats are in line", SOON, async || desk.conversation("room-30").await.is_some()).await;
    desk.platform.clear_fault(denied);

    desk.assigned(31).await;
    let calls = desk.platform.requests();
    let hushed = calls_between(&calls, told_at + NEWS, told_at + Duration::from_millis(4_900));
    assert_eq!(hushed, [], "called while our credentials were refused");
    assert_eq!(desk.violations(10).await, []);
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_that_answers_nobody_is_not_hammered() {
    let mut desk = Desk::of(4, 20).await;
    desk.add_worker();
    let down = desk.platform.set_fault(Fault::instead(Endpoint::Assign, Answer::Status(500)));

    for n in 0..80 {
        desk.chat(&format!("room-{n:02}")).await;
    }
    eventually("it was tried again and again", SOON, async || desk.failures().await >= 2).await;
    let calls = desk.calls(Endpoint::Assign);
    assert!(calls <= 110, "{calls} calls for 80 chats that nobody answers");
    desk.platform.clear_fault(down);

    desk.assigned(80).await;
    desk.loads_agree().await;
    assert_eq!(desk.violations(20).await, []);
    desk.stop().await;
}
