//! The metric table of `deploy/README.md` is a contract: it names every metric with its type, and no other. What alerts and
//! the dashboard ask for is in that table.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
};

use ::metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

const RUNBOOK: &str = include_str!("../../../deploy/README.md");
const ALERTS: &str = include_str!("../../../deploy/prometheus/alerts.yml");
const ALERTS_TEST: &str = include_str!("../../../deploy/prometheus/alerts_test.yml");
const DASHBOARD: &str = include_str!("../../../deploy/grafana/dashboard.json");

/// Labels that Prometheus adds.
const ADDED: &[&str] = &["instance", "job", "le"];

#[derive(Default)]
struct Described(Mutex<BTreeMap<String, &'static str>>);

impl Described {
    fn note(&self, key: &KeyName, kind: &'static str) {
        self.0.lock().unwrap().insert(key.as_str().to_owned(), kind);
    }
}

impl Recorder for Described {
    fn describe_counter(&self, key: KeyName, _: Option<Unit>, _: SharedString) {
        self.note(&key, "counter");
    }

    fn describe_gauge(&self, key: KeyName, _: Option<Unit>, _: SharedString) {
        self.note(&key, "gauge");
    }

    fn describe_histogram(&self, key: KeyName, _: Option<Unit>, _: SharedString) {
        self.note(&key, "histogram");
    }

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

/// A line of the runbook's table.
struct Row {
    kind: &'static str,
    labels: BTreeSet<&'static str>,
    meaning: &'static str,
}

impl Row {
    fn read(line: &'static str) -> Option<(String, Self)> {
        let (name, rest) = line.strip_prefix("| `sebastian_")?.split_once("` | ")?;
        let mut cells = rest.split(" |").map(str::trim);
        let kind = cells.next()?;
        let labels = cells.next()?.split(", ").map(|label| label.trim_matches('`')).collect();
        Some((format!("sebastian_{name}"), Self { kind, labels, meaning: cells.next()? }))
    }

    /// Whether `label` may have `value`. Where the table lists its values, they are all there are.
    fn may_say(&self, label: &str, value: &str) -> bool {
        let Some((_, listed)) = self.meaning.split_once(&format!("`{label}`: ")) else { return true };
        let listed = listed.split('`').next().unwrap_or_default();
        listed.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|word| word == value)
    }
}

fn table() -> BTreeMap<String, Row> {
    RUNBOOK.lines().filter_map(Row::read).collect()
}

/// What is asked of one metric: its name, and each label with the values looked for.
struct Asked<'a> {
    name: &'a str,
    labels: Vec<(&'a str, Vec<&'a str>)>,
}

/// Everything asked for in `text`.
fn asked(text: &str) -> Vec<Asked<'_>> {
    let starts = text.match_indices("sebastian_").map(|(at, _)| at);
    let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
    let ask = |at: usize| {
        let rest = &text[at..];
        let (name, rest) = rest.split_at(rest.find(|c| !is_name(c)).unwrap_or(rest.len()));
        let matchers =
            rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or("", |(inside, _)| inside);
        Asked { name, labels: matchers.split(',').filter_map(matcher).collect() }
    };
    starts.map(ask).collect()
}

/// `class=~"busy|denied"` as `class` and its two values.
fn matcher(text: &str) -> Option<(&str, Vec<&str>)> {
    let (label, rest) = text.split_once(['=', '!'])?;
    Some((label.trim(), rest.trim_matches(['=', '~', '"']).split('|').collect()))
}

/// What is wrong with asking that.
fn fault(asked: &Asked<'_>, table: &BTreeMap<String, Row>) -> Option<String> {
    let Asked { name, labels } = asked;
    let whole = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part));
    let row = match (table.get(*name), whole.and_then(|whole| table.get(whole))) {
        (Some(row), None) if row.kind != "histogram" => row,
        (None, Some(row)) if row.kind == "histogram" => row,
        _ => return Some(format!("{name} is no series of a metric in the table")),
    };
    labels.iter().find_map(|(label, values)| {
        if ADDED.contains(label) {
            return None;
        }
        if !row.labels.contains(label) {
            return Some(format!("{name} has no label {label}"));
        }
        let odd = values.iter().find(|value| !row.may_say(label, value))?;
        Some(format!("{label} of {name} is never {odd}"))
    })
}

#[test]
fn the_runbook_names_every_metric_and_its_type() {
    let described = Described::default();
    ::metrics::with_local_recorder(&described, || {
        sebastian_ingest::metrics::describe();
        sebastian_worker::metrics::describe();
        sebastian_courier::metrics::describe();
    });
    let table: BTreeMap<String, &str> = table().into_iter().map(|(name, row)| (name, row.kind)).collect();
    assert_eq!(table, described.0.into_inner().unwrap());
}

#[test]
fn alerts_and_dashboard_ask_only_for_what_is_measured() {
    let table = table();
    let dashboard = DASHBOARD.replace("\\\"", "\"");
    for (file, text, least) in
        [("alerts.yml", ALERTS, 30), ("alerts_test.yml", ALERTS_TEST, 60), ("dashboard.json", &dashboard, 40)]
    {
        let asked = asked(text);
        assert!(asked.len() >= least, "{file} asks for {} series only", asked.len());
        let faults: Vec<String> = asked.iter().filter_map(|asked| fault(asked, &table)).collect();
        assert!(faults.is_empty(), "{file}: {faults:#?}");
    }
}

#[test]
fn what_is_not_measured_is_told() {
    let table = table();
    for (text, told) in [
        ("sebastian_webhook_total", "sebastian_webhook_total is no series of a metric in the table"),
        ("sebastian_decide_seconds", "sebastian_decide_seconds is no series of a metric in the table"),
        (
            "sebastian_waiting_conversations_count",
            "sebastian_waiting_conversations_count is no series of a metric in the table",
        ),
        ("sebastian_webhooks_total{class=\"ok\"}", "sebastian_webhooks_total has no label class"),
        (
            "rate(sebastian_platform_call_seconds_count{class=~\"busy|late\"}[5m])",
            "class of sebastian_platform_call_seconds_count is never late",
        ),
    ] {
        assert_eq!(fault(&asked(text)[0], &table).as_deref(), Some(told), "{text}");
    }
}

#[test]
fn every_alert_says_what_to_do_and_is_seen_to_fire() {
    let anchors: BTreeSet<String> = RUNBOOK
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .map(|heading| heading.to_lowercase().replace(' ', "-"))
        .collect();
    let mut alerts = ALERTS.split("      - alert: ").skip(1).peekable();
    assert!(alerts.peek().is_some());
    for alert in alerts {
        let name = alert.lines().next().unwrap();
        let has = |key: &str| alert.lines().any(|line| line.trim_start().starts_with(key));
        for key in ["expr: ", "labels: {severity: ", "summary: ", "description: "] {
            assert!(has(key), "{name} has no {key}");
        }
        assert!(has(&format!("runbook: deploy/README.md#{}", name.to_lowercase())), "{name} leads nowhere");
        assert!(anchors.contains(&name.to_lowercase()), "the runbook says nothing of {name}");
        let fires = format!("alertname: {name}\n        exp_alerts:");
        assert!(ALERTS_TEST.contains(&fires), "no test sees {name} fire");
    }
}
