//! The working set: the rooms one ledger transaction touches, and every rule that changes a conversation.
//!
//! A store loads the unresolved conversations of some rooms into [`Rooms`], calls the rules (events here,
//! settlements in [`crate::settle`], adoption in [`crate::adopt`]), and writes the [`Changes`] back. The rules
//! are thus the same for every store, and a test needs no store at all.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::{
    AgentId, Closed, Conversation, ConversationId, Event, EventKind, InboxId, LatestService, Origin, Park,
    ParkReason, RoomId, Seq, ServiceId, State, Timestamp, policy::Timing,
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
}

#[derive(Debug)]
struct Entry {
    conversation: Conversation,
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
    /// Round-robin turns to give back.
    pub refunds: Vec<Refund>,
}

/// How an agent's counters move.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AgentChange {
    /// Slots taken, or given back when negative.
    pub open: i32,
    /// Assignments made, or taken back when negative.
    pub assignments: i32,
}

/// A round-robin turn to give back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refund {
    /// The queue, by its inbox.
    pub inbox: Option<InboxId>,
    /// Whose turn it was.
    pub agent: AgentId,
    /// What it had cost.
    pub charge: i64,
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
        };
        for conversation in unresolved {
            rooms.insert(conversation, false);
        }
        rooms
    }

    /// Applies one event. Events must come in order of acceptance.
    pub fn apply(&mut self, event: &Event) {
        match &event.kind {
            EventKind::Allocate { inbox, latest_service } => {
                self.allocate(event, *inbox, latest_service.as_ref())
            }
            EventKind::Resolve { service } => self.resolve(event, service.as_ref()),
        }
    }

    /// What changed.
    #[must_use]
    pub fn finish(self) -> Changes {
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
        }
    }

    fn allocate(&mut self, event: &Event, inbox: Option<InboxId>, latest: Option<&LatestService>) {
        let before = resolved_id(latest);
        if let Some(service) = before {
            // Its resolve may come after this event, and must not close the session that follows.
            self.remember_closed(&event.room, service);
        }
        let ongoing = self.ongoing(&event.room, latest);
        if let Some((index, _)) = self.open_in(&event.room).filter(|(_, open)| open.is_doubted()) {
            // Whoever writes after the resolve waits without doubt, from now on.
            self.end(index, Closed::Resolved);
        }
        let Some(index) = self.open.get(&event.room).copied() else {
            self.open_new(event.room.clone(), event.seq, event.received_at, inbox, latest);
            return;
        };
        let settle = self.timing.settle_window;
        let conversation = self.change(index);
        conversation.last_activity_at = conversation.last_activity_at.max(event.received_at);
        conversation.inbox = conversation.inbox.or(inbox);
        let State::Assigned { at, .. } = conversation.state else {
            // Named as over while the customer waits: they wait in the next session by now.
            conversation.service =
                conversation.service.take().filter(|ours| Some(ours) != before).or(ongoing);
            return;
        };
        if before.is_some() && before == conversation.service.as_ref() {
            // The resolve was overtaken: this event already speaks of the next session.
            self.close(index, Closed::Resolved);
            self.open_new(event.room.clone(), event.seq, event.received_at, inbox, latest);
            return;
        }
        let same_session = before.is_some() && before == conversation.opened_with.as_ref();
        let sent_before_assignment = event.received_at < at;
        if sent_before_assignment {
            conversation.service = conversation.service.take().or(ongoing);
        } else if !same_session && conversation.verify_at.is_none() {
            // The session it names may be ours or the next: learn nothing from it.
            conversation.verify_at = Some(event.received_at + settle);
            conversation.verify_seq = Some(event.seq);
        }
    }

    fn resolve(&mut self, event: &Event, service: Option<&ServiceId>) {
        if let Some(service) = service
            && !self.remember_closed(&event.room, service)
        {
            return;
        }
        let Some((index, ours)) = self.open_in(&event.room) else { return };
        let names_another = ours.service.is_some() && ours.service.as_ref() != service;
        if service.is_some() && (names_another || ours.opened_with.as_ref() == service) {
            return;
        }
        let conversation = self.change(index);
        conversation.service = conversation.service.take().or_else(|| service.cloned());
        let inbox = conversation.inbox;
        let doubt =
            conversation.verify_at.zip(conversation.verify_seq).filter(|_| conversation.is_assigned());
        let wrote_at = conversation.last_activity_at;
        let latest = conversation.service.clone().map(|id| LatestService { id, resolved: true });
        self.remember_session(index);
        self.close(index, Closed::Resolved);
        if let Some((verify_at, seq)) = doubt {
            self.open_new(event.room.clone(), seq, wrote_at, inbox, latest.as_ref());
            self.doubt(&event.room, verify_at.max(self.now + self.timing.settle_window));
        }
    }

    /// A customer's message came after an assignment and before the resolve. It may belong to the next session, or be
    /// a late copy of one of the last: its place is kept, and the room tells at `verify_at`, when the resolve shows. Without an answer the
    /// conversation waits like any other after a while, and the platform will say if the room is resolved.
    fn doubt(&mut self, room: &RoomId, verify_at: Timestamp) {
        let until = verify_at + self.timing.settle_window;
        let Some((index, _)) = self.open_in(room) else { return };
        let conversation = self.change(index);
        conversation.state = State::Waiting { park: Some(Park { until, why: ParkReason::Doubted }) };
        conversation.verify_at = Some(verify_at);
    }

    /// Opens a conversation in `room` at place `position`.
    pub(crate) fn open_new(
        &mut self,
        room: RoomId,
        position: Seq,
        opened_at: Timestamp,
        inbox: Option<InboxId>,
        latest: Option<&LatestService>,
    ) {
        let park =
            self.closing.get(&room).and_then(|&index| match self.conversations[index].conversation.state {
                State::Closing { deadline, .. } => Some(Park {
                    until: deadline + self.timing.settle_window,
                    why: ParkReason::PreviousClosing,
                }),
                State::Waiting { .. }
                | State::Reserved { .. }
                | State::Assigned { .. }
                | State::Resolved { .. } => None,
            });
        let conversation = Conversation {
            inbox,
            opened_at,
            last_activity_at: opened_at,
            service: self.ongoing(&room, latest),
            opened_with: resolved_id(latest).cloned(),
            ..Conversation::blank(room, position, Origin::Event, State::Waiting { park })
        };
        self.insert(conversation, true);
    }

    /// Takes a conversation up as somebody's, found on the platform.
    pub(crate) fn open_assigned(&mut self, room: RoomId, agent: AgentId, inbox: Option<InboxId>) {
        let (now, state) = (self.now, State::Assigned { agent, at: self.now });
        let conversation = Conversation {
            inbox,
            opened_at: now,
            last_activity_at: now,
            ..Conversation::blank(room, Seq(0), Origin::Platform, state)
        };
        self.insert(conversation, true);
        self.agents.entry(agent).or_default().open += 1;
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
                self.count(agent, -1, 0);
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

    /// Moves an agent's counters.
    pub(crate) fn count(&mut self, agent: AgentId, open: i32, assignments: i32) {
        let change = self.agents.entry(agent).or_default();
        change.open += open;
        change.assignments += assignments;
    }

    pub(crate) fn refund(&mut self, refund: Refund) {
        if refund.charge != 0 {
            self.refunds.push(refund);
        }
    }

    /// Notes that a session is over. False when that was known.
    fn remember_closed(&mut self, room: &RoomId, service: &ServiceId) -> bool {
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
    fn ongoing(&self, room: &RoomId, latest: Option<&LatestService>) -> Option<ServiceId> {
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

    /// The conversation at `index`, marked as changed.
    pub(crate) fn change(&mut self, index: usize) -> &mut Conversation {
        let entry = &mut self.conversations[index];
        entry.changed = true;
        &mut entry.conversation
    }

    fn insert(&mut self, conversation: Conversation, changed: bool) {
        let index = self.conversations.len();
        if conversation.is_open() {
            self.open.insert(conversation.room.clone(), index);
        } else if matches!(conversation.state, State::Closing { .. }) {
            self.closing.insert(conversation.room.clone(), index);
        }
        self.conversations.push(Entry { conversation, changed });
    }
}

/// The number of a conversation the ledger has not numbered yet.
pub const UNNUMBERED: ConversationId = ConversationId(0);

fn resolved_id(latest: Option<&LatestService>) -> Option<&ServiceId> {
    latest.filter(|service| service.resolved).map(|service| &service.id)
}
