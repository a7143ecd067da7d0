//! A few endpoints for people with curl: write as a customer, resolve, send an agent home, look at everything.
//! They stand beside the API, need no credentials and are bound to 127.0.0.1 like the rest.

use actix_web::{HttpResponse, web};
use sebastian_core::{AgentId, InboxId};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Applied, By, Change, Shared, state::State};

/// Changes `/simulate/state` shows.
const TAIL: usize = 20;

/// Adds the endpoints to an app.
pub(super) fn routes(app: &mut web::ServiceConfig) {
    app.route("/simulate/chat", web::post().to(chat))
        .route("/simulate/resolve", web::post().to(resolve))
        .route("/simulate/agents/{id}", web::post().to(agent))
        .route("/simulate/state", web::get().to(state))
        .route("/simulate/ledger", web::get().to(ledger));
}

#[derive(Deserialize)]
struct Chat {
    room_id: Option<String>,
    channel_id: Option<InboxId>,
}

#[derive(Deserialize)]
struct Resolve {
    room_id: String,
}

#[derive(Deserialize)]
struct Agent {
    is_available: Option<bool>,
    force_offline: Option<bool>,
}

async fn chat(shared: web::Data<Shared>, chat: web::Json<Chat>) -> HttpResponse {
    let Chat { room_id, channel_id } = chat.into_inner();
    let (room, body) = shared.change(|state| {
        let room = room_id.unwrap_or_else(|| state.unused_room_id());
        let channel = channel_id.or_else(|| state.channels.keys().next().copied());
        let body = state.customer_message(&room, channel);
        (room, body)
    });
    let statuses = match &body {
        Some(body) => shared.send_allocation(body).await,
        None => Vec::new(),
    };
    HttpResponse::Ok().json(json!({"room_id": room, "webhook_statuses": statuses}))
}

async fn resolve(shared: web::Data<Shared>, resolve: web::Json<Resolve>) -> HttpResponse {
    let Some(body) = shared.change(|state| state.dashboard_resolve(&resolve.room_id, None)) else {
        return HttpResponse::Conflict().json(json!({"error": "no open session in this room"}));
    };
    let statuses = shared.send_resolve(&body).await;
    HttpResponse::Ok().json(json!({"room_id": resolve.room_id, "webhook_statuses": statuses}))
}

async fn agent(shared: web::Data<Shared>, id: web::Path<i64>, agent: web::Json<Agent>) -> HttpResponse {
    let known = shared.change(|state| {
        state.edit_agent(AgentId(*id), |spec| {
            spec.online = agent.is_available.unwrap_or(spec.online);
            spec.force_offline = agent.force_offline.unwrap_or(spec.force_offline);
        })
    });
    if known {
        HttpResponse::Ok().json(json!({"id": *id}))
    } else {
        HttpResponse::NotFound().json(json!({"error": "no such agent"}))
    }
}

async fn state(shared: web::Data<Shared>) -> HttpResponse {
    let state = shared.lock();
    let agents = state.agents.values().map(|member| {
        json!({
            "id": member.spec.id.0,
            "name": member.spec.name,
            "is_available": member.spec.online,
            "force_offline": member.spec.force_offline,
            "load": member.load(),
            "max_load_seen": member.max_load,
        })
    });
    let open = state.rooms.values().filter(|room| !room.is_resolved());
    let rooms = open.map(|room| json!({"room_id": &*room.id, "agents": room.agents}));
    let applied = state.applied();
    let tail = &applied[applied.len().saturating_sub(TAIL)..];
    HttpResponse::Ok().json(json!({
        "agents": agents.collect::<Vec<_>>(),
        "rooms": rooms.collect::<Vec<_>>(),
        "waiting": state.waiting.len(),
        "applied": tail.iter().map(|applied| ledger_row(&state, applied)).collect::<Vec<_>>(),
    }))
}

async fn ledger(shared: web::Data<Shared>) -> HttpResponse {
    let state = shared.lock();
    let rows: Vec<Value> = state.applied().iter().map(|applied| ledger_row(&state, applied)).collect();
    HttpResponse::Ok().json(json!({ "applied": rows }))
}

fn ledger_row(state: &State, applied: &Applied) -> Value {
    let door = |by: By| match by {
        By::Api => "api",
        By::Dashboard => "dashboard",
    };
    let mut row = match &applied.change {
        Change::Opened { channel } => json!({"change": "opened", "channel_id": channel}),
        Change::Assigned { agent, by, load, online } => {
            json!({"change": "assigned", "agent": agent, "by": door(*by), "load": load, "online": online})
        }
        Change::Transferred { from, to, by } => {
            json!({"change": "transferred", "from": from, "to": to, "by": door(*by)})
        }
        Change::Removed { agent, by } => json!({"change": "removed", "agent": agent, "by": door(*by)}),
        Change::Resolved { by, served_by } => json!({"change": "resolved", "by": by, "served_by": served_by}),
    };
    row["seq"] = applied.seq.into();
    row["at_ms"] = state.unix_ms(applied.at).into();
    row["room_id"] = (&*applied.room).into();
    row["service_id"] = applied.service.into();
    row
}
