//! Times and durations in text: RFC 3339, `1h30m`, and back.

use jiff::{
    Timestamp,
    civil::{Date, date},
};
use steno_core::TimestampNs;

const NS_PER_SEC: i128 = 1_000_000_000;

/// An RFC 3339 time in nanoseconds since the epoch, which may lie outside of what [`TimestampNs`] can say.
///
/// It takes what Go's `time.Parse(time.RFC3339, ..)` takes, as that is what 1.0.1 takes: besides the RFC, an hour of
/// one digit, any number of decimals (those past the ninth are cut off) and any two-digit numbers as the zone's offset.
/// It also takes the lower-case `t` and `z` of RFC 3339 section 5.6.
pub(super) fn moment(text: &str) -> Option<i128> {
    let (year, rest) = digits(text, 4)?;
    let (month, rest) = digits(rest.strip_prefix('-')?, 2)?;
    let (day, rest) = digits(rest.strip_prefix('-')?, 2)?;
    let rest = rest.strip_prefix(['T', 't'])?;
    let (hour, rest) = digits(rest, 2).or_else(|| digits(rest, 1))?;
    let (minute, rest) = digits(rest.strip_prefix(':')?, 2)?;
    let (second, rest) = digits(rest.strip_prefix(':')?, 2)?;
    let (nanos, rest) = match rest.strip_prefix('.') {
        Some(rest) => decimals(rest)?,
        None => (0, rest),
    };
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let day = Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()?;
    let midnight = day.duration_since(date(1970, 1, 1)).as_secs();
    let of_day = (i64::from(hour) * 60 + i64::from(minute)) * 60 + i64::from(second);
    let secs = i128::from(midnight + of_day - offset_secs(rest)?);
    Some(secs * NS_PER_SEC + i128::from(nanos))
}

/// The number in the first `len` characters, all digits, and what follows.
fn digits(text: &str, len: usize) -> Option<(i16, &str)> {
    let (head, rest) = text.split_at_checked(len)?;
    if !head.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some((head.parse().ok()?, rest))
}

/// Decimals of a second in nanoseconds, at least one digit, and what follows.
fn decimals(text: &str) -> Option<(u32, &str)> {
    let len = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at_checked(len)?;
    let nine: String = digits.chars().chain("000000000".chars()).take(9).collect();
    (len > 0).then_some((nine.parse().ok()?, rest))
}

/// `Z`, or `+HH:MM` east of it, in seconds.
fn offset_secs(text: &str) -> Option<i64> {
    if matches!(text, "Z" | "z") {
        return Some(0);
    }
    let (hours, minutes) = text.get(1..)?.split_once(':')?;
    // Go reads each as a number of two characters, a sign among them allowed.
    let two = |part: &str| (part.len() == 2).then(|| part.parse::<i64>().ok()).flatten();
    let secs = (two(hours)? * 60 + two(minutes)?) * 60;
    match text.chars().next()? {
        '+' => Some(secs),
        '-' => Some(-secs),
        _ => None,
    }
}

/// A duration in nanoseconds: whole numbers with a unit each (`s`, `m`, `h`, `d`), summed. What is too long for the
/// number is longer than any time back, so it saturates.
pub(super) fn duration_ns(text: &str) -> Option<u64> {
    let mut total: u64 = 0;
    let mut rest = text;
    loop {
        let len = rest.find(|c: char| !c.is_ascii_digit()).filter(|&len| len > 0)?;
        let (count, tail) = rest.split_at_checked(len)?;
        let mut tail = tail.chars();
        let unit_secs: u64 = match tail.next()? {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            _ => return None,
        };
        let count = count.parse().unwrap_or(u64::MAX);
        total = total.saturating_add(count.saturating_mul(unit_secs * 1_000_000_000));
        rest = tail.as_str();
        if rest.is_empty() {
            return Some(total);
        }
    }
}

/// The RFC 3339 text of a moment in UTC, with as many decimals as it needs.
pub(super) fn rfc3339(time: TimestampNs) -> String {
    // Every `TimestampNs` is before the year 2555, well within what a `Timestamp` can say.
    Timestamp::from_nanosecond(i128::from(time.as_ns())).map_or_else(|_| time.to_string(), |t| t.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(text: &str) -> Option<i128> {
        moment(text).map(|ns| {
            assert_eq!(ns % NS_PER_SEC, 0);
            ns / NS_PER_SEC
        })
    }

    #[test]
    fn reads_rfc_3339() {
        assert_eq!(secs("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(secs("2024-03-05T14:05:00Z"), Some(1_709_647_500));
        assert_eq!(secs("2024-03-05t14:05:00z"), Some(1_709_647_500));
        assert_eq!(secs("2024-03-05T15:05:00+01:00"), Some(1_709_647_500));
        assert_eq!(secs("2024-03-05T10:35:00-03:30"), Some(1_709_647_500));
        assert_eq!(secs("2024-02-29T00:00:00Z"), Some(1_709_164_800));
        assert_eq!(secs("0000-01-01T00:00:00Z"), Some(-62_167_219_200));
        assert_eq!(secs("9999-12-31T23:59:59Z"), Some(253_402_300_799));
        assert_eq!(moment("1970-01-01T00:00:00.5Z"), Some(500_000_000));
        assert_eq!(moment("1970-01-01T00:00:00.0000000019Z"), Some(1));
        // Beyond the RFC, as Go has it.
        assert_eq!(secs("2024-03-05T4:05:00Z"), Some(1_709_611_500));
        assert_eq!(secs("1970-01-01T00:00:00-99:99"), Some(99 * 3600 + 99 * 60));
    }

    #[test]
    fn refuses_what_is_no_time() {
        for text in [
            "",
            "2024-03-05",
            "2024-03-05T14:05Z",
            "2024-03-05T14:05:00",
            "2024-3-05T14:05:00Z",
            "24-03-05T14:05:00Z",
            "2024-02-30T00:00:00Z",
            "2023-02-29T00:00:00Z",
            "2024-13-01T00:00:00Z",
            "2024-00-01T00:00:00Z",
            "2024-01-00T00:00:00Z",
            "2024-01-01T24:00:00Z",
            "2024-01-01T00:60:00Z",
            "2024-01-01T00:00:60Z",
            "2024-01-01T00:00:00.Z",
            "2024-01-01T00:00:00,5Z",
            "2024-01-01 00:00:00Z",
            "2024-01-01T00:00:00+0100",
            "2024-01-01T00:00:00+1:00",
            "2024-01-01T00:00:00Zx",
            "2024-01-01T00:00:00é",
            "-024-01-01T00:00:00Z",
        ] {
            assert_eq!(moment(text), None, "{text:?}");
        }
    }

    #[test]
    fn reads_durations() {
        let s = 1_000_000_000;
        assert_eq!(duration_ns("90s"), Some(90 * s));
        assert_eq!(duration_ns("1h30m"), Some(5_400 * s));
        assert_eq!(duration_ns("2d1h1m1s"), Some((2 * 86_400 + 3_661) * s));
        assert_eq!(duration_ns("0h"), Some(0));
        assert_eq!(duration_ns("99999999999999999999999d"), Some(u64::MAX));
        for text in ["", "3", "h", "1.5h", "-3h", "3H", "1h30", "3h ", "3µ", "1hm"] {
            assert_eq!(duration_ns(text), None, "{text:?}");
        }
    }

    #[test]
    fn writes_rfc_3339() {
        assert_eq!(rfc3339(TimestampNs::from_parts(1_709_647_500, 0)), "2024-03-05T14:05:00Z");
        assert_eq!(rfc3339(TimestampNs::from_parts(1_709_647_500, 120)), "2024-03-05T14:05:00.00000012Z");
        assert_eq!(rfc3339(TimestampNs::MIN), "1970-01-01T00:00:00Z");
        assert_eq!(moment(&rfc3339(TimestampNs::MAX)), Some(i128::from(u64::MAX)));
    }
}
