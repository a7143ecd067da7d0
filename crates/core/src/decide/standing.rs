//! Who may serve a queue, and what they hold.

use std::collections::BTreeMap;

use super::{Rejection, seat::Seat};
use crate::{AgentId, FairDistribution, InboxId, QueueRules, Roster, rulebook::Limits};

/// What an agent holds of one inbox and was given of it in its window, by seat.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub open: u32,
    pub given: u32,
}

impl Tally {
    /// Without the last `given`.
    pub fn before(self, given: u32) -> Self {
        Self { open: self.open - given, given: self.given - given }
    }
}

/// What everybody holds by now, of all inboxes and of the queue's.
#[derive(Clone, Copy)]
pub(super) struct Holdings<'h, 'a> {
    seats: &'h [Seat<'a>],
    /// Empty where nothing is counted by inbox.
    tallies: &'h [Tally],
}

impl<'h, 'a> Holdings<'h, 'a> {
    pub fn of(
        seats: &'h [Seat<'a>],
        tallies: &'h BTreeMap<Option<InboxId>, Vec<Tally>>,
        inbox: Option<InboxId>,
    ) -> Self {
        Self { seats, tallies: tallies.get(&inbox).map_or(&[], Vec::as_slice) }
    }

    pub fn seat(&self, member: &Member) -> &'h Seat<'a> {
        &self.seats[member.seat]
    }

    pub fn tally(&self, member: &Member) -> Tally {
        self.tallies.get(member.seat).copied().unwrap_or_default()
    }

    /// Why a member cannot take one more.
    pub fn shut(&self, member: &Member, fair: Option<FairDistribution>) -> Option<Rejection> {
        member.shut(self.seat(member).certain_load(), self.tally(member), fair)
    }
}

/// Somebody who may serve a queue, and within which limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Member {
    pub seat: usize,
    pub agent: AgentId,
    pub limits: Limits,
    /// Of those kept from the same conversations.
    pub group: usize,
}

impl Member {
    pub fn new(index: usize, seat: &Seat<'_>, rules: &QueueRules<'_>) -> Self {
        Self { seat: index, agent: seat.agent.id, limits: rules.limits(seat.own), group: seat.group }
    }

    /// Why they cannot take one more, holding `load` in all.
    pub fn shut(&self, load: u32, tally: Tally, fair: Option<FairDistribution>) -> Option<Rejection> {
        let reached = |held: u32, limit: Option<u32>| limit.is_some_and(|limit| held >= limit);
        if fair.is_some_and(|rule| tally.given >= rule.limit) {
            Some(Rejection::RateLimited)
        } else if reached(load, self.limits.in_all) || reached(tally.open, self.limits.of_inbox) {
            Some(Rejection::Full)
        } else {
            None
        }
    }
}

/// Who may serve a queue at all, apart from what they hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// By seat, why they may not.
    pub verdicts: Vec<Option<Rejection>>,
    /// Who may, ascending.
    pub members: Vec<Member>,
    pub fair: Option<FairDistribution>,
    /// Some agent would be eligible if only the platform told us more.
    pub unknown: bool,
}

impl Standing {
    /// Nobody may serve it whatever becomes of loads.
    pub fn is_hopeless(&self) -> bool {
        let hope = [Rejection::RosterStale, Rejection::InboxUnknown, Rejection::LoadUnknown];
        self.members.is_empty() && self.verdicts.iter().flatten().all(|why| !hope.contains(why))
    }

    /// Those who may not, with the reason; `roster` is who sits where.
    pub fn rejected<'s>(&'s self, roster: &'s Roster) -> impl Iterator<Item = (AgentId, Rejection)> + 's {
        let verdicts = roster.agents.iter().zip(&self.verdicts);
        verdicts.filter_map(|(agent, verdict)| verdict.map(|why| (agent.id, why)))
    }
}
