//! Many workers, many copies, calls that hang, workers that stop.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use sebastian_core::State;
use sebastian_platform::simulated::{Answer, Change, Endpoint, Fault, SimulatedConfig};
use sebastian_roster::WakeReason;
use sebastian_store::PostgresStore;
use sebastian_testkit::{Database, eventually};

use crate::{
    desk::{Desk, Hands, QUICK, SOON},
    wrapped::Wrapped,
};

#[tokio::test(flavor = "multi_thread")]
async fn fifty_copies_of_one_webhook_and_three_workers_make_one_assignment() {
    let mut desk = Desk::of(5, 3).await;
    (0..3).for_each(|_| desk.add_worker());
    let body = desk.platform.new_chat("room-1", crate::desk::WA).unwrap();

    futures_util::future::join_all((0..50).map(|_| desk.allocate(&body))).await;
    let agent = desk.assigned_in_ledger("room-1").await;
    desk.chat("room-2").await;
    desk.assigned_in_ledger("room-2").await;

    let of_room = |state: &sebastian_platform::simulated::State| {
        let calls = state.requests().iter();
        calls
            .filter(|call| call.endpoint == Endpoint::Assign && call.room.as_deref() == Some("room-1"))
            .count()
    };
    assert_eq!(desk.platform.read(of_room), 1);
    assert_eq!(desk.platform.agent_of("room-1"), Some(agent));
    desk.loads_agree().await;
    assert_eq!(desk.violations(3).await, []);
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_wake_up_and_event_doubled_changes_nothing() {
    let mut desk = Desk::of(3, 2).await;
    desk.add_worker();
    desk.add_worker();
    let mut served = 0;
    for round in 0..3 {
        let rooms: Vec<String> = (0..6).map(|n| format!("room-{n}")).collect();
        for room in &rooms {
            let body = desk.platform.new_chat(room, crate::desk::WA).unwrap();
            desk.allocate(&body).await;
            desk.allocate(&body).await;
            desk.ring(WakeReason::Allocate).await;
        }
        served += 6;
        desk.assigned(served).await;
        for room in &rooms {
            desk.assigned_in_ledger(room).await;
            let body = desk.platform.resolve(room, None).unwrap();
            desk.resolved(&body).await;
            desk.resolved(&body).await;
        }
        eventually("all are over", SOON, async || {
            desk.store.counts(desk.account).await.unwrap().assigned == 0
        })
        .await;
        assert_eq!(desk.violations(2).await, [], "round {round}");
    }
    desk.loads_agree().await;
    assert_eq!(desk.platform.applied().iter().filter(|one| is_assignment(&one.change)).count(), served);
    desk.stop().await;
}

fn is_assignment(change: &Change) -> bool {
    matches!(change, Change::Assigned { .. })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_hangs_delays_no_other() {
    let mut desk = Desk::of(2, 20).await;
    desk.platform.set_fault(Fault::instead(Endpoint::Assign, Answer::Hang).for_room("hung"));
    desk.add(Hands { platform: Arc::new(desk.client_with(Duration::from_secs(5))), ..desk.hands() });

    desk.chat("hung").await;
    eventually("its call is under way", SOON, async || {
        matches!(desk.state("hung").await, Some(State::Reserved { .. }))
    })
    .await;
    for n in 0..30 {
        desk.chat(&format!("room-{n:02}")).await;
    }

    desk.assigned(30).await;
    assert_eq!(desk.conversation("hung").await.unwrap().attempt, 1, "others waited for its deadline");
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chats_that_wait_for_a_free_call_need_no_sweep() {
    let mut desk = Desk::of(4, 20).await;
    desk.platform.set_fault(Fault::latency(Endpoint::Assign, Duration::from_millis(10)));
    desk.add(Hands { max_inflight: 4, sweep: Duration::from_secs(3_600), ..desk.hands() });

    for n in 0..60 {
        desk.chat(&format!("room-{n:02}")).await;
    }

    desk.assigned(60).await;
    assert_eq!(desk.violations(20).await, []);
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_with_one_call_at_a_time_still_settles_and_goes_on() {
    let mut desk = Desk::of(2, 5).await;
    desk.platform.set_fault(Fault::after_apply(Endpoint::Assign, Answer::Drop).percent(30));
    desk.add(Hands { max_inflight: 1, ..desk.hands() });

    for n in 0..10 {
        desk.chat(&format!("room-{n:02}")).await;
    }

    desk.assigned(10).await;
    for n in 0..10 {
        desk.assigned_in_ledger(&format!("room-{n:02}")).await;
    }
    desk.loads_agree().await;
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_finishes_what_was_sent_and_hands_back_the_rest() {
    let mut desk = Desk::of(5, 20).await;
    desk.platform.set_fault(Fault::latency(Endpoint::Assign, Duration::from_millis(200)));
    desk.add_worker();
    for n in 0..100 {
        desk.chat(&format!("room-{n:03}")).await;
    }
    desk.platform.wait_until(SOON, |state| !state.assign_order().is_empty()).await.unwrap();

    desk.stop().await;

    let counts = desk.store.counts(desk.account).await.unwrap();
    assert_eq!((counts.reserved, counts.waiting + counts.assigned + counts.unfolded), (0, 100));
    desk.loads_agree().await;
    desk.add_worker();
    desk.assigned(100).await;
    assert_eq!(desk.violations(20).await, []);
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_no_longer_than_the_grace_and_another_settles() {
    let mut desk = Desk::of(2, 5).await;
    let hang = desk.platform.set_fault(Fault::after_apply(Endpoint::Assign, Answer::Hang));
    let grace = Duration::from_millis(300);
    let platform = Arc::new(desk.client_with(Duration::from_secs(30)));
    desk.add(Hands { platform, grace, ..desk.hands() });
    desk.chat("room-1").await;
    desk.assigned(1).await;

    let stopped_at = Instant::now();
    desk.stop().await;
    assert!(stopped_at.elapsed() < Duration::from_secs(5), "it took {:?}", stopped_at.elapsed());
    desk.platform.clear_fault(hang);

    desk.add_worker();
    desk.assigned_in_ledger("room-1").await;
    desk.loads_agree().await;
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_that_panics_costs_a_wake_up_and_not_the_worker() {
    let mut desk = Desk::of(2, 5).await;
    let store = Wrapped { panics: 2.into(), ..Wrapped::new(desk.store.clone()) };
    desk.add(Hands { store: Arc::new(store), ..desk.hands() });

    desk.chat("room-1").await;

    desk.assigned_in_ledger("room-1").await;
    desk.stop().await;
}

/// A desk on PostgreSQL, and the database that must outlive it.
pub async fn on_postgres(agents: u32, capacity: u32) -> (Desk, Database) {
    let database = Database::create().await;
    let url = database.url();
    let open = move || PostgresStore::new(&url, 8, QUICK).unwrap();
    open().migrate().await.unwrap();
    let desk = SimulatedConfig::desk(agents);
    (Desk::with(desk, capacity, QUICK, Box::new(move || Arc::new(open()))).await, database)
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres_a_crash_in_a_burst_loses_and_doubles_nothing() {
    let (mut desk, _database) = on_postgres(10, 20).await;
    desk.platform.set_fault(Fault::latency(Endpoint::Assign, Duration::from_millis(50)));
    desk.platform.set_fault(Fault::after_apply(Endpoint::Assign, Answer::Drop).percent(5));
    desk.add_worker();
    desk.add_worker();
    for n in 0..200 {
        desk.chat(&format!("room-{n:03}")).await;
    }
    desk.assigned(40).await;
    desk.crash_first();
    desk.add_worker();

    desk.assigned(200).await;
    desk.loads_agree().await;
    for n in 0..200 {
        desk.assigned_in_ledger(&format!("room-{n:03}")).await;
    }
    assert_eq!(desk.violations(20).await, []);
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres_pauses_and_leases_hold_across_workers() {
    let (mut desk, _database) = on_postgres(3, 10).await;
    desk.add_worker();
    desk.add_worker();
    desk.chat("room-00").await;
    desk.assigned(1).await;
    desk.platform.set_fault(Fault::instead(Endpoint::Assign, Answer::RetryAfter(429, "1".into())).times(1));
    for n in 1..=20 {
        desk.chat(&format!("room-{n:02}")).await;
    }
    desk.assigned(21).await;
    desk.stop_first().await;

    for n in 21..30 {
        desk.chat(&format!("room-{n:02}")).await;
    }
    desk.assigned(30).await;
    desk.loads_agree().await;
    assert_eq!(desk.violations(10).await, []);
    assert_eq!(desk.failures().await, 0);
    desk.stop().await;
}
