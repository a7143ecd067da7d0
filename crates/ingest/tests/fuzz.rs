//! Requests as nobody should send them, over HTTP: an answer in words each time, and the next good one is served.

use std::{fs, path::Path};

use proptest::{
    collection::vec,
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, TestRunner},
};
use reqwest::{Method, Response};
use sebastian_testkit::hostile::{VALUES, harmed};
use serde_json::{Value, json};

use crate::desk::{Desk, Setup, allocation, error_of};

const ALLOCATE: &str = "/webhook-incoming-message";
const RESOLVE: &str = "/webhook-mark-as-resolved";
const BASE: &str = "/api/v1/accounts/1";

/// Every body the API takes, each good where the ones before it were sent.
fn good() -> Vec<(Method, &'static str, Value)> {
    let (post, patch, put) = (Method::POST, Method::PATCH, Method::PUT);
    let policy = json!({ "assignment_policy": {
        "name": "P", "description": "d", "assignment_order": "round_robin", "conversation_priority": "longest_waiting",
        "fair_distribution_limit": 15, "fair_distribution_window": 3600, "enabled": true,
    } });
    let capacity = json!({ "agent_capacity_policy": {
        "name": "C", "description": "d", "exclusion_rules": { "excluded_labels": ["spam"], "exclude_older_than_hours": 24 },
    } });
    let leave = json!({ "leave": {
        "user_id": 101, "start_date": "2099-01-15", "end_date": "2099-01-21", "leave_type": "annual", "reason": "r",
    } });
    let inbox =
        json!({ "enable_auto_assignment": true, "auto_assignment_config": { "max_assignment_limit": 2 } });
    let routes =
        json!({ "routes": [{ "source": "wa", "team": 40 }, { "tag": "VIP", "priority": "urgent" }] });
    let subscription = json!({ "url": "http://127.0.0.1:9/hook", "events": ["conversation.assigned"] });
    let update = json!({ "labels": ["vip"], "priority": "high", "language": "id", "status": "open" });
    vec![
        (post.clone(), "/assignment_policies", policy.clone()),
        (patch.clone(), "/assignment_policies/1", policy),
        (post.clone(), "/inboxes/3/assignment_policy", json!({ "assignment_policy_id": 1 })),
        (post.clone(), "/agent_capacity_policies", capacity.clone()),
        (put.clone(), "/agent_capacity_policies/2", capacity),
        (
            post.clone(),
            "/agent_capacity_policies/2/inbox_limits",
            json!({ "inbox_id": 3, "conversation_limit": 10 }),
        ),
        (post.clone(), "/agent_capacity_policies/2/users", json!({ "user_id": 101 })),
        (post.clone(), "/teams", json!({ "name": "Billing", "id": 40, "allow_auto_assign": true })),
        (patch.clone(), "/teams/40", json!({ "team": { "name": "Bills", "capacity": 4 } })),
        (post.clone(), "/teams/40/team_members", json!({ "user_ids": [101, 102] })),
        (post.clone(), "/leaves", leave),
        (post.clone(), "/agents/101/pause", json!({ "reason": "training", "until": 4_102_444_800_i64 })),
        (post.clone(), "/inboxes/3/pause", json!({ "reason": "stocktaking" })),
        (post.clone(), "/pause", json!({ "reason": "fire drill" })),
        (patch.clone(), "/inboxes/3", inbox),
        (patch.clone(), "/agents/102", json!({ "weight": 3, "capacity": 5, "languages": ["id"] })),
        (put, "/routes", routes),
        (post, "/subscriptions", subscription),
        (patch, "/conversations/47", update),
    ]
}

/// Checks what every answer of the API has: no fault of ours, words where it refuses, nothing that PostgreSQL could not
/// have stored where it does not.
async fn check(sent: &str, response: Response) {
    let status = response.status().as_u16();
    assert!((200..500).contains(&status), "{status} to {sent}");
    let has_id = response.headers().contains_key("x-request-id");
    let text = response.text().await.unwrap();
    if status < 300 {
        assert!(!text.contains("\\u0000"), "U+0000 was taken from {sent}: {text}");
    } else {
        let body: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{status} {text} to {sent}"));
        let says = body["error"].as_str().or(body["errors"][0].as_str()).unwrap_or_default();
        assert!(has_id && !says.is_empty(), "{status} {text} to {sent}");
    }
}

impl Desk {
    async fn sends(&self, method: &Method, path: &str, body: Vec<u8>) -> Response {
        let request = self.client.request(method.clone(), self.url(&format!("{BASE}{path}"))).body(body);
        request.send().await.unwrap()
    }
}

#[tokio::test]
async fn a_harmed_request_to_the_api_is_done_or_refused_in_words() {
    let desk = Setup::default().start();
    assert_eq!(desk.status_of(ALLOCATE, allocation("47")).await, 200);
    let good = good();
    for (method, path, body) in &good {
        let response = desk.sends(method, path, body.to_string().into_bytes()).await;
        let status = response.status().as_u16();
        assert!(status < 300, "{method} {path}: {status} {}", response.text().await.unwrap());
    }

    let mut runner = TestRunner::new(Config::default());
    let harms = (0..good.len(), vec(any::<(u8, u16, u16)>(), 1..4));
    for _ in 0..2_000 {
        let (which, harms) = harms.new_tree(&mut runner).unwrap().current();
        let (method, path, body) = &good[which];
        let body = harmed(body.to_string().as_bytes(), &harms);
        let sent = format!("{method} {path} {}", String::from_utf8_lossy(&body));
        check(&sent, desk.sends(method, path, body).await).await;
    }

    for page in
        ["/assignment_policies", "/agent_capacity_policies", "/teams", "/leaves", "/inboxes", "/audit"]
    {
        check(page, desk.sends(&Method::GET, page, vec![]).await).await;
    }
    assert_eq!(desk.status_of(ALLOCATE, allocation("48")).await, 200, "webhooks are still taken");
}

#[tokio::test]
async fn whatever_stands_in_a_path_or_a_query_is_answered() {
    let desk = Setup::default().start();
    let hostile = [
        "0",
        "-1",
        "9223372036854775807",
        "9223372036854775808",
        "1e400",
        "%00",
        "%ff",
        "a%2Fb",
        "..",
        "%2e%2e",
    ];
    for id in hostile {
        for path in
            ["/teams/@", "/agents/@", "/leaves/@/approve", "/subscriptions/@/dead_letters/@/redeliver"]
        {
            let path = path.replace('@', id);
            for method in [Method::GET, Method::POST, Method::PATCH, Method::DELETE] {
                check(&path, desk.sends(&method, &path, b"{}".to_vec()).await).await;
            }
        }
        for path in ["/api/v1/conversations/@", "/api/v1/conversations/@/explain", "/api/v1/accounts/@/teams"]
        {
            let path = path.replace('@', id);
            check(&path, desk.get(&path).send().await.unwrap()).await;
        }
    }
    for value in VALUES.iter().chain(&hostile) {
        for (page, name) in [
            ("/api/v1/conversations", "state"),
            ("/api/v1/conversations", "limit"),
            ("/api/v1/conversations", "after"),
            ("/api/v1/accounts/1/audit", "before"),
            ("/api/v1/accounts/1/audit", "limit"),
            ("/api/v1/accounts/1/leaves", "user_id"),
        ] {
            let request = desk.get(page).query(&[(name, value)]);
            check(&format!("{page}?{name}={value}"), request.send().await.unwrap()).await;
        }
    }
}

#[tokio::test]
async fn every_hostile_webhook_is_answered_by_its_verdict_and_the_next_good_one_is_stored() {
    let desk = Setup::default().start();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../platform/fixtures/hostile");
    let (mut seen, mut stored) = (0, 0);
    for file in fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()) {
        let name = file.file_name().unwrap().to_str().unwrap();
        let (path, verdict) = match name.split('.').collect::<Vec<_>>()[..] {
            ["allocate", verdict, ..] => (ALLOCATE, verdict),
            ["resolve", verdict, ..] => (RESOLVE, verdict),
            _ => continue,
        };
        let response = desk.post(path).body(fs::read(&file).unwrap()).send().await.unwrap();
        let expected = match verdict {
            "accepted" => 200,
            "not_json" => 400,
            "not_ours" => 403,
            _ => 422,
        };
        assert_eq!(response.status(), expected, "{name}");
        if expected == 200 {
            stored += 1;
        } else {
            error_of(response).await;
        }
        assert_eq!(desk.status_of(ALLOCATE, allocation("1")).await, 200, "after {name}");
        seen += 1;
        assert_eq!(desk.ledger.stored().len(), stored + seen, "{name}");
    }
    assert!(seen > 60, "{seen}");
}
