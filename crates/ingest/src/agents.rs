//! `GET /agents` and `GET /api/v1/agents`: who the agents are and how much they hold.

use std::sync::Arc;

use actix_web::{
    HttpRequest, HttpResponse,
    http::StatusCode,
    web::{self, Data, ServiceConfig},
};
use schemars::JsonSchema;
use sebastian_core::{
    AccountId, Agent, AgentId, AgentLoad, InboxId, Presence, Role, Roster, Rulebook, chain,
};
use sebastian_roster::{CacheError, RosterCache};
use sebastian_store::{Store, StoreError};
use serde::Serialize;
use std::collections::BTreeMap;

use crate::{
    admin::{Admin, refuse_stranger},
    answer,
};

/// A page of agents. Holds no secret, no address and no telephone number.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RosterPage")]
pub(crate) struct Page {
    /// The platform's name for the account.
    account: String,
    roster: RosterStamp,
    agents: Vec<Row>,
}

/// Which roster it is, and how old.
#[derive(Serialize, JsonSchema)]
struct RosterStamp {
    version: u64,
    polled_at_ms: i64,
    age_ms: u64,
}

/// An agent of the roster.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RosterAgent")]
struct Row {
    id: AgentId,
    name: String,
    role: Role,
    presence: Presence,
    forced_offline: bool,
    /// Null: the platform did not say.
    inboxes: Option<Vec<InboxId>>,
    /// Open conversations by the ledger: what decisions count.
    load: u32,
    /// In all, as set for the agent, else for the account. Null: no limit.
    capacity: Option<u32>,
    /// Open conversations by the platform's count, which lags. Null: unknown.
    reported_load: Option<u32>,
}

#[derive(Debug, thiserror::Error)]
enum Unknown {
    #[error("no roster yet: a worker has to poll the platform first")]
    NoRoster,
    #[error("the roster cache does not answer")]
    Cache(#[from] CacheError),
    #[error("the ledger does not answer")]
    Store(#[from] StoreError),
}

/// Adds the route.
pub(crate) fn routes(config: &mut ServiceConfig) {
    let paths = ["/agents", "/agents/"];
    config.service(web::resource(paths).route(web::get().to(list)).default_service(answer::only("GET")));
}

async fn list(request: HttpRequest, admin: Data<Admin>) -> HttpResponse {
    match refuse_stranger(&request, &admin) {
        Some(refusal) => refusal,
        None => page(&request, &admin).await,
    }
}

/// Every agent. Whoever asks was let in.
pub(crate) async fn page(request: &HttpRequest, admin: &Data<Admin>) -> HttpResponse {
    let reading = read(admin.account.id, Arc::clone(&admin.roster), Arc::clone(&admin.store));
    let unavailable = |error: &dyn std::error::Error, text: &str| {
        tracing::warn!(error = %chain(error), "cannot list agents");
        answer::error(request, StatusCode::SERVICE_UNAVAILABLE, text)
    };
    match admin.runtime.run(reading).await {
        Ok(Ok(Read { roster, loads, rules, age_ms })) => {
            let capacity = |agent: &Agent| rules.capacity_of(agent.id).or(admin.policy.capacity);
            let agents = roster.agents.into_iter().map(|agent| row(capacity(&agent), agent, &loads));
            let agents = agents.collect();
            let roster =
                RosterStamp { version: roster.version, polled_at_ms: roster.polled_at.as_millis(), age_ms };
            HttpResponse::Ok().json(Page { account: admin.account.app_id.clone(), roster, agents })
        }
        Ok(Err(Unknown::NoRoster)) => {
            answer::error(request, StatusCode::SERVICE_UNAVAILABLE, &Unknown::NoRoster.to_string())
        }
        Ok(Err(error)) => unavailable(&error, &error.to_string()),
        Err(ended) => unavailable(&ended, "not available"),
    }
}

struct Read {
    roster: Roster,
    loads: BTreeMap<AgentId, AgentLoad>,
    rules: Arc<Rulebook>,
    age_ms: u64,
}

async fn read(
    account: AccountId,
    cache: Arc<dyn RosterCache>,
    store: Arc<dyn Store>,
) -> Result<Read, Unknown> {
    let roster = cache.newer_than(account, 0).await?.ok_or(Unknown::NoRoster)?;
    let loads = store.loads(account, roster.polled_at).await?;
    let rules = store.rulebook(account).await?;
    let age = store.now().await?.since(roster.polled_at);
    Ok(Read { roster, loads, rules, age_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX) })
}

fn row(capacity: Option<u32>, agent: Agent, loads: &BTreeMap<AgentId, AgentLoad>) -> Row {
    Row {
        id: agent.id,
        name: agent.name,
        role: agent.role,
        presence: agent.presence,
        forced_offline: agent.forced_offline,
        inboxes: agent.inboxes,
        load: loads.get(&agent.id).map_or(0, |load| load.open),
        capacity,
        reported_load: agent.reported_load,
    }
}
