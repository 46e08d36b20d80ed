//! Messages of `steno.v1` as the types of steno-query: the one place where that is done.

use std::{net::IpAddr, str::FromStr};

use steno_core::TimestampNs;
use steno_proto::v1;
use steno_query::{
    Flow, Receipt, Truncation,
    flows::Traffic,
    plan::{Estimate, SegmentPlan},
    receipt::{ClockStep, Gap, Held, Losses, SegmentCounts, Unreadable, Unsealed, Within},
};

use super::SensorError;

/// A receipt. What a newer sensor may say that is not known here never makes an answer complete.
pub(crate) fn receipt(message: v1::Receipt) -> Receipt {
    let truncated_by = truncation(&message);
    let mut receipt = Receipt::default();
    receipt.query = message.query;
    receipt.scope = message.scope.map(|scope| Within { name: scope.rule, query: scope.query });
    receipt.asked_from = message.asked_from_ns.map(TimestampNs::new);
    receipt.asked_until = message.asked_until_ns.map(TimestampNs::new);
    receipt.held = message
        .held_oldest_ns
        .zip(message.held_newest_ns)
        .map(|(oldest, newest)| Held { oldest: TimestampNs::new(oldest), newest: TimestampNs::new(newest) });
    let counts = message.segments.unwrap_or_default();
    receipt.segments = SegmentCounts {
        total: counts.total,
        outside: counts.outside,
        considered: counts.considered,
        skipped: counts.skipped,
        read: counts.read,
        unreadable: counts.unreadable,
        not_reached: counts.not_reached,
        of_1_0_1: counts.of_1_0_1,
        fragments_apart: counts.fragments_apart,
    };
    receipt.unreadable = message.unreadable.into_iter().map(unreadable).collect();
    receipt.unsealed = message.unsealed.into_iter().map(unsealed).collect();
    receipt.packets = message.packets;
    receipt.bytes = message.bytes;
    receipt.kernel_drops = message.kernel_drops;
    receipt.gaps = message.gaps.into_iter().map(gap).collect();
    receipt.gap_ns = message.gap_ns;
    receipt.losses = message.losses.map(losses).unwrap_or_default();
    receipt.clock_steps = message.clock_steps.into_iter().map(clock_step).collect();
    receipt.truncated_by = truncated_by;
    receipt.blake3 = Some(message.blake3).filter(|digest| !digest.is_empty());
    if !message.complete && receipt.is_complete() {
        receipt.truncated_by = Some(Truncation::Unfinished);
    }
    receipt
}

fn truncation(message: &v1::Receipt) -> Option<Truncation> {
    Some(match v1::Truncation::try_from(message.truncated_by) {
        Ok(v1::Truncation::Unspecified) => return None,
        Ok(v1::Truncation::LimitPackets) => Truncation::LimitPackets,
        Ok(v1::Truncation::LimitBytes) => Truncation::LimitBytes,
        Ok(v1::Truncation::Deadline) => Truncation::Deadline,
        Ok(v1::Truncation::Cancelled) => Truncation::Cancelled,
        Ok(v1::Truncation::Memory) => Truncation::Memory,
        Ok(v1::Truncation::SensorLimitBytes) => Truncation::SensorLimitBytes,
        Ok(v1::Truncation::Stopping) => Truncation::Stopping,
        Ok(v1::Truncation::Stalled) => Truncation::Stalled,
        Ok(v1::Truncation::Unfinished) | Err(_) => Truncation::Unfinished,
    })
}

pub(crate) fn unreadable(message: v1::Unreadable) -> Unreadable {
    Unreadable { file: message.file, reason: message.reason, may_hold_matches: message.may_hold_matches }
}

pub(crate) fn unsealed(message: v1::Unsealed) -> Unsealed {
    Unsealed {
        file: message.file,
        opened: TimestampNs::new(message.opened_ns),
        bytes: message.bytes,
        may_hold_matches: message.may_hold_matches,
    }
}

pub(crate) fn gap(message: v1::Gap) -> Gap {
    Gap {
        from: TimestampNs::new(message.from_ns),
        until: TimestampNs::new(message.until_ns),
        thread: message.thread,
        reason: message.reason,
    }
}

pub(crate) fn losses(message: v1::Losses) -> Losses {
    Losses {
        ring_freezes: message.ring_freezes,
        cut_packets: message.cut_packets,
        not_written_packets: message.not_written_packets,
        write_stall_ns: message.write_stall_ns,
        interface_dropped_packets: message.interface_dropped_packets,
        interface_missed_packets: message.interface_missed_packets,
        interface_overrun_packets: message.interface_overrun_packets,
        uncaptured_packets: message.uncaptured_packets,
    }
}

pub(crate) fn clock_step(message: v1::ClockStep) -> ClockStep {
    ClockStep { from: TimestampNs::new(message.from_ns), to: TimestampNs::new(message.to_ns), thread: message.thread }
}

/// A flow.
pub(super) fn flow(message: v1::Flow) -> Result<Flow, SensorError> {
    let port = |port: Option<u32>| port.map(|port| narrow::<u16>(port, "port")).transpose();
    let way = |way: Option<v1::Traffic>| {
        let way = way.unwrap_or_default();
        Traffic { packets: way.packets, bytes: way.bytes, matches: way.matches }
    };
    Ok(Flow {
        first: TimestampNs::new(message.first_ns),
        last: TimestampNs::new(message.last_ns),
        layers: layers(message.layers)?,
        protocol: message.protocol.map(|protocol| narrow(protocol, "IP protocol")).transpose()?,
        a: text::<IpAddr>(&message.a_address, "address")?,
        a_port: port(message.a_port)?,
        b: text::<IpAddr>(&message.b_address, "address")?,
        b_port: port(message.b_port)?,
        a_to_b: way(message.a_to_b),
        b_to_a: way(message.b_to_a),
        partial: message.partial,
        community_id: text(&message.community_id, "Community ID")?,
    })
}

/// A segment of an explanation.
pub(crate) fn segment_plan(message: v1::SegmentPlan) -> SegmentPlan {
    SegmentPlan {
        file: message.file,
        conversations: message.conversations,
        estimate: estimate(message.estimate.unwrap_or_default()),
    }
}

/// Bounds of what matches.
pub(crate) fn estimate(message: v1::Estimate) -> Estimate {
    Estimate {
        packets_at_least: message.packets_at_least,
        packets_at_most: message.packets_at_most,
        bytes_at_least: message.bytes_at_least,
        bytes_at_most: message.bytes_at_most,
    }
}

/// Words with spaces between them: values that stand beside them in a line stay apart.
fn layers(text: String) -> Result<String, SensorError> {
    let is_of_words = |byte: u8| byte == b' ' || (byte.is_ascii_graphic() && !matches!(byte, b',' | b'"'));
    if text.bytes().all(is_of_words) { Ok(text) } else { Err(SensorError::Nonsense(format!("{text:?} as layers"))) }
}

fn narrow<T: TryFrom<u32>>(number: u32, what: &str) -> Result<T, SensorError> {
    T::try_from(number).map_err(|_| SensorError::Nonsense(format!("{number} as {what}")))
}

/// A text that is empty where there is nothing.
fn text<T: FromStr>(text: &str, what: &str) -> Result<Option<T>, SensorError> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| SensorError::Nonsense(format!("{text:?} as {what}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_a_receipt_arrives() {
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
        let message = v1::Receipt {
            query: "tcp".into(),
            scope: Some(v1::Scope { rule: "web".into(), query: "vlan 5".into() }),
            asked_from_ns: Some(1),
            asked_until_ns: Some(2),
            held_oldest_ns: Some(3),
            held_newest_ns: Some(4),
            segments: Some(counts),
            unreadable: vec![v1::Unreadable { file: "PKT0/1".into(), reason: "why".into(), may_hold_matches: true }],
            unsealed: vec![v1::Unsealed { file: "PKT0/.2".into(), opened_ns: 5, bytes: 6, may_hold_matches: false }],
            packets: 8,
            bytes: 9,
            kernel_drops: 10,
            gaps: vec![v1::Gap { from_ns: 11, until_ns: 12, thread: 13, reason: "down".into() }],
            complete: false,
            truncated_by: v1::Truncation::Stalled.into(),
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
        let got = receipt(message);
        let json = serde_json::to_value(&got).unwrap();
        let time = |ns: u64| format!("1970-01-01T00:00:00.{ns:09}Z");
        let expected = serde_json::json!({
            "query": "tcp", "scope": {"name": "web", "query": "vlan 5"}, "asked_from": time(1), "asked_until": time(2),
            "held": {"oldest": time(3), "newest": time(4)},
            "segments": {"total": 1, "outside": 2, "considered": 3, "skipped": 4, "read": 5, "unreadable": 6, "not_reached": 7,
                "of_1_0_1": 8, "fragments_apart": 9},
            "unreadable": [{"file": "PKT0/1", "reason": "why", "may_hold_matches": true}],
            "unsealed": [{"file": "PKT0/.2", "opened": time(5), "bytes": 6, "may_hold_matches": false}],
            "packets": 8, "bytes": 9, "kernel_drops": 10,
            "gaps": [{"from": time(11), "until": time(12), "thread": 13, "reason": "down"}],
            "gap_ns": 14,
            "losses": {"ring_freezes": 15, "cut_packets": 16, "not_written_packets": 17, "write_stall_ns": 18,
                "interface_dropped_packets": 19, "interface_missed_packets": 20, "interface_overrun_packets": 21,
                "uncaptured_packets": 25},
            "clock_steps": [{"from": time(22), "to": time(23), "thread": 24}],
            "complete": false, "truncated_by": "stalled", "blake3": "ab",
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn what_is_not_known_is_not_complete() {
        let whole = v1::Receipt { complete: true, ..v1::Receipt::default() };
        assert!(receipt(whole.clone()).is_complete());
        assert!(!receipt(v1::Receipt { truncated_by: 99, ..whole.clone() }).is_complete());
        assert!(!receipt(v1::Receipt { complete: false, ..whole }).is_complete());
        assert!(!receipt(v1::Receipt::default()).is_complete());
    }

    #[test]
    fn a_flow_arrives_and_what_cannot_be_is_refused() {
        let id = "1:LQU9qZlK+B5F3KDmev6m5PMibrg=";
        let message = v1::Flow {
            first_ns: 1,
            last_ns: 2,
            layers: "ip udp".into(),
            protocol: Some(17),
            a_address: "10.0.0.1".into(),
            a_port: Some(53),
            b_address: "2001:db8::1".into(),
            b_port: None,
            a_to_b: Some(v1::Traffic { packets: 3, bytes: 4, matches: true }),
            b_to_a: None,
            partial: true,
            community_id: id.into(),
        };
        let got = flow(message.clone()).unwrap();
        assert_eq!((got.first, got.last, got.layers.as_str()), (TimestampNs::new(1), TimestampNs::new(2), "ip udp"));
        assert_eq!((got.protocol, got.a_port, got.b_port), (Some(17), Some(53), None));
        assert_eq!((got.a, got.b), ("10.0.0.1".parse().ok(), "2001:db8::1".parse().ok()));
        assert_eq!((got.a_to_b, got.b_to_a), (Traffic { packets: 3, bytes: 4, matches: true }, Traffic::default()));
        assert_eq!((got.partial, got.community_id.unwrap().to_string().as_str()), (true, id));
        for bad in [
            v1::Flow { a_address: "10.0.0".into(), ..message.clone() },
            v1::Flow { b_port: Some(65_536), ..message.clone() },
            v1::Flow { protocol: Some(256), ..message.clone() },
            v1::Flow { layers: "ip udp,1".into(), ..message.clone() },
            v1::Flow { layers: "ip\nudp".into(), ..message.clone() },
            v1::Flow { community_id: "2:".into(), ..message },
        ] {
            assert!(matches!(flow(bad), Err(SensorError::Nonsense(_))));
        }
    }
}
