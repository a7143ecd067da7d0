//! PostgreSQL fails, or the way to it: a webhook is kept or refused, and every chat that was kept is served once.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use sebastian_core::RoomId;
use sebastian_platform::simulated::{Endpoint, Fault, Request, SimulatedConfig};
use sebastian_testkit::{Durability, Fault as Net, Postgres, eventually};
use tokio::{task::JoinSet, time::MissedTickBehavior};
use tokio_postgres::{Client, NoTls};

use crate::{
    acceptance::house::{House, PATIENCE, QUICK, RECOVERY, Settings, WA, is_accepted, rooms},
    processes::address,
};

/// Chats whose webhook was refused are found in the platform's list within seconds.
const FOUND_SOON: Settings = &[
    ("SEBASTIAN__QISCUS__TIMEOUT_MS", "1000"),
    ("SEBASTIAN__QISCUS__CONNECT_TIMEOUT_MS", "1000"),
    ("SEBASTIAN__RECONCILE__INTERVAL_MS", "2000"),
    ("SEBASTIAN__RECONCILE__SETTLE_WINDOW_MS", "2000"),
];

/// The tag of PostgreSQL's answer to a commit that is done.
const COMMITTED: Net = Net::CutReplyWith(b"COMMIT\0");

/// The same of a webhook, which is written by one statement.
const ACCEPTED: Net = Net::CutReplyWith(b"INSERT 0 1\0");

/// Webhooks a second, whatever becomes of those before.
const RATE: u32 = 200;

/// A desk at a platform that waits for an answer for as long as a busy machine may take to send it.
fn patient(agents: u32) -> SimulatedConfig {
    let mut tenant = SimulatedConfig::desk(agents);
    tenant.webhooks.timeout = PATIENCE;
    tenant
}

/// What was answered to each room's webhook; `None` when nothing was.
type Answers = Mutex<Vec<(String, Option<u16>)>>;

fn count(answers: &Answers, wanted: u16) -> usize {
    answers.lock().unwrap().iter().filter(|(_, status)| *status == Some(wanted)).count()
}

/// Customers write at a steady rate until the story is over. Returns what each was answered.
async fn customers_write_while(
    house: &House,
    story: impl AsyncFnOnce(&Answers),
) -> Vec<(String, Option<u16>)> {
    let answers = Arc::new(Answers::default());
    let mut under_way = JoinSet::new();
    let writing = async {
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / RATE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        for room in rooms(1_000_000) {
            ticks.tick().await;
            let (platform, answers) = (house.platform.clone(), Arc::clone(&answers));
            under_way.spawn(async move {
                let sent = platform.customer_writes(&room, WA).await;
                let status = sent.and_then(|delivery| delivery.statuses[0]);
                answers.lock().unwrap().push((room, status));
            });
        }
    };
    tokio::select! {
        () = writing => unreachable!("nobody writes that long"),
        () = story(&answers) => {}
    }
    under_way.join_all().await;
    answers.lock().unwrap().clone()
}

/// PostgreSQL is away for as long as it takes to refuse `refused` webhooks.
async fn survives_an_outage(refused: usize) {
    let postgres = Postgres::private(Durability::Fsync).await;
    let house = House::with(patient(50), 1_000, 1, Some(postgres), FOUND_SOON).await;
    let answers = customers_write_while(&house, async |answers| {
        let postgres = house.postgres.as_ref().unwrap();
        let rate = RATE as usize;
        eventually("webhooks are accepted", PATIENCE, async || count(answers, 200) >= rate).await;
        postgres.stop_immediate().await;
        let limit = PATIENCE + Duration::from_secs(1) / RATE * u32::try_from(refused).unwrap();
        eventually("webhooks are refused", limit, async || count(answers, 503) >= refused).await;
        postgres.start().await;
        let before = count(answers, 200);
        eventually("and accepted again", RECOVERY, async || count(answers, 200) >= before + rate).await;
    })
    .await;

    let odd = answers.iter().find(|(_, status)| !matches!(status, Some(200 | 503)));
    assert_eq!(odd, None, "neither kept nor refused\n{}", house.said());
    let accepted = answers.iter().filter(|(_, status)| *status == Some(200));
    let accepted: Vec<RoomId> = accepted.map(|(room, _)| RoomId::parse(room).unwrap()).collect();
    let (store, account) = house.ledger().await;
    for some in accepted.chunks(500) {
        assert_eq!(store.unknown_rooms(account, some).await.unwrap(), [], "accepted and lost");
    }
    house.settled(answers.len() as u64, PATIENCE * 2).await;
    assert_eq!(house.count(), answers.len());
    assert_eq!(house.violations().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_postgresql_is_away_each_webhook_is_kept_or_refused_and_every_chat_is_served_afterwards() {
    survives_an_outage(5 * RATE as usize).await;
}

#[ignore = "takes a minute: cargo xtask test -- -p sebastian half_a_minute_without_postgresql -- --ignored"]
#[tokio::test(flavor = "multi_thread")]
async fn half_a_minute_without_postgresql_costs_no_chat_that_was_accepted() {
    survives_an_outage(30 * RATE as usize).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_whose_commit_was_never_heard_of_is_refused_kept_and_counted_once_when_repeated() {
    let mut house = House::open(2, 5, 1).await;
    let (proxy, url) = house.proxied_database().await;
    house.replace_ingest_with(&[("SEBASTIAN__DB__CONNECTION_STRING", &url)]).await;
    let all = rooms(2);
    house.customers_write(&all[..1]).await;

    proxy.set(ACCEPTED).await;
    let unheard = house.platform.customer_writes(&all[1], WA).await.unwrap();
    proxy.set(Net::Pass).await;

    assert_eq!(unheard.statuses, [Some(503)], "{}", house.said());
    let (store, account) = house.ledger().await;
    let room = RoomId::parse(&all[1]).unwrap();
    assert_eq!(store.unknown_rooms(account, &[room]).await.unwrap(), [], "it was not committed after all");
    let url = format!("http://{}/webhook-incoming-message", house.ingest_address);
    let repeat = reqwest::Client::new().post(url).body(unheard.body.to_string());
    assert_eq!(repeat.send().await.unwrap().status(), 200);
    house.settled(2, RECOVERY).await;
    assert_eq!(house.count(), 2);
    assert_eq!(house.violations().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reservation_whose_commit_was_never_heard_of_is_taken_over_and_served_once() {
    let mut house = House::with(SimulatedConfig::desk(2), 5, 0, None, QUICK).await;
    let (proxy, url) = house.proxied_database().await;
    let worker = house.start_worker(&[("SEBASTIAN__DB__CONNECTION_STRING", &url)]);
    address(&worker).await;
    house.workers.push(worker);
    let all = rooms(2);
    house.customers_write(&all[..1]).await;
    house.settled(1, RECOVERY).await;
    let calls = || {
        let told = |request: &Request| {
            request.endpoint == Endpoint::Assign && request.room.as_deref() == Some(&*all[1])
        };
        house.platform.requests().iter().filter(|request| told(request)).count()
    };

    proxy.set(COMMITTED).await;
    house.customers_write(&all[1..]).await;
    let (store, account) = house.ledger().await;
    let reserved = async || store.counts(account).await.unwrap().reserved == 1;
    eventually("a slot is taken", PATIENCE, reserved).await;
    assert_eq!(calls(), 0, "the worker cannot know that it took a slot");
    proxy.set(Net::Pass).await;

    house.settled(2, RECOVERY).await;
    assert_eq!(house.count(), 2);
    assert_eq!(house.violations().await, []);
}

async fn connect(house: &House) -> Client {
    let (client, connection) = tokio_postgres::connect(&house.database_url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// From now on each `what` (as `INSERT ON events`) fails with this SQLSTATE; `None`: no longer.
async fn fail(client: &Client, what: &str, state: Option<&str>) {
    let table = what.rsplit(' ').next().unwrap();
    let plant = state.map(|state| {
        format!(
            "CREATE OR REPLACE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN RAISE EXCEPTION 'planted' USING ERRCODE = '{state}'; END $$;
             CREATE TRIGGER fail BEFORE {what} FOR EACH STATEMENT EXECUTE FUNCTION fail()"
        )
    });
    let clear = format!("DROP TRIGGER IF EXISTS fail ON {table};");
    client.batch_execute(&(clear + plant.as_deref().unwrap_or_default())).await.unwrap();
}

/// Disk full, out of memory, a deadlock, a serialization failure, given up, read-only, and a bug of ours.
const STATES: [&str; 7] = ["53100", "53200", "40P01", "40001", "57014", "25006", "XX000"];

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_ledger_says_against_an_insert_refuses_the_webhook_until_it_is_over() {
    let house = House::open(2, 20, 1).await;
    let client = connect(&house).await;
    let all = rooms(STATES.len());
    let url = format!("http://{}/webhook-incoming-message", house.ingest_address);
    for (room, state) in all.iter().zip(STATES) {
        fail(&client, "INSERT ON events", Some(state)).await;
        let refused = house.platform.customer_writes(room, WA).await.unwrap();
        assert_eq!(refused.statuses, [Some(503)], "{state}\n{}", house.said());
        fail(&client, "INSERT ON events", None).await;
        let repeat = reqwest::Client::new().post(&url).body(refused.body.to_string());
        assert_eq!(repeat.send().await.unwrap().status(), 200, "{state}");
    }
    house.settled(all.len() as u64, RECOVERY).await;
    assert_eq!(house.violations().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_ledger_says_against_a_reservation_or_a_confirmation_costs_no_chat() {
    let house = House::open(2, 20, 1).await;
    let client = connect(&house).await;
    let (store, account) = house.ledger().await;
    let counts = async || store.counts(account).await.unwrap();
    house.platform.set_fault(Fault::latency(Endpoint::Assign, Duration::from_millis(300)));
    for (n, state) in STATES.into_iter().enumerate() {
        let room = &rooms(n + 1)[n..];
        fail(&client, "UPDATE ON conversations", Some(state)).await;
        house.customers_write(room).await;
        let failed = async || house.workers[0].output().matches("planted").count() > n;
        eventually("a reservation fails", PATIENCE, failed).await;
        assert_eq!(house.count(), n, "{state}");
        fail(&client, "UPDATE ON conversations", None).await;
        eventually("a slot is taken", PATIENCE, async || counts().await.reserved == 1).await;
        fail(&client, "UPDATE ON conversations", Some(state)).await;
        house.assigned(n + 1, PATIENCE).await;
        fail(&client, "UPDATE ON conversations", None).await;
        house.settled(n as u64 + 1, RECOVERY).await;
    }
    assert_eq!(house.count(), STATES.len());
    assert_eq!(house.violations().await, []);
}

/// Sets an option of the house's database and sends everybody away, so that they meet it when they come back.
async fn set_and_cut(house: &House, option: &str) {
    let (client, connection) = tokio_postgres::connect(Postgres::shared().await, NoTls).await.unwrap();
    tokio::spawn(connection);
    let url = house.database_url();
    let name = url.rsplit('/').next().unwrap();
    let cut = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
    client.batch_execute(&format!("ALTER DATABASE {name} {option}")).await.unwrap();
    client.batch_execute(&cut).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_is_read_only_or_lets_nobody_in_is_waited_for() {
    const ROOMS: usize = 120;
    let house = House::open(20, 20, 2).await;
    house.platform.set_fault(Fault::latency(Endpoint::Assign, Duration::from_millis(150)));
    let all = rooms(ROOMS);
    let ways = [
        ("SET default_transaction_read_only = on", "SET default_transaction_read_only = off"),
        ("ALLOW_CONNECTIONS false", "ALLOW_CONNECTIONS true"),
    ];
    for (half, (on, off)) in all.chunks(ROOMS / 2).zip(ways) {
        let (burst, later) = half.split_at(ROOMS / 2 - 1);
        let before = house.count();
        house.customers_write(burst).await;
        house.assigned(before + 10, PATIENCE).await;

        set_and_cut(&house, on).await;
        let refused = house.platform.customer_writes(&later[0], WA).await.unwrap();
        assert_eq!(refused.statuses, [Some(503)], "{on}\n{}", house.said());
        set_and_cut(&house, off).await;

        let url = format!("http://{}/webhook-incoming-message", house.ingest_address);
        eventually("webhooks are accepted again", RECOVERY, async || {
            let repeat = reqwest::Client::new().post(&url).body(refused.body.to_string());
            repeat.send().await.unwrap().status() == 200
        })
        .await;
        house.settled((before + half.len()) as u64, RECOVERY).await;
    }
    assert_eq!(house.count(), ROOMS);
    assert_eq!(house.violations().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_that_the_ledger_does_not_take_is_refused_and_what_was_accepted_is_kept() {
    // More than the ingest keeps waiting for a commit, and its memory after that.
    const FLOOD: usize = 6_000;
    const RESIDENT_MAX_KB: u64 = 400_000;
    assert!(sebastian_testkit::raise_open_files() > FLOOD as u64 + 2_000, "too few open files allowed");
    let house = House::of(patient(2), 1, 0, None).await;
    let client = connect(&house).await;
    let (store, account) = house.ledger().await;
    house.customers_write(&rooms(1)).await;
    client.batch_execute(&format!("BEGIN; SELECT pg_advisory_xact_lock(1, {account})")).await.unwrap();

    let began = Instant::now();
    let (client_http, mut flood) = (reqwest::Client::new(), JoinSet::new());
    let url = format!("http://{}/webhook-incoming-message", house.ingest_address);
    for room in rooms(FLOOD + 1).split_off(1) {
        let body = house.platform.new_chat(&room, WA).unwrap().to_string();
        let sending = client_http.post(&url).body(body).send();
        flood.spawn(async move {
            let answer = sending.await.map(|answer| answer.status().as_u16());
            (room, answer.map_err(|error| format!("{error:?}")))
        });
    }
    let (_, first) = flood.join_next().await.unwrap().unwrap();
    assert_eq!(first, Ok(503), "nothing is committed yet");
    client.batch_execute("COMMIT").await.unwrap();
    let answers = flood.join_all().await;

    let odd: Vec<_> = answers.iter().filter(|(_, answer)| !matches!(answer, Ok(200 | 503))).collect();
    assert_eq!(odd.first(), None, "{} were neither kept nor refused after {:?}", odd.len(), began.elapsed());
    let kept = answers.iter().filter(|(_, answer)| *answer == Ok(200));
    let kept: Vec<RoomId> = kept.map(|(room, _)| RoomId::parse(room).unwrap()).collect();
    for some in kept.chunks(500) {
        assert_eq!(store.unknown_rooms(account, some).await.unwrap(), []);
    }
    let refused = answers.len() - kept.len();
    println!("{} kept, {refused} refused in {:?}", kept.len(), began.elapsed());
    let status = std::fs::read_to_string(format!("/proc/{}/status", house.ingest.pid())).unwrap_or_default();
    let resident =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok());
    assert!(resident.is_none_or(|kb: u64| kb < RESIDENT_MAX_KB), "{resident:?} kB");
    eventually("and the next is accepted", RECOVERY, async || {
        is_accepted(&house.platform.customer_writes("470999999", WA).await)
    })
    .await;
}
