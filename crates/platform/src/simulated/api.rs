//! What each endpoint does, as a function from the account and a call to a reply. No I/O here.

use std::collections::BTreeMap;

use sebastian_core::{AgentId, InboxId, Role};
use serde_json::{Value, json};

use super::{
    AgentSpec, By, Endpoint,
    bodies::room_row,
    faults::{Counts, Effects},
    state::{Hook, Refused, State},
};

/// How many agents a room holds unless the call says otherwise (contract 2.2).
const MAX_AGENTS_DEFAULT: usize = 5;

/// Query and body of a request in one: numbers or strings, form or JSON, the platform takes both.
#[derive(Debug, Default)]
pub(super) struct Params(BTreeMap<String, Value>);

/// An authenticated request.
#[derive(Debug)]
pub(super) struct Call {
    pub endpoint: Endpoint,
    pub params: Params,
}

/// The true answer and whether the request changed anything.
#[derive(Debug)]
pub(super) struct Reply {
    pub status: u16,
    pub body: Value,
    pub applied: bool,
    /// A fault refused it.
    pub spurious: bool,
    /// The resolve webhook this request sets off.
    pub resolve_webhook: Option<Value>,
}

impl Params {
    pub fn insert(&mut self, key: String, value: Value) {
        self.0.insert(key, value);
    }

    pub fn text(&self, key: &str) -> Option<String> {
        match self.0.get(key)? {
            Value::String(text) if !text.trim().is_empty() => Some(text.trim().to_owned()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }

    pub fn number(&self, key: &str) -> Option<i64> {
        self.text(key)?.parse().ok()
    }

    pub fn count(&self, key: &str) -> Option<usize> {
        self.text(key)?.parse().ok()
    }

    pub fn flag(&self, key: &str) -> bool {
        match self.0.get(key) {
            Some(Value::Bool(flag)) => *flag,
            Some(Value::String(text)) => matches!(text.as_str(), "true" | "1"),
            Some(Value::Number(number)) => number.as_i64() == Some(1),
            _ => false,
        }
    }

    /// The numbers of an array; elements may be strings.
    pub fn numbers(&self, key: &str) -> Vec<i64> {
        let elements = self.0.get(key).and_then(Value::as_array).into_iter().flatten();
        elements.filter_map(as_number).collect()
    }

    /// The ids in `channels: [{source, channel_id}]`.
    pub fn channels(&self) -> Vec<i64> {
        let elements = self.0.get("channels").and_then(Value::as_array).into_iter().flatten();
        elements.filter_map(|channel| as_number(&channel["channel_id"])).collect()
    }
}

fn as_number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

impl Call {
    pub fn room(&self) -> Option<String> {
        self.params.text("room_id")
    }

    pub fn agent(&self) -> Option<AgentId> {
        self.params.number("agent_id").map(AgentId)
    }
}

impl Reply {
    fn ok(body: Value) -> Self {
        Self { status: 200, body, applied: false, spurious: false, resolve_webhook: None }
    }

    pub fn error(status: u16, message: &str) -> Self {
        Self { status, ..Self::ok(json!({"errors": {"message": message}})) }
    }

    /// A version 2 error repeats its status in the body.
    fn error_v2(status: u16, message: &str) -> Self {
        Self { status, ..Self::ok(json!({"errors": {"message": message}, "status": status})) }
    }

    fn required(key: &str) -> Self {
        let field = format!("The {} field is required.", key.replace('_', " "));
        Self {
            status: 422,
            ..Self::ok(json!({"errors": {"message": "The given data was invalid.", key: [field]}}))
        }
    }

    fn applied(self) -> Self {
        Self { applied: true, ..self }
    }
}

impl From<Refused> for Reply {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::RoomNotFound => Self::error_v2(404, "Room not found"),
            Refused::RoomResolved => Self::error(400, "Room already resolved"),
            Refused::AgentNotFound => Self::error(404, "Agent not found"),
            Refused::NotInChannel => Self::error(400, "Agent is not assigned to this channel"),
            Refused::ExceedMaxAgents => Self::error(400, "Cant join room, exceed max agents"),
        }
    }
}

impl State {
    /// Carries out `call`. `effects` may change what it shows; only [`Effects::exceed_first`] keeps it from acting.
    pub(super) fn answer(&mut self, call: &Call, effects: &Effects) -> Reply {
        self.answer_or_refuse(call, effects).unwrap_or_else(|reply| *reply)
    }

    fn answer_or_refuse(&mut self, call: &Call, effects: &Effects) -> Result<Reply, Box<Reply>> {
        let params = &call.params;
        match call.endpoint {
            Endpoint::Auth => self.log_in(params),
            Endpoint::Profile => Ok(Reply::ok(self.profile_answer(self.owner()?))),
            Endpoint::Agents => Ok(Reply::ok(self.agents_answer(params, effects))),
            Endpoint::AvailableAgents => {
                let room = call.room().ok_or_else(|| Reply::required("room_id"))?;
                self.known_room(&room).ok_or(Refused::RoomNotFound)?;
                Ok(Reply::ok(self.available_agents_answer(&room, params, effects)))
            }
            Endpoint::Propose => {
                let channel = params.number("channel_id").map(InboxId);
                let proposed = self.propose(channel, params.flag("ignore_availability"));
                let member = proposed.ok_or_else(|| Reply::error(404, "No agent available"))?;
                Ok(Reply::ok(json!({"data": {"agent": self.proposed_user(member)}})))
            }
            Endpoint::Assign => self.assign(call, effects),
            Endpoint::Remove => self.remove(call),
            Endpoint::Resolve => self.mark_as_resolved(call),
            Endpoint::Rooms => Ok(Reply::ok(self.rooms_answer(params, effects))),
            Endpoint::Room => {
                let room = call.room().ok_or_else(|| Reply::required("room_id"))?;
                let room = self.known_room(&room).ok_or(Refused::RoomNotFound)?;
                let row = room_row(room, room.is_waiting(), room.is_resolved());
                Ok(Reply::ok(json!({"data": {"customer_room": row}, "status": 200})))
            }
            Endpoint::SetAllocationWebhook | Endpoint::SetResolveWebhook => {
                let hook = Hook {
                    url: Some(params.text("webhook_url").ok_or_else(|| Reply::required("webhook_url"))?),
                    enabled: params.flag("is_webhook_enabled"),
                };
                if call.endpoint == Endpoint::SetAllocationWebhook {
                    self.hooks.allocate = hook;
                } else {
                    self.hooks.resolve = hook;
                }
                Ok(Reply::ok(self.app_answer()).applied())
            }
            Endpoint::WebhookConfig => Ok(Reply::ok(json!({"data": {"webhook_configs": []}, "status": 200}))),
        }
    }

    /// The first admin: whoever logs in, and who resolves by API.
    pub(super) fn owner(&self) -> Result<&AgentSpec, Box<Reply>> {
        let owner = self.agents().find(|agent| agent.role == Role::Admin);
        owner.ok_or_else(|| Reply::error(403, "Forbidden").into())
    }

    fn log_in(&self, params: &Params) -> Result<Reply, Box<Reply>> {
        let is = |key, value: &String| params.text(key).as_ref() == Some(value);
        if is("email", &self.config.admin_email) && is("password", &self.config.admin_password) {
            return Ok(Reply::ok(self.auth_answer(self.owner()?)));
        }
        Ok(Reply::error(401, "Invalid email or password"))
    }

    fn assign(&mut self, call: &Call, effects: &Effects) -> Result<Reply, Box<Reply>> {
        let room = call.room().ok_or_else(|| Reply::required("room_id"))?;
        let agent = call.agent().ok_or_else(|| Reply::required("agent_id"))?;
        let max_agents = call.params.count("max_agent").unwrap_or(MAX_AGENTS_DEFAULT);
        if let Some(session) = self.known_room(&room).and_then(|known| known.session.as_mut())
            && session.refused < effects.exceed_first
        {
            session.refused += 1;
            return Ok(Reply { spurious: true, ..Refused::ExceedMaxAgents.into() });
        }
        let replace = call.params.flag("replace_latest_agent");
        let applied = self.join(&room, agent, By::Api, max_agents, replace)?;
        let member = self.agents.get(&agent).ok_or(Refused::AgentNotFound)?;
        let session = self.room(&room).and_then(|known| known.session.as_ref());
        let opened = session.ok_or(Refused::RoomResolved)?.opened.plain();
        let body = json!({
            "data": {
                "added_agent": self.full_user(&member.spec),
                "service": {
                    "created_at": opened,
                    "is_resolved": false,
                    "retrieved_at": opened,
                    "room_id": room,
                    "updated_at": opened,
                    "user_id": agent.0,
                },
            },
        });
        Ok(Reply { applied, ..Reply::ok(body) })
    }

    fn remove(&mut self, call: &Call) -> Result<Reply, Box<Reply>> {
        let room = call.room().ok_or_else(|| Reply::required("room_id"))?;
        let agent = call.agent().ok_or_else(|| Reply::required("agent_id"))?;
        let spec = &self.agents.get(&agent).ok_or(Refused::AgentNotFound)?.spec;
        let removed = json!({"id": agent.0, "name": spec.name, "email": spec.email});
        let applied = self.leave(&room, agent, By::Api)?;
        Ok(Reply { applied, ..Reply::ok(json!({"data": {"removed_agent": removed}})) })
    }

    fn mark_as_resolved(&mut self, call: &Call) -> Result<Reply, Box<Reply>> {
        let room = call.room().ok_or_else(|| Reply::required("room_id"))?;
        let owner = self.owner()?.clone();
        self.resolve(&room, owner.id)?;
        let known = self.room(&room).ok_or(Refused::RoomNotFound)?;
        let answer = self.resolved_answer(known, &owner, call.params.text("notes").as_deref());
        let webhook = self.resolve_body(known, &owner);
        Ok(Reply { resolve_webhook: Some(webhook), ..Reply::ok(answer).applied() })
    }
}

impl From<Refused> for Box<Reply> {
    fn from(refused: Refused) -> Self {
        Self::new(refused.into())
    }
}

impl Effects {
    /// Whether the true answer may differ from what an account without faults would give.
    pub(super) fn distorts(&self) -> bool {
        !matches!(self.counts, Counts::True)
            || !self.roster.is_empty()
            || self.rooms_lag.is_some()
            || self.dirty_rows > 0
            || self.coarse_cursors
    }
}
