//! The platform refuses us, asks for time, or answers nonsense: no chat is lost, moved or given twice.

use std::time::Duration;

use sebastian_platform::simulated::{Answer, Endpoint, Fault, FaultKind, Request, SimulatedConfig, Target};
use sebastian_testkit::eventually;

use crate::{
    acceptance::house::{House, PATIENCE, RECOVERY, Settings, rooms, served},
    processes::{address, ask},
};

/// What the workers' pages say of a metric, the highest first.
async fn highest(house: &House, metric: &str) -> f64 {
    let mut highest = 0.0_f64;
    for worker in &house.workers {
        let (_, page) = ask(&address(worker).await, "GET /metrics", "");
        let values = page.lines().filter_map(|line| line.strip_prefix(metric)?.trim().parse::<f64>().ok());
        highest = values.fold(highest, f64::max);
    }
    highest
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_credentials_pause_the_account_and_alert_move_nobody_and_it_resumes_by_itself() {
    const FAILURES: &str = "sebastian_account_failures ";
    let house = House::open(4, 20, 2).await;
    let all = rooms(40);
    house.customers_write(&all[..10]).await;
    house.settled(10, PATIENCE).await;
    let (given, loads) = (house.platform.applied(), house.loads().await);

    let denied = house.platform.set_fault(Fault::instead(Target::Everything, Answer::Status(401)));
    // One after the other: the order in which they are to be served.
    for room in &all[10..] {
        house.customers_write(std::slice::from_ref(room)).await;
    }
    eventually("the alert is raised", RECOVERY, async || highest(&house, FAILURES).await > 0.0).await;
    let gave = |request: &Request| request.endpoint == Endpoint::Assign && request.applied;
    assert_eq!(house.platform.requests().iter().filter(|request| gave(request)).count(), 10);
    let moved: Vec<_> = house.platform.applied().into_iter().skip(given.len()).collect();
    assert!(moved.iter().all(|change| all[10..].contains(&change.room.to_string())), "{moved:?}");
    assert_eq!(house.loads().await.values().sum::<u32>(), loads.values().sum::<u32>());
    house.platform.clear_fault(denied);

    house.settled(all.len() as u64, RECOVERY).await;
    eventually("the alert is over", RECOVERY, async || highest(&house, FAILURES).await == 0.0).await;
    assert_eq!(house.count(), all.len());
    assert_eq!(house.violations().await, []);
    let said = house.said();
    assert!(
        said.contains("the platform refuses our credentials or subscription: somebody must act"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_that_asks_for_time_is_called_by_no_process_before_it_is_over_and_the_order_is_kept() {
    /// Calls on their way when the answer came, and what the other process takes to hear of it.
    const NEWS: Duration = Duration::from_secs(1);
    const ASKED: Duration = Duration::from_secs(3);
    let house = House::open(4, 20, 2).await;
    let all = rooms(30);
    house.customers_write(&all[..1]).await;
    house.settled(1, PATIENCE).await;
    let busy = Answer::RetryAfter(429, ASKED.as_secs().to_string());
    house.platform.set_fault(Fault::instead(Endpoint::Assign, busy).times(1));

    for room in &all[1..] {
        house.customers_write(std::slice::from_ref(room)).await;
    }
    house.settled(all.len() as u64, RECOVERY).await;

    let calls = house.platform.requests();
    let told_at = calls.iter().find(|call| call.status == Some(429)).unwrap().answered_at;
    let (from, to) = (told_at + NEWS, told_at + ASKED - Duration::from_millis(50));
    let early =
        calls.iter().filter(|call| call.endpoint == Endpoint::Assign && call.at > from && call.at < to);
    assert_eq!(early.count(), 0, "called in a pause of {ASKED:?}\n{}", house.said());
    assert_eq!(served(&house).len(), all.len());
    assert_eq!(house.violations().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_answer_that_is_none_gives_each_chat_to_one_agent() {
    const BRISK: Settings = &[
        ("SEBASTIAN__QISCUS__TIMEOUT_MS", "500"),
        ("SEBASTIAN__QISCUS__CONNECT_TIMEOUT_MS", "500"),
        ("SEBASTIAN__WORKER__RESERVATION_MS", "1000"),
        ("SEBASTIAN__RECONCILE__SETTLE_WINDOW_MS", "1000"),
    ];
    let mut house = House::with(SimulatedConfig::desk(20), 20, 0, None, BRISK).await;
    let nonsense = [
        Answer::Hang,
        Answer::Drop,
        Answer::Html,
        Answer::Huge(9_000_000),
        Answer::Redirect("http://169.254.169.254/latest/meta-data".into()),
        Answer::Status(500),
        Answer::Status(502),
        Answer::Status(503),
        Answer::Json(200, serde_json::json!({"success": false})),
    ];
    for answer in nonsense {
        // Before the call took effect, and after it did.
        house.platform.set_fault(Fault::instead(Endpoint::Assign, answer.clone()).percent(20).times(3));
        house.platform.set_fault(Fault::after_apply(Endpoint::Assign, answer).percent(20).times(3));
    }
    let drip = FaultKind::SlowBody { pause: Duration::from_secs(1) };
    house.platform.set_fault(Fault::new(Endpoint::Assign, drip).percent(20).times(6));
    let all = rooms(200);
    house.customers_write(&all).await;

    // All are given out at once, and so most faults strike at once: once decisions pause, calls come one by one.
    for _ in 0..2 {
        house.add_worker().await;
    }

    house.settled(all.len() as u64, PATIENCE).await;
    let struck = house.platform.requests().iter().filter(|request| request.faulted).count();
    assert!(struck >= 30, "{struck} calls went wrong");
    assert_eq!(house.count(), all.len());
    assert_eq!(house.violations().await, []);
}
