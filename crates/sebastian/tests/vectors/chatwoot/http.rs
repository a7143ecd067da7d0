//! The policy API, called over HTTP: the product's own server, on a port of its own for each row.
//!
//! Rows say little of what there is before the call. Policy 5, capacity policy 8 with its limit 4, inbox 3 and agent 101
//! stand for what a path names; whether they are linked follows from what the row expects.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use reqwest::{Client, Method};
use sebastian_core::{
    AgentId, CapacityPolicyId, InboxId, Policy, PolicyId, Presence, Role, Roster, Rulebook,
    rulebook::edit::{CapacityPolicyDraft, PolicyDraft},
};
use sebastian_courier::Guard;
use sebastian_ingest::{Account, AdminToken, Ingest, Ops, Scope, Settings, bind, serve};
use sebastian_platform::qiscus::{Qiscus, QiscusConfig};
use sebastian_roster::{InProcessRosterCache, RosterCache, WakeUps, WakeUpsConfig};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::format::{read, time};
use crate::{
    desk::{self, Desk},
    report::{Problems, expect},
};

const POLICY: PolicyId = PolicyId(5);
const CAPACITY_POLICY: CapacityPolicyId = CapacityPolicyId(8);
const LIMIT: i64 = 4;
const INBOX: InboxId = InboxId(3);
const AGENT: AgentId = AgentId(101);
const HOUR: Duration = Duration::from_secs(3_600);
const ADMIN: &str = "an-administrators-token";

/// Whether a row calls a route that the product has too, by which policies are set.
pub fn is_policy_route(row: &Value) -> bool {
    let path = row["request"]["path"].as_str().unwrap_or_default();
    path.contains("/assignment_polic") || path.contains("/agent_capacity_policies")
}

/// Makes the call of a row.
pub fn call(row: &Value, policy: &Policy) -> Result<Problems, String> {
    let desk = Desk::new(policy.clone(), time("2026-01-15T12:00:00Z")?);
    let mut rules = Rulebook::default();
    furnish(&mut rules, row, policy)?;
    desk.amend(|book| *book = rules);
    let before = desk.rules();
    let (status, body) = runtime().block_on(answer(&desk, &row["request"]))?;
    let mut problems = Problems::new();
    for (key, wanted) in row["then"].as_object().into_iter().flatten() {
        match key.as_str() {
            "status" => expect(&mut problems, key, wanted, &status.into()),
            "body_has" => has("body", &body, wanted, &mut problems),
            "effects" => effects(wanted, &before, &desk.rules(), &mut problems)?,
            other => return Err(format!("{other} is not known")),
        }
    }
    Ok(problems)
}

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().expect("a runtime starts"))
}

/// What there is before the call.
fn furnish(rules: &mut Rulebook, row: &Value, policy: &Policy) -> Result<(), String> {
    let (given, then) = (&row["given"], &row["then"]);
    let (path, method) = (row["request"]["path"].as_str().unwrap_or_default(), &row["request"]["method"]);
    let parts: Vec<&str> = path.split('/').collect();
    let succeeds = then["status"] == 200 || then["status"] == 204;
    let is_capacity = path.contains("/agent_capacity_policies");

    let listed = then["body_has"]["array_length"].as_u64().filter(|_| !path.ends_with("/users"));
    let told = given.get("policies").cloned().or_else(|| listed.map(Value::from));
    let (ours, theirs) =
        if is_capacity { (None, told) } else { (told, given.get("capacity_policies").cloned()) };
    for (id, draft) in drafts(ours.as_ref(), POLICY.0) {
        rules.last_id = id - 1;
        let draft: PolicyDraft = read(&draft)?;
        rules.create_policy(draft, policy, desk::at_rest()).map_err(|error| error.to_string())?;
    }
    for (id, draft) in drafts(theirs.as_ref(), CAPACITY_POLICY.0) {
        rules.last_id = id - 1;
        let draft: CapacityPolicyDraft = read(&draft)?;
        rules.create_capacity_policy(draft, desk::at_rest()).map_err(|error| error.to_string())?;
    }

    let linked = given["linked_policy_id"].as_i64().map(PolicyId);
    if let Some(other) = linked.filter(|other| !rules.assignment_policies.contains_key(other)) {
        rules.last_id = other.0 - 1;
        let draft = json!({"name": "the policy it is linked to"});
        rules.create_policy(read(&draft)?, policy, desk::at_rest()).map_err(|error| error.to_string())?;
    }
    let is_link = path.contains("/inboxes/") && path.ends_with("/assignment_policy");
    let shows_link = is_link && succeeds && method != "POST";
    for inbox in linked_inboxes(then, &parts, shows_link, linked.is_some()) {
        rules.link(inbox, linked.unwrap_or(POLICY)).map_err(|error| error.to_string())?;
    }

    let names_limit = parts.len() > 8 && parts[7] == "inbox_limits";
    let limits = given["limits"].as_array().cloned().unwrap_or_default();
    let unsaid = names_limit.then(|| json!({"inbox_id": INBOX.0})).filter(|_| limits.is_empty());
    for limit in limits.into_iter().chain(unsaid) {
        rules.last_id = limit["id"].as_i64().unwrap_or(LIMIT) - 1;
        let inbox = limit["inbox_id"].as_i64().unwrap_or(INBOX.0);
        let draft = json!({"inbox_id": inbox, "conversation_limit": limit["conversation_limit"].as_i64().unwrap_or(5)});
        let made = rules.add_inbox_limit(CAPACITY_POLICY, read(&draft)?, desk::at_rest());
        made.map_err(|error| error.to_string())?;
    }
    if path.contains("/users") && method != "POST" && succeeds {
        rules.put_under(AGENT, CAPACITY_POLICY).map_err(|error| error.to_string())?;
    }
    // What is made by the call gets a number of its own.
    rules.last_id = 1_000;
    Ok(())
}

/// How many there are, or which; one when nothing is said.
fn drafts(told: Option<&Value>, first: i64) -> Vec<(i64, Value)> {
    let named = |id: i64| (id, json!({"name": format!("Policy {id}")}));
    match told {
        Some(Value::Array(rows)) => {
            let ids = rows.iter().zip(first..).map(|(row, place)| row["id"].as_i64().unwrap_or(place));
            ids.zip(rows.iter().cloned()).collect()
        }
        Some(Value::Number(count)) => {
            (first..).take(count.as_u64().unwrap_or(0) as usize).map(named).collect()
        }
        _ => vec![named(first)],
    }
}

/// Inboxes that were linked before, as what the row expects gives away.
fn linked_inboxes(then: &Value, parts: &[&str], shows_link: bool, is_told: bool) -> Vec<InboxId> {
    if shows_link || is_told {
        return vec![INBOX];
    }
    let gone =
        then["effects"]["inbox_links"].as_str().and_then(|change| change.strip_prefix('-')?.parse().ok());
    let shown = parts.last().is_some_and(|last| *last == "inboxes").then(|| {
        let inboxes = &then["body_has"]["inboxes"];
        inboxes["array_length"].as_u64().or(inboxes.as_array().map(|some| some.len() as u64)).unwrap_or(0)
    });
    (INBOX.0..).take(gone.or(shown).unwrap_or(0) as usize).map(InboxId).collect()
}

async fn answer(desk: &Desk, request: &Value) -> Result<(u16, Value), String> {
    let listener = bind(([127, 0, 0, 1], 0).into()).map_err(|error| error.to_string())?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let stop = CancellationToken::new();
    let ended = stop.clone().drop_guard();
    tokio::spawn(serve(listener, ingest(desk).await?, stop));
    let method: Method =
        read::<String>(&request["method"])?.parse().map_err(|_| "no such method".to_owned())?;
    let client = Client::builder().no_proxy().build().map_err(|error| error.to_string())?;
    let mut call = client.request(method, format!("http://{address}{}", read::<String>(&request["path"])?));
    // Whoever is no administrator has a token that is none of an administrator's.
    match request["auth"].as_str().unwrap_or_default() {
        "none" => {}
        "admin" => call = call.header("api_access_token", ADMIN),
        "agent" => call = call.header("api_access_token", "an-agents-token"),
        other => return Err(format!("{other} is not known")),
    }
    if let Some(body) = request.get("body") {
        call = call.json(body);
    }
    let response = call.send().await.map_err(|error| error.to_string())?;
    let status = response.status().as_u16();
    let body = response.bytes().await.map_err(|error| error.to_string())?;
    drop(ended);
    let body = if body.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(&body).map_err(|e| e.to_string())?
    };
    Ok((status, body))
}

async fn ingest(desk: &Desk) -> Result<Ingest, String> {
    let cache = InProcessRosterCache::default();
    let agents = (AGENT.0..AGENT.0 + 4)
        .map(|id| desk::agent(AgentId(id), Role::Agent, Presence::Online, (1..=4).map(InboxId)));
    let roster = Roster::new(1, desk.time(), agents.collect());
    cache.publish(desk.account, &roster).await.map_err(|error| error.to_string())?;
    // No row asks the platform anything; nobody listens there.
    let nobody = QiscusConfig::new("http://127.0.0.1:9", "vectors", SecretString::from("none"));
    let wakes = WakeUpsConfig { accounts: Vec::new(), sweep: HOUR, stop: CancellationToken::new() };
    let admin = AdminToken::new("an administrator", &SecretString::from(ADMIN), Scope::Operate);
    Ok(Ingest {
        account: Account { id: desk.account, app_id: "vectors".to_owned(), default_inbox: None },
        store: desk.store.clone(),
        outbox: desk.store.clone(),
        guard: Guard::new(false),
        doorbell: Arc::new(WakeUps::in_process(wakes).bell()),
        roster: Arc::new(cache),
        platform: Arc::new(Qiscus::new(nobody).map_err(|error| error.to_string())?),
        secrets: Vec::new(),
        admin_tokens: vec![admin.map_err(|error| error.to_string())?],
        targets: None,
        policy: desk.policy.clone(),
        ops: Ops { checks: Vec::new(), metrics: Arc::new(String::new) },
        settings: Settings { workers: 1, ..Settings::default() },
    })
}

/// Whether what was found has at least what is wanted.
fn has(what: &str, found: &Value, wanted: &Value, problems: &mut Problems) {
    let Some(fields) = wanted.as_object() else {
        expect(problems, what, wanted, found);
        return;
    };
    let keys = |value: &Value, keys: &Value| {
        keys.as_array().into_iter().flatten().all(|key| value.get(key.as_str().unwrap_or_default()).is_some())
    };
    for (key, value) in fields {
        match key.as_str() {
            "array_length" => {
                expect(
                    problems,
                    &format!("{what} length"),
                    &value.as_u64(),
                    &found.as_array().map(|a| a.len() as u64),
                );
            }
            "item_keys" => {
                let all = found.as_array().is_some_and(|items| items.iter().all(|item| keys(item, value)));
                expect(problems, &format!("{what} items have {value}"), &true, &all);
            }
            "keys" => expect(problems, &format!("{what} has {value}"), &true, &keys(found, value)),
            "first_id" => expect(problems, &format!("{what} first id"), value, &found[0]["id"]),
            "json" => expect(problems, what, value, found),
            _ if key.ends_with("_contains") => {
                let text = found[key.trim_end_matches("_contains")].as_str().unwrap_or_default();
                let is_in = value.as_str().is_some_and(|part| text.contains(part));
                expect(problems, &format!("{what} {key} {value}, in {text:?}"), &true, &is_in);
            }
            _ => has(&format!("{what} {key}"), &found[key], value, problems),
        }
    }
}

fn effects(
    wanted: &Value,
    before: &Rulebook,
    after: &Rulebook,
    problems: &mut Problems,
) -> Result<(), String> {
    let links = |rules: &Rulebook| rules.inboxes.values().filter(|inbox| inbox.policy.is_some()).count();
    let limits = |rules: &Rulebook| rules.capacity_policies.values().map(|one| one.inbox_limits.len()).sum();
    for (key, wanted) in wanted.as_object().into_iter().flatten() {
        let counts: Option<(usize, usize)> = match key.as_str() {
            "policies" => Some((before.assignment_policies.len(), after.assignment_policies.len())),
            "capacity_policies" => Some((before.capacity_policies.len(), after.capacity_policies.len())),
            "inbox_links" | "links" => Some((links(before), links(after))),
            "inbox_limits" | "limits" => Some((limits(before), limits(after))),
            _ => None,
        };
        if let Some((before, after)) = counts {
            let change = i64::try_from(after).unwrap_or(0) - i64::try_from(before).unwrap_or(0);
            let wanted = wanted.as_str().and_then(|text| text.parse::<i64>().ok());
            expect(problems, key, &wanted, &Some(change));
            continue;
        }
        let found = match key.as_str() {
            "policy" => after.assignment_policies.get(&POLICY).map(|policy| {
                let fair = policy.fair_distribution;
                json!({
                    "name": policy.name, "description": policy.description, "enabled": policy.enabled,
                    "assignment_order": policy.strategy, "conversation_priority": policy.order,
                    "fair_distribution_limit": fair.map(|fair| fair.limit),
                    "fair_distribution_window": fair.map(|fair| fair.window.as_secs()),
                    "exclude_older_than_hours": policy.exclude_older_than_hours,
                })
            }),
            "capacity_policy" => after.capacity_policies.get(&CAPACITY_POLICY).map(|policy| {
                json!({
                    "name": policy.name, "description": policy.description,
                    "exclusion_rules": policy.exclusion_rules,
                })
            }),
            "linked_policy_id" => {
                after.inboxes.get(&INBOX).and_then(|inbox| inbox.policy).map(|id| id.0.into())
            }
            "agent" => wanted["id"]
                .as_i64()
                .map(|id| json!({"id": id, "capacity_policy_id": after.agent(AgentId(id)).capacity_policy})),
            other => return Err(format!("effect {other} is not known")),
        };
        has(key, &found.unwrap_or_default(), wanted, problems);
    }
    Ok(())
}
