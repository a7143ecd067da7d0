//! `decide` against a naive model of itself.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

use proptest::prelude::*;
use sebastian_core::{
    Agent, AgentId, AgentLoad, Decision, FairDistribution, Head, Hold, InboxId, Outcome, Park, ParkReason,
    Policy, PolicyId, Preset, QueueKey, QueueRules, Rejection, Rotation, Rulebook, Snapshot,
    Strategy as Choice, Timestamp,
    decide::{EXCLUSION_PARK, PARK_MAX, explain, free_slots, servable},
    rulebook::{AssignmentPolicy, CapacityPolicy, ExclusionRules, InboxRules, LeaveStatus, Paused},
};

use crate::{support::*, worlds::*};

/// What [`decide`] promises, written without a thought for speed.
struct Model<'a> {
    snapshot: &'a Snapshot,
    policy: &'a Policy,
    /// Who was given one of which inbox in this round.
    given: Vec<(AgentId, Option<InboxId>)>,
    rotations: BTreeMap<QueueKey, Vec<(AgentId, i64)>>,
}

impl<'a> Model<'a> {
    fn new(world: &'a World) -> Self {
        let turns = |rotation: &Rotation| rotation.iter().collect();
        let rotations = world.snapshot.rotations.iter().map(|(queue, rotation)| (*queue, turns(rotation)));
        Self {
            snapshot: &world.snapshot,
            policy: &world.policy,
            given: Vec::new(),
            rotations: rotations.collect(),
        }
    }

    fn rules(&self) -> &'a Rulebook {
        &self.snapshot.rules
    }

    fn is_stale(&self) -> bool {
        NOW.since(self.snapshot.roster.polled_at) > self.policy.staleness_max
    }

    fn stands(paused: Option<&Paused>) -> bool {
        paused.is_some_and(|paused| paused.until.is_none_or(|until| until > NOW))
    }

    fn inbox_rules(&self, head: &Head) -> InboxRules {
        head.inbox.and_then(|inbox| self.rules().inboxes.get(&inbox).cloned()).unwrap_or_default()
    }

    fn linked(&self, head: &Head) -> Option<&'a AssignmentPolicy> {
        let id: PolicyId = self.inbox_rules(head).policy?;
        self.rules().assignment_policies.get(&id)
    }

    fn strategy(&self, head: &Head) -> Choice {
        let linked = self.linked(head).map(|linked| linked.strategy);
        self.inbox_rules(head).overrides.strategy.or(linked).unwrap_or(self.policy.strategy)
    }

    fn fair(&self, head: &Head) -> Option<FairDistribution> {
        let linked = match self.linked(head) {
            Some(linked) => linked.fair_distribution,
            None => self.policy.fair_distribution,
        };
        self.inbox_rules(head).overrides.fair_distribution.or(linked)
    }

    fn hold(&self, head: &Head) -> Option<Hold> {
        let inbox = self.inbox_rules(head);
        if Self::stands(self.rules().paused.as_ref()) {
            return Some(Hold::AccountPaused);
        }
        if Self::stands(inbox.paused.as_ref()) {
            return Some(Hold::InboxPaused);
        }
        if self.linked(head).is_some_and(|linked| !linked.enabled) {
            return Some(Hold::PolicyDisabled);
        }
        if let Some(id) = head.traits.team {
            return match self.rules().teams.get(&id) {
                None => Some(Hold::TeamGone),
                Some(team) if !team.allow_auto_assign => Some(Hold::TeamManual),
                Some(_) => None,
            };
        }
        if !self.policy.deals_without_team {
            return Some(Hold::NoTeam);
        }
        inbox.manual.then_some(Hold::InboxManual)
    }

    fn is_silent(head: &Head, most_s: Option<u64>) -> bool {
        most_s.is_some_and(|most| {
            most > 0 && NOW.since(head.last_activity_at).as_millis() > u128::from(most) * 1_000
        })
    }

    fn breaks(head: &Head, rules: &ExclusionRules) -> bool {
        let hours = rules.exclude_older_than_hours.map(|hours| u64::from(hours) * 3_600);
        head.traits.labels.iter().any(|label| rules.excluded_labels.contains(label))
            || Self::is_silent(head, hours)
    }

    fn is_chatwoot(&self) -> bool {
        self.policy.preset == Preset::Chatwoot
    }

    /// Whether nobody is given it, for what it carries.
    fn is_excluded(&self, head: &Head) -> bool {
        let silent = match self.linked(head) {
            Some(linked) => linked.exclude_older_than_hours.map(|hours| u64::from(hours) * 3_600),
            None => self.policy.exclude_older_than.map(|age| age.as_secs()),
        };
        let mut oldest: Option<(i64, &CapacityPolicy)> = None;
        for policy in self.rules().capacity_policies.values() {
            for limit in policy.inbox_limits.iter().filter(|limit| Some(limit.inbox) == head.inbox) {
                if oldest.is_none_or(|(id, _)| limit.id.0 < id) {
                    oldest = Some((limit.id.0, policy));
                }
            }
        }
        let by_inbox = oldest.is_some_and(|(_, policy)| Self::breaks(head, &policy.exclusion_rules));
        Self::is_silent(head, silent) || (self.is_chatwoot() && by_inbox)
    }

    fn capacity_policy(&self, agent: &Agent) -> Option<&'a CapacityPolicy> {
        let id = self.rules().agents.get(&agent.id)?.capacity_policy?;
        self.rules().capacity_policies.get(&id)
    }

    fn is_excluded_for(&self, agent: &Agent, head: &Head) -> bool {
        let policy = self.capacity_policy(agent);
        !self.is_chatwoot() && policy.is_some_and(|policy| Self::breaks(head, &policy.exclusion_rules))
    }

    fn own_total(&self, agent: &Agent) -> Option<u32> {
        let own = self.rules().agents.get(&agent.id).and_then(|said| said.capacity);
        own.or_else(|| self.capacity_policy(agent)?.total_limit)
    }

    fn own_of_inbox(&self, agent: &Agent, head: &Head) -> Option<u32> {
        let limits = &self.capacity_policy(agent)?.inbox_limits;
        limits.iter().find(|limit| Some(limit.inbox) == head.inbox).map(|limit| limit.limit)
    }

    fn inbox_limit(&self, agent: &Agent, head: &Head) -> Option<u32> {
        self.own_of_inbox(agent, head).or(self.inbox_rules(head).overrides.max_assignment_limit)
    }

    fn total_limit(&self, agent: &Agent, head: &Head) -> Option<u32> {
        if self.own_total(agent).is_some() || self.own_of_inbox(agent, head).is_some() {
            return self.own_total(agent);
        }
        let team = head.traits.team.and_then(|team| self.rules().teams.get(&team)?.capacity);
        team.or(self.linked(head).and_then(|linked| linked.capacity)).or(self.policy.capacity)
    }

    fn known(&self, agent: &Agent) -> AgentLoad {
        self.snapshot.loads.get(&agent.id).cloned().unwrap_or_else(|| AgentLoad::none(agent.id))
    }

    fn given(&self, agent: &Agent) -> u32 {
        self.given.iter().filter(|(id, _)| *id == agent.id).count() as u32
    }

    fn given_of(&self, agent: &Agent, head: &Head) -> u32 {
        self.given.iter().filter(|given| **given == (agent.id, head.inbox)).count() as u32
    }

    /// What the platform counts beyond the ledger. `None`: nobody told.
    fn excess(&self, agent: &Agent) -> Option<u32> {
        let known = self.known(agent);
        let told = self.snapshot.answers.agents.values().flatten().filter(|told| told.id == agent.id);
        let reported = agent.reported_load.or(told.filter_map(|told| told.reported_load).max());
        if agent.listed {
            Some(0)
        } else {
            reported.map(|n| n.saturating_sub(known.open + known.put_off + known.closed_recently))
        }
    }

    /// What they hold for certain.
    fn load(&self, agent: &Agent) -> u32 {
        self.known(agent).open + self.excess(agent).unwrap_or(0) + self.given(agent)
    }

    fn load_of_inbox(&self, agent: &Agent, head: &Head) -> u32 {
        let held = self.snapshot.inbox_loads.get(&(head.inbox, agent.id)).copied().unwrap_or(0);
        held + self.excess(agent).unwrap_or(0) + self.given_of(agent, head)
    }

    fn given_in_window(&self, agent: &Agent, head: &Head, rule: FairDistribution) -> u32 {
        let window = self.snapshot.windows.get(&(head.inbox, agent.id));
        let recent =
            window.into_iter().flat_map(|window| window.iter()).filter(|(at, _)| NOW < *at + rule.window);
        recent.count() as u32 + self.given_of(agent, head)
    }

    fn shut(&self, agent: &Agent, head: &Head) -> Option<Rejection> {
        if self.fair(head).is_some_and(|rule| self.given_in_window(agent, head, rule) >= rule.limit) {
            return Some(Rejection::RateLimited);
        }
        let in_all = self.total_limit(agent, head).is_some_and(|limit| self.load(agent) >= limit);
        let of_inbox =
            self.inbox_limit(agent, head).is_some_and(|limit| self.load_of_inbox(agent, head) >= limit);
        (in_all || of_inbox).then_some(Rejection::Full)
    }

    fn barred(&self, agent: &Agent) -> Option<Rejection> {
        if !self.policy.roles.contains(&agent.role) {
            return Some(Rejection::Role);
        }
        if agent.forced_offline {
            return Some(Rejection::ForcedOffline);
        }
        if !self.policy.presences.contains(&agent.presence) {
            return Some(Rejection::Presence);
        }
        let is_away = self.rules().leaves.values().any(|leave| {
            let today =
                (NOW.as_millis() + i64::from(leave.utc_offset_minutes) * 60_000).div_euclid(86_400_000);
            let is_approved = leave.status == LeaveStatus::Approved;
            leave.agent == agent.id
                && is_approved
                && leave.start.0 <= today as i32
                && today as i32 <= leave.end.0
        });
        if is_away {
            return Some(Rejection::OnLeave);
        }
        let said = self.rules().agents.get(&agent.id);
        Self::stands(said.and_then(|said| said.paused.as_ref())).then_some(Rejection::Paused)
    }

    fn outside(&self, agent: &Agent, head: &Head, answer: Option<&[Agent]>) -> Option<Rejection> {
        let team = head.traits.team.and_then(|team| self.rules().teams.get(&team));
        if team.is_some_and(|team| !team.members.contains(&agent.id)) {
            return Some(Rejection::NotInTeam);
        }
        let by_roster = head.inbox.and_then(|inbox| Some(agent.inboxes.as_ref()?.contains(&inbox)));
        let by_answer = answer.map(|answer| answer.iter().any(|told| told.id == agent.id));
        match by_roster.or(by_answer) {
            None => Some(Rejection::InboxUnknown),
            Some(false) => Some(Rejection::NotInInbox),
            Some(true) => None,
        }
    }

    /// Why an agent may not be given it whatever they hold by now.
    fn stands_out(&self, agent: &Agent, head: &Head, answer: Option<&[Agent]>) -> Option<Rejection> {
        if self.is_stale() {
            return Some(Rejection::RosterStale);
        }
        if let Some(why) = self.barred(agent).or(self.outside(agent, head, answer)) {
            return Some(why);
        }
        let is_unknown = self.excess(agent).is_none() && self.shut(agent, head).is_none();
        is_unknown.then_some(Rejection::LoadUnknown)
    }

    /// The platform's answer for the room, where the roster does not tell all.
    fn answer(&self, head: &Head) -> Option<&'a [Agent]> {
        self.snapshot.answers.agents.get(&head.room).filter(|_| self.is_open(head)).map(Vec::as_slice)
    }

    fn reject(&self, agent: &Agent, head: &Head) -> Option<Rejection> {
        if let Some(why) = self.stands_out(agent, head, self.answer(head)) {
            return Some(why);
        }
        if head.refused.iter().any(|(who, until)| *who == agent.id && *until > NOW) {
            return Some(Rejection::Refused);
        }
        if self.is_excluded_for(agent, head) {
            return Some(Rejection::Excluded);
        }
        self.shut(agent, head)
    }

    /// The members, whether or not they have room.
    fn members(&self, head: &Head) -> Vec<&'a Agent> {
        let answer = self.answer(head);
        let agents = self.snapshot.roster.agents.iter();
        agents.filter(|agent| self.stands_out(agent, head, answer).is_none()).collect()
    }

    /// Whether some member of the queue has room, as `answer` and the roster tell who they are.
    fn has_room(&self, head: &Head, answer: Option<&[Agent]>) -> bool {
        let mut agents = self.snapshot.roster.agents.iter();
        agents.any(|agent| self.stands_out(agent, head, answer).is_none() && self.shut(agent, head).is_none())
    }

    /// Whether the roster leaves open if somebody is eligible.
    fn is_open(&self, head: &Head) -> bool {
        let open = |agent: &Agent| {
            let why = self.stands_out(agent, head, None);
            matches!(why, Some(Rejection::InboxUnknown | Rejection::LoadUnknown))
        };
        self.snapshot.roster.agents.iter().any(open)
    }

    /// Who is preferred by load: the lower, as fractions.
    fn compare(&self, head: &Head, one: &Agent, other: &Agent) -> Ordering {
        if self.is_chatwoot() {
            return self.load_of_inbox(one, head).cmp(&self.load_of_inbox(other, head));
        }
        let limits = self.members(head).into_iter().filter_map(|member| self.total_limit(member, head));
        let nominal = limits.max().unwrap_or(1).max(1);
        let fill = |agent: &Agent| match (self.total_limit(agent, head), self.inbox_limit(agent, head)) {
            (Some(limit), _) => (self.load(agent), limit),
            (None, Some(limit)) => (self.load_of_inbox(agent, head), limit),
            (None, None) => (self.load(agent), nominal),
        };
        let pace = |agent: &Agent| {
            let known = self.known(agent);
            let before = if known.shift == agent.online_since { known.shift_assignments } else { 0 };
            let online_ms = agent.online_since.map_or(0, |since| NOW.since(since).as_millis()).max(1);
            (before + self.given(agent), online_ms)
        };
        let ((a, b), (c, d)) = (fill(one), fill(other));
        let ((e, f), (g, h)) = (pace(one), pace(other));
        let fills = (u64::from(a) * u64::from(d)).cmp(&(u64::from(c) * u64::from(b)));
        fills.then((u128::from(e) * h).cmp(&(u128::from(g) * f))).then(self.last(one).cmp(&self.last(other)))
    }

    /// When they were last given one, and which of this round's it was.
    fn last(&self, agent: &Agent) -> (Option<Timestamp>, Option<usize>) {
        let before = self.known(agent).last_assigned_at;
        match self.given.iter().rposition(|(id, _)| *id == agent.id) {
            Some(nth) => (before.max(Some(NOW)), Some(nth)),
            None => (before, None),
        }
    }

    /// Brings the rotation in step with who is in the queue.
    fn enroll(&mut self, head: &Head) {
        let answers = [None, self.answer(head)];
        for answer in answers {
            let agents = self.snapshot.roster.agents.iter();
            let (mut stays, mut joins) = (BTreeSet::new(), Vec::new());
            for agent in agents {
                let is_in = self.outside(agent, head, answer).is_none();
                if is_in {
                    joins.push(agent.id);
                }
                let by_roster = self.outside(agent, head, None);
                if is_in || matches!(by_roster, None | Some(Rejection::InboxUnknown)) {
                    stays.insert(agent.id);
                }
            }
            let is_least_recent = self.is_chatwoot();
            let turns = self.rotations.entry(head.queue()).or_default();
            turns.retain(|(id, _)| stays.contains(id));
            for id in joins {
                if turns.iter().all(|(other, _)| *other != id) {
                    let back = turns.iter().map(|(_, turn)| turn - 1).min().unwrap_or(0);
                    turns.push((id, if is_least_recent { back } else { 0 }));
                }
            }
        }
    }

    /// Smooth weighted round robin, or whoever comes first in line and then goes to its end.
    fn take_turn(&mut self, head: &Head, pool: &[&Agent]) -> Option<(AgentId, i64)> {
        let weight =
            |id: AgentId| i64::from(self.snapshot.rules.agents.get(&id).map_or(1, |said| said.weight));
        let is_in_pool = |id: AgentId| pool.iter().any(|agent| agent.id == id);
        let weighs = pool.iter().any(|agent| weight(agent.id) > 0);
        let is_least_recent = self.is_chatwoot();
        let turns = self.rotations.get_mut(&head.queue())?;
        let back = turns.iter().map(|(_, turn)| turn - 1).min()?;
        let mut best: Option<usize> = None;
        for place in 0..turns.len() {
            let (id, turn) = &mut turns[place];
            if !is_in_pool(*id) {
                continue;
            }
            if !is_least_recent {
                *turn += weight(*id);
            }
            let (id, turn) = turns[place];
            let may = is_least_recent || weight(id) > 0 || !weighs;
            if may && best.is_none_or(|best| turn > turns[best].1) {
                best = Some(place);
            }
        }
        let (id, turn) = turns[best?];
        let round: i64 = turns.iter().map(|(id, _)| weight(*id)).sum();
        for (_, other) in turns.iter_mut().filter(|(id, _)| !is_least_recent && is_in_pool(*id)) {
            *other = (turn - 2 * round).max(*other);
        }
        let total: i64 = pool.iter().map(|agent| weight(agent.id)).sum();
        let charge = if is_least_recent { turn - back } else { total };
        turns[best?].1 -= charge;
        Some((id, charge))
    }

    /// `drawn` is whom a draw fell on, which the model takes on trust as long as they were in it.
    fn choose(&mut self, head: &Head, pool: &[&Agent], drawn: Option<AgentId>) -> Option<(AgentId, i64)> {
        let in_pool =
            |wanted: Option<AgentId>| pool.iter().map(|agent| agent.id).find(|id| Some(*id) == wanted);
        let chosen = match self.strategy(head) {
            Choice::Balanced => pool.iter().min_by(|a, b| self.compare(head, a, b)).map(|agent| agent.id),
            Choice::LeastLoaded => {
                pool.iter().min_by_key(|one| (self.load(one), self.last(one))).map(|one| one.id)
            }
            Choice::LongestIdle => pool.iter().min_by_key(|one| self.last(one)).map(|one| one.id),
            Choice::FirstFit => pool.iter().map(|agent| agent.id).min(),
            Choice::Random => in_pool(drawn),
            Choice::Platform => in_pool(self.snapshot.answers.proposed.get(&head.room).copied().flatten()),
            Choice::RoundRobin => return self.take_turn(head, pool),
        };
        chosen.map(|agent| (agent, 0))
    }

    fn outcome(&mut self, head: &Head, drawn: Option<AgentId>) -> Outcome {
        self.enroll(head);
        if self.hold(head).is_some() {
            return Outcome::Pass;
        }
        if self.is_excluded(head) {
            return Outcome::Park(Park { until: NOW + EXCLUSION_PARK, why: ParkReason::Excluded });
        }
        let by_platform = self.strategy(head) == Choice::Platform;
        let has_room = self.has_room(head, self.answer(head));
        if by_platform && has_room && !self.snapshot.answers.proposed.contains_key(&head.room) {
            return Outcome::Ask;
        }
        let agents: Vec<&Agent> = self.snapshot.roster.agents.iter().collect();
        let verdicts: Vec<_> = agents.iter().map(|agent| (agent.id, self.reject(agent, head))).collect();
        let pool: Vec<&Agent> = agents
            .iter()
            .zip(&verdicts)
            .filter(|(_, (_, why))| why.is_none())
            .map(|(agent, _)| *agent)
            .collect();
        if let Some((agent, turn_charge)) = self.choose(head, &pool, drawn) {
            self.given.push((agent, head.inbox));
            return Outcome::Reserve { agent, turn_charge, window: self.fair(head).map(|rule| rule.window) };
        }
        let some = |wanted| verdicts.iter().any(|(_, why)| *why == Some(wanted));
        let is_answered = self.snapshot.answers.agents.contains_key(&head.room);
        if self.answer(head).is_none() && (some(Rejection::InboxUnknown) || some(Rejection::LoadUnknown)) {
            return Outcome::Ask;
        }
        let hope = [Rejection::RosterStale, Rejection::LoadUnknown, Rejection::InboxUnknown];
        if is_answered && self.members(head).is_empty() && !hope.into_iter().any(some) {
            return Outcome::Park(Park { until: NOW + PARK_MAX, why: ParkReason::NobodyEligible });
        }
        if by_platform && has_room {
            return Outcome::Park(Park { until: NOW + PARK_MAX, why: ParkReason::NotProposed });
        }
        let is = |id, wanted| verdicts.contains(&(id, Some(wanted)));
        let members = self.members(head);
        let left_out = |one: &&Agent| is(one.id, Rejection::Refused) || is(one.id, Rejection::Excluded);
        if members.is_empty() || !members.iter().all(left_out) {
            return Outcome::Pass;
        }
        let refused = head.refused.iter().filter(|(id, _)| is(*id, Rejection::Refused));
        match refused.map(|(_, until)| *until).min() {
            Some(expiry) => {
                Outcome::Park(Park { until: expiry.min(NOW + PARK_MAX), why: ParkReason::Refused })
            }
            None => Outcome::Park(Park { until: NOW + PARK_MAX, why: ParkReason::Excluded }),
        }
    }

    /// Whether anybody might take one more in some queue.
    fn has_slot(&self) -> bool {
        let rules = self.rules();
        let teams = rules.teams.values().filter_map(|team| team.capacity);
        let linked = rules.assignment_policies.values().filter_map(|policy| policy.capacity);
        let default = self.policy.capacity.map(|default| teams.chain(linked).chain([default]).max());
        let mut agents = self.snapshot.roster.agents.iter().filter(|agent| self.barred(agent).is_none());
        agents.any(|agent| {
            let by_inbox = self.capacity_policy(agent).is_some_and(|policy| !policy.inbox_limits.is_empty());
            let most = self.own_total(agent).or(if by_inbox { None } else { default.flatten() });
            most.is_none_or(|most| self.load(agent) < most)
        })
    }

    fn decide(mut self, decisions: &[Decision]) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for (n, head) in self.snapshot.waiting.iter().enumerate() {
            if self.given.len() == self.snapshot.limit as usize || !self.has_slot() {
                break;
            }
            outcomes
                .push(self.outcome(head, decisions.get(n).and_then(|decision| reserved(decision.outcome))));
        }
        outcomes
    }
}

/// Who was eligible for each head before anything was given out in this round.
fn eligible(world: &World, head: &Head) -> BTreeSet<AgentId> {
    let verdicts = explain(&world.snapshot, &world.policy, NOW, head).agents.into_iter();
    verdicts.filter(|one| one.rejection.is_none()).map(|one| one.agent).collect()
}

proptest! {
    #![proptest_config(cases(10_000))]

    #[test]
    fn decide_agrees_with_the_naive_model(world in a_world()) {
        prop_assert_eq!(outcomes_of(&world), Model::new(&world).decide(&decided(&world)));
    }

    #[test]
    fn chosen_and_rejected_are_the_whole_roster_with_their_reasons(world in a_world()) {
        let mut model = Model::new(&world);
        for (decision, head) in decided(&world).iter().zip(&world.snapshot.waiting) {
            let chosen = reserved(decision.outcome);
            let mut seen: Vec<AgentId> = decision.rejected.iter().map(|(agent, _)| agent).chain(chosen).collect();
            seen.sort();
            let whole: Vec<AgentId> = world.snapshot.roster.agents.iter().map(|agent| agent.id).collect();
            prop_assert_eq!(seen, whole);
            for (agent, why) in decision.rejected.iter() {
                let expected = model.reject(world.snapshot.roster.agent(agent).unwrap(), head);
                prop_assert_eq!(why, expected.unwrap_or(Rejection::NotPreferred));
            }
            prop_assert_eq!(decision.hold, model.hold(head));
            prop_assert_eq!(decision.excluded.is_some(), model.is_excluded(head));
            let answer = model.answer(head);
            let others_might = answer.is_some() || model.has_room(head, None);
            let is_passed = decision.outcome == Outcome::Pass && decision.hold.is_none();
            prop_assert_eq!(decision.blocked, is_passed && others_might);
            model.given.extend(chosen.map(|agent| (agent, head.inbox)));
        }
    }

    #[test]
    fn a_queue_is_servable_while_a_member_has_room_or_the_platform_might_tell_of_one(world in a_world()) {
        let model = Model::new(&world);
        let heads = &world.snapshot.waiting;
        let might = |head: &&Head| model.hold(head).is_none() && (model.is_open(head) || model.has_room(head, None));
        let expected: Vec<QueueKey> = heads.iter().filter(might).map(Head::queue).collect();
        let queues = heads.iter().map(Head::queue);
        prop_assert_eq!(servable(&world.snapshot, &world.policy, NOW, queues), expected);
    }

    #[test]
    fn an_explanation_gives_the_reasons_a_decision_would(world in a_world()) {
        let model = Model::new(&world);
        for head in &world.snapshot.waiting {
            let verdicts = explain(&world.snapshot, &world.policy, NOW, head);
            prop_assert_eq!(verdicts.hold, model.hold(head));
            prop_assert_eq!(verdicts.excluded.is_some(), model.is_excluded(head));
            for (one, agent) in verdicts.agents.iter().zip(&world.snapshot.roster.agents) {
                prop_assert_eq!((one.agent, one.rejection), (agent.id, model.reject(agent, head)));
            }
        }
    }

    #[test]
    fn i3_no_reserve_above_capacity_and_i6_only_of_the_eligible(world in a_world()) {
        let World { snapshot, policy } = &world;
        let mut model = Model::new(&world);
        for (outcome, head) in outcomes_of(&world).into_iter().zip(&snapshot.waiting) {
            let Some(id) = reserved(outcome) else { continue };
            prop_assert!(eligible(&world, head).contains(&id));
            let agent = snapshot.roster.agent(id).unwrap();
            model.given.push((id, head.inbox));
            let rules = QueueRules::of(&snapshot.rules, policy, (head.inbox, head.traits.team), NOW);
            prop_assert!(rules.hold.is_none() && rules.in_team(id));
            prop_assert!(rules.total_limit(id).is_none_or(|limit| model.load(agent) <= limit));
            prop_assert!(rules.inbox_limit(id).is_none_or(|limit| model.load_of_inbox(agent, head) <= limit));
        }
    }

    #[test]
    fn i4_nobody_is_served_before_one_whom_all_of_theirs_could_serve(world in a_plain_world()) {
        let mut world = world;
        if world.policy.strategy == Choice::Platform {
            world.policy.strategy = Choice::Balanced;
        }
        let heads: Vec<_> = outcomes_of(&world).into_iter().zip(&world.snapshot.waiting).collect();
        for (n, (later, b)) in heads.iter().enumerate() {
            for (earlier, a) in &heads[..n] {
                let inverted = reserved(*later).is_some()
                    && reserved(*earlier).is_none()
                    && eligible(&world, b).is_subset(&eligible(&world, a));
                prop_assert!(!inverted, "place {} before place {}", b.position, a.position);
            }
        }
    }

    #[test]
    fn i10_nobody_is_given_more_than_fair_distribution_allows(world in a_world()) {
        let mut model = Model::new(&world);
        for (outcome, head) in outcomes_of(&world).into_iter().zip(&world.snapshot.waiting) {
            let Some(id) = reserved(outcome) else { continue };
            let agent = world.snapshot.roster.agent(id).unwrap();
            model.given.push((id, head.inbox));
            let rule = model.fair(head);
            prop_assert!(rule.is_none_or(|rule| model.given_in_window(agent, head, rule) <= rule.limit));
        }
    }

    #[test]
    fn i13_a_stored_decision_decides_the_same_again(world in a_world()) {
        let World { snapshot, policy } = &world;
        let stored = serde_json::to_string(&(snapshot, policy, &*snapshot.rules)).unwrap();
        let (mut restored, policy, rules): (Snapshot, Policy, Rulebook) = serde_json::from_str(&stored).unwrap();
        restored.rules = rules.into();
        let restored = World { snapshot: restored, policy };
        prop_assert_eq!(&restored, &world);
        prop_assert_eq!(decided(&restored), decided(&world));
    }

    #[test]
    fn a_round_gives_out_no_more_than_the_slots_it_was_told_of(world in a_world()) {
        let World { snapshot, policy } = &world;
        let unknown = snapshot.roster.agents.iter().any(|agent| agent.reported_load.is_none());
        let given = outcomes_of(&world).into_iter().filter_map(reserved).count();
        prop_assert!(given <= snapshot.limit as usize);
        let slots = free_slots(&snapshot.roster, &snapshot.loads, &snapshot.rules, policy, NOW) as usize;
        prop_assert!(unknown || given <= slots);
    }

    #[test]
    fn each_queues_rotation_is_reported_once_with_its_last_turn(world in a_world()) {
        let decisions = decided(&world);
        let heads = decisions.iter().zip(&world.snapshot.waiting);
        let by_turns = |head: &Head| {
            let queue = (head.inbox, head.traits.team);
            QueueRules::of(&world.snapshot.rules, &world.policy, queue, NOW).strategy == Choice::RoundRobin
        };
        let mut last = BTreeMap::new();
        for (n, (decision, head)) in heads.enumerate() {
            if reserved(decision.outcome).is_some() && by_turns(head) {
                last.insert(head.queue(), n);
            }
        }
        let reported = decisions.iter().enumerate();
        let reported = reported.filter_map(|(n, decision)| Some((decision.rotation.as_ref()?.0, n)));
        prop_assert_eq!(reported.collect::<Vec<_>>().into_iter().collect::<BTreeMap<_, _>>(), last.clone());
        prop_assert_eq!(decisions.iter().filter(|decision| decision.rotation.is_some()).count(), last.len());
    }
}
