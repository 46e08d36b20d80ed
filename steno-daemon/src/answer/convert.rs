//! What steno-query says, as messages of `steno.v1`.

use steno_core::{TimestampNs, pcap::Format};
use steno_proto::v1;
use steno_query::{Explanation, Flow, Receipt, Truncation, flows::Traffic, plan::Estimate, receipt};

/// Segments that an explanation lists; the rest are counted.
const SEGMENT_PLANS: usize = 1_000;

pub(super) fn receipt(receipt: Receipt) -> v1::Receipt {
    let complete = receipt.is_complete();
    let truncated_by = receipt.truncated_by.map_or(v1::Truncation::Unspecified, truncation);
    v1::Receipt {
        query: receipt.query,
        scope: receipt.scope.map(|within| v1::Scope { rule: within.name, query: within.query }),
        asked_from_ns: receipt.asked_from.map(TimestampNs::as_ns),
        asked_until_ns: receipt.asked_until.map(TimestampNs::as_ns),
        held_oldest_ns: receipt.held.map(|held| held.oldest.as_ns()),
        held_newest_ns: receipt.held.map(|held| held.newest.as_ns()),
        segments: Some(v1::SegmentCounts {
            total: receipt.segments.total,
            outside: receipt.segments.outside,
            considered: receipt.segments.considered,
            skipped: receipt.segments.skipped,
            read: receipt.segments.read,
            unreadable: receipt.segments.unreadable,
            not_reached: receipt.segments.not_reached,
            of_1_0_1: receipt.segments.of_1_0_1,
            fragments_apart: receipt.segments.fragments_apart,
        }),
        unreadable: receipt.unreadable.into_iter().map(unreadable).collect(),
        unsealed: receipt.unsealed.into_iter().map(unsealed).collect(),
        packets: receipt.packets,
        bytes: receipt.bytes,
        kernel_drops: receipt.kernel_drops,
        gaps: receipt.gaps.into_iter().map(gap).collect(),
        complete,
        truncated_by: truncated_by.into(),
        blake3: receipt.blake3.unwrap_or_default(),
        gap_ns: receipt.gap_ns,
        losses: Some(losses(receipt.losses)),
        clock_steps: receipt.clock_steps.into_iter().map(clock_step).collect(),
    }
}

pub(super) fn losses(losses: receipt::Losses) -> v1::Losses {
    v1::Losses {
        ring_freezes: losses.ring_freezes,
        cut_packets: losses.cut_packets,
        not_written_packets: losses.not_written_packets,
        write_stall_ns: losses.write_stall_ns,
        interface_dropped_packets: losses.interface_dropped_packets,
        interface_missed_packets: losses.interface_missed_packets,
        interface_overrun_packets: losses.interface_overrun_packets,
        uncaptured_packets: losses.uncaptured_packets,
    }
}

pub(super) fn clock_step(step: receipt::ClockStep) -> v1::ClockStep {
    v1::ClockStep { from_ns: step.from.as_ns(), to_ns: step.to.as_ns(), thread: step.thread }
}

pub(super) fn unreadable(file: receipt::Unreadable) -> v1::Unreadable {
    v1::Unreadable { file: file.file, reason: file.reason, may_hold_matches: file.may_hold_matches }
}

pub(super) fn unsealed(file: receipt::Unsealed) -> v1::Unsealed {
    v1::Unsealed {
        file: file.file,
        opened_ns: file.opened.as_ns(),
        bytes: file.bytes,
        may_hold_matches: file.may_hold_matches,
    }
}

pub(super) fn gap(gap: receipt::Gap) -> v1::Gap {
    v1::Gap { from_ns: gap.from.as_ns(), until_ns: gap.until.as_ns(), thread: gap.thread, reason: gap.reason }
}

pub(super) fn flow(flow: &Flow) -> v1::Flow {
    let address = |address: Option<std::net::IpAddr>| address.map(|a| a.to_string()).unwrap_or_default();
    let way = |t: &Traffic| Some(v1::Traffic { packets: t.packets, bytes: t.bytes, matches: t.matches });
    v1::Flow {
        first_ns: flow.first.as_ns(),
        last_ns: flow.last.as_ns(),
        layers: flow.layers.clone(),
        protocol: flow.protocol.map(u32::from),
        a_address: address(flow.a),
        a_port: flow.a_port.map(u32::from),
        b_address: address(flow.b),
        b_port: flow.b_port.map(u32::from),
        a_to_b: way(&flow.a_to_b),
        b_to_a: way(&flow.b_to_a),
        partial: flow.partial,
        community_id: flow.community_id.as_ref().map(ToString::to_string).unwrap_or_default(),
    }
}

pub(super) fn explanation(explained: &Explanation, receipt: v1::Receipt) -> v1::ExplainResponse {
    let listed = explained.segments.iter().take(SEGMENT_PLANS);
    let segments: Vec<_> = listed
        .map(|plan| v1::SegmentPlan {
            file: plan.file.clone(),
            conversations: plan.conversations,
            estimate: Some(estimate(&plan.estimate)),
        })
        .collect();
    v1::ExplainResponse {
        query: explained.query.clone(),
        lookup: explained.lookup.clone(),
        segments_omitted: (explained.segments.len() - segments.len()) as u64,
        segments,
        conversations: explained.conversations,
        estimate: Some(estimate(&explained.estimate)),
        receipt: Some(receipt),
        text: explained.to_string(),
    }
}

/// The format that a request names; none, where it names one that is not known.
pub(super) fn format(format: i32) -> Option<Format> {
    match v1::CaptureFormat::try_from(format).ok()? {
        v1::CaptureFormat::Unspecified | v1::CaptureFormat::PcapNs => Some(Format::PcapNs),
        v1::CaptureFormat::Pcap => Some(Format::Pcap),
        v1::CaptureFormat::Pcapng => Some(Format::PcapNg),
    }
}

fn estimate(e: &Estimate) -> v1::Estimate {
    v1::Estimate {
        packets_at_least: e.packets_at_least,
        packets_at_most: e.packets_at_most,
        bytes_at_least: e.bytes_at_least,
        bytes_at_most: e.bytes_at_most,
    }
}

fn truncation(by: Truncation) -> v1::Truncation {
    match by {
        Truncation::LimitPackets => v1::Truncation::LimitPackets,
        Truncation::LimitBytes => v1::Truncation::LimitBytes,
        Truncation::Deadline => v1::Truncation::Deadline,
        Truncation::Cancelled => v1::Truncation::Cancelled,
        Truncation::Memory => v1::Truncation::Memory,
        Truncation::SensorLimitBytes => v1::Truncation::SensorLimitBytes,
        Truncation::Stopping => v1::Truncation::Stopping,
        Truncation::Stalled => v1::Truncation::Stalled,
        // One that is not known here must not be taken for none.
        _ => v1::Truncation::Unfinished,
    }
}

/// What cut an answer short, as texts have it; none where nothing did.
pub(super) fn truncation_name(by: v1::Truncation) -> Option<&'static str> {
    Some(match by {
        v1::Truncation::Unspecified => return None,
        v1::Truncation::LimitPackets => "limit-packets",
        v1::Truncation::LimitBytes => "limit-bytes",
        v1::Truncation::Deadline => "deadline",
        v1::Truncation::Cancelled => "cancelled",
        v1::Truncation::Memory => "memory",
        v1::Truncation::Unfinished => "unfinished",
        v1::Truncation::SensorLimitBytes => "sensor-limit-bytes",
        v1::Truncation::Stopping => "stopping",
        v1::Truncation::Stalled => "stalled",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_a_receipt_arrives() {
        let mut query = Receipt::default();
        query.query = "tcp".into();
        query.scope = Some(receipt::Within { name: "web".into(), query: "net 10.0.0.0/8".into() });
        query.asked_from = Some(TimestampNs(1));
        query.held = Some(receipt::Held { oldest: TimestampNs(3), newest: TimestampNs(4) });
        query.segments = receipt::SegmentCounts {
            total: 1,
            outside: 2,
            considered: 3,
            skipped: 4,
            read: 5,
            unreadable: 6,
            not_reached: 7,
            of_1_0_1: 8,
            fragments_apart: 9,
        };
        query.unreadable =
            vec![receipt::Unreadable { file: "PKT0/1".into(), reason: "why".into(), may_hold_matches: false }];
        query.unsealed = vec![receipt::Unsealed {
            file: "PKT0/.2".into(),
            opened: TimestampNs(5),
            bytes: 6,
            may_hold_matches: true,
        }];
        (query.packets, query.bytes, query.kernel_drops) = (8, 9, 10);
        query.gaps =
            vec![receipt::Gap { from: TimestampNs(11), until: TimestampNs(12), thread: 13, reason: "down".into() }];
        query.gap_ns = 14;
        query.losses = receipt::Losses {
            ring_freezes: 15,
            cut_packets: 16,
            not_written_packets: 17,
            write_stall_ns: 18,
            interface_dropped_packets: 19,
            interface_missed_packets: 20,
            interface_overrun_packets: 21,
            uncaptured_packets: 25,
        };
        query.clock_steps = vec![receipt::ClockStep { from: TimestampNs(22), to: TimestampNs(23), thread: 24 }];
        query.blake3 = Some("ab".into());
        let got = receipt(query.clone());
        let counts = v1::SegmentCounts {
            total: 1,
            outside: 2,
            considered: 3,
            skipped: 4,
            read: 5,
            unreadable: 6,
            not_reached: 7,
            of_1_0_1: 8,
            fragments_apart: 9,
        };
        let expected = v1::Receipt {
            query: "tcp".into(),
            scope: Some(v1::Scope { rule: "web".into(), query: "net 10.0.0.0/8".into() }),
            asked_from_ns: Some(1),
            asked_until_ns: None,
            held_oldest_ns: Some(3),
            held_newest_ns: Some(4),
            segments: Some(counts),
            unreadable: vec![v1::Unreadable { file: "PKT0/1".into(), reason: "why".into(), may_hold_matches: false }],
            unsealed: vec![v1::Unsealed { file: "PKT0/.2".into(), opened_ns: 5, bytes: 6, may_hold_matches: true }],
            packets: 8,
            bytes: 9,
            kernel_drops: 10,
            gaps: vec![v1::Gap { from_ns: 11, until_ns: 12, thread: 13, reason: "down".into() }],
            complete: false,
            truncated_by: 0,
            blake3: "ab".into(),
            gap_ns: 14,
            losses: Some(v1::Losses {
                ring_freezes: 15,
                cut_packets: 16,
                not_written_packets: 17,
                write_stall_ns: 18,
                interface_dropped_packets: 19,
                interface_missed_packets: 20,
                interface_overrun_packets: 21,
                uncaptured_packets: 25,
            }),
            clock_steps: vec![v1::ClockStep { from_ns: 22, to_ns: 23, thread: 24 }],
        };
        assert_eq!(got, expected);
        query.unsealed.clear();
        assert!(receipt(query.clone()).complete);
        query.truncated_by = Some(Truncation::Unfinished);
        let got = receipt(query);
        assert!(!got.complete && got.truncated_by() == v1::Truncation::Unfinished);
    }

    #[test]
    fn a_format_that_is_not_known_is_none() {
        assert_eq!(format(0), Some(Format::PcapNs));
        assert_eq!(format(1), Some(Format::Pcap));
        assert_eq!(format(3), Some(Format::PcapNg));
        assert_eq!(format(4), None);
    }
}
