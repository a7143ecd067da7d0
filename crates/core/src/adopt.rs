//! Adoption: what the platform lists for an agent becomes part of the ledger.
//!
//! People assign, transfer and resolve in the dashboard at any time. Their choice wins and the ledger follows, so
//! that resolves and transfers move loads whoever began the conversation.

use std::collections::{BTreeMap, HashSet};

use crate::{AgentId, ConversationId, InboxId, RoomId, State, Status, Timestamp, rooms::Rooms};

/// The rooms the platform listed for one agent.
#[derive(Debug, Clone)]
pub struct Listing {
    /// Whose rooms.
    pub agent: AgentId,
    /// When the listing was asked for, by the ledger's clock.
    pub asked_at: Timestamp,
    /// What it held: room and inbox.
    pub rooms: Vec<(RoomId, Option<InboxId>)>,
}

/// What a listing told us beside what was adopted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Adopted {
    /// Conversations taken up as new.
    pub opened: u32,
    /// Conversations that waited here and that somebody took on the platform.
    pub taken: u32,
    /// Conversations the ledger holds for another agent. Move them once that agent's own listing lacks them.
    pub elsewhere: Vec<(RoomId, AgentId)>,
    /// Conversations the ledger holds for this agent and the listing lacks: read each room back.
    pub missing: Vec<(ConversationId, RoomId)>,
}

impl Rooms {
    /// Compares the ledger with `listing`. The set must hold the unresolved conversations of every listed room
    /// and every conversation assigned to the agent. `closed_recently` are the rooms a resolve closed within the
    /// settle window before the listing: the platform's list may still hold those.
    pub fn adopt(&mut self, listing: &Listing, closed_recently: &HashSet<RoomId>) -> Adopted {
        let mut adopted = Adopted::default();
        // Each room once, and always in the same order: the ledger numbers conversations as they are opened.
        let listed: BTreeMap<&RoomId, Option<InboxId>> =
            listing.rooms.iter().map(|(room, inbox)| (room, *inbox)).collect();
        for (room, inbox) in &listed {
            self.adopt_room(room, *inbox, listing, closed_recently, &mut adopted);
        }
        adopted.missing = self
            .assigned_to(listing.agent)
            .filter(|(at, _, room)| {
                *at + self.timing.settle_window <= listing.asked_at && !listed.contains_key(room)
            })
            .map(|(_, id, room)| (id, room.clone()))
            .collect();
        adopted.missing.sort();
        adopted
    }

    fn adopt_room(
        &mut self,
        room: &RoomId,
        inbox: Option<InboxId>,
        listing: &Listing,
        closed_recently: &HashSet<RoomId>,
        adopted: &mut Adopted,
    ) {
        let agent = listing.agent;
        let Some((index, conversation)) = self.open_in(room) else {
            if !closed_recently.contains(room) && !self.is_closing(room) {
                self.open_assigned(room.clone(), agent, inbox);
                adopted.opened += 1;
            }
            return;
        };
        match conversation.state {
            // Opened after the platform was asked, or after a session that it may still show: the list speaks of that.
            State::Waiting { .. }
                if conversation.opened_at + self.timing.settle_window > listing.asked_at
                    || closed_recently.contains(room) => {}
            // They were put out of it here, and the platform still shows them.
            State::Waiting { .. } if conversation.replaces == Some(agent) => {}
            State::Waiting { .. } => {
                self.take(index, agent);
                adopted.taken += 1;
            }
            State::Assigned { agent: other, at } if other != agent && at <= listing.asked_at => {
                adopted.elsewhere.push((room.clone(), other));
            }
            // The call under way settles these; the rest is as we knew it.
            State::Reserved { .. }
            | State::Closing { .. }
            | State::Assigned { .. }
            | State::Resolved { .. } => {}
        }
    }

    /// Somebody took a waiting conversation on the platform: they work on it, whoever had put it off.
    fn take(&mut self, index: usize, agent: AgentId) {
        let at = self.now;
        let conversation = self.change(index);
        conversation.state = State::Assigned { agent, at };
        (conversation.status, conversation.snoozed_until) = (Status::Open, None);
        conversation.replaces = None;
        self.count(agent, 1, 0);
    }

    /// A transfer: `to` lists the room and its agent no longer does. False when the ledger has moved on.
    pub fn transfer(&mut self, room: &RoomId, from: AgentId, to: AgentId) -> bool {
        let at = self.now;
        let Some((index, conversation)) = self.open_in(room) else { return false };
        if from == to || !conversation.is_assigned() || conversation.holder() != Some(from) {
            return false;
        }
        let conversation = self.change(index);
        conversation.state = State::Assigned { agent: to, at };
        if !conversation.slot_freed {
            self.count(from, -1, 0);
            self.count(to, 1, 0);
        }
        true
    }
}
