//! Receivers that fail, and couriers that die.

use std::time::Duration;

use sebastian_courier::{Guard, Queue};
use sebastian_store::{DisabledReason, Outbox, SubscriptionChange};
use sebastian_testkit::eventually;

use crate::{
    desk::{Desk, LEASED_OUT, SOON},
    receiver::{Mode, Receiver},
};

/// The waits of the schedule, in seconds.
const WAITS: [u64; 9] = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];

/// A little more than a wait with all of its jitter.
fn jittered(wait: u64) -> Duration {
    Duration::from_secs(wait + wait / 5 + 1)
}

#[tokio::test]
async fn a_failed_delivery_is_repeated_by_the_schedule_under_the_same_id() {
    let (desk, receiver) = (Desk::open().await, Receiver::start(Mode::Answer(503)));
    let id = desk.subscribe_to_all(&receiver).await.id;
    desk.assign("room-1").await;
    for (attempt, wait) in WAITS.iter().enumerate() {
        // Stopping lets what is under way be settled.
        let courier = desk.courier();
        receiver.await_got(attempt + 1).await;
        courier.stop().await;
        assert_eq!(receiver.got().len(), attempt + 1, "it was tried too early");
        desk.pass(jittered(*wait));
    }
    receiver.turn(Mode::Answer(200));
    // The tenth attempt is the last, and in time.
    let courier = desk.courier();
    let got = receiver.await_got(WAITS.len() + 1).await;
    desk.await_nothing_due().await;
    courier.stop().await;

    assert!(got.iter().all(|one| one.id() == got[0].id()), "{got:?}");
    assert!(desk.dead_letters(id).await.is_empty());
    assert_eq!(desk.subscription(id).await.disabled, None);
}

#[tokio::test]
async fn after_the_last_attempt_a_letter_is_dead_its_receiver_disabled_and_both_can_be_revived() {
    let (desk, receiver) = (Desk::open().await, Receiver::start(Mode::Answer(500)));
    let id = desk.subscribe_to_all(&receiver).await.id;
    desk.assign("room-1").await;
    for (attempt, wait) in WAITS.iter().enumerate() {
        // Stopping lets what is under way be settled.
        let courier = desk.courier();
        receiver.await_got(attempt + 1).await;
        courier.stop().await;
        assert_eq!(receiver.got().len(), attempt + 1, "it was tried too early");
        desk.pass(jittered(*wait));
    }
    let courier = desk.courier();
    eventually("the receiver disabled", SOON, async || {
        (desk.subscription(id).await.disabled == Some(DisabledReason::Failing)).then_some(())
    })
    .await;
    let dead = desk.dead_letters(id).await;
    assert_eq!((dead.len(), dead[0].attempts), (1, 10));
    assert_eq!(dead[0].trouble.as_deref(), Some("status 500"));

    receiver.turn(Mode::Answer(200));
    let enable = SubscriptionChange { enabled: Some(true), ..SubscriptionChange::default() };
    desk.store.change_subscription(desk.account, id, enable).await.unwrap();
    assert!(desk.store.redeliver(desk.account, id, &dead[0].id).await.unwrap());
    let got = receiver.await_got(11).await;
    desk.await_nothing_due().await;
    courier.stop().await;

    assert_eq!(got[10].id(), dead[0].id);
    assert!(desk.dead_letters(id).await.is_empty());
    assert!(desk.subscription(id).await.delivered_at.is_some());
}

#[tokio::test]
async fn a_receiver_that_is_gone_is_disabled_at_once() {
    let (desk, receiver) = (Desk::open().await, Receiver::start(Mode::Answer(410)));
    let id = desk.subscribe_to_all(&receiver).await.id;
    desk.assign("room-1").await;
    let courier = desk.courier();

    eventually("the receiver disabled", SOON, async || {
        (desk.subscription(id).await.disabled == Some(DisabledReason::Gone)).then_some(())
    })
    .await;
    desk.assign("room-2").await;
    desk.await_nothing_due().await;
    courier.stop().await;

    assert_eq!(receiver.got().len(), 1);
    assert_eq!(desk.dead_letters(id).await.len(), 1);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (desk, target) = (Desk::open().await, Receiver::taking());
    let receiver = Receiver::start(Mode::Redirect(target.url()));
    let id = desk.subscribe_to_all(&receiver).await.id;
    desk.assign("room-1").await;
    let courier = desk.courier();
    receiver.await_got(1).await;
    desk.await_nothing_due().await;
    courier.stop().await;

    assert!(target.got().is_empty());
    assert!(desk.subscription(id).await.delivered_at.is_none());
}

#[tokio::test]
async fn what_leads_to_a_private_address_is_not_called_though_it_was_registered() {
    let (desk, receiver) = (Desk::open().await, Receiver::start(Mode::Answer(200)));
    for (room, url) in [("room-1", receiver.url()), ("room-2", receiver.named_url())] {
        let id = desk.subscribe(url, &[sebastian_core::NoticeKind::Assigned]).await.id;
        desk.assign(room).await;
        let courier = desk.courier_with("courier", Guard::new(false), Queue::InProcess);
        eventually("a dead letter", SOON, async || {
            desk.pass(jittered(86_400));
            desk.dead_letters(id).await.pop()
        })
        .await;
        courier.stop().await;

        let trouble = desk.dead_letters(id).await.pop().unwrap().trouble.unwrap();
        assert!(trouble.ends_with("leads to an address that is not public"), "{trouble}");
        assert!(receiver.got().is_empty());
        desk.store.unsubscribe(desk.account, id).await.unwrap();
    }
}

#[tokio::test]
async fn a_courier_killed_between_sending_and_settling_leads_to_a_repetition_under_the_same_id() {
    let (desk, receiver) = (Desk::open().await, Receiver::start(Mode::Hang));
    let id = desk.subscribe_to_all(&receiver).await.id;
    desk.assign("room-1").await;
    let courier = desk.courier();
    receiver.await_got(1).await;
    courier.kill();
    receiver.turn(Mode::Answer(200));

    let another = desk.courier();
    desk.pass(LEASED_OUT);
    let got = receiver.await_got(2).await;
    desk.await_nothing_due().await;
    another.stop().await;

    assert_eq!(got[0].id(), got[1].id());
    assert!(desk.subscription(id).await.delivered_at.is_some());
}
