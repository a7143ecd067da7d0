//! Subscriptions to events, by API.

use std::time::Duration;

use reqwest::Method;
use sebastian_core::{InboxId, QueueKey};
use sebastian_store::{Fate, Outbox, Store, SubscriptionId};
use serde_json::{Value, json};

use crate::desk::{ACCOUNT, Desk, Setup};

const ALL: &str = "/api/v1/accounts/1/subscriptions";

async fn ask(desk: &Desk, method: Method, path: &str, body: Value) -> (u16, Value) {
    let request = desk.client.request(method, desk.url(path));
    let request = if body.is_null() { request } else { request.body(body.to_string()) };
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let body = answer.bytes().await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

async fn subscribe(desk: &Desk) -> Value {
    let body =
        json!({ "url": "http://127.0.0.1:9/hook", "events": ["queue.no_agents", "conversation.assigned"] });
    let (status, made) = ask(desk, Method::POST, ALL, body).await;
    assert_eq!(status, 200, "{made}");
    made
}

#[tokio::test]
async fn a_subscription_is_made_shown_changed_and_deleted_and_its_secret_shown_once() {
    let desk = Setup::default().start();
    let made = subscribe(&desk).await;
    let one = format!("{ALL}/{}", made["id"]);
    assert!(made["secret"].as_str().unwrap().starts_with("whsec_"), "{made}");
    assert_eq!(made["events"], json!(["conversation.assigned", "queue.no_agents"]));
    assert_eq!((&made["enabled"], &made["disabled_reason"]), (&json!(true), &Value::Null));

    let (status, shown) = ask(&desk, Method::GET, &one, Value::Null).await;
    assert_eq!((status, shown.get("secret")), (200, None));
    assert_eq!(ask(&desk, Method::GET, ALL, Value::Null).await.1, json!([shown]));

    let change = json!({ "events": ["conversation.released"], "enabled": false });
    let (status, changed) = ask(&desk, Method::PATCH, &one, change).await;
    assert_eq!(status, 200);
    assert_eq!(changed["events"], json!(["conversation.released"]));
    assert_eq!((&changed["enabled"], &changed["disabled_reason"]), (&json!(false), &json!("operator")));
    assert_eq!(changed["url"], made["url"]);

    let rotate = format!("{one}/rotate_secret");
    let (status, rotated) = ask(&desk, Method::POST, &rotate, json!({ "overlap_s": 60 })).await;
    assert_eq!(status, 200);
    assert!(rotated["secret"].is_string() && rotated["secret"] != made["secret"]);

    assert_eq!(ask(&desk, Method::DELETE, &one, Value::Null).await.0, 200);
    for method in [Method::GET, Method::PATCH, Method::DELETE] {
        assert_eq!(ask(&desk, method.clone(), &one, json!({})).await.0, 404, "{method}");
    }
    assert_eq!(ask(&desk, Method::POST, &rotate, json!({})).await.0, 404);
}

#[tokio::test]
async fn what_cannot_be_subscribed_is_refused_by_its_field() {
    let desk = Setup::default().start();
    let id = subscribe(&desk).await["id"].clone();
    let events = json!(["conversation.assigned"]);
    let url = json!("http://127.0.0.1:9/hook");
    for (body, field, says) in [
        (json!({ "events": events }), "url", "can't be blank"),
        (json!({ "url": url }), "events", "can't be blank"),
        (json!({ "url": url, "events": [] }), "events", "can't be blank"),
        (json!({ "url": url, "events": null }), "events", "can't be blank"),
        (json!({ "url": url, "events": ["conversation.resolved"] }), "events", "agent.capacity_reached"),
        (json!({ "url": url, "events": "all" }), "events", ""),
        (json!({ "url": 7, "events": events }), "url", ""),
        (json!({ "url": "http://127.0.0.1:9/\u{0}", "events": events }), "url", "U+0000"),
        (json!({ "url": "ftp://example.com/", "events": events }), "url", "https://"),
        (json!({ "url": "https://user:pass@example.com/", "events": events }), "url", "no password"),
        (json!({ "url": "http://no-such-host.invalid/", "events": events }), "url", "does not resolve"),
    ] {
        let (status, refused) = ask(&desk, Method::POST, ALL, body.clone()).await;
        assert_eq!((status, &refused["attributes"]), (422, &json!([field])), "{body}: {refused}");
        assert!(refused["message"].as_str().unwrap().contains(says), "{body}: {refused}");
    }
    let misspelt = json!({ "enabeld": false });
    for method in [Method::POST, Method::PATCH] {
        let path = if method == Method::POST { ALL.to_owned() } else { format!("{ALL}/{id}") };
        let (status, refused) = ask(&desk, method, &path, misspelt.clone()).await;
        assert_eq!(status, 422);
        assert!(refused["error"].as_str().unwrap().contains("unknown field `enabeld`"), "{refused}");
    }
    let rotate = format!("{ALL}/{id}/rotate_secret");
    for overlap in [json!(-1), json!(31_536_000), json!("soon")] {
        let (status, refused) = ask(&desk, Method::POST, &rotate, json!({ "overlap_s": overlap })).await;
        assert_eq!((status, &refused["attributes"]), (422, &json!(["overlap_s"])), "{refused}");
    }
}

#[tokio::test]
async fn a_private_address_is_refused_unless_allowed() {
    let desk = Setup { allow_private: false, ..Setup::default() }.start();
    for url in [
        "http://127.0.0.1:9/",
        "http://localhost:9/",
        "http://169.254.169.254/",
        "http://[::1]/",
        "http://0x7f.1/",
    ] {
        let body = json!({ "url": url, "events": ["conversation.assigned"] });
        let (status, refused) = ask(&desk, Method::POST, ALL, body).await;
        assert_eq!((status, &refused["attributes"]), (422, &json!(["url"])), "{url}: {refused}");
        assert!(refused["message"].as_str().unwrap().contains("not public"), "{url}: {refused}");
    }
}

#[tokio::test]
async fn dead_letters_are_shown_page_by_page_and_tried_again() {
    let desk = Setup::default().start();
    let id = subscribe(&desk).await["id"].as_i64().unwrap();
    for inbox in 1..=3 {
        let queue = QueueKey { inbox: Some(InboxId(inbox)), team: None };
        desk.outbox.note_attendance(ACCOUNT, queue, true).await.unwrap();
    }
    let lease = Duration::from_secs(60);
    let claimed = desk.outbox.claim(ACCOUNT, SubscriptionId(id), 10, lease).await.unwrap().unwrap();
    for letter in &claimed.letters {
        let fate = Fate::Dead { trouble: "status 500".into() };
        assert!(desk.outbox.settle_letter(ACCOUNT, &letter.claim, fate).await.unwrap());
    }
    let letters = format!("{ALL}/{id}/dead_letters");

    let (status, page) = ask(&desk, Method::GET, &format!("{letters}?limit=2"), Value::Null).await;
    assert_eq!((status, page["letters"].as_array().unwrap().len()), (200, 2), "{page}");
    let newest = &page["letters"][0];
    assert_eq!((&newest["event"], &newest["attempts"]), (&json!("queue.no_agents"), &json!(1)));
    assert_eq!(newest["trouble"], "status 500");
    let before = page["next_before"].as_str().unwrap();
    let (_, rest) = ask(&desk, Method::GET, &format!("{letters}?limit=2&before={before}"), Value::Null).await;
    assert_eq!((rest["letters"].as_array().unwrap().len(), &rest["next_before"]), (1, &Value::Null));

    let redeliver = format!("{letters}/{}/redeliver", newest["id"].as_str().unwrap());
    assert_eq!(ask(&desk, Method::POST, &redeliver, Value::Null).await.0, 202);
    assert_eq!(ask(&desk, Method::POST, &redeliver, Value::Null).await.0, 404, "it lives already");
    assert_eq!(desk.outbox.due(ACCOUNT).await.unwrap().len(), 1);
    assert_eq!(ask(&desk, Method::GET, &format!("{ALL}/99/dead_letters"), Value::Null).await.0, 404);

    // Whatever a path or a query holds, the ledger is not asked for what it cannot look for.
    let long = "a".repeat(65);
    for odd in ["%00", "a%00b", "%F0%9F%98%80", "%27%3B--", long.as_str()] {
        let (status, _) = ask(&desk, Method::POST, &format!("{letters}/{odd}/redeliver"), Value::Null).await;
        assert_eq!(status, 404, "{odd}");
        let (status, refused) =
            ask(&desk, Method::GET, &format!("{letters}?before={odd}"), Value::Null).await;
        assert_eq!((status, &refused["attributes"]), (422, &json!(["before"])), "{odd}: {refused}");
    }
    let off = json!({ "enabled": false });
    assert_eq!(ask(&desk, Method::PATCH, &format!("{ALL}/{id}"), off).await.0, 200);
    let oldest = format!("{letters}/{}/redeliver", rest["letters"][0]["id"].as_str().unwrap());
    let (status, refused) = ask(&desk, Method::POST, &oldest, Value::Null).await;
    assert_eq!((status, &refused["attributes"]), (422, &json!(["enabled"])), "{refused}");
}

#[tokio::test]
async fn a_change_of_a_subscription_is_written_down_without_its_secret_and_makes_no_version_of_the_rules() {
    let desk = Setup::default().start();
    let made = subscribe(&desk).await;
    let one = format!("{ALL}/{}", made["id"]);
    ask(&desk, Method::PATCH, &one, json!({})).await;
    ask(&desk, Method::PATCH, &one, json!({ "enabled": false })).await;
    let rotated = ask(&desk, Method::POST, &format!("{one}/rotate_secret"), json!({})).await.1;
    ask(&desk, Method::DELETE, &one, Value::Null).await;

    let audit = ask(&desk, Method::GET, "/api/v1/accounts/1/audit", Value::Null).await.1;
    let entries = audit["entries"].as_array().unwrap();
    let told: Vec<&str> = entries.iter().rev().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(told, ["create", "update", "rotate_secret", "delete"]);
    assert!(entries.iter().all(|entry| entry["rules_version"] == 0), "{audit}");
    for secret in [&made["secret"], &rotated["secret"]] {
        assert!(!audit.to_string().contains(secret.as_str().unwrap()));
    }
    assert_eq!(desk.ledger.inner.rulebook(ACCOUNT).await.unwrap().version, 0);
}
