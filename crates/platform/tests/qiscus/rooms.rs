use sebastian_core::{AgentId, InboxId, RoomId};
use sebastian_platform::{Platform, PlatformError, Refusal, Room, RoomStatus, UnknownOutcome};
use serde_json::{Value, json};

use super::server::{Reply, Server, answer, fixture, fixture_status};

fn room_id(text: &str) -> RoomId {
    RoomId::parse(text).unwrap()
}

fn ids(rooms: &[Room]) -> Vec<&str> {
    rooms.iter().map(|room| room.id.as_str()).collect()
}

async fn status(reply: Reply) -> Result<RoomStatus, PlatformError> {
    Server::answering(reply).await.client().room(&room_id("470110001")).await
}

#[tokio::test]
async fn a_room_reads_back_as_waiting_served_resolved_or_unknown() {
    for (name, expected) in [
        ("waiting.200", RoomStatus::Waiting { inbox: Some(InboxId(88121)) }),
        ("being_served.200", RoomStatus::Served),
        ("resolved.200", RoomStatus::Resolved),
        ("not_found.404", RoomStatus::NotFound),
    ] {
        let file = format!("api.customer_room.{name}.json");
        assert_eq!(status(answer(fixture_status(&file), fixture(&file))).await.unwrap(), expected, "{name}");
    }
}

#[tokio::test]
async fn a_room_in_a_bots_hands_waits_only_when_it_says_so() {
    let read = |waiting: bool| async move {
        let row = json!({"is_waiting": waiting, "is_resolved": false, "is_handled_by_bot": true});
        status(answer(200, json!({"data": {"customer_room": row}}).to_string())).await.unwrap()
    };
    assert_eq!(read(true).await, RoomStatus::Waiting { inbox: None });
    assert_eq!(read(false).await, RoomStatus::Served);
}

#[tokio::test]
async fn a_404_that_is_not_the_platforms_word_loses_no_room() {
    for body in ["", "<html>404</html>", r#"{"message":"The route x could not be found."}"#] {
        let result = status(answer(404, body)).await;
        assert!(matches!(result, Err(PlatformError::Rejected(Refusal::Other(404)))), "{body}: {result:?}");
    }
}

#[tokio::test]
async fn a_read_back_that_does_not_tell_is_unknown() {
    for row in
        [json!(null), json!({}), json!({"is_waiting": true}), json!({"is_resolved": false}), json!([1])]
    {
        let result = status(answer(200, json!({"data": {"customer_room": row}}).to_string())).await;
        assert!(matches!(result, Err(PlatformError::Unknown(UnknownOutcome::Body))), "{result:?}");
    }
}

#[tokio::test]
async fn a_hostile_room_id_stays_one_path_segment() {
    let server = Server::answering(answer(200, fixture("api.customer_room.waiting.200.json"))).await;
    let client = server.client();
    for room in ["../admin?x=1#y", "a/b", "%2e%2e", "é"] {
        client.room(&room_id(room)).await.unwrap();
    }
    let lines: Vec<String> = server.requests().into_iter().map(|request| request.line).collect();
    let path = "GET /api/v2/customer_rooms/";
    let expected =
        ["..%2Fadmin%3Fx=1%23y", "a%2Fb", "%252e%252e", "%C3%A9"].map(|room| format!("{path}{room}"));
    assert_eq!(lines, expected);
    assert_eq!(client.room(&room_id("..")).await.unwrap(), RoomStatus::NotFound);
}

#[tokio::test]
async fn the_waiting_rooms_are_every_page_and_only_those_that_wait() {
    let server = Server::start(|request| match request.json()["cursor_after"].as_str() {
        None => answer(200, fixture("api.customer_rooms.unserved.page1.200.json")),
        // One second after the cursor of page 1: that second's rooms come again.
        Some("2026-08-18T02:16:31Z") => {
            answer(200, fixture("api.customer_rooms.unserved.page2_last.200.json"))
        }
        Some(other) => panic!("asked from {other}"),
    })
    .await;
    let rooms = server.client().rooms_waiting().await.unwrap();
    assert_eq!(ids(&rooms), ["470110004", "470110003", "470110001"]);
    assert_eq!(rooms[0].inbox, Some(InboxId(88123)));
    let asked = json!({"serve_status": "unserved", "status": "unresolved", "limit": 100});
    assert_eq!(server.requests()[0].json(), asked);

    let dirty =
        Server::answering(answer(200, fixture("api.customer_rooms.unserved.dirty_rows.200.json"))).await;
    assert_eq!(ids(&dirty.client().rooms_waiting().await.unwrap()), ["470110091"]);
    let empty = Server::answering(answer(200, fixture("api.customer_rooms.empty.200.json"))).await;
    assert!(empty.client().rooms_waiting().await.unwrap().is_empty());
}

#[tokio::test]
async fn the_rooms_an_agent_serves_are_asked_for_by_agent() {
    let server = Server::answering(answer(200, fixture("api.customer_rooms.served_by_agent.200.json"))).await;
    let rooms = server.client().rooms_served_by(AgentId(210431)).await.unwrap();
    assert_eq!(ids(&rooms), ["470110001"]);
    let request = &server.requests()[0];
    assert_eq!(request.line, "POST /api/v2/customer_rooms");
    let asked = json!({"user_ids": [210431], "serve_status": "served", "status": "unresolved", "limit": 100});
    assert_eq!(request.json(), asked);
}

/// A list of `(room, second)`, newest first, paged by a strict timestamp cursor, as Qiscus is believed to.
fn paged(
    rooms: Vec<(u32, u32)>,
    page_rows: usize,
    always_a_cursor: bool,
) -> impl Fn(&Value) -> Reply + Send + Sync {
    let at = |second: u32| format!("2026-08-18T02:{:02}:{:02}Z", second / 60, second % 60);
    move |query| {
        let before = query["cursor_after"].as_str();
        let rows = usize::try_from(query["limit"].as_u64().unwrap()).unwrap().min(page_rows);
        let mut older =
            rooms.iter().filter(|(_, second)| before.is_none_or(|before| at(*second).as_str() < before));
        let page: Vec<&(u32, u32)> = older.by_ref().take(rows).collect();
        let more = always_a_cursor || older.next().is_some();
        let next = page.last().filter(|_| more).map(|(_, second)| at(*second));
        let row = |id: u32| json!({"room_id": id.to_string(), "is_waiting": true, "is_resolved": false});
        let rows: Vec<Value> = page.iter().map(|(id, _)| row(*id)).collect();
        answer(200, json!({"data": {"customer_rooms": rows}, "meta": {"cursor_after": next}}).to_string())
    }
}

async fn count_of(list: impl Fn(&Value) -> Reply + Send + Sync + 'static) -> Result<usize, PlatformError> {
    let server = Server::start(move |request| list(&request.json())).await;
    Ok(server.client().rooms_waiting().await?.len())
}

#[tokio::test]
async fn rooms_that_share_an_instant_with_a_page_end_are_not_passed_over() {
    // Four rooms a second: page ends fall into the middle of one.
    let rooms: Vec<(u32, u32)> = (0..1_001).map(|n| (n, 1_000 - n / 4)).collect();
    for always_a_cursor in [false, true] {
        assert_eq!(count_of(paged(rooms.clone(), 1_000, always_a_cursor)).await.unwrap(), 1_001);
        assert_eq!(count_of(paged(rooms.clone(), 50, always_a_cursor)).await.unwrap(), 1_001);
    }
}

#[tokio::test]
async fn a_burst_within_one_instant_is_listed_by_longer_pages() {
    let rooms: Vec<(u32, u32)> = (0..900).map(|n| (n, if n < 50 { 9 } else { 8 - n / 850 })).collect();
    assert_eq!(count_of(paged(rooms, 2_000, true)).await.unwrap(), 900);
}

#[tokio::test]
async fn a_burst_too_large_to_list_is_an_error_not_a_part() {
    let rooms: Vec<(u32, u32)> = (0..5_000).map(|n| (n, 9)).collect();
    assert!(matches!(
        count_of(paged(rooms, 100, false)).await,
        Err(PlatformError::Unknown(UnknownOutcome::Body))
    ));
}

#[tokio::test]
async fn a_room_list_that_is_not_there_is_never_an_empty_one() {
    for body in ["", "<html>", "{}", r#"{"data":{}}"#, r#"{"data":{"customer_rooms":[{"room_id":null}]}}"#] {
        let server = Server::answering(answer(200, body)).await;
        let result = server.client().rooms_waiting().await;
        assert!(matches!(result, Err(PlatformError::Unknown(UnknownOutcome::Body))), "{body}: {result:?}");
    }
}
