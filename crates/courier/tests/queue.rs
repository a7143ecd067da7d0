//! Couriers of several processes, with Redis between them.

use std::{collections::BTreeSet, time::Duration};

use sebastian_courier::{Guard, Queue};
use sebastian_roster::RedisServer;
use sebastian_testkit::Redis;

use crate::{desk::Desk, receiver::Receiver};

fn queue(redis: &Redis) -> Queue {
    Queue::Redis(RedisServer::parse(&redis.url(), "test").unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_couriers_deliver_everything_once_by_announcements_alone() {
    let (redis, desk, receiver) = (Redis::start().await, Desk::open().await, Receiver::taking());
    desk.subscribe(receiver.url(), &[sebastian_core::NoticeKind::Assigned]).await;
    let couriers =
        ["a", "b"].map(|name| desk.courier_of_patience(name, Guard::new(true), queue(&redis), Duration::MAX));
    for batch in 0..3 {
        for room in 0..10 {
            desk.arrive(&format!("room-{batch}-{room}")).await;
        }
        let reserved = desk.reserve(10).await;
        desk.confirm(&reserved).await;
        // The second is announced by a job of the same id as the first.
        receiver.await_got(10 * (batch + 1)).await;
    }
    desk.await_nothing_due().await;
    for courier in couriers {
        courier.stop().await;
    }

    let got = receiver.got();
    let ids: BTreeSet<String> = got.iter().map(|got| got.id()).collect();
    assert_eq!((got.len(), ids.len()), (30, 30));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_delivered_while_redis_is_down_and_after_it_is_back() {
    let (redis, desk, receiver) = (Redis::start().await, Desk::open().await, Receiver::taking());
    desk.subscribe(receiver.url(), &[sebastian_core::NoticeKind::Assigned]).await;
    let courier = desk.courier_with("a", Guard::new(true), queue(&redis));
    desk.assign("room-1").await;
    receiver.await_got(1).await;

    redis.kill9();
    desk.assign("room-2").await;
    receiver.await_got(2).await;

    redis.restart_empty().await;
    desk.assign("room-3").await;
    receiver.await_got(3).await;
    desk.await_nothing_due().await;
    courier.stop().await;
    assert_eq!(receiver.got().len(), 3);
}
