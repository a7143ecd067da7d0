//! What a conversation carries, and whether it is being worked on: changes by operators, and what the customer's next
//! message or a timer makes of them.
//!
//! A conversation that is put off keeps its place, or its agent. Its slot comes free where the policy says so, and is taken
//! again when it is taken up, above capacity if need be: the agent still serves it.

use crate::{
    AgentId, ConversationId, Park, ParkReason, RoomId, State, Status, Timestamp, Update,
    conversation::HOPS_MAX, rooms::Rooms,
};

/// Why an agent does not serve their conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Astray {
    /// They were deleted, or left its inbox.
    Gone,
    /// They are offline for longer than the rules bear with.
    Offline,
}

impl Rooms {
    /// Applies an operator's change to the open conversation of `room`.
    ///
    /// While the platform is being told of an agent, the change is noted, and what follows from it for the agent happens
    /// when that call settles.
    pub(crate) fn update(&mut self, room: &RoomId, update: &Update) {
        let Some((index, _)) = self.open_in(room) else { return };
        let conversation = self.change(index);
        let traits = &mut conversation.traits;
        if let Some(labels) = &update.labels {
            traits.labels.clone_from(labels);
        }
        traits.priority = update.priority.unwrap_or(traits.priority);
        if let Some(language) = &update.language {
            traits.language.clone_from(language);
        }
        let team = update.team.unwrap_or(traits.team);
        let is_moved = team != traits.team;
        traits.team = team;
        if is_moved || update.labels.is_some() {
            conversation.unpark(ParkReason::Excluded);
        }
        if update.retry {
            conversation.try_again();
        }
        self.rerank(index);
        if update.unassign || is_moved && !self.agent_serves(index) {
            self.put_back(index, true);
        }
        let conversation = self.at(index);
        let status = update.status.unwrap_or(conversation.status);
        if update.status.is_some() || update.snoozed_until.is_some() {
            self.set_status(index, status, update.snoozed_until);
        }
    }

    /// A customer wrote in a conversation that goes on.
    pub(crate) fn hear(&mut self, index: usize) {
        self.change(index).unpark(ParkReason::Excluded);
        self.rerank(index);
        let conversation = self.at(index);
        let leaves_absent = match conversation.state {
            State::Assigned { agent, .. } => conversation.status != Status::Open && self.is_absent(agent),
            State::Waiting { .. }
            | State::Reserved { .. }
            | State::Closing { .. }
            | State::Resolved { .. } => false,
        };
        if leaves_absent || conversation.status == Status::Snoozed {
            self.set_status(index, Status::Open, None);
        }
        if leaves_absent {
            self.put_back(index, true);
        }
    }

    /// Takes up every conversation that was snoozed until now.
    pub fn wake(&mut self) {
        let now = self.now;
        let is_due = |until: Option<Timestamp>| until.is_some_and(|until| until <= now);
        let due =
            self.those(|one| one.is_open() && one.status == Status::Snoozed && is_due(one.snoozed_until));
        for index in due {
            self.set_status(index, Status::Open, None);
        }
    }

    /// Puts a conversation back to its place while `agent` serves it, who is gone or not there. False when the ledger has
    /// moved on, or when it was taken from [`HOPS_MAX`] absent agents before: it would only travel.
    pub fn put_back_stray(&mut self, id: ConversationId, agent: AgentId, astray: Astray) -> bool {
        let serves =
            |state: &State| matches!(state, State::Assigned { agent: holder, .. } if *holder == agent);
        let may_hop = |hops: u32| astray == Astray::Gone || hops < HOPS_MAX;
        let found = self.find(id).filter(|(_, one)| serves(&one.state) && may_hop(one.hops));
        let Some((index, _)) = found else { return false };
        self.change(index).hops += u32::from(astray == Astray::Offline);
        self.put_back(index, true);
        true
    }

    /// Takes an assigned conversation from its agent and puts it back to its place. When the platform still shows them in
    /// the room, whoever comes next is put in their place.
    pub(crate) fn put_back(&mut self, index: usize, is_shown: bool) {
        let State::Assigned { agent, .. } = self.at(index).state else { return };
        self.free_slot(index, agent);
        let conversation = self.change(index);
        (conversation.verify_at, conversation.verify_from, conversation.turn) = (None, None, None);
        conversation.replaces = is_shown.then_some(agent);
        self.enqueue(index);
    }

    /// Whether the agent of the conversation at `index`, if one serves it, is in its team.
    fn agent_serves(&self, index: usize) -> bool {
        let conversation = self.at(index);
        conversation.holder().is_none_or(|agent| self.serves(agent, conversation))
    }

    fn set_status(&mut self, index: usize, status: Status, until: Option<Timestamp>) {
        let until = until.filter(|_| status == Status::Snoozed);
        let is_over = until.is_some_and(|until| until <= self.now);
        let conversation = self.change(index);
        conversation.status = if is_over { Status::Open } else { status };
        conversation.snoozed_until = until.filter(|_| !is_over);
        self.follow_status(index);
    }

    /// Lets a conversation wait, sit out, or take up a slot as its status says.
    pub(crate) fn follow_status(&mut self, index: usize) {
        let conversation = self.at(index);
        let status = conversation.status;
        match conversation.state {
            State::Waiting { park } if status == Status::Open => self.take_up(index, park),
            State::Waiting { .. } => self.enqueue(index),
            State::Assigned { agent, .. } => {
                let holds = self.slot_rule().holds(status);
                self.hold_slot(index, agent, holds);
            }
            State::Reserved { .. } | State::Closing { .. } | State::Resolved { .. } => {}
        }
    }

    /// Lets a waiting conversation stand in line again that was put off.
    fn take_up(&mut self, index: usize, park: Option<Park>) {
        let is_put_off =
            park.is_some_and(|park| matches!(park.why, ParkReason::Pending | ParkReason::Snoozed));
        let doubted_until = self.at(index).verify_at;
        match doubted_until {
            _ if !is_put_off => {}
            Some(verify_at) => {
                let until = verify_at.max(self.now) + self.timing.settle_window;
                self.change(index).state =
                    State::Waiting { park: Some(Park { until, why: ParkReason::Doubted }) };
            }
            None => self.enqueue(index),
        }
    }
}
