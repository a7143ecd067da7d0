//! Rows to core types and back.

use rusqlite::{Row, ToSql, types::ValueRef};
use sebastian_core::{
    AgentId, Conversation, ConversationId, Event, EventKind, InboxId, LatestService, Park, QueueKey, RoomId,
    Seq, ServiceId, State, TeamId, Timestamp, Traits, Turn,
};
use serde::{Serialize, de::DeserializeOwned};

use super::error::broken;
use crate::{StoreError, words};

pub(super) fn conversation(row: &Row<'_>) -> Result<Conversation, StoreError> {
    Ok(Conversation {
        id: ConversationId(row.get("id")?),
        room: room(row)?,
        inbox: queue(row)?.inbox,
        traits: traits(row)?,
        origin: word(row, "origin", words::origin)?,
        position: Seq(row.get("position")?),
        rank: needed(row, "rank")?,
        state: state(row)?,
        status: word(row, "status", words::status)?,
        snoozed_until: time(row, "snoozed_until")?,
        slot_freed: row.get("slot_freed")?,
        attempt: row.get("attempt")?,
        opened_at: needed(row, "opened_at")?,
        last_activity_at: needed(row, "last_activity_at")?,
        service: service(row, "service_id")?,
        opened_with: service(row, "opened_with")?,
        verify_at: time(row, "verify_at")?,
        verify_from: row.get::<_, Option<i64>>("verify_seq")?.map(Seq).zip(time(row, "verify_from")?),
        refused: parsed(row, "refused")?.unwrap_or_default(),
        turn: parsed::<Turn>(row, "turn")?,
        replaces: row.get::<_, Option<i64>>("replaces_agent")?.map(AgentId),
        refusals: row.get("refusals")?,
        hops: row.get("hops")?,
    })
}

fn state(row: &Row<'_>) -> Result<State, StoreError> {
    let agent = || Ok::<_, StoreError>(AgentId(row.get("agent_id")?));
    Ok(match text(row, "state")? {
        "waiting" => State::Waiting { park: park(row)? },
        "reserved" => State::Reserved { agent: agent()?, deadline: needed(row, "deadline_at")? },
        "closing" => State::Closing { agent: agent()?, deadline: needed(row, "deadline_at")? },
        "assigned" => State::Assigned { agent: agent()?, at: needed(row, "assigned_at")? },
        "resolved" => {
            State::Resolved { at: needed(row, "closed_at")?, how: word(row, "closed_how", words::closed)? }
        }
        other => return Err(unreadable("state", other)),
    })
}

fn park(row: &Row<'_>) -> Result<Option<Park>, StoreError> {
    let Some(until) = time(row, "park_until")? else { return Ok(None) };
    Ok(Some(Park { until, why: word(row, "park_reason", words::park_reason)? }))
}

pub(super) fn event(row: &Row<'_>) -> Result<Event, StoreError> {
    let service = service(row, "service_id")?;
    let kind = match text(row, "kind")? {
        "allocate" => {
            let resolved = row.get::<_, Option<bool>>("service_resolved")?.unwrap_or(false);
            let latest_service = service.map(|id| LatestService { id, resolved });
            let hints = parsed(row, "details")?.unwrap_or_default();
            EventKind::Allocate { inbox: queue_inbox(row)?, latest_service, hints }
        }
        "resolve" => EventKind::Resolve { service },
        "update" => EventKind::Update(parsed(row, "details")?.unwrap_or_default()),
        other => return Err(unreadable("kind", other)),
    };
    Ok(Event {
        seq: Seq(row.get("seq")?),
        received_at: needed(row, "received_at")?,
        room: room(row)?,
        kind,
        source: word(row, "source", words::source)?,
    })
}

fn queue_inbox(row: &Row<'_>) -> Result<Option<InboxId>, StoreError> {
    Ok(row.get::<_, Option<i64>>("inbox_id")?.map(InboxId))
}

/// The queue that a row names by `inbox_id` and `team_id`.
pub(super) fn queue(row: &Row<'_>) -> Result<QueueKey, StoreError> {
    let team = row.get::<_, Option<i64>>("team_id")?.map(TeamId);
    Ok(QueueKey { inbox: queue_inbox(row)?, team })
}

/// What a conversation carries, its queue's team included.
pub(super) fn traits(row: &Row<'_>) -> Result<Traits, StoreError> {
    let traits = parsed::<Traits>(row, "traits")?.unwrap_or_default();
    Ok(Traits { team: queue(row)?.team, ..traits })
}

pub(super) fn room(row: &Row<'_>) -> Result<RoomId, StoreError> {
    let room = text(row, "room_id")?;
    RoomId::parse(room).map_err(|_| unreadable("room_id", room))
}

fn service(row: &Row<'_>, column: &str) -> Result<Option<ServiceId>, StoreError> {
    let Some(service) = optional_text(row, column)? else { return Ok(None) };
    ServiceId::parse(service).map(Some).map_err(|_| unreadable(column, service))
}

pub(super) fn time(row: &Row<'_>, column: &str) -> Result<Option<Timestamp>, StoreError> {
    Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_millis))
}

pub(super) fn needed(row: &Row<'_>, column: &str) -> Result<Timestamp, StoreError> {
    Ok(Timestamp::from_millis(row.get(column)?))
}

/// A value of the core's as a column of JSON has it.
pub(super) fn json(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|e| broken("a value cannot be written as JSON", e))
}

/// A column of JSON as a value of the core's.
pub(super) fn parsed<T: DeserializeOwned>(row: &Row<'_>, column: &str) -> Result<Option<T>, StoreError> {
    let Some(text) = optional_text(row, column)? else { return Ok(None) };
    serde_json::from_str(text).map(Some).map_err(|e| broken(&format!("column {column} does not read"), e))
}

/// A column that holds one of the ledger's words.
pub(super) fn word<T>(
    row: &Row<'_>,
    column: &str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, StoreError> {
    let word = text(row, column)?;
    parse(word).ok_or_else(|| unreadable(column, word))
}

pub(super) fn text<'r>(row: &'r Row<'_>, column: &str) -> Result<&'r str, StoreError> {
    optional_text(row, column)?.ok_or_else(|| unreadable(column, "nothing"))
}

fn optional_text<'r>(row: &'r Row<'_>, column: &str) -> Result<Option<&'r str>, StoreError> {
    match row.get_ref(column)? {
        ValueRef::Null => Ok(None),
        value => value.as_str().map(Some).map_err(|e| broken(&format!("column {column} is no text"), e)),
    }
}

fn unreadable(column: &str, value: &str) -> StoreError {
    StoreError::Broken(format!("column {column} holds {value:?}"), None)
}

/// A time as a column has it.
pub(super) fn millis(at: Timestamp) -> i64 {
    at.as_millis()
}

/// All rows of a statement, read by `read`.
pub(super) fn all<T>(
    tx: &rusqlite::Connection,
    sql: &'static str,
    values: &[&dyn ToSql],
    read: impl Fn(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut statement = tx.prepare_cached(sql)?;
    let mut rows = statement.query(values)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(found)
}

/// The one row of a statement that finds at most one.
pub(super) fn first<T>(
    tx: &rusqlite::Connection,
    sql: &'static str,
    values: &[&dyn ToSql],
    read: impl FnOnce(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    let mut statement = tx.prepare_cached(sql)?;
    let mut rows = statement.query(values)?;
    rows.next()?.map(read).transpose()
}

/// Runs a statement; how many rows it changed.
pub(super) fn run(
    tx: &rusqlite::Connection,
    sql: &'static str,
    values: &[&dyn ToSql],
) -> Result<usize, StoreError> {
    Ok(tx.prepare_cached(sql)?.execute(values)?)
}
