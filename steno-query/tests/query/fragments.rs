//! Fragments after the first are of the datagram of their first one, in whichever block, segment or thread that is.

use crate::support::{IndexKind, Shape, TestStore, assert_scan, query};
use steno_core::testkit::recipe;
use steno_query::Options;

fn store(segments: &[(u32, u64, &str)]) -> TestStore {
    let mut store = TestStore::new();
    for (thread, second, lines) in segments {
        store.add(*thread, second * 1_000_000, &recipe(lines).unwrap(), &Shape::default());
    }
    store
}

const DNS: &str = "
100.0 ip 10.0.0.1 > 10.0.0.2 frag 7 0+ udp 53 > 5353 data 1400
100.1 ip 10.0.0.1 > 10.0.0.2 frag 7 176+ udp 9 > 9 data 1400
100.2 ip 10.0.0.1 > 10.0.0.2 frag 7 352 udp 9 > 9 data 100
100.3 ip 10.0.0.2 > 10.0.0.1 frag 7 176 udp 9 > 9 data 100
100.4 ip 10.0.0.1 > 10.0.0.2 frag 8 176 udp 9 > 9 data 100
100.5 ip 2001:db8::1 > 2001:db8::2 frag 9 0+ udp 53 > 5353 data 1200
100.6 ip 2001:db8::1 > 2001:db8::2 frag 9 150 udp 9 > 9 data 60
100.7 ip 2001:db8::1 > 2001:db8::2 frag 10 150 udp 9 > 9 data 60
100.8 ip 10.0.0.1 > 10.0.0.2 udp 53 > 5353 data 10
";

#[test]
fn a_port_leads_to_the_whole_datagram() {
    let store = store(&[(0, 100, DNS)]);
    for (text, packets) in [
        ("port 53", 6),
        ("src port 53", 6),
        ("dst port 53", 0),
        ("port 53 and host 10.0.0.1", 4),
        ("udp port 5353", 6),
        ("tcp port 53", 0),
        ("not port 53", 3),
        ("port 9", 0),
        ("udp", 8),
        ("udp and ip6", 2),
        ("ip proto 44", 1),
        ("not udp", 1),
        ("host 10.0.0.1", 6),
        ("port 53 and before 1970-01-01T00:01:40.2Z", 2),
        ("port 53 and after 1970-01-01T00:01:40.2Z and before 1970-01-01T00:01:40.6Z", 2),
    ] {
        assert_eq!(assert_scan(&store, text), packets, "{text}");
        let explained = store.open().explain(&query(text), &Options::default());
        assert!(explained.estimate.packets_at_most >= packets as u64, "{text}");
    }
}

#[test]
fn the_first_fragment_may_be_in_another_segment_of_another_thread_outside_of_the_time_asked() {
    let (first, later) = (
        "100.0 ip 10.0.0.1 > 10.0.0.2 frag 7 0+ tcp 80 > 4000 data 1400",
        "101.0 ip 10.0.0.1 > 10.0.0.2 frag 7 176 tcp 9 > 9 data 100",
    );
    for store in [
        store(&[(0, 100, first), (0, 101, later)]),
        store(&[(1, 100, first), (0, 101, later)]),
        // Out of order, and in a file that was opened later.
        store(&[(0, 101, later), (1, 300, first)]),
    ] {
        assert_eq!(assert_scan(&store, "port 80"), 2);
        assert_eq!(assert_scan(&store, "port 80 and after 1970-01-01T00:01:41Z"), 1);
        assert_eq!(assert_scan(&store, "port 80 and before 1970-01-01T00:01:41Z"), 1);
        assert_eq!(assert_scan(&store, "not port 80"), 0);
    }
}

/// A minute, and not a nanosecond more, before the time asked and after it.
#[test]
fn first_fragments_are_looked_for_in_segments_a_minute_away_and_no_further() {
    let packet = |time: &str, is_first: bool| match is_first {
        true => format!("{time} ip 10.0.0.1 > 10.0.0.2 frag 7 0+ tcp 80 > 4000 data 1400"),
        false => format!("{time} ip 10.0.0.1 > 10.0.0.2 frag 7 176 tcp 9 > 9 data 100"),
    };
    for (first, later, bound, packets) in [
        ("100.000000000", "160.000000000", "after 1970-01-01T00:02:40Z", 1),
        ("99.999999999", "160.000000000", "after 1970-01-01T00:02:40Z", 0),
        ("160.000000000", "100.000000000", "before 1970-01-01T00:01:40.000000001Z", 1),
        ("160.000000001", "100.000000000", "before 1970-01-01T00:01:40.000000001Z", 0),
    ] {
        let store = store(&[(0, 1, &packet(first, true)), (1, 2, &packet(later, false))]);
        assert_eq!(assert_scan(&store, &format!("port 80 and {bound}")), packets, "{first}, {later}");
    }
}

#[test]
fn of_two_datagrams_with_one_identification_the_nearer_counts_and_none_beyond_a_minute() {
    let lines = "
100.0 ip 10.0.0.1 > 10.0.0.2 frag 7 0+ udp 53 > 1 data 1400
100.1 ip 10.0.0.1 > 10.0.0.2 frag 7 176 udp 9 > 9 data 100
110.0 ip 10.0.0.1 > 10.0.0.2 frag 7 0+ udp 80 > 1 data 1400
110.1 ip 10.0.0.1 > 10.0.0.2 frag 7 176 udp 9 > 9 data 100
105.0 ip 10.0.0.1 > 10.0.0.2 frag 7 176 udp 9 > 9 data 100
170.0 ip 10.0.0.1 > 10.0.0.2 frag 7 176 udp 9 > 9 data 100
170.000000001 ip 10.0.0.1 > 10.0.0.2 frag 7 176 udp 9 > 9 data 100
";
    let store = store(&[(0, 100, lines)]);
    assert_eq!(assert_scan(&store, "port 53"), 3, "of two that are as near, the earlier");
    assert_eq!(assert_scan(&store, "port 80"), 3, "a minute is near enough, and a nanosecond more is not");
    assert_eq!(assert_scan(&store, "udp and not (port 53 or port 80)"), 1);
}

#[test]
fn flows_count_the_fragments_of_their_datagrams() {
    let store = store(&[(0, 100, DNS)]);
    for text in ["port 53 and ip", "host 10.0.0.1"] {
        let flows = store.open().flows(&query(text), &Options::default());
        let dns = flows.iter().find(|flow| flow.a_port == Some(53)).unwrap();
        assert_eq!((dns.a_to_b.packets, dns.b_to_a.packets, &dns.layers[..]), (4, 0, "ip udp"), "{text}");
    }
    let flows = store.open().flows(&query("ip6"), &Options::default());
    let packets: Vec<_> = flows.iter().map(|flow| (flow.layers.clone(), flow.a_to_b.packets)).collect();
    assert_eq!(packets, [("ip6 udp".to_owned(), 2), ("ip6 proto 44 fragments".to_owned(), 1)]);
}

#[test]
fn receipts_count_the_segments_that_do_not_tell_fragments_where_it_matters() {
    let mut store = store(&[(0, 100, DNS)]);
    let leveldb = Shape { index: IndexKind::Leveldb, ..Shape::default() };
    store.add(1, 100_000_000, &recipe(DNS).unwrap(), &leveldb);
    for (text, apart) in [("port 53", 1), ("udp", 1), ("host 10.0.0.1", 0), ("vlan 7", 0)] {
        let opened = store.open();
        let mut answer = opened.answer(&query(text), Options::default());
        while answer.next_packet().is_some() {}
        assert_eq!(answer.receipt().segments.fragments_apart, apart, "{text}");
    }
    assert_eq!(assert_scan(&store, "port 53"), 6 + 3, "there, each has the ports of its own");
}

/// More fragments than are looked for at a time, and more first ones of one identification.
#[test]
fn very_many_fragments_of_one_identification_find_their_way() {
    let mut lines = String::new();
    let mut blocks = Vec::new();
    for i in 0..70_000u32 {
        let (host, ns) = (i % 250, i * 1000);
        lines.clear();
        for (offset, ns) in [("0+", ns), ("176", ns + 1)] {
            let line =
                format!("100.{ns:09} ip 10.0.1.{host} > 10.0.0.2 frag 0 {offset} udp {} > 53 data 8\n", 1000 + host);
            lines.push_str(&line);
        }
        blocks.extend(recipe(&lines).unwrap());
    }
    let mut store = TestStore::new();
    store.add(0, 100_000_000, &blocks, &Shape::default());
    let opened = store.open();
    let mut answer = opened.answer(&query("port 1007"), Options::default());
    let mut packets = 0;
    while answer.next_packet().is_some() {
        packets += 1;
    }
    assert_eq!(packets, 2 * 280);
    let flows = opened.flows(&query("udp"), &Options::default());
    assert_eq!((flows.len(), flows.receipt().packets), (250, 140_000));
}
