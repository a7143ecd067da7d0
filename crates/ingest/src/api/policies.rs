//! Assignment policies and their links to inboxes.

use actix_web::http::StatusCode;
use schemars::JsonSchema;
use sebastian_core::{
    PolicyId, Rulebook,
    rulebook::edit::{EditError, Field, Invalid, PolicyDraft},
};
use serde::Deserialize;

use super::{
    call::{Call, Changed, Deed, Refusal, Reply},
    views::{InboxView, InboxesView, PolicyView},
};

/// What is sent to link an inbox to a policy.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct LinkDraft {
    /// The policy.
    assignment_policy_id: Field<PolicyId>,
}

const RESOURCE: &str = "assignment_policy";

pub(super) fn list(_: &Call<'_>, rules: &Rulebook) -> Result<Reply, Refusal> {
    let all = rules.assignment_policies.iter();
    Ok(Reply::show(&all.map(|(id, policy)| PolicyView::of(*id, policy, rules)).collect::<Vec<_>>()))
}

pub(super) fn show(call: &Call<'_>, rules: &Rulebook) -> Result<Reply, Refusal> {
    Ok(Reply::show(&view(PolicyId(call.id(0)), rules)?))
}

pub(super) fn create(call: &Call<'_>, rules: &mut Rulebook) -> Result<Changed, Refusal> {
    let id = rules.create_policy(call.wrapped::<PolicyDraft>(RESOURCE)?, call.policy, call.now)?;
    let deed = Deed { action: "create", resource: RESOURCE };
    Ok(Changed::show(deed, id, None::<&()>, &view(id, rules)?))
}

pub(super) fn update(call: &Call<'_>, rules: &mut Rulebook) -> Result<Changed, Refusal> {
    let id = PolicyId(call.id(0));
    let before = view(id, rules)?;
    rules.update_policy(id, call.wrapped::<PolicyDraft>(RESOURCE)?, call.policy, call.now)?;
    let deed = Deed { action: "update", resource: RESOURCE };
    Ok(Changed::show(deed, id, Some(&before), &view(id, rules)?))
}

pub(super) fn delete(call: &Call<'_>, rules: &mut Rulebook) -> Result<Changed, Refusal> {
    let id = PolicyId(call.id(0));
    let before = view(id, rules)?;
    rules.delete_policy(id)?;
    Ok(Changed::gone(Deed { action: "delete", resource: RESOURCE }, id, &before))
}

pub(super) fn inboxes(call: &Call<'_>, rules: &Rulebook) -> Result<Reply, Refusal> {
    let id = PolicyId(call.id(0));
    rules.assignment_policy(id)?;
    let inboxes = rules.inboxes_of_policy(id).map(|inbox| InboxView::of(inbox, rules, call.now)).collect();
    Ok(Reply::show(&InboxesView { inboxes }))
}

pub(super) fn show_link(call: &Call<'_>, rules: &Rulebook) -> Result<Reply, Refusal> {
    let (id, policy) = rules.policy_of_inbox(call.inbox(call.id(0), rules)?)?;
    Ok(Reply::show(&PolicyView::of(id, policy, rules)))
}

pub(super) fn link(call: &Call<'_>, rules: &mut Rulebook) -> Result<Changed, Refusal> {
    let inbox = call.inbox(call.id(0), rules)?;
    let policy = match call.draft::<LinkDraft>()?.assignment_policy_id {
        Field::Is(policy) => policy,
        Field::Wrong(message) => return Err(Invalid::of("assignment_policy_id", &message).into()),
        Field::Absent | Field::Null => return Err(Refusal::Unwrapped("assignment_policy_id")),
    };
    let before = InboxView::of(inbox, rules, call.now);
    rules.link(inbox, policy)?;
    let deed = Deed { action: "link", resource: "inbox" };
    let changed = Changed::show(deed, inbox, Some(&before), &InboxView::of(inbox, rules, call.now));
    Ok(changed.replying(Reply::show(&view(policy, rules)?)))
}

pub(super) fn unlink(call: &Call<'_>, rules: &mut Rulebook) -> Result<Changed, Refusal> {
    let inbox = call.inbox(call.id(0), rules)?;
    let before = InboxView::of(inbox, rules, call.now);
    rules.unlink(inbox)?;
    let deed = Deed { action: "unlink", resource: "inbox" };
    let changed = Changed::show(deed, inbox, Some(&before), &InboxView::of(inbox, rules, call.now));
    Ok(changed.replying(Reply::empty(StatusCode::OK)))
}

fn view(id: PolicyId, rules: &Rulebook) -> Result<PolicyView, EditError> {
    Ok(PolicyView::of(id, rules.assignment_policy(id)?, rules))
}
