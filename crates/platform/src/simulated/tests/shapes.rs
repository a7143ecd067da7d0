//! Every answer has the keys and the types of its fixture.

use std::path::Path;

use super::*;

fn fixture(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/qiscus").join(name);
    serde_json::from_slice(&std::fs::read(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"))).unwrap()
}

/// Where `ours` and `theirs` differ in keys or types. Null stands for any type; the first element of an array
/// stands for all.
fn differences(at: &str, ours: &Value, theirs: &Value) -> Vec<String> {
    match (ours, theirs) {
        (Value::Null, _) | (_, Value::Null) => Vec::new(),
        (Value::Object(ours), Value::Object(theirs)) => {
            let keys: std::collections::BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
            let compare = |key: &String| match (ours.get(key), theirs.get(key)) {
                (Some(ours), Some(theirs)) => differences(&format!("{at}.{key}"), ours, theirs),
                (Some(_), None) => vec![format!("{at}.{key} is ours alone")],
                (None, _) => vec![format!("{at}.{key} is missing")],
            };
            keys.into_iter().flat_map(compare).collect()
        }
        (Value::Array(ours), Value::Array(theirs)) => match (ours.first(), theirs.first()) {
            (Some(ours), Some(theirs)) => differences(&format!("{at}[]"), ours, theirs),
            _ => Vec::new(),
        },
        (ours, theirs) if std::mem::discriminant(ours) == std::mem::discriminant(theirs) => Vec::new(),
        (ours, theirs) => vec![format!("{at} is {ours}, should be like {theirs}")],
    }
}

fn assert_like(ours: &Value, name: &str) {
    assert_eq!(differences("", ours, &fixture(name)), Vec::<String>::new(), "against {name}");
}

#[tokio::test]
async fn answers_have_the_shape_of_their_fixtures() {
    let desk = Desk::open(SimulatedConfig::tenant());
    desk.simulated.new_chat("r", WA);
    let (_, unserved) = answer(desk.post(ROOMS).json(&json!({"serve_status": "unserved"}))).await;
    assert_like(&unserved, "api.customer_rooms.unserved.page1.200.json");
    let (_, assigned) = answer(desk.assign("r", AYU)).await;
    assert_like(&assigned, "api.assign_agent.success_with_service.200.json");
    let (_, served) = answer(desk.post(ROOMS).json(&json!({"user_ids": [AYU.0]}))).await;
    assert_like(&served, "api.customer_rooms.served_by_agent.200.json");
    assert_eq!(served["meta"]["current_total"], 1);
    let (_, room) = answer(desk.get("/api/v2/customer_rooms/r")).await;
    assert_like(&room, "api.customer_room.being_served.200.json");
    let (_, agents) = answer(desk.get("/api/v2/admin/agents?limit=4")).await;
    assert_like(&agents, "api.agents_v2.page1.200.json");
    let (_, available) = answer(desk.get("/api/v2/admin/service/available_agents?room_id=r")).await;
    assert_like(&available, "api.available_agents.mixed_online_offline.200.json");
    let hook = json!({"webhook_url": "https://alloc.example/hook", "is_webhook_enabled": true});
    let (_, app) = answer(desk.post("/api/v1/app/webhook/agent_allocation").json(&hook)).await;
    assert_like(&app, "api.set_webhook_agent_allocation.success.200.json");
    assert_eq!(app["data"]["secret_key"], "made-up-not-a-secret");
    let login = json!({"email": "owner@tokosenja.example", "password": "made-up-password"});
    let (_, auth) = answer(desk.post("/api/v1/auth").json(&login)).await;
    assert_like(&auth, "api.auth.success.200.json");
    assert_eq!(auth["data"]["user"]["app"]["allocate_agent_webhook_url"], hook["webhook_url"]);
}

#[tokio::test]
async fn webhooks_have_the_shape_of_their_fixtures() {
    let desk = Desk::open(SimulatedConfig::tenant());
    let first = desk.simulated.new_chat("r", WA).unwrap();
    assert_like(&first, "webhook.allocation.wa.new_session.with_candidate.json");
    desk.simulated.dashboard_assign("r", AYU);
    let resolved = desk.simulated.resolve("r", None).unwrap();
    assert_like(&resolved, "webhook.mark_as_resolved.by_assigned_agent.json");
    let back = desk.simulated.new_chat("r", WA).unwrap();
    assert_like(&back, "webhook.allocation.wa.returning_customer.same_room_latest_service_object.json");
    let nobody = desk.simulated.new_chat("c", InboxId(88127)).unwrap();
    assert_eq!((&nobody["candidate_agent"], &nobody["source"]), (&Value::Null, &json!("tokoshop_chat")));
}
