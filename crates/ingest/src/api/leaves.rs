//! Leaves.

use sebastian_core::{
    LeaveId, Rulebook, Timestamp,
    rulebook::edit::{EditError, Field, Invalid, LeaveDraft},
};

use super::{
    call::{Call, Changed, Deed, Refusal, Reply},
    views::LeaveView,
};

const RESOURCE: &str = "leave";

/// All, or those of the agent `user_id`.
pub(super) fn list(call: &Call<'_>, rules: &Rulebook) -> Result<Reply, Refusal> {
    let number = |id: &str| id.parse::<i64>().map_err(|_| Invalid::of("user_id", "is not a number"));
    let whose = call.parameter("user_id").map(number).transpose()?;
    let asked = rules.leaves.iter().filter(|(_, leave)| whose.is_none_or(|id| leave.agent.0 == id));
    Ok(Reply::show(&asked.map(|(id, leave)| LeaveView::of(*id, leave, call.now)).collect::<Vec<_>>()))
}

pub(super) fn show(call: &Call<'_>, rules: &Rulebook) -> Result<Reply, Refusal> {
    Ok(Reply::show(&view(leave(call), rules, call.now)?))
}

pub(super) fn create(call: &Call<'_>, rules: &mut Rulebook) -> Result<Changed, Refusal> {
    let draft = call.wrapped::<LeaveDraft>(RESOURCE)?;
    if let Field::Is(agent) = draft.user_id {
        call.agent(agent, rules)?;
    }
    let id = rules.file_leave(draft, call.now)?;
    let deed = Deed { action: "create", resource: RESOURCE };
    Ok(Changed::show(deed, id, None::<&()>, &view(id, rules, call.now)?))
}

pub(super) fn update(call: &Call<'_>, rules: &mut Rulebook) -> Result<Changed, Refusal> {
    let draft = call.wrapped::<LeaveDraft>(RESOURCE)?;
    change(call, rules, "update", |rules| rules.update_leave(leave(call), draft, call.now))
}

pub(super) fn approve(call: &Call<'_>, rules: &mut Rulebook) -> Result<Changed, Refusal> {
    change(call, rules, "approve", |rules| rules.approve_leave(leave(call), call.now))
}

pub(super) fn reject(call: &Call<'_>, rules: &mut Rulebook) -> Result<Changed, Refusal> {
    change(call, rules, "reject", |rules| rules.reject_leave(leave(call), call.now))
}

pub(super) fn cancel(call: &Call<'_>, rules: &mut Rulebook) -> Result<Changed, Refusal> {
    change(call, rules, "cancel", |rules| rules.cancel_leave(leave(call), call.now))
}

pub(super) fn delete(call: &Call<'_>, rules: &mut Rulebook) -> Result<Changed, Refusal> {
    let before = view(leave(call), rules, call.now)?;
    rules.delete_leave(leave(call))?;
    Ok(Changed::gone(Deed { action: "delete", resource: RESOURCE }, leave(call), &before))
}

fn change(
    call: &Call<'_>,
    rules: &mut Rulebook,
    action: &'static str,
    edit: impl FnOnce(&mut Rulebook) -> Result<(), EditError>,
) -> Result<Changed, Refusal> {
    let before = view(leave(call), rules, call.now)?;
    edit(rules)?;
    let after = view(leave(call), rules, call.now)?;
    Ok(Changed::show(Deed { action, resource: RESOURCE }, leave(call), Some(&before), &after))
}

fn leave(call: &Call<'_>) -> LeaveId {
    LeaveId(call.id(0))
}

fn view(id: LeaveId, rules: &Rulebook, now: Timestamp) -> Result<LeaveView, EditError> {
    Ok(LeaveView::of(id, rules.leave(id)?, now))
}
