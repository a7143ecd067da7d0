//! Smooth weighted round robin: the rotation of one queue.
//!
//! Every eligible agent gains its weight, the one with most is chosen and pays the sum of all weights. Turns are
//! spread evenly instead of in runs, and an agent who is absent neither gains nor loses. The algorithm is nginx's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::AgentId;

/// How far each agent is from a turn; larger is nearer. Ascending by agent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rotation(Vec<(AgentId, i64)>);

impl Rotation {
    /// A rotation as stored.
    #[must_use]
    pub fn from_stored(turns: impl IntoIterator<Item = (AgentId, i64)>) -> Self {
        Self(BTreeMap::from_iter(turns).into_iter().collect())
    }

    /// Each agent and how far they are from a turn, ascending by agent.
    pub fn iter(&self) -> impl Iterator<Item = (AgentId, i64)> + '_ {
        self.0.iter().copied()
    }

    /// Chooses among `pool` (agent and weight, ascending by agent) and charges the turn. Returns the agent and the
    /// charge, or `None` for an empty pool. Ties go to the lowest id.
    pub fn choose(&mut self, pool: impl IntoIterator<Item = (AgentId, u32)>) -> Option<(AgentId, i64)> {
        let mut total = 0;
        let mut best: Option<(i64, AgentId)> = None;
        let mut from = 0;
        for (agent, weight) in pool {
            // Both run in the same order, so one walk over the rotation meets every agent of the pool.
            from += self.0[from..].iter().take_while(|(other, _)| *other < agent).count();
            if self.0.get(from).is_none_or(|(other, _)| *other != agent) {
                self.0.insert(from, (agent, 0));
            }
            let turn = &mut self.0[from].1;
            *turn += i64::from(weight);
            total += i64::from(weight);
            if best.is_none_or(|(most, _)| *turn > most) {
                best = Some((*turn, agent));
            }
        }
        let (_, agent) = best?;
        self.refund(agent, -total);
        Some((agent, total))
    }

    /// Gives a turn back.
    pub fn refund(&mut self, agent: AgentId, charge: i64) {
        match self.0.binary_search_by_key(&agent, |(other, _)| *other) {
            Ok(index) => self.0[index].1 += charge,
            Err(index) => self.0.insert(index, (agent, charge)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(weights: &[(i64, u32)], rounds: usize) -> Vec<i64> {
        let mut rotation = Rotation::default();
        let pool = || weights.iter().map(|&(id, weight)| (AgentId(id), weight));
        (0..rounds).filter_map(|_| rotation.choose(pool())).map(|(agent, _)| agent.0).collect()
    }

    #[test]
    fn equal_weights_take_turns_in_order() {
        assert_eq!(turns(&[(1, 1), (2, 1), (3, 1)], 6), [1, 2, 3, 1, 2, 3]);
    }

    #[test]
    fn weights_are_spread_and_not_served_in_runs() {
        assert_eq!(turns(&[(1, 5), (2, 1), (3, 1)], 7), [1, 1, 2, 1, 3, 1, 1]);
    }

    #[test]
    fn a_refunded_turn_comes_round_at_once() {
        let pool = [(AgentId(1), 1), (AgentId(2), 1)];
        let mut rotation = Rotation::default();
        let (agent, charge) = rotation.choose(pool).unwrap();
        rotation.refund(agent, charge);
        assert_eq!(rotation.choose(pool).unwrap().0, agent);
    }

    #[test]
    fn an_empty_pool_has_no_turn() {
        assert_eq!(Rotation::default().choose([]), None);
    }
}
