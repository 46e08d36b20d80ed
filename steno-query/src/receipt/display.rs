//! A receipt for people: what was delivered on the first line, then what was searched, then all that is missing.

use std::fmt::{self, Display, Formatter};

use super::{Receipt, Truncation, rfc3339};

/// Files of a kind that are named; the others are counted.
const NAMED: usize = 8;

impl Display for Receipt {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let state = if self.is_complete() { "complete" } else { "NOT COMPLETE" };
        write!(f, "{state}: {} and {}", count(self.packets, "packet"), count(self.bytes, "byte"))?;
        write!(f, " for `{}`", self.query)?;
        self.searched(f)?;
        if let Some(by) = self.truncated_by {
            write!(f, "\ntruncated: {by}")?;
        }
        let unreadable = self.unreadable.iter().map(|u| (u.may_hold_matches, format!("{}: {}", u.file, u.reason)));
        list(f, "unreadable", unreadable)?;
        let unsealed = self.unsealed.iter().map(|u| {
            let text = format!("{}: opened {}, {}", u.file, rfc3339(u.opened), count(u.bytes, "byte"));
            (u.may_hold_matches, text)
        });
        list(f, "not sealed, not searched", unsealed)?;
        if self.kernel_drops > 0 {
            write!(f, "\nnever captured: the kernel dropped {} in that time", count(self.kernel_drops, "packet"))?;
        }
        let gaps = self
            .gaps
            .iter()
            .map(|g| (true, format!("thread {}, {} to {}: {}", g.thread, rfc3339(g.from), rfc3339(g.until), g.reason)));
        list(f, "never captured, gap", gaps)
    }
}

impl Receipt {
    fn searched(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let s = &self.segments;
        write!(f, "\nsearched {} of {}", s.considered, count(s.total, "segment"))?;
        write!(f, ": {} read, {} without a match by their index", s.read, s.skipped)?;
        if s.not_reached > 0 {
            write!(f, ", {} not reached", s.not_reached)?;
        }
        if s.of_1_0_1 > 0 {
            write!(f, ", {} of stenographer 1.0.1", s.of_1_0_1)?;
        }
        if s.fragments_apart > 0 {
            write!(f, ", {} whose later fragments have no ports of their datagram", s.fragments_apart)?;
        }
        match self.held {
            Some(held) => write!(f, "; held: {} to {}", rfc3339(held.oldest), rfc3339(held.newest))?,
            None => f.write_str("; no packets are held")?,
        }
        match (self.asked_from, self.asked_until) {
            (None, None) => Ok(()),
            (Some(from), None) => write!(f, "; asked: from {}", rfc3339(from)),
            (None, Some(until)) => write!(f, "; asked: before {}", rfc3339(until)),
            (Some(from), Some(until)) => write!(f, "; asked: {} to {}", rfc3339(from), rfc3339(until)),
        }
    }
}

impl Display for Truncation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LimitPackets => "the limit of packets was reached",
            Self::LimitBytes => "the limit of bytes was reached",
            Self::Deadline => "the deadline passed",
            Self::Cancelled => "it was cancelled",
            Self::Memory => "more flows match than fit the memory of a query",
            Self::Unfinished => "it was not read to its end",
            Self::SensorLimitBytes => "the sensor gives no answer more bytes than this",
            Self::Stopping => "the sensor is stopping",
            Self::Stalled => "nothing was taken of it for too long",
        })
    }
}

/// A line for each, those that matter first, at most [`NAMED`].
fn list(f: &mut Formatter<'_>, what: &str, items: impl Iterator<Item = (bool, String)>) -> fmt::Result {
    let mut items: Vec<(bool, String)> = items.collect();
    items.sort_by_key(|&(matters, _)| !matters);
    for (matters, text) in items.iter().take(NAMED) {
        let note = if *matters { "" } else { " (nothing asked for can be in it)" };
        write!(f, "\n{what}: {text}{note}")?;
    }
    match items.len().checked_sub(NAMED) {
        None | Some(0) => Ok(()),
        Some(more) => write!(f, "\n{what}: and {more} more"),
    }
}

fn count(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

#[cfg(test)]
mod tests {
    use steno_core::TimestampNs;

    use super::*;
    use crate::receipt::{Gap, Held, SegmentCounts, Unreadable, Unsealed};

    fn receipt() -> Receipt {
        Receipt {
            query: "tcp".to_owned(),
            held: Some(Held { oldest: TimestampNs::MIN, newest: TimestampNs::from_parts(60, 0) }),
            segments: SegmentCounts { total: 3, outside: 1, considered: 2, skipped: 1, read: 1, ..Default::default() },
            packets: 1,
            bytes: 114,
            ..Receipt::default()
        }
    }

    #[test]
    fn a_complete_answer_takes_two_lines() {
        assert_eq!(
            receipt().to_string(),
            "complete: 1 packet and 114 bytes for `tcp`\nsearched 2 of 3 segments: 1 read, 1 without a match by their \
             index; held: 1970-01-01T00:00:00.000000000Z to 1970-01-01T00:01:00.000000000Z"
        );
    }

    #[test]
    fn all_that_is_missing_is_named_and_what_matters_comes_first() {
        let mut r = receipt();
        r.asked_until = Some(TimestampNs::from_parts(30, 0));
        r.kernel_drops = 7;
        r.truncated_by = Some(Truncation::Deadline);
        let file = |i| Unreadable { file: format!("PKT0/{i}"), reason: "gone".to_owned(), may_hold_matches: i > 0 };
        r.unreadable = (0..10).map(file).collect();
        r.unsealed = vec![Unsealed {
            file: "PKT1/.5".to_owned(),
            opened: TimestampNs(5_000),
            bytes: 1,
            may_hold_matches: false,
        }];
        r.gaps = vec![Gap { from: TimestampNs(0), until: TimestampNs(1), thread: 2, reason: "restart".to_owned() }];
        let text = r.to_string();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with("NOT COMPLETE: 1 packet"), "{text}");
        assert!(lines[1].ends_with("; asked: before 1970-01-01T00:00:30.000000000Z"), "{text}");
        assert_eq!(lines[2], "truncated: the deadline passed");
        assert_eq!(lines[3], "unreadable: PKT0/1: gone");
        assert_eq!(lines[11], "unreadable: and 2 more");
        assert!(lines[12].contains("PKT1/.5") && lines[12].ends_with("(nothing asked for can be in it)"), "{text}");
        assert!(lines[13].contains("dropped 7 packets"), "{text}");
        assert!(lines[14].contains("thread 2") && lines[14].ends_with("restart"), "{text}");
    }

    #[test]
    fn what_matters_decides_completeness() {
        let mut r = receipt();
        r.kernel_drops = 1;
        assert!(r.is_complete(), "what was never captured is not missing from the store");
        r.unreadable.push(Unreadable { file: String::new(), reason: String::new(), may_hold_matches: false });
        assert!(r.is_complete());
        r.unreadable.push(Unreadable { file: String::new(), reason: String::new(), may_hold_matches: true });
        assert!(!r.is_complete());
    }

    #[test]
    fn the_fields_for_programs_are_these() {
        let mut r = receipt();
        r.asked_from = Some(TimestampNs(1));
        r.truncated_by = Some(Truncation::LimitPackets);
        let json = serde_json::to_value(&r).unwrap();
        assert_eq!(json["asked_from"], "1970-01-01T00:00:00.000000001Z");
        assert_eq!(json["asked_until"], serde_json::Value::Null);
        assert_eq!(json["segments"]["considered"], 2);
        assert_eq!((&json["complete"], &json["truncated_by"]), (&false.into(), &"limit-packets".into()));
        assert_eq!(json["held"]["newest"], "1970-01-01T00:01:00.000000000Z");
    }
}
