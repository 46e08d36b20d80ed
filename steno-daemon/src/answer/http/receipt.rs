//! A receipt as the value of a header: one line of JSON, of ASCII alone, with the fields that `steno read --receipt` writes.
//!
//! Clients bound what they take of headers (curl 300 KiB, hyper 16 KiB), so that long lists are cut, and what is left out is
//! said in `omitted`.

use http::HeaderValue;
use serde_json::{Map, Value, json};
use steno_core::TimestampNs;
use steno_proto::{
    json::ascii,
    v1::{Losses, Receipt, SegmentCounts},
};
use steno_query::rfc3339;

use crate::answer::convert;

/// Bytes of the value, at most.
const MOST_BYTES: usize = 6 << 10;
/// Bytes of the query in the line, at most; it has 64 KiB at most.
const QUERY_BYTES: usize = 1 << 10;
/// Bytes of a file's reason, likewise.
const REASON_BYTES: usize = 300;
/// What may be long.
const LISTS: [&str; 4] = ["unreadable", "unsealed", "gaps", "clock_steps"];

/// The value of the trailer.
pub(super) fn header(receipt: &Receipt) -> HeaderValue {
    // Every character of it may stand in a header; were one not, the receipt would be missed and not guessed at.
    HeaderValue::try_from(line(receipt)).unwrap_or_else(|_| HeaderValue::from_static("{}"))
}

fn line(receipt: &Receipt) -> String {
    let mut fields = fields(receipt);
    loop {
        let line = ascii(&Value::Object(fields.clone()).to_string());
        if line.len() <= MOST_BYTES || !shorten(&mut fields) {
            return line;
        }
    }
}

/// Takes half of the longest list away, those files last that may hold matches; false where nothing is left to take.
fn shorten(fields: &mut Map<String, Value>) -> bool {
    let len = |name: &&str| fields.get(*name).and_then(Value::as_array).map_or(0, Vec::len);
    let Some(longest) = LISTS.into_iter().max_by_key(len).filter(|name| len(name) > 0) else { return false };
    let Some(Value::Array(list)) = fields.get_mut(longest) else { return false };
    let gone = list.len().div_ceil(2);
    list.sort_by_key(|item| item.get("may_hold_matches").and_then(Value::as_bool) == Some(false));
    list.truncate(list.len() - gone);
    let omitted = fields.entry("omitted").or_insert_with(|| json!({}));
    if let Some(omitted) = omitted.as_object_mut() {
        let before = omitted.get(longest).and_then(Value::as_u64).unwrap_or(0);
        let _ = omitted.insert(longest.to_owned(), json!(before + gone as u64));
    }
    true
}

fn fields(receipt: &Receipt) -> Map<String, Value> {
    let time = |ns: u64| rfc3339(TimestampNs(ns));
    let held = receipt.held_oldest_ns.zip(receipt.held_newest_ns);
    let SegmentCounts { total, outside, considered, skipped, read, unreadable, not_reached, of_1_0_1, fragments_apart } =
        receipt.segments.unwrap_or_default();
    let unreadable_files = receipt.unreadable.iter().map(|file| {
        json!({
            "file": file.file, "reason": cut(&file.reason, REASON_BYTES), "may_hold_matches": file.may_hold_matches,
        })
    });
    let unsealed_files = receipt.unsealed.iter().map(|file| {
        json!({
            "file": file.file, "opened": time(file.opened_ns), "bytes": file.bytes,
            "may_hold_matches": file.may_hold_matches,
        })
    });
    let gaps = receipt.gaps.iter().map(|gap| {
        json!({
            "from": time(gap.from_ns), "until": time(gap.until_ns), "thread": gap.thread,
            "reason": cut(&gap.reason, REASON_BYTES),
        })
    });
    let steps = receipt
        .clock_steps
        .iter()
        .map(|step| json!({"from": time(step.from_ns), "to": time(step.to_ns), "thread": step.thread}));
    let Losses {
        ring_freezes,
        cut_packets,
        not_written_packets,
        write_stall_ns,
        interface_dropped_packets,
        interface_missed_packets,
        interface_overrun_packets,
        uncaptured_packets,
    } = receipt.losses.unwrap_or_default();
    let fields = json!({
        "query": cut(&receipt.query, QUERY_BYTES),
        "scope": receipt.scope.as_ref().map(|scope| json!({
            "name": cut(&scope.rule, QUERY_BYTES), "query": cut(&scope.query, QUERY_BYTES),
        })),
        "asked_from": receipt.asked_from_ns.map(time),
        "asked_until": receipt.asked_until_ns.map(time),
        "held": held.map(|(oldest, newest)| json!({"oldest": time(oldest), "newest": time(newest)})),
        "segments": {
            "total": total, "outside": outside, "considered": considered, "skipped": skipped, "read": read,
            "unreadable": unreadable, "not_reached": not_reached, "of_1_0_1": of_1_0_1,
            "fragments_apart": fragments_apart,
        },
        "unreadable": unreadable_files.collect::<Vec<_>>(),
        "unsealed": unsealed_files.collect::<Vec<_>>(),
        "packets": receipt.packets,
        "bytes": receipt.bytes,
        "kernel_drops": receipt.kernel_drops,
        "gaps": gaps.collect::<Vec<_>>(),
        "gap_ns": receipt.gap_ns,
        "losses": {
            "ring_freezes": ring_freezes, "cut_packets": cut_packets, "not_written_packets": not_written_packets,
            "write_stall_ns": write_stall_ns, "interface_dropped_packets": interface_dropped_packets,
            "interface_missed_packets": interface_missed_packets,
            "interface_overrun_packets": interface_overrun_packets,
            "uncaptured_packets": uncaptured_packets,
        },
        "clock_steps": steps.collect::<Vec<_>>(),
        "truncated_by": convert::truncation_name(receipt.truncated_by()),
        "blake3": Some(&receipt.blake3).filter(|digest| !digest.is_empty()),
        "complete": receipt.complete,
    });
    match fields {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// `text`, or its beginning and a mark, so that it takes `most` bytes in the line, and the mark.
fn cut(text: &str, most: usize) -> String {
    let mut bytes = 0;
    for (at, c) in text.char_indices() {
        bytes += match c {
            '"' | '\\' => 2,
            ' '..='~' => 1,
            _ => 6 * c.len_utf16(),
        };
        if bytes > most {
            return format!("{}...", text.get(..at).unwrap_or_default());
        }
    }
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use steno_core::TimestampNs;
    use steno_index::Cause;
    use steno_proto::v1;

    use super::*;

    fn parsed(receipt: &Receipt) -> Value {
        let value = header(receipt);
        assert!(value.len() <= MOST_BYTES && value.to_str().is_ok(), "{}", value.len());
        serde_json::from_slice(value.as_bytes()).unwrap()
    }

    fn full() -> steno_query::Receipt {
        let mut receipt = steno_query::Receipt::default();
        receipt.query = "host 10.0.0.1 and port 53".into();
        receipt.scope =
            Some(steno_query::receipt::Within { name: "web".into(), query: "net 10.0.0.0/8 and vlan 5".into() });
        receipt.asked_until = Some(TimestampNs(7));
        receipt.held = Some(steno_query::receipt::Held { oldest: TimestampNs(3), newest: TimestampNs(4_000_000_000) });
        receipt.segments.considered = 3;
        receipt.segments.not_reached = 2;
        receipt.unreadable = vec![steno_query::receipt::Unreadable {
            file: "PKT0/1".into(),
            reason: "\u{e9} \u{1f600} \"quoted\"\n\u{7f}".into(),
            may_hold_matches: true,
        }];
        receipt.unsealed = vec![steno_query::receipt::Unsealed {
            file: "PKT0/.2".into(),
            opened: TimestampNs(5),
            bytes: 6,
            may_hold_matches: false,
        }];
        receipt.gaps = vec![steno_query::receipt::Gap {
            from: TimestampNs(11),
            until: TimestampNs(12),
            thread: 13,
            reason: "down".into(),
        }];
        (receipt.packets, receipt.bytes, receipt.kernel_drops) = (8, 9, u64::MAX);
        receipt.gap_ns = 1;
        (14..).zip(Cause::ALL).for_each(|(n, cause)| receipt.losses.add(cause, n));
        receipt.clock_steps =
            vec![steno_query::receipt::ClockStep { from: TimestampNs(15), to: TimestampNs(16), thread: 17 }];
        receipt.blake3 = Some("ab".into());
        receipt
    }

    #[test]
    fn the_fields_are_those_of_the_file_that_the_command_line_writes() {
        let plain = steno_query::Receipt::default();
        for mut receipt in [full(), plain] {
            assert_eq!(parsed(&convert::receipt(receipt.clone())), serde_json::to_value(&receipt).unwrap());
            use steno_query::Truncation as By;
            for by in [
                By::LimitPackets,
                By::LimitBytes,
                By::Deadline,
                By::Cancelled,
                By::Memory,
                By::Unfinished,
                By::SensorLimitBytes,
                By::Stopping,
                By::Stalled,
            ] {
                receipt.truncated_by = Some(by);
                assert_eq!(parsed(&convert::receipt(receipt.clone())), serde_json::to_value(&receipt).unwrap());
            }
        }
    }

    #[test]
    fn however_much_there_is_to_say_it_fits_and_tells_what_is_left_out() {
        let file = |i: u32| v1::Unreadable {
            file: format!("PKT0/{i}"),
            reason: "\u{4e00}".repeat(400),
            may_hold_matches: i >= 4_999,
        };
        let gap = |i: u64| v1::Gap { from_ns: i, until_ns: i, thread: 0, reason: "x".into() };
        let receipt = Receipt {
            query: "\u{7f}".repeat(60_000),
            scope: Some(v1::Scope { rule: "\u{7f}".repeat(64), query: "\u{7f}".repeat(40_000) }),
            unreadable: (0..5_000).map(file).collect(),
            gaps: (0..1_000).map(gap).collect(),
            ..Receipt::default()
        };
        let json = parsed(&receipt);
        let kept = |name: &str| json[name].as_array().unwrap().len() as u64;
        assert_eq!(kept("unreadable") + json["omitted"]["unreadable"].as_u64().unwrap(), 5_000);
        assert_eq!(kept("gaps") + json["omitted"]["gaps"].as_u64().unwrap(), 1_000);
        assert!(json["omitted"].get("unsealed").is_none());
        assert!(json["query"].as_str().unwrap().ends_with("..."));
        assert_eq!(json["complete"], false);
    }

    #[test]
    fn files_that_matter_are_left_out_last() {
        let file =
            |i: u32| v1::Unreadable { file: format!("PKT0/{i}"), reason: "y".repeat(250), may_hold_matches: i == 99 };
        let receipt = Receipt { unreadable: (0..100).map(file).collect(), ..Receipt::default() };
        assert_eq!(parsed(&receipt)["unreadable"][0]["file"], "PKT0/99");
    }
}
