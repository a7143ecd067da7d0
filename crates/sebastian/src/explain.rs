//! `sebastian explain ROOM`: why a room's conversation stands where it stands.

use sebastian_core::{Candidate, Conversation, RoomId};
use sebastian_ingest::Explained;

use crate::{
    config::Loaded,
    failure::Failure,
    operate::{Form, Office, table},
};

/// Asks the ledger and the roster cache, and tells what they say. Needs no process to run.
pub(crate) async fn explain(loaded: &Loaded, room: &RoomId, form: Form) -> Result<String, Failure> {
    let office = Office::open(loaded).await?;
    let (store, cache, account) = (&*office.store, &*office.cache, office.account.id);
    let explained = sebastian_ingest::explain(store, cache, account, room, &office.config.policy).await?;
    if form.json {
        let shown = serde_json::to_string_pretty(&explained.explanation);
        // An explanation has no form that cannot be printed.
        return Ok(shown.map(|text| text + "\n").unwrap_or_default());
    }
    Ok(text(room, &explained))
}

fn text(room: &RoomId, explained: &Explained) -> String {
    let Conversation { id, inbox, opened_at, attempt, .. } = &explained.listed.conversation;
    let inbox = inbox.map_or_else(|| "an unknown inbox".to_owned(), |inbox| format!("inbox {inbox}"));
    let attempts = if *attempt == 1 { "1 attempt" } else { &format!("{attempt} attempts") };
    let explanation = &explained.explanation;
    let (sentence, rules) = (&explanation.sentence, explanation.rules.in_words());
    let opened_at = opened_at.in_words();
    let mut text = format!(
        "room {room}: {sentence}\n\
         conversation {id} in {inbox}, opened at {opened_at}, {attempts} so far\n\
         dealt by {rules}\n"
    );
    let decided = explanation.decision.as_ref().map_or(&[][..], |decision| &decision.candidates);
    let agents = if explanation.agents.is_empty() { decided } else { &explanation.agents };
    if !agents.is_empty() {
        text.push('\n');
        text.push_str(&table(["agent", "name", "load", "why not"], agents.iter().map(row)));
    }
    text
}

fn row(agent: &Candidate) -> [String; 4] {
    let load = agent.load.map_or_else(|| "?".to_owned(), |load| load.to_string());
    let load = agent.capacity.map_or_else(|| load.clone(), |capacity| format!("{load}/{capacity}"));
    [agent.id.to_string(), agent.name.clone(), load, agent.why().to_owned()]
}
