//! The account, its inboxes and agents, pauses, and routes.

use schemars::JsonSchema;
use sebastian_core::{
    AgentId, InboxId, Rulebook,
    rulebook::{
        Route,
        edit::{AgentDraft, InboxDraft, Invalid, PauseDraft, Paused},
    },
};
use serde::{Deserialize, Serialize};

use super::{
    call::{Call, Changed, Deed, Refusal, Reply},
    views::{AccountView, AgentView, InboxView, RoutesView},
};

/// What is sent of routes: all of them.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct RoutesDraft {
    /// In order; the first to set a thing wins.
    routes: Vec<Route>,
}

pub(super) fn account(call: &Call<'_>, rules: &Rulebook) -> Result<Reply, Refusal> {
    let mut account = account_view(call, rules);
    account.rules_version = Some(rules.version);
    Ok(Reply::show(&account))
}

pub(super) fn pause_account(call: &Call<'_>, rules: &mut Rulebook) -> Result<Changed, Refusal> {
    pause(call, rules, Paused::Account, account_view)
}

pub(super) fn resume_account(call: &Call<'_>, rules: &mut Rulebook) -> Result<Changed, Refusal> {
    resume(call, rules, Paused::Account, account_view)
}

pub(super) fn inboxes(call: &Call<'_>, rules: &Rulebook) -> Result<Reply, Refusal> {
    let all = call.inboxes(rules);
    Ok(Reply::show(&all.into_iter().map(|id| InboxView::of(id, rules, call.now)).collect::<Vec<_>>()))
}

pub(super) fn inbox(call: &Call<'_>, rules: &Rulebook) -> Result<Reply, Refusal> {
    let id = call.inbox(call.id(0), rules)?;
    Ok(Reply::show(&InboxView::of(id, rules, call.now)))
}

pub(super) fn update_inbox(call: &Call<'_>, rules: &mut Rulebook) -> Result<Changed, Refusal> {
    let id = call.inbox(call.id(0), rules)?;
    let before = InboxView::of(id, rules, call.now);
    rules.update_inbox(id, call.wrapped::<InboxDraft>("inbox")?)?;
    let after = InboxView::of(id, rules, call.now);
    Ok(Changed::show(Deed { action: "update", resource: "inbox" }, id, Some(&before), &after))
}

pub(super) fn pause_inbox(call: &Call<'_>, rules: &mut Rulebook) -> Result<Changed, Refusal> {
    let id = call.inbox(call.id(0), rules)?;
    pause(call, rules, Paused::Inbox(id), |call, rules| InboxView::of(id, rules, call.now))
}

pub(super) fn resume_inbox(call: &Call<'_>, rules: &mut Rulebook) -> Result<Changed, Refusal> {
    let id = call.inbox(call.id(0), rules)?;
    resume(call, rules, Paused::Inbox(id), |call, rules| InboxView::of(id, rules, call.now))
}

pub(super) fn agents(call: &Call<'_>, rules: &Rulebook) -> Result<Reply, Refusal> {
    let all = call.agents(rules);
    Ok(Reply::show(&all.into_iter().map(|id| agent_view(id, call, rules)).collect::<Vec<_>>()))
}

pub(super) fn agent(call: &Call<'_>, rules: &Rulebook) -> Result<Reply, Refusal> {
    let id = call.agent(call.id(0), rules)?;
    Ok(Reply::show(&agent_view(id, call, rules)))
}

pub(super) fn update_agent(call: &Call<'_>, rules: &mut Rulebook) -> Result<Changed, Refusal> {
    let id = call.agent(call.id(0), rules)?;
    let before = AgentView::nameless(id, rules, call.now);
    rules.update_agent(id, call.wrapped::<AgentDraft>("agent")?)?;
    let after = AgentView::nameless(id, rules, call.now);
    let changed = Changed::show(Deed { action: "update", resource: "agent" }, id, Some(&before), &after);
    Ok(changed.replying(Reply::show(&agent_view(id, call, rules))))
}

pub(super) fn pause_agent(call: &Call<'_>, rules: &mut Rulebook) -> Result<Changed, Refusal> {
    let id = call.agent(call.id(0), rules)?;
    let changed =
        pause(call, rules, Paused::Agent(id), |call, rules| AgentView::nameless(id, rules, call.now))?;
    Ok(changed.replying(Reply::show(&agent_view(id, call, rules))))
}

pub(super) fn resume_agent(call: &Call<'_>, rules: &mut Rulebook) -> Result<Changed, Refusal> {
    let id = call.agent(call.id(0), rules)?;
    let changed =
        resume(call, rules, Paused::Agent(id), |call, rules| AgentView::nameless(id, rules, call.now))?;
    Ok(changed.replying(Reply::show(&agent_view(id, call, rules))))
}

pub(super) fn routes(_: &Call<'_>, rules: &Rulebook) -> Result<Reply, Refusal> {
    Ok(Reply::show(&RoutesView { routes: rules.routes.clone() }))
}

pub(super) fn set_routes(call: &Call<'_>, rules: &mut Rulebook) -> Result<Changed, Refusal> {
    let RoutesDraft { routes } = RoutesDraft::deserialize(call.body)
        .map_err(|error| Invalid::of("routes", &format!("are not understood: {error}")))?;
    let before = RoutesView { routes: rules.routes.clone() };
    rules.set_routes(routes)?;
    let after = RoutesView { routes: rules.routes.clone() };
    Ok(Changed::show(Deed { action: "update", resource: "routes" }, "routes", Some(&before), &after))
}

fn pause<V: Serialize>(
    call: &Call<'_>,
    rules: &mut Rulebook,
    what: Paused,
    view: impl Fn(&Call<'_>, &Rulebook) -> V,
) -> Result<Changed, Refusal> {
    let before = view(call, rules);
    rules.pause(what, call.draft::<PauseDraft>()?, call.now)?;
    Ok(Changed::show(deed("pause", what), number(what, call), Some(&before), &view(call, rules)))
}

fn resume<V: Serialize>(
    call: &Call<'_>,
    rules: &mut Rulebook,
    what: Paused,
    view: impl Fn(&Call<'_>, &Rulebook) -> V,
) -> Result<Changed, Refusal> {
    let before = view(call, rules);
    rules.resume(what, call.now);
    Ok(Changed::show(deed("resume", what), number(what, call), Some(&before), &view(call, rules)))
}

fn deed(action: &'static str, what: Paused) -> Deed {
    let resource = match what {
        Paused::Account => "account",
        Paused::Inbox(InboxId(_)) => "inbox",
        Paused::Agent(AgentId(_)) => "agent",
    };
    Deed { action, resource }
}

fn number(what: Paused, call: &Call<'_>) -> i64 {
    match what {
        Paused::Account => call.account.id.0,
        Paused::Inbox(InboxId(id)) | Paused::Agent(AgentId(id)) => id,
    }
}

fn account_view(call: &Call<'_>, rules: &Rulebook) -> AccountView {
    AccountView::of(call.account.id.0, &call.account.app_id, call.policy.preset, rules, call.now)
}

fn agent_view(id: AgentId, call: &Call<'_>, rules: &Rulebook) -> AgentView {
    AgentView::of(id, call.roster, rules, call.now)
}
