//! What a configuration says, and where each part of it comes from.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

use sebastian::config::{Loaded, LogFormat, Origin, Problems, load_from};
use sebastian_core::{InboxId, Order, Policy, Presence, Preset, Role, SlotRule, Strategy, Timing};
use sebastian_ingest::Scope;
use secrecy::ExposeSecret;

pub const EXAMPLE: &str = include_str!("../../../config.example.yml");

/// The example file of the Go original, as its users copied it.
const ORIGINAL: &str = "\
listen:
  port: 8080

db:
  connection_string: postgres://postgres:postgres@localhost:5432/qiscus_test

webhook:
  base_url: https://example.com
  max_current_customer: 3

redis:
  url: localhost:6379

qiscus:
  base_url: https://omnichannel.qiscus.com
  app_id: xxxxx
  secret_key: xxxxx
  channel_id: xxxxx
  email: test@mail.com
  password: supersecretpassword
";

/// Loads `text` as `desk.yml`, with these environment variables.
pub fn load(text: &str, environment: &[(&str, &str)]) -> Result<Loaded, Problems> {
    let variables = environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    load_from(Some((Path::new("desk.yml"), text)), variables)
}

/// The problems of `text`, one a line.
pub fn problems(text: &str) -> String {
    load(text, &[]).map(|_| ()).expect_err("the settings are wrong").to_string()
}

#[test]
fn the_originals_file_works_unchanged() {
    let filled = ORIGINAL
        .replace("app_id: xxxxx", "app_id: desk-1")
        .replace("secret_key: xxxxx", "secret_key: s3cr3t");
    let Loaded { config, warnings, .. } = load(&filled, &[]).unwrap();

    let secret = |secret: &Option<secrecy::SecretString>| secret.as_ref().unwrap().expose_secret().to_owned();
    assert_eq!(config.listen.port, 8080);
    assert_eq!(
        secret(&config.db.connection_string),
        "postgres://postgres:postgres@localhost:5432/qiscus_test"
    );
    assert_eq!(config.webhook.base_url.as_deref(), Some("https://example.com"));
    assert_eq!(config.policy.capacity, Some(3));
    assert_eq!(secret(&config.redis_url), "localhost:6379");
    assert_eq!(config.qiscus.base_url, "https://omnichannel.qiscus.com");
    assert_eq!(config.qiscus.app_id.as_deref(), Some("desk-1"));
    assert_eq!(secret(&config.qiscus.secret_key), "s3cr3t");
    assert_eq!(secret(&config.qiscus.email), "test@mail.com");
    assert_eq!(secret(&config.qiscus.password), "supersecretpassword");
    assert_eq!(config.qiscus.inbox, None);
    assert_eq!(
        warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["desk.yml:18: `qiscus.channel_id` is ignored: it is not a number"]
    );
}

#[test]
fn the_originals_placeholders_are_refused_by_name() {
    assert_eq!(
        problems(ORIGINAL),
        "desk.yml:16: `qiscus.app_id` still holds the placeholder `xxxxx`: put your own value in its place\n\
         desk.yml:17: `qiscus.secret_key` still holds the placeholder `xxxxx`: put your own value in its place"
    );
}

#[test]
fn a_channel_id_is_a_number_and_zero_is_none() {
    let inbox =
        |text: &str| load(&format!("qiscus:\n  channel_id: {text}"), &[]).unwrap().config.qiscus.inbox;
    assert_eq!(inbox("127"), Some(InboxId(127)));
    assert_eq!(inbox("\"127\""), Some(InboxId(127)));
    assert_eq!(inbox("0"), None);
}

#[test]
fn the_example_file_holds_the_defaults() {
    let defaults = load_from(None, []).unwrap();
    let example = load(EXAMPLE, &[]).unwrap();
    assert_eq!(format!("{:?}", example.config), format!("{:?}", defaults.config));
    assert!(
        example.shown.iter().all(|shown| matches!(shown.origin, Origin::File { .. })),
        "{:?}",
        example.shown
    );
    assert!(defaults.shown.iter().all(|shown| shown.origin == Origin::Default));
}

#[test]
fn the_defaults_are_what_the_design_says() {
    let config = load_from(None, []).unwrap().config;
    assert_eq!((config.listen.host.to_string().as_str(), config.listen.port), ("0.0.0.0", 3000));
    assert_eq!(config.worker.listen.to_string(), "127.0.0.1:0");
    assert_eq!((config.worker.max_inflight, config.db.pool_size), (256, 8));
    assert_eq!(config.db.retention, Duration::from_secs(30 * 86_400));
    // What the core takes for granted where nobody configures anything.
    assert_eq!(config.policy, Policy::default());
    assert_eq!(config.timing, Timing::default());
}

/// A key stands commented out as `#key:`, prose as `# prose`.
#[test]
fn the_example_file_documents_every_key_and_no_other() {
    let mut section = "";
    let mut documented = BTreeSet::new();
    for line in EXAMPLE.lines() {
        let is_indented = line.starts_with(' ');
        let name = line.trim_start().trim_start_matches('#').split(':').next().unwrap_or_default();
        let is_prose = line.trim_start().starts_with("# ") || name.is_empty() || name.contains(' ');
        if is_prose || !line.contains(':') {
            continue;
        }
        if is_indented {
            assert!(documented.insert(format!("{section}.{name}")), "{section}.{name} stands twice");
        } else {
            section = name;
        }
    }
    let known = load_from(None, []).unwrap().known;
    assert_eq!(documented, known.iter().map(|key| (*key).to_owned()).collect());
    assert_eq!(documented.len(), known.len(), "a key is read twice");
}

#[test]
fn what_the_example_file_suggests_is_valid() {
    let is_suggestion =
        |line: &&str| line.starts_with("  #") && !line.starts_with("  # ") && !line.contains("_file:");
    let suggested = EXAMPLE.lines().filter(is_suggestion).filter(|line| !line.ends_with(':')).count();
    let uncommented = EXAMPLE.lines().map(|line| match is_suggestion(&line) {
        true => line.replacen('#', "", 1),
        false => line.to_owned(),
    });
    let loaded = load(&uncommented.collect::<Vec<_>>().join("\n"), &[]).unwrap();
    let defaults = load_from(None, []).unwrap();
    assert!(suggested >= 4);
    assert_eq!(loaded.shown.len(), defaults.shown.len() + suggested);
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_defaults() {
    let text = "listen:\n  port: 8080\nlog:\n  format: json";
    let environment = [("SEBASTIAN__LISTEN__PORT", "9090"), ("SEBASTIAN_UNRELATED", "1"), ("PATH", "/bin")];
    let loaded = load(text, &environment).unwrap();

    assert_eq!((loaded.config.listen.port, loaded.config.log.format), (9090, LogFormat::Json));
    let origin = |key| loaded.shown.iter().find(|shown| shown.key == key).unwrap().origin.clone();
    assert_eq!(origin("listen.port"), Origin::Environment("SEBASTIAN__LISTEN__PORT".to_owned()));
    assert_eq!(origin("log.format"), Origin::File { path: PathBuf::from("desk.yml"), line: 4 });
    assert_eq!(origin("log.level"), Origin::Default);
}

#[test]
fn an_empty_value_counts_as_not_given() {
    let text = "listen:\n  port:\nwebhook:\n  secret: \"\"\nqiscus: ~\ndb:";
    let config = load(text, &[("SEBASTIAN__LISTEN__HOST", "")]).unwrap().config;
    assert_eq!((config.listen.port, config.listen.host.is_unspecified()), (3000, true));
    assert!(config.webhook.secret.is_none());
}

#[test]
fn a_file_of_comments_is_a_configuration() {
    for text in ["", "# nothing yet\n", "---\n", "\u{feff}# from an editor\n"] {
        assert_eq!(load(text, &[]).unwrap().config.listen.port, 3000, "{text:?}");
    }
}

#[test]
fn roles_are_a_list_in_the_file_and_words_with_commas_in_the_environment() {
    let roles =
        |text: &str, environment: &[(&str, &str)]| load(text, environment).unwrap().config.policy.roles;
    assert_eq!(roles("policy:\n  roles: [agent, admin]", &[]), [Role::Agent, Role::Admin]);
    assert_eq!(roles("policy:\n  roles:\n    - supervisor", &[]), [Role::Supervisor]);
    let environment = [("SEBASTIAN__POLICY__ROLES", "agent, supervisor")];
    assert_eq!(roles("policy:\n  roles: [admin]", &environment), [Role::Agent, Role::Supervisor]);
}

#[test]
fn every_figure_reaches_its_place() {
    let text = "
listen: { host: 127.0.0.1, workers: 2 }
webhook: { base_url: http://10.0.0.1:3000/desk/, max_current_customer: 12 }
db: { pool_size: 3, migrate: false, retention_days: 7 }
qiscus: { timeout_ms: 900, connect_timeout_ms: 800 }
worker: { listen: \"0.0.0.0:9000\", max_inflight: 5, sweep_ms: 200, reservation_ms: 1800, grace_ms: 0 }
poller: { interval_ms: 300, staleness_max_ms: 400 }
reconcile: { interval_ms: 500, settle_window_ms: 1900 }
policy: { strategy: round_robin }
events: { waiting_too_long_s: 60, allow_private: true }
log: { level: debug }";
    let config = load(text, &[]).unwrap().config;
    let ms = Duration::from_millis;
    assert_eq!((config.listen.host.to_string().as_str(), config.listen.workers), ("127.0.0.1", Some(2)));
    assert_eq!(config.webhook.base_url.as_deref(), Some("http://10.0.0.1:3000/desk"));
    assert_eq!((config.db.pool_size, config.db.migrate, config.db.retention), (3, false, ms(7 * 86_400_000)));
    assert_eq!((config.qiscus.timeout, config.qiscus.connect_timeout), (ms(900), ms(800)));
    assert_eq!((config.worker.listen.to_string().as_str(), config.worker.max_inflight), ("0.0.0.0:9000", 5));
    assert_eq!((config.worker.sweep, config.worker.grace), (ms(200), ms(0)));
    assert_eq!((config.timing.reservation, config.timing.settle_window), (ms(1800), ms(1900)));
    assert_eq!((config.poll_interval, config.reconcile_interval), (ms(300), ms(500)));
    assert_eq!((config.policy.capacity, config.policy.staleness_max), (Some(12), ms(400)));
    assert_eq!((config.policy.strategy, config.log.level), (Strategy::RoundRobin, tracing::Level::DEBUG));
    assert_eq!((config.events.waiting_too_long, config.events.allow_private), (ms(60_000), true));
}

#[test]
fn a_preset_brings_its_own_defaults_and_each_can_be_set_differently() {
    let policy = |text: &str| load(text, &[]).unwrap().config.policy;
    for (name, preset) in sebastian_core::policy::PRESETS {
        assert_eq!(policy(&format!("policy:\n  preset: {name}")), Policy::of(*preset), "{name}");
    }
    let text = "webhook: { max_current_customer: 4 }\n\
                policy: { preset: chatwoot, strategy: platform, order: priority, fair_distribution_limit: 0, \
                exclude_older_than_hours: 0, roles: [agent], presences: [online, away], reassign_strays: true, \
                pending_holds_slot: true, snoozed_holds_slot: true }";
    let expected = Policy {
        strategy: Strategy::Platform,
        order: Order::Priority,
        capacity: Some(4),
        fair_distribution: None,
        exclude_older_than: None,
        roles: vec![Role::Agent],
        presences: vec![Presence::Online, Presence::Away],
        reassigns_strays: true,
        slots: SlotRule { pending_holds: true, snoozed_holds: true },
        ..Policy::of(Preset::Chatwoot)
    };
    assert_eq!(policy(text), expected);
}

#[test]
fn a_limit_without_a_window_has_an_hour_and_a_window_without_a_limit_is_refused() {
    let fair = |text: &str| load(text, &[]).unwrap().config.policy.fair_distribution.unwrap();
    let limited = fair("policy:\n  fair_distribution_limit: 5");
    assert_eq!((limited.limit, limited.window), (5, Duration::from_secs(3_600)));
    let theirs = fair("policy: { preset: chatwoot, fair_distribution_window_s: 60 }");
    assert_eq!((theirs.limit, theirs.window), (5, Duration::from_secs(60)));
    let alone = problems("policy:\n  fair_distribution_window_s: 60");
    assert!(alone.contains("set both or neither"), "{alone}");
}

#[test]
fn the_batch_limit_is_ours_or_chatwoots_variable() {
    let limit = |environment: &[(&str, &str)]| load("", environment).unwrap().config.worker.batch_limit;
    let (ours, theirs) = (("SEBASTIAN__POLICY__BATCH_LIMIT", "7"), ("AUTO_ASSIGNMENT_BULK_LIMIT", "9"));
    assert_eq!((limit(&[]), limit(&[theirs]), limit(&[ours])), (256, 9, 7));
    assert_eq!((limit(&[ours, theirs]), limit(&[theirs, ours])), (7, 7));
    let loaded = load("", &[theirs]).unwrap();
    let shown = loaded.shown.iter().find(|shown| shown.key == "policy.batch_limit").unwrap();
    assert_eq!(shown.origin, Origin::Environment("AUTO_ASSIGNMENT_BULK_LIMIT".to_owned()));
    assert!(load("", &[("AUTO_ASSIGNMENT_BULK_LIMIT", "many")]).is_err());
}

#[test]
fn admin_tokens_have_names_and_scopes_and_are_never_shown() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "CANARY-from-a-file\n").unwrap();
    let text = format!(
        "admin:\n  listen: 127.0.0.1:3001\n  token: CANARY-first-token\n  tokens:\n    - name: board\n      token: \
         CANARY-board-token\n    - {{ name: ci, token_file: {}, scope: operate }}",
        file.path().display()
    );
    let loaded = load(&text, &[]).unwrap();
    let admin = &loaded.config.admin;
    assert_eq!(admin.listen, Some(([127, 0, 0, 1], 3001).into()));
    let seen: Vec<_> =
        admin.tokens.iter().map(|t| (t.name.as_str(), t.text.expose_secret(), t.scope)).collect();
    let expected = [
        ("admin", "CANARY-first-token", Scope::Operate),
        ("board", "CANARY-board-token", Scope::Read),
        ("ci", "CANARY-from-a-file", Scope::Operate),
    ];
    assert_eq!(seen, expected);
    let shown = loaded.shown.iter().find(|shown| shown.key == "admin.tokens").unwrap();
    assert_eq!(shown.value, "board (read), ci (operate)");
    assert!(!format!("{:?} {:?}", loaded.config, loaded.shown).contains("CANARY"));

    let variable = ("SEBASTIAN__ADMIN__TOKENS", "[{name: ci, token: sixteen-letters-0, scope: operate}]");
    let inline = load("", &[variable]).unwrap().config.admin.tokens;
    assert_eq!((inline[0].name.as_str(), inline[0].scope), ("ci", Scope::Operate));
}

#[test]
fn admin_tokens_that_will_not_do_are_told_without_quoting_them() {
    for (tokens, told) in [
        ("[{name: a, token: CANARY-0123456789, scope: all}]", "a `scope` must be `read` or `operate`"),
        ("[{name: a}]", "`a` needs one of `token` and `token_file`"),
        ("[{token: CANARY-0123456789}]", "each has one"),
        ("[{name: CANARY 01234567890}]", "a `name` is 1 to 64 of"),
        ("[{name: a, tokken: CANARY-0123456789}]", "each has `name`, `token` or `token_file`, and `scope`"),
        ("[{name: a, token: CANARY}]", "`admin.tokens: a` is shorter than 16 characters"),
        ("[CANARY-0123456789]", "must be a list of `{name: …}`"),
        ("CANARY-0123456789", "must be a list of `{name: …}`"),
        (
            "[{name: a, token: CANARY-0123456789}, {name: a, token: CANARY-9876543210}]",
            "two admin tokens have the name `a`",
        ),
        (
            "[{name: a, token: CANARY-0123456789}, {name: b, token: CANARY-0123456789}]",
            "two admin tokens are the same text",
        ),
    ] {
        let text = problems(&format!("admin:\n  tokens: {tokens}"));
        assert!(text.contains(told) && !text.contains("CANARY"), "{text}");
    }
}
