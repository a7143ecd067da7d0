//! Dates as the platform writes them, from microseconds since the Unix epoch.

use std::time::{SystemTime, UNIX_EPOCH};

/// Microseconds since the Unix epoch, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Stamp(pub u64);

impl Stamp {
    pub fn now() -> Self {
        let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX))
    }

    /// `2026-08-18T02:12:03Z`, as version 2 endpoints write dates.
    pub fn iso(self) -> String {
        let (date, time) = self.civil();
        format!("{date}T{time}Z")
    }

    /// `2026-08-18T02:12:03.000000Z`, as cursors are written.
    pub fn iso_micros(self) -> String {
        let (date, time) = self.civil();
        format!("{date}T{time}.{:06}Z", self.0 % 1_000_000)
    }

    /// `2026-08-18 02:12:03`, as version 1 endpoints write dates.
    pub fn plain(self) -> String {
        let (date, time) = self.civil();
        format!("{date} {time}")
    }

    /// Reads what [`Stamp::iso`] or [`Stamp::iso_micros`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
        let (clock, micros) = time.split_once('.').unwrap_or((time, "0"));
        let mut date = date.splitn(3, '-').map(str::parse::<u64>);
        let mut clock = clock.splitn(3, ':').map(str::parse::<u64>);
        let days = days_from_civil(date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?)?;
        let seconds = (clock.next()?.ok()? * 60 + clock.next()?.ok()?) * 60 + clock.next()?.ok()?;
        Some(Self((days * 86_400 + seconds) * 1_000_000 + micros.parse::<u64>().ok()?))
    }

    /// The same instant with the fraction of its second cut off.
    pub fn whole_second(self) -> Self {
        Self(self.0 - self.0 % 1_000_000)
    }

    fn civil(self) -> (String, String) {
        let seconds = self.0 / 1_000_000;
        let (year, month, day) = civil_from_days(seconds / 86_400);
        let of_day = seconds % 86_400;
        (
            format!("{year:04}-{month:02}-{day:02}"),
            format!("{:02}:{:02}:{:02}", of_day / 3600, of_day / 60 % 60, of_day % 60),
        )
    }
}

/// Year, month and day of the `days`th day after 1970-01-01. Years begin in March, so that a leap day is the
/// last of its year: the algorithm of Howard Hinnant's "chrono-compatible low-level date algorithms".
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let era = z / 146_097;
    let doe = z % 146_097;
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + u64::from(month <= 2), month, doy - (153 * mp + 2) / 5 + 1)
}

/// The reverse of [`civil_from_days`]; `None` before 1970 or for a month or day no calendar has.
fn days_from_civil(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = year - u64::from(month <= 2);
    let yoe = year % 400;
    let mp = (month + 9) % 12;
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + (153 * mp + 2) / 5 + day - 1;
    (year / 400 * 146_097 + doe).checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_the_platform_writes_them() {
        let stamp = Stamp(1_787_019_123_000_042);
        assert_eq!(stamp.iso(), "2026-08-18T02:12:03Z");
        assert_eq!(stamp.plain(), "2026-08-18 02:12:03");
        assert_eq!(stamp.iso_micros(), "2026-08-18T02:12:03.000042Z");
    }

    #[test]
    fn what_was_written_reads_back() {
        for days in (0..40_000).step_by(13) {
            let stamp = Stamp(days * 86_400_000_000 + 3_723_000_007);
            assert_eq!(Stamp::parse(&stamp.iso_micros()), Some(stamp));
            assert_eq!(Stamp::parse(&stamp.iso()), Some(stamp.whole_second()));
        }
        assert_eq!(Stamp::parse("yesterday"), None);
    }
}
