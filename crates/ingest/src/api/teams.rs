//! Teams and their members.

use std::collections::BTreeSet;

use actix_web::http::StatusCode;
use schemars::JsonSchema;
use sebastian_core::{
    AgentId, Rulebook, TeamId,
    rulebook::edit::{EditError, Field, Invalid, TeamDraft},
};
use serde::Deserialize;

use super::{
    call::{Call, Changed, Deed, Refusal, Reply},
    views::{AgentView, TeamView},
};

/// What is sent of members.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct MembersDraft {
    /// The agents.
    user_ids: Field<Vec<i64>>,
}

const RESOURCE: &str = "team";

pub(super) fn list(_: &Call<'_>, rules: &Rulebook) -> Result<Reply, Refusal> {
    Ok(Reply::show(&rules.teams.iter().map(|(id, team)| TeamView::of(*id, team)).collect::<Vec<_>>()))
}

pub(super) fn show(call: &Call<'_>, rules: &Rulebook) -> Result<Reply, Refusal> {
    Ok(Reply::show(&view(team(call), rules)?))
}

pub(super) fn create(call: &Call<'_>, rules: &mut Rulebook) -> Result<Changed, Refusal> {
    let id = rules.create_team(call.wrapped::<TeamDraft>(RESOURCE)?, call.now)?;
    Ok(Changed::show(Deed { action: "create", resource: RESOURCE }, id, None::<&()>, &view(id, rules)?))
}

pub(super) fn update(call: &Call<'_>, rules: &mut Rulebook) -> Result<Changed, Refusal> {
    let before = view(team(call), rules)?;
    rules.update_team(team(call), call.wrapped::<TeamDraft>(RESOURCE)?, call.now)?;
    let after = view(team(call), rules)?;
    Ok(Changed::show(Deed { action: "update", resource: RESOURCE }, team(call), Some(&before), &after))
}

pub(super) fn delete(call: &Call<'_>, rules: &mut Rulebook) -> Result<Changed, Refusal> {
    let before = view(team(call), rules)?;
    rules.delete_team(team(call))?;
    Ok(Changed::gone(Deed { action: "delete", resource: RESOURCE }, team(call), &before))
}

pub(super) fn members(call: &Call<'_>, rules: &Rulebook) -> Result<Reply, Refusal> {
    Ok(Reply::show(&views(&rules.team(team(call))?.members, call, rules)))
}

pub(super) fn add_members(call: &Call<'_>, rules: &mut Rulebook) -> Result<Changed, Refusal> {
    change(call, rules, "add_members", true, |rules, agents| rules.add_members(team(call), agents, call.now))
}

pub(super) fn set_members(call: &Call<'_>, rules: &mut Rulebook) -> Result<Changed, Refusal> {
    change(call, rules, "set_members", true, |rules, agents| {
        rules.set_members(team(call), agents.iter().copied().collect(), call.now)
    })
}

pub(super) fn remove_members(call: &Call<'_>, rules: &mut Rulebook) -> Result<Changed, Refusal> {
    let changed = change(call, rules, "remove_members", false, |rules, agents| {
        rules.remove_members(team(call), agents, call.now)
    })?;
    Ok(changed.replying(Reply::empty(StatusCode::OK)))
}

/// Changes who is a member. The audit holds the numbers alone.
fn change(
    call: &Call<'_>,
    rules: &mut Rulebook,
    action: &'static str,
    must_exist: bool,
    edit: impl FnOnce(&mut Rulebook, &[AgentId]) -> Result<(), EditError>,
) -> Result<Changed, Refusal> {
    let before = rules.team(team(call))?.members.clone();
    let sent = match call.draft::<MembersDraft>()?.user_ids {
        Field::Is(sent) => sent,
        Field::Wrong(message) => return Err(Invalid::of("user_ids", &message).into()),
        Field::Absent | Field::Null => return Err(Refusal::Unwrapped("user_ids")),
    };
    let is_known = |id: &i64| !must_exist || call.agent(*id, rules).is_ok();
    if let Some(unknown) = sent.iter().find(|id| !is_known(id)) {
        return Err(Invalid::of("user_ids", &format!("holds {unknown}, who is no agent")).into());
    }
    let agents: Vec<AgentId> = sent.into_iter().map(AgentId).collect();
    edit(rules, &agents)?;
    let after = &rules.team(team(call))?.members;
    let changed = Changed::show(Deed { action, resource: RESOURCE }, team(call), Some(&before), after);
    Ok(changed.replying(Reply::show(&views(after, call, rules))))
}

fn views(members: &BTreeSet<AgentId>, call: &Call<'_>, rules: &Rulebook) -> Vec<AgentView> {
    members.iter().map(|id| AgentView::of(*id, call.roster, rules, call.now)).collect()
}

fn team(call: &Call<'_>) -> TeamId {
    TeamId(call.id(0))
}

fn view(id: TeamId, rules: &Rulebook) -> Result<TeamView, EditError> {
    Ok(TeamView::of(id, rules.team(id)?))
}
