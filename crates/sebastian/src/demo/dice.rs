//! Seeded chance: the same numbers from the same seed, on every machine and in every version.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

/// A seed drawn by chance stays short enough to be typed again.
const DRAWN_SEEDS: u64 = 100_000;

/// Sebastiano Vigna's splitmix64.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A seed nobody chose.
    pub fn draw_seed() -> u64 {
        RandomState::new().hash_one(()) % DRAWN_SEEDS
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 when `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next().checked_rem(bound).unwrap_or(0)
    }

    /// True so many times of a hundred.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// A time from `min` to `max`, both included, in whole milliseconds.
    pub fn between(&mut self, min: Duration, max: Duration) -> Duration {
        let spread = u64::try_from(max.saturating_sub(min).as_millis()).unwrap_or(u64::MAX - 1);
        min + Duration::from_millis(self.below(spread + 1))
    }

    /// One of `things`; `None` when there are none.
    pub fn pick<'a, T>(&mut self, things: &'a [T]) -> Option<&'a T> {
        let index = self.below(things.len() as u64);
        things.get(usize::try_from(index).ok()?)
    }

    /// Puts `things` into an order of chance.
    pub fn shuffle<T>(&mut self, things: &mut [T]) {
        for last in (1..things.len()).rev() {
            let other = usize::try_from(self.below(last as u64 + 1)).unwrap_or(last);
            things.swap(last, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_throws_the_same() {
        let throw = |seed| {
            let mut dice = Dice::new(seed);
            (0..50).map(|_| dice.below(1_000)).collect::<Vec<_>>()
        };
        assert_eq!(throw(7), throw(7));
        assert_ne!(throw(7), throw(8));
    }

    #[test]
    fn throws_stay_within_their_bounds() {
        let mut dice = Dice::new(1);
        let (min, max) = (Duration::from_secs(1), Duration::from_secs(2));
        for _ in 0..1_000 {
            assert!(dice.below(6) < 6);
            assert!((min..=max).contains(&dice.between(min, max)));
        }
        assert_eq!((dice.below(0), dice.pick::<u8>(&[])), (0, None));
    }
}
