//! The metric table of `deploy/README.md` is a contract: it names every metric with its type, and no other.

use std::{collections::BTreeMap, sync::Mutex};

use ::metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

const RUNBOOK: &str = include_str!("../../../deploy/README.md");

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

#[test]
fn the_runbook_names_every_metric_and_its_type() {
    let described = Described::default();
    ::metrics::with_local_recorder(&described, || {
        sebastian_ingest::metrics::describe();
        sebastian_worker::metrics::describe();
        sebastian_courier::metrics::describe();
    });
    let row = |line: &'static str| {
        let (name, rest) = line.strip_prefix("| `sebastian_")?.split_once("` | ")?;
        Some((format!("sebastian_{name}"), rest.split(" |").next()?))
    };
    let table: BTreeMap<String, &str> = RUNBOOK.lines().filter_map(row).collect();
    assert_eq!(table, described.0.into_inner().unwrap());
}
