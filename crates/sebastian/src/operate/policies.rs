//! `sebastian policies`.

use std::fmt::Write;

use sebastian_core::PolicyId;
use serde_json::{Map, Value, json};

use super::{Office, Policies, PoliciesCommand, changed_json, field, in_force, json as print_json, table};
use crate::{
    config::Loaded,
    failure::{Failure, Usage},
};

/// What may be set of a policy.
const FIELDS: [&str; 12] = [
    "name",
    "description",
    "enabled",
    "assignment_order",
    "conversation_priority",
    "fair_distribution_limit",
    "fair_distribution_window",
    "exclude_older_than_hours",
    "capacity",
    "priority_boost",
    "reassigns_strays",
    "seed",
];

/// Fields that are text whatever they look like.
const TEXTS: [&str; 2] = ["name", "description"];

/// Does what was asked for, and returns what to print.
pub(crate) async fn policies(loaded: &Loaded, Policies { command }: Policies) -> Result<String, Failure> {
    // Wrong words are told before anything is connected to.
    let set = match &command {
        PoliciesCommand::Set { words, .. } => Some(to_set(words)?),
        _ => None,
    };
    let office = Office::open(loaded).await?;
    let operator = office.operator();
    match command {
        PoliciesCommand::List { form } => {
            let all = operator.policies().await?;
            Ok(if form.json { print_json(&all) } else { list(&all) })
        }
        PoliciesCommand::Show { id, form } => {
            let (policy, inboxes) = operator.policy(id).await?;
            if form.json {
                let mut shown = policy;
                shown["inboxes"] = inboxes["inboxes"].clone();
                return Ok(print_json(&shown));
            }
            Ok(show(&policy, &inboxes["inboxes"]))
        }
        PoliciesCommand::Set { form, .. } => {
            let (id, fields) = set.unwrap_or_default();
            let done = operator.set_policy(id, fields).await?;
            if form.json {
                return Ok(changed_json(&done));
            }
            let what = if id.is_some() { "policy" } else { "made policy" };
            let (number, name) = (field(&done.shown, "id"), field(&done.shown, "name"));
            Ok(format!("{what} {number} {name}: {}\n{}", summary(&done.shown), in_force(&done)))
        }
        PoliciesCommand::Link { inbox, policy, form } => {
            let done = operator.link(inbox, policy).await?;
            if form.json {
                return Ok(changed_json(&done));
            }
            let name = field(&done.shown, "name");
            Ok(format!("inbox {inbox} is dealt by policy {policy} {name}\n{}", in_force(&done)))
        }
        PoliciesCommand::Unlink { inbox, form } => {
            let done = operator.unlink(inbox).await?;
            if form.json {
                return Ok(changed_json(&done));
            }
            Ok(format!("inbox {inbox} is dealt by the account's own policy\n{}", in_force(&done)))
        }
    }
}

/// The policy's number, if one leads, and the fields.
fn to_set(words: &[String]) -> Result<(Option<PolicyId>, Value), Usage> {
    let (id, pairs) = match words.split_first() {
        Some((first, rest)) if !first.contains('=') => {
            let number = first.parse().ok().filter(|number| *number > 0);
            let wrong = || Usage(format!("{first} is neither a policy's number nor FIELD=VALUE"));
            (Some(PolicyId(number.ok_or_else(wrong)?)), rest)
        }
        _ => (None, words),
    };
    let mut fields = Map::new();
    for pair in pairs {
        let (key, text) = pair.split_once('=').ok_or_else(|| Usage(format!("{pair} is not FIELD=VALUE")))?;
        if !FIELDS.contains(&key) {
            return Err(Usage(format!(
                "{key} is no field of a policy; the fields are {}",
                FIELDS.join(", ")
            )));
        }
        fields.insert(key.to_owned(), value(key, text));
    }
    if fields.is_empty() {
        return Err(Usage("nothing to set: name a field and its value, such as enabled=false".to_owned()));
    }
    Ok((id, Value::Object(fields)))
}

/// A value as JSON has it where it is such, else as text.
fn value(key: &str, text: &str) -> Value {
    if TEXTS.contains(&key) {
        return json!(text);
    }
    serde_json::from_str(text).unwrap_or_else(|_| json!(text))
}

fn list(all: &Value) -> String {
    let rows: Vec<[String; 5]> = all.as_array().into_iter().flatten().map(row).collect();
    if rows.is_empty() {
        return "there is no policy: the account's own holds for every inbox. Make one with\n  \
                sebastian policies set name=Night assignment_order=round_robin\n"
            .to_owned();
    }
    table(["policy", "name", "enabled", "inboxes", "deals"], rows)
}

fn row(policy: &Value) -> [String; 5] {
    let of = |key| field(policy, key);
    [of("id"), of("name"), of("enabled"), of("assigned_inbox_count"), summary(policy)]
}

/// How a policy deals, in a few words.
fn summary(policy: &Value) -> String {
    let of = |key| field(policy, key);
    let mut words = format!("{}, {}", of("assignment_order"), of("conversation_priority"));
    let mut add = |key: &str, say: &dyn Fn(String) -> String| {
        if !policy[key].is_null() {
            words.push_str(", ");
            words.push_str(&say(field(policy, key)));
        }
    };
    let window = of("fair_distribution_window");
    add("fair_distribution_limit", &|limit| format!("at most {limit} per {window} s"));
    add("exclude_older_than_hours", &|hours| format!("not what is silent for over {hours} h"));
    add("capacity", &|capacity| format!("capacity {capacity}"));
    if policy["enabled"] == Value::Bool(false) {
        words.push_str(", disabled");
    }
    words
}

fn show(policy: &Value, inboxes: &Value) -> String {
    let mut text = String::new();
    let width = FIELDS.iter().map(|key| key.len()).max().unwrap_or_default();
    let mut line = |key: &str, value: &str| {
        writeln!(text, "{key:<width$}  {value}").expect("writing to a string cannot fail");
    };
    line("id", &field(policy, "id"));
    for key in FIELDS {
        line(key, &field(policy, key));
    }
    let linked: Vec<String> =
        inboxes.as_array().into_iter().flatten().map(|inbox| field(inbox, "id")).collect();
    line("inboxes", &if linked.is_empty() { "-".to_owned() } else { linked.join(", ") });
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(words: &[&str]) -> Result<(Option<PolicyId>, Value), String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        to_set(&words).map_err(|usage| usage.to_string())
    }

    #[test]
    fn a_number_leads_and_values_are_json_or_text() {
        let fields =
            json!({ "name": "12", "enabled": false, "capacity": null, "assignment_order": "random" });
        let words = ["name=12", "enabled=false", "capacity=null", "assignment_order=random"];
        assert_eq!(set(&words), Ok((None, fields.clone())));
        assert_eq!(set(&["3", "name=a=b"]), Ok((Some(PolicyId(3)), json!({ "name": "a=b" }))));
    }

    #[test]
    fn words_that_set_nothing_are_refused() {
        assert!(set(&["3"]).unwrap_err().starts_with("nothing to set"));
        assert!(set(&["Night"]).unwrap_err().starts_with("Night is neither"));
        assert!(set(&["name=x", "3"]).unwrap_err().starts_with("3 is not FIELD=VALUE"));
        let told = set(&["strategy=random"]).unwrap_err();
        assert!(told.starts_with("strategy is no field of a policy; the fields are name, "), "{told}");
    }
}
