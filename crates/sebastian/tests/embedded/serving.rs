//! A desk served by one process from a folder, also when that is killed at the worst of times.

use std::{fs, path::Path, time::Duration};

use sebastian_core::RoomId;
use sebastian_platform::simulated::{Answer, Endpoint, Fault, SimulatedConfig};
use sebastian_testkit::eventually;
use serde_json::Value;

use crate::{
    acceptance::house::{House, PATIENCE, RECOVERY, ours, rooms, served},
    crash::kills::write_and_kill_the_ingest,
    processes::{SOON, ask},
};

async fn ready(house: &House) -> String {
    eventually("it is ready", SOON, async || match ask(&house.ingest_address, "GET /readyz", "") {
        (status, ready) if status == "HTTP/1.1 200 OK" => Ok(ready),
        (_, unready) => Err(unready),
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_program_and_nothing_else_serves_the_recorded_webhooks() {
    let house = House::embedded(SimulatedConfig::tenant(), 1, &[], &[]).await;
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../platform/fixtures/qiscus");
    for chat in [
        "wa.new_session.with_candidate",
        "wa.new_session.candidate_null",
        "fb.new_session",
        "qiscus_widget.new_session.candidate_null",
    ] {
        let body = fs::read_to_string(fixtures.join(format!("webhook.allocation.{chat}.json"))).unwrap();
        let (status, answer) = ask(&house.ingest_address, "POST /webhook-incoming-message", &body);
        assert_eq!(status, "HTTP/1.1 200 OK", "{chat}: {answer}");
    }

    // Three agents, each with room for one chat.
    house.assigned(3, PATIENCE).await;
    let first = served(&house)[0].to_string();
    house.resolve(&first).await;
    house.assigned(4, PATIENCE).await;

    house.settled(3, PATIENCE).await;
    assert_eq!(house.violations().await, []);
    let ready: Value = serde_json::from_str(&ready(&house).await).unwrap();
    let checks: Vec<&str> = ready["checks"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        (&ready["status"], checks),
        (&"ready".into(), vec!["ledger", "worker"]),
        "no server is asked for"
    );
    assert!(house.said().contains("embedded ledger in /"), "{}", house.said());
}

/// One after the other; so many were served before.
async fn resolve_and_see_the_next_served(house: &House, done: &[String], before: usize) {
    for (served, room) in (before + 1..).zip(done) {
        house.resolve(room).await;
        house.assigned(served, PATIENCE).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_every_place_and_goes_by_the_roster_it_saved() {
    let mut house = House::embedded(SimulatedConfig::desk(2), 1, &[], &[]).await;
    let rooms = rooms(6);
    for room in &rooms {
        house.customers_write(std::slice::from_ref(room)).await;
    }
    house.assigned(2, PATIENCE).await;
    house.settled_with(2, 4, PATIENCE).await;
    let loads = house.loads().await;

    // The platform would not tell who is there.
    house.platform.set_fault(Fault::instead(Endpoint::Agents, Answer::Status(502)));
    house.kill_ingest().await;
    house.replace_ingest().await;

    assert_eq!(house.loads().await, loads);
    resolve_and_see_the_next_served(&house, &rooms[..2], 2).await;
    // Told to stop, it leaves nothing behind either.
    house.ingest.terminate();
    assert_eq!(house.ingest.wait(SOON).await.code(), Some(0), "{}", house.said());
    house.platform.clear_faults();
    house.replace_ingest().await;
    resolve_and_see_the_next_served(&house, &rooms[2..4], 4).await;
    let order: Vec<String> = served(&house).iter().map(ToString::to_string).collect();
    assert_eq!(order[2..], rooms[2..], "the first two were free to take any agent");
    assert_eq!(house.violations().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_of_a_burst_of_a_thousand_it_assigns_all_once_each_and_in_order() {
    const ROOMS: usize = 1_000;
    let mut house = House::embedded(SimulatedConfig::desk(50), 20, &[], &[]).await;
    house.platform.set_fault(Fault::latency(Endpoint::Assign, Duration::from_millis(150)));
    let all = rooms(ROOMS);

    // Some are served, some are on their way to the platform, some wait, and some were never taken.
    let is_time = |accepted: usize| accepted >= ROOMS / 4 && house.count() > 0;
    let (accepted, lost) = write_and_kill_the_ingest(&house, &all, is_time).await;
    assert!(!lost.is_empty(), "it was killed too late");
    house.ingest.wait(SOON).await;
    let (store, account) = house.ledger().await;
    let accepted: Vec<RoomId> = accepted.iter().map(|room| RoomId::parse(room).unwrap()).collect();
    assert_eq!(store.unknown_rooms(account, &accepted).await.unwrap(), [], "what was answered 200 is there");
    assert!(store.counts(account).await.unwrap().reserved > 0, "no call was under way");
    let calls_before = house.platform.read(|state| ours(state).count());

    house.replace_ingest().await;
    house.customers_write(&lost).await;
    house.settled(ROOMS as u64, RECOVERY).await;
    println!("{} accepted and {calls_before} assigned before the kill", accepted.len());
    assert_eq!(house.count(), ROOMS);
    assert_eq!(house.violations().await, []);
}
