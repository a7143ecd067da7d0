//! Bursts and queues: everybody once, nobody over capacity, first come first served.

use crate::acceptance::house::{House, PATIENCE, rooms, served};

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_rooms_in_a_burst_are_assigned_once_each_within_capacity_and_in_order() {
    let house = House::open(50, 20, 2).await;

    house.customers_write(&rooms(1_000)).await;

    house.assigned(1_000, PATIENCE).await;
    assert_eq!(house.violations().await, []);
    assert_eq!(house.count(), 1_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn nine_of_twenty_are_served_at_once_and_the_rest_one_by_one_in_order() {
    let house = House::open(3, 3, 1).await;
    let rooms = rooms(20);
    for room in &rooms {
        house.customers_write(std::slice::from_ref(room)).await;
    }
    house.assigned(9, PATIENCE).await;
    assert_eq!(house.platform.waiting().len(), 11);

    let mut waits_ms = Vec::new();
    for (done, room) in rooms.iter().take(11).enumerate() {
        house.resolve(room).await;
        let resolved = std::time::Instant::now();
        house.assigned(10 + done, PATIENCE).await;
        waits_ms.push(resolved.elapsed().as_millis());
    }

    waits_ms.sort_unstable();
    println!("resolve answered → next room assigned: median {} ms, worst {} ms", waits_ms[5], waits_ms[10]);
    let served: Vec<String> = served(&house).iter().map(ToString::to_string).collect();
    assert_eq!(served[9..], rooms[9..]);
    assert_eq!(house.violations().await, []);
}
