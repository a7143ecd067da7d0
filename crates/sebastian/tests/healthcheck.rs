//! Whether a process of this machine is ready, in one line and an exit code.

use sebastian_testkit::{Database, Redis, eventually};

use crate::{
    processes::{Folder, SOON, address, config},
    stub,
};

async fn asked(folder: &Folder, arguments: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let child = folder.start_with(arguments, environment);
    let code = child.wait(SOON).await.code();
    assert!(!child.output().contains("CANARY"), "{}", child.output());
    (code, child.output())
}

#[tokio::test]
async fn it_is_0_for_a_process_that_is_ready_and_1_after_its_end() {
    let (database, redis) = (Database::create().await, Redis::start().await);
    // Nobody else of this machine listens there, so that a port given back stays free.
    let config = config(&database, &redis).replace("host: 127.0.0.1", "host: 127.1.2.4");
    let folder = Folder::with(&format!("{config}worker:\n  listen: 127.1.2.4:0\n"));
    for (process, variable) in
        [("webhook", "SEBASTIAN__LISTEN__PORT"), ("worker", "SEBASTIAN__WORKER__LISTEN")]
    {
        let running = folder.start(&["-e", process]);
        let address = address(&running).await;
        let value = if process == "webhook" { address.rsplit(':').next().unwrap() } else { &address };
        // As a container has it, where one image runs either.
        let environment = [(variable, value)];
        eventually("it is healthy", SOON, async || {
            match asked(&folder, &["healthcheck"], &environment).await {
                (Some(0), line) if line.starts_with("ready: ") && line.lines().count() == 1 => Ok(()),
                other => Err(other),
            }
        })
        .await;
        let (code, line) = asked(&folder, &["-e", process, "healthcheck"], &environment).await;
        assert!(code == Some(0) && line.contains("ledger ok"), "{line}");
        let (code, line) = asked(&folder, &["healthcheck", "--url", &address], &[]).await;
        assert_eq!(code, Some(0), "{line}");

        running.terminate();
        running.wait(SOON).await;
        let (code, line) = asked(&folder, &["healthcheck"], &environment).await;
        assert_eq!(
            (code, line.as_str()),
            (Some(1), &*format!("sebastian: nobody listens at http://{address}/readyz\n"))
        );
    }
}

#[tokio::test]
async fn a_port_that_nobody_can_know_is_told_with_the_key_to_set() {
    let (database, redis) = (Database::create().await, Redis::start().await);
    let folder = Folder::with(&config(&database, &redis));
    for (arguments, key) in [
        (
            &["-e", "worker", "healthcheck"][..],
            "set `worker.listen` to one of your own, such as 127.0.0.1:9464",
        ),
        (&["healthcheck"], "set `listen.port` to one of your own"),
    ] {
        let (code, line) = asked(&folder, arguments, &[]).await;
        assert!(code == Some(1) && line.contains(key), "{line}");
    }
}

#[tokio::test]
async fn whatever_else_answers_is_not_healthy() {
    let folder = Folder::with("listen:\n  port: x\n");
    let (code, line) = asked(&folder, &["healthcheck"], &[]).await;
    assert!(code == Some(1) && line.contains("`listen.port` must be a port"), "{line}");

    let unready = r#"{"status":"unready","checks":{"ledger":"unreachable"}}"#;
    for (status, body, told) in [
        ("503 Service Unavailable", unready, "sebastian: unready: ledger unreachable\n"),
        ("200 OK", "hello", "answers with status 200, and is no Sebastian\n"),
    ] {
        let address = stub::answering(status, "", body).to_string();
        let (code, line) = asked(&folder, &["healthcheck", "--url", &address], &[]).await;
        assert!(code == Some(1) && line.ends_with(told), "{line}");
    }
}
