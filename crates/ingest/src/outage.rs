//! Logging a row of failures without a line for each.

use std::time::{Duration, Instant};

/// While a dependency stays away, one line in this time is enough to be noticed.
const REMINDER: Duration = Duration::from_secs(60);

/// A row of failures of one dependency. The caller logs what [`failed`](Outage::failed) and
/// [`ended`](Outage::ended) say is worth a line.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    failures: u64,
    said_at: Option<Instant>,
}

impl Outage {
    /// Counts a failure. The count of this row when it is worth a line: the first, then one a minute.
    pub fn failed(&mut self) -> Option<u64> {
        self.failures += 1;
        if self.said_at.is_some_and(|at| at.elapsed() < REMINDER) {
            return None;
        }
        self.said_at = Some(Instant::now());
        Some(self.failures)
    }

    /// Counts a success. How many failures it ended, if any.
    pub fn ended(&mut self) -> Option<u64> {
        self.said_at.take()?;
        Some(std::mem::take(&mut self.failures))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_failure_and_the_recovery_are_worth_a_line() {
        let mut outage = Outage::default();
        assert_eq!((outage.ended(), outage.failed(), outage.failed()), (None, Some(1), None));
        assert_eq!((outage.ended(), outage.ended(), outage.failed()), (Some(2), None, Some(1)));
    }
}
