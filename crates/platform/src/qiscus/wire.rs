//! The shapes of Qiscus answers, row by row.
//!
//! Envelopes: `data.<list>[]` or a bare `data[]`; `meta` beside `data` or inside it; ids as numbers or strings.

use std::borrow::Cow;

use sebastian_core::{Agent, AgentId, InboxId, Presence, Role, RoomId};

use super::json::Json;
use crate::{Room, RoomStatus, WebhookUrls};

/// One page of a list.
pub(super) struct Page<'a> {
    /// Its rows, as sent.
    pub rows: Vec<Json<'a>>,
    /// The cursor of the page after it. `None`: this is the last.
    pub next: Option<Cow<'a, str>>,
    /// Whether the answer spoke of pages at all.
    pub has_meta: bool,
}

/// Reads a page whose rows stand under `list` and whose next cursor is `meta.<cursor>`.
pub(super) fn page<'a>(body: &'a str, list: &str, cursor: &str) -> Option<Page<'a>> {
    let [data, meta] = success(body, ["data", "meta"])?;
    let (rows, inner_meta) = match data.array() {
        Some(rows) => (rows, Json::NULL),
        None => {
            let [rows, inner_meta] = data.object([list, "meta"]).ok()?;
            (rows.array()?, inner_meta)
        }
    };
    let cursors: Vec<Json<'a>> =
        [meta, inner_meta].iter().filter_map(|meta| meta.object([cursor]).ok()).map(|[next]| next).collect();
    let next = cursors.iter().find_map(|next| next.id()).filter(|next| !next.is_empty());
    Some(Page { rows, next, has_meta: !cursors.is_empty() })
}

/// The wanted fields of a success. `None` for HTML, for `success: false` and for an error status inside.
fn success<'a, const N: usize>(body: &'a str, names: [&str; N]) -> Option<[Json<'a>; N]> {
    let [success, status] = Json::new(body).object(["success", "status"]).ok()?;
    let refused = success.boolean() == Some(false) || status.int().is_some_and(|status| status >= 400);
    if refused { None } else { Json::new(body).object(names).ok() }
}

/// The agent of a roster row; `None` without a readable id. What is unclear about an agent keeps work from them.
pub(super) fn agent(row: Json<'_>) -> Option<Agent> {
    let [id, name, type_name, type_number, available, forced_offline, channels, count] = row
        .object([
            "id",
            "name",
            "type_as_string",
            "type",
            "is_available",
            "force_offline",
            "user_channels",
            "current_customer_count",
        ])
        .ok()?;
    let online = available.boolean() == Some(true);
    Some(Agent {
        id: AgentId(id.int()?),
        name: name.text().map(|name| displayed(&name)).unwrap_or_default(),
        role: role(type_name, type_number),
        presence: if online { Presence::Online } else { Presence::Offline },
        forced_offline: !forced_offline.is_null() && forced_offline.boolean() != Some(false),
        inboxes: inboxes(channels),
        reported_load: count.int().and_then(|count| u32::try_from(count).ok()),
        listed: false,
        online_since: None,
    })
}

/// A name as it is shown, in pages and terminals: at most 128 characters, and no control characters.
fn displayed(name: &str) -> String {
    const NAME_CHARS_MAX: usize = 128;
    name.chars().filter(|char| !char.is_control()).take(NAME_CHARS_MAX).collect()
}

/// Admins are type 1, agents 2, supervisors 3; the word counts where both are given.
fn role(name: Json<'_>, number: Json<'_>) -> Role {
    if let Some(name) = name.text() {
        return match name.trim().to_ascii_lowercase().as_str() {
            "agent" => Role::Agent,
            "supervisor" => Role::Supervisor,
            "admin" => Role::Admin,
            _ => Role::Other,
        };
    }
    match number.int() {
        Some(1) => Role::Admin,
        Some(2) => Role::Agent,
        Some(3) => Role::Supervisor,
        _ => Role::Other,
    }
}

/// `None` when the row has no list, or one with an entry we cannot read: half a list would hide an inbox.
fn inboxes(channels: Json<'_>) -> Option<Vec<InboxId>> {
    let id = |channel: &Json<'_>| channel.object(["id"]).ok().and_then(|[id]| id.int());
    let ids: Option<Vec<i64>> = channels.array()?.iter().map(id).collect();
    let mut inboxes: Vec<InboxId> = ids?.into_iter().map(InboxId).collect();
    inboxes.sort_unstable();
    inboxes.dedup();
    Some(inboxes)
}

/// A row of a room list.
pub(super) struct RoomRow {
    /// The room.
    pub room: Room,
    /// Its customer waits and no agent serves it.
    pub waiting: bool,
    /// Its session is over.
    pub resolved: bool,
}

/// The room of a row; `None` without a readable id. Flags that are missing read as false.
pub(super) fn room_row(row: Json<'_>) -> Option<RoomRow> {
    let [id, channel, waiting, resolved] =
        row.object(["room_id", "channel_id", "is_waiting", "is_resolved"]).ok()?;
    Some(RoomRow {
        room: Room { id: RoomId::parse(&id.id()?).ok()?, inbox: channel.int().map(InboxId) },
        waiting: waiting.boolean() == Some(true),
        resolved: resolved.boolean() == Some(true),
    })
}

/// The status in a room's read-back. `None` when it does not say both whether the room is resolved and whether it waits.
pub(super) fn room_status(body: &str) -> Option<RoomStatus> {
    let [data] = success(body, ["data"])?;
    let [room] = data.object(["customer_room"]).ok()?;
    let [channel, waiting, resolved] = room.object(["channel_id", "is_waiting", "is_resolved"]).ok()?;
    if resolved.boolean()? {
        return Some(RoomStatus::Resolved);
    }
    // A room a bot handles waits only once the bot hands it over: is_waiting says so.
    let inbox = channel.int().map(InboxId);
    Some(if waiting.boolean()? { RoomStatus::Waiting { inbox } } else { RoomStatus::Served })
}

/// Where a room's customer comes from.
pub(super) struct RoomOrigin<'a> {
    /// The kind of channel.
    pub source: Option<Cow<'a, str>>,
    /// The channel.
    pub channel: Option<InboxId>,
}

/// Where the customer of a room's read-back comes from. `None` when it shows no room.
pub(super) fn room_origin(body: &str) -> Option<RoomOrigin<'_>> {
    let [data] = success(body, ["data"])?;
    let [room] = data.object(["customer_room"]).ok()?;
    let [source, channel] = room.object(["source", "channel_id"]).ok()?;
    let source = source.text().filter(|source| !source.is_empty());
    Some(RoomOrigin { source, channel: channel.int().map(InboxId) })
}

/// The agent an assignment put into the room.
pub(super) fn added_agent(body: &str) -> Option<AgentId> {
    agent_at(body, "added_agent")
}

/// The agent Qiscus proposes.
pub(super) fn proposed_agent(body: &str) -> Option<AgentId> {
    agent_at(body, "agent")
}

fn agent_at(body: &str, field: &str) -> Option<AgentId> {
    let [data] = success(body, ["data"])?;
    let [agent] = data.object([field]).ok()?;
    let [id] = agent.object(["id"]).ok()?;
    id.int().map(AgentId)
}

/// The token and the webhooks in a login's answer. The token is missing where a second factor is asked for.
pub(super) fn login(body: &str) -> Option<(Option<Cow<'_, str>>, WebhookUrls)> {
    let [data] = success(body, ["data"])?;
    let [user] = data.object(["user"]).ok()?;
    let [token, app] = user.object(["authentication_token", "app"]).ok()?;
    let token = token.text().filter(|token| !token.is_empty());
    Some((token, webhook_urls(app).unwrap_or_default()))
}

/// The webhooks of a setter's answer, which is the whole app, secret included.
pub(super) fn app_webhooks(body: &str) -> Option<WebhookUrls> {
    let [data] = success(body, ["data"])?;
    webhook_urls(data)
}

fn webhook_urls(app: Json<'_>) -> Option<WebhookUrls> {
    let [allocate, allocate_on, resolve, resolve_on] = app
        .object([
            "allocate_agent_webhook_url",
            "is_allocate_agent_webhook_enabled",
            "mark_as_resolved_webhook_url",
            "is_mark_as_resolved_webhook_enabled",
        ])
        .ok()?;
    let url = |url: Json<'_>, on: Json<'_>| {
        url.text().filter(|url| !url.is_empty() && on.boolean() != Some(false)).map(Cow::into_owned)
    };
    Some(WebhookUrls { allocate: url(allocate, allocate_on), resolve: url(resolve, resolve_on) })
}
