//! A room and the sessions held in it.

use std::sync::Arc;

use sebastian_core::{AgentId, InboxId};

use super::clock::Stamp;

/// A room: one customer on one channel, over many sessions.
#[derive(Debug, Clone)]
pub struct Room {
    pub(super) id: Arc<str>,
    /// The row's own `id`.
    pub(super) number: i64,
    pub(super) channel: Option<InboxId>,
    pub(super) source: String,
    pub(super) customer_name: String,
    /// `user_id` in rows, `email` in webhooks: a phone number on WhatsApp.
    pub(super) contact: String,
    pub(super) agents: Vec<AgentId>,
    pub(super) session: Option<Session>,
    pub(super) latest: Option<ClosedService>,
    pub(super) last_message: Stamp,
}

/// An open session.
#[derive(Debug, Clone)]
pub(super) struct Session {
    pub service: i64,
    pub opened: Stamp,
    pub messages: u32,
    /// Assigns refused by [`super::FaultKind::ExceedOnFreshRoom`] so far.
    pub refused: u32,
}

/// A session that is over, as `latest_service` shows it.
#[derive(Debug, Clone)]
pub(super) struct ClosedService {
    pub service: i64,
    pub opened: Stamp,
    pub resolved: Stamp,
    /// The last agent in the room.
    pub agent: Option<AgentId>,
}

impl Room {
    /// Agents in the room, in the order they joined. Empty once resolved.
    #[must_use]
    pub fn agents(&self) -> &[AgentId] {
        &self.agents
    }

    /// The room's channel; `None` for a room first heard of in an API call, until an agent joins.
    #[must_use]
    pub fn channel(&self) -> Option<InboxId> {
        self.channel
    }

    /// The open session's `service.id`.
    #[must_use]
    pub fn service(&self) -> Option<i64> {
        self.session.as_ref().map(|session| session.service)
    }

    /// Whether a customer waits here and no agent is in the room.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.session.is_some() && self.agents.is_empty()
    }

    /// Whether the last session is over.
    #[must_use]
    pub fn is_resolved(&self) -> bool {
        self.session.is_none()
    }

    /// The key lists are ordered by.
    pub(super) fn place(&self) -> Place {
        (self.last_message, self.id.clone())
    }
}

/// A room's place in a list ordered by its customer's last message.
pub(super) type Place = (Stamp, Arc<str>);
