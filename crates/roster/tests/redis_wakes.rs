//! Wake-ups through a Redis server of the test's own. No sweep runs, so whatever wakes a worker came by the bell.

use std::{collections::HashSet, time::Duration};

use redis::{
    Commands, InfoDict,
    streams::{StreamInfoConsumersReply, StreamInfoStreamReply},
};
use sebastian_core::AccountId;
use sebastian_roster::{Doorbell, DoorbellError, RedisDoorbell, RedisServer, WakeUps};
use sebastian_testkit::{ChaosProxy, Fault, Redis, eventually};

use crate::desk::{Desk, NEVER, SOON, ring, wake};

const STREAM: &str = "sebastian:doorbell:v1";

fn server(address: impl std::fmt::Display) -> RedisServer {
    RedisServer::parse(&address.to_string(), "sebastian").unwrap()
}

fn desk(server: &RedisServer) -> Desk {
    Desk::open(&[], NEVER, |config| WakeUps::redis(config, server))
}

fn client(redis: &Redis) -> redis::Connection {
    redis::Client::open(redis.url()).unwrap().get_connection().unwrap()
}

async fn listening(desk: &Desk) {
    eventually("the worker listens", SOON, async || desk.health.redis_ok()).await;
}

/// Rings until Redis takes it.
async fn ring_through(bell: &RedisDoorbell, account: i64) {
    let ring = async || bell.ring(wake(account, 0)).await.map_err(|DoorbellError(error)| error);
    eventually("the bell can be rung", SOON, ring).await;
}

#[tokio::test]
async fn a_ring_in_another_process_wakes_the_worker() {
    let redis = Redis::start().await;
    let bell = RedisDoorbell::new(&server(redis.url()));
    ring(&bell, 1, 5).await;
    ring(&bell, 1, 4).await;
    let mut desk = desk(&server(redis.address()));
    assert_eq!(desk.next().await, wake(1, 4), "rings before the first worker listened are heard, as one");
    ring(&bell, 1, 6).await;
    assert_eq!(desk.next().await, wake(1, 6));
    assert_eq!(desk.started(), 0);
}

#[tokio::test]
async fn two_workers_share_the_rings() {
    let redis = Redis::start().await;
    let server = server(redis.url());
    let mut desks = [desk(&server), desk(&server)];
    for desk in &desks {
        listening(desk).await;
    }
    let bell = RedisDoorbell::new(&server);
    let mut woken = [HashSet::new(), HashSet::new()];
    for account in 0..40 {
        ring(&bell, account, 0).await;
        let (desk, wake) = Desk::next_of(&mut desks).await;
        assert!(woken[desk].insert(wake.account));
    }
    assert_eq!(desks.each_mut().map(Desk::started), [0, 0]);
    assert!(woken[0].is_disjoint(&woken[1]), "a ring woke both");
    assert_eq!(woken[0].len() + woken[1].len(), 40);
    assert!(woken.iter().all(|woken| !woken.is_empty()), "one worker had them all");
}

#[tokio::test]
async fn reads_wait_for_rings_and_do_not_poll() {
    let redis = Redis::start().await;
    let server = server(redis.url());
    let began = std::time::Instant::now();
    let mut desk = desk(&server);
    let bell = RedisDoorbell::new(&server);
    for account in 0..50 {
        ring(&bell, account, 0).await;
        assert_eq!(desk.next().await.account, AccountId(account));
    }
    // Time in which nothing happens, and nothing should: there is no event to wait for.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let stats: InfoDict = redis::cmd("INFO").arg("commandstats").query(&mut client(&redis)).unwrap();
    let reads = stats.get::<String>("cmdstat_xreadgroup").unwrap();
    let reads: u64 = reads.strip_prefix("calls=").unwrap().split(',').next().unwrap().parse().unwrap();
    // One for each ring, the one that waits now, and one for each 2 s in which no ring came.
    let most = 50 + 1 + began.elapsed().as_secs() / 2;
    assert!(reads <= most, "{reads} reads, where {most} are enough");
}

#[tokio::test]
async fn a_worker_outlives_redis_and_hears_its_first_ring_after_an_empty_restart() {
    let redis = Redis::start().await;
    let server = server(redis.url());
    let (mut desk, bell) = (desk(&server), RedisDoorbell::new(&server));
    ring(&bell, 1, 0).await;
    desk.next().await;
    for _ in 0..2 {
        redis.kill9();
        eventually("the worker sees it", SOON, async || !desk.health.redis_ok()).await;
        assert!(bell.ring(wake(1, 0)).await.is_err());
        ring(&desk.bell, 2, 0).await;
        assert_eq!(desk.next().await, wake(2, 0), "its own bell goes on");

        redis.restart_empty().await;
        ring(&bell, 3, 0).await;
        assert_eq!(desk.next().await, wake(3, 0));
        assert!(desk.health.redis_ok());
    }
}

#[tokio::test]
async fn a_worker_may_start_before_redis() {
    let redis = Redis::start().await;
    redis.kill9();
    let server = server(redis.url());
    let (mut desk, bell) = (desk(&server), RedisDoorbell::new(&server));
    assert!(bell.ring(wake(1, 0)).await.is_err());
    redis.restart().await;
    ring(&bell, 2, 0).await;
    assert_eq!(desk.next().await, wake(2, 0));
}

#[tokio::test]
async fn a_flush_and_a_key_of_the_wrong_type_are_survived() {
    let redis = Redis::start().await;
    let server = server(redis.url());
    let (mut desk, bell) = (desk(&server), RedisDoorbell::new(&server));
    listening(&desk).await;
    redis.flush_all();
    ring(&bell, 1, 0).await;
    assert_eq!(desk.next().await, wake(1, 0));

    client(&redis).set::<_, _, ()>(STREAM, "not a stream").unwrap();
    ring_through(&bell, 2).await;
    assert_eq!(desk.next().await, wake(2, 0));
}

#[tokio::test]
async fn an_entry_that_is_no_ring_is_passed_over() {
    let redis = Redis::start().await;
    let server = server(redis.url());
    let (mut desk, bell) = (desk(&server), RedisDoorbell::new(&server));
    for entry in ["", "{}", "\u{0}", r#"{"account":1,"reason":"unheard_of","rung_at":0}"#] {
        client(&redis).xadd::<_, _, _, _, String>(STREAM, "*", &[("wake", entry)]).unwrap();
    }
    client(&redis).xadd::<_, _, _, _, String>(STREAM, "*", &[("other", "field")]).unwrap();
    ring(&bell, 1, 0).await;
    assert_eq!(desk.next().await, wake(1, 0));
}

#[tokio::test]
async fn a_hanging_redis_and_a_black_hole_end_every_ring_and_the_worker_comes_back() {
    let redis = Redis::start().await;
    let proxy = ChaosProxy::start(redis.address()).await;
    let server = server(proxy.address());
    let (mut desk, bell) = (desk(&server), RedisDoorbell::new(&server));
    ring(&bell, 1, 0).await;
    desk.next().await;

    redis.pause();
    assert!(bell.ring(wake(2, 0)).await.is_err());
    eventually("the worker sees the hang", SOON, async || !desk.health.redis_ok()).await;
    redis.resume();
    ring_through(&bell, 3).await;
    while desk.next().await.account != AccountId(3) {}

    for fault in [Fault::BlackHole, Fault::Reset, Fault::Refuse] {
        proxy.set(fault).await;
        assert!(bell.ring(wake(4, 0)).await.is_err());
        eventually("the worker sees the fault", SOON, async || !desk.health.redis_ok()).await;
        proxy.set(Fault::Pass).await;
        listening(&desk).await;
        ring_through(&bell, 5).await;
        while desk.next().await.account != AccountId(5) {}
    }
}

#[tokio::test]
async fn the_stream_stays_short() {
    let redis = Redis::start().await;
    let bell = RedisDoorbell::new(&server(redis.url()));
    for account in 0..3_000 {
        ring(&bell, account % 7, 0).await;
    }
    let stream: StreamInfoStreamReply = client(&redis).xinfo_stream(STREAM).unwrap();
    assert!(stream.length < 1_200, "{} rings are kept", stream.length);
}

#[tokio::test]
async fn a_full_redis_refuses_rings_and_the_worker_stays() {
    let redis = Redis::start_with(&["--maxmemory-policy", "noeviction"]).await;
    let server = server(redis.url());
    let (mut desk, bell) = (desk(&server), RedisDoorbell::new(&server));
    listening(&desk).await;
    let limit = |bytes: &str| {
        redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(bytes).exec(&mut client(&redis)).unwrap();
    };
    limit("1");
    assert!(bell.ring(wake(1, 0)).await.is_err());
    limit("0");
    ring(&bell, 2, 0).await;
    assert_eq!(desk.next().await, wake(2, 0));
}

#[tokio::test]
async fn a_worker_told_to_stop_leaves_the_group_while_its_handler_finishes() {
    let redis = Redis::start().await;
    let server = server(redis.url());
    let (mut leaving, bell) = (desk(&server).hold(), RedisDoorbell::new(&server));
    ring(&bell, 1, 0).await;
    leaving.next().await;
    let consumers = || {
        let known: StreamInfoConsumersReply = client(&redis).xinfo_consumers(STREAM, "workers").unwrap();
        known.consumers.into_iter().map(|consumer| consumer.name).collect::<Vec<_>>()
    };
    let [consumer] = consumers().try_into().unwrap();
    let mut staying = desk(&server);
    listening(&staying).await;
    leaving.stop.cancel();
    eventually("its consumer is removed", SOON, async || !consumers().contains(&consumer)).await;
    for account in 2..10 {
        ring(&bell, account, 0).await;
        assert_eq!(staying.next().await, wake(account, 0), "every ring goes to the worker that stays");
    }
    leaving.shut();
    leaving.release();
    leaving.closed().await;
}

#[tokio::test]
async fn a_worker_stops_while_redis_is_down() {
    let redis = Redis::start().await;
    let desk = desk(&server(redis.url()));
    listening(&desk).await;
    redis.kill9();
    desk.shut();
    desk.closed().await;
}

#[tokio::test]
async fn a_worker_stops_while_redis_hangs() {
    let redis = Redis::start().await;
    let desk = desk(&server(redis.url()));
    listening(&desk).await;
    redis.pause();
    desk.shut();
    desk.closed().await;
}
