//! What an agent was given of an inbox a short while ago: the sliding window behind fair distribution.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{ConversationId, FairDistribution, Timestamp};

/// Conversations given, each once, by when.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored")]
pub struct RateWindow {
    /// Ascending.
    given: Vec<Given>,
    /// When the first was given: mostly all that is asked of a window, and a decision asks tens of thousands.
    #[serde(skip)]
    oldest: Option<Timestamp>,
    /// When some of them had been given before, ascending: that counts again should the last time come to nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    before: Vec<Given>,
}

type Given = (Timestamp, ConversationId);

/// A window as it is written.
#[derive(Deserialize)]
struct Stored {
    given: Vec<Given>,
    #[serde(default)]
    before: Vec<Given>,
}

impl From<Stored> for RateWindow {
    fn from(Stored { given, before }: Stored) -> Self {
        Self { oldest: oldest(&given), given, before }
    }
}

impl RateWindow {
    /// A window as stored.
    #[must_use]
    pub fn from_stored(given: impl IntoIterator<Item = (Timestamp, ConversationId)>) -> Self {
        let mut given: Vec<_> = given.into_iter().collect();
        given.sort_unstable();
        Stored { given, before: Vec::new() }.into()
    }

    /// What was given when, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (Timestamp, ConversationId)> + '_ {
        self.given.iter().copied()
    }

    /// How many were given within `window` of `now`. One given exactly a window ago no longer counts.
    #[must_use]
    pub fn count(&self, window: Duration, now: Timestamp) -> u32 {
        let first = self.first_within(window, now);
        u32::try_from(self.given.len() - first).unwrap_or(u32::MAX)
    }

    /// How many more may be given now.
    #[must_use]
    pub fn remaining(&self, rule: FairDistribution, now: Timestamp) -> u32 {
        rule.limit.saturating_sub(self.count(rule.window, now))
    }

    /// When the next may be given. `None`: now.
    #[must_use]
    pub fn free_at(&self, rule: FairDistribution, now: Timestamp) -> Option<Timestamp> {
        let over = self.count(rule.window, now).checked_sub(rule.limit)?;
        let leaves = self.first_within(rule.window, now) + usize::try_from(over).unwrap_or(usize::MAX);
        self.given.get(leaves).map(|(at, _)| *at + rule.window)
    }

    /// Notes that `conversation` was given now; a second time moves it.
    pub fn give(&mut self, conversation: ConversationId, now: Timestamp) {
        self.before.extend(remove(&mut self.given, conversation));
        insert(&mut self.given, (now, conversation));
        self.oldest = oldest(&self.given);
    }

    /// Forgets the last time that `conversation` was given: it came to nothing.
    pub fn take_back(&mut self, conversation: ConversationId) {
        remove(&mut self.given, conversation);
        if let Some(earlier) = remove(&mut self.before, conversation) {
            insert(&mut self.given, earlier);
        }
        self.oldest = oldest(&self.given);
    }

    /// Drops what no longer counts within `window`.
    pub fn prune(&mut self, window: Duration, now: Timestamp) {
        let first = self.first_within(window, now);
        self.given.drain(..first);
        self.oldest = oldest(&self.given);
        self.before.retain(|(at, _)| *at + window > now);
    }

    fn first_within(&self, window: Duration, now: Timestamp) -> usize {
        let is_over = |at: Timestamp| at + window <= now;
        // Whoever keeps windows prunes them, so that mostly the first is within.
        let is_pruned = self.oldest.is_none_or(|oldest| !is_over(oldest));
        if is_pruned { 0 } else { self.given.partition_point(|(at, _)| is_over(*at)) }
    }
}

fn oldest(given: &[Given]) -> Option<Timestamp> {
    given.first().map(|(at, _)| *at)
}

fn insert(given: &mut Vec<Given>, one: Given) {
    let place = given.partition_point(|other| other.0 <= one.0);
    given.insert(place, one);
}

/// The last time that `conversation` was given.
fn remove(given: &mut Vec<Given>, conversation: ConversationId) -> Option<Given> {
    let last = given.iter().rposition(|(_, other)| *other == conversation)?;
    Some(given.remove(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(60);
    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn given(ages_s: &[u64]) -> RateWindow {
        let conversations = (1..).map(ConversationId);
        RateWindow::from_stored(ages_s.iter().map(|age| NOW - Duration::from_secs(*age)).zip(conversations))
    }

    #[test]
    fn what_is_exactly_a_window_old_no_longer_counts() {
        assert_eq!(given(&[61, 60, 59, 0]).count(WINDOW, NOW), 2);
    }

    #[test]
    fn a_window_that_was_written_counts_as_it_did() {
        let mut window = given(&[61, 10]);
        window.give(ConversationId(2), NOW);
        let read: RateWindow = serde_json::from_str(&serde_json::to_string(&window).unwrap()).unwrap();
        assert_eq!(read, window);
        assert_eq!(read.count(WINDOW, NOW), 1);
    }

    #[test]
    fn a_clock_that_steps_back_forgets_nothing() {
        assert_eq!(given(&[10]).count(WINDOW, NOW - WINDOW), 1);
    }

    #[test]
    fn one_more_is_free_when_enough_have_left() {
        let rule = FairDistribution { limit: 2, window: WINDOW };
        assert_eq!(given(&[50]).free_at(rule, NOW), None);
        assert_eq!(given(&[50, 40]).free_at(rule, NOW), Some(NOW + Duration::from_secs(10)));
        assert_eq!(given(&[50, 40, 30]).free_at(rule, NOW), Some(NOW + Duration::from_secs(20)));
    }

    #[test]
    fn a_second_time_that_came_to_nothing_leaves_the_first() {
        let mut window = given(&[50]);
        window.give(ConversationId(1), NOW);
        window.take_back(ConversationId(1));
        assert_eq!(window, given(&[50]));
    }

    #[test]
    fn a_conversation_counts_once_and_not_at_all_when_taken_back() {
        let mut window = given(&[50]);
        window.give(ConversationId(1), NOW);
        assert_eq!(window.count(WINDOW, NOW), 1);
        window.take_back(ConversationId(1));
        window.take_back(ConversationId(1));
        assert_eq!(window.count(WINDOW, NOW), 0);
    }
}
