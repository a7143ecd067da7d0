//! Rows to core types and back.

use std::time::SystemTime;

use sebastian_core::{
    AgentId, Conversation, ConversationId, Event, EventKind, InboxId, LatestService, Park, QueueKey, RoomId,
    Seq, ServiceId, State, TeamId, Timestamp, Traits, Turn,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio_postgres::{Row, types::FromSql};

use super::error::broken;
use crate::{
    StoreError,
    words::{self, StateColumns},
};

pub(super) fn conversation(row: &Row) -> Result<Conversation, StoreError> {
    Ok(Conversation {
        id: ConversationId(row.try_get("id")?),
        room: room(row)?,
        inbox: queue(row)?.inbox,
        traits: traits(row)?,
        origin: word(row, "origin", words::origin)?,
        position: Seq(row.try_get("position")?),
        rank: needed(row, "rank")?,
        state: state(row)?,
        status: word(row, "status", words::status)?,
        snoozed_until: time(row, "snoozed_until")?,
        slot_freed: row.try_get("slot_freed")?,
        attempt: count(row, "attempt")?,
        opened_at: needed(row, "opened_at")?,
        last_activity_at: needed(row, "last_activity_at")?,
        service: service(row, "service_id")?,
        opened_with: service(row, "opened_with")?,
        verify_at: time(row, "verify_at")?,
        verify_from: verify_from(row)?,
        refused: parsed(row, "refused")?.unwrap_or_default(),
        turn: parsed::<Turn>(row, "turn")?,
        replaces: agent(row, "replaces_agent")?,
        refusals: count(row, "refusals")?,
        hops: count(row, "hops")?,
    })
}

/// The first version of this program writes no time: the customer's last message is the nearest there is.
fn verify_from(row: &Row) -> Result<Option<(Seq, Timestamp)>, StoreError> {
    let Some(seq) = row.try_get::<_, Option<i64>>("verify_seq")? else { return Ok(None) };
    let began = match time(row, "verify_from")? {
        Some(began) => began,
        None => needed(row, "last_activity_at")?,
    };
    Ok(Some((Seq(seq), began)))
}

/// The queue that a row names by `inbox_id` and `team_id`.
pub(super) fn queue(row: &Row) -> Result<QueueKey, StoreError> {
    Ok(QueueKey {
        inbox: row.try_get::<_, Option<i64>>("inbox_id")?.map(InboxId),
        team: row.try_get::<_, Option<i64>>("team_id")?.map(TeamId),
    })
}

/// What a conversation carries, its queue's team included.
pub(super) fn traits(row: &Row) -> Result<Traits, StoreError> {
    let traits = parsed::<Traits>(row, "traits")?.unwrap_or_default();
    Ok(Traits { team: queue(row)?.team, ..traits })
}

pub(super) fn agent(row: &Row, column: &str) -> Result<Option<AgentId>, StoreError> {
    Ok(row.try_get::<_, Option<i64>>(column)?.map(AgentId))
}

/// A value of the core's as a column of JSON has it.
pub(super) fn json(value: &impl Serialize) -> Result<Value, StoreError> {
    serde_json::to_value(value).map_err(|e| broken("a value cannot be written as JSON", e))
}

/// A column of JSON as a value of the core's.
pub(super) fn parsed<T: DeserializeOwned>(row: &Row, column: &str) -> Result<Option<T>, StoreError> {
    let Some(value) = row.try_get::<_, Option<Value>>(column)? else { return Ok(None) };
    serde_json::from_value(value).map(Some).map_err(|e| broken(&format!("column {column} does not read"), e))
}

fn state(row: &Row) -> Result<State, StoreError> {
    let agent = || needed_value(row, "agent_id").map(AgentId);
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

fn park(row: &Row) -> Result<Option<Park>, StoreError> {
    let Some(until) = time(row, "park_until")? else { return Ok(None) };
    Ok(Some(Park { until, why: word(row, "park_reason", words::park_reason)? }))
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
                hints: parsed(row, "details")?.unwrap_or_default(),
            }
        }
        "resolve" => EventKind::Resolve { service },
        "update" => EventKind::Update(parsed(row, "details")?.unwrap_or_default()),
        other => return Err(unreadable("kind", other)),
    };
    Ok(Event {
        seq: Seq(row.try_get("seq")?),
        received_at: needed(row, "received_at")?,
        room: room(row)?,
        kind,
        source: word(row, "source", words::source)?,
    })
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

pub(super) fn version(row: &Row, column: &str) -> Result<u64, StoreError> {
    let version: i64 = row.try_get(column)?;
    u64::try_from(version).map_err(|_| unreadable(column, &version.to_string()))
}

/// Inboxes and teams, one array each, as statements find queues by them.
pub(super) fn queue_columns<'a>(
    queues: impl Iterator<Item = &'a QueueKey>,
) -> (Vec<Option<i64>>, Vec<Option<i64>>) {
    queues.map(|key| (key.inbox.map(|inbox| inbox.0), key.team.map(|team| team.0))).unzip()
}

pub(super) fn room(row: &Row) -> Result<RoomId, StoreError> {
    room_in(row, "room_id")
}

pub(super) fn room_in(row: &Row, column: &str) -> Result<RoomId, StoreError> {
    let room = text(row, column)?;
    RoomId::parse(room).map_err(|_| unreadable(column, room))
}

pub(super) fn services(row: &Row, column: &str) -> Result<Vec<ServiceId>, StoreError> {
    let services = row.try_get::<_, Vec<&str>>(column)?.into_iter();
    services.map(|service| ServiceId::parse(service).map_err(|_| unreadable(column, service))).collect()
}

fn service(row: &Row, column: &str) -> Result<Option<ServiceId>, StoreError> {
    let Some(service) = row.try_get::<_, Option<&str>>(column)? else { return Ok(None) };
    ServiceId::parse(service).map(Some).map_err(|_| unreadable(column, service))
}

/// A column that holds one of the ledger's words.
fn word<T>(row: &Row, column: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, StoreError> {
    let word = text(row, column)?;
    parse(word).ok_or_else(|| unreadable(column, word))
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
    pub team: Vec<Option<i64>>,
    pub traits: Vec<Value>,
    pub origin: Vec<&'static str>,
    pub position: Vec<i64>,
    pub rank: Vec<SystemTime>,
    pub status: Vec<&'static str>,
    pub snoozed_until: Vec<Option<SystemTime>>,
    pub slot_freed: Vec<bool>,
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
    pub verify_from: Vec<Option<SystemTime>>,
    pub refused: Vec<Value>,
    pub turn: Vec<Option<Value>>,
    pub replaces: Vec<Option<i64>>,
    pub refusals: Vec<i32>,
    pub hops: Vec<i32>,
}

impl<'a> Columns<'a> {
    pub fn of(conversations: &'a [Conversation]) -> Result<Self, StoreError> {
        let mut columns = Self::default();
        conversations.iter().try_for_each(|conversation| columns.push(conversation))?;
        Ok(columns)
    }

    fn push(&mut self, conversation: &'a Conversation) -> Result<(), StoreError> {
        self.id.push(conversation.id.0);
        self.room.push(conversation.room.as_str());
        self.inbox.push(conversation.inbox.map(|inbox| inbox.0));
        self.team.push(conversation.traits.team.map(|team| team.0));
        self.traits.push(json(&Traits { team: None, ..conversation.traits.clone() })?);
        self.origin.push(words::origin_word(conversation.origin));
        self.position.push(conversation.position.0);
        self.rank.push(conversation.rank.into());
        self.status.push(words::status_word(conversation.status));
        self.snoozed_until.push(conversation.snoozed_until.map(SystemTime::from));
        self.slot_freed.push(conversation.slot_freed);
        self.agent.push(conversation.holder().map(|agent| agent.0));
        self.attempt.push(signed(conversation.attempt));
        self.opened_at.push(conversation.opened_at.into());
        self.last_activity_at.push(conversation.last_activity_at.into());
        self.service.push(conversation.service.as_ref().map(ServiceId::as_str));
        self.opened_with.push(conversation.opened_with.as_ref().map(ServiceId::as_str));
        self.verify_at.push(conversation.verify_at.map(SystemTime::from));
        self.verify_seq.push(conversation.verify_from.map(|(seq, _)| seq.0));
        self.verify_from.push(conversation.verify_from.map(|(_, began)| began.into()));
        self.refused.push(json(&conversation.refused)?);
        self.turn.push(conversation.turn.as_ref().map(json).transpose()?);
        self.replaces.push(conversation.replaces.map(|agent| agent.0));
        self.refusals.push(signed(conversation.refusals));
        self.hops.push(signed(conversation.hops));
        self.push_state(&conversation.state);
        Ok(())
    }

    fn push_state(&mut self, state: &State) {
        let StateColumns { name, deadline, assigned_at, closed, park } = StateColumns::of(state);
        self.state.push(name);
        self.deadline_at.push(deadline.map(SystemTime::from));
        self.assigned_at.push(assigned_at.map(SystemTime::from));
        self.closed_at.push(closed.map(|(at, _)| at.into()));
        self.closed_how.push(closed.map(|(_, how)| words::closed_word(how)));
        self.park_until.push(park.map(|park| park.until.into()));
        self.park_reason.push(park.map(|park| words::park_reason_word(park.why)));
    }
}

pub(super) fn signed(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
