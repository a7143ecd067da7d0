//! One account's part of the ledger in memory: its maps, and how changes go into them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    time::Duration,
};

use sebastian_core::{
    AgentId, AgentLoad, Changes, Conversation, ConversationId, Event, Head, InboxId, Park, Policy, QueueKey,
    RateWindow, RoomId, Rooms, Rotation, Seq, ServiceId, State, Timestamp, Timing, Turn,
};

use super::{
    books::{Books, Records},
    outbox::Mail,
};
use crate::{
    Attempt, Counts, Pause, Reservation, Suspect,
    port::MOVED_MAX,
    round::{Sorting, queue_of},
};

/// Everything of one account.
#[derive(Default)]
pub(super) struct Desk {
    pub events: BTreeMap<Seq, Event>,
    pub folded: Seq,
    /// The time of the last event folded: times of events follow their order.
    pub folded_at: Timestamp,
    pub conversations: BTreeMap<ConversationId, Conversation>,
    pub unresolved: BTreeSet<ConversationId>,
    /// Resolved conversations, by when they closed.
    closed: BTreeSet<(Timestamp, ConversationId)>,
    by_room: HashMap<RoomId, Vec<ConversationId>>,
    /// Who serves a conversation and since when, or served it to its end; a resolved state no longer says.
    pub served_by: HashMap<ConversationId, (AgentId, Timestamp)>,
    closed_services: HashMap<RoomId, BTreeMap<ServiceId, Timestamp>>,
    loads: BTreeMap<AgentId, AgentLoad>,
    /// Queues that ever had a conversation.
    pub queues: BTreeMap<QueueKey, Queue>,
    /// What each agent was given of an inbox a short while ago.
    pub windows: BTreeMap<(Option<InboxId>, AgentId), RateWindow>,
    pub books: Books,
    /// The version of the rulebook that the last round of decisions saw.
    pub decided_version: u64,
    pub records: Records,
    /// What the last decision went by.
    pub policy: Option<Policy>,
    pub first_reservations: Vec<ConversationId>,
    /// How often the reservation now held was taken over.
    takeovers: HashMap<ConversationId, u32>,
    pub pause: Option<Pause>,
    pub failures: u32,
    pub mail: Mail,
}

/// A queue's own.
#[derive(Default)]
pub(super) struct Queue {
    pub rotation: Rotation,
    /// By what it is sorted. `None`: perhaps not all of it by the same.
    pub sorting: Option<Sorting>,
    /// Sorted as the rules of this round say.
    pub is_sorted: bool,
}

impl Desk {
    pub fn load_rooms(&self, rooms: &HashSet<RoomId>, now: Timestamp, timing: Timing) -> Rooms {
        let ids: BTreeSet<ConversationId> =
            rooms.iter().filter_map(|room| self.by_room.get(room)).flatten().copied().collect();
        let unresolved = ids.intersection(&self.unresolved).map(|id| self.conversations[id].clone());
        let closed = rooms.iter().filter_map(|room| Some((room, self.closed_services.get(room)?)));
        let closed = closed.flat_map(|(room, services)| services.keys().map(|id| (room.clone(), id.clone())));
        Rooms::new(now, timing, unresolved.collect(), closed)
    }

    pub fn rooms_of(&self, ids: impl IntoIterator<Item = ConversationId>) -> HashSet<RoomId> {
        let found = ids.into_iter().filter_map(|id| self.conversations.get(&id));
        found.map(|conversation| conversation.room.clone()).collect()
    }

    pub fn latest_in(&self, room: &RoomId) -> Option<&Conversation> {
        self.by_room.get(room)?.last().map(|id| &self.conversations[id])
    }

    pub fn write(&mut self, changes: Changes, now: Timestamp, last_conversation: &mut i64) {
        for conversation in changes.updated {
            self.put(conversation);
        }
        for mut conversation in changes.opened {
            *last_conversation += 1;
            conversation.id = ConversationId(*last_conversation);
            self.by_room.entry(conversation.room.clone()).or_default().push(conversation.id);
            self.put(conversation);
        }
        for (room, service) in changes.closed_services {
            self.closed_services.entry(room).or_default().insert(service, now);
        }
        for (agent, change) in changes.agents {
            let load = self.loads.entry(agent).or_insert_with(|| AgentLoad::none(agent));
            load.open = load.open.checked_add_signed(change.open).expect("a slot given back was taken");
            load.shift_assignments = load.shift_assignments.saturating_add_signed(change.assignments);
        }
        for refund in changes.refunds {
            let Turn { inbox, team, charge } = refund.turn;
            if charge != 0 {
                let queue = self.queues.entry(QueueKey { inbox, team }).or_default();
                queue.rotation.refund(refund.agent, charge);
            }
            if let Some(window) = self.windows.get_mut(&(inbox, refund.agent)) {
                window.take_back(refund.conversation);
            }
        }
        for mut notice in changes.notices {
            let newest = notice.room.as_ref().and_then(|room| self.by_room.get(room)?.last());
            notice.conversation = notice.conversation.or(newest.copied());
            self.mail.post([notice]);
        }
    }

    fn put(&mut self, conversation: Conversation) {
        let id = conversation.id;
        self.queues.entry(queue_of(&conversation)).or_default();
        match conversation.state {
            State::Resolved { at, .. } => {
                self.unresolved.remove(&id);
                self.closed.insert((at, id));
            }
            State::Assigned { agent, at } => {
                self.served_by.insert(id, (agent, at));
                self.unresolved.insert(id);
            }
            State::Waiting { .. } | State::Reserved { .. } | State::Closing { .. } => {
                self.served_by.remove(&id);
                self.unresolved.insert(id);
            }
        }
        self.conversations.insert(id, conversation);
    }

    /// Events not yet folded, oldest first.
    pub fn unfolded(&self) -> impl Iterator<Item = &Event> {
        let after = Seq(self.folded.0 + 1);
        self.events.range(after..).map(|(_, event)| event)
    }

    /// Lets conversations wait in their queues whose park is `over`, those with the earliest end first and no more than
    /// [`MOVED_MAX`]. Returns how many.
    pub fn unpark(&mut self, over: impl Fn(&Park) -> bool) -> usize {
        let unresolved = self.unresolved.iter().map(|id| &self.conversations[id]);
        let park = |one: &Conversation| match one.state {
            State::Waiting { park: Some(park) } if over(&park) => Some((park.until, one.id)),
            State::Waiting { .. }
            | State::Reserved { .. }
            | State::Closing { .. }
            | State::Assigned { .. }
            | State::Resolved { .. } => None,
        };
        let mut ended: Vec<(Timestamp, ConversationId)> = unresolved.filter_map(park).collect();
        ended.sort_unstable();
        ended.truncate(MOVED_MAX);
        for (_, id) in &ended {
            let Some(conversation) = self.conversations.get_mut(id) else { continue };
            (conversation.state, conversation.verify_at) = (State::Waiting { park: None }, None);
        }
        ended.len()
    }

    /// Sorted queues in which somebody waits.
    pub fn waits_in(&self) -> Vec<QueueKey> {
        let waiting = self.unresolved.iter().map(|id| &self.conversations[id]);
        let waiting = waiting.filter(|one| matches!(one.state, State::Waiting { park: None }));
        let queues: BTreeSet<QueueKey> = waiting.map(queue_of).collect();
        queues.into_iter().filter(|key| self.queues.get(key).is_some_and(|queue| queue.is_sorted)).collect()
    }

    /// The first waiting conversations of each queue, as many as `reach` says, in order.
    pub fn heads(&self, reach: impl Fn(QueueKey) -> usize) -> Vec<Head> {
        let mut waiting: Vec<&Conversation> = self
            .unresolved
            .iter()
            .map(|id| &self.conversations[id])
            .filter(|conversation| matches!(conversation.state, State::Waiting { park: None }))
            .collect();
        waiting.sort_by_key(|conversation| (conversation.rank, conversation.position, conversation.id));
        let mut taken: HashMap<QueueKey, usize> = HashMap::new();
        waiting.retain(|conversation| {
            let queue = queue_of(conversation);
            let taken = taken.entry(queue).or_default();
            *taken += 1;
            *taken <= reach(queue)
        });
        waiting.into_iter().map(Head::of).collect()
    }

    pub fn loads_since(&self, since: Timestamp) -> BTreeMap<AgentId, AgentLoad> {
        let mut loads = self.loads.clone();
        for id in self.closed_after(since) {
            if let Some(load) = self.served_by.get(&id).and_then(|(agent, _)| loads.get_mut(agent)) {
                load.closed_recently += 1;
            }
        }
        for conversation in self.unresolved.iter().map(|id| &self.conversations[id]) {
            let put_off = conversation.holder().filter(|_| conversation.slot_freed);
            // Who is to take their own place again holds a slot for it.
            let put_out = conversation.replaces.filter(|agent| conversation.holder() != Some(*agent));
            for agent in put_off.into_iter().chain(put_out) {
                if let Some(load) = loads.get_mut(&agent) {
                    load.put_off += 1;
                }
            }
        }
        loads
    }

    /// Rooms with a conversation that closed after `since`.
    pub fn closed_since(&self, since: Timestamp) -> HashSet<RoomId> {
        self.closed_after(since).map(|id| self.conversations[&id].room.clone()).collect()
    }

    fn closed_after(&self, since: Timestamp) -> impl Iterator<Item = ConversationId> {
        let after = since + Duration::from_millis(1);
        self.closed.range((after, ConversationId(i64::MIN))..).map(|(_, id)| *id)
    }

    pub fn counts(&self, now: Timestamp) -> Counts {
        let mut counts = Counts { unfolded: self.unfolded().count() as u64, ..Counts::default() };
        for conversation in self.unresolved.iter().map(|id| &self.conversations[id]) {
            match conversation.state {
                State::Waiting { park } => {
                    counts.waiting += u64::from(park.is_none());
                    counts.parked += u64::from(park.is_some());
                    let oldest = counts.oldest_waiting_at.get_or_insert(conversation.opened_at);
                    *oldest = conversation.opened_at.min(*oldest);
                }
                State::Reserved { deadline, .. } | State::Closing { deadline, .. } => {
                    counts.reserved += 1;
                    counts.overdue += u64::from(deadline < now);
                }
                State::Assigned { .. } => counts.assigned += 1,
                State::Resolved { .. } => {}
            }
        }
        counts
    }

    /// Takes the slot and returns what the platform is to be told.
    pub fn reserve(
        &mut self,
        id: ConversationId,
        agent: AgentId,
        turn: Turn,
        shift: Option<Timestamp>,
        (now, deadline): (Timestamp, Timestamp),
    ) -> Option<Reservation> {
        let conversation = self.conversations.get_mut(&id)?;
        if conversation.attempt == 0 {
            self.first_reservations.push(id);
        }
        conversation.attempt += 1;
        conversation.state = State::Reserved { agent, deadline };
        conversation.turn = Some(turn);
        self.takeovers.remove(&id);
        let load = self.loads.entry(agent).or_insert_with(|| AgentLoad::none(agent));
        load.open += 1;
        load.shift_assignments = load.assignments_since(shift) + 1;
        load.shift = shift;
        load.last_assigned_at = Some(now);
        Some(Reservation {
            attempt: Attempt { conversation: id, number: conversation.attempt },
            room: conversation.room.clone(),
            agent,
            opened_at: conversation.opened_at,
            reserved_at: now,
            takeovers: 0,
            replaces: conversation.replaces,
        })
    }

    /// Takes over the `limit` reservations that are longest past their deadline.
    pub fn take_over(&mut self, limit: u32, now: Timestamp, deadline: Timestamp) -> Vec<Reservation> {
        let slots = self.unresolved.iter().filter_map(|id| match self.conversations[id].state {
            State::Reserved { deadline, .. } | State::Closing { deadline, .. } => Some((deadline, *id)),
            State::Waiting { .. } | State::Assigned { .. } | State::Resolved { .. } => None,
        });
        let mut overdue: Vec<(Timestamp, ConversationId)> = slots.filter(|(due, _)| *due < now).collect();
        overdue.sort_unstable();
        overdue.truncate(limit as usize);
        overdue.into_iter().filter_map(|(_, id)| self.take_over_one(id, now, deadline)).collect()
    }

    fn take_over_one(&mut self, id: ConversationId, now: Timestamp, until: Timestamp) -> Option<Reservation> {
        let conversation = self.conversations.get_mut(&id)?;
        let (State::Reserved { agent, deadline } | State::Closing { agent, deadline }) =
            &mut conversation.state
        else {
            return None;
        };
        (*deadline, conversation.attempt) = (until, conversation.attempt + 1);
        let takeovers = self.takeovers.entry(id).or_default();
        *takeovers += 1;
        Some(Reservation {
            attempt: Attempt { conversation: id, number: conversation.attempt },
            room: conversation.room.clone(),
            agent: *agent,
            opened_at: conversation.opened_at,
            reserved_at: now,
            takeovers: *takeovers,
            replaces: conversation.replaces,
        })
    }

    /// Claims the `limit` conversations that are longest due to be read back.
    pub fn claim_suspects(&mut self, limit: u32, now: Timestamp, until: Timestamp) -> Vec<Suspect> {
        let unresolved = self.unresolved.iter().map(|id| &self.conversations[id]);
        let doubted = unresolved.filter(|one| one.is_assigned() || one.is_doubted());
        let mut due: Vec<(Timestamp, ConversationId)> =
            doubted.filter_map(|one| Some((one.verify_at.filter(|due| *due <= now)?, one.id))).collect();
        due.sort_unstable();
        due.truncate(limit as usize);
        let claim = |(_, id)| {
            let conversation = self.conversations.get_mut(&id)?;
            conversation.verify_at = Some(until);
            Some(Suspect { conversation: id, room: conversation.room.clone(), claimed_at: now })
        };
        due.into_iter().filter_map(claim).collect()
    }

    /// Drops what is older than `before`, up to `limit` of each kind. Returns how much went.
    pub fn purge(&mut self, before: Timestamp, limit: usize) -> usize {
        let folded = self.events.range(..=self.folded).take(limit);
        let events: Vec<Seq> =
            folded.filter(|(_, event)| event.received_at < before).map(|(seq, _)| *seq).collect();
        events.iter().for_each(|seq| drop(self.events.remove(seq)));

        let over = self.closed.range(..(before, ConversationId(i64::MIN))).take(limit);
        let over: Vec<(Timestamp, ConversationId)> = over.copied().collect();
        over.iter().for_each(|key| self.forget(*key));

        let mut left = limit;
        for services in self.closed_services.values_mut() {
            services.retain(|_, at| {
                let goes = *at < before && left > 0;
                left -= usize::from(goes);
                !goes
            });
        }
        self.closed_services.retain(|_, services| !services.is_empty());
        events.len() + over.len() + (limit - left)
    }

    fn forget(&mut self, key: (Timestamp, ConversationId)) {
        let (_, id) = key;
        self.closed.remove(&key);
        self.served_by.remove(&id);
        self.takeovers.remove(&id);
        self.mail.forget(id);
        self.first_reservations.retain(|kept| *kept != id);
        let Some(conversation) = self.conversations.remove(&id) else { return };
        if let Some(ids) = self.by_room.get_mut(&conversation.room) {
            ids.retain(|kept| *kept != id);
        }
    }
}
