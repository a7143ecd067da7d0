//! What nobody does and yet is told.

use std::time::Duration;

use sebastian_core::{NoticeKind, Presence};
use serde_json::json;

use crate::{
    desk::{Desk, SALES, agent},
    receiver::Receiver,
};

#[tokio::test]
async fn a_conversation_that_waits_too_long_is_told_of_once() {
    let (desk, receiver) = (Desk::open().await, Receiver::taking());
    desk.subscribe(receiver.url(), &[NoticeKind::WaitingTooLong]).await;
    desk.arrive("room-1").await;
    desk.reserve(0).await;
    desk.pass(Duration::from_secs(200));
    desk.arrive("room-2").await;
    desk.reserve(0).await;
    let courier = desk.courier();
    desk.pass(Duration::from_secs(100));
    receiver.await_got(1).await;
    desk.pass(Duration::from_secs(200));
    let got = receiver.await_got(2).await;
    desk.pass(Duration::from_secs(1_000));
    desk.await_nothing_due().await;
    courier.stop().await;

    assert_eq!(receiver.got().len(), 2);
    assert_eq!((got[0].room().as_str(), got[1].room().as_str()), ("room-1", "room-2"));
    assert_eq!(got[0].json()["data"]["waited_ms"], 300_000);
}

#[tokio::test]
async fn a_queue_that_nobody_serves_is_told_of_once_and_again_only_after_somebody_could() {
    let (desk, receiver) = (Desk::open().await, Receiver::taking());
    desk.subscribe(receiver.url(), &[NoticeKind::NoAgents]).await;
    let offline = || {
        let mut ana = agent(1);
        ana.presence = Presence::Offline;
        ana
    };
    let mut elsewhere = agent(2);
    elsewhere.inboxes = Some(vec![]);
    desk.publish(1, vec![offline(), elsewhere]).await;
    desk.arrive("room-1").await;
    desk.reserve(0).await;
    let courier = desk.courier();

    let got = receiver.await_got(1).await;
    assert_eq!(got[0].json()["data"], json!({ "account": desk.account.0, "inbox": SALES.0, "team": null }));

    // Somebody is full, and serves it.
    let mut full = agent(1);
    full.reported_load = Some(99);
    desk.publish(2, vec![full]).await;
    sebastian_testkit::eventually("the queue attended", crate::desk::SOON, async || {
        use sebastian_store::Outbox;
        !desk.store.queues(desk.account).await.unwrap()[0].unattended
    })
    .await;
    desk.publish(3, vec![offline()]).await;
    receiver.await_got(2).await;
    desk.await_nothing_due().await;
    courier.stop().await;
    assert_eq!(receiver.got().len(), 2);
}
