//! Flows against a model that groups the packets of a scan, and what callers see of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use crate::{
    generate::{EPOCH_NS, expr, segment},
    support::{IndexKind, Shape, Stored, TestStore, query},
};
use proptest::{collection::vec, prelude::*};
use steno_core::{TimestampNs, packet::Network, testkit::recipe};
use steno_query::{Expr, Fields, Options, Query, Truncation, rfc3339};

/// What tells a conversation from others, both ways alike.
fn conversation(store: &TestStore, stored: &Stored) -> String {
    let mut tags = Vec::new();
    let d = store.decoded(stored, &mut tags);
    let (ends, network) = match d.network {
        Network::None { ether_type } => (["-".to_owned(), "-".to_owned()], format!("{ether_type:?}")),
        Network::V4 { src, dst } => ([src.to_string(), dst.to_string()], "4".to_owned()),
        Network::V6 { src, dst } => ([src.to_string(), dst.to_string()], "6".to_owned()),
    };
    let ports = d.ports.map_or([None, None], |(a, b)| [Some(a), Some(b)]);
    let ends: BTreeSet<_> = ends.into_iter().zip(ports).collect();
    let later = d.fragment == steno_core::packet::Fragment::Later;
    format!("{tags:?} {network} {:?} {ends:?} {later}", d.protocol)
}

fn matches(expr: &Expr, store: &TestStore, stored: &Stored) -> bool {
    let mut tags = Vec::new();
    let decoded = store.decoded(stored, &mut tags);
    expr.matches(&Fields::of(&decoded, &tags), stored.packet.time)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn flows_are_the_conversations_of_the_packets_that_match(
        segments in vec((0u32..3, segment(60)), 1..5),
        expr in expr(),
    ) {
        let mut store = TestStore::new();
        for (name, (thread, (packets, shape))) in (0..).zip(segments) {
            store.add(thread, EPOCH_NS / 1_000 + name, &packets, &shape);
        }
        let query = Query { expr };
        let mut model: BTreeMap<String, (u64, u64, TimestampNs, TimestampNs, bool)> = BTreeMap::new();
        for stored in store.packets() {
            let got = stored.got();
            let flow = model.entry(conversation(&store, stored)).or_insert((0, 0, got.time, got.time, false));
            flow.0 += 1;
            flow.1 += u64::from(got.wire_len);
            flow.2 = flow.2.min(got.time);
            flow.3 = flow.3.max(got.time);
            flow.4 |= matches(&query.expr, &store, stored);
        }
        let flows = store.open().flows(&query, &Options::default());
        prop_assert!(flows.receipt().is_complete());
        let wanted = model.values().filter(|flow| flow.4).count();
        let got: Vec<_> = flows.iter().collect();
        prop_assert!(got.is_sorted_by_key(|flow| flow.first));
        if query.expr.has_time() {
            // Counts are those of whole segments: no flow is missing, and more may be there.
            prop_assert!(got.len() >= wanted, "{} of {}", got.len(), wanted);
            return Ok(());
        }
        let mut seen: Vec<_> = got
            .iter()
            .map(|f| (f.a_to_b.packets + f.b_to_a.packets, f.a_to_b.bytes + f.b_to_a.bytes, f.first, f.last))
            .collect();
        let mut expected: Vec<_> = model.values().filter(|flow| flow.4).map(|f| (f.0, f.1, f.2, f.3)).collect();
        seen.sort_unstable();
        expected.sort_unstable();
        prop_assert_eq!(seen, expected);
        prop_assert!(got.iter().all(|flow| !flow.partial && (flow.a_to_b.matches || flow.b_to_a.matches)));
    }
}

const TALK: &str = "
100.0 ip 10.0.0.9 > 10.0.0.1 tcp 40000 > 80 data 10
100.5 ip 10.0.0.1 > 10.0.0.9 tcp 80 > 40000 data 20
101.0 ip 10.0.0.1 > 10.0.0.2 proto 1 data 8
102.0 vlan 5 ip 10.0.0.1 > 10.0.0.2 udp 5353 > 53
";

fn talk() -> TestStore {
    let mut store = TestStore::new();
    let packets = recipe(TALK).unwrap();
    store.add(0, 100_000_000, &packets, &Shape::default());
    // Later, on another thread, the other end happens to be the first one seen.
    let later = recipe("200.0 ip 10.0.0.1 > 10.0.0.9 tcp 80 > 40000 data 30").unwrap();
    store.add(1, 200_000_000, &later, &Shape::default());
    store
}

#[test]
fn a_flow_is_merged_over_segments_and_threads() {
    let flows = talk().open().flows(&query("host 10.0.0.9"), &Options::default());
    let flow = flows.iter().next().unwrap();
    assert_eq!(flows.len(), 1);
    assert_eq!(
        (rfc3339(flow.first), rfc3339(flow.last)),
        ("1970-01-01T00:01:40.000000000Z".to_owned(), "1970-01-01T00:03:20.000000000Z".to_owned())
    );
    assert_eq!((flow.a.unwrap().to_string(), flow.a_port, flow.b_port), ("10.0.0.9".to_owned(), Some(40000), Some(80)));
    assert_eq!((flow.a_to_b.packets, flow.a_to_b.bytes), (1, 64));
    assert_eq!((flow.b_to_a.packets, flow.b_to_a.bytes), (2, 74 + 84));
    assert_eq!(flow.layers, "ip tcp");
    assert_eq!(flow.community_id.unwrap().to_string().len(), 30);
    let receipt = flows.receipt();
    assert_eq!((receipt.packets, receipt.bytes, receipt.segments.read), (3, 64 + 74 + 84, 2));
}

#[test]
fn the_end_that_sent_the_first_packet_is_end_a_whatever_order_segments_are_read_in() {
    let mut store = TestStore::new();
    let shape = Shape::default();
    store.add(0, 200_000_000, &recipe("200.0 ip 10.0.0.1 > 10.0.0.9 tcp 80 > 40000").unwrap(), &shape);
    store.add(1, 100_000_000, &recipe("100.0 ip 10.0.0.9 > 10.0.0.1 tcp 40000 > 80").unwrap(), &shape);
    store.add(2, 300_000_000, &recipe("300.0 ip 10.0.0.1 > 10.0.0.9 tcp 80 > 40000").unwrap(), &shape);
    let flows = store.open().flows(&query("tcp"), &Options::default());
    let flow = flows.iter().next().unwrap();
    assert_eq!((flow.a_port, flow.a_to_b.packets, flow.b_to_a.packets), (Some(40000), 1, 2));
    assert_eq!((flow.first.secs(), flow.last.secs()), (100, 300));
}

#[test]
fn the_side_that_matches_is_told_from_the_other() {
    let flows = talk().open().flows(&query("src host 10.0.0.9"), &Options::default());
    let flow = flows.iter().next().unwrap();
    assert_eq!((flow.a_to_b.matches, flow.b_to_a.matches), (true, false));
    assert_eq!(flow.b_to_a.packets, 2, "also where only the other side was seen");
    assert!(talk().open().flows(&query("src host 10.0.0.2"), &Options::default()).is_empty());
}

#[test]
fn a_time_within_a_conversation_marks_it() {
    let ask = |text: &str| {
        let flows = talk().open().flows(&query(text), &Options::default());
        flows.iter().map(|f| (f.a_to_b.packets + f.b_to_a.packets, f.partial)).collect::<Vec<_>>()
    };
    assert_eq!(ask("tcp and before 1970-01-01T00:01:40.25Z"), [(2, true)]);
    assert_eq!(ask("tcp and before 1970-01-01T00:01:41Z"), [(2, false)]);
    assert_eq!(ask("tcp and after 1970-01-01T00:03:20Z"), [(1, false)]);
    assert_eq!(ask("udp and before 1970-01-01T00:01:41Z"), []);
}

#[test]
fn flows_without_a_name_elsewhere_have_none_here() {
    let flows = talk().open().flows(&query("host 10.0.0.1"), &Options::default());
    let names: Vec<_> = flows.iter().map(|f| (f.layers.clone(), f.community_id.is_some())).collect();
    let expected = [("ip tcp", true), ("ip icmp", false), ("vlan 5 ip udp", true)];
    assert_eq!(names, expected.map(|(layers, named)| (layers.to_owned(), named)));
    let json = serde_json::to_value(flows.iter().next().unwrap()).unwrap();
    assert_eq!(json["a"], "10.0.0.9");
    assert_eq!(json["a_to_b"]["packets"], 1);
    assert!(json["community_id"].as_str().unwrap().starts_with("1:"));
}

#[test]
fn memory_bounds_the_number_of_flows() {
    let flows = talk().open().flows(&query("ip"), &Options { memory_bytes: 1, ..Options::default() });
    assert_eq!(flows.len(), 1);
    assert_eq!(flows.receipt().truncated_by, Some(Truncation::Memory));
    assert!(!flows.receipt().is_complete());
}

/// Segments that are looked up together, of which some have much, some nothing, and some are not what they should be, are each
/// counted once and as if they were looked up one after the other.
#[test]
fn segments_that_are_looked_up_together_are_each_counted_once() {
    const SEGMENTS: u64 = 60;
    let (damaged, foreign, version2) = (17, 31, 23);
    let mut store = TestStore::new();
    for n in 0..SEGMENTS {
        let hosts = match n % 10 {
            9 => 200,
            4 => 0,
            some => some,
        };
        let line = |host: u64| format!("{n}.{host:03} ip 10.0.{}.{host} > 10.9.0.1 tcp 1000 > 80 data 9\n", n % 7);
        let other = format!("{n}.9 ip 10.0.0.1 > 10.9.0.1 udp 1 > 2\n");
        let packets = recipe(&((1..=hosts).map(line).collect::<String>() + &other)).unwrap();
        let index = if n == version2 { IndexKind::Leveldb } else { IndexKind::Native };
        store.add(0, n * 1_000_000, &packets, &Shape { index, ..Shape::default() });
    }
    fs::write(store.index_file(0, damaged * 1_000_000), "no index").unwrap();
    fs::write(store.packet_file(0, foreign * 1_000_000), [0; 4096]).unwrap();
    for text in ["tcp", "tcp and host 10.0.3.2", "net 10.0.1.0/24", "port 443"] {
        let query = query(text);
        let matching =
            || store.packets().iter().filter(|p| p.segment != damaged * 1_000_000 && matches(&query.expr, &store, p));
        let model: BTreeSet<_> = matching().map(|stored| conversation(&store, stored)).collect();
        let segments: BTreeSet<_> = matching().map(|stored| stored.segment).collect();
        let with_packets = matching().filter(|stored| stored.segment != version2 * 1_000_000).count();
        let led_to = matching().filter(|stored| stored.segment == version2 * 1_000_000).count();
        // With little memory those with much are not looked up before their turn.
        for memory_bytes in [4 << 20, Options::MEMORY_BYTES] {
            let options = Options { memory_bytes, ..Options::default() };
            let flows = store.open().flows(&query, &options);
            let receipt = flows.receipt();
            assert_eq!(flows.len(), model.len(), "{text}: {receipt}");
            assert_eq!(receipt.packets, matching().count() as u64, "{text}: {receipt}");
            let unreadable: Vec<_> = receipt.unreadable.iter().map(|one| one.file.as_str()).collect();
            let is_foreign_read = segments.contains(&(foreign * 1_000_000));
            let expected = if is_foreign_read { &["IDX0/17000000", "PKT0/31000000"][..] } else { &["IDX0/17000000"] };
            assert_eq!(unreadable, expected, "{text}");
            let read = (segments.len() - usize::from(is_foreign_read)) as u64;
            assert_eq!((receipt.segments.read, receipt.segments.not_reached), (read, 0), "{text}: {receipt}");

            let explained = store.open().explain(&query, &options);
            let estimate = explained.estimate;
            assert_eq!(explained.segments.len(), segments.len(), "{text}: {explained}");
            assert_eq!(explained.conversations, with_packets as u64, "{text}: {explained}");
            assert_eq!(estimate.packets_at_least, with_packets as u64, "{text}: {explained}");
            assert!(estimate.packets_at_most >= (with_packets + led_to) as u64, "{text}: {explained}");
            assert_eq!(explained.receipt.unreadable.len(), 1, "{text}: {explained}");
        }
    }
}
