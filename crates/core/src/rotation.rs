//! Round robin: the rotation of one queue.
//!
//! Smooth weighted, by nginx's algorithm: every eligible agent gains its weight, the one with most is chosen and pays
//! the sum of all weights. Turns are spread evenly instead of in runs, and an agent who is absent neither gains nor
//! loses. Or by who was served longest ago, as Chatwoot does it: the chosen one goes to the back of the line.
//!
//! A turn given back leaves everybody else with what they gained by it, so those who are present drift ahead of who is
//! not. Turns alone never take two agents further apart than two rounds: whoever is further behind is brought up to that.

use serde::{Deserialize, Serialize};

use crate::AgentId;

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

    /// Keeps those of `stays`, and lets those of `joins` join who are not in it; both ascending. Returns everybody's
    /// place, ascending by agent.
    pub(crate) fn enroll(
        &mut self,
        stays: &[AgentId],
        joins: &[AgentId],
        turns: Turns,
    ) -> Vec<(AgentId, usize)> {
        self.0.retain(|(agent, _)| stays.binary_search(agent).is_ok());
        let mut places: Vec<_> =
            self.0.iter().enumerate().map(|(place, (agent, _))| (*agent, place)).collect();
        places.sort_unstable();
        let is_in = |agent: &AgentId| places.binary_search_by_key(agent, |(other, _)| *other).is_ok();
        let joining: Vec<AgentId> = joins.iter().filter(|agent| !is_in(agent)).copied().collect();
        let mut back = self.back();
        for agent in joining {
            places.push((agent, self.0.len()));
            self.0.push((agent, if turns == Turns::Smooth { 0 } else { back }));
            back -= 1;
        }
        places.sort_unstable();
        places
    }

    /// Chooses among the places and weights of `pool`, which is everybody, and charges the turn. Returns the place and
    /// the charge, or `None` for an empty pool. A weight of nothing is chosen only when there is no other.
    pub fn choose<P>(&mut self, pool: P, turns: Turns) -> Option<(usize, i64)>
    where
        P: IntoIterator<Item = (usize, u32), IntoIter: Clone>,
    {
        let pool = pool.into_iter();
        let round = pool.clone().map(|(_, weight)| i64::from(weight)).sum();
        self.choose_among(pool.map(|(place, weight)| Contender { place, weight, is_in: true }), turns, round)
    }

    /// The same among those of `pool` who are in it, ascending by place, where `round` is the sum of the weights of
    /// everybody in the rotation.
    pub(crate) fn choose_among(
        &mut self,
        pool: impl Iterator<Item = Contender> + Clone,
        turns: Turns,
        round: i64,
    ) -> Option<(usize, i64)> {
        let (place, charge) = match turns {
            Turns::Smooth => self.smooth(pool, round)?,
            Turns::LeastRecent => {
                let place = self.first_of(pool)?;
                (place, self.0[place].1 - self.back())
            }
        };
        self.0[place].1 -= charge;
        Some((place, charge))
    }

    /// Lets everybody of `pool` gain their weight. Returns who is nearest to a turn, and the sum of weights.
    fn smooth(&mut self, pool: impl Iterator<Item = Contender> + Clone, round: i64) -> Option<(usize, i64)> {
        let (mut total, mut most, mut least) = (0, i64::MIN, i64::MAX);
        // Runs over everybody for each conversation: nothing in here depends on who is in and who is not.
        for Contender { place, weight, is_in } in pool.clone() {
            let gain = if is_in { i64::from(weight) } else { 0 };
            let turn = &mut self.0[place].1;
            *turn += gain;
            total += gain;
            least = least.min(if is_in { *turn } else { i64::MAX });
            most = most.max(if gain > 0 { *turn } else { i64::MIN });
        }
        let is_first = |one: &Contender| one.is_in && one.weight > 0 && self.0[one.place].1 == most;
        let first = pool.clone().find(is_first).map(|contender| contender.place);
        let first = first.or_else(|| self.first_of(pool.clone()))?;
        let floor = self.0[first].1 - BEHIND_MAX * round;
        if least < floor {
            for contender in pool.filter(|contender| contender.is_in) {
                let turn = &mut self.0[contender.place].1;
                *turn = floor.max(*turn);
            }
        }
        Some((first, total))
    }

    /// Who of `pool` is nearest to a turn, and of equals the first.
    fn first_of(&self, pool: impl Iterator<Item = Contender>) -> Option<usize> {
        let places = pool.filter(|contender| contender.is_in).map(|contender| contender.place);
        places.reduce(|first, next| if self.0[next].1 > self.0[first].1 { next } else { first })
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

/// Somebody of a rotation, for one conversation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Contender {
    /// In the rotation.
    pub place: usize,
    pub weight: u32,
    /// Whether the conversation may go to them; if not, they neither gain nor lose.
    pub is_in: bool,
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
