//! Calendar days as people write them.

use std::fmt;

use super::Day;
use crate::time::{Timestamp, day_number};

const MS_PER_DAY: i64 = 86_400_000;

impl Day {
    /// Reads a day as ISO 8601 has it: `2026-11-21`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        i32::try_from(day_number(text)?).ok().map(Self)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let midnight = Timestamp::from_millis(i64::from(self.0) * MS_PER_DAY).rfc3339();
        f.write_str(midnight.split('T').next().unwrap_or(&midnight))
    }
}
