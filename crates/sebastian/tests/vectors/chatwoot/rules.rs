//! What may be set, and what goes with what is deleted.

use sebastian_core::{
    AgentId, InboxId, LeaveId, Order, Policy, Rulebook, Strategy, Timestamp,
    rulebook::{
        LeaveStatus,
        edit::{CapacityPolicyDraft, EditError, InboxDraft, InboxLimitDraft, LeaveDraft, PolicyDraft},
    },
};
use serde_json::{Value, json};

use super::format::read;
use crate::report::{Problems, expect};

const AT: Timestamp = Timestamp::from_millis(1_768_478_400_000);

/// A row of kind `validate`.
pub fn validate(row: &Value, policy: &Policy) -> Result<Problems, String> {
    let mut problems = Problems::new();
    for (index, case) in row["cases"].as_array().into_iter().flatten().enumerate() {
        let mut rules = Rulebook::default();
        let tried = match row["model"].as_str().unwrap_or_default() {
            "assignment_policy" => assignment_policy(&mut rules, case, policy)?,
            "inbox_capacity_limit" => inbox_limit(&mut rules, case)?,
            "agent_capacity_policy" => capacity_policy(&mut rules, case)?,
            "inbox" => inbox(&mut rules, case)?,
            "leave" | "agent_leave" => leave(&mut rules, case)?,
            other => return Err(format!("model {other} is not known")),
        };
        let mut found = Problems::new();
        judge(case, tried, &mut found);
        problems.extend(found.into_iter().map(|problem| format!("case {}: {problem}", index + 1)));
    }
    Ok(problems)
}

/// What was stored, as the rows name it, or everything wrong with it.
type Tried = Result<Value, Vec<(String, String)>>;

fn judge(case: &Value, tried: Tried, problems: &mut Problems) {
    expect(problems, "valid", &case["valid"].as_bool(), &Some(tried.is_ok()));
    let wrong = tried.as_ref().err().cloned().unwrap_or_default();
    for (field, messages) in case["errors"].as_object().into_iter().flatten() {
        for message in messages.as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !wrong.iter().any(|(name, said)| name == field && said == message) {
                problems.push(format!("errors: expected {field} {message}, found {wrong:?}"));
            }
        }
    }
    for (field, wanted) in case["stored"].as_object().into_iter().flatten() {
        let found = tried.as_ref().ok().map_or(&Value::Null, |stored| &stored[field]);
        expect(problems, &format!("stored {field}"), wanted, found);
    }
}

fn wrong(error: EditError) -> Vec<(String, String)> {
    match error {
        EditError::Invalid(invalid) => {
            invalid.fields().map(|(field, message)| (field.to_owned(), message.to_owned())).collect()
        }
        // Chatwoot's API has other words for it than its model; ours are the API's.
        EditError::AlreadyLimited => vec![("inbox_id".to_owned(), "has already been taken".to_owned())],
        EditError::Unknown { .. } | EditError::NotLinked | EditError::NotPending(_) => {
            vec![("base".to_owned(), error.to_string())]
        }
    }
}

fn assignment_policy(rules: &mut Rulebook, case: &Value, policy: &Policy) -> Result<Tried, String> {
    for other in case["existing"].as_array().into_iter().flatten() {
        let draft: PolicyDraft = read(other)?;
        rules.create_policy(draft, policy, AT).map_err(|error| error.to_string())?;
    }
    let draft: PolicyDraft = read(&case["attrs"])?;
    let made = rules.create_policy(draft, policy, AT).map_err(wrong);
    Ok(made.map(|id| {
        let made = &rules.assignment_policies[&id];
        // Chatwoot's tables hold words as numbers.
        let order = [Strategy::RoundRobin, Strategy::Balanced].iter().position(|one| *one == made.strategy);
        let priority =
            [Order::EarliestCreated, Order::LongestWaiting].iter().position(|one| *one == made.order);
        json!({
            "name": made.name, "description": made.description, "enabled": made.enabled,
            "assignment_order": order, "conversation_priority": priority,
            "fair_distribution_limit": made.fair_distribution.map(|fair| fair.limit),
            "fair_distribution_window": made.fair_distribution.map(|fair| fair.window.as_secs()),
            "exclude_older_than_hours": made.exclude_older_than_hours,
        })
    }))
}

fn inbox_limit(rules: &mut Rulebook, case: &Value) -> Result<Tried, String> {
    let number = |row: &Value, key: &str| row[key].as_i64().unwrap_or(1);
    let existing: Vec<&Value> = case["existing"].as_array().into_iter().flatten().collect();
    let attrs = &case["attrs"];
    let all = existing.iter().copied().chain([attrs]).map(|row| number(row, "policy_id"));
    let most = all.max().unwrap_or(1);
    let mut ids = Vec::new();
    for _ in 0..most {
        let draft: CapacityPolicyDraft = read(&json!({"name": "a capacity policy"}))?;
        ids.push(rules.create_capacity_policy(draft, AT).map_err(|error| error.to_string())?);
    }
    let policy =
        |row: &Value| usize::try_from(number(row, "policy_id") - 1).ok().and_then(|place| ids.get(place));
    for other in existing {
        let id = *policy(other).ok_or("no such policy")?;
        let draft = read(&json!({"inbox_id": number(other, "inbox_id"), "conversation_limit": 1}))?;
        rules.add_inbox_limit(id, draft, AT).map_err(|error| error.to_string())?;
    }
    let mut sent = attrs.clone();
    sent["inbox_id"] = number(attrs, "inbox_id").into();
    let draft: InboxLimitDraft = read(&sent)?;
    let id = *policy(attrs).ok_or("no such policy")?;
    Ok(rules.add_inbox_limit(id, draft, AT).map_err(wrong).map(|limit| {
        let limit = rules.inbox_limit(id, limit).map(|limit| limit.limit).ok();
        json!({ "conversation_limit": limit })
    }))
}

fn capacity_policy(rules: &mut Rulebook, case: &Value) -> Result<Tried, String> {
    for other in case["existing"].as_array().into_iter().flatten() {
        rules.create_capacity_policy(read(other)?, AT).map_err(|error| error.to_string())?;
    }
    let made = rules.create_capacity_policy(read(&case["attrs"])?, AT).map_err(wrong);
    Ok(made.map(|id| {
        let made = &rules.capacity_policies[&id];
        json!({ "name": made.name, "description": made.description })
    }))
}

fn inbox(rules: &mut Rulebook, case: &Value) -> Result<Tried, String> {
    let draft: InboxDraft = read(&case["attrs"])?;
    Ok(rules.update_inbox(InboxId(1), draft).map_err(wrong).map(|()| json!({})))
}

fn leave(rules: &mut Rulebook, case: &Value) -> Result<Tried, String> {
    for (number, other) in (1_000..).zip(case["existing"].as_array().into_iter().flatten()) {
        rules.leaves.insert(LeaveId(number), super::parts::read_leave(other)?);
    }
    let draft: LeaveDraft = read(&case["attrs"])?;
    Ok(rules.file_leave(draft, AT).map_err(wrong).map(|_| json!({})))
}

/// Whether a leave may be filed beside those there are.
pub fn leave_is_valid(given: &Value) -> Result<bool, String> {
    let case = json!({ "attrs": given["leave"], "existing": given.get("leaves").or(given.get("existing")) });
    Ok(leave(&mut Rulebook::default(), &case)?.is_ok())
}

/// Whether granting a leave notes when.
pub fn approval_is_stamped(given: &Value) -> Result<bool, String> {
    let change: (LeaveStatus, LeaveStatus) = read(&given["status_change"])?;
    let mut rules = Rulebook::default();
    let leave = json!({"user_id": 101, "start_date": "2026-01-16", "end_date": "2026-01-17"});
    let filed = rules.file_leave(read(&leave)?, AT).map_err(|error| error.to_string())?;
    let changed = match change {
        (LeaveStatus::Pending, LeaveStatus::Approved) => rules.approve_leave(filed, AT),
        (LeaveStatus::Pending, LeaveStatus::Rejected) => rules.reject_leave(filed, AT),
        (LeaveStatus::Pending, LeaveStatus::Cancelled) => rules.cancel_leave(filed, AT),
        other => return Err(format!("{other:?} is not known")),
    };
    changed.map_err(|error| error.to_string())?;
    Ok(rules.leaves[&filed].approved_at == Some(AT))
}

/// A row of kind `cascade`: policies are deleted, with everything that hangs on them.
pub fn cascade(row: &Value, policy: &Policy) -> Result<Problems, String> {
    let mut rules = Rulebook::default();
    let (broken, now) = (|error: EditError| error.to_string(), AT);
    let linked = rules.create_policy(read(&json!({"name": "P"}))?, policy, now).map_err(broken)?;
    let capacity = rules.create_capacity_policy(read(&json!({"name": "C"}))?, now).map_err(broken)?;
    for (key, count) in row["given"].as_object().into_iter().flatten() {
        for number in 1..=count.as_i64().ok_or("no count")? {
            match key.as_str() {
                "limits" | "inbox_limits" => {
                    let draft = read(&json!({"inbox_id": number, "conversation_limit": 1}))?;
                    rules.add_inbox_limit(capacity, draft, now).map_err(broken)?;
                }
                "links" | "inbox_links" => rules.link(InboxId(number), linked).map_err(broken)?,
                "users" | "agents" => rules.put_under(AgentId(number), capacity).map_err(broken)?,
                other => return Err(format!("{other} is not known")),
            }
        }
    }
    rules.delete_policy(linked).map_err(broken)?;
    rules.delete_capacity_policy(capacity).map_err(broken)?;
    let mut problems = Problems::new();
    for (key, wanted) in row["then"].as_object().into_iter().flatten() {
        let found = match key.as_str() {
            "limits" | "inbox_limits" => {
                rules.capacity_policies.values().map(|policy| policy.inbox_limits.len()).sum()
            }
            "links" | "inbox_links" => rules.inboxes.values().filter(|inbox| inbox.policy.is_some()).count(),
            "users" | "agents" => {
                rules.agents.values().filter(|agent| agent.capacity_policy.is_some()).count()
            }
            other => return Err(format!("{other} is not known")),
        };
        expect(&mut problems, key, wanted, &found.into());
    }
    Ok(problems)
}
