//! Parts of a decision on their own: rate windows, rotations, one choice, capacities, presence, leaves.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use sebastian_core::{
    Agent, AgentId, AgentLoad, Answers, ConversationId, FairDistribution, InboxId, Policy, Presence,
    QueueKey, QueueRules, RateWindow, Role, Rotation, Rulebook, Strategy, Timestamp,
    decide::explain,
    rulebook::{AgentRules, Day, InboxLimit, InboxRules, LeaveStatus, Overrides},
};
use serde_json::Value;

use super::{
    format::{number, read, time},
    world::{self, World},
};
use crate::{
    desk::{self, Picks, agent, head, snapshot},
    report::{Problems, expect},
};

const INBOX: InboxId = InboxId(1);
const AT: Timestamp = Timestamp::from_millis(1_768_478_400_000);

/// A row of kind `rate_limit`.
pub fn rate_limit(row: &Value, policy: &Policy) -> Result<Problems, String> {
    let (given, then) = (&row["given"], &row["then"]);
    let now = time(given["now"].as_str().unwrap_or_default())?;
    let rule = window_rule(&given["policy"], policy)?;
    let windows = windows(&given["assignment_log"])?;
    let only = windows.values().next().cloned().unwrap_or_default();
    let within = |window: &RateWindow| window.remaining(rule, now) > 0;
    let mut problems = Problems::new();
    for (key, wanted) in then.as_object().into_iter().flatten() {
        let found = match key.as_str() {
            "count" => only.count(rule.window, now).into(),
            "remaining" => only.remaining(rule, now).into(),
            "within_limit" => within(&only).into(),
            "counts_by_agent" => by_agent(&windows, |window| window.count(rule.window, now).into()),
            "within_by_agent" => by_agent(&windows, |window| within(window).into()),
            "track" => wanted.clone(),
            "recorded_at" | "expires_in_seconds" | "reset_at" => {
                let tracked = ConversationId(then["track"]["conversation_id"].as_i64().unwrap_or(1));
                let mut window = only.clone();
                window.give(tracked, now);
                recorded(key, &window, tracked, (rule, now))
            }
            other => return Err(format!("{other} is not known")),
        };
        if key.ends_with("_at") {
            expect(
                &mut problems,
                key,
                &time(wanted.as_str().unwrap_or_default())?,
                &time(found.as_str().unwrap_or_default())?,
            );
        } else {
            expect(&mut problems, key, wanted, &found);
        }
    }
    Ok(problems)
}

/// The limit in force for an inbox under this policy, or under none.
fn window_rule(row: &Value, policy: &Policy) -> Result<FairDistribution, String> {
    let number = |key: &str| row[key].as_u64().and_then(|number| u32::try_from(number).ok());
    let mut rules = Rulebook::default();
    if !row.is_null() {
        let fair = world::fair_distribution(
            number("fair_distribution_limit"),
            number("fair_distribution_window"),
            policy,
        );
        let linked =
            sebastian_core::rulebook::AssignmentPolicy { fair_distribution: fair, ..world::blank_policy() };
        let id = sebastian_core::PolicyId(1);
        rules.assignment_policies.insert(id, linked);
        rules.inboxes.insert(INBOX, InboxRules { policy: Some(id), ..InboxRules::default() });
    }
    let queue = QueueRules::of(&rules, policy, (Some(INBOX), None), AT);
    queue.fair_distribution.ok_or_else(|| "nothing is limited".to_owned())
}

/// The window of each agent of a log, as a ledger gives and takes.
fn windows(log: &Value) -> Result<BTreeMap<i64, RateWindow>, String> {
    let mut windows: BTreeMap<i64, RateWindow> = BTreeMap::new();
    for logged in read::<Vec<super::format::Logged>>(log)? {
        let window = windows.entry(logged.agent_id).or_default();
        window.give(ConversationId(logged.conversation_id), time(&logged.at)?);
    }
    Ok(windows)
}

fn by_agent(windows: &BTreeMap<i64, RateWindow>, answer: impl Fn(&RateWindow) -> Value) -> Value {
    windows
        .iter()
        .map(|(agent, window)| (agent.to_string(), answer(window)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// What a window tells of a conversation given just now: when, and how long it counts.
fn recorded(
    key: &str,
    window: &RateWindow,
    tracked: ConversationId,
    (rule, now): (FairDistribution, Timestamp),
) -> Value {
    let counts_at = |at| window.iter().any(|(_, one)| one == tracked) && window.count(rule.window, at) > 0;
    let ms = Duration::from_millis(1);
    let gone =
        (0..=rule.window.as_secs() + 1).find(|seconds| !counts_at(now + Duration::from_secs(*seconds)));
    let gone = gone.filter(|seconds| counts_at(now + Duration::from_secs(*seconds) - ms));
    match key {
        "recorded_at" => window.iter().find(|(_, one)| *one == tracked).map(|(at, _)| at.rfc3339()).into(),
        "reset_at" => gone.map(|seconds| (now + Duration::from_secs(seconds)).rfc3339()).into(),
        _ => gone.into(),
    }
}

/// A row of kind `queue`.
pub fn queue(row: &Value, policy: &Policy) -> Result<Problems, String> {
    let given = &row["given"];
    let mut members: Vec<AgentId> = ids(&given["members"])?;
    let policy = desk::round_robin(policy);
    let next_first = ids(&given["next_first"])?;
    let mut rotation = Rotation::from_stored(next_first.into_iter().zip((0..).map(|turn: i64| -turn)));
    let presence = |id: AgentId| {
        let said = given["presence"].get(id.0.to_string()).and_then(Value::as_str);
        said.map_or(Presence::Online, world::presence)
    };
    let mut problems = Problems::new();
    for step in row["steps"].as_array().into_iter().flatten() {
        let who = || step["agent_id"].as_i64().map(AgentId).ok_or("nobody is named");
        let mut picked = None;
        match step["op"].as_str().unwrap_or_default() {
            "pick" => {
                let allowed = ids(&step["allowed"])?;
                let everybody: BTreeSet<AgentId> = members.iter().chain(&allowed).copied().collect();
                let agents = everybody.iter().map(|id| {
                    let presence = if allowed.contains(id) { presence(*id) } else { Presence::Offline };
                    agent(*id, Role::Agent, presence, members.contains(id).then_some(INBOX))
                });
                let picks = Picks { agents: agents.collect(), rotation, policy: policy.clone() };
                let (chosen, after) = picks.several(1);
                (picked, rotation) = (chosen[0], after);
            }
            "member_added" => members.push(who()?),
            "member_removed" => {
                let gone = who()?;
                members.retain(|id| *id != gone);
            }
            other => return Err(format!("{other} is not known")),
        }
        for (key, wanted) in step["expect"].as_object().into_iter().flatten() {
            let line = || desk::line(&rotation, &members, &policy);
            match key.as_str() {
                "picked" => expect(&mut problems, key, &wanted.as_i64().map(AgentId), &picked),
                "picked_in" => {
                    let some = ids(wanted)?;
                    if !picked.is_some_and(|one| some.contains(&one)) {
                        problems.push(format!("picked_in: expected one of {some:?}, found {picked:?}"));
                    }
                }
                "next_first" => expect(&mut problems, key, &ids(wanted)?, &line()),
                "next_first_set" => {
                    let set: BTreeSet<AgentId> = line().into_iter().collect();
                    expect(&mut problems, key, &ids(wanted)?.into_iter().collect(), &set);
                }
                other => return Err(format!("{other} is not known")),
            }
        }
    }
    Ok(problems)
}

fn ids(list: &Value) -> Result<Vec<AgentId>, String> {
    read::<Vec<i64>>(list).map(|ids| ids.into_iter().map(AgentId).collect())
}

/// A row of kind `select`.
pub fn select(row: &Value, policy: &Policy) -> Result<Problems, String> {
    let (given, then) = (&row["given"], &row["then"]);
    let pool = ids(&given["pool"])?;
    let strategy = match given["strategy"].as_str().unwrap_or_default() {
        // Whom a service of others names is a proposal, whatever it went by.
        "round_robin" if given.get("queue_returns").is_some() => Strategy::Platform,
        "round_robin" => Strategy::RoundRobin,
        "balanced" => Strategy::Balanced,
        other => return Err(format!("strategy {other} is not known")),
    };
    let policy = Policy { strategy, ..desk::round_robin(policy) };
    let line = if given["next_first"].is_null() { Vec::new() } else { ids(&given["next_first"])? };
    let everybody: BTreeSet<AgentId> = pool.iter().chain(&line).copied().collect();
    let agents = everybody.iter().map(|id| {
        let presence = if pool.contains(id) { Presence::Online } else { Presence::Offline };
        agent(*id, Role::Agent, presence, [INBOX])
    });
    let open = given["open"].as_object().into_iter().flatten();
    let open: Result<Vec<(AgentId, u32)>, String> =
        open.map(|(id, count)| Ok((AgentId(number(id)?), read(count)?))).collect();
    let waiting = head(1, Some(INBOX), AT);
    let proposed = given["queue_returns"].as_str().and_then(|text| text.parse().ok()).map(AgentId);
    let snapshot = sebastian_core::Snapshot {
        loads: open
            .clone()?
            .into_iter()
            .map(|(id, open)| (id, AgentLoad { open, ..AgentLoad::none(id) }))
            .collect(),
        inbox_loads: open?.into_iter().map(|(id, open)| ((Some(INBOX), id), open)).collect(),
        answers: Arc::new(Answers {
            proposed: BTreeMap::from([(waiting.room.clone(), proposed)]),
            ..Answers::default()
        }),
        rotations: BTreeMap::from([(
            QueueKey { inbox: Some(INBOX), team: None },
            Rotation::from_stored(line.into_iter().zip((0..).map(|turn: i64| -turn))),
        )]),
        waiting: vec![waiting],
        ..snapshot(agents.collect(), AT)
    };
    let decisions = sebastian_core::decide::decide(&snapshot, &policy, AT);
    let selected = decisions.first().and_then(|one| match one.outcome {
        sebastian_core::Outcome::Reserve { agent, .. } => Some(agent),
        sebastian_core::Outcome::Pass | sebastian_core::Outcome::Ask | sebastian_core::Outcome::Park(_) => {
            None
        }
    });
    let mut problems = Problems::new();
    for (key, wanted) in then.as_object().into_iter().flatten() {
        match key.as_str() {
            "selected" => expect(&mut problems, key, &wanted.as_i64().map(AgentId), &selected),
            "selected_in" | "not_selected" => {
                let is_in = selected.is_some_and(|one| ids(wanted).unwrap_or_default().contains(&one));
                expect(&mut problems, key, &(key == "selected_in"), &is_in);
            }
            "chatwoot_selects" if !world::is_chatwoot(&policy) => {}
            "chatwoot_selects" => expect(&mut problems, key, &wanted.as_i64().map(AgentId), &selected),
            other => return Err(format!("{other} is not known")),
        }
    }
    Ok(problems)
}

/// A row of kind `capacity`.
pub fn capacity(row: &Value, policy: &Policy) -> Result<Problems, String> {
    let (given, then) = (&row["given"], &row["then"]);
    let features = given["features"].as_array().cloned();
    let has = |name: &str| features.as_ref().is_none_or(|features| features.iter().any(|one| one == name));
    let (is_v2, is_advanced) = (has("assignment_v2"), has("advanced_assignment"));
    let mut rules = Rulebook::default();
    // An account on v2 no longer reads the setting of the legacy one.
    let max = given["max_assignment_limit"].as_u64().filter(|_| !is_v2);
    let max_assignment_limit = max.and_then(|most| u32::try_from(most).ok());
    let overrides = Overrides { max_assignment_limit, ..Overrides::default() };
    rules.inboxes.insert(INBOX, InboxRules { overrides, ..InboxRules::default() });
    let mut agents = Vec::new();
    let mut snapshot = snapshot(Vec::new(), AT);
    for one in given["agents"].as_array().into_iter().flatten() {
        let id = AgentId(one["id"].as_i64().ok_or("an agent has no number")?);
        let count = |key: &str| one[key].as_u64().and_then(|count| u32::try_from(count).ok());
        let open = count("open").unwrap_or(0);
        let in_all = open + count("open_elsewhere").unwrap_or(0);
        agents.push(agent(id, Role::Agent, Presence::Online, [INBOX]));
        snapshot.loads.insert(id, AgentLoad { open: in_all, ..AgentLoad::none(id) });
        snapshot.inbox_loads.insert((Some(INBOX), id), open);
        if let Some(limit) = count("limit").filter(|_| is_advanced) {
            let own = sebastian_core::CapacityPolicyId(id.0);
            let limit = InboxLimit { id: sebastian_core::InboxLimitId(id.0), inbox: INBOX, limit };
            let mut capacity = world::blank_capacity_policy();
            capacity.inbox_limits.push(limit);
            rules.capacity_policies.insert(own, capacity);
            rules.agents.insert(id, AgentRules { capacity_policy: Some(own), ..AgentRules::default() });
        }
    }
    let fresh = desk::snapshot(agents, AT);
    let snapshot = sebastian_core::Snapshot { roster: fresh.roster, rules: rules.into(), ..snapshot };
    let verdicts = explain(&snapshot, policy, AT, &head(1, Some(INBOX), AT));
    let eligible: BTreeSet<AgentId> =
        verdicts.agents.iter().filter(|one| one.rejection.is_none()).map(|one| one.agent).collect();
    let mut problems = Problems::new();
    for (key, wanted) in then.as_object().into_iter().flatten() {
        match key.as_str() {
            "eligible" => expect(&mut problems, key, &ids(wanted)?.into_iter().collect(), &eligible),
            "not_eligible" => {
                let none = ids(wanted)?.into_iter().filter(|id| eligible.contains(id)).collect::<Vec<_>>();
                expect(&mut problems, key, &Vec::new(), &none);
            }
            "has_capacity" => {
                for (id, has) in wanted.as_object().into_iter().flatten() {
                    let found = eligible.contains(&AgentId(number(id)?));
                    expect(&mut problems, &format!("has_capacity of {id}"), has, &found.into());
                }
            }
            other => return Err(format!("{other} is not known")),
        }
    }
    Ok(problems)
}

/// A row of kind `presence`. Chatwoot works presence out of heartbeats and tells the result (`availability_status`); what is
/// ours is who is dealt conversations then.
pub fn presence(row: &Value, policy: &Policy) -> Result<Problems, String> {
    let mut problems = Problems::new();
    for (key, wanted) in row["then"].as_object().into_iter().flatten() {
        if key != "assignable" {
            problems.push(format!("{key}: Chatwoot's heartbeats are not ours to read"));
            continue;
        }
        let listed = row["then"]["listed"].as_object().into_iter().flatten();
        let agents = listed.map(|(id, text)| {
            let presence = world::presence(text.as_str().unwrap_or_default());
            Ok(agent(AgentId(number(id)?), Role::Agent, presence, [INBOX]))
        });
        let agents: Vec<Agent> = agents.collect::<Result<_, String>>()?;
        let dealt: Vec<AgentId> =
            agents.iter().filter(|one| policy.deals_to(one)).map(|one| one.id).collect();
        expect(&mut problems, key, &ids(wanted)?, &dealt);
    }
    Ok(problems)
}

/// A row of kind `leave`.
pub fn leave(row: &Value, policy: &Policy) -> Result<Problems, String> {
    let (given, then) = (&row["given"], &row["then"]);
    let mut problems = Problems::new();
    for (key, wanted) in then.as_object().into_iter().flatten() {
        match key.as_str() {
            "eligible" => expect(&mut problems, key, &ids(wanted)?, &off_leave(given, policy)?),
            "days" => expect(&mut problems, key, wanted, &read_leave(&given["leave"])?.days().into()),
            "active" => {
                let today = read_day(&given["today"])?;
                expect(&mut problems, key, wanted, &read_leave(&given["leave"])?.covers(noon(today)).into());
            }
            "approved_at_set" => {
                expect(&mut problems, key, wanted, &super::rules::approval_is_stamped(given)?.into());
            }
            "valid" => expect(&mut problems, key, wanted, &super::rules::leave_is_valid(given)?.into()),
            other => return Err(format!("{other} is not known")),
        }
    }
    Ok(problems)
}

/// Who of those online may be given a conversation. Leaves are always kept.
fn off_leave(given: &Value, policy: &Policy) -> Result<Vec<AgentId>, String> {
    let mut rules = Rulebook::default();
    for (number, row) in (1..).zip(given["leaves"].as_array().into_iter().flatten()) {
        rules.leaves.insert(sebastian_core::LeaveId(number), read_leave(row)?);
    }
    let at = noon(read_day(&given["today"])?);
    let agents =
        ids(&given["online"])?.into_iter().map(|id| agent(id, Role::Agent, Presence::Online, [INBOX]));
    let snapshot = sebastian_core::Snapshot { rules: rules.into(), ..snapshot(agents.collect(), at) };
    let verdicts = explain(&snapshot, policy, at, &head(1, Some(INBOX), at));
    Ok(verdicts.agents.iter().filter(|one| one.rejection.is_none()).map(|one| one.agent).collect())
}

fn read_day(text: &Value) -> Result<Day, String> {
    text.as_str().and_then(Day::parse).ok_or_else(|| format!("{text} is no day"))
}

fn noon(day: Day) -> Timestamp {
    Timestamp::from_millis(i64::from(day.0) * 86_400_000 + 43_200_000)
}

pub fn read_leave(row: &Value) -> Result<sebastian_core::rulebook::Leave, String> {
    let days = (read_day(&row["start_date"])?.0, read_day(&row["end_date"])?.0);
    let status: LeaveStatus = read(&row["status"])?;
    let agent = AgentId(row["agent_id"].as_i64().ok_or("a leave is nobody's")?);
    Ok(world::leave(agent, days, status))
}

/// A row of kind `concurrency`: workers decide at the same time over more than the limit lets through.
pub fn concurrency(row: &Value, policy: &Policy) -> Result<Problems, String> {
    let mut problems = Problems::new();
    let (given, then) = (&row["given"], &row["then"]);
    let at_most = then["recorded_at_most"].as_u64().ok_or("nothing is expected")?;
    let recorded = race(given, &given["threads"], policy)?;
    if recorded > at_most {
        problems.push(format!("recorded_at_most: expected {at_most}, found {recorded}"));
    }
    let strengthened = &row["strengthened"];
    if let Some(exactly) = strengthened["recorded_exactly"].as_u64() {
        expect(&mut problems, "recorded_exactly", &exactly, &race(given, &strengthened["threads"], policy)?);
    }
    Ok(problems)
}

fn race(given: &Value, threads: &Value, policy: &Policy) -> Result<u64, String> {
    let threads = threads.as_i64().ok_or("no number of threads")?;
    let limits = &given["policy"];
    let time_of = |place: i64| format!("2026-01-15T11:{:02}:{:02}Z", place / 60, place % 60);
    let conversation = |place: i64| {
        serde_json::json!({
            "id": place, "inbox_id": 1, "status": "open", "assignee_id": null, "ai_assignee_id": null,
            "team_id": null, "labels": [], "created_at": time_of(place), "last_activity_at": time_of(place),
        })
    };
    let world = serde_json::json!({
        "now": "2026-01-15T12:00:00Z",
        "account": {"id": 1, "features": ["assignment_v2"]},
        "inbox": {"id": 1, "enable_auto_assignment": true},
        "policy": {
            "id": 1, "enabled": true, "assignment_order": "round_robin",
            "conversation_priority": "earliest_created", "exclude_older_than_hours": null,
            "fair_distribution_limit": limits["fair_distribution_limit"],
            "fair_distribution_window": limits["fair_distribution_window"],
        },
        "agents": [{"id": 101, "presence": "online", "role": "agent", "inbox_member": true, "capacity_policy_id": null}],
        "teams": [], "capacity_policies": [], "assignment_log": [], "round_robin_next_first": [101],
        "conversations": (1..=threads).map(conversation).collect::<Vec<_>>(),
    });
    let world = World::new(read(&world)?, &[], policy)?;
    let recorded: usize = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| world.desk.run(1).given.len())).collect();
        workers.into_iter().map(|worker| worker.join().expect("no worker panics")).sum()
    });
    Ok(recorded as u64)
}
