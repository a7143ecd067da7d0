//! One queue during a round: who is given what waits in it.

use std::sync::Arc;

use super::{
    Decision, EXCLUSION_PARK, Head, Outcome, PARK_MAX, QueueKey, Rejections,
    desk::Desk,
    exclusions::LeftOut,
    preference::{Measure, Rank, draw},
    standing::{Holdings, Member, Standing},
};
use crate::{
    Agent, AgentId, Park, ParkReason, Preset, QueueRules, Rejection, Strategy,
    candidates::Candidates,
    rotation::{Contender, Roll, Turning, Turns},
};

/// The conversations that the same agents may serve.
pub(super) struct Queue<'a> {
    key: QueueKey,
    rules: QueueRules<'a>,
    standing: Arc<Standing>,
    measure: Measure,
    choices: Choices,
    /// How many of the round's assignments `choices` takes account of.
    noted: usize,
}

/// Those who have room, in the way the strategy needs them. Numbers are those of members.
enum Choices {
    /// By group: members whom the same rules keep from a conversation are passed over in one step.
    Ranked(Vec<(usize, Candidates<Rank>)>),
    /// Ascending.
    Pool(Vec<usize>),
    Turns(Rota),
}

/// Whose turn it is.
struct Rota {
    /// `None` while it is handed over.
    turning: Option<Turning>,
    /// Everybody's place in the rotation, by seat.
    places: Vec<Option<usize>>,
}

impl<'a> Queue<'a> {
    /// The queue as the roster has it, or for one room as the platform's `answer` does; `roll` is where turns stand.
    pub fn new(key: QueueKey, answer: Option<&'a [Agent]>, roll: Option<Roll>, desk: &mut Desk<'a>) -> Self {
        let rules = desk.rules(key);
        desk.tally(key.inbox, rules.fair_distribution);
        let standing = desk.standing(key, &rules, answer);
        let measure = Measure::new(&rules, desk.policy, &standing);
        let choices = Choices::Pool(Vec::new());
        let mut queue =
            Self { key, rules, standing: standing.into(), measure, choices, noted: desk.given.len() };
        queue.choices = match queue.rules.strategy {
            Strategy::Balanced | Strategy::LeastLoaded | Strategy::LongestIdle | Strategy::FirstFit => {
                Choices::Ranked(queue.ranked(desk.holdings(key.inbox)))
            }
            Strategy::Random | Strategy::Platform => {
                Choices::Pool(queue.with_room(desk.holdings(key.inbox)).map(|(number, _)| number).collect())
            }
            Strategy::RoundRobin => Choices::Turns(queue.rota(answer, roll, desk)),
        };
        queue
    }

    /// Members who have room, by number.
    fn with_room<'s>(&'s self, holdings: Holdings<'s, 'a>) -> impl Iterator<Item = (usize, &'s Member)> {
        let Standing { members, fair, .. } = &*self.standing;
        members.iter().enumerate().filter(move |(_, member)| holdings.shut(member, *fair).is_none())
    }

    fn ranked(&self, holdings: Holdings<'_, 'a>) -> Vec<(usize, Candidates<Rank>)> {
        let mut groups: Vec<Vec<(Rank, usize)>> = Vec::new();
        for (number, member) in self.with_room(holdings) {
            if groups.len() <= member.group {
                groups.resize_with(member.group + 1, Vec::new);
            }
            groups[member.group].push((self.measure.rank(member, holdings), number));
        }
        let groups = groups.into_iter().enumerate().filter(|(_, ranked)| !ranked.is_empty());
        groups.map(|(group, ranked)| (group, Candidates::new(ranked))).collect()
    }

    fn rota(&self, answer: Option<&'a [Agent]>, roll: Option<Roll>, desk: &Desk<'a>) -> Rota {
        let stored = || desk.snapshot.rotations.get(&self.key).cloned().unwrap_or_default();
        let mut roll = roll.unwrap_or_else(|| Roll { rotation: stored(), round: 0 });
        let places = desk.enroll(&mut roll, (self.key, &self.rules), answer, self.turns());
        Rota { turning: Some(self.turning(roll, &places, desk)), places }
    }

    fn turning(&self, roll: Roll, places: &[Option<usize>], desk: &Desk<'a>) -> Turning {
        let holdings = desk.holdings(self.key.inbox);
        let contenders = self.with_room(holdings).filter_map(|(_, member)| {
            let weight = holdings.seat(member).weight;
            Some(Contender { place: places[member.seat]?, weight, group: member.group })
        });
        Turning::new(roll, self.turns(), contenders)
    }

    /// How turns go round here.
    fn turns(&self) -> Turns {
        match self.measure.preset {
            Preset::Chatwoot => Turns::LeastRecent,
            Preset::Sebastian | Preset::Libredesk | Preset::QiscusOriginal => Turns::Smooth,
        }
    }

    /// Where turns stand, for another to go on from; `None` when it is not dealt by turns.
    pub fn hand_over(&mut self) -> Option<Roll> {
        match &mut self.choices {
            Choices::Turns(rota) => rota.turning.take().map(Turning::close),
            Choices::Ranked(_) | Choices::Pool(_) => None,
        }
    }

    /// Goes on from where turns stand by now.
    pub fn take_over(&mut self, roll: Option<Roll>, desk: &Desk<'a>) {
        let mut choices = std::mem::replace(&mut self.choices, Choices::Pool(Vec::new()));
        if let (Choices::Turns(rota), Some(roll)) = (&mut choices, roll) {
            rota.turning = Some(self.turning(roll, &rota.places, desk));
            self.noted = desk.given.len();
        }
        self.choices = choices;
    }

    /// Whether the platform could tell of somebody else who may serve it.
    pub fn is_unknown(&self) -> bool {
        self.standing.unknown
    }

    /// Decides over `head`, which stands in this queue.
    pub fn decide(&mut self, head: &Head, desk: &mut Desk<'a>) -> Decision {
        let hold = self.rules.hold;
        let excluded = self.rules.excludes(&head.traits.labels, head.last_activity_at, desk.now);
        let left_out = desk.left_out(head);
        let given_before = desk.given.len();
        let outcome = if hold.is_some() {
            Outcome::Pass
        } else if excluded.is_some() {
            Outcome::Park(Park { until: desk.now + EXCLUSION_PARK, why: ParkReason::Excluded })
        } else {
            self.outcome(head, &left_out, desk)
        };
        let chosen = match outcome {
            Outcome::Reserve { agent, .. } => Some(agent),
            Outcome::Pass | Outcome::Ask | Outcome::Park(_) => None,
        };
        let holdings = desk.holdings(self.key.inbox);
        let blocked = outcome == Outcome::Pass && hold.is_none() && self.has_room(holdings);
        Decision {
            conversation: head.conversation,
            outcome,
            hold,
            excluded,
            blocked,
            rejected: Rejections {
                standing: self.standing.clone(),
                facts: desk.facts.clone(),
                given_before,
                inbox: head.inbox,
                left_out,
                chosen,
            },
            rotation: None,
        }
    }

    fn outcome(&mut self, head: &Head, left_out: &LeftOut, desk: &mut Desk<'a>) -> Outcome {
        let snapshot = desk.snapshot;
        self.note(desk);
        let mut proposed = None;
        let mut is_proposed_elsewhere = false;
        if self.rules.strategy == Strategy::Platform && self.has_room(desk.holdings(self.key.inbox)) {
            match snapshot.answers.proposed.get(&head.room) {
                None => return Outcome::Ask,
                Some(answer) => (proposed, is_proposed_elsewhere) = (*answer, true),
            }
        }
        let is_answered = || snapshot.answers.agents.contains_key(&head.room);
        let park = |why| Outcome::Park(Park { until: desk.now + PARK_MAX, why });
        match self.choose(head, left_out, desk.holdings(self.key.inbox), proposed) {
            Some((number, turn_charge)) => {
                let member = &self.standing.members[number];
                desk.give(member, self.key.inbox);
                let window = self.rules.fair_distribution.map(|rule| rule.window);
                Outcome::Reserve { agent: member.agent, turn_charge, window }
            }
            None if self.standing.unknown => Outcome::Ask,
            // Others in its queue may be rooms of other inboxes: it must not stand before them.
            None if is_answered() && self.standing.is_hopeless() => park(ParkReason::NobodyEligible),
            None if is_proposed_elsewhere => park(ParkReason::NotProposed),
            None => self.passed_over(head, left_out, desk),
        }
    }

    /// A conversation all of whose agents are left out for it sits out until the first of them may be tried again, and
    /// is looked at in between, for somebody else may have come.
    fn passed_over(&self, head: &Head, left_out: &LeftOut, desk: &Desk<'a>) -> Outcome {
        let members = &self.standing.members;
        if left_out.is_nobody() || members.is_empty() {
            return Outcome::Pass;
        }
        let mut park = Park { until: desk.now + PARK_MAX, why: ParkReason::Excluded };
        for member in members {
            match left_out.why(member) {
                None => return Outcome::Pass,
                Some(Rejection::Refused) => {
                    let theirs = head
                        .refused
                        .iter()
                        .filter(|(agent, until)| *agent == member.agent && *until > desk.now);
                    let expiry = theirs.map(|(_, until)| *until).max().unwrap_or(park.until);
                    park = Park { until: park.until.min(expiry), why: ParkReason::Refused };
                }
                Some(_) => {}
            }
        }
        Outcome::Park(park)
    }

    /// Lets go of those whom the round has given enough. Seats only fill during a round, so nobody comes back.
    fn note(&mut self, desk: &Desk<'a>) {
        let new = &desk.given[self.noted..];
        self.noted = desk.given.len();
        if matches!(self.choices, Choices::Ranked(_)) {
            return;
        }
        let Standing { members, fair, .. } = &*self.standing;
        let holdings = desk.holdings(self.key.inbox);
        let found =
            new.iter().filter_map(|(seat, _)| members.binary_search_by_key(seat, |one| one.seat).ok());
        for shut in found.filter(|number| holdings.shut(&members[*number], *fair).is_some()) {
            match &mut self.choices {
                Choices::Ranked(_) => {}
                Choices::Pool(pool) => {
                    if let Ok(at) = pool.binary_search(&shut) {
                        pool.remove(at);
                    }
                }
                Choices::Turns(rota) => {
                    if let Some((turning, place)) = rota.turning.as_mut().zip(rota.places[members[shut].seat])
                    {
                        turning.drop_out(place);
                    }
                }
            }
        }
    }

    /// Whether some member has room.
    fn has_room(&mut self, holdings: Holdings<'_, 'a>) -> bool {
        match &mut self.choices {
            Choices::Ranked(groups) => {
                let Standing { members, fair, .. } = &*self.standing;
                let has_room = |number: usize| holdings.shut(&members[number], *fair).is_none();
                groups.iter_mut().any(|(_, candidates)| candidates.any(has_room))
            }
            Choices::Pool(pool) => !pool.is_empty(),
            Choices::Turns(rota) => rota.turning.as_ref().is_some_and(|turning| !turning.is_over()),
        }
    }

    /// The number of the member to give `head`, and what the turn costs.
    fn choose(
        &mut self,
        head: &Head,
        left_out: &LeftOut,
        holdings: Holdings<'_, 'a>,
        proposed: Option<AgentId>,
    ) -> Option<(usize, i64)> {
        let Standing { members, fair, .. } = &*self.standing;
        let number_of = |agent: AgentId| members.binary_search_by_key(&agent, |member| member.agent).ok();
        match &mut self.choices {
            Choices::Ranked(groups) => {
                let measure = self.measure;
                let rank = |number: usize| {
                    let is_shut = holdings.shut(&members[number], *fair).is_some();
                    (!is_shut).then(|| measure.rank(&members[number], holdings))
                };
                let is_refused = |number: usize| left_out.refused.contains(&members[number].agent);
                let open = groups.iter_mut().filter(|(group, _)| left_out.admits(*group));
                let best = open.filter_map(|(_, candidates)| candidates.best(rank, is_refused)).min();
                best.map(|(_, number)| (number, 0))
            }
            Choices::Pool(pool) => {
                let takes = |number: usize| !left_out.contains(&members[number]);
                let number = if self.rules.strategy == Strategy::Platform {
                    let found = number_of(proposed?).filter(|number| takes(*number))?;
                    pool.binary_search(&found).is_ok().then_some(found)
                } else {
                    let drawn = draw(self.rules.seed, head.conversation, pool.len(), |at| takes(pool[at]));
                    drawn.map(|at| pool[at])
                };
                Some((number?, 0))
            }
            Choices::Turns(rota) => {
                let refused = left_out.refused.iter().filter_map(|agent| number_of(*agent));
                let mut refused: Vec<usize> =
                    refused.filter_map(|number| rota.places[members[number].seat]).collect();
                refused.sort_unstable();
                refused.dedup();
                let turning = rota.turning.as_mut()?;
                let (place, charge) = turning.choose(|group| left_out.admits(group), &refused)?;
                Some((number_of(turning.agent(place))?, charge))
            }
        }
    }
}
