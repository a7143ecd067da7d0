//! One queue during a round: who may serve it, and whom its strategy prefers.

use std::{collections::HashMap, sync::Arc};

use super::{
    Head, QueueKey,
    seat::{Candidates, Rank, Seat},
};
use crate::{
    AgentId, CapacityPolicyId, ConversationId, FairDistribution, InboxId, Policy, Preset, QueueRules,
    Rejection, Strategy, Timestamp,
    rotation::{Contender, Rotation, Turns},
    rulebook::{ExclusionRules, Limits},
};

/// What an agent holds of one inbox and was given of it in its window, by seat.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub open: u32,
    pub given: u32,
}

/// What everybody holds by now, of all inboxes and of the queue's.
#[derive(Clone, Copy)]
pub(super) struct Holdings<'h, 'a> {
    desk: &'h [Seat<'a>],
    /// Empty where nothing is counted by inbox.
    tallies: &'h [Tally],
}

impl<'h, 'a> Holdings<'h, 'a> {
    pub fn of(
        desk: &'h [Seat<'a>],
        tallies: &'h HashMap<Option<InboxId>, Vec<Tally>>,
        inbox: Option<InboxId>,
    ) -> Self {
        Self { desk, tallies: tallies.get(&inbox).map_or(&[], Vec::as_slice) }
    }

    fn seat(&self, member: &Member) -> &Seat<'a> {
        &self.desk[member.seat]
    }

    fn tally(&self, member: &Member) -> Tally {
        self.tallies.get(member.seat).copied().unwrap_or_default()
    }

    /// Why a member cannot take one more.
    fn shut(&self, member: &Member, fair: Option<FairDistribution>) -> Option<Rejection> {
        member.shut(self.seat(member).certain_load(), self.tally(member), fair)
    }
}

/// Somebody who may serve a queue, and within which limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Member {
    pub seat: usize,
    pub agent: AgentId,
    pub limits: Limits,
    policy: Option<CapacityPolicyId>,
}

impl Member {
    pub fn new(index: usize, seat: &Seat<'_>, rules: &QueueRules<'_>) -> Self {
        let policy = seat.own.policy.map(|(id, _)| id);
        Self { seat: index, agent: seat.agent.id, limits: rules.limits(seat.own), policy }
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

/// Who may serve a queue at all, apart from what they hold; seats ascending.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Standing {
    pub rejected: Vec<(AgentId, Rejection)>,
    pub members: Vec<Member>,
    pub fair: Option<FairDistribution>,
    /// Some agent would be eligible if only the platform told us more.
    pub unknown: bool,
}

impl Standing {
    /// Nobody may serve it whatever becomes of loads.
    pub fn is_hopeless(&self) -> bool {
        let hope = [Rejection::RosterStale, Rejection::InboxUnknown, Rejection::LoadUnknown];
        self.members.is_empty() && self.rejected.iter().all(|(_, why)| !hope.contains(why))
    }
}

/// Who is left out for one conversation alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct LeftOut {
    refused: Vec<AgentId>,
    /// Whoever is under one of these.
    policies: Vec<CapacityPolicyId>,
}

impl LeftOut {
    pub fn is_nobody(&self) -> bool {
        self.refused.is_empty() && self.policies.is_empty()
    }

    fn contains(&self, member: &Member) -> bool {
        self.refused.contains(&member.agent)
            || member.policy.is_some_and(|policy| self.policies.contains(&policy))
    }

    pub fn why(&self, member: &Member) -> Option<Rejection> {
        if self.refused.contains(&member.agent) {
            Some(Rejection::Refused)
        } else {
            self.contains(member).then_some(Rejection::Excluded)
        }
    }
}

/// The conversations that the same agents may serve.
pub(super) struct Queue<'a> {
    pub key: QueueKey,
    pub rules: QueueRules<'a>,
    pub standing: Arc<Standing>,
    /// What the members' capacity policies keep from them, where they keep anything.
    exclusions: Vec<(CapacityPolicyId, &'a ExclusionRules)>,
    measure: Measure,
    choices: Choices,
    /// How many of the round's assignments `choices` takes account of.
    noted: usize,
}

/// Those who have room, in the way the strategy needs them.
enum Choices {
    /// By group: members whom the same rules keep from a conversation are passed over in one step.
    Ranked(Vec<Candidates>),
    Pool(Vec<Choice>),
}

/// A member who has room.
struct Choice {
    member: usize,
    /// In the rotation, under [`Strategy::RoundRobin`]. A pool is ascending by it.
    place: usize,
    weight: u32,
    group: usize,
}

/// The rotation of a queue during a round.
#[derive(Default)]
pub(super) struct Turning {
    pub rotation: Rotation,
    /// The sum of the weights of everybody in it.
    pub round: i64,
}

impl<'a> Queue<'a> {
    pub fn new(
        key: QueueKey,
        rules: QueueRules<'a>,
        standing: Standing,
        policy: &Policy,
        holdings: Holdings<'_, 'a>,
    ) -> Self {
        let measure = Measure::new(&rules, policy, &standing);
        let mut queue = Self {
            key,
            exclusions: exclusions(&rules, &standing, holdings.desk),
            rules,
            standing: standing.into(),
            measure,
            choices: Choices::Pool(Vec::new()),
            noted: 0,
        };
        let members = queue.standing.members.iter().enumerate();
        let with_room = members.filter(|(_, member)| queue.shut(member, holdings).is_none());
        queue.choices = match queue.rules.strategy {
            Strategy::Balanced | Strategy::LeastLoaded | Strategy::LongestIdle | Strategy::FirstFit => {
                let mut ranks = vec![Vec::new(); queue.exclusions.len() + 1];
                for (index, member) in with_room {
                    ranks[queue.group(member)].push(queue.measure.rank(index, member, holdings));
                }
                Choices::Ranked(ranks.into_iter().map(Candidates::new).collect())
            }
            Strategy::RoundRobin | Strategy::Random | Strategy::Platform => {
                let choice = |(index, member)| Choice {
                    member: index,
                    place: index,
                    weight: holdings.seat(member).weight,
                    group: queue.group(member),
                };
                Choices::Pool(with_room.map(choice).collect())
            }
        };
        queue
    }

    /// Members of a group are kept from the same conversations, the platform's refusals apart: a group for each entry of
    /// `exclusions`, and behind them one of whoever takes everything.
    fn group(&self, member: &Member) -> usize {
        let found = member.policy.map(|policy| self.exclusions.binary_search_by_key(&policy, |(id, _)| *id));
        found.and_then(Result::ok).unwrap_or(self.exclusions.len())
    }

    /// How turns go round here.
    pub fn turns(&self) -> Turns {
        match self.measure.preset {
            Preset::Chatwoot => Turns::LeastRecent,
            Preset::Sebastian | Preset::Libredesk | Preset::QiscusOriginal => Turns::Smooth,
        }
    }

    /// Takes `places`, ascending by agent, for those of the rotation.
    pub fn take_places(&mut self, places: &[(AgentId, usize)]) {
        let Choices::Pool(pool) = &mut self.choices else { return };
        let members = &self.standing.members;
        let place = |agent| places.binary_search_by_key(&agent, |(other, _)| *other).map(|at| places[at].1);
        pool.retain_mut(|choice| {
            let found = place(members[choice.member].agent);
            choice.place = found.unwrap_or(choice.place);
            found.is_ok()
        });
        pool.sort_unstable_by_key(|choice| choice.place);
    }

    /// Who is left out for `head` alone.
    pub fn left_out(&self, head: &Head, now: Timestamp) -> LeftOut {
        let refused = head.refused.iter().filter(|(_, until)| *until > now).map(|(agent, _)| *agent);
        let excludes = |rules: &ExclusionRules| {
            rules.excludes(&head.traits.labels, head.last_activity_at, now).is_some()
        };
        let policies = self.exclusions.iter().filter(|(_, rules)| excludes(rules)).map(|(policy, _)| *policy);
        LeftOut { refused: refused.collect(), policies: policies.collect() }
    }

    /// Lets go of those whom the round has given enough. Seats only fill during a round, so nobody comes back.
    pub fn note<I>(&mut self, given: &[(usize, I)], holdings: Holdings<'_, 'a>) {
        let Choices::Pool(pool) = &mut self.choices else { return };
        let Standing { members, fair, .. } = &*self.standing;
        let is_shut = |index: &usize| holdings.shut(&members[*index], *fair).is_some();
        let new = given[self.noted..].iter();
        let found = new.filter_map(|(seat, _)| members.binary_search_by_key(seat, |member| member.seat).ok());
        for shut in found.filter(is_shut) {
            if let Some(at) = pool.iter().position(|choice| choice.member == shut) {
                pool.remove(at);
            }
        }
        self.noted = given.len();
    }

    /// Whether some member has room.
    pub fn has_room(&mut self, holdings: Holdings<'_, 'a>) -> bool {
        match &mut self.choices {
            Choices::Ranked(groups) => {
                let Standing { members, fair, .. } = &*self.standing;
                let has_room = |index: usize| holdings.shut(&members[index], *fair).is_none();
                groups.iter_mut().any(|candidates| candidates.any(has_room))
            }
            Choices::Pool(pool) => !pool.is_empty(),
        }
    }

    /// The member to give `head`, and what the turn costs.
    pub fn choose(
        &mut self,
        head: &Head,
        left_out: &LeftOut,
        holdings: Holdings<'_, 'a>,
        turning: Option<&mut Turning>,
        proposed: Option<AgentId>,
    ) -> Option<(usize, i64)> {
        let mut choices = std::mem::replace(&mut self.choices, Choices::Pool(Vec::new()));
        let chosen = match &mut choices {
            Choices::Ranked(groups) => self.best(groups, left_out, holdings).map(|index| (index, 0)),
            Choices::Pool(pool) => {
                let members = &self.standing.members;
                let takes = |at: usize| !left_out.contains(&members[pool[at].member]);
                match turning {
                    Some(turning) => self.take_turn(pool, &self.takes(pool, left_out), turning),
                    None if self.rules.strategy == Strategy::Platform => {
                        let is_proposed = |choice: &Choice| Some(members[choice.member].agent) == proposed;
                        let found = pool.iter().position(is_proposed).filter(|at| takes(*at));
                        found.map(|at| (pool[at].member, 0))
                    }
                    None => {
                        let drawn = draw(self.rules.seed, head.conversation, pool.len(), takes);
                        drawn.map(|at| (pool[at].member, 0))
                    }
                }
            }
        };
        self.choices = choices;
        chosen
    }

    fn best(
        &self,
        groups: &mut [Candidates],
        left_out: &LeftOut,
        holdings: Holdings<'_, 'a>,
    ) -> Option<usize> {
        let members = &self.standing.members;
        let rank = |index: usize| self.rank(index, &members[index], holdings);
        let is_refused = |index: usize| left_out.refused.contains(&members[index].agent);
        let open = groups.iter_mut().enumerate().filter(|(group, _)| self.admits(*group, left_out));
        let best = open.filter_map(|(_, candidates)| candidates.best(rank, is_refused)).min();
        best.map(|rank| rank.index)
    }

    fn take_turn(&self, pool: &[Choice], takes: &[bool], turning: &mut Turning) -> Option<(usize, i64)> {
        let contenders = pool.iter().zip(takes).map(|(choice, takes)| Contender {
            place: choice.place,
            weight: choice.weight,
            is_in: *takes,
        });
        let (place, charge) = turning.rotation.choose_among(contenders, self.turns(), turning.round)?;
        let at = pool.binary_search_by_key(&place, |choice| choice.place).ok()?;
        Some((pool[at].member, charge))
    }

    /// Who of `pool` may take a conversation.
    fn takes(&self, pool: &[Choice], left_out: &LeftOut) -> Vec<bool> {
        if left_out.is_nobody() {
            return vec![true; pool.len()];
        }
        let admitted: Vec<bool> =
            (0..=self.exclusions.len()).map(|group| self.admits(group, left_out)).collect();
        let mut takes: Vec<bool> = pool.iter().map(|choice| admitted[choice.group]).collect();
        let members = &self.standing.members;
        for agent in &left_out.refused {
            let found = members.binary_search_by_key(agent, |member| member.agent).ok();
            let at = found.and_then(|index| pool.iter().position(|choice| choice.member == index));
            takes.get_mut(at.unwrap_or(pool.len())).into_iter().for_each(|takes| *takes = false);
        }
        takes
    }

    fn admits(&self, group: usize, left_out: &LeftOut) -> bool {
        self.exclusions.get(group).is_none_or(|(policy, _)| !left_out.policies.contains(policy))
    }

    fn shut(&self, member: &Member, holdings: Holdings<'_, '_>) -> Option<Rejection> {
        holdings.shut(member, self.standing.fair)
    }

    /// How much a member is to be preferred; `None` when they cannot take one more.
    fn rank(&self, index: usize, member: &Member, holdings: Holdings<'_, '_>) -> Option<Rank> {
        let is_shut = self.shut(member, holdings).is_some();
        (!is_shut).then(|| self.measure.rank(index, member, holdings))
    }
}

/// The exclusion rules of the members' capacity policies, each once.
fn exclusions<'a>(
    rules: &QueueRules<'_>,
    standing: &Standing,
    desk: &[Seat<'a>],
) -> Vec<(CapacityPolicyId, &'a ExclusionRules)> {
    if !rules.excludes_by_agent() {
        return Vec::new();
    }
    let none = ExclusionRules::default();
    let policies = standing.members.iter().filter_map(|member| desk[member.seat].own.policy);
    let theirs = policies.map(|(id, policy)| (id, &policy.exclusion_rules));
    let mut theirs: Vec<_> = theirs.filter(|(_, rules)| **rules != none).collect();
    theirs.sort_unstable_by_key(|(id, _)| *id);
    theirs.dedup_by_key(|(id, _)| *id);
    theirs
}

/// What members are ranked by.
#[derive(Debug, Clone, Copy)]
struct Measure {
    strategy: Strategy,
    preset: Preset,
    /// What an agent without a limit is taken to have room for, when fills are compared.
    nominal: u32,
}

impl Measure {
    fn new(rules: &QueueRules<'_>, policy: &Policy, standing: &Standing) -> Self {
        let limits = standing.members.iter().filter_map(|member| member.limits.in_all);
        let nominal = limits.max().unwrap_or(1).max(1);
        Self { strategy: rules.strategy, preset: policy.preset, nominal }
    }

    fn rank(&self, index: usize, member: &Member, holdings: Holdings<'_, '_>) -> Rank {
        let (seat, tally) = (holdings.seat(member), holdings.tally(member));
        let (last_assigned_at, last_in_round) = (seat.last_assigned_at, seat.last_in_round);
        let blank = Rank {
            load: 0,
            capacity: 1,
            assignments: 0,
            online_ms: 1,
            last_assigned_at: None,
            last_in_round: 0,
            index,
        };
        match self.strategy {
            // Chatwoot counts what an agent has of this inbox, and takes the first of equals.
            Strategy::Balanced if self.preset == Preset::Chatwoot => Rank { load: tally.open, ..blank },
            Strategy::Balanced => {
                let (load, capacity) = match (member.limits.in_all, member.limits.of_inbox) {
                    (Some(limit), _) => (seat.certain_load(), limit),
                    (None, Some(limit)) => (tally.open, limit),
                    (None, None) => (seat.certain_load(), self.nominal),
                };
                let (assignments, online_ms) = (seat.assignments, seat.online_ms);
                Rank { load, capacity, assignments, online_ms, last_assigned_at, last_in_round, index }
            }
            Strategy::LeastLoaded => {
                Rank { load: seat.certain_load(), last_assigned_at, last_in_round, ..blank }
            }
            Strategy::LongestIdle => Rank { last_assigned_at, last_in_round, ..blank },
            Strategy::FirstFit | Strategy::RoundRobin | Strategy::Random | Strategy::Platform => blank,
        }
    }
}

/// Draws are repeated as often as this when they fall on somebody who is left out; more would only take longer than to
/// look for all who are not.
const DRAWS_MAX: u64 = 8;

/// A number below `most` that `takes` accepts, each as likely as the other, and the same for the same arguments; `None`
/// when there is none.
fn draw(
    seed: u64,
    conversation: ConversationId,
    most: usize,
    takes: impl Fn(usize) -> bool,
) -> Option<usize> {
    let below = |nth: u64, most: usize| {
        let drawn = mix(seed ^ mix(conversation.0.cast_unsigned().wrapping_add(nth << 48)));
        usize::try_from(drawn % u64::try_from(most).ok().filter(|most| *most > 0)?).ok()
    };
    let lucky = (0..DRAWS_MAX).filter_map(|nth| below(nth, most)).find(|drawn| takes(*drawn));
    lucky.or_else(|| {
        let taking: Vec<usize> = (0..most).filter(|at| takes(*at)).collect();
        Some(taking[below(DRAWS_MAX, taking.len())?])
    })
}

/// The step of SplitMix64.
fn mix(state: u64) -> u64 {
    let mut mixed = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
