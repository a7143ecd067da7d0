//! `sebastian explain ROOM`: why a room's conversation stands where it stands.

use std::fmt::Write;

use sebastian_core::{Candidate, Conversation, RoomId};
use sebastian_ingest::Explained;
use sebastian_roster::RedisRosterCache;
use sebastian_store::Store;

use crate::{
    compose::{PLATFORM, parts},
    config::{Loaded, Problem},
    failure::Failure,
};

/// Asks the ledger and the roster cache, and tells what they say as text. Needs no process to run.
pub(crate) async fn explain(loaded: &Loaded, room: &RoomId) -> Result<String, Failure> {
    let config = &loaded.config;
    let (store, redis) = (parts::store(config)?, parts::redis(config)?);
    let app_id = config.qiscus.app_id.as_ref().ok_or_else(|| Problem::missing("qiscus.app_id"))?;
    store.check_schema().await?;
    let account = store.open_account(PLATFORM, app_id).await?;
    let cache = RedisRosterCache::new(&redis);
    let explained = sebastian_ingest::explain(&store, &cache, account, room, &config.policy).await?;
    Ok(text(room, &explained))
}

fn text(room: &RoomId, explained: &Explained) -> String {
    let Conversation { id, inbox, opened_at, attempt, .. } = &explained.listed.conversation;
    let inbox = inbox.map_or_else(|| "an unknown inbox".to_owned(), |inbox| format!("inbox {inbox}"));
    let attempts = if *attempt == 1 { "1 attempt" } else { &format!("{attempt} attempts") };
    let sentence = &explained.explanation.sentence;
    let opened_at = opened_at.in_words();
    let mut text = format!(
        "room {room}: {sentence}\n\
         conversation {id} in {inbox}, opened at {opened_at}, {attempts} so far\n"
    );
    if !explained.explanation.agents.is_empty() {
        text.push('\n');
        text.push_str(&table(&explained.explanation.agents));
    }
    text
}

/// One line an agent, in columns as wide as what stands in them.
fn table(agents: &[Candidate]) -> String {
    let header = ["agent", "name", "load", "why not"].map(str::to_owned);
    let rows: Vec<[String; 4]> = std::iter::once(header).chain(agents.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let (id, name, load) = (width(0), width(1), width(2));
    let mut table = String::new();
    for [agent, called, holds, why] in &rows {
        let line = writeln!(table, "{agent:<id$}  {called:<name$}  {holds:<load$}  {why}");
        line.expect("writing to a string cannot fail");
    }
    table
}

fn row(agent: &Candidate) -> [String; 4] {
    let load = agent.load.map_or_else(|| "?".to_owned(), |load| load.to_string());
    let load = agent.capacity.map_or_else(|| load.clone(), |capacity| format!("{load}/{capacity}"));
    [agent.id.to_string(), agent.name.clone(), load, agent.why()]
}
