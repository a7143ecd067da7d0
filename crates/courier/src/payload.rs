//! What a receiver reads: the body of an event.

use sebastian_core::{AccountId, Notice};
use serde::Serialize;

#[derive(Serialize)]
struct Payload<'a> {
    r#type: &'static str,
    timestamp: String,
    data: Data<'a>,
}

/// Numbers and the room's name only: nothing about a person.
#[derive(Serialize)]
struct Data<'a> {
    account: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    conversation: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    room: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_agent: Option<i64>,
    inbox: Option<i64>,
    team: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    waited_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    load: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    capacity: Option<u32>,
}

/// The body that tells of `notice`; the same at every attempt.
pub(crate) fn body(account: AccountId, notice: &Notice) -> String {
    let payload = Payload {
        r#type: notice.kind.as_str(),
        timestamp: notice.at.rfc3339(),
        data: Data {
            account: account.0,
            conversation: notice.conversation.map(|id| id.0),
            room: notice.room.as_ref().map(|room| room.as_str()),
            agent: notice.agent.map(|id| id.0),
            previous_agent: notice.previous_agent.map(|id| id.0),
            inbox: notice.inbox.map(|id| id.0),
            team: notice.team.map(|id| id.0),
            waited_ms: notice.waited.map(|span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX)),
            load: notice.load,
            capacity: notice.capacity,
        },
    };
    serde_json::to_string(&payload).expect("numbers and text always become JSON")
}
