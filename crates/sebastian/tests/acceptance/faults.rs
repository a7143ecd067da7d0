//! Kill anything in the middle of a burst: every room is assigned, none twice, within the recovery time.

use std::time::Duration;

use sebastian_platform::simulated::{Endpoint, Fault};

use crate::acceptance::house::{House, PATIENCE, RECOVERY, rooms};

const ROOMS: usize = 400;

/// Calls take a while, so that there is a middle of the burst.
fn slow() -> Fault {
    Fault::latency(Endpoint::Assign, Duration::from_millis(150))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_in_the_middle_of_a_burst_loses_and_doubles_nothing() {
    let mut house = House::open(20, 20, 1).await;
    house.platform.set_fault(slow());
    house.customers_write(&rooms(ROOMS)).await;
    house.assigned(ROOMS / 4, PATIENCE).await;

    house.workers.remove(0).kill9();
    house.add_worker().await;

    house.assigned(ROOMS, RECOVERY).await;
    assert_eq!(house.violations().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_restarted_empty_in_the_middle_of_a_burst_loses_and_doubles_nothing() {
    let house = House::open(20, 20, 2).await;
    house.platform.set_fault(slow());
    house.customers_write(&rooms(ROOMS)[..ROOMS / 2]).await;
    house.assigned(ROOMS / 8, PATIENCE).await;

    house.redis().restart_empty().await;
    house.customers_write(&rooms(ROOMS)[ROOMS / 2..]).await;

    house.assigned(ROOMS, RECOVERY).await;
    assert_eq!(house.violations().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_restarted_in_the_middle_of_a_burst_loses_and_doubles_nothing() {
    let house = House::on_own_postgres(20, 20, 2).await;
    house.platform.set_fault(slow());
    house.customers_write(&rooms(ROOMS)).await;
    house.assigned(ROOMS / 4, PATIENCE).await;

    house.postgres.as_ref().unwrap().restart().await;

    house.assigned(ROOMS, RECOVERY).await;
    assert_eq!(house.violations().await, []);
}
