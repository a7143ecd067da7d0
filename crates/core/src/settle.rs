//! What a platform call, or a read-back, means for the conversation it was made for.

use crate::{
    AgentId, Closed, ConversationId, Origin, Park, ParkReason, State, Timestamp,
    conversation::{POISON_PARK, REFUSALS_MAX},
    rooms::{Opening, Refund, Rooms},
};

/// The end of one attempt to put an agent into a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// Which conversation.
    pub conversation: ConversationId,
    /// The attempt that ends; a settlement of an older attempt changes nothing.
    pub attempt: u32,
    /// What became of it.
    pub verdict: Verdict,
}

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The platform put the reserved agent into the room.
    Assigned,
    /// The call certainly had no effect: back to the old place in line.
    Released {
        /// The agent was refused for this conversation: leave them out for a while.
        refused: bool,
    },
    /// The room needs nobody: it is resolved, gone, or served by somebody we could not name.
    Closed(Closed),
}

/// What a read-back of an assigned conversation's room says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// An agent serves it.
    Served,
    /// Its customer waits for an agent.
    Waiting,
    /// It needs nobody.
    Over(Closed),
}

/// Whether a settlement still applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// It did.
    Applied,
    /// A later attempt holds the conversation, or it is over.
    Stale,
}

impl Rooms {
    /// Applies the end of an attempt.
    pub fn settle(&mut self, settlement: &Settlement) -> Settled {
        let Some((index, conversation)) = self.find(settlement.conversation) else { return Settled::Stale };
        if conversation.attempt != settlement.attempt {
            return Settled::Stale;
        }
        match conversation.state {
            State::Reserved { agent, .. } => self.settle_reserved(index, agent, settlement.verdict),
            // Resolved meanwhile: whatever the call did, the session is over and the slot comes free.
            State::Closing { agent, .. } => {
                if settlement.verdict == Verdict::Assigned {
                    self.count(agent, -1, 0);
                } else {
                    self.give_back(index, agent);
                }
                self.end(index, Closed::Resolved);
            }
            State::Waiting { .. } | State::Assigned { .. } | State::Resolved { .. } => return Settled::Stale,
        }
        Settled::Applied
    }

    fn settle_reserved(&mut self, index: usize, agent: AgentId, verdict: Verdict) {
        match verdict {
            Verdict::Assigned => self.assign(index, agent),
            Verdict::Closed(how) => {
                self.give_back(index, agent);
                self.remember_if_resolved(index, how);
                self.end(index, how);
            }
            Verdict::Released { refused } => self.release(index, agent, refused),
        }
    }

    fn assign(&mut self, index: usize, agent: AgentId) {
        let at = self.now;
        let conversation = self.change(index);
        let turn = conversation.turn.take();
        conversation.state = State::Assigned { agent, at };
        conversation.refused.clear();
        (conversation.refusals, conversation.replaces) = (0, None);
        let is_moved = turn.is_some_and(|turn| turn.team != conversation.traits.team);
        if is_moved && !self.serves(agent, self.at(index)) {
            self.put_back(index, true);
        }
        self.follow_status(index);
    }

    fn release(&mut self, index: usize, agent: AgentId, refused: bool) {
        let (now, until) = (self.now, self.now + self.timing.refusal);
        let conversation = self.change(index);
        conversation.refused.retain(|(who, expiry)| *who != agent && *expiry > now);
        if refused {
            conversation.refused.push((agent, until));
            conversation.refusals = conversation.refusals.saturating_add(1);
        }
        let is_poison = refused && conversation.refusals >= REFUSALS_MAX;
        self.give_back(index, agent);
        self.enqueue(index);
        if is_poison && self.at(index).state == (State::Waiting { park: None }) {
            let park = Park { until: now + POISON_PARK, why: ParkReason::Poison };
            self.change(index).state = State::Waiting { park: Some(park) };
        }
    }

    fn remember_if_resolved(&mut self, index: usize, how: Closed) {
        if how == Closed::Resolved {
            self.remember_session(index);
        }
    }

    /// Frees a slot that came to nothing: no conversation was given, no turn was had.
    fn give_back(&mut self, index: usize, agent: AgentId) {
        let conversation = self.change(index);
        let refund =
            conversation.turn.take().map(|turn| Refund { conversation: conversation.id, agent, turn });
        self.count(agent, -1, -1);
        if let Some(refund) = refund {
            self.refund(refund);
        }
    }

    /// Applies a read-back of a conversation's room, asked for when its events did not add up or when its agent's list
    /// no longer held it. What was seen at `asked_at` says nothing of an assignment or of
    /// a customer's message that came after.
    pub fn verified(&mut self, conversation: ConversationId, seen: Seen, asked_at: Timestamp) -> Settled {
        let Some((index, found)) = self.find(conversation) else { return Settled::Stale };
        match found.state {
            State::Assigned { at, .. } if at <= asked_at => {}
            State::Waiting { .. } if found.is_doubted() => return self.doubt_verified(index, seen),
            State::Waiting { .. }
            | State::Reserved { .. }
            | State::Closing { .. }
            | State::Assigned { .. }
            | State::Resolved { .. } => return Settled::Stale,
        }
        let (origin, wrote_at) = (found.origin, found.last_activity_at);
        let reopened = found.verify_from.map(|began| Opening::after(found, began));
        // A list lags: it says nothing of a message that was written within the settle window before it was asked for.
        let wrote_since = wrote_at + self.timing.settle_window > asked_at;
        let settle = self.timing.settle_window;
        let is_fresh = matches!(found.state, State::Assigned { at, .. } if at + settle > asked_at);
        match seen {
            Seen::Served if wrote_since => return Settled::Stale,
            Seen::Served => {
                let conversation = self.change(index);
                (conversation.verify_at, conversation.verify_from) = (None, None);
            }
            Seen::Over(how) => {
                self.remember_if_resolved(index, how);
                self.close(index, how);
                if let Some(opening) = reopened.filter(|_| wrote_since) {
                    self.open_new(opening, None);
                }
            }
            Seen::Waiting => match (reopened, origin) {
                (Some(opening), _) => {
                    self.close(index, Closed::Resolved);
                    self.open_new(opening, None);
                }
                // The reading may lag behind the assignment: too early to free a slot.
                (None, _) if is_fresh => return Settled::Stale,
                // Nobody wrote again: the agent was taken out of the room, which keeps its place.
                (None, Origin::Event) => self.put_back(index, false),
                // It never had a place; the list of waiting rooms gives it one.
                (None, Origin::Platform) => self.close(index, Closed::Resolved),
            },
        }
        Settled::Applied
    }

    /// What the room shows of a session that may never have begun.
    fn doubt_verified(&mut self, index: usize, seen: Seen) -> Settled {
        match seen {
            Seen::Waiting => {
                let conversation = self.change(index);
                conversation.unpark(ParkReason::Doubted);
                conversation.verify_at = None;
            }
            Seen::Served => self.end(index, Closed::ServedElsewhere),
            Seen::Over(how) => self.end(index, how),
        }
        Settled::Applied
    }
}
