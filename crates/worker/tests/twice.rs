//! Every step done twice, as when the reply to each is lost: nothing happens twice.

use std::sync::{Arc, Mutex};

use sebastian_testkit::eventually;

use crate::{
    crowd::on_postgres,
    desk::{Desk, Hands, SOON, WA},
    wrapped::{HeldClient, Wrapped},
};

/// A worker whose every write and every assignment is repeated, and who is told of the second only.
fn repeating(desk: &Desk) -> Hands {
    let Hands { store, platform, .. } = desk.hands();
    let client = HeldClient { inner: platform, gate: None, sent: Mutex::default(), repeats: true };
    let store = Wrapped { repeats: true, ..Wrapped::new(store) };
    Hands { store: Arc::new(store), platform: Arc::new(client), ..desk.hands() }
}

/// Three days of six chats at two agents with room for two each. Of each day's chats one is moved in the dashboard, and a
/// seventh is given out there without our knowing.
async fn serves_once(mut desk: Desk) {
    for _ in 0..2 {
        desk.add(repeating(&desk));
    }
    let agents = desk.agents();
    let rooms: Vec<String> = (1..=6).map(|n| format!("room-{n}")).collect();
    for day in 1..=3 {
        for room in &rooms {
            let body = desk.platform.new_chat(room, WA).unwrap();
            desk.allocate(&body).await;
            desk.allocate(&body).await;
        }
        for room in &rooms {
            let from = desk.assigned_in_ledger(room).await;
            if room == "room-1" {
                let to = *agents.iter().find(|agent| **agent != from).unwrap();
                assert!(desk.platform.dashboard_transfer(room, to));
                eventually("it moved", SOON, async || desk.assigned_in_ledger(room).await == to).await;
            }
            if room == "room-4" {
                desk.platform.new_chat("room-7", WA).unwrap();
                assert!(desk.platform.dashboard_assign("room-7", agents[0]));
                desk.assigned_in_ledger("room-7").await;
            }
            let body = desk.platform.resolve(room, None).unwrap();
            desk.resolved(&body).await;
            desk.resolved(&body).await;
            desk.loads_agree().await;
        }
        desk.resolve("room-7").await;
        let over = async || desk.store.counts(desk.account).await.unwrap().assigned == 0;
        eventually("all are over", SOON, over).await;
        assert_eq!(desk.platform.assign_order().len(), 7 * day);
    }
    desk.loads_agree().await;
    // One more than they have room for, which was given out in the dashboard.
    assert_eq!(desk.violations(3).await, []);
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_write_and_call_done_twice_counts_once() {
    serves_once(Desk::of(2, 2).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres_every_write_and_call_done_twice_counts_once() {
    let (desk, _database) = on_postgres(2, 2).await;
    serves_once(desk).await;
}
