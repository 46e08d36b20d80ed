//! Evaluation against itself, seen two ways, and against what the words say.

use proptest::{collection::vec, option, prelude::*, sample::select};
use steno_core::{
    TimestampNs,
    packet::{Network, Tag},
};

use super::{Fields, TimeSet};
use crate::{
    parse,
    syntax::{Expr, Primitive, TimeSpan, arbitrary},
};

/// The fields of a packet, with its tags apart as [`Fields`] borrows them.
type Packet = (Network, Option<u8>, Option<(u16, u16)>, Vec<Tag>);

fn packet() -> impl Strategy<Value = Packet> {
    let network = prop_oneof![
        1 => option::of(select(vec![0x0800_u16, 0x0806, 0x86dd, 0x8847, 5])).prop_map(|ether_type| Network::None { ether_type }),
        4 => (arbitrary::v4(), arbitrary::v4()).prop_map(|(src, dst)| Network::V4 { src, dst }),
        4 => (arbitrary::v6(), arbitrary::v6()).prop_map(|(src, dst)| Network::V6 { src, dst }),
    ];
    let tag = prop_oneof![(0_u16..4).prop_map(Tag::Vlan), (0_u32..4).prop_map(Tag::Mpls)];
    (network, option::of(arbitrary::protocol()), option::of((arbitrary::port(), arbitrary::port())), vec(tag, 0..3))
}

fn time_set() -> impl Strategy<Value = TimeSet> {
    vec((option::of(arbitrary::time()), option::of(arbitrary::time())), 0..4).prop_map(|spans| {
        spans.into_iter().fold(TimeSet::NONE, |set, (a, b)| set.union(TimeSet::of(TimeSpan::new(a, b))))
    })
}

/// Moments at which membership may change, and those beside them.
fn probes(sets: &[&TimeSet]) -> Vec<TimestampNs> {
    let ends = sets.iter().flat_map(|set| set.spans()).flat_map(|span| [span.from, span.until]).flatten();
    let beside = |t: TimestampNs| [t.saturating_sub_ns(1), t, t.saturating_add_ns(1)];
    ends.flat_map(beside).chain([TimestampNs::MIN, TimestampNs::MAX]).collect()
}

/// Evaluation by recursion, as the words say.
fn holds(expr: &Expr, fields: &Fields<'_>, time: TimestampNs) -> bool {
    match expr {
        Expr::And(a, b) => holds(a, fields, time) && holds(b, fields, time),
        Expr::Or(a, b) => holds(a, fields, time) || holds(b, fields, time),
        Expr::Not(a) => !holds(a, fields, time),
        Expr::Is(Primitive::Time(span)) => span.contains(time),
        Expr::Is(other) => fields.test(other).unwrap(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn the_times_of_a_query_are_those_at_which_it_matches(
        expr in arbitrary::expr(),
        (network, protocol, ports, tags) in packet(),
        more in vec(arbitrary::time(), 4),
    ) {
        let fields = Fields { network, protocol, ports, tags: &tags };
        let (times, may) = (expr.times(&fields), expr.may_match_times());
        for time in probes(&[&times, &may]).into_iter().chain(more) {
            let matches = holds(&expr, &fields, time);
            prop_assert_eq!(expr.matches(&fields, time), matches, "at {}", time);
            prop_assert_eq!(times.contains(time), matches, "at {}", time);
            prop_assert!(may.contains(time) || !matches, "{} is outside of the bound", time);
            prop_assert!(may.hull().contains(time) || !matches, "{} is outside of the hull", time);
        }
        prop_assert_eq!(expr.has_time() || times.changes().is_empty(), true);
    }

    #[test]
    fn de_morgan(a in arbitrary::expr(), b in arbitrary::expr(), (network, protocol, ports, tags) in packet()) {
        let fields = Fields { network, protocol, ports, tags: &tags };
        let (not_both, either_not) = (a.clone().and(b.clone()).negate(), a.clone().negate().or(b.clone().negate()));
        prop_assert_eq!(not_both.times(&fields), either_not.times(&fields));
        prop_assert_eq!(not_both.may_match_times(), either_not.may_match_times());
        let (neither, both_not) = (a.clone().or(b.clone()).negate(), a.clone().negate().and(b.negate()));
        prop_assert_eq!(neither.times(&fields), both_not.times(&fields));
        prop_assert_eq!(neither.may_match_times(), both_not.may_match_times());
        prop_assert_eq!(a.clone().negate().negate().times(&fields), a.times(&fields));
    }

    #[test]
    fn sets_of_times_are_sets(a in time_set(), b in time_set(), more in vec(arbitrary::time(), 4)) {
        let (union, both, not) = (a.clone().union(b.clone()), a.clone().intersection(b.clone()), a.clone().complement());
        for set in [&a, &union, &both, &not] {
            prop_assert!(set.changes().windows(2).all(|two| two[0] < two[1]), "{:?}", set);
            prop_assert!(!set.changes().contains(&TimestampNs::MIN), "{:?}", set);
            let again = set.spans().fold(TimeSet::NONE, |all, span| all.union(TimeSet::of(span)));
            prop_assert_eq!(&again, set);
        }
        for &time in probes(&[&a, &b]).iter().chain(&more) {
            prop_assert_eq!(union.contains(time), a.contains(time) || b.contains(time));
            prop_assert_eq!(both.contains(time), a.contains(time) && b.contains(time));
            prop_assert_eq!(not.contains(time), !a.contains(time));
            prop_assert_eq!(a.hull().contains(time) || !a.contains(time), true);
        }
    }

    #[test]
    fn overlap_and_cover_are_about_every_moment(set in time_set(), from in 0_u64..12, len in 0_u64..6) {
        let moments = || (from..=from + len).map(TimestampNs::new);
        let (first, last) = (TimestampNs::new(from), TimestampNs::new(from + len));
        prop_assert_eq!(set.overlaps(first, last), moments().any(|t| set.contains(t)));
        prop_assert_eq!(set.covers(first, last), moments().all(|t| set.contains(t)));
        prop_assert!(!set.overlaps(TimestampNs::new(from + len + 1), first));
    }
}

#[test]
fn the_time_bound_knows_what_not_means() {
    let spans = |text: &str| -> Vec<TimeSpan> {
        parse(text, TimestampNs::MIN).unwrap().expr.may_match_times().spans().collect()
    };
    let at = |secs| TimestampNs::from_parts(secs, 0);
    let (t1, t2) = ("1970-01-01T00:00:01Z", "1970-01-01T00:00:02Z");
    assert_eq!(spans(&format!("not before {t1}")), [TimeSpan::new(Some(at(1)), None)]);
    assert_eq!(spans(&format!("not (tcp or before {t1})")), [TimeSpan::new(Some(at(1)), None)]);
    assert_eq!(spans(&format!("not (tcp and before {t1})")), [TimeSpan::ALL]);
    assert_eq!(
        spans(&format!("tcp and not between {t1} and {t2}")),
        [TimeSpan::new(None, Some(at(1))), TimeSpan::new(Some(at(2)), None)]
    );
    assert_eq!(spans(&format!("before {t1} and after {t1}")), []);
    assert_eq!(spans(&format!("tcp and (before {t1} or after {t2} and udp)")).len(), 2);
    assert_eq!(spans(&format!("tcp and (udp and before {t1} or after {t2})")).len(), 2);
    assert_eq!(spans(&format!("tcp or before {t1}")), [TimeSpan::ALL]);
    assert_eq!(spans("not tcp"), [TimeSpan::ALL]);
}

#[test]
fn a_time_is_compared_to_the_nanosecond() {
    let fields = Fields { network: Network::None { ether_type: None }, protocol: None, ports: None, tags: &[] };
    let matches = |text: &str, ns| parse(text, TimestampNs::MIN).unwrap().expr.matches(&fields, TimestampNs::new(ns));
    let t = "1970-01-01T00:00:01.000000005Z";
    let ns = 1_000_000_005;
    assert_eq!([ns - 1, ns, ns + 1].map(|at| matches(&format!("before {t}"), at)), [true, false, false]);
    assert_eq!([ns - 1, ns, ns + 1].map(|at| matches(&format!("after {t}"), at)), [false, true, true]);
    let between = format!("between {t} and 1970-01-01T00:00:01.000000007Z");
    assert_eq!([ns - 1, ns, ns + 1, ns + 2].map(|at| matches(&between, at)), [false, true, true, false]);
}

/// One packet, and whether each text is true of it.
fn check(fields: &Fields<'_>, cases: &[(&str, bool)]) {
    for (text, expected) in cases {
        let expr = parse(text, TimestampNs::MIN).unwrap_or_else(|errors| panic!("{errors}")).expr;
        assert_eq!(expr.matches(fields, TimestampNs::MIN), *expected, "{text}");
    }
}

#[test]
fn primitives_of_a_tcp_packet_in_two_vlans() {
    let network = Network::V4 { src: [10, 0, 0, 1].into(), dst: [10, 0, 0, 2].into() };
    let tags = [Tag::Vlan(5), Tag::Vlan(7)];
    check(
        &Fields { network, protocol: Some(6), ports: Some((1000, 80)), tags: &tags },
        &[
            ("host 10.0.0.1", true),
            ("host 10.0.0.2", true),
            ("host 10.0.0.3", false),
            ("src host 10.0.0.1", true),
            ("src host 10.0.0.2", false),
            ("dst 10.0.0.2", true),
            ("dst 10.0.0.1", false),
            ("src and dst net 10.0.0.0/8", true),
            ("src and dst host 10.0.0.1", false),
            ("net 10.0.0.2/31", true),
            ("src net 10.0.0.2/31", false),
            ("net ::/0", false),
            ("host in {9.9.9.9, 10.0.0.2-10.0.0.9, 11.0.0.0/8}", true),
            ("host in {9.9.9.9, 10.0.0.3-10.0.0.9}", false),
            ("port 80", true),
            ("port 1000", true),
            ("src port 80", false),
            ("dst port http", true),
            ("tcp port 80", true),
            ("udp port 80", false),
            ("sctp port 80", false),
            ("portrange 81-999", false),
            ("dst portrange 1-80", true),
            ("port in {5, 70-79, 81}", false),
            ("tcp", true),
            ("ip proto 6", true),
            ("udp", false),
            ("ip", true),
            ("ip6", false),
            ("arp", false),
            ("vlan", true),
            ("vlan 5", true),
            ("vlan 7", true),
            ("vlan 6", false),
            ("vlan 65535", false),
            ("mpls", false),
            ("not tcp", false),
            ("not mpls 5", true),
            ("udp and tcp or ip", true),
            ("ip or udp and arp", false),
        ],
    );
}

#[test]
fn primitives_of_other_packets() {
    let v6 = Network::V6 { src: "2001:db8::1".parse().unwrap(), dst: "::ffff:10.0.0.1".parse().unwrap() };
    let tags = [Tag::Mpls(16)];
    check(
        &Fields { network: v6, protocol: Some(132), ports: Some((5, 6)), tags: &tags },
        &[
            ("port 5", false),
            ("sctp port 5", true),
            ("sctp dst port 5", false),
            ("sctp", true),
            ("ip6", true),
            ("mpls", true),
            ("mpls 16", true),
            ("mpls 17 or vlan", false),
            // The address written so is an IPv4 address; the packet's is not.
            ("host ::ffff:10.0.0.1", false),
            ("host in {::ffff:10.0.0.1-::ffff:10.0.0.1}", true),
            ("icmp6", false),
        ],
    );
    check(
        &Fields { network: v6, protocol: Some(58), ports: None, tags: &[] },
        &[("icmp6", true), ("icmp", false), ("ip proto 58", true), ("port 0", false), ("not port 0", true)],
    );
    // A first type field of ARP, and an IPv6 header that is cut: no address, but it is what it is.
    for (ether_type, kind) in [(0x0806, "arp"), (0x86dd, "ip6"), (0x0800, "ip")] {
        let network = Network::None { ether_type: Some(ether_type) };
        let fields = Fields { network, protocol: None, ports: None, tags: &[] };
        for text in ["arp", "ip", "ip6"] {
            check(&fields, &[(text, text == kind), ("net 0.0.0.0/0 or net ::/0 or port 0 or ip proto 0", false)]);
        }
    }
    let empty = Fields { network: Network::None { ether_type: None }, protocol: None, ports: None, tags: &[] };
    check(&empty, &[("arp or ip or ip6 or vlan or mpls or tcp", false), ("not arp", true)]);
}
