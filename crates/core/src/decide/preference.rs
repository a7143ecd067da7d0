//! Whom a strategy prefers: what members are ranked by, or drawn.

use std::cmp::Ordering;

use super::standing::{Holdings, Member, Standing};
use crate::{ConversationId, Policy, Preset, QueueRules, Strategy, Timestamp};

/// How much somebody is to be preferred: the least first. Fractions are compared by cross-multiplication. A strategy
/// that does not look at a figure leaves it equal for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rank {
    load: u32,
    capacity: u32,
    assignments: u32,
    online_ms: u64,
    last_assigned_at: Option<Timestamp>,
    last_in_round: u32,
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> Ordering {
        let fill = |a: &Self, b: &Self| u64::from(a.load) * u64::from(b.capacity);
        let pace = |a: &Self, b: &Self| u128::from(a.assignments) * u128::from(b.online_ms);
        fill(self, other)
            .cmp(&fill(other, self))
            .then_with(|| pace(self, other).cmp(&pace(other, self)))
            .then_with(|| self.last_assigned_at.cmp(&other.last_assigned_at))
            .then_with(|| self.last_in_round.cmp(&other.last_in_round))
    }
}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// What the members of a queue are ranked by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measure {
    strategy: Strategy,
    pub preset: Preset,
    /// What an agent without a limit is taken to have room for, when fills are compared.
    nominal: u32,
}

impl Measure {
    pub fn new(rules: &QueueRules<'_>, policy: &Policy, standing: &Standing) -> Self {
        let limits = standing.members.iter().filter_map(|member| member.limits.in_all);
        let nominal = limits.max().unwrap_or(1).max(1);
        Self { strategy: rules.strategy, preset: policy.preset, nominal }
    }

    pub fn rank(&self, member: &Member, holdings: Holdings<'_, '_>) -> Rank {
        let (seat, tally) = (holdings.seat(member), holdings.tally(member));
        let (last_assigned_at, last_in_round) = (seat.last_assigned_at, seat.last_in_round);
        let blank = Rank {
            load: 0,
            capacity: 1,
            assignments: 0,
            online_ms: 1,
            last_assigned_at: None,
            last_in_round: 0,
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
                Rank { load, capacity, assignments, online_ms, last_assigned_at, last_in_round }
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
pub(super) fn draw(
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
