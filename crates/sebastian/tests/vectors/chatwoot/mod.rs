//! Rows about Chatwoot.

mod allocate;
mod events;
mod format;
mod http;
mod parts;
mod rules;
mod world;

use std::collections::BTreeSet;

use sebastian_core::{Policy, Preset};
use serde_json::Value;

use crate::report::{Check, Problems, Tried};

/// Tries every row that is not about Chatwoot's machinery.
pub fn run(document: &Value) -> Vec<Tried> {
    let rows = document["vectors"].as_array().into_iter().flatten();
    rows.filter_map(row).collect()
}

pub use world::presence;

type Driver = fn(&Value, &Policy) -> Result<Problems, String>;

fn row(row: &Value) -> Option<Tried> {
    let driver: Driver = match row["kind"].as_str().unwrap_or_default() {
        "allocate" => allocate::play,
        "rate_limit" => parts::rate_limit,
        "queue" => parts::queue,
        "select" => parts::select,
        "capacity" => parts::capacity,
        "presence" => parts::presence,
        "leave" => parts::leave,
        "concurrency" => parts::concurrency,
        "trigger" => events::trigger,
        "team_change" => events::team_change,
        "team_retry" => events::team_retry,
        "validate" => rules::validate,
        "cascade" => rules::cascade,
        "http" if http::is_policy_route(row) => http::call,
        // Its queues, its clockwork, its webhooks, its stores.
        "job" | "gate" | "schedule" | "delivery" | "failure" | "http" => return None,
        _ => |_, _| Err("of a kind nobody told us of".to_owned()),
    };
    Some(Tried {
        system: "chatwoot",
        id: row["id"].as_str().unwrap_or_default().to_owned(),
        marked: row.get("divergence").is_some_and(|why| !why.is_null()),
        checks: policies(row).iter().map(|policy| check(row, policy, driver)).collect(),
        row: row.clone(),
    })
}

fn check(row: &Value, policy: &Policy, driver: Driver) -> Check {
    let under = if policy.preset == Preset::Chatwoot { "chatwoot" } else { "sebastian" };
    Check::of(under, || driver(row, policy))
}

/// The preset of each profile. Nothing but what a row says limits what an agent may hold.
fn policies(row: &Value) -> Vec<Policy> {
    let profiles = row["profiles"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let ours: BTreeSet<bool> = profiles.map(|profile| profile == "sebastian").collect();
    let preset = |ours: &bool| if *ours { Preset::Sebastian } else { Preset::Chatwoot };
    ours.iter().map(|ours| Policy { capacity: None, ..Policy::of(preset(ours)) }).collect()
}
