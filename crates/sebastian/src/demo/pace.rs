//! Two clocks: ours, and the desk's, where an hour passes while the play lasts. Everything a customer would feel is
//! told in the desk's time.

use std::time::Duration;

/// The hour that is played.
pub(crate) const HOUR: Duration = Duration::from_secs(3_600);

/// What the desk's clock shows when it begins: half an hour before the lunch peak.
const OPENS_AT: Duration = Duration::from_secs(11 * 3_600 + 30 * 60);

/// How fast the desk's clock runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// How long the hour takes here.
    pub length: Duration,
}

impl Pace {
    /// How long a time at the desk takes here.
    pub fn here(self, at_desk: Duration) -> Duration {
        scale(at_desk, self.length, HOUR)
    }

    /// How long a time here is at the desk.
    pub fn at_desk(self, here: Duration) -> Duration {
        scale(here, HOUR, self.length)
    }

    /// The desk's clock, so long after the play began here: `12:04`.
    pub fn clock(self, here: Duration) -> String {
        clock_at(self.at_desk(here))
    }
}

/// The desk's clock, so long after it began by itself.
pub(crate) fn clock_at(at_desk: Duration) -> String {
    let minutes = (OPENS_AT + at_desk).as_secs() / 60;
    format!("{:02}:{:02}", minutes / 60 % 24, minutes % 60)
}

fn scale(time: Duration, by: Duration, of: Duration) -> Duration {
    let nanos = time.as_nanos() * by.as_nanos() / of.as_nanos().max(1);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// A time at the desk, in words: `45 s`, `3 min 20 s`.
pub(crate) fn words(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 60, seconds % 60) {
        (0, seconds) => format!("{seconds} s"),
        (minutes, 0) => format!("{minutes} min"),
        (minutes, seconds) => format!("{minutes} min {seconds} s"),
    }
}

/// A time here, to be told apart from the desk's by its unit: `4 ms`.
pub(crate) fn millis(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}

/// Minutes and seconds as a player shows them: `0:17`.
pub(crate) fn counter(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_passes_while_the_play_lasts() {
        let pace = Pace { length: Duration::from_secs(30) };
        assert_eq!(pace.here(HOUR), Duration::from_secs(30));
        assert_eq!(pace.at_desk(Duration::from_secs(15)), Duration::from_secs(1_800));
        assert_eq!(
            (pace.clock(Duration::ZERO), pace.clock(Duration::from_secs(15))),
            ("11:30".into(), "12:00".into())
        );
    }

    #[test]
    fn times_read_as_people_say_them() {
        let words = |seconds| words(Duration::from_secs(seconds));
        assert_eq!((words(0), words(60), words(200)), ("0 s".into(), "1 min".into(), "3 min 20 s".into()));
        assert_eq!(counter(Duration::from_secs(77)), "1:17");
    }
}
