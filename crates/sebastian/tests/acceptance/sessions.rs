//! Webhooks come doubled, late and out of order; a session is counted once all the same.

use futures_util::future::join_all;
use sebastian_platform::simulated::{CountFault, Fault, SimulatedConfig};
use sebastian_testkit::eventually;

use crate::acceptance::house::{House, PATIENCE, RECOVERY, WA, rooms};

#[tokio::test(flavor = "multi_thread")]
async fn fifty_copies_of_one_webhook_at_once_make_one_assignment_with_three_workers() {
    let mut tenant = SimulatedConfig::desk(3);
    tenant.webhooks.allocation_copies = 1;
    let house = House::of(tenant, 3, 3, None).await;
    let body = house.platform.new_chat("470110001", WA).unwrap();
    let client = reqwest::Client::new();
    let url = format!("http://{}/webhook-incoming-message", house.ingest_address);

    let copies = (0..50).map(|_| client.post(&url).body(body.to_string()).send());
    let answers = join_all(copies).await;

    assert!(answers.into_iter().all(|answer| answer.unwrap().status().is_success()));
    house.assigned(1, PATIENCE).await;
    house.customers_write(&rooms(1)).await;
    house.assigned(2, PATIENCE).await;
    assert_eq!(house.loads().await.values().sum::<u32>(), 2);
    assert_eq!(house.violations().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_returning_customer_is_assigned_again_and_resolves_count_once() {
    let house = House::open(1, 2, 1).await;
    let agent = house.agents()[0];
    let post = async |path: &str, body: &serde_json::Value| {
        let url = format!("http://{}{path}", house.ingest_address);
        let answer = reqwest::Client::new().post(url).body(body.to_string()).send().await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
    };
    let rooms = rooms(3);
    house.customers_write(&rooms[..1]).await;
    house.assigned(1, PATIENCE).await;

    // Resolved by the owner, told twice.
    let first = house.platform.resolve(&rooms[0], None).unwrap();
    post("/webhook-mark-as-resolved", &first).await;
    post("/webhook-mark-as-resolved", &first).await;
    house.customers_write(&rooms[..1]).await;
    house.assigned(2, PATIENCE).await;
    // The first session once more, and a room that was never assigned.
    post("/mark-as-solved/webhook", &first).await;
    let never_assigned =
        house.platform.new_chat("470999999", WA).and_then(|_| house.platform.resolve("470999999", None));
    post("/webhook-mark-as-resolved", &never_assigned.unwrap()).await;
    house.customers_write(&rooms[1..]).await;

    house.assigned(3, PATIENCE).await;
    eventually("two slots are taken", PATIENCE, async || {
        house.loads().await.get(&agent) == Some(&2) && house.platform.load(agent) == 2
    })
    .await;
    assert_eq!(
        house.platform.waiting().len(),
        1,
        "the third waits: the returning customer still holds a slot"
    );
    assert_eq!(house.violations().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn frozen_counts_and_rooms_given_in_the_dashboard_never_exceed_capacity() {
    let house = House::open(2, 3, 2).await;
    let agent = house.agents()[0];
    house.customers_write(&rooms(1)).await;
    house.assigned(1, PATIENCE).await;
    for room in ["471000001", "471000002"] {
        house.platform.new_chat(room, WA);
        assert!(house.platform.dashboard_assign(room, agent));
    }
    eventually("the dashboard's rooms are counted", RECOVERY, async || {
        house.loads().await.get(&agent).copied().unwrap_or(0) >= 2
    })
    .await;

    house.platform.set_fault(Fault::counts(CountFault::Frozen));
    house.customers_write(&(1..=10).map(|n| format!("47200000{n:02}")).collect::<Vec<_>>()).await;
    house.assigned(4, PATIENCE).await;

    // Nobody has room; a resolve makes exactly one.
    house.resolve("471000001").await;
    house.assigned(5, PATIENCE).await;
    assert_eq!(house.violations().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_in_the_dashboard_moves_one_from_agent_to_agent() {
    let house = House::open(2, 3, 1).await;
    let room = &rooms(1)[0];
    house.customers_write(&rooms(1)).await;
    house.assigned(1, PATIENCE).await;
    let from = house.platform.agent_of(room).unwrap();
    let to = house.agents().into_iter().find(|agent| *agent != from).unwrap();

    assert!(house.platform.dashboard_transfer(room, to));

    eventually("it moved, once", PATIENCE, async || {
        let loads = house.loads().await;
        !loads.contains_key(&from) && loads.get(&to) == Some(&1)
    })
    .await;
}
