//! Round robin: the rotation of one queue.
//!
//! Smooth weighted, by nginx's algorithm: every eligible agent gains its weight, the one with most is chosen and pays
//! the sum of all weights. Turns are spread evenly instead of in runs, and an agent who is absent neither gains nor
//! loses. Or by who was served longest ago, as Chatwoot does it: the chosen one goes to the back of the line.
//!
//! A turn given back leaves everybody else with what they gained by it, so those who are present drift ahead of who is
//! not. Turns alone never take two agents further apart than two rounds: whoever is further behind is brought up to that.

mod turning;

use serde::{Deserialize, Serialize};

pub(crate) use self::turning::{Contender, Roll, Turning};
use crate::{AgentId, beside::Beside};

/// How many rounds, each of everybody's weight, a member of the pool may be behind whoever is chosen. Between agents who
/// are all present it is less than this.
const BEHIND_MAX: i64 = 2;

/// How far each agent is from a turn; larger is nearer. In order of joining, which decides between equals.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rotation(Vec<(AgentId, i64)>);

/// How turns go round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turns {
    /// In proportion to weights, spread evenly.
    Smooth,
    /// To whoever was served longest ago, whatever the weight; who joins goes to the back.
    LeastRecent,
}

impl Rotation {
    /// A rotation as stored, in order of joining.
    #[must_use]
    pub fn from_stored(turns: impl IntoIterator<Item = (AgentId, i64)>) -> Self {
        Self(turns.into_iter().collect())
    }

    /// Each agent and how far they are from a turn, in order of joining.
    pub fn iter(&self) -> impl Iterator<Item = (AgentId, i64)> + '_ {
        self.0.iter().copied()
    }

    /// Lets `agent` join, last of equals. False when they are in it already.
    pub fn join(&mut self, agent: AgentId, turns: Turns) -> bool {
        if self.0.iter().any(|(other, _)| *other == agent) {
            return false;
        }
        let turn = match turns {
            Turns::Smooth => 0,
            Turns::LeastRecent => self.back(),
        };
        self.0.push((agent, turn));
        true
    }

    /// Lets `agent` leave, with what they were owed. False when they are not in it.
    pub fn leave(&mut self, agent: AgentId) -> bool {
        let before = self.0.len();
        self.0.retain(|(other, _)| *other != agent);
        self.0.len() < before
    }

    /// Keeps and lets join whom `everybody`, ascending, says, and lets go of the rest. Returns the place of each of
    /// `everybody`, in order; `None` of who is not in it.
    pub(crate) fn enroll(
        &mut self,
        everybody: impl Iterator<Item = (AgentId, Enrolment)>,
        turns: Turns,
    ) -> Vec<Option<usize>> {
        let mut known: Vec<_> = self.0.iter().zip(0..).map(|((agent, _), place)| (*agent, place)).collect();
        known.sort_unstable();
        let mut known = Beside::new(known.into_iter());
        let (mut stays, mut joining) = (vec![false; self.0.len()], Vec::new());
        let mut place = |(agent, enrolment)| {
            let place: Option<usize> = known.at(agent).filter(|_| enrolment != Enrolment::Leaves);
            if let Some(place) = place {
                stays[place] = true;
            } else if enrolment == Enrolment::Joins {
                joining.push(agent);
                return Some(stays.len() + joining.len() - 1);
            }
            place
        };
        let mut places: Vec<Option<usize>> = everybody.map(&mut place).collect();
        if stays.contains(&false) {
            self.close_ranks(&stays, &mut places);
        }
        let back = self.back();
        let turn = |nth: i64| if turns == Turns::Smooth { 0 } else { back - nth };
        self.0.extend((0..).zip(joining).map(|(nth, agent)| (agent, turn(nth))));
        places
    }

    /// Lets go of whoever does not stay, and moves up the `places` behind them.
    fn close_ranks(&mut self, stays: &[bool], places: &mut [Option<usize>]) {
        let mut kept = stays.iter();
        self.0.retain(|_| kept.next().is_some_and(|stays| *stays));
        let ahead = stays.iter().scan(0, |ahead, stays| {
            *ahead += usize::from(*stays);
            Some(*ahead - usize::from(*stays))
        });
        let ahead: Vec<usize> = ahead.collect();
        let left = stays.len() - self.0.len();
        for place in places.iter_mut().flatten() {
            *place = ahead.get(*place).copied().unwrap_or_else(|| *place - left);
        }
    }

    /// Chooses among the places and weights of `pool`, which is everybody, and charges the turn. Returns the place and
    /// the charge, or `None` for an empty pool. A weight of nothing is chosen only when there is no other.
    pub fn choose(
        &mut self,
        pool: impl IntoIterator<Item = (usize, u32)>,
        turns: Turns,
    ) -> Option<(usize, i64)> {
        let pool = pool.into_iter().map(|(place, weight)| Contender { place, weight, group: 0 });
        let pool: Vec<Contender> = pool.collect();
        let round = pool.iter().map(|contender| i64::from(contender.weight)).sum();
        let mut turning = Turning::new(Roll { rotation: std::mem::take(self), round }, turns, pool);
        let chosen = turning.choose(|_| true, &[]);
        *self = turning.close().rotation;
        chosen
    }

    /// Gives a turn back; to an agent who left meanwhile it is worth nothing. Each raises the others by their weight for
    /// good, of 32 bits: 2^31 of them fit.
    pub fn refund(&mut self, agent: AgentId, charge: i64) {
        if let Some((_, turn)) = self.0.iter_mut().find(|(other, _)| *other == agent) {
            *turn += charge;
        }
    }

    /// Behind everybody.
    fn back(&self) -> i64 {
        self.0.iter().map(|(_, turn)| *turn).min().map_or(0, |last| last - 1)
    }
}

/// What becomes of somebody when a rotation is brought in step with who is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Enrolment {
    Leaves,
    /// Keeps their turn, if they are in it.
    Stays,
    /// Likewise, and joins if they are not.
    Joins,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rotation(agents: &[i64], turns: Turns) -> Rotation {
        let mut rotation = Rotation::default();
        agents.iter().for_each(|id| assert!(rotation.join(AgentId(*id), turns)));
        rotation
    }

    fn turns(weights: &[u32], rounds: usize) -> Vec<usize> {
        let agents: Vec<i64> = (1..).take(weights.len()).collect();
        let mut rotation = rotation(&agents, Turns::Smooth);
        let pool = || weights.iter().copied().enumerate();
        (0..rounds).filter_map(|_| rotation.choose(pool(), Turns::Smooth)).map(|(place, _)| place).collect()
    }

    #[test]
    fn equal_weights_take_turns_in_order() {
        assert_eq!(turns(&[1, 1, 1], 6), [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn weights_are_spread_and_not_served_in_runs() {
        assert_eq!(turns(&[5, 1, 1], 7), [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn a_refunded_turn_comes_round_at_once() {
        for turns in [Turns::Smooth, Turns::LeastRecent] {
            let mut rotation = rotation(&[1, 2], turns);
            let pool = [(0, 1), (1, 1)];
            let (place, charge) = rotation.choose(pool, turns).unwrap();
            rotation.refund(AgentId(1), charge);
            assert_eq!(rotation.choose(pool, turns).unwrap().0, place, "{turns:?}");
        }
    }

    #[test]
    fn the_least_recent_is_served_and_goes_to_the_back() {
        let mut rotation = rotation(&[1, 2, 3, 4, 5], Turns::LeastRecent);
        let served = (0..2).map(|_| rotation.choose([(2, 1), (3, 1)], Turns::LeastRecent).unwrap().0);
        assert_eq!(served.collect::<Vec<_>>(), [2, 3]);
        let everybody = || (0..5).map(|place| (place, 1));
        let line = (0..5).map(|_| rotation.choose(everybody(), Turns::LeastRecent).unwrap().0);
        assert_eq!(line.collect::<Vec<_>>(), [0, 1, 4, 2, 3]);
    }

    #[test]
    fn an_empty_pool_has_no_turn() {
        assert_eq!(Rotation::default().choose([], Turns::Smooth), None);
    }
}
