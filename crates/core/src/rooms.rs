//! The working set: the rooms one ledger transaction touches, and every rule that changes a conversation.
//!
//! A store loads the unresolved conversations of some rooms into [`Rooms`], calls the rules (events in `fold` and
//! `update`, settlements in [`crate::settle`], adoption in [`crate::adopt`]), and writes the [`Changes`] back. The rules
//! are thus the same for every store, and a test needs no store at all.

mod governed;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use crate::{
    AgentId, Closed, Conversation, ConversationId, InboxId, LatestService, Notice, Origin, Policy, RoomId,
    Rulebook, Seq, ServiceId, State, Timestamp, Turn,
    conversation::{ParkReason, Traits},
    event::Hints,
    notice,
    policy::Timing,
    routes::Routed,
};

/// Unresolved conversations of some rooms of one account, under that account's lock.
#[derive(Debug)]
pub struct Rooms {
    pub(crate) now: Timestamp,
    pub(crate) timing: Timing,
    conversations: Vec<Entry>,
    open: HashMap<RoomId, usize>,
    closing: HashMap<RoomId, usize>,
    closed_services: HashSet<(RoomId, ServiceId)>,
    newly_closed: Vec<(RoomId, ServiceId)>,
    agents: BTreeMap<AgentId, AgentChange>,
    refunds: Vec<Refund>,
    rules: Arc<Rulebook>,
    policy: Option<Policy>,
    absent: BTreeSet<AgentId>,
}

/// What a new conversation begins with.
#[derive(Debug)]
pub(crate) struct Opening {
    pub room: RoomId,
    pub position: Seq,
    pub opened_at: Timestamp,
    /// When its customer last wrote.
    pub wrote_at: Timestamp,
    pub inbox: Option<InboxId>,
    pub traits: Traits,
}

#[derive(Debug)]
struct Entry {
    conversation: Conversation,
    /// Where it stood when the transaction began; `None` of a new one.
    before: Option<State>,
    changed: bool,
}

/// What a transaction must write.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Conversations that exist and changed. Write these before `opened`: a room has one open at a time.
    pub updated: Vec<Conversation>,
    /// New conversations, in order of acceptance; the store numbers them.
    pub opened: Vec<Conversation>,
    /// Sessions now known to be over.
    pub closed_services: Vec<(RoomId, ServiceId)>,
    /// Counters to move, by agent.
    pub agents: BTreeMap<AgentId, AgentChange>,
    /// Turns to give back.
    pub refunds: Vec<Refund>,
    /// What to tell subscribers.
    pub notices: Vec<Notice>,
}

/// How an agent's counters move.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AgentChange {
    /// Slots taken, or given back when negative.
    pub open: i32,
    /// Assignments made, or taken back when negative.
    pub assignments: i32,
}

/// A turn to give back: in the rotation of its queue, and in the agent's window of its inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refund {
    /// What it was for.
    pub conversation: ConversationId,
    /// Whose turn it was.
    pub agent: AgentId,
    /// What it had cost, and where.
    pub turn: Turn,
}

impl Rooms {
    /// A working set of `unresolved` conversations at `now`. `closed_services` are the sessions of these rooms
    /// that are known to be over.
    #[must_use]
    pub fn new(
        now: Timestamp,
        timing: Timing,
        unresolved: Vec<Conversation>,
        closed_services: impl IntoIterator<Item = (RoomId, ServiceId)>,
    ) -> Self {
        let mut rooms = Self {
            now,
            timing,
            conversations: Vec::with_capacity(unresolved.len()),
            open: HashMap::new(),
            closing: HashMap::new(),
            closed_services: closed_services.into_iter().collect(),
            newly_closed: Vec::new(),
            agents: BTreeMap::new(),
            refunds: Vec::new(),
            rules: Arc::default(),
            policy: None,
            absent: BTreeSet::new(),
        };
        for conversation in unresolved {
            rooms.insert(conversation, false);
        }
        rooms
    }

    /// What changed.
    #[must_use]
    pub fn finish(self) -> Changes {
        let changed = self.conversations.iter().filter(|entry| entry.changed);
        let told = |entry: &Entry| notice::of_change(entry.before.as_ref(), &entry.conversation, self.now);
        let notices = changed.filter_map(told).collect();
        let (mut opened, updated): (Vec<_>, Vec<_>) = self
            .conversations
            .into_iter()
            .filter(|entry| entry.changed)
            .map(|entry| entry.conversation)
            .partition(|conversation| conversation.id == UNNUMBERED);
        opened.sort_by_key(|conversation| conversation.position);
        Changes {
            updated,
            opened,
            closed_services: self.newly_closed,
            agents: self.agents.into_iter().filter(|(_, change)| *change != AgentChange::default()).collect(),
            refunds: self.refunds,
            notices,
        }
    }

    /// Opens a conversation that waits.
    pub(crate) fn open_new(&mut self, opening: Opening, latest: Option<&LatestService>) {
        let Opening { room, position, opened_at, wrote_at, inbox, traits } = opening;
        let conversation = Conversation {
            inbox,
            traits,
            rank: opened_at,
            opened_at,
            last_activity_at: wrote_at,
            service: self.ongoing(&room, latest),
            opened_with: resolved_id(latest).cloned(),
            ..Conversation::blank(room, position, Origin::Event, State::Waiting { park: None })
        };
        let index = self.insert(conversation, true);
        self.enqueue(index);
    }

    /// Takes a conversation up as somebody's, found on the platform.
    pub(crate) fn open_assigned(&mut self, room: RoomId, agent: AgentId, inbox: Option<InboxId>) {
        let (now, state) = (self.now, State::Assigned { agent, at: self.now });
        let Routed { inbox, traits } = self.route(inbox, &Hints::default());
        let conversation = Conversation {
            inbox,
            traits,
            rank: now,
            opened_at: now,
            last_activity_at: now,
            ..Conversation::blank(room, Seq(0), Origin::Platform, state)
        };
        let index = self.insert(conversation, true);
        self.rerank(index);
        self.count(agent, 1, 0);
    }

    /// Where in the set those conversations stand of which `chosen` holds.
    pub(crate) fn those(&self, chosen: impl Fn(&Conversation) -> bool) -> Vec<usize> {
        let entries = self.conversations.iter().enumerate();
        entries.filter(|(_, entry)| chosen(&entry.conversation)).map(|(index, _)| index).collect()
    }

    /// Ends a conversation, or lets it end when the call under way settles.
    pub(crate) fn close(&mut self, index: usize, how: Closed) {
        let conversation = self.change(index);
        match conversation.state {
            State::Reserved { agent, deadline } => {
                conversation.state = State::Closing { agent, deadline };
                let room = conversation.room.clone();
                self.open.remove(&room);
                self.closing.insert(room, index);
            }
            State::Assigned { agent, .. } => {
                self.free_slot(index, agent);
                self.end(index, how);
            }
            State::Waiting { .. } => self.end(index, how),
            State::Closing { .. } | State::Resolved { .. } => {}
        }
    }

    /// Ends a conversation whose slot, if it held one, is counted as free.
    pub(crate) fn end(&mut self, index: usize, how: Closed) {
        let now = self.now;
        let conversation = self.change(index);
        conversation.state = State::Resolved { at: now, how };
        conversation.verify_at = None;
        let room = conversation.room.clone();
        if self.open.get(&room) == Some(&index) {
            self.open.remove(&room);
        }
        if self.closing.get(&room) == Some(&index) {
            self.closing.remove(&room);
            self.unpark_successor(&room);
        }
    }

    fn unpark_successor(&mut self, room: &RoomId) {
        let Some(index) = self.open.get(room).copied() else { return };
        self.change(index).unpark(ParkReason::PreviousClosing);
    }

    /// Frees the slot an assigned conversation takes up, unless it was freed while the conversation is put off.
    pub(crate) fn free_slot(&mut self, index: usize, agent: AgentId) {
        self.hold_slot(index, agent, false);
        self.change(index).slot_freed = false;
    }

    /// Lets an assigned conversation take up a slot of its agent, or not.
    pub(crate) fn hold_slot(&mut self, index: usize, agent: AgentId, holds: bool) {
        let conversation = &self.conversations[index].conversation;
        if conversation.slot_freed == holds {
            self.change(index).slot_freed = !holds;
            self.count(agent, if holds { 1 } else { -1 }, 0);
        }
    }

    /// Moves an agent's counters.
    pub(crate) fn count(&mut self, agent: AgentId, open: i32, assignments: i32) {
        let change = self.agents.entry(agent).or_default();
        change.open += open;
        change.assignments += assignments;
    }

    pub(crate) fn refund(&mut self, refund: Refund) {
        self.refunds.push(refund);
    }

    /// Notes that a session is over. False when that was known.
    pub(crate) fn remember_closed(&mut self, room: &RoomId, service: &ServiceId) -> bool {
        let is_new = self.closed_services.insert((room.clone(), service.clone()));
        if is_new {
            self.newly_closed.push((room.clone(), service.clone()));
        }
        is_new
    }

    /// Notes that the session of the conversation at `index` is over, as far as it has a name.
    pub(crate) fn remember_session(&mut self, index: usize) {
        let Conversation { room, service, .. } = &self.conversations[index].conversation;
        if let (room, Some(service)) = (room.clone(), service.clone()) {
            self.remember_closed(&room, &service);
        }
    }

    /// The session that `latest` says is under way, unless it is known to be over.
    pub(crate) fn ongoing(&self, room: &RoomId, latest: Option<&LatestService>) -> Option<ServiceId> {
        let service = latest.filter(|session| !session.resolved).map(|session| session.id.clone())?;
        let named = (room.clone(), service);
        (!self.closed_services.contains(&named)).then_some(named.1)
    }

    /// The conversation with this number, and where it stands in the set.
    pub(crate) fn find(&self, id: ConversationId) -> Option<(usize, &Conversation)> {
        let index = self.conversations.iter().position(|entry| entry.conversation.id == id)?;
        Some((index, &self.conversations[index].conversation))
    }

    /// The open conversation of `room`.
    pub(crate) fn open_in(&self, room: &RoomId) -> Option<(usize, &Conversation)> {
        let index = *self.open.get(room)?;
        Some((index, &self.conversations[index].conversation))
    }

    /// Every assigned conversation of `agent`: since when, its number, its room.
    pub(crate) fn assigned_to(
        &self,
        agent: AgentId,
    ) -> impl Iterator<Item = (Timestamp, ConversationId, &RoomId)> {
        self.conversations.iter().filter_map(move |Entry { conversation, .. }| match conversation.state {
            State::Assigned { agent: holder, at } if holder == agent => {
                Some((at, conversation.id, &conversation.room))
            }
            State::Waiting { .. }
            | State::Reserved { .. }
            | State::Closing { .. }
            | State::Assigned { .. }
            | State::Resolved { .. } => None,
        })
    }

    /// Whether a call is under way for a conversation of `room` that is already over.
    pub(crate) fn is_closing(&self, room: &RoomId) -> bool {
        self.closing.contains_key(room)
    }

    /// The conversation at `index`.
    pub(crate) fn at(&self, index: usize) -> &Conversation {
        &self.conversations[index].conversation
    }

    /// The conversation at `index`, marked as changed.
    pub(crate) fn change(&mut self, index: usize) -> &mut Conversation {
        let entry = &mut self.conversations[index];
        entry.changed = true;
        &mut entry.conversation
    }

    fn insert(&mut self, conversation: Conversation, changed: bool) -> usize {
        let index = self.conversations.len();
        if conversation.is_open() {
            self.open.insert(conversation.room.clone(), index);
        } else if matches!(conversation.state, State::Closing { .. }) {
            self.closing.insert(conversation.room.clone(), index);
        }
        let before = (conversation.id != UNNUMBERED).then(|| conversation.state.clone());
        self.conversations.push(Entry { conversation, before, changed });
        index
    }
}

/// The number of a conversation the ledger has not numbered yet.
pub const UNNUMBERED: ConversationId = ConversationId(0);

pub(crate) fn resolved_id(latest: Option<&LatestService>) -> Option<&ServiceId> {
    latest.filter(|service| service.resolved).map(|service| &service.id)
}
