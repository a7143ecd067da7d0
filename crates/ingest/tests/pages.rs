use std::{sync::Arc, time::Duration};

use sebastian_core::{Agent, AgentId, InboxId, Presence, Role, Roster, Timestamp};
use sebastian_ingest::{Check, Ops, bind, serve_ops};
use sebastian_roster::RosterCache;
use sebastian_testkit::eventually;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::{
    desk::{ACCOUNT, Desk, Setup, TOKEN, error_of, token},
    doubles::Fate,
};

fn ayu() -> Agent {
    Agent {
        id: AgentId(210_431),
        name: "Ayu".to_owned(),
        role: Role::Agent,
        presence: Presence::Online,
        forced_offline: false,
        inboxes: Some(vec![InboxId(88_121)]),
        reported_load: None,
        listed: true,
        online_since: None,
    }
}

async fn publish(desk: &Desk) {
    let roster = Roster::new(4, Timestamp::from_millis(1_000), vec![ayu()]);
    assert!(desk.cache.publish(ACCOUNT, &roster).await.unwrap());
}

#[tokio::test]
async fn agents_are_shown_with_what_they_hold() {
    let desk = Setup::default().start();
    publish(&desk).await;
    for path in ["/agents", "/agents/", "/api/v1/agents"] {
        let page: Value = desk.get(path).send().await.unwrap().json().await.unwrap();
        assert_eq!(page["roster"]["version"], 4);
        assert_eq!(page["roster"]["polled_at_ms"], 1_000);
        assert!(page["roster"]["age_ms"].as_u64().unwrap() > 1_000_000);
        let ayu = json!({
            "id": 210_431, "name": "Ayu", "role": "agent", "presence": "online", "forced_offline": false,
            "inboxes": [88_121], "load": 2, "capacity": 3, "reported_load": null,
        });
        assert_eq!(page["agents"], json!([ayu]));
    }
}

#[tokio::test]
async fn agents_without_a_roster_or_a_ledger_are_503_and_say_why() {
    let desk = Setup::default().start();
    let response = desk.get("/agents").send().await.unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(error_of(response).await, "no roster yet: a worker has to poll the platform first");

    publish(&desk).await;
    desk.ledger.set(Fate::Fails);
    let response = desk.get("/agents").send().await.unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(error_of(response).await, "the ledger does not answer");
}

#[tokio::test]
async fn agents_are_shown_to_the_admin_token_or_to_this_machine_only() {
    let desk = Setup { admin_tokens: vec![token(TOKEN)], ..Setup::default() }.start();
    publish(&desk).await;
    let stranger = desk.get("/agents").bearer_auth("wrong").send().await.unwrap();
    assert_eq!(
        (stranger.status().as_u16(), &stranger.headers()["www-authenticate"]),
        (401, &"Bearer".parse().unwrap())
    );
    let admin = desk.get("/agents").bearer_auth(TOKEN).send().await.unwrap();
    assert_eq!(admin.status(), 200);

    let desk = Setup::default().start();
    publish(&desk).await;
    let proxied = desk.get("/agents").header("x-forwarded-for", "127.0.0.1").send().await.unwrap();
    assert_eq!(proxied.status(), 403);
}

async fn readiness(desk: &Desk) -> (u16, Value) {
    let response = desk.get("/readyz").send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

#[tokio::test]
async fn readiness_says_which_dependency_is_down() {
    let desk = Setup::default().start();
    let ready = json!({ "status": "ready", "checks": { "postgres": "ok", "redis": "ok" } });
    assert_eq!(readiness(&desk).await, (200, ready.clone()));

    desk.ledger.set(Fate::Fails);
    let unready = json!({ "status": "unready", "checks": { "postgres": "unreachable", "redis": "ok" } });
    until_ready_is(&desk, (503, unready)).await;
    assert_eq!(desk.get("/livez").send().await.unwrap().status(), 200);

    desk.ledger.set(Fate::Serves);
    until_ready_is(&desk, (200, ready)).await;
}

async fn until_ready_is(desk: &Desk, expected: (u16, Value)) {
    eventually("readiness changes", Duration::from_secs(5), || async {
        let seen = readiness(desk).await;
        if seen == expected { Ok(()) } else { Err(seen) }
    })
    .await;
}

#[tokio::test]
async fn an_optional_dependency_only_degrades_and_a_hung_one_is_down() {
    let checks = vec![
        Check::required("postgres", || async { Ok("ok".into()) }),
        Check::required("worker", || async { Ok("last wake 3 ms ago".into()) }),
        Check::optional("redis", std::future::pending),
    ];
    let ops = Ops { checks, metrics: Arc::new(|| "sebastian_test 1\n".to_owned()) };
    let listener = bind(([127, 0, 0, 1], 0).into()).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    let serving = tokio::spawn(serve_ops(listener, ops, stop.clone()));

    let response = reqwest::get(format!("{url}/readyz")).await.unwrap();
    assert_eq!(response.status(), 200);
    let expected = json!({
        "status": "degraded",
        "checks": { "postgres": "ok", "redis": "no answer in time", "worker": "last wake 3 ms ago" },
    });
    assert_eq!(response.json::<Value>().await.unwrap(), expected);
    let metrics = reqwest::get(format!("{url}/metrics")).await.unwrap();
    assert_eq!(metrics.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    assert_eq!(metrics.text().await.unwrap(), "sebastian_test 1\n");
    assert_eq!(reqwest::get(format!("{url}/agents")).await.unwrap().status(), 404);

    stop.cancel();
    serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn the_first_page_and_the_probes_answer() {
    let desk = Setup::default().start();
    let index: Value = desk.get("/").send().await.unwrap().json().await.unwrap();
    assert_eq!(index["name"], "sebastian");
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(desk.get(path).send().await.unwrap().status(), 200, "{path}");
        let head = desk.client.head(desk.url(path)).send().await.unwrap();
        assert_eq!((head.status().as_u16(), head.text().await.unwrap().as_str()), (200, ""), "{path}");
    }
}

#[tokio::test]
async fn every_answer_has_a_request_id_of_its_own() {
    let desk = Setup::default().start();
    let mut ids = Vec::new();
    for path in ["/livez", "/nothing", "/set-webhook"] {
        let response = desk.get(path).header("x-request-id", "mine").send().await.unwrap();
        ids.push(response.headers()["x-request-id"].to_str().unwrap().to_owned());
    }
    assert!(ids.iter().all(|id| id.len() == 26), "{ids:?}");
    ids.dedup();
    assert_eq!(ids.len(), 3);
}
