//! What operators set, in the real process and the real ledger.

use sebastian_testkit::{Database, Redis};
use serde_json::{Value, json};

use crate::processes::{Folder, SOON, address, ask, config};

const ACCOUNT: &str = "/api/v1/accounts/desk-1";

/// A call of the API from this machine; what it answered, if it did what was asked.
fn call(address: &str, request: &str, body: &Value) -> Value {
    let (method, path) = request.split_once(' ').unwrap();
    let (status, answer) = ask(address, &format!("{method} {ACCOUNT}{path}"), &body.to_string());
    assert_eq!(status, "HTTP/1.1 200 OK", "{request}: {answer}");
    serde_json::from_str(&answer).unwrap_or_default()
}

#[tokio::test]
async fn what_is_set_outlives_the_process_and_is_in_the_audit() {
    let (database, redis) = (Database::create().await, Redis::start().await);
    let folder = Folder::with(&config(&database, &redis));
    let first = folder.start(&["-e", "webhook"]);
    let at = address(&first).await;

    let sent = json!({ "assignment_policy": { "name": "Night", "assignment_order": "longest_idle" } });
    let policy = call(&at, "POST /assignment_policies", &sent);
    call(&at, "POST /inboxes/7/assignment_policy", &json!({ "assignment_policy_id": policy["id"] }));
    call(&at, "POST /agents/101/pause", &json!({ "reason": "training" }));
    first.kill9();
    first.wait(SOON).await;

    let second = folder.start(&["-e", "webhook"]);
    let at = address(&second).await;
    let linked = call(&at, "GET /inboxes/7/assignment_policy", &json!({}));
    assert_eq!((&linked["name"], &linked["assigned_inbox_count"]), (&json!("Night"), &json!(1)));
    assert_eq!(call(&at, "GET /agents/101", &json!({}))["paused"]["reason"], "training");
    assert_eq!(call(&at, "GET ", &json!({}))["rules_version"], 3);
    let audit = call(&at, "GET /audit", &json!({}));
    let entries = audit["entries"].as_array().unwrap();
    let told: Vec<_> =
        entries.iter().map(|entry| (&entry["who"], &entry["action"], &entry["resource_id"])).collect();
    let (who, id) = (json!("loopback"), json!(policy["id"].to_string()));
    assert_eq!(
        told,
        [
            (&who, &json!("pause"), &json!("101")),
            (&who, &json!("link"), &json!("7")),
            (&who, &json!("create"), &id)
        ]
    );
    second.terminate();
    assert_eq!(second.wait(SOON).await.code(), Some(0), "{}", second.output());
}
