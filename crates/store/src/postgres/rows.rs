//! Rows to core types and back.

use std::time::SystemTime;

use sebastian_core::{
    AgentId, Closed, Conversation, ConversationId, Event, EventKind, InboxId, LatestService, Origin, Park,
    ParkReason, RoomId, Seq, ServiceId, Source, State, Timestamp,
};
use serde_json::{Value, json};
use tokio_postgres::{Row, types::FromSql};

use crate::StoreError;

/// Columns of a conversation `c` joined with its queue `q`, as [`conversation`] reads them.
macro_rules! conversation_columns {
    () => {
        "c.id, c.room_id, q.inbox_id, c.origin, c.position, c.state, c.agent_id, c.attempt, c.deadline_at,
         c.assigned_at, c.closed_at, c.closed_how, c.park_until, c.park_reason, c.opened_at, c.last_activity_at,
         c.service_id, c.opened_with, c.verify_at, c.verify_seq, c.refused, c.turn_charge"
    };
}
pub(super) use conversation_columns;

pub(super) fn conversation(row: &Row) -> Result<Conversation, StoreError> {
    Ok(Conversation {
        id: ConversationId(row.try_get("id")?),
        room: room(row)?,
        inbox: row.try_get::<_, Option<i64>>("inbox_id")?.map(InboxId),
        origin: match text(row, "origin")? {
            "event" => Origin::Event,
            "platform" => Origin::Platform,
            other => return Err(unreadable("origin", other)),
        },
        position: Seq(row.try_get("position")?),
        state: state(row)?,
        attempt: count(row, "attempt")?,
        opened_at: needed(row, "opened_at")?,
        last_activity_at: needed(row, "last_activity_at")?,
        service: service(row, "service_id")?,
        opened_with: service(row, "opened_with")?,
        verify_at: time(row, "verify_at")?,
        verify_seq: row.try_get::<_, Option<i64>>("verify_seq")?.map(Seq),
        refused: refused(&row.try_get("refused")?)?,
        turn_charge: row.try_get("turn_charge")?,
    })
}

fn state(row: &Row) -> Result<State, StoreError> {
    let agent = || needed_value(row, "agent_id").map(AgentId);
    Ok(match text(row, "state")? {
        "waiting" => State::Waiting { park: park(row)? },
        "reserved" => State::Reserved { agent: agent()?, deadline: needed(row, "deadline_at")? },
        "closing" => State::Closing { agent: agent()?, deadline: needed(row, "deadline_at")? },
        "assigned" => State::Assigned { agent: agent()?, at: needed(row, "assigned_at")? },
        "resolved" => State::Resolved { at: needed(row, "closed_at")?, how: closed(row)? },
        other => return Err(unreadable("state", other)),
    })
}

fn park(row: &Row) -> Result<Option<Park>, StoreError> {
    let Some(until) = time(row, "park_until")? else { return Ok(None) };
    let why = match text(row, "park_reason")? {
        "previous_closing" => ParkReason::PreviousClosing,
        "nobody_eligible" => ParkReason::NobodyEligible,
        "doubted" => ParkReason::Doubted,
        "refused" => ParkReason::Refused,
        other => return Err(unreadable("park_reason", other)),
    };
    Ok(Some(Park { until, why }))
}

fn closed(row: &Row) -> Result<Closed, StoreError> {
    Ok(match text(row, "closed_how")? {
        "resolved" => Closed::Resolved,
        "served_elsewhere" => Closed::ServedElsewhere,
        "room_gone" => Closed::RoomGone,
        other => return Err(unreadable("closed_how", other)),
    })
}

pub(super) fn event(row: &Row) -> Result<Event, StoreError> {
    let service = service(row, "service_id")?;
    let kind = match text(row, "kind")? {
        "allocate" => {
            let resolved = row.try_get::<_, Option<bool>>("service_resolved")?.unwrap_or(false);
            let latest_service = service.map(|id| LatestService { id, resolved });
            EventKind::Allocate {
                inbox: row.try_get::<_, Option<i64>>("inbox_id")?.map(InboxId),
                latest_service,
            }
        }
        "resolve" => EventKind::Resolve { service },
        other => return Err(unreadable("kind", other)),
    };
    let source = match text(row, "source")? {
        "webhook" => Source::Webhook,
        "reconcile" => Source::Reconcile,
        other => return Err(unreadable("source", other)),
    };
    Ok(Event {
        seq: Seq(row.try_get("seq")?),
        received_at: needed(row, "received_at")?,
        room: room(row)?,
        kind,
        source,
    })
}

/// Agents refused for a conversation, as stored: `[[agent, until_ms], …]`.
pub(super) fn refused(stored: &Value) -> Result<Vec<(AgentId, Timestamp)>, StoreError> {
    let pairs: Vec<(i64, i64)> = serde_json::from_value(stored.clone())
        .map_err(|e| StoreError::Broken("refused".into(), Some(e.into())))?;
    Ok(pairs.into_iter().map(|(agent, until)| (AgentId(agent), Timestamp::from_millis(until))).collect())
}

fn refused_json(refused: &[(AgentId, Timestamp)]) -> Value {
    refused.iter().map(|(agent, until)| json!([agent.0, until.as_millis()])).collect()
}

pub(super) fn time(row: &Row, column: &str) -> Result<Option<Timestamp>, StoreError> {
    Ok(row.try_get::<_, Option<SystemTime>>(column)?.map(Timestamp::from))
}

pub(super) fn needed(row: &Row, column: &str) -> Result<Timestamp, StoreError> {
    Ok(row.try_get::<_, SystemTime>(column)?.into())
}

pub(super) fn count(row: &Row, column: &str) -> Result<u32, StoreError> {
    let count: i32 = row.try_get(column)?;
    u32::try_from(count).map_err(|_| unreadable(column, &count.to_string()))
}

pub(super) fn room(row: &Row) -> Result<RoomId, StoreError> {
    let room = text(row, "room_id")?;
    RoomId::parse(room).map_err(|_| unreadable("room_id", room))
}

fn service(row: &Row, column: &str) -> Result<Option<ServiceId>, StoreError> {
    let Some(service) = row.try_get::<_, Option<&str>>(column)? else { return Ok(None) };
    ServiceId::parse(service).map(Some).map_err(|_| unreadable(column, service))
}

fn text<'r>(row: &'r Row, column: &str) -> Result<&'r str, StoreError> {
    needed_value(row, column)
}

fn needed_value<'r, T: FromSql<'r>>(row: &'r Row, column: &str) -> Result<T, StoreError> {
    Ok(row.try_get(column)?)
}

fn unreadable(column: &str, value: &str) -> StoreError {
    StoreError::Broken(format!("column {column} holds {value:?}"), None)
}

/// Conversations as one array a column, for `unnest`.
#[derive(Default)]
pub(super) struct Columns<'a> {
    pub id: Vec<i64>,
    pub room: Vec<&'a str>,
    pub inbox: Vec<Option<i64>>,
    pub origin: Vec<&'static str>,
    pub position: Vec<i64>,
    pub state: Vec<&'static str>,
    pub agent: Vec<Option<i64>>,
    pub attempt: Vec<i32>,
    pub deadline_at: Vec<Option<SystemTime>>,
    pub assigned_at: Vec<Option<SystemTime>>,
    pub closed_at: Vec<Option<SystemTime>>,
    pub closed_how: Vec<Option<&'static str>>,
    pub park_until: Vec<Option<SystemTime>>,
    pub park_reason: Vec<Option<&'static str>>,
    pub opened_at: Vec<SystemTime>,
    pub last_activity_at: Vec<SystemTime>,
    pub service: Vec<Option<&'a str>>,
    pub opened_with: Vec<Option<&'a str>>,
    pub verify_at: Vec<Option<SystemTime>>,
    pub verify_seq: Vec<Option<i64>>,
    pub refused: Vec<Value>,
    pub turn_charge: Vec<i64>,
}

impl<'a> Columns<'a> {
    pub fn of(conversations: &'a [Conversation]) -> Self {
        let mut columns = Self::default();
        conversations.iter().for_each(|conversation| columns.push(conversation));
        columns
    }

    fn push(&mut self, conversation: &'a Conversation) {
        self.id.push(conversation.id.0);
        self.room.push(conversation.room.as_str());
        self.inbox.push(conversation.inbox.map(|inbox| inbox.0));
        self.origin.push(match conversation.origin {
            Origin::Event => "event",
            Origin::Platform => "platform",
        });
        self.position.push(conversation.position.0);
        self.agent.push(conversation.holder().map(|agent| agent.0));
        self.attempt.push(i32::try_from(conversation.attempt).unwrap_or(i32::MAX));
        self.opened_at.push(conversation.opened_at.into());
        self.last_activity_at.push(conversation.last_activity_at.into());
        self.service.push(conversation.service.as_ref().map(ServiceId::as_str));
        self.opened_with.push(conversation.opened_with.as_ref().map(ServiceId::as_str));
        self.verify_at.push(conversation.verify_at.map(SystemTime::from));
        self.verify_seq.push(conversation.verify_seq.map(|seq| seq.0));
        self.refused.push(refused_json(&conversation.refused));
        self.turn_charge.push(conversation.turn_charge);
        self.push_state(&conversation.state);
    }

    fn push_state(&mut self, state: &State) {
        let (name, mut deadline, mut assigned, mut closed, mut parked) =
            (state_name(state), None, None, None, None);
        match *state {
            State::Waiting { park } => parked = park,
            State::Reserved { deadline: until, .. } | State::Closing { deadline: until, .. } => {
                deadline = Some(until)
            }
            State::Assigned { at, .. } => assigned = Some(at),
            State::Resolved { at, how } => closed = Some((at, how)),
        }
        self.state.push(name);
        self.deadline_at.push(deadline.map(SystemTime::from));
        self.assigned_at.push(assigned.map(SystemTime::from));
        self.closed_at.push(closed.map(|(at, _)| at.into()));
        self.closed_how.push(closed.map(|(_, how)| match how {
            Closed::Resolved => "resolved",
            Closed::ServedElsewhere => "served_elsewhere",
            Closed::RoomGone => "room_gone",
        }));
        self.park_until.push(parked.map(|park| park.until.into()));
        self.park_reason.push(parked.map(|park| match park.why {
            ParkReason::PreviousClosing => "previous_closing",
            ParkReason::NobodyEligible => "nobody_eligible",
            ParkReason::Doubted => "doubted",
            ParkReason::Refused => "refused",
        }));
    }
}

fn state_name(state: &State) -> &'static str {
    match state {
        State::Waiting { .. } => "waiting",
        State::Reserved { .. } => "reserved",
        State::Closing { .. } => "closing",
        State::Assigned { .. } => "assigned",
        State::Resolved { .. } => "resolved",
    }
}
