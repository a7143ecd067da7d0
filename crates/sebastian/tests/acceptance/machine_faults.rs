//! The machine around a process fails it: too many connections, nowhere to log to, a clock that is wrong.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    path::Path,
    process::Command,
    time::{Duration, Instant, SystemTime},
};

use futures_util::{StreamExt, stream};
use sebastian_testkit::{Child, Database, Redis, eventually, faketime, raise_open_files};
use tokio::net::TcpStream;

use crate::{
    acceptance::house::{House, PATIENCE, RECOVERY, rooms},
    processes::{Folder, SOON, address, ask, config},
};

const WEBHOOK: &str = "POST /webhooks/desk-1/CANARY-webhook-secret/allocate";
const OK: &str = "HTTP/1.1 200 OK";

fn chat(room: &str) -> String {
    format!(r#"{{"app_id":"desk-1","room_id":"{room}"}}"#)
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_idle_connections_keep_neither_webhooks_nor_health_from_being_answered() {
    const IDLE: usize = 10_000;
    // Each is a file here, and one in the process; others want theirs.
    let idle = IDLE.min(usize::try_from(raise_open_files()).unwrap_or(IDLE).saturating_sub(2_000));
    let (database, redis) = (Database::create().await, Redis::start().await);
    let folder = Folder::with(&config(&database, &redis));
    let ingest = folder.start(&["-e", "webhook"]);
    let at = address(&ingest).await;
    assert_eq!(ask(&at, WEBHOOK, &chat("1")).0, OK);

    let connecting = stream::iter(0..idle).map(|_| TcpStream::connect(&at)).buffer_unordered(500);
    let connections: Vec<_> = connecting.filter_map(async |made| made.ok()).collect().await;
    let made = connections.len();
    assert!(made >= idle * 9 / 10, "{made} of {idle} connections were made");
    for (request, body) in
        [("GET /livez", String::new()), ("GET /readyz", String::new()), (WEBHOOK, chat("2"))]
    {
        let began = Instant::now();
        let (status, answer) = ask(&at, request, &body);
        assert_eq!(status, OK, "{request}: {answer}");
        assert!(began.elapsed() < Duration::from_secs(2), "{request}: {:?}", began.elapsed());
    }
    println!("{made} idle connections");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_does_not_arrive_is_cut_off_within_seconds() {
    let (database, redis) = (Database::create().await, Redis::start().await);
    let folder = Folder::with(&config(&database, &redis));
    let ingest = folder.start(&["-e", "webhook"]);
    let mut stream = std::net::TcpStream::connect(address(&ingest).await).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(b"POST /webhook-incoming-message HTTP/1.1\r\nHost: he").unwrap();
    let began = Instant::now();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

/// A port that was free a moment ago.
fn port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// It takes a webhook, and ends as it should.
async fn serves(child: &Child, at: &str, why: &str) {
    let is_up = async || std::net::TcpStream::connect(at).is_ok() && ask(at, "GET /livez", "").0 == OK;
    eventually("it is up", SOON, is_up).await;
    assert_eq!(ask(at, WEBHOOK, &chat("1")).0, OK, "{why}");
    // Refused, so that there is something to log.
    assert_eq!(ask(at, "POST /webhook-incoming-message", &chat("2")).0, "HTTP/1.1 401 Unauthorized", "{why}");
    assert_eq!(child.exited(), None, "{why}");
    child.terminate();
    assert_eq!(child.wait(SOON).await.code(), Some(0), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_its_log_on_a_full_disk_or_closed_a_process_serves_on() {
    let (database, redis) = (Database::create().await, Redis::start().await);
    let folder = Folder::with(&config(&database, &redis));
    for process in ["webhook", "all"] {
        let port = port();
        let environment = [("SEBASTIAN__LISTEN__PORT", &*port.to_string()), ("RUST_LOG", "debug")];
        let full = folder.start_writing_to(Path::new("/dev/full"), &["-e", process], &environment);
        serves(&full, &format!("127.0.0.1:{port}"), "every write fails for want of space").await;

        let pipe = tempfile::tempdir().unwrap();
        let path = pipe.path().join("log");
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        let closed = folder.start_writing_to(&path, &["-e", process], &environment);
        let heard = tokio::task::spawn_blocking(move || {
            // Opens when the process does; closed for good after the first line.
            BufReader::new(File::open(path).unwrap()).lines().next().unwrap().unwrap()
        });
        assert!(!heard.await.unwrap().is_empty());
        serves(&closed, &format!("127.0.0.1:{port}"), "nobody reads any more").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_ten_minutes_off_and_one_set_back_an_hour_change_no_order_and_no_deadline() {
    let Some(library) = faketime() else {
        return println!("not tried: there is no libfaketime on this machine");
    };
    let folder = tempfile::tempdir().unwrap();
    let clock = |name: &str, offset: &str| {
        let path = folder.path().join(name);
        // Never half written: the process may read at any time.
        std::fs::write(path.with_extension("new"), offset).unwrap();
        std::fs::rename(path.with_extension("new"), &path).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let faked = |clock: String| {
        [
            ("LD_PRELOAD", library.to_str().unwrap().to_owned()),
            ("FAKETIME_TIMESTAMP_FILE", clock),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            // Only the time of day can be set on a machine.
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ]
    };
    let mut house = House::open(20, 20, 0).await;
    let ahead = faked(clock("ingest", "+10m"));
    house.replace_ingest_with(&ahead.each_ref().map(|(key, value)| (*key, &**value))).await;
    for (name, offset) in [("behind", "-10m"), ("jumps", "+1h")] {
        let environment = faked(clock(name, offset));
        let worker = house.start_worker(&environment.each_ref().map(|(key, value)| (*key, &**value)));
        address(&worker).await;
        house.workers.push(worker);
    }
    let all = rooms(200);
    for room in &all[..100] {
        house.customers_write(std::slice::from_ref(room)).await;
    }
    house.assigned(50, PATIENCE).await;

    let said = house.ingest.output();
    let (said_at, _) = said.split_once(' ').unwrap();
    let ahead = humantime::parse_rfc3339(said_at).unwrap().duration_since(SystemTime::now());
    assert!(ahead.is_ok_and(|ahead| ahead > Duration::from_secs(300)), "its clock is right: {said}");

    clock("jumps", "-1h");
    clock("ingest", "-10m");
    for room in &all[100..] {
        house.customers_write(std::slice::from_ref(room)).await;
    }
    house.settled(all.len() as u64, RECOVERY).await;
    // Whoever leads the poll dies; the other must not take the roster it left for new, or for an old one.
    house.workers.remove(0).kill9();
    house.customers_write(&rooms(201)[200..]).await;
    house.settled(201, RECOVERY).await;
    assert_eq!(house.count(), 201);
    assert_eq!(house.violations().await, []);
    let said = house.said();
    assert!(!said.contains("nobody is given conversations until a poll succeeds"), "{said}");
}
