//! A receipt for people: what was delivered on the first line, then what was searched, then all that is missing.

use std::fmt::{self, Display, Formatter};

use super::{Receipt, Truncation, Within, rfc3339};
use crate::plain;

/// Files of a kind that are named; the others are counted.
const NAMED: usize = 8;
/// Characters of a scope that are shown: one of many networks would hide the rest.
const SCOPE_CHARS: usize = 400;

impl Display for Receipt {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let state = if self.is_complete() { "complete" } else { "NOT COMPLETE" };
        write!(f, "{state}: {} and {}", count(self.packets, "packet"), count(self.bytes, "byte"))?;
        write!(f, " for `{}`", plain(&self.query))?;
        if let Some(Within { name, query }) = &self.scope {
            let (name, query) = (plain(name), plain(query));
            let query = beginning(&query);
            write!(f, "\nscope {name}: held to packets of `{query}`; nothing is said here of any others")?;
        }
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
        self.lost(f)?;
        let gaps = self
            .gaps
            .iter()
            .map(|g| (true, format!("thread {}, {} to {}: {}", g.thread, rfc3339(g.from), rfc3339(g.until), g.reason)));
        list(f, "never captured, gap", gaps)?;
        let steps = self.clock_steps.iter().map(|step| {
            let way = if step.by_ns() < 0 { "back" } else { "forward" };
            let (from, to) = (rfc3339(step.from), rfc3339(step.to));
            (true, format!("set {way} by {}, from {from} to {to}", secs(step.by_ns().unsigned_abs())))
        });
        list(f, "the clock was", steps)
    }
}

impl Receipt {
    /// What was lost besides the kernel's drops, and how much the gaps come to.
    fn lost(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let lost = &self.losses;
        if lost.ring_freezes > 0 {
            write!(f, "\nnever captured: a ring was full {}", count(lost.ring_freezes, "time"))?;
        }
        let of_interface = [
            (lost.interface_dropped_packets, "rx_dropped"),
            (lost.interface_missed_packets, "rx_missed_errors"),
            (lost.interface_overrun_packets, "rx_fifo_errors"),
        ];
        for (packets, name) in of_interface.into_iter().filter(|&(packets, _)| packets > 0) {
            write!(f, "\nnever captured: the interface dropped {} ({name})", count(packets, "packet"))?;
        }
        if lost.uncaptured_packets > 0 {
            write!(f, "\nnever captured: {} passed in gaps", count(lost.uncaptured_packets, "packet"))?;
        }
        if lost.not_written_packets > 0 {
            write!(f, "\nnever stored: {} could not be written", count(lost.not_written_packets, "packet"))?;
        }
        if lost.cut_packets > 0 {
            write!(f, "\nstored in part: {} of that time, whatever was asked for", count(lost.cut_packets, "packet"))?;
        }
        if lost.write_stall_ns > 0 {
            write!(f, "\nwrites stood still for {} of that time", secs(lost.write_stall_ns))?;
        }
        if self.gap_ns > 0 {
            write!(f, "\nnever captured: {} of that time", secs(self.gap_ns))?;
        }
        Ok(())
    }

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
        write!(f, "\n{what}: {}{note}", plain(text))?;
    }
    match items.len().checked_sub(NAMED) {
        None | Some(0) => Ok(()),
        Some(more) => write!(f, "\n{what}: and {more} more"),
    }
}

/// A text, or its beginning where it is long.
fn beginning(text: &str) -> String {
    match text.char_indices().nth(SCOPE_CHARS) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// A length of time, cut to milliseconds.
fn secs(ns: u64) -> String {
    format!("{}.{:03} s", ns / 1_000_000_000, ns / 1_000_000 % 1_000)
}

fn count(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

#[cfg(test)]
mod tests {
    use steno_core::TimestampNs;
    use steno_index::Cause;

    use super::*;
    use crate::receipt::{ClockStep, Gap, Held, SegmentCounts, Unreadable, Unsealed};
    use crate::syntax::is_acted_upon;

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
        let gap = |until| Gap { from: TimestampNs(0), until, thread: 2, reason: "restart".to_owned() };
        r.gaps = vec![gap(TimestampNs(1_500_000_000))];
        (1..).zip(Cause::ALL).for_each(|(n, cause)| r.losses.add(cause, n));
        let hour = TimestampNs::from_parts(3_600, 5_000_000);
        let step = |from, to| ClockStep { from, to, thread: 0 };
        r.clock_steps = vec![step(TimestampNs::MIN, hour), step(hour, TimestampNs::MIN)];
        r.settle();
        let text = r.to_string();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with("NOT COMPLETE: 1 packet"), "{text}");
        assert!(lines[1].ends_with("; asked: before 1970-01-01T00:00:30.000000000Z"), "{text}");
        assert_eq!(lines[2], "truncated: the deadline passed");
        assert_eq!(lines[3], "unreadable: PKT0/1: gone");
        assert_eq!(lines[11], "unreadable: and 2 more");
        assert!(lines[12].contains("PKT1/.5") && lines[12].ends_with("(nothing asked for can be in it)"), "{text}");
        assert!(lines[13].contains("dropped 7 packets"), "{text}");
        let expected = [
            "never captured: a ring was full 1 time",
            "never captured: the interface dropped 5 packets (rx_dropped)",
            "never captured: the interface dropped 6 packets (rx_missed_errors)",
            "never captured: the interface dropped 7 packets (rx_fifo_errors)",
            "never captured: 8 packets passed in gaps",
            "never stored: 3 packets could not be written",
            "stored in part: 2 packets of that time, whatever was asked for",
            "writes stood still for 0.000 s of that time",
            "never captured: 1.500 s of that time",
        ];
        assert_eq!(lines[14..23], expected);
        assert!(lines[23].contains("thread 2") && lines[23].ends_with("restart"), "{text}");
        let [origin, hour] = ["1970-01-01T00:00:00.000000000Z", "1970-01-01T01:00:00.005000000Z"];
        assert_eq!(lines[24], format!("the clock was: set forward by 3600.005 s, from {origin} to {hour}"));
        assert_eq!(lines[25], format!("the clock was: set back by 3600.005 s, from {hour} to {origin}"));
        assert_eq!(lines.len(), 26);
    }

    #[test]
    fn no_text_of_a_receipt_steers_a_terminal_or_forges_a_line() {
        let mut r = receipt();
        let evil = "a\ncomplete: \u{1b}[2J\u{202e}".to_owned();
        r.query.clone_from(&evil);
        r.unreadable = vec![Unreadable { file: evil.clone(), reason: evil.clone(), may_hold_matches: true }];
        r.gaps = vec![Gap { from: TimestampNs(0), until: TimestampNs(1), thread: 0, reason: evil }];
        let text = r.to_string();
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(!text.contains(|c| c != '\n' && is_acted_upon(c)), "{text:?}");
        assert!(text.contains("for `a\\u{a}complete: \\u{1b}[2J\\u{202e}`"), "{text}");
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
