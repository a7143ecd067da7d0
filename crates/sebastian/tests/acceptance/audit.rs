//! The audit of a ledger at work: quiet while all is well, and loud when it is not.

use sebastian_platform::simulated::SimulatedConfig;
use sebastian_testkit::eventually;

use crate::{
    acceptance::house::{House, PATIENCE, Settings, rooms},
    processes::{address, ask},
};

const OFTEN: Settings = &[("SEBASTIAN__WORKER__AUDIT_INTERVAL_MS", "200")];

/// How often the audit found a promise broken.
async fn broken(house: &House, promise: &str) -> Option<u64> {
    let (_, page) = ask(&address(&house.workers[0]).await, "GET /metrics", "");
    let line = format!("sebastian_invariant_violations_total{{id=\"{promise}\"}} ");
    page.lines().find_map(|found| found.strip_prefix(&line)?.trim().parse().ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_counter_that_was_moved_by_hand_is_found_by_the_audit_and_nothing_else_is() {
    let house = House::with(SimulatedConfig::desk(2), 5, 1, None, OFTEN).await;
    house.customers_write(&rooms(4)).await;
    house.assigned(4, PATIENCE).await;
    let promises = ["I2", "I3", "I6", "I8", "I9", "I10", "I13"];
    for promise in promises {
        assert_eq!(broken(&house, promise).await, Some(0), "{promise}");
    }

    let (client, connection) =
        tokio_postgres::connect(&house.database_url(), tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    client.execute("UPDATE agent_loads SET open = open + 1", &[]).await.unwrap();

    eventually("the audit tells of it", PATIENCE, async || match broken(&house, "I9").await {
        Some(found) if found >= 2 => Ok(()),
        found => Err(found),
    })
    .await;
    for promise in promises.into_iter().filter(|promise| *promise != "I9") {
        assert_eq!(broken(&house, promise).await, Some(0), "{promise}");
    }
    connection.abort();
}
