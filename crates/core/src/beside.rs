//! Walking a sorted map beside sorted keys.

use std::iter::Peekable;

use crate::AgentId;

/// Entries walked beside keys that ascend as they do: a lookup costs a step instead of a search.
pub(crate) struct Beside<I: Iterator>(Peekable<I>);

impl<V, I: Iterator<Item = (AgentId, V)>> Beside<I> {
    pub fn new(entries: I) -> Self {
        Self(entries.peekable())
    }

    /// What is entered for `agent`, who comes after all that were asked for.
    pub fn at(&mut self, agent: AgentId) -> Option<V> {
        while self.0.next_if(|(other, _)| *other < agent).is_some() {}
        self.0.next_if(|(other, _)| *other == agent).map(|(_, value)| value)
    }
}
