//! What operators set over HTTP: Chatwoot's shapes and statuses where Chatwoot has the route.

use std::{path::Path, sync::Arc, time::Duration};

use reqwest::{Method, Response};
use sebastian_core::{
    Agent, AgentId, EventKind, Hints, InboxId, NewEvent, Policy, Presence, Preset, Role, RoomId, Roster,
    Source, Update, decide,
};
use sebastian_ingest::{AdminToken, Scope};
use sebastian_roster::{RosterCache, WakeReason};
use sebastian_store::{Decide, Store};
use serde_json::{Value, json};

use crate::{
    desk::{ACCOUNT, APP, Desk, Setup, TOKEN, error_of, token},
    doubles::{self, Fate},
};

const BASE: &str = "/api/v1/accounts/1";

impl Desk {
    /// A call of the API: the status, and the body unless there is none.
    async fn call(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        let response = self.ask(method, path, &body).await;
        let status = response.status().as_u16();
        let body = response.bytes().await.unwrap();
        (status, if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() })
    }

    async fn ask(&self, method: Method, path: &str, body: &Value) -> Response {
        let url = format!("http://{}{BASE}{path}", self.admin_address);
        self.client.request(method, url).json(body).send().await.unwrap()
    }

    async fn read(&self, path: &str) -> (u16, Value) {
        self.call(Method::GET, path, json!({})).await
    }

    async fn policy(&self, name: &str) -> i64 {
        let body = json!({ "assignment_policy": { "name": name } });
        let (status, made) = self.call(Method::POST, "/assignment_policies", body).await;
        assert_eq!(status, 200, "{made}");
        made["id"].as_i64().unwrap()
    }

    /// Publishes a roster: Ayu (101) serves inbox 3, Bima (102) inboxes 3 and 4.
    async fn crew(&self) {
        let agent = |id, name: &str, inboxes: &[i64]| Agent {
            id: AgentId(id),
            name: name.to_owned(),
            role: Role::Agent,
            presence: Presence::Online,
            forced_offline: false,
            inboxes: Some(inboxes.iter().copied().map(InboxId).collect()),
            reported_load: None,
            listed: true,
            online_since: None,
        };
        let now = self.ledger.inner.now().await.unwrap();
        let roster = Roster::new(1, now, vec![agent(101, "Ayu", &[3]), agent(102, "Bima", &[3, 4])]);
        assert!(self.cache.publish(ACCOUNT, &roster).await.unwrap());
    }
}

fn chatwoot() -> Desk {
    Setup { policy: Policy::of(Preset::Chatwoot), ..Setup::default() }.start()
}

#[tokio::test]
async fn a_policy_is_made_shown_changed_and_deleted() {
    let desk = chatwoot();
    let sent = json!({ "assignment_policy": {
        "name": "New Assignment Policy", "description": "Policy for new team",
        "conversation_priority": "longest_waiting", "fair_distribution_limit": 15, "enabled": true,
    } });
    let (status, made) = desk.call(Method::POST, "/assignment_policies", sent).await;
    assert_eq!(status, 200);
    let id = made["id"].as_i64().unwrap();
    let created_at = made["created_at"].as_i64().unwrap();
    assert_eq!(made["updated_at"], created_at);
    let expected = json!({
        "id": id, "name": "New Assignment Policy", "description": "Policy for new team",
        "assignment_order": "round_robin", "conversation_priority": "longest_waiting",
        "fair_distribution_limit": 15, "fair_distribution_window": 3600, "enabled": true,
        "exclude_older_than_hours": 168, "assigned_inbox_count": 0, "created_at": created_at, "updated_at": created_at,
        "capacity": null, "priority_boost": { "low": 0, "medium": 300, "high": 1800, "urgent": 7200 },
        "reassigns_strays": null, "seed": 0,
    });
    assert_eq!(made, expected);
    let one = format!("/assignment_policies/{id}");
    assert_eq!(desk.read(&one).await, (200, expected.clone()));
    assert_eq!(desk.read("/assignment_policies").await, (200, json!([expected])));

    for method in [Method::PUT, Method::PATCH] {
        let sent = json!({ "assignment_policy": { "enabled": false } });
        let (status, after) = desk.call(method, &one, sent).await;
        assert_eq!((status, &after["enabled"], &after["name"]), (200, &json!(false), &expected["name"]));
    }
    assert_eq!(desk.call(Method::DELETE, &one, json!({})).await, (200, Value::Null));
    assert_eq!(desk.read("/assignment_policies").await, (200, json!([])));
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        let (status, body) = desk.call(method, &one, json!({ "assignment_policy": { "name": "X" } })).await;
        assert_eq!((status, &body["error"]), (404, &json!("Resource could not be found")));
        assert!(body["request_id"].is_string());
    }
}

#[tokio::test]
async fn what_cannot_be_is_told_as_chatwoot_tells_it() {
    let desk = chatwoot();
    desk.policy("Taken").await;
    let create = |body: Value| desk.call(Method::POST, "/assignment_policies", body);

    let (status, body) = create(json!({})).await;
    assert_eq!(status, 422);
    assert_eq!(body["error"], "param is missing or the value is empty: assignment_policy");

    let (status, body) = create(json!({ "assignment_policy": { "fair_distribution_limit": 0 } })).await;
    assert_eq!(status, 422);
    assert_eq!(body["message"], "Name can't be blank, Fair distribution limit must be greater than 0");
    assert_eq!(body["attributes"], json!(["name", "fair_distribution_limit"]));

    let (status, body) = create(json!({ "assignment_policy": { "name": "Taken" } })).await;
    assert_eq!((status, &body["message"]), (422, &json!("Name has already been taken")));

    let (status, body) =
        create(json!({ "assignment_policy": { "name": "P", "assignment_order": "weighted" } })).await;
    assert_eq!((status, &body["attributes"]), (422, &json!(["assignment_order"])));
    assert!(body["message"].as_str().unwrap().contains("round_robin"), "{body}");
    assert_eq!(desk.read("/assignment_policies").await.1.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_body_that_is_no_object_changes_nothing() {
    let desk = Setup::default().start();
    let post = |body: &'static str| desk.post("/api/v1/accounts/1/assignment_policies").body(body).send();
    for (body, status) in [("{", 400), ("[]", 422), ("\"x\"", 422), ("", 422), ("\u{0}", 400)] {
        let response = post(body).await.unwrap();
        assert_eq!(response.status(), status, "{body}");
        error_of(response).await;
    }
    assert_eq!(desk.ledger.inner.rulebook(ACCOUNT).await.unwrap().version, 0);
}

#[tokio::test]
async fn an_inbox_is_linked_to_one_policy_at_a_time() {
    let desk = chatwoot();
    desk.crew().await;
    let (day, night) = (desk.policy("Day").await, desk.policy("Night").await);
    let link = "/inboxes/3/assignment_policy";
    let none = |(status, body): (u16, Value)| {
        assert_eq!((status, &body["error"]), (404, &json!("Assignment policy not found")));
    };
    none(desk.read(link).await);
    none(desk.call(Method::DELETE, link, json!({})).await);
    for policy in [day, night] {
        let (status, body) = desk.call(Method::POST, link, json!({ "assignment_policy_id": policy })).await;
        assert_eq!((status, &body["id"], &body["assigned_inbox_count"]), (200, &json!(policy), &json!(1)));
    }
    assert_eq!(desk.read(link).await.1["id"], night);
    assert_eq!(
        desk.read(&format!("/assignment_policies/{day}/inboxes")).await,
        (200, json!({ "inboxes": [] }))
    );
    let (_, linked) = desk.read(&format!("/assignment_policies/{night}/inboxes")).await;
    assert_eq!((&linked["inboxes"][0]["id"], linked["inboxes"].as_array().unwrap().len()), (&json!(3), 1));

    let unknown_policy = desk.call(Method::POST, link, json!({ "assignment_policy_id": 999_999 })).await;
    assert_eq!(unknown_policy.0, 404);
    let elsewhere = "/inboxes/999999/assignment_policy";
    assert_eq!(desk.call(Method::POST, elsewhere, json!({ "assignment_policy_id": day })).await.0, 404);
    assert_eq!(desk.call(Method::DELETE, elsewhere, json!({})).await.0, 404);
    assert_eq!(desk.call(Method::POST, link, json!({})).await.0, 422);

    assert_eq!(desk.call(Method::DELETE, link, json!({})).await, (200, Value::Null));
    none(desk.read(link).await);
}

#[tokio::test]
async fn any_inbox_and_agent_will_do_while_no_roster_says_which_there_are() {
    let desk = Setup::default().start();
    assert_eq!(desk.read("/inboxes/77").await.0, 200);
    assert_eq!(desk.read("/agents/77").await.0, 200);
    desk.crew().await;
    assert_eq!(desk.read("/inboxes/77").await.0, 404);
    assert_eq!(desk.read("/agents/77").await.0, 404);
    assert_eq!(desk.read("/inboxes/x").await.0, 404);
}

#[tokio::test]
async fn a_capacity_policy_has_limits_and_agents() {
    let desk = chatwoot();
    desk.crew().await;
    let rules = json!({ "excluded_labels": ["urgent", "spam"], "exclude_older_than_hours": 24 });
    let sent = json!({ "agent_capacity_policy": { "name": "Test Policy", "exclusion_rules": rules } });
    let (status, made) = desk.call(Method::POST, "/agent_capacity_policies", sent.clone()).await;
    assert_eq!((status, &made["exclusion_rules"]), (200, &rules));
    let one = format!("/agent_capacity_policies/{}", made["id"]);
    let other = desk.call(Method::POST, "/agent_capacity_policies", sent).await.1;

    let limits = format!("{one}/inbox_limits");
    let sent = json!({ "inbox_id": 3, "conversation_limit": 10 });
    let (status, limit) = desk.call(Method::POST, &limits, sent.clone()).await;
    assert_eq!((status, &limit["inbox_id"], &limit["conversation_limit"]), (200, &json!(3), &json!(10)));
    let (status, body) = desk.call(Method::POST, &limits, sent).await;
    assert_eq!((status, &body["error"]), (422, &json!("Inbox has already been assigned to this policy")));
    let limit = format!("{limits}/{}", limit["id"]);
    let (status, body) = desk.call(Method::PUT, &limit, json!({ "conversation_limit": 15 })).await;
    assert_eq!((status, &body["conversation_limit"]), (200, &json!(15)));
    assert_eq!(desk.call(Method::DELETE, &limit, json!({})).await, (204, Value::Null));
    assert_eq!(desk.call(Method::DELETE, &limit, json!({})).await.0, 404);

    let users = format!("{one}/users");
    let elsewhere = format!("/agent_capacity_policies/{}/users", other["id"]);
    assert_eq!(desk.call(Method::POST, &elsewhere, json!({ "user_id": 101 })).await.0, 200);
    let (status, agent) = desk.call(Method::POST, &users, json!({ "user_id": 101 })).await;
    assert_eq!(
        (status, &agent["name"], &agent["agent_capacity_policy_id"]),
        (200, &json!("Ayu"), &made["id"])
    );
    assert_eq!(desk.read(&users).await.1[0]["id"], 101);
    assert_eq!(desk.read(&elsewhere).await, (200, json!([])));
    assert_eq!(desk.call(Method::POST, &users, json!({ "user_id": 999 })).await.0, 404);
    assert_eq!(desk.call(Method::DELETE, &format!("{users}/101"), json!({})).await, (200, Value::Null));
    assert_eq!(desk.call(Method::DELETE, &format!("{users}/101"), json!({})).await.0, 404);

    assert_eq!(desk.call(Method::DELETE, &one, json!({})).await, (200, Value::Null));
    assert_eq!(desk.read(&one).await.0, 404);
}

#[tokio::test]
async fn teams_leaves_pauses_switches_weights_and_routes_are_set() {
    let desk = Setup::default().start();
    desk.crew().await;
    let (status, team) = desk.call(Method::POST, "/teams", json!({ "name": "Billing", "id": 40 })).await;
    assert_eq!((status, &team["id"], &team["allow_auto_assign"]), (200, &json!(40), &json!(true)));
    let members = "/teams/40/team_members";
    let (status, all) = desk.call(Method::POST, members, json!({ "user_ids": [101, 102] })).await;
    assert_eq!((status, all.as_array().unwrap().len()), (200, 2));
    assert_eq!(desk.call(Method::POST, members, json!({ "user_ids": [9] })).await.0, 422);
    assert_eq!(desk.call(Method::DELETE, members, json!({ "user_ids": [101] })).await, (200, Value::Null));
    assert_eq!(desk.read(members).await.1[0]["id"], 102);

    let sent = json!({ "leave": { "user_id": 101, "start_date": "2026-01-15", "end_date": "2026-01-21" } });
    let (status, leave) = desk.call(Method::POST, "/leaves", sent).await;
    assert_eq!((status, &leave["days"], &leave["status"]), (200, &json!(7), &json!("pending")));
    let one = format!("/leaves/{}", leave["id"]);
    let (status, leave) = desk.call(Method::POST, &format!("{one}/approve"), json!({})).await;
    assert_eq!((status, &leave["status"], leave["approved_at"].is_i64()), (200, &json!("approved"), true));
    assert_eq!(desk.call(Method::PATCH, &one, json!({ "leave": { "reason": "x" } })).await.0, 422);
    assert_eq!(desk.read("/leaves?user_id=102").await, (200, json!([])));
    let (status, body) = desk.read("/leaves?user_id=Ayu").await;
    assert_eq!((status, &body["attributes"]), (422, &json!(["user_id"])));

    let (status, agent) = desk.call(Method::POST, "/agents/101/pause", json!({ "reason": "training" })).await;
    assert_eq!((status, &agent["paused"]["reason"]), (200, &json!("training")));
    assert_eq!(desk.call(Method::POST, "/agents/101/resume", json!({})).await.1["paused"], Value::Null);
    assert_eq!(desk.call(Method::POST, "/inboxes/3/pause", json!({ "until": 1 })).await.0, 422);
    let (status, body) = desk.call(Method::POST, "/pause", json!({ "untill": 2_000_000_000 })).await;
    assert!(
        body["error"].as_str().unwrap().contains("unknown field `untill`"),
        "a pause without an end: {body}"
    );
    assert_eq!(status, 422);
    assert!(desk.call(Method::POST, "/inboxes/3/pause", json!({})).await.1["paused"].is_object());
    assert!(desk.call(Method::POST, "/pause", json!({})).await.1["paused"].is_object());
    assert_eq!(desk.call(Method::POST, "/resume", json!({})).await.1["paused"], Value::Null);

    let sent =
        json!({ "enable_auto_assignment": false, "auto_assignment_config": { "max_assignment_limit": 2 } });
    let (status, inbox) = desk.call(Method::PATCH, "/inboxes/4", sent).await;
    assert_eq!((status, &inbox["enable_auto_assignment"]), (200, &json!(false)));
    assert_eq!(inbox["auto_assignment_config"], json!({ "max_assignment_limit": 2 }));
    let (status, agent) =
        desk.call(Method::PATCH, "/agents/102", json!({ "weight": 3, "capacity": 5 })).await;
    assert_eq!((status, &agent["weight"], &agent["capacity"]), (200, &json!(3), &json!(5)));

    let routes =
        json!({ "routes": [{ "source": "wa", "team": 40 }, { "tag": "VIP", "priority": "urgent" }] });
    let (status, set) = desk.call(Method::PUT, "/routes", routes).await;
    assert_eq!((status, &set["routes"][1]["tag"]), (200, &json!("vip")));
    for route in [
        json!({ "teem": 40 }),
        json!({ "inbox": 0 }),
        json!({ "channel": -5, "team": 40 }),
        json!({ "source": "w\u{0}a", "team": 40 }),
        json!({ "language": "i\nd" }),
        json!({}),
    ] {
        let (status, body) = desk.call(Method::PUT, "/routes", json!({ "routes": [route] })).await;
        assert_eq!(status, 422, "{route}: {body}");
    }
    assert_eq!(desk.read("/routes").await.1, set);
}

#[tokio::test]
async fn a_change_wakes_the_workers_and_is_written_down_without_names() {
    let desk = Setup { admin_tokens: vec![token(TOKEN)], ..Setup::default() }.start();
    desk.crew().await;
    let send = |method: Method, path: &str, body: Value| {
        let url = format!("http://{}/api/v1/accounts/{APP}{path}", desk.address);
        desk.client.request(method, url).bearer_auth(TOKEN).json(&body).send()
    };
    let pause = send(Method::POST, "/agents/101/pause", json!({ "reason": "training" })).await.unwrap();
    assert_eq!(pause.status(), 200);
    assert_eq!(desk.bells.rung(1).await, [WakeReason::Rules]);
    let idle = send(Method::PATCH, "/agents/101", json!({ "weight": 1 })).await.unwrap();
    assert_eq!(idle.status(), 200, "what is so already is no change");
    send(Method::PATCH, "/agents/101", json!({ "weight": 2 })).await.unwrap();
    desk.bells.rung(2).await;

    let audit: Value = send(Method::GET, "/audit", json!({})).await.unwrap().json().await.unwrap();
    let entries = audit["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 2);
    assert_eq!((&entries[0]["action"], &entries[0]["rules_version"]), (&json!("update"), &json!(2)));
    assert_eq!((&entries[0]["before"]["weight"], &entries[0]["after"]["weight"]), (&json!(1), &json!(2)));
    assert_eq!((&entries[1]["who"], &entries[1]["action"]), (&json!("desk"), &json!("pause")));
    assert_eq!((&entries[1]["resource"], &entries[1]["resource_id"]), (&json!("agent"), &json!("101")));
    assert!(!audit.to_string().contains("Ayu"), "{audit}");
    let first: Value = send(Method::GET, "/audit?limit=1", json!({})).await.unwrap().json().await.unwrap();
    let next = format!("/audit?limit=1&before={}", first["next_before"]);
    let second: Value = send(Method::GET, &next, json!({})).await.unwrap().json().await.unwrap();
    assert_eq!((&first["entries"][0], &second["entries"][0]), (&entries[0], &entries[1]));
    assert_eq!(send(Method::GET, "/audit?limit=0", json!({})).await.unwrap().status(), 422);
}

#[tokio::test]
async fn a_doorbell_that_hangs_or_fails_delays_no_change() {
    for bell in [doubles::Bell::Hangs, doubles::Bell::Fails] {
        let desk = Setup { bell, ..Setup::default() }.start();
        assert_eq!(desk.call(Method::POST, "/pause", json!({})).await.0, 200);
    }
}

#[tokio::test]
async fn a_token_is_asked_for_before_anything_is_told() {
    let board = AdminToken::new("board", &"look-token-0123456".to_owned().into(), Scope::Read).unwrap();
    let desk = Setup { admin_tokens: vec![token(TOKEN), board], ..Setup::default() }.start();
    let paths =
        ["/assignment_policies", "/assignment_policies/5", "/inboxes/3/assignment_policy", "/nothing/5"];
    for path in &paths[..3] {
        for method in [Method::GET, Method::POST] {
            if method == Method::POST && path.ends_with("/5") {
                continue;
            }
            assert_eq!(desk.call(method, path, json!({})).await.0, 401, "{path}");
        }
    }
    let url = desk.url("/api/v1/accounts/1/assignment_policies");
    let with =
        |method: Method, token: &str| desk.client.request(method, &url).header("api_access_token", token);
    assert_eq!(with(Method::GET, "look-token-0123456").send().await.unwrap().status(), 200);
    let refused = with(Method::POST, "look-token-0123456").body("{").send().await.unwrap();
    assert_eq!(refused.status(), 401);
    assert!(error_of(refused).await.contains("may only read"));
    let body = json!({ "assignment_policy": { "name": "P" } });
    assert_eq!(with(Method::POST, TOKEN).json(&body).send().await.unwrap().status(), 200);
    let elsewhere =
        desk.get("/api/v1/accounts/2/assignment_policies").bearer_auth(TOKEN).send().await.unwrap();
    assert_eq!(elsewhere.status(), 404);
}

#[tokio::test]
async fn other_methods_are_told_which_there_are() {
    let desk = Setup::default().start();
    let response = desk.ask(Method::DELETE, "/assignment_policies", &json!({})).await;
    assert_eq!(
        (response.status().as_u16(), response.headers()["allow"].to_str().unwrap()),
        (405, "GET, POST")
    );
}

#[tokio::test]
async fn a_ledger_that_is_away_is_no_answer_about_the_rules() {
    let desk = Setup::default().start();
    desk.ledger.set(Fate::Fails);
    for method in [Method::GET, Method::POST] {
        let response = desk.ask(method, "/teams", &json!({ "name": "T" })).await;
        assert_eq!((response.status().as_u16(), response.headers().contains_key("retry-after")), (503, true));
    }
    desk.ledger.set(Fate::Serves);
    assert_eq!(desk.read("/teams").await, (200, json!([])));
}

#[tokio::test]
async fn what_a_conversation_carries_is_changed_by_an_event() {
    let desk = Setup::default().start();
    let room = RoomId::parse("901").unwrap();
    let kind = EventKind::Allocate { inbox: Some(InboxId(3)), latest_service: None, hints: Hints::default() };
    let arrives = NewEvent { room: room.clone(), kind, source: Source::Webhook };
    desk.ledger.inner.accept(ACCOUNT, &[arrives]).await.unwrap();
    desk.call(Method::POST, "/teams", json!({ "name": "Billing", "id": 40 })).await;
    let patch = |room: &str, body: Value| {
        let path = format!("/conversations/{room}");
        let desk = &desk;
        async move { desk.call(Method::PATCH, &path, body).await }
    };

    let sent = json!({ "labels": ["VIP"], "priority": "high", "team_id": 40, "assignee_id": null });
    let (status, body) = patch("901", sent).await;
    assert_eq!((status, body), (202, json!({ "room": "901", "status": "accepted" })));
    let stored = desk.ledger.stored();
    let EventKind::Update(Update { labels, priority, team, unassign, status, .. }) = &stored[0].kind else {
        panic!("{stored:?}")
    };
    assert_eq!(serde_json::to_value((labels, priority, team)).unwrap(), json!([["vip"], "high", 40]));
    assert_eq!((*unassign, *status, stored[0].source, stored.len()), (true, None, Source::Operator, 1));

    for (body, field) in [
        (json!({ "team_id": 41 }), "team_id"),
        (json!({ "assignee_id": 101 }), "assignee_id"),
        (json!({ "status": "resolved" }), "status"),
        (json!({ "status": "open", "snoozed_until": 2_000_000_000 }), "snoozed_until"),
        (json!({ "status": "snoozed", "snoozed_until": 1_000_000_000 }), "snoozed_until"),
        (json!({ "priority": "most" }), "priority"),
        (json!({ "labels": ["a\u{7}"] }), "labels"),
        (json!({ "labels": ["a\u{0}"] }), "labels"),
        (json!({ "language": "i\u{0}d" }), "language"),
        (json!({ "language": "i\u{7}d" }), "language"),
    ] {
        let (status, answer) = patch("901", body.clone()).await;
        assert_eq!((status, &answer["attributes"]), (422, &json!([field])), "{body}");
    }
    assert_eq!(patch("901", json!({})).await.0, 422);
    assert_eq!(patch("901", json!({ "labels_": [] })).await.0, 422);
    assert_eq!(patch("902", json!({ "labels": [] })).await.0, 404);
    assert_eq!(desk.ledger.stored().len(), 1);
}

#[tokio::test]
async fn what_is_set_holds_in_the_very_next_decision() {
    let desk = Setup::default().start();
    desk.crew().await;
    let kind = EventKind::Allocate { inbox: Some(InboxId(4)), latest_service: None, hints: Hints::default() };
    let arrives = NewEvent { room: RoomId::parse("901").unwrap(), kind, source: Source::Webhook };
    desk.ledger.inner.accept(ACCOUNT, &[arrives]).await.unwrap();
    let roster = Arc::new(desk.cache.newer_than(ACCOUNT, 0).await.unwrap().unwrap());
    let decided = || async {
        let (policy, answers) = (Policy::default(), Arc::default());
        let (roster, account) = (Arc::clone(&roster), ACCOUNT);
        let request = Decide { account, roster, answers, policy: &policy, limit: 10, record: false };
        let rule = |snapshot: &_, now| decide(snapshot, &policy, now);
        desk.ledger.inner.decide(&request, &rule).await.unwrap().reserved.len()
    };
    let set = |method: Method, path: &'static str, body: Value| {
        let desk = &desk;
        async move { assert_eq!(desk.call(method, path, body).await.0, 200, "{path}") }
    };
    let off = desk.policy("Off").await;
    let disabled = json!({ "assignment_policy": { "enabled": false } });
    assert_eq!(desk.call(Method::PUT, &format!("/assignment_policies/{off}"), disabled).await.0, 200);

    set(Method::POST, "/agents/102/pause", json!({})).await;
    assert_eq!(decided().await, 0, "the only agent of the inbox is paused");
    set(Method::POST, "/agents/102/resume", json!({})).await;
    set(Method::POST, "/inboxes/4/assignment_policy", json!({ "assignment_policy_id": off })).await;
    assert_eq!(decided().await, 0, "its policy is not enabled");
    set(Method::DELETE, "/inboxes/4/assignment_policy", json!({})).await;
    set(Method::PATCH, "/inboxes/4", json!({ "enable_auto_assignment": false })).await;
    assert_eq!(decided().await, 0, "the inbox is switched off");
    set(Method::PATCH, "/inboxes/4", json!({ "enable_auto_assignment": true })).await;
    set(Method::PATCH, "/agents/102", json!({ "capacity": 0 })).await;
    assert_eq!(decided().await, 0, "the agent may hold nothing");
    set(Method::PATCH, "/agents/102", json!({ "capacity": null })).await;
    assert_eq!(decided().await, 1);
}

#[tokio::test]
async fn a_listener_of_their_own_takes_operators_off_the_public_one() {
    let mut desk = Setup { is_apart: true, ..Setup::default() }.start();
    let operators = |path: &str| desk.client.get(format!("http://{}{path}", desk.admin_address)).send();
    for path in ["/livez", "/readyz", "/metrics", "/api/v1/accounts/1/teams", "/api/v1/openapi.json", "/"] {
        assert_eq!(operators(path).await.unwrap().status(), 200, "{path}");
        let public = if path == "/" { 200 } else { 404 };
        assert_eq!(desk.get(path).send().await.unwrap().status(), public, "{path}");
    }
    assert_eq!(desk.get("/set-webhook").send().await.unwrap().status(), 404);
    let webhook = "/webhook-mark-as-resolved";
    assert_eq!(desk.status_of(webhook, "{}").await, 422);
    let misplaced = desk.client.post(format!("http://{}{webhook}", desk.admin_address)).send().await.unwrap();
    assert_eq!(misplaced.status(), 404);

    desk.stop.cancel();
    let serving = &mut desk.serving;
    tokio::time::timeout(Duration::from_secs(20), serving).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn two_who_change_the_rules_at_once_both_have_their_way() {
    let desk = Arc::new(Setup::default().start());
    let changes = (0..40).map(|i| {
        let desk = Arc::clone(&desk);
        tokio::spawn(async move { desk.policy(&format!("P{i}")).await })
    });
    let mut ids = Vec::new();
    for change in changes.collect::<Vec<_>>() {
        ids.push(change.await.unwrap());
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 40);
    assert_eq!(desk.ledger.inner.rulebook(ACCOUNT).await.unwrap().version, 40);
}

#[test]
fn the_committed_document_is_the_apis() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    let made = serde_json::to_string_pretty(&sebastian_ingest::openapi()).unwrap() + "\n";
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == made,
        "crates/ingest/openapi.json is not what the code says: run \
         `UPDATE_OPENAPI=1 cargo test -p sebastian-ingest --test main the_committed_document` and commit it"
    );
}

#[test]
fn the_document_refers_to_nothing_that_is_not_in_it() {
    let document = sebastian_ingest::openapi();
    let mut references = Vec::new();
    collect_references(&document, &mut references);
    assert!(references.len() > 50);
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

fn collect_references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| match value {
            Value::String(reference) if key == "$ref" => found.push(reference.clone()),
            other => collect_references(other, found),
        }),
        Value::Array(values) => values.iter().for_each(|value| collect_references(value, found)),
        _ => {}
    }
}
