//! Answers as no API should give them, through every reader of answers.
//!
//! Whatever arrives: no panic, nothing read of what is no JSON or says that it failed, and nothing believed of a row that
//! the row does not say.

use std::{fs, path::Path};

use proptest::{collection::vec, prelude::*};
use sebastian_core::{Agent, Presence, RoomId};
use sebastian_testkit::hostile::harmed;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::{cursor::one_unit_later, json::Json, refusal, wire};
use crate::{Refusal, RoomStatus, WebhookUrls};

/// Every recorded answer, successes and errors alike.
fn answers() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/qiscus");
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.file_name().unwrap().to_str().unwrap().starts_with("api."));
    paths.sort();
    assert!(paths.len() > 40);
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// What every reader of a success makes of one body.
#[derive(Debug, Default, PartialEq)]
struct Read {
    agents: Option<Vec<Agent>>,
    rooms: Option<Vec<RoomId>>,
    status: Option<RoomStatus>,
    origin: bool,
    added: Option<i64>,
    proposed: Option<i64>,
    login: Option<WebhookUrls>,
    webhooks: Option<WebhookUrls>,
}

fn read(body: &str) -> Read {
    let agents = wire::page(body, "agents", "after");
    let rooms = wire::page(body, "customer_rooms", "cursor_after");
    for page in [&agents, &rooms].into_iter().flatten() {
        let _: Option<String> = page.next.as_deref().and_then(one_unit_later);
    }
    Read {
        agents: agents.map(|page| page.rows.iter().filter_map(|row| wire::agent(*row)).collect()),
        rooms: rooms
            .map(|page| page.rows.iter().filter_map(|row| Some(wire::room_row(*row)?.room.id)).collect()),
        status: wire::room_status(body),
        origin: wire::room_origin(body).is_some(),
        added: wire::added_agent(body).map(|agent| agent.0),
        proposed: wire::proposed_agent(body).map(|agent| agent.0),
        login: wire::login(body).map(|(_, urls)| urls),
        webhooks: wire::app_webhooks(body),
    }
}

/// Whether a plain JSON library reads the body as a failure.
fn says_it_failed(value: &Value) -> bool {
    let failed = &value["success"];
    let status = &value["status"];
    let status = status.as_i64().or_else(|| status.as_str()?.trim().parse().ok());
    failed == false
        || failed.as_u64() == Some(0)
        || matches!(failed.as_str(), Some("false" | "0"))
        || status.is_some_and(|status| status >= 400)
}

fn says_no(value: &Value) -> bool {
    value == false || value.as_u64() == Some(0) || matches!(value.as_str(), Some("false" | "0"))
}

fn says_yes(value: &Value) -> bool {
    value == true || value.as_u64() == Some(1) || matches!(value.as_str(), Some("true" | "1"))
}

fn id_of(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.trim().parse().ok())
}

/// What was read against what the body says, where a plain JSON library can hold it.
fn check_against(value: &Value, read: &Read) -> Result<(), TestCaseError> {
    if !value.is_object() || says_it_failed(value) {
        prop_assert_eq!(read, &Read::default());
        return Ok(());
    }
    let data = &value["data"];
    prop_assert_eq!(read.added, id_of(&data["added_agent"]["id"]));
    prop_assert_eq!(read.proposed, id_of(&data["agent"]["id"]));
    let (waits, is_over) = (&data["customer_room"]["is_waiting"], &data["customer_room"]["is_resolved"]);
    match &read.status {
        Some(RoomStatus::Resolved) => prop_assert!(says_yes(is_over)),
        Some(RoomStatus::Served) => prop_assert!(says_no(is_over) && says_no(waits)),
        Some(RoomStatus::Waiting { .. }) => prop_assert!(says_no(is_over) && says_yes(waits)),
        Some(RoomStatus::NotFound) => prop_assert!(false, "no success says so"),
        None => {}
    }
    let list = |name: &str| data.as_array().or_else(|| data[name].as_array());
    prop_assert_eq!(read.agents.is_some(), list("agents").is_some());
    prop_assert_eq!(read.rooms.is_some(), list("customer_rooms").is_some());
    let rows = list("agents").into_iter().flatten().filter(|row| id_of(&row["id"]).is_some());
    let agents = read.agents.as_deref().unwrap_or_default();
    prop_assert_eq!(rows.clone().count(), agents.len(), "no agent is made up, none is lost");
    for (row, agent) in rows.zip(agents) {
        prop_assert_eq!(agent.presence == Presence::Online, says_yes(&row["is_available"]));
        let forced = &row["force_offline"];
        prop_assert_eq!(agent.forced_offline, !forced.is_null() && !says_no(forced));
        let count = id_of(&row["current_customer_count"]).and_then(|count| u32::try_from(count).ok());
        // A whole number written as -0 is one to us.
        prop_assert!(agent.reported_load == count || agent.reported_load == Some(0));
        let channels = row["user_channels"].as_array();
        let are_named =
            channels.is_some_and(|list| list.iter().all(|channel| id_of(&channel["id"]).is_some()));
        prop_assert_eq!(agent.inboxes.is_some(), are_named);
    }
    Ok(())
}

fn check(body: &[u8]) -> Result<(), TestCaseError> {
    // A body that is not UTF-8 ends before these readers; what is read of a refusal is mended first.
    let text = String::from_utf8_lossy(body);
    let read = read(&text);
    if serde_json::from_str::<IgnoredAny>(&text).is_err() {
        prop_assert_eq!(&read, &Read::default(), "read of what is no JSON");
    }
    let plain = |text: &str| !text.chars().any(char::is_control);
    for agent in read.agents.iter().flatten() {
        prop_assert!(plain(&agent.name) && agent.name.chars().count() <= 128, "{:?}", agent.name);
    }
    for room in read.rooms.iter().flatten() {
        prop_assert!(RoomId::parse(room.as_str()).as_ref() == Ok(room), "{room:?}");
    }
    if let Ok(value) = serde_json::from_str::<Value>(&text) {
        // -0 is a whole number to us and a fraction to the library.
        if !text.contains("-0") {
            check_against(&value, &read)?;
        }
    }
    for status in [400, 404, 409, 422] {
        check_refusal(status, &text)?;
    }
    Ok(())
}

/// A refusal that moves a chat has words in the body that say so.
fn check_refusal(status: u16, text: &str) -> Result<(), TestCaseError> {
    let body = text.to_lowercase();
    // Words may be written as escapes; what they come to is tried in the recorded answers.
    if body.contains("\\u") {
        return Ok(());
    }
    match refusal::refusal(status, text) {
        Refusal::RoomTaken => prop_assert!(status == 409 || body.contains("exceed max agent")),
        Refusal::RoomResolved => prop_assert!(body.contains("resolved")),
        Refusal::RoomUnknown => prop_assert!(body.contains("room")),
        Refusal::Agent => prop_assert!(body.contains("agent")),
        Refusal::Other(other) => prop_assert_eq!(other, status),
    }
    let says = refusal::is_not_found(text);
    prop_assert!(!says || Json::new(text).object([]).is_ok(), "a page is no word of the platform");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30_000))]

    #[test]
    fn a_harmed_answer_says_nothing_that_it_does_not_say(
        which: prop::sample::Index, harms in vec(any::<(u8, u16, u16)>(), 1..5),
    ) {
        thread_local!(static ANSWERS: Vec<Vec<u8>> = answers());
        ANSWERS.with(|answers| check(&harmed(&answers[which.index(answers.len())], &harms)))?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn random_text_is_no_answer(body in vec(any::<u8>(), 0..200)) {
        check(&body)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn a_cursor_moves_on_by_its_last_digit_or_is_left_alone(
        cursor in "(20[0-9]{2}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{0,9})?(Z|[+]07:00|é)?|\\PC{0,40})",
    ) {
        if let Some(later) = one_unit_later(&cursor) {
            prop_assert_ne!(&later, &cursor);
            prop_assert!(later > cursor, "{later} is before {cursor}");
        }
    }
}

/// Half an answer is none: a list cut short must not read as the whole of it.
#[test]
fn an_answer_cut_at_any_byte_says_nothing() {
    for answer in answers() {
        let text = String::from_utf8(answer).unwrap();
        let text = text.trim_end();
        for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
            assert_eq!(read(&text[..end]), Read::default(), "cut at {end}: {text}");
        }
    }
}
