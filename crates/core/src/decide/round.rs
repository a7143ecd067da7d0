//! One round of decisions.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{
    Decision, EXCLUSION_PARK, Head, Outcome, PARK_MAX, QueueKey, Rate, Rejection, Rejections, Snapshot,
    Standpoint, Verdicts, is_stale,
    queue::{Holdings, LeftOut, Member, Queue, Standing, Tally, Turning},
    rejections::Facts,
    seat::{Beside, Seat},
};
use crate::{
    Agent, AgentId, FairDistribution, InboxId, Park, ParkReason, Policy, QueueRules, Strategy, Timestamp,
};

pub(super) struct Round<'a> {
    snapshot: &'a Snapshot,
    policy: &'a Policy,
    now: Timestamp,
    stale: bool,
    counts_by_inbox: bool,
    desk: Vec<Seat<'a>>,
    /// By inbox, then by seat. Only of inboxes of which something is counted.
    tallies: HashMap<Option<InboxId>, Vec<Tally>>,
    queues: HashMap<QueueKey, Queue<'a>>,
    /// Of queues that are dealt by turns.
    turning: BTreeMap<QueueKey, Turning>,
    facts: Facts,
    with_room: usize,
    left: u32,
}

impl<'a> Round<'a> {
    pub fn new(snapshot: &'a Snapshot, policy: &'a Policy, now: Timestamp) -> Self {
        let desk = Seat::desk(snapshot, policy, now);
        let loads = desk.iter().map(Seat::certain_load).collect();
        Self {
            snapshot,
            policy,
            now,
            stale: is_stale(&snapshot.roster, policy, now),
            counts_by_inbox: snapshot.rules.counts_by_inbox(policy),
            with_room: desk.iter().filter(|seat| seat.free() > 0).count(),
            desk,
            tallies: HashMap::new(),
            queues: HashMap::new(),
            turning: BTreeMap::new(),
            facts: Facts { loads, ..Facts::default() },
            left: snapshot.limit,
        }
    }

    /// The limit or the last free slot is spent.
    pub fn is_over(&self) -> bool {
        self.left == 0 || self.with_room == 0
    }

    pub fn decide(&mut self, head: &Head) -> Decision {
        let (key, answer) = (head.queue(), self.snapshot.answers.agents.get(&head.room));
        let mut shared = match self.queues.remove(&key) {
            Some(queue) => queue,
            None => self.queue(key, None),
        };
        // An answer adds to what the roster tells of the agents, and where that is all there is nothing to add.
        let answer = answer.filter(|_| shared.standing.unknown);
        let decision = match answer.map(|answer| self.queue(key, Some(answer))) {
            Some(mut queue) => {
                let decision = self.decide_in(&mut queue, head);
                // Who may serve this room says nothing of the rooms behind it.
                let blocked = decision.outcome == Outcome::Pass && decision.hold.is_none();
                Decision { blocked, ..decision }
            }
            None => self.decide_in(&mut shared, head),
        };
        self.queues.insert(key, shared);
        decision
    }

    fn decide_in(&mut self, queue: &mut Queue<'a>, head: &Head) -> Decision {
        let hold = queue.rules.hold;
        let excluded = queue.rules.excludes(&head.traits.labels, head.last_activity_at, self.now);
        let left_out = queue.left_out(head, self.now);
        let given_before = self.facts.given.len();
        let outcome = if hold.is_some() {
            Outcome::Pass
        } else if excluded.is_some() {
            Outcome::Park(Park { until: self.now + EXCLUSION_PARK, why: ParkReason::Excluded })
        } else {
            self.outcome(head, queue, &left_out)
        };
        let chosen = match outcome {
            Outcome::Reserve { agent, .. } => Some(agent),
            Outcome::Pass | Outcome::Ask | Outcome::Park(_) => None,
        };
        let rejected = Rejections {
            standing: queue.standing.clone(),
            facts: Arc::default(),
            given_before,
            inbox: head.inbox,
            left_out,
            chosen,
        };
        let blocked =
            outcome == Outcome::Pass && hold.is_none() && queue.has_room(self.holdings(queue.key.inbox));
        Decision {
            conversation: head.conversation,
            outcome,
            hold,
            excluded,
            blocked,
            rejected,
            rotation: None,
        }
    }

    /// Whether something of the queue may be given out now, or might if the platform told more.
    pub fn could_serve(&mut self, key: QueueKey) -> bool {
        let mut queue = self.queue(key, None);
        queue.rules.hold.is_none() && (queue.standing.unknown || queue.has_room(self.holdings(key.inbox)))
    }

    fn holdings(&self, inbox: Option<InboxId>) -> Holdings<'_, 'a> {
        Holdings::of(&self.desk, &self.tallies, inbox)
    }

    fn outcome(&mut self, head: &Head, queue: &mut Queue<'a>, left_out: &LeftOut) -> Outcome {
        let holdings = Holdings::of(&self.desk, &self.tallies, queue.key.inbox);
        queue.note(&self.facts.given, holdings);
        let by_platform = queue.rules.strategy == Strategy::Platform;
        let proposed = self.snapshot.answers.proposed.get(&head.room).copied();
        let has_room = by_platform && queue.has_room(holdings);
        if has_room && proposed.is_none() {
            return Outcome::Ask;
        }
        let turning = self.turning.get_mut(&queue.key);
        let chosen = queue.choose(head, left_out, holdings, turning, proposed.flatten());
        let is_answered = self.snapshot.answers.agents.contains_key(&head.room);
        let park = |why| Outcome::Park(Park { until: self.now + PARK_MAX, why });
        match chosen {
            Some((index, turn_charge)) => self.reserve(queue, index, turn_charge),
            None if queue.standing.unknown => Outcome::Ask,
            // Others in its queue may be rooms of other inboxes: it must not stand before them.
            None if is_answered && queue.standing.is_hopeless() => park(ParkReason::NobodyEligible),
            None if has_room => park(ParkReason::NotProposed),
            None => self.passed_over(head, queue, left_out),
        }
    }

    /// A conversation all of whose agents are left out for it sits out until the first of them may be tried again, and
    /// is looked at in between, for somebody else may have come.
    fn passed_over(&self, head: &Head, queue: &Queue<'a>, left_out: &LeftOut) -> Outcome {
        let members = &queue.standing.members;
        if left_out.is_nobody() || members.is_empty() {
            return Outcome::Pass;
        }
        let mut park = Park { until: self.now + PARK_MAX, why: ParkReason::Excluded };
        for member in members {
            match left_out.why(member) {
                None => return Outcome::Pass,
                Some(Rejection::Refused) => {
                    let theirs = head
                        .refused
                        .iter()
                        .filter(|(agent, until)| *agent == member.agent && *until > self.now);
                    let expiry = theirs.map(|(_, until)| *until).max().unwrap_or(park.until);
                    park = Park { until: park.until.min(expiry), why: ParkReason::Refused };
                }
                Some(_) => {}
            }
        }
        Outcome::Park(park)
    }

    fn reserve(&mut self, queue: &Queue<'a>, index: usize, turn_charge: i64) -> Outcome {
        let member = queue.standing.members[index];
        let seat = &mut self.desk[member.seat];
        self.facts.given.push((member.seat, queue.key.inbox));
        seat.take(self.now, self.facts.given.len());
        self.with_room -= usize::from(seat.free() == 0);
        if let Some(tallies) = self.tallies.get_mut(&queue.key.inbox) {
            tallies[member.seat].open += 1;
            tallies[member.seat].given += 1;
        }
        self.left -= 1;
        let window = queue.rules.fair_distribution.map(|rule| rule.window);
        Outcome::Reserve { agent: member.agent, turn_charge, window }
    }

    fn queue(&mut self, key: QueueKey, answer: Option<&Vec<Agent>>) -> Queue<'a> {
        let rules = QueueRules::of(&self.snapshot.rules, self.policy, (key.inbox, key.team), self.now);
        self.tally(key.inbox, rules.fair_distribution);
        let outside = self.outsiders(key, &rules, answer);
        let standing = self.stand(key.inbox, &rules, &outside, answer.is_some());
        let mut queue = Queue::new(key, rules, standing, self.policy, self.holdings(key.inbox));
        if queue.rules.strategy == Strategy::RoundRobin {
            // Whether somebody left is not asked of one room's answer: it says nothing of who else is in the queue.
            let by_roster = answer.map(|_| self.outsiders(key, &queue.rules, None));
            self.enroll(&mut queue, &outside, by_roster.as_ref().unwrap_or(&outside));
        }
        queue
    }

    /// Brings the rotation of a queue in step with who is in it: as this round sees it, and as the roster does.
    fn enroll(
        &mut self,
        queue: &mut Queue<'a>,
        outside: &[Option<Rejection>],
        by_roster: &[Option<Rejection>],
    ) {
        let key = queue.key;
        let stored = || self.snapshot.rotations.get(&key).cloned().unwrap_or_default();
        let mut rotation = self.turning.remove(&key).map_or_else(stored, |turning| turning.rotation);
        let is_gone = |why: &Option<Rejection>| !matches!(why, None | Some(Rejection::InboxUnknown));
        let agents = |keep: &dyn Fn(usize) -> bool| -> Vec<AgentId> {
            let kept = self.desk.iter().enumerate().filter(|(index, _)| keep(*index));
            kept.map(|(_, seat)| seat.agent.id).collect()
        };
        let stays = agents(&|index| outside[index].is_none() || !is_gone(&by_roster[index]));
        let joins = agents(&|index| outside[index].is_none());
        let places = rotation.enroll(&stays, &joins, queue.turns());
        queue.take_places(&places);
        let mut places = Beside::new(places.into_iter());
        let enrolled = self.desk.iter().filter(|seat| places.at(seat.agent.id).is_some());
        let round = enrolled.map(|seat| i64::from(seat.weight)).sum();
        self.turning.insert(key, Turning { rotation, round });
    }

    /// Counts by inbox what a limit counts by inbox. Walks the maps beside the desk: both ascend by agent.
    fn tally(&mut self, inbox: Option<InboxId>, fair: Option<FairDistribution>) {
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
        let tallies: Vec<Tally> = self.desk.iter().map(tally).collect();
        self.facts.tallies.insert(inbox, tallies.clone());
        self.tallies.insert(inbox, tallies);
    }

    fn stand(
        &self,
        inbox: Option<InboxId>,
        rules: &QueueRules<'_>,
        outside: &[Option<Rejection>],
        is_answered: bool,
    ) -> Standing {
        let mut standing = Standing { fair: rules.fair_distribution, ..Standing::default() };
        for (index, seat) in self.desk.iter().enumerate() {
            let member = Member::new(index, seat, rules);
            match self.stands(seat, &member, inbox, rules, outside[index]) {
                None => standing.members.push(member),
                Some(why) => {
                    let is_unknown = matches!(why, Rejection::InboxUnknown | Rejection::LoadUnknown);
                    standing.unknown |= is_unknown && !is_answered;
                    standing.rejected.push((seat.agent.id, why));
                }
            }
        }
        standing
    }

    /// Why `seat` may serve no conversation of a queue, load apart; `outside` is why they are no member of it.
    fn stands(
        &self,
        seat: &Seat<'_>,
        member: &Member,
        inbox: Option<InboxId>,
        rules: &QueueRules<'_>,
        outside: Option<Rejection>,
    ) -> Option<Rejection> {
        if self.stale {
            return Some(Rejection::RosterStale);
        }
        seat.barred.or(outside).or_else(|| {
            // Whoever has no room by our own count has none, though the whole load be unknown.
            let shut = || member.shut(seat.held, self.tally_of(inbox, member.seat), rules.fair_distribution);
            (seat.load.is_none() && shut().is_none()).then_some(Rejection::LoadUnknown)
        })
    }

    fn tally_of(&self, inbox: Option<InboxId>, seat: usize) -> Tally {
        self.tallies.get(&inbox).map(|tallies| tallies[seat]).unwrap_or_default()
    }

    /// Why each agent is no member of the queue, by seat; `None` where they are.
    fn outsiders(
        &self,
        key: QueueKey,
        rules: &QueueRules<'_>,
        answer: Option<&Vec<Agent>>,
    ) -> Vec<Option<Rejection>> {
        let team = rules.team_members().map(|members| members.iter().map(|agent| (*agent, ())));
        let mut team = team.map(Beside::new);
        let outside = |seat: &Seat<'_>| {
            let agent = seat.agent;
            if team.as_mut().is_some_and(|team| team.at(agent.id).is_none()) {
                return Some(Rejection::NotInTeam);
            }
            let is_member = match (key.inbox, &agent.inboxes, answer) {
                (Some(inbox), Some(inboxes), _) => inboxes.binary_search(&inbox).is_ok(),
                (_, _, Some(answer)) => answer.iter().any(|other| other.id == agent.id),
                (None, _, None) | (_, None, None) => return Some(Rejection::InboxUnknown),
            };
            (!is_member).then_some(Rejection::NotInInbox)
        };
        self.desk.iter().map(outside).collect()
    }

    /// Adds to the decisions what only the end of the round tells.
    pub fn complete(self, decisions: &mut [Decision], heads: &[Head]) {
        let facts = Arc::new(self.facts);
        let mut turning = self.turning;
        for (decision, head) in decisions.iter_mut().zip(heads).rev() {
            decision.rejected.facts = facts.clone();
            if matches!(decision.outcome, Outcome::Reserve { .. }) {
                let turned = turning.remove_entry(&head.queue());
                decision.rotation = turned.map(|(key, turning)| (key, turning.rotation));
            }
        }
    }

    pub fn explain(mut self, head: &Head) -> Verdicts {
        let key = head.queue();
        let queue = self.queue(key, None);
        let answer = self.snapshot.answers.agents.get(&head.room);
        let outside = self.outsiders(key, &queue.rules, answer);
        let agents = self.desk.iter().zip(outside).enumerate();
        let agents = agents.map(|(index, (seat, outside))| {
            self.standpoint(head, &queue, &Member::new(index, seat, &queue.rules), outside)
        });
        Verdicts {
            hold: queue.rules.hold,
            excluded: queue.rules.excludes(&head.traits.labels, head.last_activity_at, self.now),
            agents: agents.collect(),
        }
    }

    fn standpoint(
        &self,
        head: &Head,
        queue: &Queue<'a>,
        member: &Member,
        outside: Option<Rejection>,
    ) -> Standpoint {
        let (seat, rules) = (&self.desk[member.seat], &queue.rules);
        let tally = self.tally_of(head.inbox, member.seat);
        let fair = rules.fair_distribution;
        let excluded = rules.excludes_for(member.agent, &head.traits.labels, head.last_activity_at, self.now);
        let left_out = || {
            let is_refused = head.refuses(member.agent, self.now);
            if is_refused { Some(Rejection::Refused) } else { excluded.as_ref().map(|_| Rejection::Excluded) }
        };
        let rejection = self
            .stands(seat, member, head.inbox, rules, outside)
            .or_else(left_out)
            .or_else(|| member.shut(seat.certain_load(), tally, fair));
        // Whoever is full by our own count is full, though the whole load be unknown.
        let load = seat.load.or((rejection == Some(Rejection::Full)).then_some(seat.held));
        let by_inbox = member.limits.of_inbox.map(|limit| (Some(tally.open), limit));
        let in_all = member.limits.in_all.map(|limit| (load, limit));
        let left = |(held, limit): &(Option<u32>, u32)| limit.saturating_sub(held.unwrap_or(0));
        let nearest = in_all.into_iter().chain(by_inbox).min_by_key(left);
        let window = self.snapshot.windows.get(&(head.inbox, member.agent));
        Standpoint {
            agent: member.agent,
            rejection,
            load: nearest.map_or(load, |(held, _)| held),
            limit: nearest.map(|(_, limit)| limit),
            rate: fair.map(|rule| Rate {
                given: tally.given,
                limit: rule.limit,
                window: rule.window,
                free_at: window.and_then(|window| window.free_at(rule, self.now)),
            }),
            excluded,
        }
    }
}
