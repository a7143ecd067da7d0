use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::Duration;

use sebastian_testkit::{Child, binary};

use crate::SOON;

fn shell(script: &str) -> Child {
    Child::spawn(Command::new("sh").args(["-c", script]))
}

#[tokio::test]
async fn keeps_both_outputs_and_finds_lines_past_and_to_come() {
    let child = shell("echo one; echo listening on 127.0.0.1:40123 >&2; printf last; exit 3");
    let find = |line: &str| line.strip_prefix("listening on ")?.parse::<SocketAddr>().ok();
    let address = child.line("an address", SOON, find).await;
    assert_eq!(address.port(), 40123);
    assert_eq!(child.wait(SOON).await.code(), Some(3));
    let output = child.output();
    assert!(output.contains("one\n") && output.contains("40123\n") && output.contains("last"), "{output}");
    assert_eq!(child.line("the first line", SOON, |line| (line == "one").then_some(1)).await, 1);
}

#[tokio::test]
async fn panics_with_the_output_when_the_program_ends_without_the_line() {
    let failing = tokio::spawn(async {
        shell("echo bad config; exit 2").line("an address", SOON, |_| None::<()>).await;
    });
    let panic = failing.await.expect_err("it panics").into_panic();
    let message = panic.downcast_ref::<String>().expect("a formatted message");
    assert!(message.contains("bad config"), "{message}");
}

#[tokio::test]
async fn signals_reach_the_program() {
    let child = shell("trap 'echo draining; exit 0' TERM; echo ready; while :; do sleep 0.01; done");
    child.line("readiness", SOON, |line| (line == "ready").then_some(())).await;
    child.stop();
    child.terminate();
    assert_eq!(child.exited(), None);
    child.cont();
    assert_eq!(child.wait(SOON).await.code(), Some(0));
    assert!(child.output().ends_with("draining\n"));

    let child = shell("exec sleep 600");
    child.kill9();
    assert_eq!(child.wait(SOON).await.signal(), Some(9));
}

#[tokio::test]
async fn drop_kills_a_stopped_program() {
    let child = shell("exec sleep 600");
    child.stop();
    let proc = format!("/proc/{}", child.pid());
    drop(child);
    assert!(!std::path::Path::new(&proc).exists());
}

#[tokio::test]
async fn long_output_does_not_block_the_program() {
    let child = shell("i=0; while [ $i -lt 20000 ]; do echo 0123456789; i=$((i+1)); done");
    assert!(child.wait(SOON).await.success());
    assert_eq!(child.output().lines().count(), 20_000);
}

#[test]
#[should_panic(expected = "cargo build --workspace --bins")]
fn binary_that_was_not_built_says_how_to() {
    binary("no-such-program");
}

#[tokio::test]
async fn wait_is_bounded() {
    let hanging = tokio::spawn(async { shell("exec sleep 600").wait(Duration::from_millis(20)).await });
    assert!(hanging.await.is_err());
}
