use proptest::prelude::*;
use sebastian_core::{
    EventKind, Hints, IdError, InboxId, LatestService, NewEvent, RoomId, ServiceId, Source,
};
use sebastian_platform::qiscus::{Malformed, WebhookError, parse_allocation, parse_resolve};
use serde_json::{Value, json};

use super::server::{APP_ID, fixture, fixtures};

fn allocation(body: &str) -> Result<NewEvent, WebhookError> {
    parse_allocation(body.as_bytes(), APP_ID)
}

fn resolve(body: &str) -> Result<NewEvent, WebhookError> {
    parse_resolve(body.as_bytes(), APP_ID)
}

fn room(text: &str) -> RoomId {
    RoomId::parse(text).unwrap()
}

fn service(text: &str) -> ServiceId {
    ServiceId::parse(text).unwrap()
}

/// An allocation with these fields beside our app and room 1.
fn with(fields: Value) -> String {
    let mut body = json!({"app_id": APP_ID, "room_id": "1"});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    body.to_string()
}

fn parts(event: NewEvent) -> (Option<InboxId>, Option<LatestService>) {
    match event.kind {
        EventKind::Allocate { inbox, latest_service, .. } => (inbox, latest_service),
        EventKind::Resolve { .. } | EventKind::Update(_) => panic!("no allocation"),
    }
}

#[test]
fn every_generation_channel_and_drift_of_an_allocation_is_taken() {
    for name in fixtures("webhook.allocation.") {
        let event = allocation(&fixture(&name));
        assert_eq!(event.is_err(), name.contains(".invalid."), "{name}: {event:?}");
    }
}

#[test]
fn an_allocation_names_its_room_and_inbox() {
    let event = allocation(&fixture("webhook.allocation.wa.new_session.with_candidate.json")).unwrap();
    let hints = Hints { source: Some("wa".to_owned()), ..Hints::default() };
    let kind = EventKind::Allocate { inbox: Some(InboxId(88121)), latest_service: None, hints };
    assert_eq!(event, NewEvent { room: room("470110001"), kind, source: Source::Webhook });
}

fn hints(fields: Value) -> Hints {
    match allocation(&with(fields)).unwrap().kind {
        EventKind::Allocate { hints, .. } => hints,
        EventKind::Resolve { .. } | EventKind::Update(_) => panic!("no allocation"),
    }
}

#[test]
fn the_source_is_the_events_or_else_the_channels() {
    let source = |fields| hints(fields).source;
    assert_eq!(source(json!({"source": " WA "})).as_deref(), Some("wa"));
    assert_eq!(source(json!({"source": "fb", "channel": {"id": 1, "source": "wa"}})).as_deref(), Some("fb"));
    assert_eq!(
        source(json!({"channel": {"id": 1, "source": "tokoshop_chat"}})).as_deref(),
        Some("tokoshop_chat")
    );
    for unusable in
        [json!(null), json!(7), json!(""), json!("a\u{0}b"), json!("x".repeat(129)), json!({"a": 1})]
    {
        assert_eq!(source(json!({"source": unusable})), None, "{unusable}");
    }
}

#[test]
fn tags_are_read_in_every_shape_and_what_cannot_be_one_is_left_out() {
    let tags = |fields| hints(fields).tags.iter().map(|tag| tag.to_string()).collect::<Vec<_>>();
    for fields in [
        json!({"tags": ["VIP", "refund"]}),
        json!({"tags": [{"id": 771, "name": "vip"}, {"id": 772, "name": "refund"}]}),
        json!({"tag": [{"id": 771, "name": "vip"}], "room_tags": "Refund"}),
        json!({"tags": ["vip", 7, null, "", "x\ny", {"name": 3}, ["deep"], "refund", "vip"]}),
    ] {
        assert_eq!(tags(fields.clone()), ["refund", "vip"], "{fields}");
    }
    for none in [json!(null), json!({}), json!([]), json!(7), json!({"id": 1})] {
        assert_eq!(tags(json!({"tags": none})), [""; 0], "{none}");
    }
    let many: Vec<String> = (0..1_000).map(|n| n.to_string()).collect();
    assert_eq!(tags(json!({"tags": many})).len(), 64);
}

#[test]
fn a_returning_customers_event_names_the_latest_service() {
    let name = "webhook.allocation.wa.returning_customer.same_room_latest_service_object.json";
    let (_, latest) = parts(allocation(&fixture(name)).unwrap());
    assert_eq!(latest, Some(LatestService { id: service("131900214"), resolved: true }));
}

#[test]
fn a_room_id_sent_as_a_number_is_the_same_room() {
    let event = allocation(&fixture("webhook.allocation.drift.room_id_as_number.json")).unwrap();
    assert_eq!(event.room, room("470110011"));
}

#[test]
fn the_oldest_generation_names_no_inbox() {
    let name = "webhook.allocation.gen1_2019.full_candidate_and_latest_service.json";
    let (inbox, latest) = parts(allocation(&fixture(name)).unwrap());
    assert_eq!(inbox, None);
    assert_eq!(latest, Some(LatestService { id: service("244001"), resolved: true }));
}

#[test]
fn a_foreign_app_is_refused() {
    let name = "webhook.allocation.invalid.foreign_app_id.json";
    assert_eq!(allocation(&fixture(name)), Err(WebhookError::NotOurs));
    assert_eq!(allocation(r#"{"room_id":"1"}"#), Err(WebhookError::NotOurs));
    let body = json!({"app_code": "other", "service": {"room_id": "1"}});
    assert_eq!(resolve(&body.to_string()), Err(WebhookError::NotOurs));
}

#[test]
fn the_app_id_decides_and_the_app_code_stands_in_for_it() {
    assert!(allocation(&json!({"app_code": APP_ID, "room_id": "1"}).to_string()).is_ok());
    assert!(allocation(&json!({"app_id": null, "app_code": APP_ID, "room_id": "1"}).to_string()).is_ok());
    assert!(allocation(&with(json!({"app_code": "other"}))).is_ok());
    let foreign = json!({"app_id": "other", "app_code": APP_ID, "room_id": "1"});
    assert_eq!(allocation(&foreign.to_string()), Err(WebhookError::NotOurs));
}

#[test]
fn a_room_we_cannot_name_is_refused() {
    let name = "webhook.allocation.invalid.room_id_missing.json";
    assert_eq!(allocation(&fixture(name)), Err(WebhookError::Missing("room_id")));
    assert_eq!(allocation(&with(json!({"room_id": null}))), Err(WebhookError::Missing("room_id")));
    for room_id in
        ["470110011.0", "1e3", "-1", "true", "[1]", "{}", "1e400", r#""\ud800""#, "18446744073709551616"]
    {
        let body = format!(r#"{{"app_id":"{APP_ID}","room_id":{room_id}}}"#);
        assert_eq!(allocation(&body), Err(WebhookError::Invalid("room_id", Malformed::NotAnId)), "{room_id}");
    }
}

#[test]
fn a_room_id_the_ledger_could_not_hold_is_refused() {
    let refused = |room_id: &str| allocation(&with(json!({"room_id": room_id})));
    let bad = |error| Err(WebhookError::Invalid("room_id", Malformed::BadId(error)));
    assert_eq!(refused("47\0"), bad(IdError::Control));
    assert_eq!(refused(" "), bad(IdError::Empty));
    assert_eq!(refused(&"9".repeat(129)), bad(IdError::TooLong(128)));
}

#[test]
fn a_broken_body_is_refused_as_such() {
    for body in ["", "{", "hello", "\u{feff}{}", r#"{"app_id":"#, r#"{"app_id":"x"}{}"#] {
        assert_eq!(allocation(body), Err(WebhookError::NotJson), "{body:?}");
        assert_eq!(resolve(body), Err(WebhookError::NotJson), "{body:?}");
    }
    assert_eq!(parse_allocation(b"{\"name\":\"\xff\"}", APP_ID), Err(WebhookError::NotJson));
    let deep = "[".repeat(100_000);
    for body in ["[]", "null", "\"x\"", "7", deep.as_str()] {
        let error = WebhookError::Invalid("body", Malformed::NotAnObject);
        assert_eq!(allocation(body), Err(error), "{}", &body[..body.len().min(10)]);
    }
}

#[test]
fn an_unused_field_may_hold_anything() {
    let deep = "[".repeat(50_000) + &"]".repeat(50_000);
    for value in ["1e400", r#""\u0000""#, r#""\ud800""#, deep.as_str()] {
        for field in ["name", "extras", "candidate_agent", "channel", "latest_service"] {
            let body = format!(r#"{{"app_id":"{APP_ID}","room_id":"1","{field}":{value}}}"#);
            assert_eq!(parts(allocation(&body).unwrap()), (None, None), "{field}");
        }
    }
}

#[test]
fn the_last_of_a_field_given_twice_counts() {
    let body = format!(r#"{{"room_id":"1","app_id":"x","app_id":"{APP_ID}","room_id":"2"}}"#);
    assert_eq!(allocation(&body).unwrap().room, room("2"));
}

#[test]
fn an_inbox_and_a_latest_service_count_only_when_well_formed() {
    let inbox = |channel: Value| parts(allocation(&with(json!({"channel": channel}))).unwrap()).0;
    assert_eq!(inbox(json!({"id": "88121"})), Some(InboxId(88121)));
    for ill in [json!({"id": 1.5}), json!({"id": {}}), json!({}), json!("wa"), json!([])] {
        assert_eq!(inbox(ill), None);
    }
    let latest = |value: Value| parts(allocation(&with(json!({"latest_service": value}))).unwrap()).1;
    assert_eq!(
        latest(json!({"id": "s1", "is_resolved": false})),
        Some(LatestService { id: service("s1"), resolved: false })
    );
    for ill in [
        json!({"id": 1}),
        json!({"is_resolved": true}),
        json!({"id": "a\0", "is_resolved": true}),
        json!("x"),
    ] {
        assert_eq!(latest(ill), None);
    }
}

#[test]
fn every_generation_and_resolver_of_a_resolve_is_taken() {
    for name in fixtures("webhook.mark_as_resolved.") {
        let event = resolve(&fixture(&name));
        assert_eq!(event.is_err(), name.contains(".invalid."), "{name}: {event:?}");
    }
}

#[test]
fn a_resolve_names_the_session_and_nobody() {
    let event = resolve(&fixture("webhook.mark_as_resolved.second_session_same_room.json")).unwrap();
    let kind = EventKind::Resolve { service: Some(service("131905555")) };
    assert_eq!(event, NewEvent { room: room("470110001"), kind, source: Source::Webhook });
}

#[test]
fn a_resolve_without_a_session_means_the_open_one() {
    for id in [json!(null), json!(1.5), json!({}), json!("")] {
        let event = resolve(&json!({"service": {"room_id": 7, "id": id}}).to_string()).unwrap();
        assert_eq!(event.room, room("7"));
        assert_eq!(event.kind, EventKind::Resolve { service: None });
    }
}

#[test]
fn a_resolve_that_resolves_nothing_is_refused() {
    let name = "webhook.mark_as_resolved.invalid.is_resolved_false.json";
    assert_eq!(resolve(&fixture(name)), Err(WebhookError::NotResolved));
    assert_eq!(resolve("{}"), Err(WebhookError::Missing("service")));
    assert_eq!(resolve(r#"{"service":{}}"#), Err(WebhookError::Missing("service.room_id")));
    let error = WebhookError::Invalid("service", Malformed::NotAnObject);
    assert_eq!(resolve(r#"{"service":[1]}"#), Err(error));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    let key = prop_oneof![
        Just("id".to_owned()),
        Just("is_resolved".into()),
        Just("room_id".into()),
        any::<String>()
    ];
    leaf.prop_recursive(4, 32, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::hash_map(key.clone(), inner, 0..4)
                .prop_map(|map| map.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn no_bytes_make_the_parsers_panic(body: Vec<u8>) {
        let _: Result<NewEvent, WebhookError> = parse_allocation(&body, APP_ID);
        let _: Result<NewEvent, WebhookError> = parse_resolve(&body, APP_ID);
    }

    #[test]
    fn no_cut_or_flipped_byte_makes_the_parsers_panic(at: prop::sample::Index, byte: u8, cut: bool) {
        for name in fixtures("webhook.") {
            let mut body = fixture(&name).into_bytes();
            let at = at.index(body.len());
            body[at] = byte;
            body.truncate(if cut { at } else { body.len() });
            let _: Result<NewEvent, WebhookError> = parse_allocation(&body, APP_ID);
            let _: Result<NewEvent, WebhookError> = parse_resolve(&body, APP_ID);
        }
    }

    #[test]
    fn any_json_in_required_places_is_an_event_or_an_error(app in any_json(), place in any_json()) {
        let body = json!({"app_id": app, "room_id": place, "service": place}).to_string();
        let _: Result<NewEvent, WebhookError> = allocation(&body);
        let _: Result<NewEvent, WebhookError> = resolve(&body);
        let _: Result<NewEvent, WebhookError> = resolve(&json!({"service": place}).to_string());
    }

    #[test]
    fn no_json_in_an_optional_place_rejects_an_event(
        channel in any_json(), latest in any_json(), candidate in any_json(), id in any_json(),
    ) {
        let body = with(json!({"channel": channel, "latest_service": latest, "candidate_agent": candidate}));
        prop_assert!(allocation(&body).is_ok());
        let body = json!({"service": {"room_id": "1", "id": id}, "resolved_by": candidate, "channel": channel});
        prop_assert!(resolve(&body.to_string()).is_ok());
    }
}
