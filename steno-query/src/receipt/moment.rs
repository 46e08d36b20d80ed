//! Times as receipts and flows write them: RFC 3339, UTC, nine decimals.

use serde::Serializer;
use steno_core::TimestampNs;

/// `time` as `2026-11-23T01:02:03.000000004Z`. Every [`TimestampNs`] has such a form.
pub fn rfc3339(time: TimestampNs) -> String {
    match jiff::Timestamp::from_nanosecond(i128::from(time.as_ns())) {
        Ok(timestamp) => format!("{timestamp:.9}"),
        // jiff reaches to the year 9999 and TimestampNs to 2554, so that this is never taken.
        Err(_) => time.to_string(),
    }
}

/// For `#[serde(serialize_with)]`.
pub(crate) fn serialize<S: Serializer>(time: &TimestampNs, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(*time))
}

/// For `#[serde(serialize_with)]` of a bound that may be open.
pub(crate) fn serialize_option<S: Serializer>(time: &Option<TimestampNs>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serialize(time, serializer),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_with_nine_decimals_to_both_ends() {
        assert_eq!(rfc3339(TimestampNs::MIN), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(rfc3339(TimestampNs::from_parts(1_709_647_200, 5)), "2024-03-05T14:00:00.000000005Z");
        assert_eq!(rfc3339(TimestampNs::MAX), "2554-07-21T23:34:33.709551615Z");
    }
}
