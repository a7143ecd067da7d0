//! The balancer: one rotation on its own.

use std::collections::BTreeMap;

use sebastian_core::{
    AgentId,
    rotation::{Rotation, Turns},
};
use serde_json::Value;

use super::format::Turn;
use crate::report::{Check, Problems, expect};

/// Plays a row of kind `swrr`.
pub fn play(row: &Value) -> Check {
    Check::of("libredesk", || {
        let steps: Vec<Turn> = serde::Deserialize::deserialize(&row["steps"])
            .map_err(|error: serde_json::Error| error.to_string())?;
        let mut pool = Pool::default();
        steps.into_iter().enumerate().for_each(|(index, step)| pool.step(index, step));
        Ok(pool.problems)
    })
}

#[derive(Default)]
struct Pool {
    rotation: Rotation,
    names: Vec<String>,
    weights: BTreeMap<AgentId, u32>,
    problems: Problems,
}

impl Pool {
    fn step(&mut self, index: usize, step: Turn) {
        let what = format!("step {}", index + 1);
        match step {
            Turn::Add { id, weight, error } => {
                let agent = self.number(&id);
                let joined = self.rotation.join(agent, Turns::Smooth);
                if joined {
                    self.weights.insert(agent, weight);
                }
                expect(&mut self.problems, &format!("{what}, adding {id}"), &error.is_none(), &joined);
            }
            Turn::Remove { id, error } => {
                let agent = self.number(&id);
                let left = self.rotation.leave(agent);
                expect(&mut self.problems, &format!("{what}, removing {id}"), &error.is_none(), &left);
            }
            Turn::Get { times, expect: wanted } => {
                let picked: Vec<Option<String>> = (0..times).map(|_| self.pick()).collect();
                expect(&mut self.problems, &what, &wanted, &picked);
            }
            Turn::Counts { times, expect: wanted } => {
                let mut counts: BTreeMap<String, usize> = BTreeMap::new();
                (0..times).filter_map(|_| self.pick()).for_each(|name| *counts.entry(name).or_default() += 1);
                let wanted = wanted.into_iter().filter(|(_, count)| *count > 0).collect();
                expect(&mut self.problems, &what, &wanted, &counts);
            }
            Turn::State { expect: wanted } => {
                let state =
                    self.rotation.iter().map(|(agent, turn)| (self.name(agent), self.weights[&agent], turn));
                let state: Vec<_> = state.collect();
                expect(&mut self.problems, &what, &wanted, &state);
            }
        }
    }

    fn pick(&mut self) -> Option<String> {
        let line: Vec<AgentId> = self.rotation.iter().map(|(agent, _)| agent).collect();
        let pool = line.iter().map(|agent| self.weights[agent]).enumerate();
        let (place, _) = self.rotation.choose(pool.collect::<Vec<_>>(), Turns::Smooth)?;
        Some(self.name(line[place]))
    }

    fn number(&mut self, name: &str) -> AgentId {
        let known = self.names.iter().position(|known| known == name);
        let place = known.unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        });
        AgentId(i64::try_from(place).unwrap_or(i64::MAX))
    }

    fn name(&self, agent: AgentId) -> String {
        usize::try_from(agent.0).ok().and_then(|place| self.names.get(place)).cloned().unwrap_or_default()
    }
}
