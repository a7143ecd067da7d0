//! What the real programs print, and the codes they end with.

use std::{fs, path::Path, process::Output};

use sebastian_testkit::binary;

/// A configuration that lacks nothing; nobody answers at its addresses.
pub const COMPLETE: &str = "\
db:
  connection_string: postgres://CANARY:CANARY@127.0.0.1:9/sebastian
redis:
  url: redis://:CANARY@127.0.0.1:9
webhook:
  base_url: https://desk.example
qiscus:
  base_url: http://127.0.0.1:9
  app_id: desk-1
  secret_key: CANARY-key
";

/// What a program did in a folder.
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

fn run_in(folder: &Path, program: &str, arguments: &[&str]) -> Ran {
    let mut command = binary(program);
    command.args(arguments).current_dir(folder).env("SEBASTIAN_DATA", folder);
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: status.code(), out: text(stdout), err: text(stderr) }
}

fn run(arguments: &[&str]) -> Ran {
    run_in(tempfile::tempdir().unwrap().path(), "sebastian", arguments)
}

#[test]
fn bare_it_prints_its_help_and_fails() {
    let ran = run(&[]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""));
    assert!(ran.err.contains("Usage: sebastian"), "{}", ran.err);
}

#[test]
fn help_teaches_by_example() {
    let ran = run(&["--help"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    for taught in [
        "Usage: sebastian",
        "-e, --exec <PROCESS>",
        "-c, --config <FILE>",
        "--data <DIR>",
        "SEBASTIAN_DATA",
        "webhook",
        "init",
        "doctor",
        "healthcheck",
        "migrate",
        "set-webhook",
        "check-config",
        "explain",
        "policies",
        "agents",
        "queue",
        "pause",
        "resume",
        "sebastian -e all",
        "sebastian -e webhook",
        "sebastian set-webhook --dry-run",
        "config.example.yml",
        "SEBASTIAN__LISTEN__PORT",
        "Exit codes",
    ] {
        assert!(ran.out.contains(taught), "no {taught} in\n{}", ran.out);
    }
    assert!(ran.out.lines().all(|line| line.len() <= 120), "{}", ran.out);
}

#[test]
fn the_help_of_what_operators_do_teaches_by_example() {
    for (command, taught) in [
        (&["policies"][..], &["sebastian policies link 88121 3", "the very next"][..]),
        (
            &["policies", "set"],
            &["assignment_order", "round_robin", "null takes a limit away", "priority_boost"],
        ),
        (
            &["pause"],
            &[
                "--agent",
                "--inbox",
                "--for <SPAN>",
                "--until <TIME>",
                "--reason",
                "sebastian resume --agent 7",
            ],
        ),
        (&["queue"], &["--first <N>", "--json"]),
        (&["move"], &["--from <DIR>", "--to <URL>", "--to-file <FILE>", "Lists of processes show it"]),
        (&["backup"], &["--force", "beside `sebastian -e all`"]),
        (&["restore"], &["ledger.db.before-restore-<time>"]),
        (&["agents"], &["--json"]),
        (
            &["init"],
            &["--secret-key-file <FILE>", "--public-url <URL>", "--offline", "Nothing is written before"],
        ),
        (&["doctor"], &["--json", "It changes nothing", "Exit codes: 0 nothing failed"]),
        (&["healthcheck"], &["--url <URL>", "sebastian -e worker healthcheck", "Exit codes: 0 ready"]),
    ] {
        let ran = run(&[command, &["--help"]].concat());
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        for words in taught {
            assert!(ran.out.contains(words), "no {words} in\n{}", ran.out);
        }
        assert!(ran.out.lines().all(|line| line.len() <= 120), "{}", ran.out);
    }
}

#[test]
fn words_of_an_operator_that_mean_nothing_end_with_code_2() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.yml"), COMPLETE).unwrap();
    for (words, told) in [
        (
            &["policies", "set", "strategy=random"][..],
            "strategy is no field of a policy; the fields are name, ",
        ),
        (&["policies", "set", "3"], "nothing to set: name a field and its value"),
        (&["policies", "set", "Night"], "Night is neither a policy's number nor FIELD=VALUE"),
        (&["policies", "show", "Night"], "is not a number above 0"),
        (&["pause", "--for", "2"], "such as 30m, 2h or 1d12h"),
        (&["pause", "--agent", "7", "--inbox", "8"], "cannot be used with"),
        (&["pause", "--reassign"], "--agent"),
    ] {
        let ran = run_in(folder.path(), "sebastian", words);
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{words:?}: {}", ran.err);
        assert!(ran.err.contains(told), "{words:?}: {}", ran.err);
    }
}

#[test]
fn wrong_usage_ends_with_code_2_and_says_what_is_wrong() {
    let cases: [(&[&str], &str); 5] = [
        (&["-c", "desk.yml"], "name a process with -e"),
        (&["-e", "everything"], "possible values: webhook, worker, all"),
        (&["-e", "webhook", "migrate"], "leave out -e"),
        (&["set-webhook", "--dryrun"], "--dry-run"),
        (&["migrat"], "migrate"),
    ];
    for (arguments, said) in cases {
        let ran = run(arguments);
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(ran.err.contains(said), "{arguments:?}: {}", ran.err);
    }
}

#[test]
fn what_is_missing_is_told_by_name_before_anything_starts() {
    let missing = |key: &str, variable: &str| {
        format!("sebastian: `{key}` is not set: write it in the config file, or set {variable}\n")
    };
    let platform = [
        missing("qiscus.app_id", "SEBASTIAN__QISCUS__APP_ID"),
        missing("qiscus.secret_key", "SEBASTIAN__QISCUS__SECRET_KEY"),
    ]
    .concat();
    for process in ["webhook", "worker"] {
        let ran = run(&["-e", process]);
        let servers = format!("sebastian: `-e {process}` shares PostgreSQL and Redis with other processes, ");
        assert!(
            ran.code == Some(2) && ran.err.starts_with(&servers) && ran.err.ends_with(&platform),
            "{}",
            ran.err
        );
        assert_eq!(ran.err.lines().count(), 3, "{}", ran.err);
    }
    for words in [&["-e", "all"][..], &["check-config"], &["set-webhook"]] {
        let ran = run(words);
        assert_eq!((ran.code, ran.err), (Some(2), platform.clone()), "{words:?}");
    }
}

#[test]
fn the_binaries_of_one_process_need_no_flag() {
    let folder = tempfile::tempdir().unwrap();
    for program in ["ingest", "worker"] {
        let ran = run_in(folder.path(), program, &[]);
        assert_eq!(ran.code, Some(2), "{program}");
        assert!(ran.err.contains("neither is set: set `db.connection_string`"), "{program}: {}", ran.err);
        assert_eq!(run_in(folder.path(), program, &["-e", "webhook"]).code, Some(2), "{program}");
    }
}

#[test]
fn a_file_that_is_named_must_be_there() {
    let ran = run(&["-e", "webhook", "-c", "absent.yml"]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.err.starts_with("sebastian: absent.yml cannot be read"), "{}", ran.err);
}

#[test]
fn wrong_settings_are_told_one_a_line() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.yml"), "listen:\n  port: x\n  hots: y\n").unwrap();
    let ran = run_in(folder.path(), "sebastian", &["-e", "worker"]);
    let told = "sebastian: config.yml:2: `listen.port` must be a port from 0 to 65535\n\
                sebastian: config.yml:3: unknown key `listen.hots`; the nearest known one is `listen.host`\n";
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (Some(2), "", told));
}

#[test]
fn check_config_shows_what_is_in_force_and_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.yml"), COMPLETE).unwrap();
    fs::write(folder.path().join("other.yml"), COMPLETE).unwrap();
    let ran = run_in(folder.path(), "sebastian", &["check-config"]);

    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    assert!(!ran.out.contains("CANARY"), "{}", ran.out);
    let shows = |key: &str, origin: &str| {
        let found =
            ran.out.lines().any(|line| line.starts_with(&format!("{key} ")) && line.ends_with(origin));
        assert!(found, "no {key} from {origin} in\n{}", ran.out);
    };
    shows("listen.port: 3000", "  # default");
    shows("qiscus.app_id: desk-1", "  # config.yml:9");
    shows("qiscus.secret_key: [hidden]", "  # config.yml:10");

    for arguments in [["-c", "other.yml", "check-config"], ["check-config", "-c", "other.yml"]] {
        let ran = run_in(folder.path(), "sebastian", &arguments);
        assert!(ran.code == Some(0) && ran.out.contains("other.yml:9"), "{}", ran.out);
    }
    assert_eq!(run_in(folder.path(), "sebastian", &["-e", "worker", "check-config"]).code, Some(0));
}
