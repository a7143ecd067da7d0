//! What changes of conversations, teams and agents set off.
//!
//! Chatwoot enqueues a job or does not. The product has no such moment: whatever happened, the next decision sees it. So
//! a row that enqueues a run means that the next decision gives out what may be given out, and a row that does nothing
//! means that the change gives nothing out.

use sebastian_core::{AgentId, Policy};
use serde_json::{Value, json};

use super::{
    format::read,
    world::{World, room},
};
use crate::report::{Problems, expect};

/// The conversation that changes, and one that waits behind it for the same agent.
const SUBJECT: i64 = 1;
const BEHIND: i64 = 2;
const MEMBER: i64 = 101;
const STRANGER: i64 = 199;

/// A row of kind `trigger`.
pub fn trigger(row: &Value, policy: &Policy) -> Result<Problems, String> {
    let given = &row["given"];
    let is_v2 = given["v2"] == true;
    let event = given["event"].as_str().unwrap_or_default();
    // Whoever is no member of the inbox any more, or never was, is a stranger to it.
    let assignee = given["assignee"].as_str().map(|who| if who == "member" { MEMBER } else { STRANGER });
    let (created, comes_online) = (event == "created", event == "agent_online");
    let mut conversations = Vec::new();
    let mut is_busy = comes_online;
    if !created && !comes_online {
        let status = given["from"].as_str().unwrap_or("open");
        let before = if given["assignee"].is_null() && status == "open" { Some(MEMBER) } else { assignee };
        conversations.push(conversation(SUBJECT, "11:01", status, before, None));
        is_busy = status == "open" && before == Some(MEMBER);
    }
    // Where agents have limits, somebody may wait for one to come free.
    if is_v2 && is_busy {
        conversations.push(conversation(BEHIND, "11:02", "open", None, None));
    }
    let mut world = World::new(read(&world(given, is_v2, conversations))?, &[], policy)?;
    set_presence(&mut world, if comes_online { "offline" } else { "online" });
    world.desk.run(crate::desk::NO_LIMIT);

    match event {
        "created" => {
            let status = given["status"].as_str().unwrap_or("open");
            let row = conversation(SUBJECT, "11:03", status, assignee, None);
            world.add(&[read(&row)?])?;
        }
        "updated" => {
            if given["assignee"].is_null() {
                world.set_assignee(SUBJECT, None)?;
            }
            let status = given["status"].as_str().unwrap_or("open");
            if given["from"] != status {
                world.set_status(SUBJECT, status)?;
            }
        }
        "agent_online" => set_presence(&mut world, "online"),
        "agent_deleted" | "agent_removed" => drop(world.desk.agents.remove(&AgentId(MEMBER))),
        other => return Err(format!("event {other} is not known")),
    }
    let given_out = world.desk.run(crate::desk::NO_LIMIT).given.len();
    let still =
        world.conversations.keys().any(|id| world.desk.waits(&room(*id)) && could_be_served(&world, *id));
    let mut problems = Problems::new();
    match row["then"]["action"].as_str().unwrap_or_default() {
        "none" => expect(&mut problems, "given out by the change", &0, &given_out),
        "enqueue_bulk" | "legacy_assign_now" => {
            expect(&mut problems, "somebody waits who could be served", &false, &still);
            let frees_or_opens = created || given["from"] == "open";
            if frees_or_opens || given["assignee"].is_null() {
                expect(&mut problems, "given out by the change", &1, &given_out);
            }
        }
        other => return Err(format!("action {other} is not known")),
    }
    Ok(problems)
}

fn could_be_served(world: &World, id: i64) -> bool {
    let conversation = world.desk.latest(&room(id));
    conversation.is_some_and(|one| one.status == sebastian_core::Status::Open)
        && world.desk.facts().loads.get(&AgentId(MEMBER)).is_none_or(|load| load.open == 0)
}

fn set_presence(world: &mut World, presence: &str) {
    for agent in world.desk.agents.values_mut() {
        agent.presence = super::world::presence(presence);
    }
}

fn conversation(id: i64, at: &str, status: &str, assignee: Option<i64>, team: Option<i64>) -> Value {
    let at = format!("2026-01-15T{at}:00Z");
    json!({
        "id": id, "inbox_id": 1, "status": status, "assignee_id": assignee, "ai_assignee_id": null,
        "team_id": team, "labels": [], "created_at": at, "last_activity_at": at,
    })
}

/// One agent, who may hold one conversation where accounts have such limits, and one who is no member of the inbox.
fn world(given: &Value, is_v2: bool, conversations: Vec<Value>) -> Value {
    let agent = |id: i64| {
        json!({
            "id": id, "presence": "online", "role": "agent", "inbox_member": id == MEMBER,
            "capacity_policy_id": is_v2.then_some(1),
        })
    };
    json!({
        "now": "2026-01-15T12:00:00Z",
        // A legacy account deals too, one conversation after the other.
        "account": {"id": 1, "features": ["assignment_v2", "advanced_assignment"]},
        "inbox": {"id": 1, "enable_auto_assignment": given["inbox_auto"]},
        "policy": null,
        "agents": [agent(MEMBER), agent(STRANGER)],
        "teams": [],
        "capacity_policies": [{
            "id": 1, "exclusion_rules": {}, "inbox_limits": [{"inbox_id": 1, "conversation_limit": 1}],
        }],
        "conversations": conversations, "assignment_log": [], "round_robin_next_first": [MEMBER],
    })
}

/// A row of kind `team_change`: conversation 1 is given to team 7.
pub fn team_change(row: &Value, policy: &Policy) -> Result<Problems, String> {
    let (given, then) = (&row["given"], &row["then"]);
    let team = &given["team"];
    let members: Vec<i64> = if team.is_null() { Vec::new() } else { read(&team["members"])? };
    let online: Vec<i64> = if given["online"].is_null() { Vec::new() } else { read(&given["online"])? };
    let assignee = given["assignee"].as_i64();
    let mut ids: Vec<i64> = members.iter().chain(&online).chain(&assignee).copied().collect();
    ids.sort_unstable();
    ids.dedup();
    let limit_of = |id: i64| given["capacity"].get(id.to_string());
    let agents = ids.iter().map(|id| {
        let presence = if online.contains(id) { "online" } else { "offline" };
        let capacity_policy = limit_of(*id).map(|_| *id);
        json!({"id": id, "presence": presence, "role": "agent", "inbox_member": true, "capacity_policy_id": capacity_policy})
    });
    let limited = || ids.iter().filter_map(|id| Some((*id, limit_of(*id)?)));
    let policies = limited().map(|(id, said)| {
        let limit = json!({"inbox_id": 1, "conversation_limit": said["limit"]});
        json!({"id": id, "exclusion_rules": {}, "inbox_limits": [limit]})
    });
    let open = limited().flat_map(|(id, said)| {
        let count = said["open"].as_i64().unwrap_or(0);
        (0..count).map(move |place| conversation(id * 100 + place, "11:30", "open", Some(id), None))
    });
    let subject = conversation(SUBJECT, "11:01", "open", assignee, None);
    // The team is set on top: it works whether or not the inbox deals.
    let world = json!({
        "now": "2026-01-15T12:00:00Z",
        "account": {"id": 1, "features": ["assignment_v2", "advanced_assignment"]},
        "inbox": {"id": 1, "enable_auto_assignment": false},
        "policy": null,
        "agents": agents.collect::<Vec<_>>(),
        "teams": [{"id": 7, "allow_auto_assign": team["allow_auto_assign"] == true, "members": members}],
        "capacity_policies": policies.collect::<Vec<_>>(),
        "conversations": open.chain([subject]).collect::<Vec<_>>(),
        "assignment_log": [], "round_robin_next_first": ids,
    });
    let world = World::new(read(&world)?, &[], policy)?;
    world.desk.set_team(&room(SUBJECT), Some(7));
    world.desk.run(crate::desk::NO_LIMIT);
    let mut problems = Problems::new();
    for (key, wanted) in then.as_object().into_iter().flatten() {
        match key.as_str() {
            "assignee" => {
                let found = world.assignee(SUBJECT).map(|agent| agent.0);
                expect(&mut problems, key, &wanted.as_i64(), &found);
            }
            "activities" => {
                problems.push("activities: Chatwoot writes these into its conversations".to_owned())
            }
            other => return Err(format!("{other} is not known")),
        }
    }
    Ok(problems)
}

/// A row of kind `team_retry`: an agent has come online.
pub fn team_retry(row: &Value, policy: &Policy) -> Result<Problems, String> {
    let (given, then) = (&row["given"], &row["then"]);
    let inbox_members: Vec<i64> = read(&given["inbox"]["members"])?;
    let mut agents = given["agents"].clone();
    for agent in agents.as_array_mut().into_iter().flatten() {
        agent["inbox_member"] = agent["id"].as_i64().is_some_and(|id| inbox_members.contains(&id)).into();
    }
    let waiting = given["waiting"].as_i64().unwrap_or(1);
    let conversations = (0..waiting).map(|place| {
        let mut one = given["conversation"].clone();
        one["id"] = (one["id"].as_i64().unwrap_or(SUBJECT) + place).into();
        one
    });
    let mut inbox = given["inbox"].clone();
    inbox.as_object_mut().map(|inbox| inbox.remove("members"));
    let world = json!({
        "now": given["now"],
        "account": {"id": 1, "features": ["assignment_v2", "advanced_assignment"]},
        "inbox": inbox, "policy": given.get("policy").cloned().unwrap_or_default(), "agents": agents,
        "teams": [given["team"]],
        "capacity_policies": [], "assignment_log": [], "round_robin_next_first": inbox_members,
        "conversations": conversations.collect::<Vec<_>>(),
    });
    let world = World::new(read(&world)?, &[], policy)?;
    let limit = given["batch_limit"].as_u64().and_then(|limit| u32::try_from(limit).ok());
    let run = world.desk.run(limit.unwrap_or(crate::desk::NO_LIMIT));
    let subject = given["conversation"]["id"].as_i64().unwrap_or(SUBJECT);
    let mut problems = Problems::new();
    for (key, wanted) in then.as_object().into_iter().flatten() {
        match key.as_str() {
            "assignee" => {
                let found = world.assignee(subject).map(|agent| agent.0);
                expect(&mut problems, key, &wanted.as_i64(), &found);
            }
            "followup" => expect(&mut problems, key, wanted, &run.more.into()),
            "bulk_job_for" => {}
            other => return Err(format!("{other} is not known")),
        }
    }
    Ok(problems)
}
