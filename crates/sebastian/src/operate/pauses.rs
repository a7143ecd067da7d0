//! `sebastian pause` and `sebastian resume`.

use sebastian_core::rulebook::edit::Paused;
use serde_json::{Value, json};

use super::{Form, Office, Pause, Resume, What, changed_json, in_force};
use crate::{config::Loaded, failure::Failure};

/// Gives an agent, an inbox or the account nothing for a while.
pub(crate) async fn pause(loaded: &Loaded, asked: Pause) -> Result<String, Failure> {
    let office = Office::open(loaded).await?;
    let Pause { what, span, until, reason, reassign, form } = asked;
    let until = match span {
        Some(span) => Some((office.store.now().await? + span).rfc3339()),
        None => until,
    };
    let mut draft = json!({ "until": until, "reason": reason });
    if reassign {
        draft["reassigns"] = Value::Bool(true);
    }
    let done = office.operator().pause(paused(what), &draft).await?;
    if form.json {
        return Ok(changed_json(&done));
    }
    let until = until.map_or_else(|| "until resumed".to_owned(), |until| format!("until {until}"));
    Ok(format!("{} is paused {until}\n{}", named(what), in_force(&done)))
}

/// Ends such a pause.
pub(crate) async fn resume(loaded: &Loaded, Resume { what, form }: Resume) -> Result<String, Failure> {
    let office = Office::open(loaded).await?;
    let done = office.operator().resume(paused(what)).await?;
    let Form { json } = form;
    if json {
        return Ok(changed_json(&done));
    }
    Ok(format!("{} is not paused\n{}", named(what), in_force(&done)))
}

fn paused(What { agent, inbox }: What) -> Paused {
    match (agent, inbox) {
        (Some(agent), _) => Paused::Agent(agent),
        (None, Some(inbox)) => Paused::Inbox(inbox),
        (None, None) => Paused::Account,
    }
}

fn named(what: What) -> String {
    match paused(what) {
        Paused::Account => "the account".to_owned(),
        Paused::Inbox(inbox) => format!("inbox {inbox}"),
        Paused::Agent(agent) => format!("agent {agent}"),
    }
}
