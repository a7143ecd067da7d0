use std::time::Duration;

use sebastian_core::{Agent, AgentId, InboxId, Presence, Role, RoomId};
use sebastian_platform::{Platform, PlatformError, Refusal, UnknownOutcome, Webhook, WebhookUrls};
use serde_json::{Value, json};

use super::server::{
    APP_ID, EMAIL, Reply, Request, SECRET_KEY, Server, answer, answer_with, fixture, fixture_status, fixtures,
};

const AYU: AgentId = AgentId(210431);
const BIMA: AgentId = AgentId(210432);

fn room() -> RoomId {
    RoomId::parse("470110001").unwrap()
}

/// What became of a call, in a form to compare.
fn class<T>(result: &Result<T, PlatformError>) -> String {
    match result {
        Ok(_) => "ok".to_owned(),
        Err(PlatformError::Rejected(refusal)) => format!("rejected: {refusal}"),
        Err(PlatformError::Busy { after }) => format!("busy: {after:?}"),
        Err(PlatformError::Denied { status }) => format!("denied: {status}"),
        Err(PlatformError::Unknown(outcome)) => format!("unknown: {outcome}"),
        Err(PlatformError::Unsupported(_)) => "unsupported".to_owned(),
    }
}

async fn assigned(reply: Reply) -> Result<(), PlatformError> {
    Server::answering(reply).await.client().assign(&room(), AYU, None).await
}

async fn roster(body: impl Into<String>) -> Result<Vec<Agent>, PlatformError> {
    Server::answering(answer(200, body)).await.client().agents().await
}

#[tokio::test]
async fn every_answer_to_an_assignment_has_its_class() {
    let expected = |name: &str| match name.trim_start_matches("api.assign_agent.").split('.').next().unwrap()
    {
        "success_with_service" | "success_without_service" => "ok",
        "error_exceed_max_agents" | "error_errors_is_string" | "error_reassign_from_offline_agent" => {
            "rejected: the room has an agent"
        }
        "error_room_already_resolved" => "rejected: the room is resolved",
        "error_agent_not_found" | "error_agent_not_in_channel" | "error_validation" => {
            "rejected: the agent may not serve the room"
        }
        "error_unauthorized" => "denied: 401",
        "error_payment_required" => "denied: 402",
        "error_forbidden" => "denied: 403",
        "error_rate_limited" => "busy: None",
        "error_internal" => "unknown: status 500",
        "error_bad_gateway" => "unknown: status 502",
        "error_body_empty" => "unknown: status 503",
        other => panic!("no expectation for {other}"),
    };
    for name in fixtures("api.assign_agent.") {
        let result = assigned(answer(fixture_status(&name), fixture(&name))).await;
        assert_eq!(class(&result), expected(&name), "{name}");
    }
}

#[tokio::test]
async fn an_assignment_is_a_compare_and_set_in_form_encoding() {
    let server =
        Server::answering(answer(200, fixture("api.assign_agent.success_with_service.200.json"))).await;
    server.client().assign(&room(), AYU, None).await.unwrap();
    let request = &server.requests()[0];
    assert_eq!(request.line, "POST /api/v1/admin/service/assign_agent");
    assert_eq!(request.body, "room_id=470110001&agent_id=210431&max_agent=1&replace_latest_agent=false");
    assert!(request.head.contains(&format!("qiscus-app-id: {APP_ID}")));
    assert!(request.head.contains(&format!("qiscus-secret-key: {}", SECRET_KEY.to_lowercase())));
    assert!(request.head.contains("content-type: application/x-www-form-urlencoded"));
}

#[tokio::test]
async fn an_assignment_succeeds_only_when_the_platform_names_this_agent() {
    let other = fixture("api.assign_agent.success_with_service.200.json").replace("210431", "210432");
    let refused_inside = json!({"success": false, "data": {"added_agent": {"id": 210431}}}).to_string();
    let status_inside = json!({"status": 401, "data": {"added_agent": {"id": 210431}}}).to_string();
    for body in ["", "<html>ok</html>", "{}", r#"{"data":null}"#, &other, &refused_inside, &status_inside] {
        let result = assigned(answer(200, body)).await;
        assert_eq!(class(&result), "unknown: answer not understood", "{body}");
    }
    let as_text = json!({"data": {"added_agent": {"id": "210431"}}}).to_string();
    assert_eq!(class(&assigned(answer(201, as_text)).await), "ok");
}

/// What is asked of a platform that lists `listed` for the agent to be replaced.
async fn replacing(listed: &str, replaced: AgentId) -> Vec<Request> {
    let rooms = fixture("api.customer_rooms.served_by_agent.200.json").replace("470110001", listed);
    let server = Server::start(move |request| {
        let is_list = request.line.ends_with("/api/v2/customer_rooms");
        let assigned = || fixture("api.assign_agent.success_with_service.200.json");
        answer(200, if is_list { rooms.clone() } else { assigned() })
    })
    .await;
    server.client().assign(&room(), AYU, Some(replaced)).await.unwrap();
    server.requests()
}

#[tokio::test]
async fn an_agent_is_replaced_only_while_the_platform_lists_them_with_the_room() {
    for (listed, replaces) in [("470110001", "true"), ("470119999", "false")] {
        let requests = replacing(listed, BIMA).await;
        assert_eq!(requests[0].json()["user_ids"], json!([BIMA.0]));
        let last = requests.last().unwrap();
        assert!(last.has(&format!("replace_latest_agent={replaces}")), "{last:?}");
        assert!(last.has("max_agent=1"));
    }
    let requests = replacing("470110001", AYU).await;
    assert_eq!(requests.len(), 1, "nobody takes their own place");
    assert!(requests[0].has("replace_latest_agent=false"));
}

#[tokio::test]
async fn a_proposal_is_asked_for_by_the_rooms_source_and_channel() {
    let proposals = [
        ("api.allocate_agent.success.200.json", "ok", Some(AYU)),
        ("api.allocate_agent.no_agent.404.json", "ok", None),
        ("api.assign_agent.error_forbidden.403.json", "denied: 403", None),
        ("api.assign_agent.error_body_empty.503.txt", "busy: None", None),
    ];
    for (name, expected, agent) in proposals {
        let server = Server::start(move |request| match request.line.starts_with("GET") {
            true => answer(200, fixture("api.customer_room.waiting.200.json")),
            false => answer(fixture_status(name), fixture(name)),
        })
        .await;

        let proposed = server.client().propose(&room()).await;

        assert_eq!(class(&proposed), expected, "{name}");
        assert_eq!(proposed.ok().flatten(), agent, "{name}");
        let request = server.requests().pop().unwrap();
        assert_eq!(request.line, "POST /api/v1/admin/service/allocate_agent");
        for pair in ["source=wa", "channel_id=88121", "ignore_availability=false"] {
            assert!(request.has(pair), "{request:?}");
        }
    }
}

#[tokio::test]
async fn nobody_is_proposed_for_a_room_the_platform_does_not_know() {
    let server = Server::answering(answer(404, fixture("api.customer_room.not_found.404.json"))).await;
    assert_eq!(class(&server.client().propose(&room()).await), "rejected: the room is unknown");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_refused_assignment_is_told_apart_by_status_and_message() {
    for (status, body, expected) in [
        (400, r#"{"message":"ROOM ALREADY RESOLVED"}"#, "rejected: the room is resolved"),
        (400, "<html>", "rejected: status 400"),
        (404, r#"{"errors":{"message":"Room not found"}}"#, "rejected: the room is unknown"),
        (404, "", "rejected: status 404"),
        (409, r#"{"errors":"conflict"}"#, "rejected: the room has an agent"),
        (422, r#"{"errors":{"agent_id":["gone"]}}"#, "rejected: the agent may not serve the room"),
        (422, r#"{"errors":{"room_id":["bad"]}}"#, "rejected: status 422"),
        (408, "", "unknown: status 408"),
        (302, "", "unknown: status 302"),
        (504, "", "unknown: status 504"),
    ] {
        assert_eq!(class(&assigned(answer(status, body)).await), expected, "{status} {body}");
    }
}

#[tokio::test]
async fn a_busy_platform_says_for_how_long() {
    for (value, after) in [("2", Some(2)), ("86400", Some(600)), ("-1", None), ("soon", None)] {
        let busy = format!("busy: {:?}", after.map(Duration::from_secs));
        assert_eq!(class(&assigned(answer_with(429, "Retry-After", value)).await), busy);
        let server = Server::answering(answer_with(503, "Retry-After", value)).await;
        assert_eq!(class(&server.client().agents().await), busy);
    }
}

#[tokio::test]
async fn the_roster_is_every_page_with_roles_presence_and_inboxes() {
    let server = Server::start(|request| {
        let last = request.has("cursor_after=g3QAAAABZAACaWRiAAM2AA%3D%3D");
        answer(200, fixture(&format!("api.agents_v2.{}.200.json", if last { "page2_last" } else { "page1" })))
    })
    .await;
    let agents = server.client().agents().await.unwrap();

    let ids: Vec<i64> = agents.iter().map(|agent| agent.id.0).collect();
    assert_eq!(ids, [209900, 209915, 210431, 210432, 210433, 210440, 210441]);
    assert_eq!(
        [agents[0].role, agents[1].role, agents[2].role],
        [Role::Admin, Role::Supervisor, Role::Agent]
    );
    assert_eq!((agents[3].presence, agents[3].reported_load), (Presence::Online, Some(2)));
    assert_eq!(agents[4].presence, Presence::Offline);
    assert!(agents[5].forced_offline && !agents[4].forced_offline);
    assert_eq!(agents[6].inboxes, Some(vec![InboxId(88122)]));
    assert_eq!(agents[2].name, "Ayu Lestari");
    assert!(agents.iter().all(|agent| !agent.listed && agent.online_since.is_none()));
    assert!(server.requests().iter().all(|request| request.has("limit=100")));
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn a_roster_is_read_in_every_shape_it_comes_in() {
    let expected = [("meta_inside_data", 1), ("no_current_customer_count", 1), ("empty", 0)];
    for (name, count) in expected {
        let agents = roster(fixture(&format!("api.agents_v2.{name}.200.json"))).await.unwrap();
        assert_eq!(agents.len(), count, "{name}");
    }
    let bare = roster(fixture("api.available_agents.data_bare_array.200.json")).await.unwrap();
    assert_eq!(bare[0].id, AYU);
}

#[tokio::test]
async fn a_missing_or_negative_load_is_unknown() {
    let name = "api.agents_v2.no_current_customer_count.200.json";
    assert_eq!(roster(fixture(name)).await.unwrap()[0].reported_load, None);
    let load = |count: Value| async move {
        let body = json!({"data": {"agents": [{"id": 1, "current_customer_count": count}]}}).to_string();
        roster(body).await.unwrap()[0].reported_load
    };
    assert_eq!(load(json!(-1)).await, None);
    assert_eq!(load(json!(1.5)).await, None);
    assert_eq!(load(json!("3")).await, Some(3));
    assert_eq!(load(json!(0)).await, Some(0));
}

#[tokio::test]
async fn what_is_unclear_about_an_agent_keeps_work_from_them() {
    let agent = |row: Value| async move {
        roster(json!({"data": {"agents": [row]}}).to_string()).await.unwrap().remove(0)
    };
    let bare = agent(json!({"id": "7"})).await;
    assert_eq!((bare.role, bare.presence, bare.forced_offline), (Role::Other, Presence::Offline, false));
    assert_eq!((bare.id, bare.inboxes), (AgentId(7), None));
    let odd =
        json!({"id": 7, "type": 2, "type_as_string": "robot", "is_available": "yes", "force_offline": "?"});
    let odd = agent(odd).await;
    assert_eq!((odd.role, odd.presence, odd.forced_offline), (Role::Other, Presence::Offline, true));
    let numbered =
        agent(json!({"id": 7, "type": "2", "is_available": 1, "user_channels": [{"id": "2"}, {"id": 1}]}));
    let numbered = numbered.await;
    assert_eq!((numbered.role, numbered.presence), (Role::Agent, Presence::Online));
    assert_eq!(numbered.inboxes, Some(vec![InboxId(1), InboxId(2)]));
    assert_eq!(agent(json!({"id": 7, "user_channels": [{"id": 1}, "?"]})).await.inboxes, None);
}

#[tokio::test]
async fn one_bad_row_is_skipped_and_a_page_of_them_is_not_understood() {
    let rows = json!({"data": {"agents": [{"id": null}, {"id": 1}, "?", {"id": 1, "name": "twice"}]}});
    let agents = roster(rows.to_string()).await.unwrap();
    assert_eq!(agents.len(), 1);
    assert_eq!(agents[0].name, "");
    let nothing_else = json!({"data": {"agents": [{"id": null}, "?"]}}).to_string();
    assert_eq!(class(&roster(nothing_else).await), "unknown: answer not understood");
}

#[tokio::test]
async fn an_answer_without_a_roster_is_never_an_empty_one() {
    for body in [
        "",
        "<html></html>",
        "{}",
        r#"{"data":{}}"#,
        r#"{"data":{"agents":null}}"#,
        r#"{"data":{"agents":{}}}"#,
        r#"{"success":false,"data":{"agents":[]}}"#,
        r#"{"status":401,"data":{"agents":[]}}"#,
    ] {
        assert_eq!(class(&roster(body).await), "unknown: answer not understood", "{body}");
    }
    let page: Vec<Value> = (0..100).map(|id| json!({"id": id})).collect();
    assert_eq!(class(&roster(json!({"data": page}).to_string()).await), "unknown: answer not understood");
}

#[tokio::test]
async fn a_cursor_that_comes_back_is_an_error() {
    let result = roster(fixture("api.agents_v2.page1.200.json")).await;
    assert_eq!(class(&result), "unknown: answer not understood");
}

#[tokio::test]
async fn a_page_that_fails_fails_the_roster() {
    let server = Server::start(|request| match request.line.contains("cursor_after") {
        true => answer(429, ""),
        false => answer(200, fixture("api.agents_v2.page1.200.json")),
    })
    .await;
    assert_eq!(class(&server.client().agents().await), "busy: None");
}

#[tokio::test]
async fn a_denied_roster_is_no_empty_roster() {
    for status in [401, 402, 403] {
        let server = Server::answering(answer(status, r#"{"data":{"agents":[]}}"#)).await;
        assert_eq!(class(&server.client().agents().await), format!("denied: {status}"));
    }
    let server = Server::answering(answer(502, fixture("api.assign_agent.error_bad_gateway.502.html"))).await;
    assert_eq!(class(&server.client().agents().await), "unknown: status 502");
}

#[tokio::test]
async fn the_agents_for_a_room_are_those_of_its_channel_online_or_not() {
    let server = Server::start(|request| {
        assert!(request.has("room_id=470110001"));
        answer(200, fixture("api.available_agents.mixed_online_offline.200.json"))
    })
    .await;
    let agents = server.client().agents_for(&room()).await.unwrap();
    let seen: Vec<_> =
        agents.iter().map(|agent| (agent.id.0, agent.presence, agent.forced_offline)).collect();
    assert_eq!(
        seen,
        [
            (210431, Presence::Online, false),
            (210432, Presence::Online, false),
            (210433, Presence::Offline, false),
            (210440, Presence::Online, true),
        ]
    );
}

#[tokio::test]
async fn an_agent_on_two_pages_is_listed_once() {
    let server = Server::start(|request| match request.has("cursor_after=g3QAAAABZAACaWRiAAM2Ag%3D%3D") {
        true => answer(200, fixture("api.available_agents.stale_count_after_assign.200.json")),
        false => answer(200, fixture("api.available_agents.page1_of_2.200.json")),
    })
    .await;
    let agents = server.client().agents_for(&room()).await.unwrap();
    assert_eq!(agents.iter().map(|agent| agent.id.0).collect::<Vec<_>>(), [210431, 210432]);
    assert_eq!(agents[0].reported_load, Some(1));
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn the_agents_for_a_room_come_in_every_recorded_shape() {
    for (name, expected) in [
        ("data_bare_array.200", "ok"),
        ("none_eligible.200", "ok"),
        ("stale_count_after_assign.200", "ok"),
        ("room_not_found.404", "rejected: the room is unknown"),
        ("unauthorized.401", "denied: 401"),
    ] {
        let file = format!("api.available_agents.{name}.json");
        let server = Server::answering(answer(fixture_status(&file), fixture(&file))).await;
        assert_eq!(class(&server.client().agents_for(&room()).await), expected, "{name}");
    }
}

#[tokio::test]
async fn webhook_urls_are_read_from_a_login() {
    let server = Server::answering(answer(200, fixture("api.auth.success.200.json"))).await;
    let urls = server.admin_client().webhook_urls().await.unwrap();
    let expected = WebhookUrls {
        allocate: Some("https://alloc.example/hook/allocate".to_owned()),
        resolve: Some("https://alloc.example/hook/resolved".to_owned()),
    };
    assert_eq!(urls, expected);
    let request = &server.requests()[0];
    assert_eq!(request.line, "POST /api/v1/auth");
    assert!(request.has(&format!("email={}", EMAIL.replace('@', "%40"))));
    assert!(!request.head.contains("qiscus-secret-key"));
}

#[tokio::test]
async fn a_disabled_webhook_reads_as_none() {
    let body = fixture("api.auth.success.200.json").replace(
        r#""is_allocate_agent_webhook_enabled": true"#,
        r#""is_allocate_agent_webhook_enabled": false"#,
    );
    let server = Server::answering(answer(200, body)).await;
    assert_eq!(server.admin_client().webhook_urls().await.unwrap().allocate, None);
}

#[tokio::test]
async fn an_admin_with_a_second_factor_can_read_webhooks_but_not_set_them() {
    let login = fixture("api.auth.success.200.json").replace(r#""made-up-admin-token""#, "null");
    let server = Server::answering(answer(200, login)).await;
    let client = server.admin_client();
    assert_eq!(client.webhook_urls().await.unwrap().resolve.as_deref(), Some(RESOLVE_URL));
    let result = client.set_webhook(Webhook::Resolve, RESOLVE_URL).await;
    assert_eq!(class(&result), "unsupported");
    assert!(server.requests().iter().all(|request| request.line == "POST /api/v1/auth"));
}

#[tokio::test]
async fn webhook_urls_need_a_login() {
    let server = Server::answering(answer(200, "")).await;
    assert!(matches!(server.client().webhook_urls().await, Err(PlatformError::Unsupported(_))));
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn refused_credentials_are_denied() {
    for (status, body) in [(401, fixture("api.auth.bad_credentials.401.json")), (422, String::new())] {
        let server = Server::answering(answer(status, body)).await;
        assert_eq!(class(&server.admin_client().webhook_urls().await), format!("denied: {status}"));
    }
}

fn webhook_platform(
    setter_status: impl Fn(&str) -> u16 + Send + Sync + 'static,
) -> impl Fn(&Request) -> Reply {
    let logins = std::sync::atomic::AtomicUsize::new(0);
    move |request| {
        if request.line == "POST /api/v1/auth" {
            let number = logins.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let login = fixture("api.auth.success.200.json")
                .replace("made-up-admin-token", &format!("token-{number}"));
            return answer(200, login);
        }
        match setter_status(&request.head) {
            200 if request.line.ends_with("agent_allocation") => {
                answer(200, fixture("api.set_webhook_agent_allocation.success.200.json"))
            }
            200 => answer(200, fixture("api.set_webhook_mark_as_resolved.success.200.json")),
            status => answer(status, fixture("api.set_webhook.unauthorized.401.json")),
        }
    }
}

const ALLOCATE_URL: &str = "https://alloc.example/hook/allocate";
const RESOLVE_URL: &str = "https://alloc.example/hook/resolved";

#[tokio::test]
async fn webhooks_are_set_with_the_admin_token_which_is_kept() {
    let server =
        Server::start(webhook_platform(
            |head| if head.contains("authorization: token-0") { 200 } else { 401 },
        ));
    let server = server.await;
    let client = server.admin_client();
    client.set_webhook(Webhook::Allocate, ALLOCATE_URL).await.unwrap();
    client.set_webhook(Webhook::Resolve, RESOLVE_URL).await.unwrap();
    let lines: Vec<String> = server.requests().into_iter().map(|request| request.line).collect();
    let expected = [
        "POST /api/v1/auth",
        "POST /api/v1/app/webhook/agent_allocation",
        "POST /api/v1/app/webhook/mark_as_resolved",
    ];
    assert_eq!(lines, expected);
    let setter = &server.requests()[1];
    assert!(setter.has("webhook_url=https%3A%2F%2Falloc.example%2Fhook%2Fallocate"));
    assert!(setter.has("is_webhook_enabled=true"));
    assert!(!setter.head.contains("qiscus-secret-key"));
}

#[tokio::test]
async fn webhooks_are_set_with_the_rest_token_without_a_login() {
    let server =
        Server::start(webhook_platform(|head| if head.contains("qiscus-secret-key") { 200 } else { 401 }));
    let server = server.await;
    server.client().set_webhook(Webhook::Resolve, RESOLVE_URL).await.unwrap();
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_refused_token_is_renewed_once_and_then_denied() {
    let renewed =
        Server::start(webhook_platform(|head| if head.contains("token-1") { 200 } else { 403 })).await;
    renewed.admin_client().set_webhook(Webhook::Allocate, ALLOCATE_URL).await.unwrap();
    assert_eq!(renewed.requests().len(), 4);
    let hopeless = Server::start(webhook_platform(|_| 401)).await;
    let result = hopeless.admin_client().set_webhook(Webhook::Allocate, ALLOCATE_URL).await;
    assert_eq!(class(&result), "denied: 401");
    assert_eq!(hopeless.requests().len(), 4);
}

#[tokio::test]
async fn concurrent_calls_share_one_login() {
    let server = Server::start(webhook_platform(|_| 200)).await;
    let client = server.admin_client();
    let (first, second) = tokio::join!(
        client.set_webhook(Webhook::Allocate, ALLOCATE_URL),
        client.set_webhook(Webhook::Resolve, RESOLVE_URL),
    );
    first.unwrap();
    second.unwrap();
    let logins = server.requests().iter().filter(|request| request.line == "POST /api/v1/auth").count();
    assert_eq!(logins, 1);
}

#[tokio::test]
async fn a_webhook_counts_as_set_only_when_the_answer_shows_it() {
    let server = Server::start(webhook_platform(|_| 200)).await;
    let result = server.client().set_webhook(Webhook::Allocate, "https://other.example/").await;
    assert!(matches!(result, Err(PlatformError::Unknown(UnknownOutcome::Body))));
    let server = Server::answering(answer(400, "")).await;
    let result = server.client().set_webhook(Webhook::Allocate, ALLOCATE_URL).await;
    assert!(matches!(result, Err(PlatformError::Rejected(Refusal::Other(400)))));
}
