//! Agent capacity policies, their limits and their agents.

use actix_web::http::StatusCode;
use schemars::JsonSchema;
use sebastian_core::{
    CapacityPolicyId, InboxLimitId, Rulebook,
    rulebook::edit::{CapacityPolicyDraft, EditError, Field, InboxLimitDraft, Invalid},
};
use serde::Deserialize;

use super::{
    call::{Call, Changed, Deed, Refusal, Reply},
    views::{AgentView, CapacityPolicyView, InboxLimitView},
};

/// What is sent to put an agent under a policy.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct UserDraft {
    /// The agent.
    user_id: Field<i64>,
}

const RESOURCE: &str = "agent_capacity_policy";
const LIMIT: &str = "inbox_limit";

pub(super) fn list(_: &Call<'_>, rules: &Rulebook) -> Result<Reply, Refusal> {
    let all = rules.capacity_policies.iter();
    Ok(Reply::show(&all.map(|(id, policy)| CapacityPolicyView::of(*id, policy, rules)).collect::<Vec<_>>()))
}

pub(super) fn show(call: &Call<'_>, rules: &Rulebook) -> Result<Reply, Refusal> {
    Ok(Reply::show(&view(policy(call), rules)?))
}

pub(super) fn create(call: &Call<'_>, rules: &mut Rulebook) -> Result<Changed, Refusal> {
    let id = rules.create_capacity_policy(call.wrapped::<CapacityPolicyDraft>(RESOURCE)?, call.now)?;
    let deed = Deed { action: "create", resource: RESOURCE };
    Ok(Changed::show(deed, id, None::<&()>, &view(id, rules)?))
}

pub(super) fn update(call: &Call<'_>, rules: &mut Rulebook) -> Result<Changed, Refusal> {
    let id = policy(call);
    let before = view(id, rules)?;
    rules.update_capacity_policy(id, call.wrapped::<CapacityPolicyDraft>(RESOURCE)?, call.now)?;
    let deed = Deed { action: "update", resource: RESOURCE };
    Ok(Changed::show(deed, id, Some(&before), &view(id, rules)?))
}

pub(super) fn delete(call: &Call<'_>, rules: &mut Rulebook) -> Result<Changed, Refusal> {
    let id = policy(call);
    let before = view(id, rules)?;
    rules.delete_capacity_policy(id)?;
    Ok(Changed::gone(Deed { action: "delete", resource: RESOURCE }, id, &before))
}

pub(super) fn limits(call: &Call<'_>, rules: &Rulebook) -> Result<Reply, Refusal> {
    let limits = rules.capacity_policy(policy(call))?.inbox_limits.iter();
    Ok(Reply::show(&limits.copied().map(InboxLimitView::of).collect::<Vec<_>>()))
}

pub(super) fn add_limit(call: &Call<'_>, rules: &mut Rulebook) -> Result<Changed, Refusal> {
    let draft = call.draft::<InboxLimitDraft>()?;
    rules.capacity_policy(policy(call))?;
    if let Field::Is(inbox) = draft.inbox_id {
        call.inbox(inbox, rules)?;
    }
    let id = rules.add_inbox_limit(policy(call), draft, call.now)?;
    let view = InboxLimitView::of(rules.inbox_limit(policy(call), id)?);
    Ok(Changed::show(Deed { action: "create", resource: LIMIT }, id, None::<&()>, &view))
}

pub(super) fn set_limit(call: &Call<'_>, rules: &mut Rulebook) -> Result<Changed, Refusal> {
    let (policy, id) = (policy(call), InboxLimitId(call.id(1)));
    let before = InboxLimitView::of(rules.inbox_limit(policy, id)?);
    rules.set_inbox_limit(policy, id, call.draft::<InboxLimitDraft>()?, call.now)?;
    let after = InboxLimitView::of(rules.inbox_limit(policy, id)?);
    Ok(Changed::show(Deed { action: "update", resource: LIMIT }, id, Some(&before), &after))
}

pub(super) fn remove_limit(call: &Call<'_>, rules: &mut Rulebook) -> Result<Changed, Refusal> {
    let (policy, id) = (policy(call), InboxLimitId(call.id(1)));
    let before = InboxLimitView::of(rules.inbox_limit(policy, id)?);
    rules.remove_inbox_limit(policy, id, call.now)?;
    let changed = Changed::gone(Deed { action: "delete", resource: LIMIT }, id, &before);
    Ok(changed.replying(Reply::empty(StatusCode::NO_CONTENT)))
}

pub(super) fn users(call: &Call<'_>, rules: &Rulebook) -> Result<Reply, Refusal> {
    rules.capacity_policy(policy(call))?;
    let agents = rules.agents_under(policy(call));
    Ok(Reply::show(&agents.map(|id| AgentView::of(id, call.roster, rules, call.now)).collect::<Vec<_>>()))
}

pub(super) fn add_user(call: &Call<'_>, rules: &mut Rulebook) -> Result<Changed, Refusal> {
    rules.capacity_policy(policy(call))?;
    let id = match call.draft::<UserDraft>()?.user_id {
        Field::Is(id) => call.agent(id, rules)?,
        Field::Wrong(message) => return Err(Invalid::of("user_id", &message).into()),
        Field::Absent | Field::Null => return Err(Refusal::Unwrapped("user_id")),
    };
    let before = AgentView::nameless(id, rules, call.now);
    rules.put_under(id, policy(call))?;
    let after = AgentView::nameless(id, rules, call.now);
    let changed = Changed::show(Deed { action: "link", resource: "agent" }, id, Some(&before), &after);
    Ok(changed.replying(Reply::show(&AgentView::of(id, call.roster, rules, call.now))))
}

pub(super) fn remove_user(call: &Call<'_>, rules: &mut Rulebook) -> Result<Changed, Refusal> {
    rules.capacity_policy(policy(call))?;
    let id = call.agent(call.id(1), rules)?;
    let before = AgentView::nameless(id, rules, call.now);
    rules.take_out(id, policy(call))?;
    let after = AgentView::nameless(id, rules, call.now);
    let changed = Changed::show(Deed { action: "unlink", resource: "agent" }, id, Some(&before), &after);
    Ok(changed.replying(Reply::empty(StatusCode::OK)))
}

fn policy(call: &Call<'_>) -> CapacityPolicyId {
    CapacityPolicyId(call.id(0))
}

fn view(id: CapacityPolicyId, rules: &Rulebook) -> Result<CapacityPolicyView, EditError> {
    Ok(CapacityPolicyView::of(id, rules.capacity_policy(id)?, rules))
}
