//! Durations and sizes as people write them.

use std::time::Duration;

/// `30d`, `72h`, `90m`, `20s`, `2w`: a whole number and a unit. `None` for anything else, and for more than fits.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let secs = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        _ => return None,
    };
    number.checked_mul(secs).map(Duration::from_secs)
}

/// What [`duration`] takes.
pub(super) const DURATION: &str = "a number and a unit of s, m, h, d or w, as \"30d\"";

/// `10GiB`, `500MB`, `1024`: a whole number, and a unit of 1000 or of 1024. `None` for anything else, and for more than fits.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let each: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "pb" => 1_000_000_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        "pib" => 1 << 50,
        _ => return None,
    };
    number.checked_mul(each)
}

/// What [`bytes`] takes.
pub(super) const BYTES: &str =
    "a number of bytes, or a number and a unit of KiB, MiB, GiB, TiB, KB, MB, GB or TB, as \"10GiB\"";

fn split(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    Some((number.parse().ok()?, unit.trim_start_matches(' ')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_number_and_a_unit() {
        for (text, secs) in
            [("0s", 0), ("20s", 20), ("90m", 5_400), ("72h", 259_200), ("30d", 2_592_000), ("2w", 1_209_600)]
        {
            assert_eq!(duration(text), Some(Duration::from_secs(secs)), "{text}");
        }
        for text in
            ["", "30", "d", "-1d", "1.5d", "30 days", "30D", "30d ", "99999999999999999999s", "18446744073709551615w"]
        {
            assert_eq!(duration(text), None, "{text:?}");
        }
    }

    #[test]
    fn sizes_may_have_a_unit() {
        for (text, expected) in [
            ("0", 0),
            ("1024", 1024),
            ("7B", 7),
            ("10GiB", 10 << 30),
            ("10 GiB", 10 << 30),
            ("10gib", 10 << 30),
            ("500MB", 500_000_000),
            ("3PiB", 3 << 50),
        ] {
            assert_eq!(bytes(text), Some(expected), "{text}");
        }
        for text in ["", "GiB", "-1", "1.5GiB", "10G", "10XiB", "10GiB ", "99999999PiB"] {
            assert_eq!(bytes(text), None, "{text:?}");
        }
    }
}
