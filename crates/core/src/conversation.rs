//! A conversation and its life: waiting → reserved → assigned → resolved.

use serde::{Deserialize, Serialize};

use crate::{AgentId, ConversationId, InboxId, RoomId, Seq, ServiceId, Timestamp};

/// Where a conversation stands. An agent's load counts `Reserved`, `Closing` and `Assigned`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum State {
    /// In its queue, or parked until a wake time.
    Waiting {
        /// Set when the conversation cannot be served for a reason of its own.
        park: Option<Park>,
    },
    /// A slot is taken and the platform is being told.
    Reserved {
        /// Whose slot.
        agent: AgentId,
        /// Nothing is sent to the platform after this; past it anyone may settle the reservation.
        deadline: Timestamp,
    },
    /// Resolved while the platform was being told: the slot frees when that call settles.
    Closing {
        /// Whose slot.
        agent: AgentId,
        /// As in `Reserved`.
        deadline: Timestamp,
    },
    /// The platform says this agent serves it.
    Assigned {
        /// Who serves it.
        agent: AgentId,
        /// Since when.
        at: Timestamp,
    },
    /// Over.
    Resolved {
        /// Since when.
        at: Timestamp,
        /// How it ended.
        how: Closed,
    },
}

/// Why a waiting conversation sits out for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Park {
    /// When it takes its place again.
    pub until: Timestamp,
    /// What for.
    pub why: ParkReason,
}

/// What a parked conversation waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParkReason {
    /// The room's previous conversation is still being closed.
    PreviousClosing,
    /// The platform named nobody for its room who may be given it now.
    NobodyEligible,
    /// Its customer wrote before the session before it was resolved, and perhaps as part of that one: the room is
    /// read back first.
    Doubted,
    /// Every agent who could serve it was refused for it by the platform.
    Refused,
}

/// How a conversation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Closed {
    /// A resolve event, or the platform said so when asked.
    Resolved,
    /// Someone we could not name serves it; adoption opens it again under their name.
    ServedElsewhere,
    /// The platform does not know the room.
    RoomGone,
}

/// How a conversation came to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Through an allocation event.
    Event,
    /// Adopted: the platform listed it for an agent and the ledger did not hold it.
    Platform,
}

/// One open-to-resolved session in a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conversation {
    /// The ledger's number; zero until the ledger has given one.
    pub id: ConversationId,
    /// Where it is held.
    pub room: RoomId,
    /// Which inbox, when known.
    pub inbox: Option<InboxId>,
    /// How it came to us.
    pub origin: Origin,
    /// Its place in line: the sequence of the event that opened it. Retries, releases and restarts keep it.
    pub position: Seq,
    /// Where it stands.
    pub state: State,
    /// Fence: how many times a slot was taken or a reservation taken over. Only the latest attempt may confirm.
    pub attempt: u32,
    /// When it opened.
    pub opened_at: Timestamp,
    /// When the customer last wrote, as far as events told.
    pub last_activity_at: Timestamp,
    /// The platform's name for this session, once known.
    pub service: Option<ServiceId>,
    /// The session that was the room's latest when this one opened; a resolve naming it is an old one.
    pub opened_with: Option<ServiceId>,
    /// Read the room back at this time: an event said something the ledger cannot explain.
    pub verify_at: Option<Timestamp>,
    /// The event that asked for the read-back; a session that proves new takes its place in line.
    pub verify_seq: Option<Seq>,
    /// Agents the platform refused for this conversation, each until a time.
    pub refused: Vec<(AgentId, Timestamp)>,
    /// What a round-robin turn cost when the slot was taken; given back on release.
    pub turn_charge: i64,
}

impl Conversation {
    /// A conversation in `room` about which nothing else is known yet.
    #[must_use]
    pub fn blank(room: RoomId, position: Seq, origin: Origin, state: State) -> Self {
        Self {
            id: ConversationId(0),
            room,
            inbox: None,
            origin,
            position,
            state,
            attempt: 0,
            opened_at: Timestamp::default(),
            last_activity_at: Timestamp::default(),
            service: None,
            opened_with: None,
            verify_at: None,
            verify_seq: None,
            refused: Vec::new(),
            turn_charge: 0,
        }
    }

    /// Whether the platform says an agent serves it.
    #[must_use]
    pub fn is_assigned(&self) -> bool {
        matches!(self.state, State::Assigned { .. })
    }

    /// Whether it sits out until its room has been read back.
    #[must_use]
    pub fn is_doubted(&self) -> bool {
        matches!(self.state, State::Waiting { park: Some(Park { why: ParkReason::Doubted, .. }) })
    }

    /// Lets it wait in its queue, if it was parked for this reason.
    pub(crate) fn unpark(&mut self, parked_for: ParkReason) {
        if matches!(self.state, State::Waiting { park: Some(Park { why, .. }) } if why == parked_for) {
            self.state = State::Waiting { park: None };
            self.verify_at = None;
        }
    }

    /// Whose slot it holds, if any.
    #[must_use]
    pub fn holder(&self) -> Option<AgentId> {
        match self.state {
            State::Reserved { agent, .. } | State::Closing { agent, .. } | State::Assigned { agent, .. } => {
                Some(agent)
            }
            State::Waiting { .. } | State::Resolved { .. } => None,
        }
    }

    /// Waiting, reserved or assigned. A room has at most one such conversation.
    #[must_use]
    pub fn is_open(&self) -> bool {
        match self.state {
            State::Waiting { .. } | State::Reserved { .. } | State::Assigned { .. } => true,
            State::Closing { .. } | State::Resolved { .. } => false,
        }
    }
}
