//! The cursors of room lists, which are timestamps.
//!
//! A page ends at a room's timestamp and the next asks for older rooms, so rooms that share that instant would
//! be passed over. Asking from one unit later brings the instant's rooms once more; the caller drops
//! those it has. Real capture: cursors look like `2026-08-18T02:16:30Z`, newest first.

/// The timestamp one unit (of its last digit) after `cursor`. `None` when `cursor` is no ISO timestamp.
pub(super) fn one_unit_later(cursor: &str) -> Option<String> {
    let bytes = cursor.as_bytes();
    let seconds_end = 19;
    let shape = bytes.get(..seconds_end)?.iter().enumerate().all(|(i, byte)| match i {
        4 | 7 => *byte == b'-',
        10 => matches!(byte, b'T' | b' '),
        13 | 16 => *byte == b':',
        _ => byte.is_ascii_digit(),
    });
    if !shape {
        return None;
    }
    let rest = &cursor[seconds_end..];
    let (fraction, zone) = match rest.strip_prefix('.') {
        Some(after) => after.split_at(after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len())),
        None => ("", rest),
    };
    let (fraction, carry) = increment(fraction);
    let seconds =
        if carry { one_second_later(&cursor[..seconds_end])? } else { cursor[..seconds_end].to_owned() };
    let point = if fraction.is_empty() { "" } else { "." };
    Some(format!("{seconds}{point}{fraction}{zone}"))
}

/// `digits` plus one, as wide as before, and whether it ran over (as no digits at all do).
fn increment(digits: &str) -> (String, bool) {
    let mut digits = digits.as_bytes().to_vec();
    let mut carry = true;
    for digit in digits.iter_mut().rev() {
        if !carry {
            break;
        }
        carry = *digit == b'9';
        *digit = if carry { b'0' } else { *digit + 1 };
    }
    (digits.into_iter().map(char::from).collect(), carry)
}

/// `seconds` is `YYYY-MM-DD?HH:MM:SS`, digits checked.
fn one_second_later(seconds: &str) -> Option<String> {
    let field = |from: usize, to: usize| seconds[from..to].parse::<u32>().ok();
    let (mut year, mut month, mut day) = (field(0, 4)?, field(5, 7)?, field(8, 10)?);
    let (mut hour, mut minute, mut second) = (field(11, 13)?, field(14, 16)?, field(17, 19)? + 1);
    if second >= 60 {
        (second, minute) = (0, minute + 1);
    }
    if minute >= 60 {
        (minute, hour) = (0, hour + 1);
    }
    if hour >= 24 {
        (hour, day) = (0, day + 1);
    }
    if day > days_in(year, month)? {
        (day, month) = (1, month + 1);
    }
    if month > 12 {
        (month, year) = (1, year + 1);
    }
    let separator = &seconds[10..11];
    Some(format!("{year:04}-{month:02}-{day:02}{separator}{hour:02}:{minute:02}:{second:02}"))
}

fn days_in(year: u32, month: u32) -> Option<u32> {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => Some(31),
        4 | 6 | 9 | 11 => Some(30),
        2 => Some(if leap { 29 } else { 28 }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_that_of_the_last_digit_and_carries() {
        for (cursor, later) in [
            ("2026-08-18T02:16:30Z", "2026-08-18T02:16:31Z"),
            ("2026-08-18T02:16:30.123456Z", "2026-08-18T02:16:30.123457Z"),
            ("2026-08-18T02:16:30.999Z", "2026-08-18T02:16:31.000Z"),
            ("2026-12-31 23:59:59", "2027-01-01 00:00:00"),
            ("2028-02-28T23:59:59+07:00", "2028-02-29T00:00:00+07:00"),
            ("2026-02-28T23:59:59Z", "2026-03-01T00:00:00Z"),
        ] {
            assert_eq!(one_unit_later(cursor).as_deref(), Some(later));
        }
    }

    #[test]
    fn anything_else_is_opaque() {
        for cursor in
            ["", "g3QAAAABZAACaWRiAAM2AA==", "2026-08-18", "2026-13-01T23:59:59Z", "2026-08-18Té2:16:30Z"]
        {
            assert_eq!(one_unit_later(cursor), None, "{cursor}");
        }
    }
}
