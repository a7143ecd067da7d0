//! What others are told about: conversations that move, queues that nobody serves.
//!
//! A notice names things by number and carries no personal datum. The store writes it down in the transaction of the
//! change it tells of, for whoever has subscribed to its kind.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use crate::{
    AgentId, AgentLoad, Conversation, ConversationId, Decision, Head, InboxId, Outcome, Policy, QueueKey,
    QueueRules, Rejection, RoomId, Roster, Rulebook, Seq, Snapshot, State, TeamId, Timestamp, Traits, decide,
    rooms::UNNUMBERED,
};

/// What a notice is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NoticeKind {
    /// An agent serves a conversation from now on.
    Assigned,
    /// A conversation is back in line: an agent served it, or the platform refused the one who was to. A reservation
    /// that comes to nothing without the platform having refused it is told to nobody.
    Released,
    /// A conversation has waited for longer than it should. Told once.
    WaitingTooLong,
    /// A reservation has filled an agent.
    CapacityReached,
    /// Conversations wait in a queue that no agent may serve now, however many each may hold. Told again only after
    /// somebody could.
    NoAgents,
}

impl NoticeKind {
    /// Every kind.
    pub const ALL: [Self; 5] =
        [Self::Assigned, Self::Released, Self::WaitingTooLong, Self::CapacityReached, Self::NoAgents];

    /// Its name, as subscribers know it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Assigned => "conversation.assigned",
            Self::Released => "conversation.released",
            Self::WaitingTooLong => "conversation.waiting_too_long",
            Self::CapacityReached => "agent.capacity_reached",
            Self::NoAgents => "queue.no_agents",
        }
    }

    /// The kind of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

impl fmt::Display for NoticeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Something that happened. What does not belong to its kind is `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// What.
    pub kind: NoticeKind,
    /// When.
    pub at: Timestamp,
    /// Which conversation; `None` of one that the ledger numbers in the same transaction.
    pub conversation: Option<ConversationId>,
    /// The conversation's room.
    pub room: Option<RoomId>,
    /// Who: serves it now, served it or was refused for it, is full.
    pub agent: Option<AgentId>,
    /// Who served it until now, when it went from one agent to another.
    pub previous_agent: Option<AgentId>,
    /// The conversation's inbox, or the queue's.
    pub inbox: Option<InboxId>,
    /// The conversation's team, or the queue's.
    pub team: Option<TeamId>,
    /// How long the conversation has been open.
    pub waited: Option<Duration>,
    /// How many conversations the agent holds.
    pub load: Option<u32>,
    /// The most they may hold.
    pub capacity: Option<u32>,
}

impl Notice {
    /// A notice that says nothing but that something happened.
    #[must_use]
    pub fn blank(kind: NoticeKind, at: Timestamp) -> Self {
        Self {
            kind,
            at,
            conversation: None,
            room: None,
            agent: None,
            previous_agent: None,
            inbox: None,
            team: None,
            waited: None,
            load: None,
            capacity: None,
        }
    }

    /// A notice about `conversation`.
    #[must_use]
    pub fn about(kind: NoticeKind, at: Timestamp, conversation: &Conversation) -> Self {
        Self {
            conversation: (conversation.id != UNNUMBERED).then_some(conversation.id),
            room: Some(conversation.room.clone()),
            inbox: conversation.inbox,
            team: conversation.traits.team,
            waited: Some(at.since(conversation.opened_at)),
            ..Self::blank(kind, at)
        }
    }
}

/// What became of `after`, whose state was `before` when the transaction began; a new one had none.
pub(crate) fn of_change(before: Option<&State>, after: &Conversation, now: Timestamp) -> Option<Notice> {
    let lost = |state: &State| match state {
        State::Assigned { agent, .. } => Some(*agent),
        State::Reserved { agent, .. } | State::Closing { agent, .. } => {
            after.refused.iter().any(|(refused, _)| refused == agent).then_some(*agent)
        }
        State::Waiting { .. } | State::Resolved { .. } => None,
    };
    let server = |state: &State| match state {
        State::Assigned { agent, .. } => Some(*agent),
        State::Waiting { .. } | State::Reserved { .. } | State::Closing { .. } | State::Resolved { .. } => {
            None
        }
    };
    let served = before.and_then(server);
    match &after.state {
        State::Assigned { agent, .. } if served != Some(*agent) => Some(Notice {
            agent: Some(*agent),
            previous_agent: served,
            ..Notice::about(NoticeKind::Assigned, now, after)
        }),
        State::Waiting { .. } => {
            let agent = before.and_then(lost)?;
            Some(Notice { agent: Some(agent), ..Notice::about(NoticeKind::Released, now, after) })
        }
        State::Assigned { .. } | State::Reserved { .. } | State::Closing { .. } | State::Resolved { .. } => {
            None
        }
    }
}

/// Agents whom `decisions` over `snapshot` fill: they hold as many as they may in all.
#[must_use]
pub fn filled(snapshot: &Snapshot, policy: &Policy, decisions: &[Decision], now: Timestamp) -> Vec<Notice> {
    let heads: BTreeMap<ConversationId, QueueKey> =
        snapshot.waiting.iter().map(|head| (head.conversation, head.queue())).collect();
    let mut taken: BTreeMap<AgentId, (u32, QueueKey)> = BTreeMap::new();
    for decision in decisions {
        let (Outcome::Reserve { agent, .. }, Some(queue)) =
            (decision.outcome, heads.get(&decision.conversation))
        else {
            continue;
        };
        let (count, last) = taken.entry(agent).or_insert((0, *queue));
        (*count, *last) = (*count + 1, *queue);
    }
    let notice = |(agent, (count, queue)): (AgentId, (u32, QueueKey))| {
        let none = AgentLoad::none(agent);
        let load = snapshot.loads.get(&agent).unwrap_or(&none);
        let held = snapshot.roster.agent(agent).and_then(|agent| load.effective(agent)).unwrap_or(load.open);
        let rules = QueueRules::of(&snapshot.rules, policy, (queue.inbox, queue.team), now);
        let capacity = rules.total_limit(agent)?;
        let is_filled = held < capacity && held + count >= capacity;
        is_filled.then(|| Notice {
            agent: Some(agent),
            load: Some(held + count),
            capacity: Some(capacity),
            ..Notice::blank(NoticeKind::CapacityReached, now)
        })
    };
    taken.into_iter().filter_map(notice).collect()
}

/// Whether anybody may serve a queue, however many they hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attendance {
    /// Somebody may, now or as soon as they have room.
    Attended,
    /// Nobody.
    Unattended,
    /// It cannot be told, or nothing of the queue is to be dealt.
    Unknown,
}

/// Whether anybody of `roster` may serve `queue`.
#[must_use]
pub fn attendance(
    queue: QueueKey,
    roster: &Arc<Roster>,
    rules: &Arc<Rulebook>,
    policy: &Policy,
    now: Timestamp,
) -> Attendance {
    let snapshot = Snapshot {
        roster: roster.clone(),
        loads: BTreeMap::new(),
        inbox_loads: BTreeMap::new(),
        windows: BTreeMap::new(),
        answers: Arc::default(),
        waiting: Vec::new(),
        rotations: BTreeMap::new(),
        rules: rules.clone(),
        limit: 0,
    };
    let verdicts = decide::explain(&snapshot, policy, now, &waiting_in(queue, now));
    if verdicts.hold.is_some() || now.since(roster.polled_at) > policy.staleness_max {
        return Attendance::Unknown;
    }
    let mut attendance = Attendance::Unattended;
    for agent in &verdicts.agents {
        match agent.rejection {
            Some(
                Rejection::Role
                | Rejection::ForcedOffline
                | Rejection::Presence
                | Rejection::OnLeave
                | Rejection::Paused
                | Rejection::NotInInbox
                | Rejection::NotInTeam,
            ) => {}
            Some(Rejection::InboxUnknown | Rejection::RosterStale) => attendance = Attendance::Unknown,
            None
            | Some(
                Rejection::LoadUnknown
                | Rejection::RateLimited
                | Rejection::Full
                | Rejection::Excluded
                | Rejection::Refused
                | Rejection::NotPreferred,
            ) => return Attendance::Attended,
        }
    }
    attendance
}

/// A conversation of which nothing but its queue matters.
fn waiting_in(queue: QueueKey, now: Timestamp) -> Head {
    Head {
        conversation: UNNUMBERED,
        room: RoomId::parse("any").expect("a word is an id"),
        inbox: queue.inbox,
        traits: Traits { team: queue.team, ..Traits::default() },
        rank: now,
        position: Seq(0),
        opened_at: now,
        last_activity_at: now,
        refused: Vec::new(),
    }
}
