//! `sebastian parked`: chats that sit out for a reason of their own, and a new try for them.

use sebastian_core::{ParkReason, RoomId, State, Timestamp};
use sebastian_store::{Listed, Selection};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Form, Office, Parked, ParkedCommand, json as print_json, queue::span, table};
use crate::{config::Loaded, failure::Failure};

/// Most chats read, and tried again by `--all`.
const READ_MAX: u32 = 1_000;

/// A chat that sits out.
#[derive(Serialize)]
struct Row {
    room: String,
    why: ParkReason,
    /// When it takes its place again by itself.
    until: String,
    waiting_s: u64,
    /// How many times in a row the platform refused to let somebody have it.
    refusals: u32,
}

/// Lists them, or tries some again.
pub(crate) async fn parked(loaded: &Loaded, Parked { command }: Parked) -> Result<String, Failure> {
    let office = Office::open(loaded).await?;
    match command {
        ParkedCommand::List { form } => list(&office, form).await,
        ParkedCommand::Retry { rooms, form, .. } => retry(&office, rooms, form).await,
    }
}

async fn list(office: &Office<'_>, form: Form) -> Result<String, Failure> {
    let rows = read(office).await?;
    if form.json {
        return Ok(print_json(&json!(rows)));
    }
    if rows.is_empty() {
        return Ok("nothing is parked\n".to_owned());
    }
    let cells = |row: &Row| {
        let why = json!(row.why).as_str().unwrap_or_default().replace('_', " ");
        [row.room.clone(), span(row.waiting_s), row.refusals.to_string(), row.until.clone(), why]
    };
    Ok(table(["room", "waiting", "refusals", "until", "why"], rows.iter().map(cells)))
}

/// Those named, or with no name all that sit out now.
async fn retry(office: &Office<'_>, rooms: Vec<RoomId>, form: Form) -> Result<String, Failure> {
    let parked = read(office).await?;
    let is_parked = |room: &RoomId| parked.iter().any(|row| row.room == room.as_str());
    let all = || parked.iter().filter_map(|row| RoomId::parse(&row.room).ok()).collect();
    let (rooms, others): (Vec<RoomId>, Vec<RoomId>) =
        if rooms.is_empty() { (all(), Vec::new()) } else { rooms.into_iter().partition(is_parked) };
    let is_rung = office.operator().retry(&rooms).await?;
    if form.json {
        let names = |rooms: &[RoomId]| rooms.iter().map(|room| json!(room.as_str())).collect::<Value>();
        return Ok(print_json(&json!({ "retried": names(&rooms), "not_parked": names(&others) })));
    }
    let mut told: String = others.iter().map(|room| format!("{room} is not parked\n")).collect();
    told += &match rooms.len() {
        0 => "nothing to try again\n".to_owned(),
        many if is_rung => format!("tried again now: {many}\n"),
        many => format!("tried again at the workers' next sweep: {many}\n"),
    };
    Ok(told)
}

async fn read(office: &Office<'_>) -> Result<Vec<Row>, Failure> {
    let page = office.store.list(office.account.id, &Selection::Parked, READ_MAX).await?;
    Ok(page.conversations.into_iter().filter_map(|listed| row(listed, page.now)).collect())
}

fn row(Listed { conversation, .. }: Listed, now: Timestamp) -> Option<Row> {
    let State::Waiting { park: Some(park) } = conversation.state else { return None };
    Some(Row {
        room: conversation.room.to_string(),
        why: park.why,
        until: park.until.rfc3339(),
        waiting_s: now.since(conversation.opened_at).as_secs(),
        refusals: conversation.refusals,
    })
}
