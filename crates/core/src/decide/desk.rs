//! The agents during a round: where each sits, and what they hold by now.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use super::{
    Head, QueueKey, Rejection, Snapshot,
    exclusions::{Exclusions, LeftOut},
    is_stale,
    rejections::Facts,
    seat::Seat,
    standing::{Holdings, Member, Standing, Tally},
};
use crate::{
    Agent, AgentId, FairDistribution, InboxId, Policy, QueueRules, Timestamp,
    beside::Beside,
    rotation::{Enrolment, Roll, Turns},
};

pub(super) struct Desk<'a> {
    pub snapshot: &'a Snapshot,
    pub policy: &'a Policy,
    pub now: Timestamp,
    pub seats: Vec<Seat<'a>>,
    /// Seat and inbox of each conversation given out, in order.
    pub given: Vec<(usize, Option<InboxId>)>,
    /// What the round comes to, once it is over.
    pub facts: Arc<OnceLock<Facts>>,
    exclusions: Exclusions<'a>,
    /// By inbox, then by seat. Only of inboxes of which something is counted.
    tallies: BTreeMap<Option<InboxId>, Vec<Tally>>,
    counts_by_inbox: bool,
    is_stale: bool,
    with_room: usize,
}

impl<'a> Desk<'a> {
    pub fn new(snapshot: &'a Snapshot, policy: &'a Policy, now: Timestamp) -> Self {
        let exclusions = Exclusions::of(&snapshot.rules, policy);
        let seats = Seat::desk(snapshot, &exclusions, policy, now);
        Self {
            snapshot,
            policy,
            now,
            given: Vec::new(),
            facts: Arc::default(),
            exclusions,
            tallies: BTreeMap::new(),
            counts_by_inbox: snapshot.rules.counts_by_inbox(policy),
            is_stale: is_stale(&snapshot.roster, policy, now),
            with_room: seats.iter().filter(|seat| seat.free() > 0).count(),
            seats,
        }
    }

    /// The limit or the last free slot is spent.
    pub fn is_spent(&self) -> bool {
        self.given.len() >= self.snapshot.limit as usize || self.with_room == 0
    }

    pub fn rules(&self, key: QueueKey) -> QueueRules<'a> {
        QueueRules::of(&self.snapshot.rules, self.policy, (key.inbox, key.team), self.now)
    }

    pub fn holdings(&self, inbox: Option<InboxId>) -> Holdings<'_, 'a> {
        Holdings::of(&self.seats, &self.tallies, inbox)
    }

    pub fn left_out(&self, head: &Head) -> LeftOut {
        self.exclusions.left_out(head, self.now)
    }

    /// Gives `member` a conversation of `inbox`.
    pub fn give(&mut self, member: &Member, inbox: Option<InboxId>) {
        self.given.push((member.seat, inbox));
        let nth = u32::try_from(self.given.len()).unwrap_or(u32::MAX);
        let seat = &mut self.seats[member.seat];
        seat.take(self.now, nth);
        self.with_room -= usize::from(seat.free() == 0);
        if let Some(tallies) = self.tallies.get_mut(&inbox) {
            tallies[member.seat].open += 1;
            tallies[member.seat].given += 1;
        }
    }

    /// Counts by inbox what a limit counts by inbox. Walks the maps beside the desk: both ascend by agent.
    pub fn tally(&mut self, inbox: Option<InboxId>, fair: Option<FairDistribution>) {
        if self.tallies.contains_key(&inbox) || (fair.is_none() && !self.counts_by_inbox) {
            return;
        }
        let ours = (inbox, AgentId(i64::MIN))..=(inbox, AgentId(i64::MAX));
        let open = self.snapshot.inbox_loads.range(ours.clone());
        let mut open = Beside::new(open.map(|((_, agent), open)| (*agent, *open)));
        let windows = self.snapshot.windows.range(ours);
        let mut windows = Beside::new(windows.map(|((_, agent), window)| (*agent, window)));
        let tally = |seat: &Seat<'_>| {
            let window = windows.at(seat.agent.id).zip(fair);
            Tally {
                open: open.at(seat.agent.id).unwrap_or(0).saturating_add(seat.excess),
                given: window.map_or(0, |(window, rule)| window.count(rule.window, self.now)),
            }
        };
        let tallies = self.seats.iter().map(tally).collect();
        self.tallies.insert(inbox, tallies);
    }

    /// Who may serve a queue, by the roster or by the platform's answer for a room.
    pub fn standing(&self, key: QueueKey, rules: &QueueRules<'a>, answer: Option<&'a [Agent]>) -> Standing {
        let mut standing = Standing { fair: rules.fair_distribution, ..Standing::default() };
        standing.verdicts.reserve_exact(self.seats.len());
        for verdict in self.verdicts(key, rules, answer) {
            let why = verdict.as_ref().err().copied();
            standing.unknown |= answer.is_none() && why.is_some_and(Rejection::is_for_want_of_knowledge);
            standing.verdicts.push(why);
            standing.members.extend(verdict);
        }
        standing
    }

    /// Whether something of a queue may be given out now, or might if the platform told more.
    pub fn could_serve(&mut self, key: QueueKey) -> bool {
        let rules = self.rules(key);
        self.tally(key.inbox, rules.fair_distribution);
        let holdings = self.holdings(key.inbox);
        let could = |verdict: Result<Member, Rejection>| match verdict {
            Ok(member) => holdings.shut(&member, rules.fair_distribution).is_none(),
            Err(why) => why.is_for_want_of_knowledge(),
        };
        rules.hold.is_none() && self.verdicts(key, &rules, None).any(could)
    }

    /// By seat: a member of the queue, or why they may serve no conversation of it, load apart.
    pub fn verdicts<'s>(
        &'s self,
        key: QueueKey,
        rules: &'s QueueRules<'a>,
        answer: Option<&'a [Agent]>,
    ) -> impl Iterator<Item = Result<Member, Rejection>> + use<'s, 'a> {
        let mut outside = outside(key, rules, answer);
        let holdings = self.holdings(key.inbox);
        let fair = rules.fair_distribution;
        self.seats.iter().enumerate().map(move |(index, seat)| {
            if self.is_stale {
                return Err(Rejection::RosterStale);
            }
            if let Some(why) = seat.barred.or_else(|| outside(seat.agent)) {
                return Err(why);
            }
            let member = Member::new(index, seat, rules);
            // Whoever has no room by our own count has none, though the whole load be unknown.
            let is_unknown =
                seat.load.is_none() && member.shut(seat.held, holdings.tally(&member), fair).is_none();
            if is_unknown { Err(Rejection::LoadUnknown) } else { Ok(member) }
        })
    }

    /// Brings a rotation in step with who is in its queue: as this round sees it, and as the roster does. Returns
    /// everybody's place, by seat.
    pub fn enroll(
        &self,
        roll: &mut Roll,
        (key, rules): (QueueKey, &QueueRules<'a>),
        answer: Option<&'a [Agent]>,
        turns: Turns,
    ) -> Vec<Option<usize>> {
        let mut here = outside(key, rules, answer);
        // Whether somebody left is not asked of one room's answer: it says nothing of who else is in the queue.
        let mut by_roster = answer.map(|_| outside(key, rules, None));
        let everybody = self.seats.iter().map(|seat| {
            let here = here(seat.agent);
            let by_roster = by_roster.as_mut().map_or(here, |outside| outside(seat.agent));
            let enrolment = match (here, by_roster) {
                (None, _) => Enrolment::Joins,
                (Some(_), None | Some(Rejection::InboxUnknown)) => Enrolment::Stays,
                (Some(_), Some(_)) => Enrolment::Leaves,
            };
            (seat.agent.id, enrolment)
        });
        let places = roll.rotation.enroll(everybody, turns);
        let enrolled = self.seats.iter().zip(&places).filter(|(_, place)| place.is_some());
        roll.round = enrolled.map(|(seat, _)| i64::from(seat.weight)).sum();
        places
    }

    /// Tells all decisions of the round what they rest on.
    pub fn close(self) {
        let Self { snapshot, seats, given, tallies, facts, .. } = self;
        let loads = seats.iter().map(Seat::certain_load).collect();
        facts.get_or_init(|| Facts { roster: snapshot.roster.clone(), loads, tallies, given });
    }
}

/// Why an agent is no member of a queue, `None` where they are; to be asked of one after the other, ascending.
fn outside<'a>(
    key: QueueKey,
    rules: &QueueRules<'a>,
    answer: Option<&'a [Agent]>,
) -> impl FnMut(&Agent) -> Option<Rejection> + use<'a> {
    let team = rules.team_members().map(|members| members.iter().map(|agent| (*agent, ())));
    let mut team = team.map(Beside::new);
    let mut answered = answer.map(|answer| {
        let mut answered: Vec<_> = answer.iter().map(|agent| (agent.id, ())).collect();
        answered.sort_unstable();
        Beside::new(answered.into_iter())
    });
    move |agent| {
        if team.as_mut().is_some_and(|team| team.at(agent.id).is_none()) {
            return Some(Rejection::NotInTeam);
        }
        let is_member = match (key.inbox, &agent.inboxes, &mut answered) {
            (Some(inbox), Some(inboxes), _) => inboxes.binary_search(&inbox).is_ok(),
            (_, _, Some(answered)) => answered.at(agent.id).is_some(),
            (None, _, None) | (_, None, None) => return Some(Rejection::InboxUnknown),
        };
        (!is_member).then_some(Rejection::NotInInbox)
    }
}
