//! Webhooks as nobody should send them, against a reading of the rules that is slow and plain.
//!
//! Whatever arrives: no panic, and no event but one that the body's own words ask for and the ledger can hold.

use proptest::{collection::vec, prelude::*};
use sebastian_core::{EventKind, IdError, Label, NewEvent, RoomId, ServiceId};
use sebastian_platform::qiscus::{Malformed, WebhookError, parse_allocation, parse_resolve};
use sebastian_testkit::hostile::harmed;
use serde_json::Value;

use super::server::{APP_ID, fixture, fixtures};

type Read = Result<NewEvent, WebhookError>;

fn bodies() -> Vec<Vec<u8>> {
    fixtures("webhook.").iter().map(|name| fixture(name).into_bytes()).collect()
}

/// What the rules say of a body: the room an event is about, or the error. `None` where a plain JSON library cannot
/// hold the body, as numbers out of range and half surrogate pairs in fields that nobody reads.
struct Expected {
    allocation: Result<RoomId, WebhookError>,
    resolve: Result<RoomId, WebhookError>,
}

fn expected(body: &[u8]) -> Option<Expected> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let Some(fields) = value.as_object() else {
        let error = WebhookError::Invalid("body", Malformed::NotAnObject);
        return Some(Expected { allocation: Err(error), resolve: Err(error) });
    };
    let text = |name: &str| fields.get(name).and_then(Value::as_str);
    let sender = text("app_id").or_else(|| text("app_code"));
    let allocation = match sender {
        Some(APP_ID) => room("room_id", &value["room_id"]),
        _ => Err(WebhookError::NotOurs),
    };
    let service = &value["service"];
    let resolve = match sender {
        Some(other) if other != APP_ID => Err(WebhookError::NotOurs),
        _ if service.is_null() => Err(WebhookError::Missing("service")),
        _ if !service.is_object() => Err(WebhookError::Invalid("service", Malformed::NotAnObject)),
        _ if is_false(&service["is_resolved"]) => Err(WebhookError::NotResolved),
        _ => room("service.room_id", &service["room_id"]),
    };
    Some(Expected { allocation, resolve })
}

fn is_false(value: &Value) -> bool {
    value == false || value.as_u64() == Some(0) || matches!(value.as_str(), Some("false" | "0"))
}

fn room(field: &'static str, value: &Value) -> Result<RoomId, WebhookError> {
    let text = match value {
        Value::Null => return Err(WebhookError::Missing(field)),
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_u64() => number.to_string(),
        _ => return Err(WebhookError::Invalid(field, Malformed::NotAnId)),
    };
    let bad = |error: IdError| WebhookError::Invalid(field, error.into());
    match text.trim() {
        "" => Err(bad(IdError::Empty)),
        text if text.len() > 128 => Err(bad(IdError::TooLong(128))),
        text if text.chars().any(char::is_control) => Err(bad(IdError::Control)),
        text => Ok(RoomId::parse(text).unwrap()),
    }
}

/// Whether the ledger can hold every text of the event.
fn is_storable(event: &NewEvent) -> bool {
    let plain = |text: &str| RoomId::parse(text).is_ok_and(|id| id.as_str() == text);
    let service = |service: &ServiceId| plain(service.as_str());
    plain(event.room.as_str())
        && match &event.kind {
            EventKind::Allocate { latest_service, hints, .. } => {
                latest_service.as_ref().is_none_or(|latest| service(&latest.id))
                    && hints.source.as_deref().is_none_or(plain)
                    && hints.tags.iter().map(Label::as_str).all(plain)
                    && hints.tags.len() <= 64
            }
            EventKind::Resolve { service: id } => id.as_ref().is_none_or(service),
            EventKind::Update(_) => false,
        }
}

fn check(body: &[u8]) -> Result<(), TestCaseError> {
    let read = (parse_allocation(body, APP_ID), parse_resolve(body, APP_ID));
    let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok();
    for event in [&read.0, &read.1].into_iter().flatten() {
        prop_assert!(is_json, "an event of what is no JSON");
        prop_assert!(is_storable(event), "{event:?}");
    }
    if let Some(expected) = expected(body) {
        let room = |read: &Read| read.clone().map(|event| event.room);
        prop_assert_eq!(room(&read.0), expected.allocation);
        prop_assert_eq!(room(&read.1), expected.resolve);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(45_000))]

    #[test]
    fn a_harmed_webhook_is_the_event_it_names_or_an_error(
        which: prop::sample::Index, harms in vec(any::<(u8, u16, u16)>(), 1..5),
    ) {
        thread_local!(static BODIES: Vec<Vec<u8>> = bodies());
        BODIES.with(|bodies| check(&harmed(&bodies[which.index(bodies.len())], &harms)))?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(15_000))]

    #[test]
    fn random_bytes_are_no_webhook(body in vec(any::<u8>(), 0..200)) {
        check(&body)?;
        prop_assert!(parse_allocation(&body, APP_ID).is_err());
    }
}

/// Of a body cut anywhere nothing is believed, not even where all that is needed stands before the cut.
#[test]
fn a_webhook_cut_at_any_byte_is_not_json() {
    for name in fixtures("webhook.") {
        let body = fixture(&name).trim_end().to_owned().into_bytes();
        for end in 0..body.len() {
            assert_eq!(
                parse_allocation(&body[..end], APP_ID),
                Err(WebhookError::NotJson),
                "{name} cut at {end}"
            );
            assert_eq!(
                parse_resolve(&body[..end], APP_ID),
                Err(WebhookError::NotJson),
                "{name} cut at {end}"
            );
        }
    }
}
