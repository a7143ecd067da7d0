//! Commands by hand beside the process that serves from the folder.

use sebastian_platform::simulated::SimulatedConfig;
use sebastian_testkit::eventually;

use crate::{
    acceptance::house::{House, PATIENCE, rooms},
    processes::SOON,
};

async fn tell(house: &House, words: &[&str]) -> String {
    let child = house.start(words);
    let code = child.wait(SOON).await.code();
    assert_eq!(code, Some(0), "{words:?}: {}", child.output());
    child.output()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_by_hand_holds_for_the_process_that_serves() {
    let house = House::embedded(SimulatedConfig::desk(2), 1, &[], &[]).await;
    let paused = tell(&house, &["pause", "--reason", "fire drill"]).await;
    assert!(paused.starts_with("the account is paused until resumed\n"), "{paused}");
    let rooms = rooms(3);
    house.customers_write(&rooms).await;
    let explain = async || {
        let told = tell(&house, &["explain", &rooms[0]]).await;
        if told.contains("the account is paused: fire drill") { Ok(told) } else { Err(told) }
    };
    let told = eventually("the chat was taken in", PATIENCE, async || {
        let child = house.start(&["explain", &rooms[0]]);
        if child.wait(SOON).await.code() == Some(0) { explain().await } else { Err(child.output()) }
    });
    assert!(told.await.contains("Agent 1"), "the roster is there");
    assert_eq!(house.count(), 0);
    assert!(tell(&house, &["queue"]).await.starts_with("3 waiting, 0 parked\n"));

    tell(&house, &["policies", "set", "name=Night", "assignment_order=round_robin"]).await;
    tell(&house, &["policies", "link", "88121", "1"]).await;
    tell(&house, &["resume"]).await;
    house.assigned(2, PATIENCE).await;
    house.settled_with(2, 1, PATIENCE).await;

    let agents = tell(&house, &["agents"]).await;
    assert_eq!(agents.matches("1/1   full").count(), 2, "{agents}");
    assert!(tell(&house, &["queue"]).await.contains("assignment policy Night"), "it deals by the new rules");
    assert_eq!(tell(&house, &["parked", "list"]).await, "nothing is parked\n");
    assert!(tell(&house, &["migrate"]).await.starts_with("the ledger's schema is at version "));
    assert_eq!(house.violations().await, []);
}
