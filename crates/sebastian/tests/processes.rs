//! Processes as they run: from start to a signal, with real servers and without.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::Command,
    time::Duration,
};

use sebastian_testkit::{Child, Database, Redis, binary, eventually};
use tempfile::TempDir;

use crate::cli::COMPLETE;

pub const SOON: Duration = Duration::from_secs(30);

/// A folder with a `config.yml`.
pub struct Folder(TempDir);

impl Folder {
    pub fn with(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("config.yml"), config).unwrap();
        Self(folder)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Without servers its data is in the folder `data`, unless `--data` says otherwise.
    pub fn start(&self, arguments: &[&str]) -> Child {
        self.start_with(arguments, &[])
    }

    pub fn start_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Child {
        let mut command = binary("sebastian");
        command.env("SEBASTIAN_DATA", "data");
        Child::spawn(command.args(arguments).envs(environment.iter().copied()).current_dir(self.0.path()))
    }

    /// With both its outputs going to the file `output`.
    pub fn start_writing_to(&self, output: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Child {
        let mut shell = Command::new("sh");
        shell.args(["-c", "exec \"$0\" \"$@\" > \"$OUTPUT\" 2>&1"]).arg(binary("sebastian").get_program());
        let environment = environment.iter().copied();
        Child::spawn(shell.args(arguments).env("OUTPUT", output).envs(environment).current_dir(self.0.path()))
    }
}

pub fn config(database: &Database, redis: &Redis) -> String {
    format!(
        "listen:\n  host: 127.0.0.1\n  port: 0\n\
         db:\n  connection_string: {}\n\
         redis:\n  url: {}\n\
         webhook:\n  secret: CANARY-webhook-secret\n\
         qiscus:\n  base_url: http://127.0.0.1:9\n  app_id: desk-1\n  secret_key: CANARY-key\n",
        database.url(),
        redis.url()
    )
}

/// The address a process says it listens on.
pub async fn address(process: &Child) -> String {
    let find = |line: &str| {
        let (_, address) = line.split_once("listening on ")?;
        Some(address.trim_start_matches("http://").split([' ', '"']).next()?.to_owned())
    };
    process.line("listening on", SOON, find).await
}

/// The status line and body of the answer to one request.
pub fn ask(address: &str, request: &str, body: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let length = body.len();
    let head = format!(
        "{request} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
                        Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

#[tokio::test]
async fn a_process_waits_for_its_ledger_and_stops_at_once_when_told() {
    for process in ["webhook", "worker", "all"] {
        let folder = Folder::with(COMPLETE);
        let child = folder.start(&["-e", process]);
        child
            .line("a second attempt", SOON, |line| line.contains("trying again in 500 ms").then_some(()))
            .await;
        child.terminate();
        assert_eq!(child.wait(SOON).await.code(), Some(0), "{}", child.output());
        assert!(!child.output().contains("CANARY"), "{}", child.output());
    }
}

#[tokio::test]
async fn a_webhook_process_brings_the_schema_takes_webhooks_and_stops_on_sigterm() {
    let (database, redis) = (Database::create().await, Redis::start().await);
    let folder = Folder::with(&config(&database, &redis));
    let child = folder.start(&["-e", "webhook"]);
    let address = address(&child).await;

    let body = r#"{"app_id":"desk-1","room_id":"47","name":"CANARY-name","email":"CANARY-phone"}"#;
    let (status, _) = ask(&address, "POST /webhook-incoming-message", body);
    assert_eq!(status, "HTTP/1.1 401 Unauthorized");
    let (status, answer) = ask(&address, "POST /webhooks/desk-1/CANARY-webhook-secret/allocate", body);
    assert_eq!(status, "HTTP/1.1 200 OK", "{answer}");
    let (status, ready) = ask(&address, "GET /readyz", "");
    assert_eq!(status, "HTTP/1.1 200 OK", "{ready}");
    assert!(ready.contains(r#""ledger":"ok""#) && ready.contains(r#""roster_cache":"ok""#), "{ready}");
    let (_, metrics) = ask(&address, "GET /metrics", "");
    assert!(metrics.contains("sebastian_webhook_seconds_bucket"), "{metrics}");

    child.terminate();
    assert_eq!(child.wait(SOON).await.code(), Some(0), "{}", child.output());
    let said = child.output();
    assert!(said.contains("stopping on SIGTERM") && said.contains("stopped"), "{said}");
    for shown in [said, answer, ready, metrics] {
        assert!(!shown.contains("CANARY"), "{shown}");
    }
}

#[tokio::test]
async fn a_worker_shows_its_health_with_the_platform_down_and_stops_on_sigterm() {
    let (database, redis) = (Database::create().await, Redis::start().await);
    for process in ["worker", "all"] {
        let folder = Folder::with(&config(&database, &redis));
        let child = folder.start(&["-e", process]);
        let address = address(&child).await;

        let ready =
            eventually("the worker is ready", SOON, async || match ask(&address, "GET /readyz", "") {
                (status, ready) if status == "HTTP/1.1 200 OK" => Ok(ready),
                (_, unready) => Err(unready),
            })
            .await;
        assert!(
            ready.contains(r#""worker":"last wake-up "#) && ready.contains(r#""ledger":"ok""#),
            "{ready}"
        );
        eventually("a decision was measured", SOON, async || match ask(&address, "GET /metrics", "") {
            (_, metrics) if metrics.contains("sebastian_decide_seconds_bucket") => Ok(()),
            (_, metrics) => Err(metrics),
        })
        .await;

        child.terminate();
        assert_eq!(child.wait(SOON).await.code(), Some(0), "{}", child.output());
        assert!(!child.output().contains("CANARY"), "{}", child.output());
    }
}

#[tokio::test]
async fn a_second_signal_stops_at_once() {
    let (database, redis) = (Database::create().await, Redis::start().await);
    let folder = Folder::with(&config(&database, &redis));
    let child = folder.start(&["-e", "webhook"]);

    // A request under way, which a stop waits for.
    let mut stream = TcpStream::connect(address(&child).await).unwrap();
    let head = "POST /webhooks/desk-1/CANARY-webhook-secret/allocate HTTP/1.1\r\nHost: here\r\n\
                Content-Type: application/json\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let mut asked_for_more = [0; 12];
    stream.read_exact(&mut asked_for_more).unwrap();
    assert_eq!(&asked_for_more, b"HTTP/1.1 100");

    child.terminate();
    child.line("the first signal", SOON, |line| line.contains("stopping on SIGTERM").then_some(())).await;
    child.terminate();
    assert_eq!(child.wait(SOON).await.code(), Some(130), "{}", child.output());
}

#[tokio::test]
async fn json_logs_are_one_object_a_line() {
    let (database, redis) = (Database::create().await, Redis::start().await);
    let folder = Folder::with(&(config(&database, &redis) + "log:\n  format: json\n"));
    let child = folder.start(&["-e", "webhook"]);
    address(&child).await;
    child.terminate();
    child.wait(SOON).await;
    let said = child.output();
    assert!(said.lines().all(|line| line.starts_with('{') && line.ends_with('}')), "{said}");
    assert!(said.contains(r#""level":"INFO""#), "{said}");
}

#[tokio::test]
async fn migrate_brings_the_schema_once_and_a_process_told_not_to_refuses_without_it() {
    let (database, redis) = (Database::create().await, Redis::start().await);
    let folder = Folder::with(&(config(&database, &redis).replace("db:\n", "db:\n  migrate: false\n")));

    let refused = folder.start(&["-e", "webhook"]);
    assert_eq!(refused.wait(SOON).await.code(), Some(2), "{}", refused.output());
    assert!(refused.output().contains("run `sebastian migrate`"), "{}", refused.output());

    for applies in [true, false] {
        let migrate = folder.start(&["migrate"]);
        assert_eq!(migrate.wait(SOON).await.code(), Some(0), "{}", migrate.output());
        assert_eq!(migrate.output().contains("applied"), applies, "{}", migrate.output());
        assert!(migrate.output().contains("the ledger's schema is at version"), "{}", migrate.output());
    }

    let child = folder.start(&["-e", "webhook"]);
    address(&child).await;
}

#[tokio::test]
async fn a_taken_port_ends_the_process_with_the_address() {
    let (database, redis) = (Database::create().await, Redis::start().await);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let folder =
        Folder::with(&config(&database, &redis).replace("port: 0", &format!("port: {}", address.port())));
    let child = folder.start(&["-e", "webhook"]);
    assert_eq!(child.wait(SOON).await.code(), Some(1));
    assert!(child.output().contains(&format!("cannot listen on {address}")), "{}", child.output());
}

#[tokio::test]
async fn set_webhook_fails_when_the_platform_does_not_answer() {
    let folder = Folder::with(
        &COMPLETE.replace("https://desk.example", "https://desk.example\n  secret: CANARY-webhook-secret"),
    );
    for arguments in [&["set-webhook", "--dry-run"][..], &["set-webhook"]] {
        let child = folder.start(arguments);
        let code = child.wait(SOON).await.code();
        // Without an admin's login nothing can be read, so a dry run asks nobody.
        assert_eq!(code, Some(if arguments.len() == 2 { 0 } else { 1 }), "{}", child.output());
        assert!(!child.output().contains("CANARY"), "{}", child.output());
    }
}

#[tokio::test]
async fn a_redis_that_would_evict_is_refused_and_one_without_a_limit_warned_of() {
    let database = Database::create().await;
    for policy in ["allkeys-lru", "volatile-ttl"] {
        let redis = Redis::start_with(&["--maxmemory", "64mb", "--maxmemory-policy", policy]).await;
        let folder = Folder::with(&config(&database, &redis));
        for process in ["webhook", "worker", "all"] {
            let refused = folder.start(&["-e", process]);
            assert_eq!(refused.wait(SOON).await.code(), Some(2), "{}", refused.output());
            let told = format!("(maxmemory-policy `{policy}`), wake-ups and the roster among them: set its");
            assert!(refused.output().contains(&told), "{}", refused.output());
            assert!(!refused.output().contains("CANARY"), "{}", refused.output());
        }
    }

    for (options, asks, warned) in [
        (&["--maxmemory", "64mb", "--maxmemory-policy", "noeviction"][..], true, None),
        (&["--maxmemory-policy", "allkeys-lfu"], true, Some("would be refused: set it to noeviction")),
        (&[], false, Some("could not ask redis for its maxmemory-policy")),
    ] {
        let redis = Redis::start_with(options).await;
        if !asks {
            let mut stream = TcpStream::connect(redis.address()).unwrap();
            stream.write_all(b"ACL SETUSER default -info\r\n").unwrap();
            let mut done = [0; 5];
            stream.read_exact(&mut done).unwrap();
            assert_eq!(&done, b"+OK\r\n");
        }
        let folder = Folder::with(&config(&database, &redis));
        let child = folder.start(&["-e", "webhook"]);
        address(&child).await;
        assert_eq!(child.output().contains("maxmemory-policy"), warned.is_some(), "{}", child.output());
        assert!(warned.is_none_or(|warned| child.output().contains(warned)), "{}", child.output());
    }
}

#[tokio::test]
async fn a_schema_newer_than_the_program_is_named_and_served() {
    let (database, redis) = (Database::create().await, Redis::start().await);
    let folder = Folder::with(&config(&database, &redis));
    let migrate = folder.start(&["migrate"]);
    assert_eq!(migrate.wait(SOON).await.code(), Some(0), "{}", migrate.output());
    let newer = "INSERT INTO refinery_schema_history VALUES (999, 'newer', '2030-01-01T00:00:00Z', '1')";
    let (client, connection) = tokio_postgres::connect(&database.url(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute(newer).await.unwrap();

    let child = folder.start(&["-e", "webhook"]);
    address(&child).await;
    let told = "the ledger's schema is at version 999, which a newer program than this one brought";
    assert!(child.output().contains(told), "{}", child.output());
}
