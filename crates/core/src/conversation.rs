//! A conversation and its life: waiting → reserved → assigned → resolved.

use std::{collections::BTreeSet, fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{AgentId, ConversationId, IdError, InboxId, RoomId, Seq, ServiceId, TeamId, Timestamp};

/// Where a conversation stands. An agent's load counts `Reserved`, `Closing` and `Assigned`, but not an assigned one whose
/// slot was freed while it is put off.
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

/// A conversation is taken from absent agents no more often than this: it would only travel.
pub const HOPS_MAX: u32 = 3;

/// Refusals in a row after which a conversation is poison: some other one would have been let in by now.
pub const REFUSALS_MAX: u32 = 10;

/// How long a poisoned conversation sits out before each further try.
pub const POISON_PARK: Duration = Duration::from_secs(600);

/// Until when a conversation sits out that waits for somebody to open it: the last day of the year 9999.
pub const FAR: Timestamp = Timestamp::from_millis(253_402_214_400_000);

/// Why a waiting conversation sits out for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Park {
    /// When it takes its place again.
    pub until: Timestamp,
    /// What for.
    pub why: ParkReason,
}

impl Park {
    /// When it takes its place again; `None`: once somebody, or its customer, takes it up.
    #[must_use]
    pub fn ends_at(self) -> Option<Timestamp> {
        (self.until < FAR).then_some(self.until)
    }
}

/// What a parked conversation waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
    /// A label or its age keeps it from being dealt.
    Excluded,
    /// The platform proposes nobody for it who may be given it.
    NotProposed,
    /// The platform refused it again and again, whoever was to have it.
    Poison,
    /// It is put off until somebody opens it again.
    Pending,
    /// It is put off until a time.
    Snoozed,
}

/// Whether a conversation is being worked on. Resolved is a [`State`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It is.
    #[default]
    Open,
    /// Put off until somebody opens it: a bot has it, or it waits for a third party.
    Pending,
    /// Put off until a time, or until its customer writes.
    Snoozed,
}

/// How pressing a conversation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Can wait.
    Low,
    /// Ordinary.
    Medium,
    /// Before ordinary ones.
    High,
    /// Before all.
    Urgent,
}

/// A label, in lower case: how it is written makes no difference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
pub struct Label(Box<str>);

impl Label {
    /// Trims `text` and takes it as a label. Fails when empty, over 128 bytes, or holding a control character.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        crate::ids::parse(&text.to_lowercase()).map(Self)
    }

    /// The label as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Label {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        Self::parse(&text)
    }
}

impl From<Label> for String {
    fn from(label: Label) -> Self {
        label.0.into()
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a conversation carries that policies go by.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Traits {
    /// Labels.
    pub labels: BTreeSet<Label>,
    /// How pressing it is, when said.
    pub priority: Option<Priority>,
    /// The team that serves it, when it was given to one.
    pub team: Option<TeamId>,
    /// Which language it is in, as a BCP 47 tag, when said.
    pub language: Option<String>,
}

/// What taking a slot cost beside the slot, to be given back on release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// The inbox whose queue and rate window were charged.
    pub inbox: Option<InboxId>,
    /// The team of that queue.
    pub team: Option<TeamId>,
    /// What the turn in the rotation cost; zero where no rotation chose.
    pub charge: i64,
}

/// How a conversation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
    /// What else it carries.
    pub traits: Traits,
    /// How it came to us.
    pub origin: Origin,
    /// Its place in line: the sequence of the event that opened it. Retries, releases and restarts keep it.
    pub position: Seq,
    /// The key its queue is sorted by; see [`order`](crate::order). The lower is served first.
    pub rank: Timestamp,
    /// Where it stands.
    pub state: State,
    /// Whether it is being worked on.
    pub status: Status,
    /// When a snoozed one is taken up again. `None`: when its customer writes.
    pub snoozed_until: Option<Timestamp>,
    /// Put off, and its agent has the slot back meanwhile. Only of an assigned one.
    pub slot_freed: bool,
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
    /// The event that asked for the read-back, and when it came. A session that proves new began then, and takes its
    /// place in line.
    pub verify_from: Option<(Seq, Timestamp)>,
    /// Agents the platform refused for this conversation, each until a time.
    pub refused: Vec<(AgentId, Timestamp)>,
    /// What the slot now held cost in turns; given back on release.
    pub turn: Option<Turn>,
    /// Whom the platform still shows in the room: the call for the next agent puts that agent in their place.
    pub replaces: Option<AgentId>,
    /// How many times in a row the platform refused to let somebody have it.
    pub refusals: u32,
    /// How many times it was taken from an agent who was not there.
    pub hops: u32,
}

impl Conversation {
    /// A conversation in `room` about which nothing else is known yet.
    #[must_use]
    pub fn blank(room: RoomId, position: Seq, origin: Origin, state: State) -> Self {
        Self {
            id: ConversationId(0),
            room,
            inbox: None,
            traits: Traits::default(),
            origin,
            position,
            rank: Timestamp::default(),
            state,
            status: Status::Open,
            snoozed_until: None,
            slot_freed: false,
            attempt: 0,
            opened_at: Timestamp::default(),
            last_activity_at: Timestamp::default(),
            service: None,
            opened_with: None,
            verify_at: None,
            verify_from: None,
            refused: Vec::new(),
            turn: None,
            replaces: None,
            refusals: 0,
            hops: 0,
        }
    }

    /// Whether the platform says an agent serves it.
    #[must_use]
    pub fn is_assigned(&self) -> bool {
        matches!(self.state, State::Assigned { .. })
    }

    /// Whether it sits out until its room has been read back, or will when somebody opens it.
    #[must_use]
    pub fn is_doubted(&self) -> bool {
        let State::Waiting { park: Some(park) } = self.state else { return false };
        match park.why {
            ParkReason::Doubted => true,
            ParkReason::Pending | ParkReason::Snoozed => self.verify_at.is_some(),
            ParkReason::PreviousClosing
            | ParkReason::NobodyEligible
            | ParkReason::Refused
            | ParkReason::Excluded
            | ParkReason::NotProposed
            | ParkReason::Poison => false,
        }
    }

    /// Whether the platform's word that the reserved agent serves it is all there is to do: nobody put it off or gave it to
    /// another team while the platform was being told. Only such a one may be confirmed without [`Rooms::settle`].
    ///
    /// [`Rooms::settle`]: crate::Rooms::settle
    #[must_use]
    pub fn settles_plainly(&self) -> bool {
        self.status == Status::Open && self.turn.is_none_or(|turn| turn.team == self.traits.team)
    }

    /// Lets it wait in its queue, if it was parked for this reason.
    pub(crate) fn unpark(&mut self, parked_for: ParkReason) {
        if matches!(self.state, State::Waiting { park: Some(Park { why, .. }) } if why == parked_for) {
            self.state = State::Waiting { park: None };
            self.verify_at = None;
        }
    }

    /// Lets it wait in its queue at once, and forgets whom the platform refused for it. One that is put off, closes or is
    /// in doubt goes on sitting out.
    pub(crate) fn try_again(&mut self) {
        self.refused.clear();
        self.refusals = 0;
        for why in [
            ParkReason::NobodyEligible,
            ParkReason::Refused,
            ParkReason::Excluded,
            ParkReason::NotProposed,
            ParkReason::Poison,
        ] {
            self.unpark(why);
        }
    }

    /// Whose it is, if anybody's.
    #[must_use]
    pub fn holder(&self) -> Option<AgentId> {
        match self.state {
            State::Reserved { agent, .. } | State::Closing { agent, .. } | State::Assigned { agent, .. } => {
                Some(agent)
            }
            State::Waiting { .. } | State::Resolved { .. } => None,
        }
    }

    /// Whose slot it takes up, if anybody's.
    #[must_use]
    pub fn slot(&self) -> Option<AgentId> {
        self.holder().filter(|_| !self.slot_freed)
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
