//! One suite for every [`RosterCache`], and what Redis adds in ways to fail.

use std::{fs, net::TcpStream, os::unix::fs::PermissionsExt, time::Duration};

use futures_util::future::join_all;
use redis::Commands;
use sebastian_core::{AccountId, Agent, AgentId, InboxId, Presence, Role, Roster, Timestamp};
use sebastian_roster::{
    CacheError, InProcessRosterCache, RedisRosterCache, RedisServer, RosterCache, SavedRosterCache,
};
use sebastian_testkit::{ChaosProxy, Fault, Redis, eventually};

const SOON: Duration = Duration::from_secs(20);
const ACCOUNT: AccountId = AccountId(7);

fn roster(version: u64) -> Roster {
    let agent = |id| Agent {
        id: AgentId(id),
        name: format!("agent {id}"),
        role: Role::Agent,
        presence: Presence::Online,
        forced_offline: false,
        inboxes: Some(vec![InboxId(1), InboxId(2)]),
        reported_load: None,
        listed: false,
        online_since: Some(Timestamp::from_millis(5)),
    };
    Roster::new(version, Timestamp::from_millis(1_000), vec![agent(3), agent(1), agent(2)])
}

async fn exercise_cache<C: RosterCache>(cache: &C) {
    cache.ping().await.unwrap();
    assert_eq!(cache.newer_than(ACCOUNT, 0).await.unwrap(), None, "none is stored yet");

    assert!(cache.publish(ACCOUNT, &roster(9)).await.unwrap());
    assert_eq!(cache.newer_than(ACCOUNT, 8).await.unwrap(), Some(roster(9)), "as it was published");
    assert_eq!(cache.newer_than(ACCOUNT, 9).await.unwrap(), None, "known already");
    assert_eq!(cache.newer_than(ACCOUNT, 10).await.unwrap(), None, "older than known");

    assert!(!cache.publish(ACCOUNT, &roster(9)).await.unwrap(), "the same version again");
    assert!(!cache.publish(ACCOUNT, &roster(8)).await.unwrap(), "an older version");
    assert_eq!(cache.newer_than(ACCOUNT, 0).await.unwrap(), Some(roster(9)));
    assert!(cache.publish(ACCOUNT, &roster(10)).await.unwrap(), "newer, though its text sorts before");
    assert_eq!(cache.newer_than(ACCOUNT, 9).await.unwrap(), Some(roster(10)));

    assert_eq!(cache.newer_than(AccountId(8), 0).await.unwrap(), None, "each account has its own");

    let shuffled = (0..64).map(|i| 100 + i * 37 % 64);
    let published =
        join_all(shuffled.map(|version| async move { cache.publish(ACCOUNT, &roster(version)).await }));
    assert!(published.await.into_iter().all(|stored| stored.is_ok()));
    assert_eq!(cache.newer_than(ACCOUNT, 0).await.unwrap().map(|stored| stored.version), Some(163));

    // Beyond what a double holds exactly.
    let large = 1_u64 << 53;
    assert!(cache.publish(ACCOUNT, &roster(large)).await.unwrap());
    assert!(cache.publish(ACCOUNT, &roster(large + 1)).await.unwrap());
    assert!(!cache.publish(ACCOUNT, &roster(large)).await.unwrap());
    assert_eq!(cache.newer_than(ACCOUNT, large).await.unwrap(), Some(roster(large + 1)));
    assert!(cache.publish(ACCOUNT, &roster(u64::MAX)).await.unwrap());
    assert_eq!(cache.newer_than(ACCOUNT, u64::MAX).await.unwrap(), None);
}

fn cache_on(url: impl std::fmt::Display) -> RedisRosterCache {
    RedisRosterCache::new(&RedisServer::parse(&url.to_string(), "sebastian").unwrap())
}

fn client(redis: &Redis) -> redis::Connection {
    redis::Client::open(redis.url()).unwrap().get_connection().unwrap()
}

#[tokio::test]
async fn in_process_cache_keeps_the_newest() {
    exercise_cache(&InProcessRosterCache::default()).await;
}

#[tokio::test]
async fn saved_cache_keeps_the_newest() {
    let folder = tempfile::tempdir().unwrap();
    exercise_cache(&SavedRosterCache::new(folder.path().join("roster.json"))).await;
}

#[tokio::test]
async fn what_was_saved_is_there_at_the_next_start_and_for_whoever_reads_beside() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("roster.json");
    let (serving, beside) = (SavedRosterCache::new(file.clone()), SavedRosterCache::new(file.clone()));
    assert_eq!(beside.newer_than(ACCOUNT, 0).await.unwrap(), None);

    for version in [1, 2] {
        assert!(serving.publish(ACCOUNT, &roster(version)).await.unwrap());
        assert_eq!(beside.newer_than(ACCOUNT, 0).await.unwrap(), Some(roster(version)), "it looks again");
    }
    assert!(serving.publish(AccountId(8), &roster(5)).await.unwrap());
    drop(serving);

    let next = SavedRosterCache::new(file.clone());
    assert_eq!(next.newer_than(ACCOUNT, 1).await.unwrap(), Some(roster(2)));
    assert!(!next.publish(ACCOUNT, &roster(2)).await.unwrap(), "what was saved counts");
    assert!(next.publish(ACCOUNT, &roster(3)).await.unwrap());
    assert_eq!(beside.newer_than(AccountId(8), 0).await.unwrap(), Some(roster(5)), "others' stay");

    let files: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(files, ["roster.json"], "nothing half-written is left");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "it holds names");
}

#[tokio::test]
async fn a_file_that_is_no_roster_reads_as_corrupt_and_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("roster.json");
    for text in ["", "<html>", "[]", r#"{"7":{}}"#] {
        fs::write(&file, text).unwrap();
        let cache = SavedRosterCache::new(file.clone());
        assert!(matches!(cache.newer_than(ACCOUNT, 0).await, Err(CacheError::Corrupt(_))), "{text}");
        assert!(matches!(cache.ping().await, Err(CacheError::Corrupt(_))), "{text}");
        assert!(cache.publish(ACCOUNT, &roster(2)).await.unwrap());
        assert_eq!(
            SavedRosterCache::new(file.clone()).newer_than(ACCOUNT, 0).await.unwrap(),
            Some(roster(2))
        );
    }
}

#[tokio::test]
async fn a_roster_that_cannot_be_saved_is_kept_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let cache = SavedRosterCache::new(folder.path().join("gone/roster.json"));
    assert!(matches!(cache.publish(ACCOUNT, &roster(1)).await, Err(CacheError::Unreachable(_))));
    assert_eq!(cache.newer_than(ACCOUNT, 0).await.unwrap(), Some(roster(1)));
}

#[tokio::test]
async fn redis_cache_keeps_the_newest() {
    let redis = Redis::start().await;
    exercise_cache(&cache_on(redis.url())).await;
}

#[tokio::test]
async fn processes_share_one_redis_cache_and_other_prefixes_do_not() {
    let redis = Redis::start().await;
    // The original's form of the address.
    let (ours, peer) = (cache_on(redis.address()), cache_on(redis.url()));
    let stranger = RedisRosterCache::new(&RedisServer::parse(&redis.url(), "staging").unwrap());
    ours.publish(ACCOUNT, &roster(1)).await.unwrap();
    assert_eq!(peer.newer_than(ACCOUNT, 0).await.unwrap(), Some(roster(1)));
    assert_eq!(stranger.newer_than(ACCOUNT, 0).await.unwrap(), None);
}

#[tokio::test]
async fn a_roster_expires() {
    let redis = Redis::start().await;
    cache_on(redis.url()).publish(ACCOUNT, &roster(1)).await.unwrap();
    let ttl_s: i64 = client(&redis).ttl("sebastian:{7}:roster:v1").unwrap();
    assert!(ttl_s > 0, "time to live is {ttl_s}");
}

#[tokio::test]
async fn flushed_data_and_scripts_are_survived() {
    let redis = Redis::start().await;
    let cache = cache_on(redis.url());
    cache.publish(ACCOUNT, &roster(5)).await.unwrap();
    redis.flush_all();
    redis::cmd("SCRIPT").arg("FLUSH").exec(&mut client(&redis)).unwrap();
    assert_eq!(cache.newer_than(ACCOUNT, 0).await.unwrap(), None);
    assert!(cache.publish(ACCOUNT, &roster(4)).await.unwrap(), "nothing newer is left");
}

#[tokio::test]
async fn a_key_that_is_no_roster_reads_as_corrupt_and_is_replaced() {
    let redis = Redis::start().await;
    let cache = cache_on(redis.url());
    let key = "sebastian:{7}:roster:v1";
    let spoil: [&dyn Fn(&mut redis::Connection); 4] = [
        &|redis| redis.set(key, "a string").unwrap(),
        &|redis| redis.hset(key, "other", "field").unwrap(),
        &|redis| redis.hset_multiple(key, &[("version", "newest"), ("body", "{}")]).unwrap(),
        &|redis| redis.hset_multiple(key, &[("version", "1"), ("body", "<html>")]).unwrap(),
    ];
    for spoil in spoil {
        redis.flush_all();
        spoil(&mut client(&redis));
        assert!(matches!(cache.newer_than(ACCOUNT, 0).await, Err(CacheError::Corrupt(_))));
        assert!(cache.publish(ACCOUNT, &roster(2)).await.unwrap());
        assert_eq!(cache.newer_than(ACCOUNT, 0).await.unwrap(), Some(roster(2)));
    }
}

#[tokio::test]
async fn redis_may_be_down_at_the_start_and_restart_later() {
    let redis = Redis::start().await;
    redis.kill9();
    let cache = cache_on(redis.url());
    assert!(matches!(cache.newer_than(ACCOUNT, 0).await, Err(CacheError::Unreachable(_))));
    redis.restart_empty().await;
    assert!(cache.publish(ACCOUNT, &roster(1)).await.unwrap(), "the first call after it came up");
    redis.restart_empty().await;
    assert!(
        cache.publish(ACCOUNT, &roster(1)).await.unwrap(),
        "the first call after a restart between calls"
    );
}

#[tokio::test]
async fn every_call_ends_when_redis_hangs() {
    let redis = Redis::start().await;
    let proxy = ChaosProxy::start(redis.address()).await;
    let cache = cache_on(proxy.address());
    cache.publish(ACCOUNT, &roster(1)).await.unwrap();

    redis.pause();
    assert!(matches!(cache.ping().await, Err(CacheError::Unreachable(_))));
    assert!(matches!(cache.publish(ACCOUNT, &roster(2)).await, Err(CacheError::Unreachable(_))));
    redis.resume();
    eventually("the cache answers after a pause", SOON, async || cache.ping().await).await;

    proxy.set(Fault::BlackHole).await;
    assert!(matches!(cache.newer_than(ACCOUNT, 0).await, Err(CacheError::Unreachable(_))));
    proxy.set(Fault::Pass).await;
    eventually("the cache answers after a black hole", SOON, async || cache.ping().await).await;

    proxy.set(Fault::CutReplyAfter(0)).await;
    assert!(cache.ping().await.is_err());
    proxy.set(Fault::Pass).await;
    eventually("the cache answers after cut replies", SOON, async || cache.ping().await).await;
}

#[tokio::test]
async fn a_connection_refused_by_a_full_server_is_tried_again() {
    let redis = Redis::start_with(&["--maxclients", "2"]).await;
    let others = [TcpStream::connect(redis.address()).unwrap(), TcpStream::connect(redis.address()).unwrap()];
    let cache = cache_on(redis.url());
    assert!(matches!(cache.ping().await, Err(CacheError::Unreachable(_))));
    drop(others);
    eventually("the cache has a connection", SOON, async || cache.ping().await).await;
}

#[tokio::test]
async fn a_password_put_right_at_the_server_is_tried_again() {
    let redis = Redis::start().await;
    let mut admin = client(&redis);
    let mut require = |password: &str| {
        redis::cmd("CONFIG").arg("SET").arg("requirepass").arg(password).exec(&mut admin).unwrap();
    };
    require("old");
    let cache = cache_on(redis.url().replace("redis://", "redis://:new@"));
    assert!(matches!(cache.ping().await, Err(CacheError::Unreachable(_))));
    require("new");
    cache.ping().await.unwrap();
}

#[test]
fn an_address_is_parsed_and_never_shown() {
    for good in
        ["localhost:6379", " 127.0.0.1:6379 ", "redis://user:hunter2@redis:6379/3", "unix:///run/redis.sock"]
    {
        let server = RedisServer::parse(good, "sebastian").unwrap();
        assert!(!format!("{server:?}").contains("hunter2"));
    }
    for bad in ["", "http://localhost", "redis://:hunter2@host:port"] {
        let error = RedisServer::parse(bad, "sebastian").unwrap_err();
        assert!(!format!("{error:?}").contains("hunter2"));
    }
}
