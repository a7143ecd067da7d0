//! The demo as a newcomer runs it: the real program, no terminal, nothing installed.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    process::{Command, Output},
    time::Duration,
};

use sebastian_testkit::{Child, binary, eventually};
use tempfile::TempDir;

/// Beyond the play's own length, on a machine that does much else.
const SOON: Duration = Duration::from_secs(60);

const PROMISES: [&str; 7] = ["the desk comes to rest", "I1", "I2", "I3", "I4", "I5", "I6"];

fn demo(arguments: &[&str]) -> Command {
    let mut command = binary("sebastian");
    command.arg("demo").args(arguments).env_remove("RUST_LOG");
    command
}

fn lines_of(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).collect()
}

/// What was announced: the same for the same seed.
fn announced(text: &str) -> Vec<&str> {
    text.lines().take(2).collect()
}

#[test]
fn a_play_ends_with_a_summary_in_which_every_promise_held() {
    let play = || {
        let Output { status, stdout, stderr } =
            demo(&["--chats", "40", "--agents", "4", "--for", "3s", "--seed", "7"]).output().unwrap();
        let (out, err) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
        assert_eq!((status.code(), err.as_str()), (Some(0), ""), "{out}");
        out
    };
    let out = play();
    assert!(!out.contains('\u{1b}'), "{out}");
    assert!(out.contains("40 chats for 4 agents") && out.contains("Seed 7:"), "{out}");
    assert!(out.contains(" of 40 served, "), "it tells how the desk stands: {out}");
    for promise in PROMISES {
        let kept =
            |line: &&str| line.strip_prefix("✓ ").is_some_and(|rest| rest.trim_start().starts_with(promise));
        assert!(lines_of(&out).iter().any(kept), "{promise} in {out}");
    }
    for told in ["Waits", "p50", "p95", "p99", "Agents", "Survived", "40 of 40 served", "Every promise held."]
    {
        assert!(out.contains(told), "{told} in {out}");
    }
    assert_eq!(announced(&out), announced(&play()));
}

/// What a play leaves behind in the folder for temporary files.
fn left_behind(temporary: &TempDir) -> usize {
    fs::read_dir(temporary.path()).unwrap().count()
}

#[test]
fn its_ledger_is_on_disk_while_it_lasts_or_in_memory_and_nothing_is_left_behind() {
    for (more, told) in [
        (None, "embedded: each commit on disk before it was answered"),
        (Some("--memory"), "in memory: nothing was written to disk"),
    ] {
        let temporary = tempfile::tempdir().unwrap();
        let mut demo = demo(&["--chats", "6", "--agents", "2", "--for", "1s", "--seed", "7"]);
        let Output { status, stdout, .. } = demo.args(more).env("TMPDIR", temporary.path()).output().unwrap();
        let out = String::from_utf8(stdout).unwrap();
        assert!(status.code() == Some(0) && out.contains(told), "{out}");
        assert_eq!(left_behind(&temporary), 0);
    }
}

#[test]
fn without_a_place_for_its_ledger_it_says_what_needs_none() {
    let mut demo = demo(&["--chats", "6", "--for", "1s"]);
    let Output { status, stderr, .. } = demo.env("TMPDIR", "/proc/nowhere").output().unwrap();
    let err = String::from_utf8(stderr).unwrap();
    assert!(status.code() == Some(1) && err.contains("with --memory the demo needs none"), "{err}");
}

#[test]
fn its_help_teaches_by_example() {
    let Output { status, stdout, .. } = demo(&["--help"]).output().unwrap();
    let out = String::from_utf8(stdout).unwrap();
    assert_eq!(status.code(), Some(0));
    for taught in [
        "--chats",
        "--agents",
        "--capacity",
        "--for",
        "--seed",
        "--keep",
        "--plain",
        "--memory",
        "sebastian demo --seed 7",
    ] {
        assert!(out.contains(taught), "{taught} in {out}");
    }
    assert!(out.lines().all(|line| line.len() <= 120), "{out}");
}

#[test]
fn wrong_figures_are_refused() {
    for wrong in [&["--for", "30"][..], &["--for", "3h"], &["--agents", "0"], &["--chats", "many"]] {
        assert_eq!(demo(wrong).output().unwrap().status.code(), Some(2), "{wrong:?}");
    }
}

#[tokio::test]
async fn a_desk_kept_open_takes_chats_by_hand_until_it_is_interrupted() {
    let child =
        Child::spawn(&mut demo(&["--chats", "6", "--agents", "2", "--for", "1s", "--keep", "--seed", "7"]));
    let address = |name: &'static str| {
        let find = move |line: &str| {
            line.trim().strip_prefix(name)?.trim().strip_prefix("http://").map(str::to_owned)
        };
        child.line(name, SOON, find)
    };
    let (ours, theirs) = (address("Sebastian ").await, address("simulated platform").await);

    let sent = ask(&theirs, "POST", "/simulate/chat", r#"{"room_id": "4790001"}"#);
    assert!(sent.contains("200"), "{sent}");
    child
        .line("the chat's assignment", SOON, |line| line.contains("room 4790001 goes to").then_some(()))
        .await;
    let agents = eventually("somebody holds it", SOON, async || {
        let agents = ask(&ours, "GET", "/agents", "");
        if agents.contains(r#""load":1"#) { Ok(agents) } else { Err(agents) }
    });
    assert!(agents.await.contains(r#""capacity":3"#));
    assert!(ask(&ours, "GET", "/readyz", "").contains("ready"));
    assert!(ask(&ours, "GET", "/metrics", "").contains("sebastian_assignments_total"));

    interrupt(&child);
    assert_eq!(child.wait(SOON).await.code(), Some(0), "{}", child.output());
}

#[tokio::test]
async fn a_play_that_is_interrupted_judges_nothing_and_leaves_nothing_behind() {
    // The second insists.
    for times in [1, 2] {
        let temporary = tempfile::tempdir().unwrap();
        let mut demo = demo(&["--for", "10m", "--seed", "7"]);
        let child = Child::spawn(demo.env("TMPDIR", temporary.path()));
        child.line("the desk at work", SOON, |line| line.contains("of 300 served").then_some(())).await;
        assert_eq!(left_behind(&temporary), 1);
        for _ in 0..times {
            interrupt(&child);
        }
        assert_eq!(child.wait(SOON).await.code(), Some(130), "{}", child.output());
        assert!(times == 2 || child.output().contains("nothing was judged"), "{}", child.output());
        assert_eq!(left_behind(&temporary), 0, "{times}");
    }
}

/// What Ctrl-C sends.
fn interrupt(child: &Child) {
    let sent = Command::new("kill").args(["-INT", &child.pid().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// The body of an answer.
fn ask(address: &str, method: &str, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}
