//! The simulation over real HTTP. Waiting is done by signal; the only time that passes is a fault's own latency.

mod client;
mod faults;
mod shapes;

use std::time::Duration;

use reqwest::RequestBuilder;
use sebastian_core::{AgentId, InboxId};
use serde_json::{Value, json};

use super::*;

const WA: InboxId = InboxId(88121);
const FB: InboxId = InboxId(88122);
const AYU: AgentId = AgentId(210_431);
const BIMA: AgentId = AgentId(210_432);
const EKA: AgentId = AgentId(210_441);
const ASSIGN: &str = "/api/v1/admin/service/assign_agent";
const ROOMS: &str = "/api/v2/customer_rooms";

/// Far beyond what any wait here takes.
const SOON: Duration = Duration::from_secs(20);

struct Desk {
    simulated: Simulated,
    client: reqwest::Client,
}

impl Desk {
    fn open(config: SimulatedConfig) -> Self {
        let simulated = Simulated::start(config).unwrap();
        Self { simulated, client: reqwest::Client::builder().no_proxy().build().unwrap() }
    }

    fn post(&self, path: &str) -> RequestBuilder {
        self.signed(self.client.post(format!("{}{path}", self.simulated.url())))
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.signed(self.client.get(format!("{}{path}", self.simulated.url())))
    }

    fn signed(&self, request: RequestBuilder) -> RequestBuilder {
        let SimulatedConfig { app_id, secret_key, .. } = SimulatedConfig::tenant();
        request.header("Qiscus-App-Id", app_id).header("Qiscus-Secret-Key", secret_key)
    }

    fn assign(&self, room: &str, agent: AgentId) -> RequestBuilder {
        let form = [("room_id", room), ("agent_id", &agent.to_string()), ("max_agent", "1")];
        self.post(ASSIGN).form(&form)
    }

    /// Follows the cursors of a list to the end; the rows under `key`.
    async fn all_rooms(&self, limit: usize, filter: Value) -> Vec<String> {
        let mut ids = Vec::new();
        let mut body = filter;
        body["limit"] = limit.into();
        loop {
            let (_, page) = answer(self.post(ROOMS).json(&body)).await;
            let rows = page["data"]["customer_rooms"].as_array().unwrap();
            ids.extend(rows.iter().map(|row| row["room_id"].as_str().unwrap().to_owned()));
            match &page["meta"]["cursor_after"] {
                Value::Null => return ids,
                cursor => body["cursor_after"] = cursor.clone(),
            }
        }
    }

    async fn reported_count(&self, agent: AgentId) -> Value {
        let (_, page) = answer(self.get("/api/v2/admin/agents?limit=100")).await;
        let rows = page["data"]["agents"].as_array().unwrap();
        rows.iter().find(|row| row["id"] == agent.0).unwrap()["current_customer_count"].clone()
    }
}

async fn answer(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or(Value::Null))
}

fn changes(simulated: &Simulated) -> Vec<Change> {
    simulated.applied().into_iter().map(|applied| applied.change).collect()
}

#[tokio::test]
async fn with_max_agent_one_the_first_of_many_assigns_wins() {
    let desk = Desk::open(SimulatedConfig::desk(50));
    desk.simulated.new_chat("r", WA).unwrap();

    let mut calls = tokio::task::JoinSet::new();
    for n in 1..=50 {
        calls.spawn(answer(desk.assign("r", AgentId(300_000 + n))));
    }
    let answers = calls.join_all().await;

    assert_eq!(answers.iter().filter(|(status, _)| *status == 200).count(), 1);
    let refusal = json!({"errors": {"message": "Cant join room, exceed max agents"}});
    assert!(answers.iter().all(|(status, body)| *status == 200 || (*status == 400 && *body == refusal)));
    assert_eq!(desk.simulated.assign_order().len(), 1);
    assert_eq!(desk.simulated.read(|state| state.room("r").unwrap().agents().len()), 1);
}

#[tokio::test]
async fn the_same_assign_again_answers_as_configured_and_changes_nothing() {
    for (assign_again, expected) in [(AssignAgain::Succeeds, 200), (AssignAgain::ExceedsMaxAgents, 400)] {
        let desk = Desk::open(SimulatedConfig { assign_again, ..SimulatedConfig::tenant() });
        desk.simulated.new_chat("r", WA);
        assert_eq!(answer(desk.assign("r", AYU)).await.0, 200);

        assert_eq!(answer(desk.assign("r", AYU)).await.0, expected);

        assert_eq!(desk.simulated.load(AYU), 1);
        assert_eq!(desk.simulated.applied().len(), 2);
    }
}

#[tokio::test]
async fn without_max_agent_a_room_takes_five_and_replace_swaps_the_latest() {
    let desk = Desk::open(SimulatedConfig::desk(7));
    desk.simulated.new_chat("r", WA);
    for n in 1..=5 {
        let call = json!({"room_id": "r", "agent_id": 300_000 + n});
        assert_eq!(answer(desk.post(ASSIGN).json(&call)).await.0, 200);
    }
    let sixth = json!({"room_id": "r", "agent_id": 300_006});
    assert_eq!(answer(desk.post(ASSIGN).json(&sixth)).await.0, 400);

    let replace = json!({"room_id": "r", "agent_id": "300006", "replace_latest_agent": true});
    assert_eq!(answer(desk.post(ASSIGN).json(&replace)).await.0, 200);

    assert_eq!(desk.simulated.agent_of("r"), Some(AgentId(300_006)));
    assert_eq!(desk.simulated.load(AgentId(300_005)), 0);
    let transfer = Change::Transferred { from: AgentId(300_005), to: AgentId(300_006), by: By::Api };
    assert_eq!(changes(&desk.simulated).last(), Some(&transfer));
}

#[tokio::test]
async fn an_assign_is_refused_for_each_reason_with_its_own_answer() {
    let desk = Desk::open(SimulatedConfig { accept_unknown_rooms: false, ..SimulatedConfig::tenant() });
    desk.simulated.new_chat("wa", WA);
    desk.simulated.new_chat("over", WA);
    desk.simulated.resolve("over", None);

    let cases = [
        ("nowhere", AYU, 404, "Room not found"),
        ("wa", AgentId(1), 404, "Agent not found"),
        ("wa", EKA, 400, "Agent is not assigned to this channel"),
        ("over", AYU, 400, "Room already resolved"),
    ];
    for (room, agent, status, message) in cases {
        let (sent, body) = answer(desk.assign(room, agent)).await;
        assert_eq!((sent, body["errors"]["message"].as_str()), (status, Some(message)));
    }
    assert_eq!(answer(desk.post(ASSIGN).form(&[("room_id", "wa")])).await.0, 422);
    assert!(desk.simulated.requests().iter().all(|request| !request.applied && !request.faulted));
}

#[tokio::test]
async fn a_room_never_seen_can_be_assigned() {
    let desk = Desk::open(SimulatedConfig::tenant());

    assert_eq!(answer(desk.assign("470110003", EKA)).await.0, 200);

    assert_eq!(desk.simulated.agent_of("470110003"), Some(EKA));
    let (_, body) = answer(desk.get("/api/v2/customer_rooms/470110003")).await;
    assert_eq!(body["data"]["customer_room"]["channel_id"], FB.0);
    assert_eq!(body["data"]["customer_room"]["is_waiting"], false);
}

#[tokio::test]
async fn resolve_frees_the_agent_and_the_room_returns_with_a_new_session() {
    let desk = Desk::open(SimulatedConfig::tenant());
    let first = desk.simulated.new_chat("r", WA).unwrap();
    assert_eq!((&first["is_new_session"], &first["latest_service"]), (&json!(true), &Value::Null));
    let repeat = desk.simulated.new_chat("r", WA).unwrap();
    assert_eq!(repeat["is_new_session"], false);
    assert_eq!(answer(desk.assign("r", AYU)).await.0, 200);
    assert_eq!(desk.simulated.new_chat("r", WA), None);

    let resolved = desk.simulated.resolve("r", Some(AgentId(209_900))).unwrap();

    assert_eq!(desk.simulated.load(AYU), 0);
    assert_eq!(desk.simulated.max_load_seen(AYU), 1);
    assert_eq!(resolved["resolved_by"]["type"], "admin");
    assert_eq!(desk.simulated.resolve("r", None), None);
    let back = desk.simulated.new_chat("r", WA).unwrap();
    assert_eq!(back["is_resolved"], true);
    assert_eq!(back["latest_service"]["id"], resolved["service"]["id"]);
    assert_eq!(back["latest_service"]["user_id"], AYU.0);
    let service = desk.simulated.read(|state| state.room("r").unwrap().service());
    assert_ne!(service.map(Value::from), Some(resolved["service"]["id"].clone()));
}

#[tokio::test]
async fn the_ledger_tells_what_happened_through_every_door() {
    let desk = Desk::open(SimulatedConfig::tenant());
    let (simulated, room) = (&desk.simulated, "r");
    simulated.new_chat(room, WA);
    answer(desk.assign(room, AYU)).await;
    assert!(simulated.dashboard_transfer(room, BIMA));
    let form = [("room_id", room), ("agent_id", "210432")];
    assert_eq!(answer(desk.post("/api/v1/admin/service/remove_agent").form(&form)).await.0, 200);
    assert_eq!(simulated.waiting().len(), 1);
    simulated.set_presence(AYU, false);
    assert!(simulated.dashboard_assign(room, AYU));
    assert_eq!(answer(desk.post("/api/v1/admin/service/mark_as_resolved").form(&form)).await.0, 200);
    assert_eq!(answer(desk.post("/api/v1/admin/service/mark_as_resolved").form(&form)).await.0, 400);

    let expected = [
        Change::Opened { channel: Some(WA) },
        Change::Assigned { agent: AYU, by: By::Api, load: 1, online: true },
        Change::Transferred { from: AYU, to: BIMA, by: By::Dashboard },
        Change::Removed { agent: BIMA, by: By::Api },
        Change::Assigned { agent: AYU, by: By::Dashboard, load: 1, online: false },
        Change::Resolved { by: AgentId(209_900), served_by: vec![AYU] },
    ];
    assert_eq!(changes(simulated), expected);
    assert_eq!((simulated.load(AYU), simulated.load(BIMA)), (0, 0));
    assert_eq!(simulated.assign_order().len(), 1);
}

#[tokio::test]
async fn cursors_lead_through_every_agent_once() {
    let desk = Desk::open(SimulatedConfig { page_rows_max: 50, ..SimulatedConfig::desk(230) });
    let mut ids = Vec::new();
    let mut cursor = String::new();
    let mut pages = 0;
    loop {
        let query = [("limit", "1000"), ("user_type_scope", "agent"), ("cursor_after", &cursor)];
        let (_, page) = answer(desk.get("/api/v2/admin/agents").query(&query)).await;
        pages += 1;
        assert_eq!(page["meta"]["total_count"], 230);
        ids.extend(page["data"]["agents"].as_array().unwrap().iter().map(|row| row["id"].as_i64().unwrap()));
        match page["meta"]["after"].as_str() {
            Some(after) => cursor = after.to_owned(),
            None => break,
        }
    }
    assert_eq!(pages, 5);
    assert_eq!(ids, (300_001..=300_230).collect::<Vec<_>>());
}

#[tokio::test]
async fn room_lists_are_newest_first_filtered_and_complete() {
    let desk = Desk::open(SimulatedConfig::desk(2));
    let (one, two) = (AgentId(300_001), AgentId(300_002));
    for n in 0..60 {
        let room = format!("{n}");
        desk.simulated.new_chat(&room, WA);
        match n % 3 {
            0 => answer(desk.assign(&room, one)).await.0,
            1 => answer(desk.assign(&room, two)).await.0,
            _ => 200,
        };
    }
    desk.simulated.resolve("0", None);

    let newest_first = |remainder: usize, from: usize| {
        (from..60).rev().filter(|n| n % 3 == remainder).map(|n| n.to_string()).collect::<Vec<_>>()
    };
    let unserved = desk.all_rooms(7, json!({"serve_status": "unserved", "status": "unresolved"})).await;
    assert_eq!(unserved, newest_first(2, 0));
    let served = json!({"serve_status": "served", "status": "unresolved", "user_ids": [one], "order": "asc"});
    assert_eq!(desk.all_rooms(3, served).await, newest_first(0, 1));
    let all_served = json!({"serve_status": "served", "status": "unresolved"});
    assert_eq!(desk.all_rooms(100, all_served).await.len(), 39);
    assert_eq!(desk.all_rooms(5, json!({"status": "resolved"})).await, ["0"]);
    let other = json!({"channels": [{"source": "fb", "channel_id": FB}]});
    assert_eq!(desk.all_rooms(5, other).await, Vec::<String>::new());
}

#[tokio::test]
async fn available_agents_are_those_of_the_channel_online_or_not() {
    let desk = Desk::open(SimulatedConfig::tenant());
    desk.simulated.new_chat("wa", WA);
    let path = "/api/v2/admin/service/available_agents";
    let listed = async |query: &str| {
        let (_, page) = answer(desk.get(&format!("{path}?{query}"))).await;
        assert_eq!(page["meta"]["total_count"], Value::Null);
        let rows = page["data"]["agents"].as_array().unwrap();
        rows.iter().map(|row| row["id"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(listed("room_id=wa").await, [210_431, 210_432, 210_433, 210_440]);
    assert_eq!(listed("room_id=wa&is_available_in_room=true").await, [210_431, 210_432]);
}

#[tokio::test]
async fn only_the_right_credentials_open_the_api_and_tokens_expire() {
    let desk = Desk::open(SimulatedConfig::tenant());
    let url = format!("{}/api/v1/admin/get_profile", desk.simulated.url());
    assert_eq!(answer(desk.client.get(&url)).await.0, 401);
    let auth = desk.client.post(format!("{}/api/v1/auth", desk.simulated.url()));
    let login = async |password: &str| {
        let form = [("email", "owner@tokosenja.example"), ("password", password)];
        answer(auth.try_clone().unwrap().form(&form)).await
    };
    assert_eq!(login("wrong").await.0, 401);

    let (_, body) = login("made-up-password").await;
    let token = body["data"]["user"]["authentication_token"].as_str().unwrap().to_owned();
    let profile = || answer(desk.client.get(&url).header("Authorization", &token));
    assert_eq!(profile().await.0, 200);
    desk.simulated.expire_tokens();

    assert_eq!(profile().await.0, 401);
    let (_, body) = login("made-up-password").await;
    assert_ne!(body["data"]["user"]["authentication_token"], *token);
}

#[tokio::test]
async fn webhooks_go_to_the_url_set_by_the_api() {
    let desk = Desk::open(SimulatedConfig {
        webhooks: WebhookDelivery { allocation_copies: 2, attempts: 2, ..SimulatedConfig::tenant().webhooks },
        ..SimulatedConfig::tenant()
    });
    assert_eq!(desk.simulated.customer_writes("r", WA).await.unwrap().statuses, []);
    // A second simulation listens: its own customers write and resolve when a webhook names a room.
    let listener = Desk::open(SimulatedConfig::tenant());
    for (path, target) in [("agent_allocation", "/simulate/chat"), ("mark_as_resolved", "/nowhere")] {
        let form =
            [("webhook_url", listener.simulated.url() + target), ("is_webhook_enabled", "true".into())];
        assert_eq!(answer(desk.post(&format!("/api/v1/app/webhook/{path}")).form(&form)).await.0, 200);
    }

    let delivery = desk.simulated.customer_writes("r", WA).await.unwrap();

    assert_eq!(delivery.statuses, [Some(200), Some(200)]);
    assert!(delivery.accepted());
    assert_eq!(listener.simulated.waiting(), ["r".into()]);
    let delivery = desk.simulated.agent_resolves("r").await.unwrap();
    assert_eq!((delivery.statuses.as_slice(), delivery.accepted()), ([Some(404)].as_slice(), false));
}

#[tokio::test]
async fn people_can_play_with_it_by_curl() {
    let desk = Desk::open(SimulatedConfig::tenant());
    let (_, chat) = answer(desk.post("/simulate/chat").json(&json!({}))).await;
    let room = chat["room_id"].as_str().unwrap();
    assert_eq!(answer(desk.assign(room, AYU)).await.0, 200);
    assert_eq!(
        answer(desk.post("/simulate/agents/210432").json(&json!({"is_available": false}))).await.0,
        200
    );
    assert_eq!(answer(desk.post("/simulate/agents/1").json(&json!({"is_available": false}))).await.0, 404);
    let (_, state) = answer(desk.get("/simulate/state")).await;
    assert_eq!(state["rooms"], json!([{"room_id": room, "agents": [AYU]}]));

    let resolve = json!({"room_id": room});
    assert_eq!(answer(desk.post("/simulate/resolve").json(&resolve)).await.0, 200);
    assert_eq!(answer(desk.post("/simulate/resolve").json(&resolve)).await.0, 409);

    let (_, ledger) = answer(desk.get("/simulate/ledger")).await;
    let kinds: Vec<_> = ledger["applied"].as_array().unwrap().iter().map(|row| &row["change"]).collect();
    assert_eq!(kinds, ["opened", "assigned", "resolved"]);
}

#[tokio::test]
async fn a_stopped_simulation_answers_nobody_and_keeps_its_ledger() {
    let desk = Desk::open(SimulatedConfig::tenant());
    desk.simulated.new_chat("r", WA);

    desk.simulated.stop().await;

    assert!(desk.assign("r", AYU).send().await.is_err());
    assert_eq!(desk.simulated.applied().len(), 1);
}
