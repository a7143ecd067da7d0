//! What conversations stand where, and for one room, why: pages of the API.

use std::sync::Arc;

use actix_web::{
    HttpRequest, HttpResponse,
    http::StatusCode,
    web::{Data, Query},
};
use schemars::JsonSchema;
use sebastian_core::{
    AgentId, Closed, ConversationId, Explanation, InboxId, Origin, Park, ParkReason, Policy, Priority,
    RoomId, Seq, State, Status, TeamId, Timestamp, chain,
};
use sebastian_store::{Listed, Selection};
use serde::Serialize;
use tracing::warn;

use crate::{
    admin::Admin,
    answer,
    explain::{Explained, NotExplained, explain},
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

/// Conversations, those in line first.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Conversations")]
pub(crate) struct List {
    conversations: Vec<Row>,
}

/// One conversation. Times as RFC 3339 has them, in UTC.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Conversation")]
struct Row {
    id: ConversationId,
    /// As the platform names it.
    #[schemars(with = "String")]
    room: RoomId,
    inbox: Option<InboxId>,
    team: Option<TeamId>,
    labels: Vec<String>,
    priority: Option<Priority>,
    language: Option<String>,
    origin: Origin,
    /// waiting, parked, reserved, closing, assigned or resolved.
    state: &'static str,
    /// Whether it is being worked on (`open`) or put off.
    status: Status,
    snoozed_until: Option<String>,
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
    /// Null: it is not parked, or until somebody or its customer takes it up again.
    parked_until: Option<String>,
    park_reason: Option<ParkReason>,
    closed_at: Option<String>,
    closed_how: Option<Closed>,
    attempts: u32,
}

/// A room's newest conversation, and why it stands where it stands.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ConversationExplained")]
pub(crate) struct One {
    #[serde(flatten)]
    conversation: Row,
    explain: Why,
}

/// Why a room's conversation stands where it stands, alone.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "WhyOfRoom")]
pub(crate) struct Only {
    #[schemars(with = "String")]
    room: RoomId,
    id: ConversationId,
    state: &'static str,
    #[serde(flatten)]
    why: Why,
}

/// The explanation and what it rests on.
#[derive(Serialize, JsonSchema)]
struct Why {
    #[serde(flatten)]
    explanation: Explanation,
    /// All decisions are paused: the platform is busy, or refuses us.
    pause: Option<Paused>,
    /// Null: there is none, or the cache that holds it gives no answer.
    roster: Option<RosterAge>,
}

/// A pause of all decisions.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DecisionsPaused")]
struct Paused {
    until: String,
    reason: &'static str,
}

/// How old the roster is that an explanation rests on.
#[derive(Serialize, JsonSchema)]
struct RosterAge {
    version: u64,
    polled_at: String,
    age_ms: u64,
    /// Too old to give anybody a conversation.
    stale: bool,
}

/// What stands where, as the query asks. Whoever asks was let in.
pub(crate) async fn list(request: &HttpRequest, admin: &Data<Admin>) -> HttpResponse {
    let (selection, limit) = match asked_for(request.query_string()) {
        Ok(asked) => asked,
        Err(wrong) => return answer::error(request, StatusCode::UNPROCESSABLE_ENTITY, &wrong),
    };
    let (store, account) = (Arc::clone(&admin.store), admin.account.id);
    let reading = async move { store.list(account, &selection, limit).await };
    match admin.runtime.run(reading).await {
        Ok(Ok(page)) => {
            let conversations = page.conversations.into_iter().map(Row::of).collect();
            HttpResponse::Ok().json(List { conversations })
        }
        Ok(Err(error)) => unavailable(request, &error, "the ledger does not answer"),
        Err(ended) => unavailable(request, &ended, "not available"),
    }
}

/// A room's newest conversation, explained.
pub(crate) async fn show(request: &HttpRequest, admin: &Data<Admin>) -> HttpResponse {
    match explained(request, admin).await {
        Ok(explained) => HttpResponse::Ok().json(One::of(explained, &admin.policy)),
        Err(refusal) => refusal,
    }
}

/// The explanation alone.
pub(crate) async fn show_why(request: &HttpRequest, admin: &Data<Admin>) -> HttpResponse {
    match explained(request, admin).await {
        Ok(explained) => HttpResponse::Ok().json(Only::of(explained, &admin.policy)),
        Err(refusal) => refusal,
    }
}

/// The room of the path, explained, or the answer that says why not.
async fn explained(request: &HttpRequest, admin: &Data<Admin>) -> Result<Explained, HttpResponse> {
    let room = RoomId::parse(request.match_info().get("room").unwrap_or_default()).map_err(|wrong| {
        answer::error(request, StatusCode::UNPROCESSABLE_ENTITY, &format!("room {wrong}"))
    })?;
    let (store, cache) = (Arc::clone(&admin.store), Arc::clone(&admin.roster));
    let (account, policy) = (admin.account.id, admin.policy.clone());
    let reading = async move { explain(&*store, &*cache, account, &room, &policy).await };
    match admin.runtime.run(reading).await {
        Ok(Ok(explained)) => Ok(explained),
        Ok(Err(error @ (NotExplained::UnknownRoom(_) | NotExplained::NotFolded(_)))) => {
            Err(answer::error(request, StatusCode::NOT_FOUND, &error.to_string()))
        }
        Ok(Err(error @ NotExplained::Store(_))) => Err(unavailable(request, &error, &error.to_string())),
        Err(ended) => Err(unavailable(request, &ended, "not available")),
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
            team: conversation.traits.team,
            labels: conversation.traits.labels.iter().map(ToString::to_string).collect(),
            priority: conversation.traits.priority,
            language: conversation.traits.language,
            origin: conversation.origin,
            state,
            status: conversation.status,
            snoozed_until: conversation.snoozed_until.map(Timestamp::rfc3339),
            agent,
            position: conversation.position,
            place,
            opened_at: conversation.opened_at.rfc3339(),
            last_activity_at: conversation.last_activity_at.rfc3339(),
            assigned_at: served.map(|(_, since)| since.rfc3339()),
            deadline_at: deadline.map(Timestamp::rfc3339),
            parked_until: parked.and_then(Park::ends_at).map(Timestamp::rfc3339),
            park_reason: parked.map(|Park { why, .. }| why),
            closed_at: closed.map(|(at, _)| at.rfc3339()),
            closed_how: closed.map(|(_, how)| how),
            attempts: conversation.attempt,
        }
    }
}

impl One {
    fn of(explained: Explained, policy: &Policy) -> Self {
        let (listed, explain) = Why::of(explained, policy);
        Self { conversation: Row::of(listed), explain }
    }
}

impl Only {
    fn of(explained: Explained, policy: &Policy) -> Self {
        let (listed, why) = Why::of(explained, policy);
        let Row { room, id, state, .. } = Row::of(listed);
        Self { room, id, state, why }
    }
}

impl Why {
    fn of(
        Explained { listed, now, pause, roster, explanation }: Explained,
        policy: &Policy,
    ) -> (Listed, Self) {
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
        (listed, Self { explanation, pause, roster })
    }
}
