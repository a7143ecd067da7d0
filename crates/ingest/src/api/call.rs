//! One request to the API, as its endpoint sees it, and what comes of it.

use std::collections::BTreeSet;

use actix_web::http::StatusCode;
use sebastian_core::{
    AgentId, InboxId, Policy, Roster, Rulebook, Timestamp,
    rulebook::edit::{EditError, Invalid},
};
use sebastian_store::AuditEntry;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::Account;

/// What an endpoint works with beside the rulebook.
pub(super) struct Call<'a> {
    /// Numbers in the path, after the account.
    pub ids: &'a [i64],
    /// What was sent: an object.
    pub body: &'a Value,
    /// Parameters of the query.
    pub query: &'a [(String, String)],
    /// Whose rulebook.
    pub account: &'a Account,
    /// What holds where the rulebook says nothing.
    pub policy: &'a Policy,
    /// The agents, when the cache has any.
    pub roster: Option<&'a Roster>,
    /// The ledger's time.
    pub now: Timestamp,
}

/// What an endpoint answers.
pub(super) struct Reply {
    pub status: StatusCode,
    /// `None`: nothing at all.
    pub body: Option<Value>,
}

/// A change an endpoint made, and what it answers.
pub(super) struct Changed {
    pub reply: Reply,
    /// `None`: it left all as it was.
    pub entry: Option<AuditEntry>,
}

/// Why an endpoint did not do it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The rulebook cannot become so.
    Edit(EditError),
    /// The object that wraps what is sent is missing or empty.
    Unwrapped(&'static str),
}

impl From<EditError> for Refusal {
    fn from(error: EditError) -> Self {
        Self::Edit(error)
    }
}

impl From<Invalid> for Refusal {
    fn from(invalid: Invalid) -> Self {
        Self::Edit(invalid.into())
    }
}

impl Reply {
    /// What was asked for.
    pub fn show(view: &impl Serialize) -> Self {
        Self { status: StatusCode::OK, body: Some(json(view)) }
    }

    /// Done, with nothing to show.
    pub fn empty(status: StatusCode) -> Self {
        Self { status, body: None }
    }
}

/// What is done to what, for the audit.
#[derive(Clone, Copy)]
pub(super) struct Deed {
    pub action: &'static str,
    pub resource: &'static str,
}

impl Changed {
    /// Answers with what it became; `before` is what it was, if it was.
    pub fn show(
        deed: Deed,
        id: impl ToString,
        before: Option<&impl Serialize>,
        after: &impl Serialize,
    ) -> Self {
        let (before, after) = (before.map(json), json(after));
        let is_same = before.as_ref() == Some(&after);
        let Deed { action, resource } = deed;
        let entry = AuditEntry { action, resource, id: id.to_string(), before, after: Some(after.clone()) };
        Self {
            reply: Reply { status: StatusCode::OK, body: Some(after) },
            entry: (!is_same).then_some(entry),
        }
    }

    /// Answers with nothing: what was is no more.
    pub fn gone(deed: Deed, id: impl ToString, before: &impl Serialize) -> Self {
        let Deed { action, resource } = deed;
        let entry =
            AuditEntry { action, resource, id: id.to_string(), before: Some(json(before)), after: None };
        Self { reply: Reply::empty(StatusCode::OK), entry: Some(entry) }
    }
}

impl Changed {
    /// Answers with this instead.
    pub fn replying(self, reply: Reply) -> Self {
        Self { reply, ..self }
    }
}

/// Views hold nothing that JSON has no form for.
fn json(view: &impl Serialize) -> Value {
    serde_json::to_value(view).unwrap_or_default()
}

impl Call<'_> {
    /// The `n`th number of the path.
    pub fn id(&self, n: usize) -> i64 {
        self.ids.get(n).copied().unwrap_or_default()
    }

    /// What was sent, as a draft.
    pub fn draft<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        read(self.body, "body")
    }

    /// What was sent within the object `wrapper`; one sent without it, as Rails takes it too, will do.
    pub fn wrapped<T: DeserializeOwned>(&self, wrapper: &'static str) -> Result<T, Refusal> {
        let sent = self.body.get(wrapper).unwrap_or(self.body);
        match sent.as_object() {
            Some(fields) if !fields.is_empty() => read(sent, wrapper),
            _ => Err(Refusal::Unwrapped(wrapper)),
        }
    }

    /// The value of a parameter of the query.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// An inbox of the account. Inboxes are the platform's: when the roster names some, this must be one of them, or one
    /// that the rules speak of; when nothing is known, any will do.
    pub fn inbox(&self, id: i64, rules: &Rulebook) -> Result<InboxId, Refusal> {
        let inbox = InboxId(id);
        let known = self.inboxes(rules);
        let is_told =
            self.roster.is_some_and(|roster| roster.agents.iter().any(|agent| agent.inboxes.is_some()));
        if id < 1 || (is_told && !known.contains(&inbox)) {
            return Err(EditError::Unknown { what: "inbox", id }.into());
        }
        Ok(inbox)
    }

    /// An agent of the account: as [`Self::inbox`].
    pub fn agent(&self, id: i64, rules: &Rulebook) -> Result<AgentId, Refusal> {
        let agent = AgentId(id);
        let is_told = self.roster.is_some_and(|roster| !roster.agents.is_empty());
        if id < 1 || (is_told && !self.agents(rules).contains(&agent)) {
            return Err(EditError::Unknown { what: "agent", id }.into());
        }
        Ok(agent)
    }

    /// Every inbox anybody speaks of.
    pub fn inboxes(&self, rules: &Rulebook) -> BTreeSet<InboxId> {
        let seen = self.roster.into_iter().flat_map(|roster| &roster.agents);
        let seen = seen.filter_map(|agent| agent.inboxes.as_ref()).flatten().copied();
        let limited = rules.capacity_policies.values().flat_map(|policy| &policy.inbox_limits);
        let routed = rules.routes.iter().flat_map(|route| [route.channel, route.inbox]).flatten();
        seen.chain(rules.inboxes.keys().copied())
            .chain(limited.map(|limit| limit.inbox))
            .chain(routed)
            .chain(self.account.default_inbox)
            .collect()
    }

    /// Every agent anybody speaks of.
    pub fn agents(&self, rules: &Rulebook) -> BTreeSet<AgentId> {
        let seen = self.roster.into_iter().flat_map(|roster| &roster.agents).map(|agent| agent.id);
        let members = rules.teams.values().flat_map(|team| &team.members).copied();
        seen.chain(rules.agents.keys().copied()).chain(members).collect()
    }
}

fn read<T: DeserializeOwned>(sent: &Value, name: &str) -> Result<T, Refusal> {
    T::deserialize(sent).map_err(|error| Invalid::of(name, &format!("is not understood: {error}")).into())
}
