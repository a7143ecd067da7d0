//! The hostile corpus, `fixtures/hostile`: bodies kept for good, each with its verdict in its name.

use std::fs;

use sebastian_core::{AgentId, RoomId};
use sebastian_platform::{
    Platform, PlatformError, RoomStatus, UnknownOutcome,
    qiscus::{WebhookError, parse_allocation, parse_resolve},
};

use super::server::{APP_ID, Reply, Server};

/// A body, and the parts of its name.
struct Kept {
    name: String,
    verdict: String,
    body: Vec<u8>,
}

/// The bodies whose names begin with `prefix`.
fn kept(prefix: &str) -> Vec<Kept> {
    let folder = format!("{}/fixtures/hostile", env!("CARGO_MANIFEST_DIR"));
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let kept = files.filter_map(|path| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let verdict = name.strip_prefix(prefix)?.split('.').next().unwrap().to_owned();
        Some(Kept { verdict, body: fs::read(&path).unwrap(), name })
    });
    let kept: Vec<Kept> = kept.collect();
    assert!(!kept.is_empty(), "no body is named {prefix}*");
    kept
}

fn verdict<T>(read: &Result<T, WebhookError>) -> &'static str {
    match read {
        Ok(_) => "accepted",
        Err(WebhookError::NotJson) => "not_json",
        Err(WebhookError::NotOurs) => "not_ours",
        Err(WebhookError::Missing(_) | WebhookError::Invalid(..) | WebhookError::NotResolved) => "invalid",
    }
}

#[test]
fn every_hostile_webhook_has_its_verdict() {
    for (prefix, parse) in
        [("allocate.", parse_allocation as fn(&[u8], &str) -> _), ("resolve.", parse_resolve)]
    {
        for Kept { name, verdict: expected, body } in kept(prefix) {
            let read = parse(&body, APP_ID);
            assert_eq!(verdict(&read), expected, "{name}: {read:?}");
            let Ok(event) = read else { continue };
            let room = match name.split('.').nth(2).unwrap() {
                "room_id_is_the_largest_number" => "18446744073709551615",
                "room_id_of_code" => "'; DROP TABLE events; --",
                _ => "470110001",
            };
            assert_eq!(event.room.as_str(), room, "{name}");
            let stored = serde_json::to_string(&event.kind).unwrap();
            assert!(!stored.contains("\\u00"), "{name}: a control character is stored: {stored}");
        }
    }
}

async fn answering(body: Vec<u8>) -> Server {
    Server::answering(Reply::Bytes(body)).await
}

fn of_list<T>(listed: Result<Vec<T>, PlatformError>, one: &str, many: &str) -> String {
    match listed {
        Ok(rows) if rows.len() == 1 => format!("1_{one}"),
        Ok(rows) => format!("{}_{many}", rows.len()),
        Err(error) => of_error(&error),
    }
}

fn of_error(error: &PlatformError) -> String {
    match error {
        PlatformError::Unknown(UnknownOutcome::Body) => "unknown".to_owned(),
        other => format!("{other:?}"),
    }
}

#[tokio::test]
async fn every_hostile_answer_has_its_verdict() {
    let room = RoomId::parse("470110001").unwrap();
    for Kept { name, verdict, body } in kept("api.agents.") {
        let agents = answering(body).await.client().agents().await;
        if let Ok(agents) = &agents {
            let is_shown = |name: &str| name.len() <= 128 && !name.chars().any(char::is_control);
            assert!(agents.iter().all(|agent| is_shown(&agent.name)), "{name}: {agents:?}");
        }
        assert_eq!(of_list(agents, "agent", "agents"), verdict, "{name}");
    }
    for Kept { name, verdict, body } in kept("api.rooms.") {
        let rooms = answering(body).await.client().rooms_waiting().await;
        assert_eq!(of_list(rooms, "room", "rooms"), verdict, "{name}");
    }
    for Kept { name, verdict, body } in kept("api.room.") {
        let status = match answering(body).await.client().room(&room).await {
            Ok(RoomStatus::Waiting { .. }) => "waiting".to_owned(),
            Ok(RoomStatus::Served) => "served".to_owned(),
            Ok(RoomStatus::Resolved) => "resolved".to_owned(),
            Ok(RoomStatus::NotFound) => "not_found".to_owned(),
            Err(error) => of_error(&error),
        };
        assert_eq!(status, verdict, "{name}");
    }
    for Kept { name, verdict, body } in kept("api.assign.") {
        let done = answering(body).await.client().assign(&room, AgentId(210_431), None).await;
        assert_eq!(done.map_or_else(|error| of_error(&error), |()| "assigned".to_owned()), verdict, "{name}");
    }
}
