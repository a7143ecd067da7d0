//! How long it takes to read what a platform sends: the body of each kind of webhook, and the answers with agents and
//! rooms, of one page of 1,000 rows. Bodies are those of `fixtures/qiscus`.
//!
//! Any argument is a part of the name of what to time: `cargo bench -p sebastian-platform --bench parse -- webhook`.

use std::{hint::black_box, time::Duration};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sebastian_platform::{
    Room, RoomStatus, WebhookUrls,
    qiscus::{parse_allocation, parse_resolve},
};

#[path = "../src/qiscus/json.rs"]
#[expect(dead_code, reason = "its own tests do not run here")]
mod json;
#[path = "../src/qiscus/wire.rs"]
#[expect(dead_code, reason = "single answers are read nowhere near as often as lists")]
mod wire;

/// Whose the bodies are.
const APP_ID: &str = "sbsti-7q2mzk4c1d9xw0a";
/// Rows of a list.
const ROWS: usize = 1_000;

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("../fixtures/qiscus/", $name, ".json"))
    };
}

const ALLOCATIONS: [(&str, &str); 3] = [
    ("allocation_minimal", fixture!("webhook.allocation.drift.minimal_required_only")),
    ("allocation", fixture!("webhook.allocation.wa.new_session.with_candidate")),
    (
        "allocation_returning",
        fixture!("webhook.allocation.wa.returning_customer.same_room_latest_service_object"),
    ),
];
const RESOLVE: &str = fixture!("webhook.mark_as_resolved.by_assigned_agent");
const AGENTS: &str = fixture!("api.agents_v2.page1.200");
const ROOMS: &str = fixture!("api.customer_rooms.unserved.page1.200");

fn webhooks(c: &mut Criterion) {
    let mut group = c.benchmark_group("webhook");
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    for (name, body) in ALLOCATIONS {
        assert!(parse_allocation(body.as_bytes(), APP_ID).is_ok(), "{name}");
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(name, |b| b.iter(|| parse_allocation(black_box(body.as_bytes()), APP_ID)));
    }
    assert!(parse_resolve(RESOLVE.as_bytes(), APP_ID).is_ok());
    group.throughput(Throughput::Bytes(RESOLVE.len() as u64));
    group.bench_function("resolve", |b| b.iter(|| parse_resolve(black_box(RESOLVE.as_bytes()), APP_ID)));
    group.finish();
}

/// The page `body` with its rows under `list` repeated until there are [`ROWS`].
fn long(body: &str, list: &str) -> String {
    let mut page: serde_json::Value = serde_json::from_str(body).expect("a fixture is JSON");
    let rows = page["data"][list].as_array_mut().expect("a fixture has rows");
    *rows = rows.iter().cycle().take(ROWS).cloned().collect();
    page.to_string()
}

/// How many rows of a list can be read.
type Read = fn(&str) -> usize;

fn agents(body: &str) -> usize {
    let page = wire::page(body, "agents", "after").expect("a fixture is a page");
    page.rows.iter().filter_map(|row| black_box(wire::agent(*row))).count()
}

fn rooms(body: &str) -> usize {
    let page = wire::page(body, "customer_rooms", "cursor_after").expect("a fixture is a page");
    page.rows.iter().filter_map(|row| black_box(wire::room_row(*row))).count()
}

fn lists(c: &mut Criterion) {
    let mut group = c.benchmark_group("list");
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2)).sample_size(50);
    let lists: [(&str, String, Read); 2] =
        [("agents", long(AGENTS, "agents"), agents), ("rooms", long(ROOMS, "customer_rooms"), rooms)];
    for (name, body, read) in lists {
        assert_eq!(read(&body), ROWS, "{name}");
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(format!("{name}/{ROWS}"), |b| b.iter(|| read(black_box(&body))));
    }
    group.finish();
}

criterion_group!(benches, webhooks, lists);
criterion_main!(benches);
