//! Qiscus webhooks into events.
//!
//! A body must name our app and a room; everything else may be missing or of any type, for three generations of
//! payloads are in use and rejecting one over a field we do not need loses a customer. Only ids, the source and tags are
//! read: names, addresses and the agent tokens that old payloads carry are never looked at.

use std::collections::BTreeSet;

use sebastian_core::{
    EventKind, Hints, IdError, InboxId, Label, LatestService, NewEvent, RoomId, ServiceId, Source,
};

use super::json::{Json, NoObject};

/// Tags read of one webhook; an operator's rules need a few.
const TAGS_MAX: usize = 64;

/// Why a webhook was refused. Carries nothing of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    /// Not JSON in UTF-8.
    #[error("the body is not JSON")]
    NotJson,
    /// It belongs to another app, or to none: the only authenticity a body has.
    #[error("the body is not from our app")]
    NotOurs,
    /// A field we cannot do without is absent or null.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A field we cannot do without makes no sense.
    #[error("{0} {1}")]
    Invalid(&'static str, Malformed),
    /// A resolve that says the session goes on.
    #[error("the service is not resolved")]
    NotResolved,
}

/// What is wrong with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Some other type.
    #[error("is not an object")]
    NotAnObject,
    /// Some other type, or a number that is negative, broken or over 64 bits.
    #[error("is neither a string nor a whole number")]
    NotAnId,
    /// Text that is no identifier.
    #[error(transparent)]
    BadId(#[from] IdError),
}

/// Reads the body of a "custom agent allocation" webhook sent to the app `app_id`.
///
/// `app_id` decides whose it is, or `app_code` where that is absent. A `latest_service` counts when it
/// names its id and says whether it is resolved, `channel` when its id is a number. The source is `source`, or else the
/// channel's; tags are those of `tags`, `tag` and `room_tags` that can be labels.
pub fn parse_allocation(body: &[u8], app_id: &str) -> Result<NewEvent, WebhookError> {
    let [id, code, room, channel, latest, source, tags @ ..] = body_fields(
        body,
        ["app_id", "app_code", "room_id", "channel", "latest_service", "source", "tags", "tag", "room_tags"],
    )?;
    if sender(id, code).as_deref() != Some(app_id) {
        return Err(WebhookError::NotOurs);
    }
    let room = room_id("room_id", room)?;
    let kind = EventKind::Allocate {
        inbox: inbox(channel),
        latest_service: latest_service(latest),
        hints: Hints { source: origin(source, channel), tags: labels(tags) },
    };
    Ok(NewEvent { room, kind, source: Source::Webhook })
}

/// Reads the body of a "mark as resolved" webhook sent to the app `app_id`.
///
/// Older payloads name no app and are taken. `resolved_by` is whoever clicked, often not the assignee: it is not read.
pub fn parse_resolve(body: &[u8], app_id: &str) -> Result<NewEvent, WebhookError> {
    let [id, code, service] = body_fields(body, ["app_id", "app_code", "service"])?;
    if sender(id, code).is_some_and(|sender| sender != app_id) {
        return Err(WebhookError::NotOurs);
    }
    if service.is_null() {
        return Err(WebhookError::Missing("service"));
    }
    let [id, room, resolved] = service
        .object(["id", "room_id", "is_resolved"])
        .map_err(|_| WebhookError::Invalid("service", Malformed::NotAnObject))?;
    if resolved.boolean() == Some(false) {
        return Err(WebhookError::NotResolved);
    }
    let room = room_id("service.room_id", room)?;
    Ok(NewEvent { room, kind: EventKind::Resolve { service: service_id(id) }, source: Source::Webhook })
}

fn body_fields<'a, const N: usize>(body: &'a [u8], names: [&str; N]) -> Result<[Json<'a>; N], WebhookError> {
    let text = std::str::from_utf8(body).map_err(|_| WebhookError::NotJson)?;
    Json::new(text).object(names).map_err(|error| match error {
        NoObject::NotJson => WebhookError::NotJson,
        NoObject::OtherType => WebhookError::Invalid("body", Malformed::NotAnObject),
    })
}

fn sender<'a>(app_id: Json<'a>, app_code: Json<'a>) -> Option<std::borrow::Cow<'a, str>> {
    app_id.text().or_else(|| app_code.text())
}

fn room_id(field: &'static str, value: Json<'_>) -> Result<RoomId, WebhookError> {
    if value.is_null() {
        return Err(WebhookError::Missing(field));
    }
    let text = value.id().ok_or(WebhookError::Invalid(field, Malformed::NotAnId))?;
    RoomId::parse(&text).map_err(|error| WebhookError::Invalid(field, error.into()))
}

fn inbox(channel: Json<'_>) -> Option<InboxId> {
    let [id] = channel.object(["id"]).ok()?;
    id.int().map(InboxId)
}

fn origin(source: Json<'_>, channel: Json<'_>) -> Option<String> {
    let of_channel = || channel.object(["source"]).ok().and_then(|[source]| label(source));
    label(source).or_else(of_channel).map(String::from)
}

/// Tags, each a text or an object with a name, alone or in a list.
fn labels(fields: [Json<'_>; 3]) -> BTreeSet<Label> {
    let listed = fields.into_iter().flat_map(|field| field.array().unwrap_or_else(|| vec![field]));
    let named =
        |tag: Json<'_>| label(tag).or_else(|| tag.object(["name"]).ok().and_then(|[name]| label(name)));
    listed.take(TAGS_MAX).filter_map(named).collect()
}

/// What can be a label: short, and without control characters.
fn label(value: Json<'_>) -> Option<Label> {
    Label::parse(&value.text()?).ok()
}

fn latest_service(value: Json<'_>) -> Option<LatestService> {
    let [id, resolved] = value.object(["id", "is_resolved"]).ok()?;
    Some(LatestService { id: service_id(id)?, resolved: resolved.boolean()? })
}

fn service_id(value: Json<'_>) -> Option<ServiceId> {
    ServiceId::parse(&value.id()?).ok()
}
