//! What is refused, in words that say where it stands and what to change.

use proptest::{collection::vec, prelude::*};

use crate::config::{EXAMPLE, load, problems};

#[test]
fn an_unknown_key_is_refused_with_the_nearest_known_one() {
    let cases = [
        (
            "webhook:\n  max_curent_customer: 3",
            "desk.yml:2: unknown key `webhook.max_curent_customer`; the nearest known one is `webhook.max_current_customer`",
        ),
        (
            "qiscus:\n  max_current_customer: 3",
            "desk.yml:2: unknown key `qiscus.max_current_customer`; the nearest known one is `webhook.max_current_customer`",
        ),
        (
            "\u{1b}[2J:\n  port: 80",
            "desk.yml:2: unknown key `\\u{1b}[2J.port`; the nearest known one is `listen.port`",
        ),
        ("port: 80", "desk.yml:1: unknown key `port`; the nearest known one is `listen.port`"),
        (
            "lisen:\n  host: 0.0.0.0",
            "desk.yml:2: unknown key `lisen.host`; the nearest known one is `listen.host`",
        ),
        (
            "listen:\n  Port: 80",
            "desk.yml:2: unknown key `listen.Port`; the nearest known one is `listen.port`",
        ),
    ];
    for (text, problem) in cases {
        assert_eq!(problems(text), problem, "{text}");
    }
}

#[test]
fn an_unknown_variable_is_refused_with_the_nearest_known_key() {
    let refused = load("", &[("SEBASTIAN__LISTEN__PROT", "80")]).unwrap_err().to_string();
    assert_eq!(
        refused,
        "SEBASTIAN__LISTEN__PROT: unknown key `listen.prot`; the nearest known one is `listen.port`"
    );
}

#[test]
fn a_value_of_the_wrong_kind_is_refused_with_what_it_must_be() {
    let cases = [
        ("listen:\n  port: eighty", "`listen.port` must be a port from 0 to 65535"),
        ("listen:\n  port: 65536", "`listen.port` must be a port from 0 to 65535"),
        ("listen:\n  port: [80]", "`listen.port` is a list; it must be a port from 0 to 65535"),
        ("listen:\n  host: localhost", "`listen.host` must be an IP address such as 0.0.0.0"),
        ("worker:\n  listen: 9000", "`worker.listen` must be an address such as 127.0.0.1:9464"),
        ("worker:\n  sweep_ms: 0", "`worker.sweep_ms` must be a whole number from 10 to 60000"),
        ("worker:\n  sweep_ms: 1s", "`worker.sweep_ms` must be a whole number from 10 to 60000"),
        (
            "webhook:\n  max_current_customer: -1",
            "`webhook.max_current_customer` must be a whole number from 0 to 10000",
        ),
        ("db:\n  migrate: perhaps", "`db.migrate` must be `true` or `false`"),
        (
            "policy:\n  strategy: fair",
            "`policy.strategy` must be `balanced` or `round_robin` or `least_loaded` or `longest_idle` or `first_fit` or `random` or `platform`",
        ),
        (
            "policy:\n  roles: [agent, boss]",
            "`policy.roles` must be a list of `agent` or `supervisor` or `admin`",
        ),
        ("policy:\n  roles: []", "`policy.roles` must be a list of `agent` or `supervisor` or `admin`"),
        ("qiscus:\n  app_id: [a]", "`qiscus.app_id` is a list; it must be text"),
    ];
    for (text, problem) in cases {
        assert_eq!(problems(text), format!("desk.yml:2: {problem}"), "{text}");
    }
}

#[test]
fn a_base_url_is_http_of_a_host_and_nothing_more() {
    let urls = [
        "example.com",
        "ftp://example.com",
        "https://",
        "http:///path",
        "https://user:pw@example.com",
        "https://example.com/?a=1",
        "https://example.com#a",
        "https://exa mple.com",
    ];
    for url in urls {
        for key in ["webhook", "qiscus"] {
            let refused = problems(&format!("{key}:\n  base_url: '{url}'"));
            let must = "must be a URL that starts with http:// or https://, without user, query or fragment";
            assert_eq!(refused, format!("desk.yml:2: `{key}.base_url` {must}"), "{url}");
        }
    }
}

#[test]
fn contradictions_are_refused_in_one_sentence_each() {
    let cases = [
        (
            "webhook:\n  max_current_customer: 0",
            "`webhook.max_current_customer` is 0, so no agent could be given anything: set it to at least 1, or stop the worker to pause assignment",
        ),
        (
            "worker:\n  reservation_ms: 7999",
            "`worker.reservation_ms` is less than twice `qiscus.timeout_ms`, so a call and its repeat would not fit: raise it or lower the timeout",
        ),
        (
            "reconcile:\n  settle_window_ms: 7999",
            "`reconcile.settle_window_ms` is less than twice `qiscus.timeout_ms`, so a call could still land after it was given up: raise it or lower the timeout",
        ),
        (
            "qiscus:\n  connect_timeout_ms: 4001",
            "`qiscus.connect_timeout_ms` is longer than `qiscus.timeout_ms`, which includes it: lower it",
        ),
        (
            "poller:\n  interval_ms: 60001",
            "`poller.interval_ms` is longer than `poller.staleness_max_ms`, so every roster would be too old to use before the next: poll more often or raise the limit",
        ),
        (
            "qiscus:\n  email: a@b.example",
            "`qiscus.email` and `qiscus.password` are one login: set both or neither",
        ),
        (
            "qiscus:\n  password: hunter2",
            "`qiscus.email` and `qiscus.password` are one login: set both or neither",
        ),
        (
            "webhook:\n  secret: fifteen-letters",
            "`webhook.secret` is shorter than 16 characters and could be guessed: make one with `openssl rand -hex 16`",
        ),
        (
            "admin:\n  token: fifteen-letters",
            "`admin.token` is shorter than 16 characters and could be guessed: make one with `openssl rand -hex 16`",
        ),
        (
            "webhook:\n  secret: sixteen/letters!",
            "`webhook.secret` becomes part of a URL: use only letters, digits and - . _ ~, such as `openssl rand -hex 16` makes",
        ),
        (
            "admin:\n  listen: 127.0.0.1:3000",
            "`admin.listen` and `listen` both ask for port 3000: give operators another, or leave `admin.listen` out",
        ),
        (
            "db:\n  connection_string: postgres://a:CANARY@b/c?options=-c%20statement_timeout%3D0",
            "`db.connection_string` sets `statement_timeout`, and so does the program, to what its own waits go with: leave it out",
        ),
        (
            "db:\n  connection_string: host=b options='-c synchronous_commit=off'",
            "`db.connection_string` sets `synchronous_commit`; a webhook answered with 200 must be on disk: leave it out",
        ),
    ];
    for (text, problem) in cases {
        assert_eq!(problems(text), problem, "{text}");
    }
}

#[test]
fn times_that_break_a_promise_are_warned_of_and_taken() {
    let warned = |text: &str| {
        let warnings = load(text, &[]).unwrap().warnings;
        warnings.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let cases = [
        (
            "poller:\n  staleness_max_ms: 8999",
            "desk.yml:2: `poller.staleness_max_ms` is less than `poller.interval_ms` and `qiscus.timeout_ms` together: one slow answer of the platform stops assignment until the next",
        ),
        (
            "worker:\n  reservation_ms: 19001",
            "desk.yml:2: `worker.reservation_ms` and `worker.sweep_ms` together are more than 20 s, which is how long a chat may wait after its worker has died: lower one of them",
        ),
        (
            "worker:\n  grace_ms: 3999",
            "desk.yml:2: `worker.grace_ms` is less than `qiscus.timeout_ms`: calls cut off by a stop are left to the next worker",
        ),
    ];
    for (text, warning) in cases {
        assert_eq!(warned(text), [warning], "{text}");
    }
    for text in [
        "poller:\n  staleness_max_ms: 9000",
        "worker:\n  reservation_ms: 19000",
        "worker:\n  grace_ms: 4000",
        "",
    ] {
        assert_eq!(warned(text), [""; 0], "{text}");
    }
}

#[test]
fn every_problem_is_told_at_once() {
    let refused = problems(
        "listen:\n  port: x\n  hots: y\nworker:\n  sweep_ms: 0\nwebhook:\n  max_current_customer: 0",
    );
    assert_eq!(refused.lines().count(), 4, "{refused}");
}

#[test]
fn what_is_no_configuration_is_refused_with_its_line() {
    let cases = [
        ("listen: 80", "desk.yml:1: `listen` is a section: it holds keys such as `listen.host`"),
        ("- listen", "desk.yml:1: expected sections such as `listen:`"),
        ("listen", "desk.yml:1: expected sections such as `listen:`"),
        ("listen:\n  port:\n    tcp: 80", "desk.yml:3: `listen.port` holds no keys of its own"),
        ("listen:\n  port: 80\n  port: 81", "desk.yml:3: `listen.port` stands at desk.yml:2 already"),
        ("listen: &a\n  port: 80\nworker: *a", "desk.yml:3: aliases are not supported; repeat the value"),
        (
            "log:\n  level: info\n---\nlog:\n  level: warn",
            "desk.yml:3: a second document starts here; put everything in one",
        ),
        ("policy:\n  roles: [[agent]]", "desk.yml:2: `policy.roles` lists something that is no plain value"),
    ];
    for (text, problem) in cases {
        assert_eq!(problems(text), problem, "{text}");
    }
    for text in ["listen: [", "listen:\n\tport: 80", "a: b: c", "\"", "%", "\0"] {
        let refused = problems(text);
        assert!(refused.starts_with("desk.yml:"), "{text:?}: {refused}");
    }
}

/// What a hand that slipped, or an editor, puts where a value or a line should be.
const SLIPS: &[&str] = &[
    "",
    "~",
    "[]",
    "{}",
    "[[",
    "{a: {b: {c: 1}}}",
    "- 1",
    "*a",
    "&a 1",
    "!!int x",
    "!<tag:x> 1",
    "|",
    ">-\n  x",
    "'",
    "\"\\x\"",
    "\"\\ud800\"",
    "\0",
    "\u{feff}",
    "\u{1b}[2J",
    "\t",
    "? x",
    ": x",
    "%YAML 9.9",
    "---",
    "...",
    "-1",
    "1e400",
    "NaN",
    "99999999999999999999",
    "0x10",
    "1_000",
    "yes",
    "# x",
    "[{name: a, token: CANARY-0123456789}]",
    "[{name: a, token_file: /}]",
    "/dev/zero",
    "CANARY",
    "xxxxx",
];

/// The example with everything in it set, which a harm can then put wrong.
fn whole() -> Vec<String> {
    let is_setting =
        |line: &str| line.starts_with("  #") && !line.starts_with("  # ") && !line.contains("_file:");
    let uncomment = |line: &str| if is_setting(line) { line.replacen('#', "", 1) } else { line.to_owned() };
    EXAMPLE.lines().filter(|line| !line.trim_start().starts_with("# ")).map(uncomment).collect()
}

fn slip(lines: &mut Vec<String>, (how, at, with): (u8, u16, u16)) {
    let at = usize::from(at) % lines.len();
    let slip = SLIPS[usize::from(with) % SLIPS.len()];
    match how % 8 {
        0 => drop(lines.remove(at)),
        1 => lines.insert(at, lines[at].clone()),
        2 => lines[at] = lines[at].replacen("  ", ["", " ", "\t", "      "][usize::from(with % 4)], 1),
        3 => lines[at] = lines[at].replacen(':', slip, 1),
        4 => lines.insert(at, slip.to_owned()),
        _ => {
            let key = lines[at].split(':').next().unwrap_or_default();
            lines[at] = format!("{key}: {slip}");
        }
    }
    if lines.is_empty() {
        lines.push(String::new());
    }
}

/// Settings come of it, or problems that each say something, on one line, and quote no secret.
fn check(text: &str, environment: &[(&str, &str)]) -> Result<(), TestCaseError> {
    if let Err(problems) = load(text, environment) {
        for problem in problems {
            let told = problem.to_string();
            prop_assert!(told.len() > 10 && told.contains(' '), "{told:?}");
            prop_assert!(!told.contains(['\n', '\u{1b}', '\0']), "{told:?}");
            prop_assert!(!told.contains("CANARY"), "{told:?}");
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_file_with_slips_in_it_is_settings_or_problems_in_words(slips in vec(any::<(u8, u16, u16)>(), 1..4)) {
        let mut lines = whole();
        slips.into_iter().for_each(|one| slip(&mut lines, one));
        check(&lines.join("\n"), &[])?;
    }

    #[test]
    fn random_text_is_settings_or_problems_in_words(text in "\\PC{0,60}|[\\[\\]{}:,&*!|>'\"%@`#? \n-]{0,60}|(?s).{0,60}") {
        check(&text, &[])?;
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_random_variable_is_a_setting_or_a_problem_in_words(
        key in "(LISTEN|WEBHOOK|DB|REDIS|QISCUS|WORKER|POLLER|POLICY|ADMIN)__(PORT|HOST|SECRET|TOKENS|ROLES|URL|POOL_SIZE|[A-Z_]{0,8})",
        slip in prop::sample::select(SLIPS), text in "\\PC{0,20}",
    ) {
        let name = format!("SEBASTIAN__{key}");
        check("", &[(&name, slip)])?;
        check("", &[(&name, &text)])?;
    }
}

#[test]
fn a_file_nested_without_end_is_refused_at_once() {
    for open in ["[", "{", "- ", "? ", "{a: ", "a: {"] {
        for text in [open.repeat(100_000), format!("listen:\n  port: {}", open.repeat(100_000))] {
            let refused = problems(&text);
            assert!(refused.starts_with("desk.yml:") && refused.len() < 1_000, "{open}: {refused}");
        }
    }
}
