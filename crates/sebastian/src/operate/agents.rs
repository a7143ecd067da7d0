//! `sebastian agents`: who is there, what they hold, and what is said of them.

use sebastian_core::{Agent, AgentLoad, NoRoster, Roster, Rulebook, Timestamp, rulebook::Leave};
use sebastian_store::Facts;
use serde::Serialize;
use serde_json::json;

use super::{Form, Office, json as print_json, table};
use crate::{config::Loaded, failure::Failure};

const MS_PER_DAY: i64 = 86_400_000;

/// An agent, as an operator looks at them.
#[derive(Serialize)]
struct Row {
    id: i64,
    name: String,
    role: String,
    presence: String,
    forced_offline: bool,
    /// As decisions count it. Null: unknown.
    load: Option<u32>,
    /// In all, as set for the agent, else for the account. Null: no limit.
    capacity: Option<u32>,
    weight: u32,
    paused: Option<Paused>,
    /// The last day of a leave that is on.
    on_leave_through: Option<String>,
    capacity_policy: Option<String>,
    teams: Vec<String>,
}

#[derive(Serialize)]
struct Paused {
    until: Option<String>,
    reason: Option<String>,
}

/// Every agent of the roster, as a table or as JSON.
pub(crate) async fn agents(loaded: &Loaded, form: Form) -> Result<String, Failure> {
    let office = Office::open(loaded).await?;
    let account = office.account.id;
    let roster = match office.cache.newer_than(account, 0).await {
        Ok(roster) => roster.ok_or(Failure::NoRoster(NoRoster::Missing))?,
        Err(_) => return Err(Failure::NoRoster(NoRoster::Unreachable)),
    };
    let facts = office.store.facts(account, roster.polled_at, &office.config.policy).await?;
    let now = office.store.now().await?;
    let default = office.config.policy.capacity;
    let rows: Vec<Row> = roster.agents.iter().map(|agent| row(agent, &facts, default, now)).collect();
    if form.json {
        let age_ms = u64::try_from(now.since(roster.polled_at).as_millis()).unwrap_or(u64::MAX);
        let roster =
            json!({ "version": roster.version, "polled_at": roster.polled_at.rfc3339(), "age_ms": age_ms });
        return Ok(print_json(&json!({ "roster": roster, "agents": rows })));
    }
    let stale = now.since(roster.polled_at) > office.config.policy.staleness_max;
    Ok(as_table(&rows, &roster, stale))
}

fn row(agent: &Agent, facts: &Facts, default: Option<u32>, now: Timestamp) -> Row {
    let (rules, none) = (&facts.rules, AgentLoad::none(agent.id));
    let said = rules.agent(agent.id);
    let paused = said.paused.filter(|paused| paused.stands(now));
    let teams = rules.teams.values().filter(|team| team.members.contains(&agent.id));
    Row {
        id: agent.id.0,
        name: printable(&agent.name),
        role: word(&agent.role),
        presence: word(&agent.presence),
        forced_offline: agent.forced_offline,
        load: facts.loads.get(&agent.id).unwrap_or(&none).effective(agent),
        capacity: rules.capacity_of(agent.id).or(default),
        weight: said.weight,
        paused: paused.map(|paused| Paused {
            until: paused.until.map(Timestamp::rfc3339),
            reason: paused.reason.as_deref().map(printable),
        }),
        on_leave_through: leave_of(agent, rules, now),
        capacity_policy: rules.capacity_policy_of(agent.id).map(|policy| printable(&policy.name)),
        teams: teams.map(|team| printable(&team.name)).collect(),
    }
}

fn leave_of(agent: &Agent, rules: &Rulebook, now: Timestamp) -> Option<String> {
    let on = |leave: &&Leave| leave.agent == agent.id && leave.covers(now);
    let last = rules.leaves.values().filter(on).map(|leave| leave.end).max()?;
    let day = Timestamp::from_millis(i64::from(last.0) * MS_PER_DAY).rfc3339();
    Some(day.split('T').next().unwrap_or_default().to_owned())
}

/// The word an enum is written as.
fn word(value: &impl Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

fn printable(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).collect::<String>().trim().to_owned()
}

fn as_table(rows: &[Row], roster: &Roster, stale: bool) -> String {
    let cells = rows.iter().map(|row| {
        let load = row.load.map_or_else(|| "?".to_owned(), |load| load.to_string());
        let load = row.capacity.map_or_else(|| load.clone(), |capacity| format!("{load}/{capacity}"));
        let presence = if row.role == "agent" {
            row.presence.clone()
        } else {
            format!("{} ({})", row.presence, row.role)
        };
        let policy = row.capacity_policy.clone().unwrap_or_else(|| "-".to_owned());
        let teams = if row.teams.is_empty() { "-".to_owned() } else { row.teams.join(", ") };
        [row.id.to_string(), row.name.clone(), presence, load, state(row), policy, teams]
    });
    let mut text = table(["agent", "name", "presence", "load", "state", "capacity policy", "teams"], cells);
    if stale {
        let polled_at = roster.polled_at.in_words();
        text.push_str(&format!("\nthis roster is of {polled_at}, too old to give anybody a chat\n"));
    }
    text
}

/// What keeps an agent from being given chats, as far as one can tell without a chat.
fn state(row: &Row) -> String {
    if row.forced_offline {
        return "forced offline".to_owned();
    }
    if let Some(last) = &row.on_leave_through {
        return format!("on leave through {last}");
    }
    if let Some(Paused { until, reason }) = &row.paused {
        let until = until.as_ref().map_or_else(String::new, |until| format!(" until {until}"));
        let reason = reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
        return format!("paused{until}{reason}");
    }
    match (row.load, row.capacity) {
        (Some(load), Some(capacity)) if load >= capacity => "full".to_owned(),
        (None, _) => "of unknown load".to_owned(),
        (Some(_), _) => "-".to_owned(),
    }
}
