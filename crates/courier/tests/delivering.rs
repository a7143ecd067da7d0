//! What receivers are told.

use std::time::Duration;

use sebastian_core::{NoticeKind, QueueKey};
use sebastian_store::{Outbox, SubscriptionChange};
use serde_json::json;

use crate::{
    desk::{Desk, SALES, SECRET},
    receiver::{Mode, Receiver},
};

#[tokio::test]
async fn an_assignment_is_told_once_signed_and_without_personal_data() {
    let (desk, receiver) = (Desk::open().await, Receiver::taking());
    desk.subscribe_to_all(&receiver).await;
    desk.arrive("room-1").await;
    let reserved = desk.reserve(1).await;
    desk.pass(Duration::from_millis(1_500));
    desk.confirm(&reserved).await;
    let courier = desk.courier();

    let got = receiver.await_got(1).await;
    desk.await_nothing_due().await;
    courier.stop().await;

    assert_eq!(receiver.got().len(), 1, "it was told twice");
    assert!(got[0].is_signed_with(SECRET), "{got:?}");
    assert!(!got[0].is_signed_with("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"));
    assert_eq!(got[0].headers["content-type"], "application/json");
    assert_eq!(
        got[0].json(),
        json!({
            "type": "conversation.assigned",
            "timestamp": "2023-11-14T22:13:21.500Z",
            "data": {
                "account": desk.account.0, "conversation": 1, "room": "room-1", "agent": 1, "inbox": 7, "team": null,
                "waited_ms": 1_500,
            },
        })
    );
}

#[tokio::test]
async fn after_a_rotation_both_secrets_sign_for_a_while() {
    const NEW: &str = "whsec_bmV3LXNlY3JldC1uZXctc2VjcmV0LW5ldw==";
    let (desk, receiver) = (Desk::open().await, Receiver::taking());
    let id = desk.subscribe_to_all(&receiver).await.id;
    // The ledger's clock stands in the past, and receivers go by the wall clock: so does the overlap.
    desk.pass(Duration::from_millis(u64::try_from(wall_clock_ms() - desk.now().as_millis()).unwrap()));
    let rotate = async |overlap: Duration| {
        let change =
            SubscriptionChange { secret: Some((NEW.into(), overlap)), ..SubscriptionChange::default() };
        desk.store.change_subscription(desk.account, id, change).await.unwrap();
    };

    rotate(Duration::from_secs(3_600)).await;
    desk.assign("room-1").await;
    let courier = desk.courier();
    let got = receiver.await_got(1).await;
    assert!(got[0].is_signed_with(SECRET) && got[0].is_signed_with(NEW));

    rotate(Duration::ZERO).await;
    rotate(Duration::ZERO).await;
    desk.assign("room-2").await;
    let got = receiver.await_got(2).await;
    assert!(!got[1].is_signed_with(SECRET) && got[1].is_signed_with(NEW));
    courier.stop().await;
}

fn wall_clock_ms() -> i64 {
    sebastian_core::Timestamp::from(std::time::SystemTime::now()).as_millis()
}

#[tokio::test]
async fn each_receiver_is_told_only_what_it_wants_and_only_while_enabled() {
    let desk = Desk::open().await;
    let (wants_all, wants_full, off) = (Receiver::taking(), Receiver::taking(), Receiver::taking());
    desk.subscribe_to_all(&wants_all).await;
    desk.subscribe(wants_full.url(), &[NoticeKind::CapacityReached]).await;
    let id = desk.subscribe_to_all(&off).await.id;
    let change = SubscriptionChange { enabled: Some(false), ..SubscriptionChange::default() };
    desk.store.change_subscription(desk.account, id, change).await.unwrap();

    for room in ["room-1", "room-2", "room-3"] {
        desk.assign(room).await;
    }
    let courier = desk.courier();
    let all = wants_all.await_got(4).await;
    let full = wants_full.await_got(1).await;
    desk.await_nothing_due().await;
    courier.stop().await;

    assert_eq!(all.iter().filter(|got| got.kind() == "conversation.assigned").count(), 3);
    assert_eq!(
        full[0].json()["data"],
        json!({
            "account": desk.account.0, "agent": 1, "inbox": null, "team": null, "load": 3, "capacity": 3,
        })
    );
    assert_eq!((wants_full.got().len(), off.got().len()), (1, 0));
}

#[tokio::test]
async fn a_receiver_that_hangs_holds_up_no_assignment_and_no_other_receiver() {
    let desk = Desk::open().await;
    let (hanging, taking) = (Receiver::start(Mode::Hang), Receiver::taking());
    desk.subscribe(hanging.url(), &[NoticeKind::Assigned]).await;
    desk.subscribe(taking.url(), &[NoticeKind::Assigned]).await;
    let courier = desk.courier();
    desk.assign("room-1").await;
    hanging.await_got(1).await;

    desk.assign("room-2").await;
    desk.assign("room-3").await;
    let told = taking.await_got(3).await;

    let rooms: Vec<String> = told.iter().map(|got| got.room()).collect();
    assert!(
        ["room-1", "room-2", "room-3"].iter().all(|room| rooms.contains(&(*room).to_owned())),
        "{rooms:?}"
    );
    courier.kill();
}

#[tokio::test]
async fn many_receivers_that_hang_leave_room_for_one_that_takes() {
    // More requests than a few dozen: three for each.
    const HANGING: usize = 25;
    /// None of the requests that hang has been given up by then.
    const ATTEMPT: Duration = Duration::from_secs(12);
    let (desk, hanging, taking) = (Desk::open().await, Receiver::start(Mode::Hang), Receiver::taking());
    for _ in 0..HANGING {
        desk.subscribe(hanging.url(), &[NoticeKind::Assigned]).await;
    }
    for room in ["room-1", "room-2", "room-3"] {
        desk.assign(room).await;
    }
    let courier = desk.courier();
    let all = hanging.await_got(HANGING * 3);
    tokio::time::timeout(ATTEMPT, all).await.expect("some wait for others to be given up");

    desk.subscribe(taking.url(), &[NoticeKind::NoAgents]).await;
    let queue = QueueKey { inbox: Some(SALES), team: None };
    desk.store.note_attendance(desk.account, queue, true).await.unwrap();
    taking.await_got(1).await;
    courier.kill();
}

#[tokio::test]
async fn events_about_one_conversation_come_in_order_and_others_do_not_wait_for_them() {
    let (desk, receiver) = (Desk::open().await, Receiver::start(Mode::Answer(500)));
    desk.subscribe(receiver.url(), &[NoticeKind::Assigned, NoticeKind::Released]).await;
    desk.arrive("room-1").await;
    let reserved = desk.reserve(1).await;
    desk.refuse(&reserved[0]).await;
    let courier = desk.courier();
    receiver.await_got(1).await;
    let reserved = desk.reserve(2).await;
    desk.confirm(&reserved).await;
    desk.assign("room-2").await;
    receiver.await_got(2).await;
    // Stopping lets what is under way be settled, by the time that is now.
    courier.stop().await;
    receiver.turn(Mode::Answer(200));
    desk.pass(Duration::from_secs(7));

    let courier = desk.courier();
    receiver.await_got(5).await;
    desk.await_nothing_due().await;
    courier.stop().await;

    let of = |room: &str| -> Vec<String> {
        receiver.got().iter().filter(|got| got.room() == room).map(|got| got.kind()).collect()
    };
    assert_eq!(of("room-1"), ["conversation.released", "conversation.released", "conversation.assigned"]);
    assert_eq!(of("room-2"), ["conversation.assigned", "conversation.assigned"]);
}
