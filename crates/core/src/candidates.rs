//! Who comes first of many, while only few of them change.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, binary_heap::PeekMut},
};

/// Numbers by rank, the one to prefer on top: the least rank, and of equals the least number. A rank only falls back while
/// they are in here, so it is brought up to date when it comes to the top: a round looks at each a few times instead of once
/// a conversation.
#[derive(Debug, Clone)]
pub(crate) struct Candidates<R>(BinaryHeap<Reverse<(R, usize)>>);

impl<R: Ord + Copy> Candidates<R> {
    pub fn new(ranked: Vec<(R, usize)>) -> Self {
        Self(ranked.into_iter().map(Reverse).collect())
    }

    /// The one to prefer, with its rank, among those that have a `rank` by now (the others are let go for good) and are not
    /// `passed_over`.
    pub fn best(
        &mut self,
        rank: impl Fn(usize) -> Option<R>,
        passed_over: impl Fn(usize) -> bool,
    ) -> Option<(R, usize)> {
        let mut set_aside = Vec::new();
        let best = loop {
            let Some(mut top) = self.0.peek_mut() else { break None };
            let (ranked, number) = top.0;
            match rank(number) {
                None => drop(PeekMut::pop(top)),
                Some(rank) if rank != ranked => top.0 = (rank, number),
                Some(_) if passed_over(number) => set_aside.push(PeekMut::pop(top)),
                Some(rank) => break Some((rank, number)),
            }
        };
        self.0.extend(set_aside);
        best
    }

    /// Whether any of them still has room, as `has_room` tells; the others are let go for good.
    pub fn any(&mut self, has_room: impl Fn(usize) -> bool) -> bool {
        while let Some(top) = self.0.peek_mut() {
            if has_room(top.0.1) {
                return true;
            }
            PeekMut::pop(top);
        }
        false
    }

    /// Ranks all of them anew, those that have a `rank`.
    pub fn rank_anew(&mut self, rank: impl Fn(usize) -> Option<R>) {
        let numbers = std::mem::take(&mut self.0).into_iter().map(|Reverse((_, number))| number);
        self.0 = numbers.filter_map(|number| Some(Reverse((rank(number)?, number)))).collect();
    }

    /// All that were not let go, in no order.
    pub fn numbers(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().map(|Reverse((_, number))| *number)
    }
}
