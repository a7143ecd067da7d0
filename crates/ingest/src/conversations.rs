//! `GET /api/v1/conversations`: what stands where, and for one room, why.

use std::sync::Arc;

use actix_web::{
    HttpRequest, HttpResponse,
    http::StatusCode,
    web::{self, Data, Path, Query, ServiceConfig},
};
use sebastian_core::{
    AgentId, Candidate, Closed, ConversationId, InboxId, Origin, Park, ParkReason, Policy, RoomId, Seq,
    State, Timestamp,
};
use sebastian_store::{Listed, Selection};
use serde::Serialize;
use tracing::warn;

use crate::{
    admin::{Admin, refuse_stranger},
    answer,
    explain::{Explained, NotExplained, explain},
    outage::chain,
};

/// Conversations on a page unless asked otherwise.
const LIMIT_DEFAULT: u32 = 100;

/// Most conversations on a page, at about 500 bytes each.
const LIMIT_MAX: u32 = 1_000;

/// What may be asked for by `state`; without one, whatever is not resolved.
const STATES: [(&str, Selection); 6] = [
    ("waiting", Selection::Waiting),
    ("parked", Selection::Parked),
    ("reserved", Selection::Reserved),
    ("closing", Selection::Closing),
    ("assigned", Selection::Assigned),
    ("resolved", Selection::Resolved),
];

#[derive(Serialize)]
struct List {
    conversations: Vec<Row>,
}

/// One conversation. Times as RFC 3339 has them, in UTC.
#[derive(Serialize)]
struct Row {
    id: ConversationId,
    room: RoomId,
    inbox: Option<InboxId>,
    origin: Origin,
    state: &'static str,
    /// Whose slot; of a resolved one, who served it to its end.
    agent: Option<AgentId>,
    /// The sequence of the event that opened it.
    position: Seq,
    /// Its place in its queue, the first being 1.
    place: Option<u64>,
    opened_at: String,
    last_activity_at: String,
    assigned_at: Option<String>,
    /// Of a reservation: past it the outcome is unknown.
    deadline_at: Option<String>,
    parked_until: Option<String>,
    park_reason: Option<ParkReason>,
    closed_at: Option<String>,
    closed_how: Option<Closed>,
    attempts: u32,
}

#[derive(Serialize)]
struct One {
    #[serde(flatten)]
    conversation: Row,
    explain: Why,
}

#[derive(Serialize)]
struct Why {
    sentence: String,
    pause: Option<Paused>,
    /// Null: there is none, or the cache that holds it gives no answer.
    roster: Option<RosterAge>,
    agents: Vec<Candidate>,
}

#[derive(Serialize)]
struct Paused {
    until: String,
    reason: &'static str,
}

#[derive(Serialize)]
struct RosterAge {
    version: u64,
    polled_at: String,
    age_ms: u64,
    /// Too old to give anybody a conversation.
    stale: bool,
}

/// Adds the routes.
pub(crate) fn routes(config: &mut ServiceConfig) {
    let page = |paths: [&str; 2]| web::resource(paths).default_service(answer::only("GET"));
    let all = ["/api/v1/conversations", "/api/v1/conversations/"];
    config.service(page(all).route(web::get().to(list)));
    let one = ["/api/v1/conversations/{room}", "/api/v1/conversations/{room}/"];
    config.service(page(one).route(web::get().to(show)));
}

async fn list(request: HttpRequest, admin: Data<Admin>) -> HttpResponse {
    if let Some(refusal) = refuse_stranger(&request, &admin) {
        return refusal;
    }
    let (selection, limit) = match asked_for(request.query_string()) {
        Ok(asked) => asked,
        Err(wrong) => return answer::error(&request, StatusCode::UNPROCESSABLE_ENTITY, &wrong),
    };
    let (store, account) = (Arc::clone(&admin.store), admin.account.id);
    let reading = async move { store.list(account, &selection, limit).await };
    match admin.runtime.run(reading).await {
        Ok(Ok(page)) => {
            let conversations = page.conversations.into_iter().map(Row::of).collect();
            HttpResponse::Ok().json(List { conversations })
        }
        Ok(Err(error)) => unavailable(&request, &error, "the ledger does not answer"),
        Err(ended) => unavailable(&request, &ended, "not available"),
    }
}

async fn show(request: HttpRequest, room: Path<String>, admin: Data<Admin>) -> HttpResponse {
    if let Some(refusal) = refuse_stranger(&request, &admin) {
        return refusal;
    }
    let room = match RoomId::parse(&room) {
        Ok(room) => room,
        Err(wrong) => {
            return answer::error(&request, StatusCode::UNPROCESSABLE_ENTITY, &format!("room {wrong}"));
        }
    };
    let (store, cache) = (Arc::clone(&admin.store), Arc::clone(&admin.roster));
    let (account, policy) = (admin.account.id, admin.policy.clone());
    let reading = async move { explain(&*store, &*cache, account, &room, &policy).await };
    match admin.runtime.run(reading).await {
        Ok(Ok(explained)) => HttpResponse::Ok().json(One::of(explained, &admin.policy)),
        Ok(Err(error @ (NotExplained::UnknownRoom(_) | NotExplained::NotFolded(_)))) => {
            answer::error(&request, StatusCode::NOT_FOUND, &error.to_string())
        }
        Ok(Err(error @ NotExplained::Store(_))) => unavailable(&request, &error, &error.to_string()),
        Err(ended) => unavailable(&request, &ended, "not available"),
    }
}

fn unavailable(request: &HttpRequest, error: &dyn std::error::Error, text: &str) -> HttpResponse {
    warn!(error = %chain(error), "cannot show conversations");
    answer::error(request, StatusCode::SERVICE_UNAVAILABLE, text)
}

/// What a query asks for, or what is wrong with it: a misspelt parameter must not show what nobody asked for.
fn asked_for(query: &str) -> Result<(Selection, u32), String> {
    let (mut selection, mut limit) = (Selection::Unresolved, LIMIT_DEFAULT);
    let parameters = Query::<Vec<(String, String)>>::from_query(query);
    for (name, value) in parameters.map_err(|_| "the query is not readable")?.into_inner() {
        match name.as_str() {
            "state" => {
                let known = STATES.into_iter().find(|(state, _)| *state == value);
                let choices = || format!("state is one of {}", STATES.map(|(state, _)| state).join(", "));
                selection = known.ok_or_else(choices)?.1;
            }
            "limit" => {
                let number = value.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
                limit = number.ok_or_else(|| format!("limit is a number from 1 to {LIMIT_MAX}"))?;
            }
            _ => return Err("the parameters are state and limit".to_owned()),
        }
    }
    Ok((selection, limit))
}

impl Row {
    fn of(Listed { conversation, place, served }: Listed) -> Self {
        let agent = conversation.holder().or(served.map(|(agent, _)| agent));
        let (mut deadline, mut parked, mut closed) = (None, None, None);
        let state = match conversation.state {
            State::Waiting { park: None } => "waiting",
            State::Waiting { park: Some(park) } => {
                parked = Some(park);
                "parked"
            }
            State::Reserved { deadline: until, .. } => {
                deadline = Some(until);
                "reserved"
            }
            State::Closing { deadline: until, .. } => {
                deadline = Some(until);
                "closing"
            }
            State::Assigned { .. } => "assigned",
            State::Resolved { at, how } => {
                closed = Some((at, how));
                "resolved"
            }
        };
        Self {
            id: conversation.id,
            room: conversation.room,
            inbox: conversation.inbox,
            origin: conversation.origin,
            state,
            agent,
            position: conversation.position,
            place,
            opened_at: conversation.opened_at.rfc3339(),
            last_activity_at: conversation.last_activity_at.rfc3339(),
            assigned_at: served.map(|(_, since)| since.rfc3339()),
            deadline_at: deadline.map(Timestamp::rfc3339),
            parked_until: parked.map(|Park { until, .. }| until.rfc3339()),
            park_reason: parked.map(|Park { why, .. }| why),
            closed_at: closed.map(|(at, _)| at.rfc3339()),
            closed_how: closed.map(|(_, how)| how),
            attempts: conversation.attempt,
        }
    }
}

impl One {
    fn of(Explained { listed, now, pause, roster, explanation }: Explained, policy: &Policy) -> Self {
        let pause = pause.map(|pause| Paused { until: pause.until.rfc3339(), reason: pause.reason.as_str() });
        let roster = roster.ok().map(|roster| {
            let age = now.since(roster.polled_at);
            RosterAge {
                version: roster.version,
                polled_at: roster.polled_at.rfc3339(),
                age_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
                stale: age > policy.staleness_max,
            }
        });
        let explain = Why { sentence: explanation.sentence, pause, roster, agents: explanation.agents };
        Self { conversation: Row::of(listed), explain }
    }
}
