//! Instants, as values. The ledger's clock is the only one compared with stored times.

use std::{
    fmt,
    ops::{Add, Sub},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

const MS_PER_DAY: i64 = 86_400_000;

/// An instant, in whole milliseconds since the Unix epoch, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The instant `ms` milliseconds after the Unix epoch.
    #[must_use]
    pub const fn from_millis(ms: i64) -> Self {
        Self(ms)
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// The instant as RFC 3339 has it, to the millisecond: `2026-11-21T09:12:44.250Z`.
    #[must_use]
    pub fn rfc3339(self) -> String {
        let (year, month, day) = self.date();
        let (hour, minute, second) = self.clock();
        let ms = self.0.rem_euclid(1_000);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
    }

    /// The instant for people to read, to the second: `2026-11-21 09:12:44 UTC`.
    #[must_use]
    pub fn in_words(self) -> String {
        let (year, month, day) = self.date();
        let (hour, minute, second) = self.clock();
        format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
    }

    /// Year, month and day of the Gregorian calendar. Counts in eras of 400 years from 1 March of year 0, so that a leap
    /// day ends a year: Howard Hinnant, "chrono-compatible low-level date algorithms", `civil_from_days`.
    fn date(self) -> (i64, i64, i64) {
        let days = self.0.div_euclid(MS_PER_DAY) + 719_468;
        let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let months_since_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * months_since_march + 2) / 5 + 1;
        let month = (months_since_march + 2) % 12 + 1;
        (era * 400 + year_of_era + i64::from(month <= 2), month, day)
    }

    /// Hour, minute and second of the day.
    fn clock(self) -> (i64, i64, i64) {
        let seconds = self.0.rem_euclid(MS_PER_DAY) / 1_000;
        (seconds / 3_600, seconds / 60 % 60, seconds % 60)
    }

    /// Reads an instant as RFC 3339 has it (`2026-11-21T09:12:44Z`, `2026-11-21T16:12:44.25+07:00`), to the millisecond.
    #[must_use]
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let (date, rest) = text.split_at_checked(10)?;
        let (clock, zone) = rest.strip_prefix(['T', 't', ' '])?.split_at_checked(8)?;
        let [hour, minute, second] = numbers(clock, ':')?;
        // A leap second is the one before it.
        let in_range = (0..24).contains(&hour) && (0..60).contains(&minute) && (0..=60).contains(&second);
        let (ms, zone) = match zone.strip_prefix('.') {
            None => (0, zone),
            Some(rest) => {
                let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
                let ms = format!("{:0<3.3}", &rest[..digits]).parse().ok().filter(|_| digits > 0)?;
                (ms, &rest[digits..])
            }
        };
        let seconds = (hour * 60 + minute) * 60 + second.min(59);
        let local = day_number(date)? * MS_PER_DAY + seconds * 1_000 + ms;
        in_range.then_some(Self(local - zone_minutes(zone)? * 60_000))
    }

    /// Time passed since `earlier`; zero when `earlier` lies ahead.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// Whole numbers between `separator`s, two digits each but the first, which may have four.
fn numbers(text: &str, separator: char) -> Option<[i64; 3]> {
    let mut parts = text.split(separator).map(|part| {
        let is_number = matches!(part.len(), 2 | 4) && part.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| part.parse().ok()).flatten()
    });
    let three = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(three)
}

/// Minutes ahead of UTC: `Z`, `+07:00`.
fn zone_minutes(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let [_, hours, minutes] = numbers(&format!("00:{}", zone.strip_prefix(['+', '-'])?), ':')?;
    (hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes))
}

/// The day of `text` (`2026-11-21`), counted from 1 January 1970. The inverse of [`Timestamp::date`], by the same
/// source: `days_from_civil`.
pub(crate) fn day_number(text: &str) -> Option<i64> {
    let [year, month, day] = numbers(text, '-').filter(|_| text.len() == 10)?;
    let year_from_march = year - i64::from(month <= 2);
    let (era, year_of_era) = (year_from_march.div_euclid(400), year_from_march.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let number = era * 146_097 + day_of_era - 719_468;
    // 31 April and the like come out as another date.
    (Timestamp(number * MS_PER_DAY).date() == (year, month, day)).then_some(number)
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let ms = |d: Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Self(ms(after)),
            Err(before) => Self(-ms(before.duration())),
        }
    }
}

impl From<Timestamp> for SystemTime {
    fn from(Timestamp(ms): Timestamp) -> Self {
        let span = Duration::from_millis(ms.unsigned_abs());
        if ms < 0 { UNIX_EPOCH - span } else { UNIX_EPOCH + span }
    }
}

fn millis(d: Duration) -> i64 {
    i64::try_from(d.as_millis()).unwrap_or(i64::MAX)
}

impl Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, d: Duration) -> Self {
        Self(self.0.saturating_add(millis(d)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, d: Duration) -> Self {
        Self(self.0.saturating_sub(millis(d)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_read_as_it_was_written() {
        for ms in [0, -1, 951_782_400_000, 1_709_251_199_999, 1_735_689_599_001, -2_203_891_200_000] {
            let instant = Timestamp::from_millis(ms);
            assert_eq!(Timestamp::parse_rfc3339(&instant.rfc3339()), Some(instant), "{ms}");
        }
        let noon = Timestamp::parse_rfc3339("2026-11-21T12:00:00Z");
        for same in ["2026-11-21T19:00:00+07:00", "2026-11-21t07:30:00.0-04:30", "2026-11-21 12:00:00z"] {
            assert_eq!(Timestamp::parse_rfc3339(same), noon, "{same}");
        }
        for wrong in [
            "",
            "2026-11-21",
            "2026-11-21T12:00:00",
            "2026-02-29T12:00:00Z",
            "2026-13-01T12:00:00Z",
            "2026-11-21T24:00:00Z",
            "2026-11-21T12:00:00.Z",
            "2026-11-21T12:00:00+7",
            "2026-11-21T1é:00:00Z",
            "2026-1-21T12:00:00Z",
            "+026-11-21T12:00:00Z",
        ] {
            assert_eq!(Timestamp::parse_rfc3339(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_instant_is_written_as_its_date_and_time_of_day() {
        for (ms, written) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
            (1_735_689_599_001, "2024-12-31T23:59:59.001Z"),
            (1_700_000_000_250, "2023-11-14T22:13:20.250Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (-2_203_891_200_000, "1900-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(Timestamp::from_millis(ms).rfc3339(), written, "{ms}");
        }
        assert_eq!(Timestamp::from_millis(1_700_000_000_250).in_words(), "2023-11-14 22:13:20 UTC");
    }
}
