//! Redis fails in the middle of a burst: webhooks are taken as before, every chat is served once, and when it is back so
//! is everything else.

use std::time::{Duration, Instant};

use sebastian_platform::simulated::{Endpoint, Fault};
use sebastian_testkit::{ChaosProxy, Fault as Net, Redis, eventually};

use crate::{
    acceptance::house::{House, PATIENCE, RECOVERY, rooms},
    processes::{address, ask},
};

const ROOMS: usize = 160;

/// Webhooks wait for PostgreSQL only; the rest is for a busy machine.
const BURST_MAX: Duration = Duration::from_secs(5);

const STREAM: &str = "sebastian:doorbell:v1";

/// Half a burst, then `broken`, the other half, and all are served; then `mended`, and one more is served.
async fn rides_out(house: &House, broken: impl AsyncFnOnce(), mended: impl AsyncFnOnce()) {
    house.platform.set_fault(Fault::latency(Endpoint::Assign, Duration::from_millis(150)));
    let all = rooms(ROOMS + 1);
    house.customers_write(&all[..ROOMS / 2]).await;
    house.assigned(ROOMS / 8, PATIENCE).await;

    broken().await;
    let began = Instant::now();
    house.customers_write(&all[ROOMS / 2..ROOMS]).await;
    assert!(began.elapsed() < BURST_MAX, "{:?} for {} webhooks", began.elapsed(), ROOMS / 2);
    house.assigned(ROOMS, RECOVERY).await;

    mended().await;
    for process in std::iter::once(&house.ingest).chain(&house.workers) {
        let at = address(process).await;
        eventually("all is well again", RECOVERY, async || match ask(&at, "GET /readyz", "") {
            (status, _) if status == "HTTP/1.1 200 OK" => Ok(()),
            (_, unready) => Err(unready),
        })
        .await;
    }
    house.customers_write(&all[ROOMS..]).await;
    house.settled(all.len() as u64, RECOVERY).await;
    assert_eq!(house.count(), all.len());
    assert_eq!(house.violations().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_frozen_in_the_middle_of_a_burst_delays_no_webhook_and_loses_no_chat() {
    let house = House::open(20, 20, 2).await;
    rides_out(&house, async || house.redis().pause(), async || house.redis().resume()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_gone_for_a_while_delays_no_webhook_and_loses_no_chat() {
    let house = House::open(20, 20, 2).await;
    rides_out(&house, async || house.redis().kill9(), async || house.redis().restart().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_redis_refuses_no_webhook_loses_no_chat_and_is_counted() {
    let house = House::open(20, 20, 2).await;
    let limit = async |bytes: &str| {
        for command in ["CONFIG SET maxmemory-policy noeviction", &format!("CONFIG SET maxmemory {bytes}")] {
            assert_eq!(house.redis().command(command), "+OK");
        }
    };
    rides_out(&house, async || limit("1").await, async || limit("0").await).await;
    let (_, metrics) = ask(&house.ingest_address, "GET /metrics", "");
    let failed = "sebastian_accept_rings_total{result=\"failed\"}";
    assert!(metrics.contains(failed), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_key_turned_into_something_else_and_all_scripts_gone_loses_no_chat() {
    let house = House::open(20, 20, 2).await;
    let spoil = "EVAL \"for _, key in ipairs(redis.call('KEYS', '*')) do redis.call('DEL', key) \
                 redis.call('LPUSH', key, 'spoilt') end return #redis.call('KEYS', '*')\" 0";
    let broken = async || {
        let spoilt = house.redis().command(spoil);
        assert!(!matches!(&*spoilt, ":0" | ":1"), "{spoilt}: no doorbell or no roster was there");
        assert_eq!(house.redis().command("SCRIPT FLUSH"), "+OK");
    };
    rides_out(&house, broken, async || ()).await;
}

/// Every process reaches Redis by a network that can be broken.
async fn behind_a_proxy() -> (House, ChaosProxy) {
    let mut house = House::open(20, 20, 0).await;
    let proxy = ChaosProxy::start(house.redis().address()).await;
    let url = format!("redis://{}", proxy.address());
    let settings = [("SEBASTIAN__REDIS__URL", &*url)];
    house.replace_ingest_with(&settings).await;
    for _ in 0..2 {
        let worker = house.start_worker(&settings);
        address(&worker).await;
        house.workers.push(worker);
    }
    (house, proxy)
}

async fn rides_out_a_network_that(fault: Net) {
    let (house, proxy) = behind_a_proxy().await;
    rides_out(&house, async || proxy.set(fault).await, async || proxy.set(Net::Pass).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_takes_two_seconds_delays_no_webhook_and_loses_no_chat() {
    rides_out_a_network_that(Net::Delay(Duration::from_secs(2))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_resets_every_connection_delays_no_webhook_and_loses_no_chat() {
    rides_out_a_network_that(Net::Reset).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_of_redis_cut_in_the_middle_delay_no_webhook_and_lose_no_chat() {
    rides_out_a_network_that(Net::CutReplyAfter(3)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_promoted_though_it_was_behind_loses_and_doubles_nothing() {
    let (house, proxy) = behind_a_proxy().await;
    let primary = house.redis().address();
    let replica = Redis::start_with(&["--replicaof", "127.0.0.1", &primary.port().to_string()]).await;
    let in_sync = async || replica.command("INFO replication").contains("master_link_status:up");
    eventually("the replica follows", PATIENCE, in_sync).await;

    let fails_over = async || {
        // From here on it misses every write.
        assert_eq!(replica.command("REPLICAOF NO ONE"), "+OK");
        house.customers_write(&rooms(ROOMS + 40)[ROOMS + 1..]).await;
        let rings = |server: &Redis| -> u64 {
            let length = server.command(&format!("XLEN {STREAM}"));
            length.trim_start_matches(':').parse().unwrap_or(0)
        };
        let is_behind = async || rings(&replica) < rings(house.redis());
        eventually("the replica is behind", PATIENCE, is_behind).await;
        house.redis().kill9();
        proxy.lead_to(replica.address());
    };
    house.platform.set_fault(Fault::latency(Endpoint::Assign, Duration::from_millis(150)));
    let all = rooms(ROOMS + 40);
    house.customers_write(&all[..ROOMS]).await;
    house.assigned(ROOMS / 8, PATIENCE).await;
    fails_over().await;
    house.customers_write(&all[ROOMS..=ROOMS]).await;
    house.settled(all.len() as u64, RECOVERY).await;
    assert_eq!(house.count(), all.len());
    assert_eq!(house.violations().await, []);
}
