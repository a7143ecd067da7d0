//! How far this machine's clock is from another's.

use std::time::{Duration, SystemTime};

use super::finding::Finding;

/// Waits and windows are kept by clocks; beyond this they begin to be wrong by what an operator would notice.
const WARN_MS: i128 = 2_000;

/// Beyond this, whoever compares logs, or judges a roster's age, is misled.
const FAIL_MS: i128 = 30_000;

const MEND: &str = "let NTP set this machine's clock: `timedatectl set-ntp true`";

/// Compares an instant that `whose` clock told, exact to `grain`, with our own clock before asking and after the answer.
/// Only what cannot be explained by the time the answer took is held against anybody.
pub(super) fn compare(
    whose: &str,
    theirs: SystemTime,
    grain: Duration,
    (before, after): (SystemTime, SystemTime),
) -> Finding {
    let (theirs_ms, grain_ms) = (millis(theirs), i128::try_from(grain.as_millis()).unwrap_or(0));
    let (ahead_min, ahead_max) = (millis(before) - theirs_ms - grain_ms, millis(after) - theirs_ms);
    let (off_ms, direction) = match (ahead_min > 0, ahead_max < 0) {
        (true, _) => (ahead_min, "ahead of"),
        (_, true) => (-ahead_max, "behind"),
        (false, false) => (0, "with"),
    };
    let seconds = format!("{}.{} s", off_ms / 1_000, off_ms % 1_000 / 100);
    let found = format!("this machine's clock is {seconds} {direction} {whose}'s");
    if off_ms > FAIL_MS {
        Finding::fail("clock", found, MEND)
    } else if off_ms > WARN_MS {
        Finding::warn("clock", found, MEND)
    } else {
        Finding::ok("clock", format!("this machine's clock goes with {whose}'s"))
    }
}

fn millis(at: SystemTime) -> i128 {
    match at.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => i128::try_from(since.as_millis()).unwrap_or(i128::MAX),
        Err(before) => -i128::try_from(before.duration().as_millis()).unwrap_or(i128::MAX),
    }
}
