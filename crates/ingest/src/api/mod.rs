//! The operators' API: `/api/v1/…`.
//!
//! An endpoint is a function of the rulebook: one that reads shows something of it, one that changes makes the next
//! version. Who asks, which account, the body, the audit and the wake-up are the same for all and are here.

mod audit;
mod call;
mod capacity;
mod desk;
mod endpoints;
mod leaves;
mod openapi;
mod policies;
mod refused;
mod subscriptions;
mod teams;
mod terminal;
mod update;
mod views;

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
    time::Duration,
};

use actix_web::{
    HttpRequest, HttpResponse, Resource, Route,
    http::{StatusCode, header::ContentType},
    web::{self, Bytes, Data, Payload, ServiceConfig},
};
use sebastian_core::{AccountId, EventKind, NewEvent, RoomId, Roster, Source, chain};
use sebastian_roster::{WakeReason, WakeUp};
use sebastian_store::StoreError;
use serde::Deserialize;
use serde_json::Value;
use tracing::{debug, info, warn};

use self::{
    audit::{Asked, AuditView},
    call::{Call, Reply},
    endpoints::{Act, Endpoint, Method, Page},
    refused::Refused,
    update::{AcceptedView, ConversationDraft},
};
pub use self::{
    openapi::openapi,
    terminal::{Done, NotDone, Operator},
};
use crate::{accept::Accepter, admin::Admin, agents, answer, body, conversations, gate};

/// Where what belongs to an account is.
const BASE: &str = "/api/v1/accounts/{account}";

/// Where some of it is too: there is one account.
const SHORT: &str = "/api/v1";

/// A doorbell that has not rung by then does not; the sweep finds the change.
const RING_TIMEOUT: Duration = Duration::from_secs(5);

/// Adds the routes.
pub(crate) fn routes(config: &mut ServiceConfig) {
    let document = web::resource("/api/v1/openapi.json");
    config.service(document.route(web::get().to(show_document)).default_service(answer::only("GET")));
    let mut by_path = BTreeMap::<_, Vec<Endpoint>>::new();
    for endpoint in endpoints::all() {
        endpoint.paths().for_each(|path| by_path.entry(path).or_default().push(endpoint));
    }
    for (path, endpoints) in by_path {
        let resource = web::resource([format!("{path}/"), path]);
        let resource = with_default(resource, &endpoints);
        config.service(
            endpoints
                .into_iter()
                .fold(resource, |resource, endpoint| resource.route(route(endpoint.method, endpoint.act))),
        );
    }
}

/// Answers 405 to other methods than those of the path.
fn with_default(resource: Resource, endpoints: &[Endpoint]) -> Resource {
    let allowed: Vec<_> = endpoints.iter().map(|endpoint| endpoint.method.as_str()).collect();
    let allowed = allowed.join(", ");
    resource.default_service(web::to(move |request: HttpRequest| {
        let allowed = allowed.clone();
        async move { answer::method_not_allowed(&request, &allowed, None) }
    }))
}

fn route(method: Method, act: Act) -> Route {
    let route = match method {
        Method::Get => web::get(),
        Method::Post => web::post(),
        Method::Put => web::put(),
        Method::Patch => web::patch(),
        Method::Delete => web::delete(),
    };
    route.to(move |request: HttpRequest, payload: Payload, admin: Data<Admin>, accepter: Data<Accepter>| async move {
        match take(&request, payload, &admin, &accepter, act).await {
            Ok(response) => response,
            Err(refused) => refused.answer(&request),
        }
    })
}

async fn show_document() -> HttpResponse {
    static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| openapi().to_string().into());
    HttpResponse::Ok().content_type(ContentType::json()).body(DOCUMENT.clone())
}

async fn take(
    request: &HttpRequest,
    payload: Payload,
    admin: &Data<Admin>,
    accepter: &Accepter,
    act: Act,
) -> Result<HttpResponse, Refused> {
    let who = gate::admin(request, &admin.tokens)?.to_owned();
    let path = request.match_info();
    let is_ours =
        |account: &str| account == admin.account.app_id || account.parse() == Ok(admin.account.id.0);
    if !path.get("account").is_none_or(is_ours) {
        return Err(Refused::NotFound(None));
    }
    let query = web::Query::<Vec<(String, String)>>::from_query(request.query_string());
    let query = query.map_err(|_| Refused::Query)?.into_inner();
    let body = object(&body::read(request, payload, admin.body_timeout).await?)?;
    let asked = Sent { ids: ids(request)?, body, query };
    let reply = match act {
        Act::Read(read) => {
            let (admin, worker) = (admin.clone(), admin.clone());
            admin.runtime.run(async move { worker.read(asked, read).await }).await??
        }
        Act::Change(change) => {
            let (admin, worker) = (admin.clone(), admin.clone());
            admin.runtime.run(async move { worker.change(asked, change, &who).await }).await??
        }
        Act::Audit => {
            let Asked { before, limit } = Asked::of(&asked.query)?;
            let (store, account) = (Arc::clone(&admin.store), admin.account.id);
            let found = admin.runtime.run(async move { store.audit(account, before, limit).await }).await??;
            Reply::show(&AuditView::of(found, limit))
        }
        Act::Subscription(ask) => {
            let letter = path.get("letter").unwrap_or_default().to_owned();
            let worker = admin.clone();
            let answering = async move { subscriptions::answer(ask, asked, letter, &who, worker).await };
            admin.runtime.run(answering).await??
        }
        Act::Update => update(path.get("room").unwrap_or_default(), asked, admin, accepter).await?,
        Act::Page(page) => return Ok(show(page, request, admin).await),
    };
    let mut response = HttpResponse::build(reply.status);
    Ok(match reply.body {
        Some(body) => response.json(body),
        None => response.finish(),
    })
}

async fn show(page: Page, request: &HttpRequest, admin: &Data<Admin>) -> HttpResponse {
    match page {
        Page::Conversations => conversations::list(request, admin).await,
        Page::Conversation => conversations::show(request, admin).await,
        Page::Why => conversations::show_why(request, admin).await,
        Page::Agents => agents::page(request, admin).await,
    }
}

/// What a request brought beside its path.
struct Sent {
    ids: Vec<i64>,
    body: Value,
    query: Vec<(String, String)>,
}

/// The numbers of the path, after the account. Whatever is no number names nothing.
fn ids(request: &HttpRequest) -> Result<Vec<i64>, Refused> {
    let numbers =
        request.match_info().iter().filter(|(name, _)| !matches!(*name, "account" | "room" | "letter"));
    numbers.map(|(_, text)| text.parse().map_err(|_| Refused::NotFound(None))).collect()
}

/// The body as an object; none is an empty one.
fn object(body: &Bytes) -> Result<Value, Refused> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    let value: Value = serde_json::from_slice(body).map_err(|_| Refused::NotJson)?;
    if value.is_object() { Ok(value) } else { Err(Refused::NotAnObject) }
}

type Read = fn(&Call<'_>, &sebastian_core::Rulebook) -> Result<Reply, call::Refusal>;
type Change = fn(&Call<'_>, &mut sebastian_core::Rulebook) -> Result<call::Changed, call::Refusal>;

impl Admin {
    async fn read(&self, sent: Sent, read: Read) -> Result<Reply, Refused> {
        let roster = self.known_roster().await;
        let rules = self.store.rulebook(self.account.id).await?;
        let now = self.store.now().await?;
        Ok(read(&self.call(&sent, roster.as_ref(), now), &rules)?)
    }

    async fn change(&self, sent: Sent, change: Change, who: &str) -> Result<Reply, Refused> {
        let roster = self.known_roster().await;
        let mut done = None;
        let mut is_change = false;
        let mut amendment = |rules: &mut sebastian_core::Rulebook, now| {
            let changed = change(&self.call(&sent, roster.as_ref(), now), rules);
            let (reply, entry) = match changed {
                Ok(changed) => (Ok(changed.reply), changed.entry),
                Err(refusal) => (Err(refusal), None),
            };
            done = Some(reply);
            is_change = entry.is_some();
            entry.into_iter().collect()
        };
        let rules = self.store.amend(self.account.id, who, &mut amendment).await?;
        if is_change {
            info!(who, rules.version = rules.version, "{who} made version {} of the rules", rules.version);
            self.ring(WakeReason::Rules);
        }
        let reply = done.ok_or_else(|| StoreError::Broken("nobody was shown the rules".to_owned(), None))?;
        Ok(reply?)
    }

    fn call<'a>(
        &'a self,
        sent: &'a Sent,
        roster: Option<&'a Roster>,
        now: sebastian_core::Timestamp,
    ) -> Call<'a> {
        let Sent { ids, body, query } = sent;
        Call { ids, body, query, account: &self.account, policy: &self.policy, roster, now }
    }

    /// The agents as last published. Without them whatever an operator names is taken to be there.
    async fn known_roster(&self) -> Option<Roster> {
        match self.roster.newer_than(self.account.id, 0).await {
            Ok(roster) => roster,
            Err(error) => {
                debug!(error = %chain(&error), "the roster cache gave no answer");
                None
            }
        }
    }

    /// Wakes the workers; nobody waits for it.
    fn ring(&self, reason: WakeReason) {
        let (doorbell, account) = (Arc::clone(&self.doorbell), self.account.id);
        self.runtime.spawn(async move {
            let rung_at = std::time::SystemTime::now().into();
            let ringing = doorbell.ring(WakeUp { account, reason, rung_at });
            match tokio::time::timeout(RING_TIMEOUT, ringing).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    warn!(error = %chain(&error), "the doorbell fails; the change waits for the sweep")
                }
                Err(_) => warn!("the doorbell hangs; the change waits for the sweep"),
            }
        });
    }
}

async fn update(room: &str, asked: Sent, admin: &Data<Admin>, accepter: &Accepter) -> Result<Reply, Refused> {
    let room = RoomId::parse(room).map_err(|_| Refused::NotFound(None))?;
    let draft =
        ConversationDraft::deserialize(&asked.body).map_err(|error| Refused::Body(error.to_string()))?;
    let (store, account, about) = (Arc::clone(&admin.store), admin.account.id, room.clone());
    let (rules, now, is_unknown) =
        admin.runtime.run(async move { facts(&*store, account, about).await }).await??;
    if is_unknown {
        return Err(Refused::NotFound(Some(format!("room {room} has no open conversation"))));
    }
    let kind = EventKind::Update(draft.update(&rules, now)?);
    accepter.accept(NewEvent { room: room.clone(), kind, source: Source::Operator }).await?;
    let accepted = AcceptedView { room: room.to_string(), status: "accepted" };
    Ok(Reply { status: StatusCode::ACCEPTED, ..Reply::show(&accepted) })
}

async fn facts(
    store: &dyn sebastian_store::Store,
    account: AccountId,
    room: RoomId,
) -> Result<(Arc<sebastian_core::Rulebook>, sebastian_core::Timestamp, bool), StoreError> {
    let rules = store.rulebook(account).await?;
    let now = store.now().await?;
    let unknown = store.unknown_rooms(account, &[room]).await?;
    Ok((rules, now, !unknown.is_empty()))
}
