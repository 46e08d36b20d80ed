//! Scopes: whatever is asked, in whatever way, nothing of a packet that is out of reach comes out.

use std::{net::IpAddr, sync::Arc};

use proptest::{collection::vec, prelude::*, sample::select};
use steno_core::{
    TimestampNs,
    packet::{Decoded, Fragment, Network, Tag, decode},
    pcap::Format,
    testkit::{RecipePacket, recipe},
};
use steno_query::{AddrRange, Explanation, Flow, Options, Query, Receipt, Scope, ScopeParts, Store, flows::Traffic};

use crate::{
    generate::{EPOCH_NS, expr, scope, segment},
    support::{Got, IndexKind, Shape, Stored, TestStore, capture_file, query, take, take_bytes},
};

type Segments = Vec<(u32, (Vec<RecipePacket>, Shape))>;

/// Segments of some threads, with indexes of every kind. In every other store the clocks of native ones jump.
fn segments() -> impl Strategy<Value = Segments> {
    let kind = select(vec![IndexKind::Native, IndexKind::Native, IndexKind::Leveldb, IndexKind::Old]);
    let segment = (0u32..3, segment(40), kind)
        .prop_map(|(thread, (packets, shape), index)| (thread, (packets, Shape { index, ..shape })));
    (vec(segment, 1..5), any::<bool>()).prop_map(|(mut segments, sorted)| {
        let jumps = |shape: &Shape| !sorted && shape.index == IndexKind::Native;
        let in_order = segments.iter_mut().filter(|(_, (_, shape))| !jumps(shape));
        in_order.for_each(|(_, (packets, _))| packets.sort_by_key(|packet| packet.time));
        segments
    })
}

fn store(segments: &Segments) -> TestStore {
    let mut store = TestStore::new();
    let _dirs = store.paths(0, 0);
    for (name, (thread, (packets, shape))) in (0..).zip(segments) {
        store.add(*thread, EPOCH_NS / 1_000 + name, packets, shape);
    }
    store
}

/// Whether a packet is in reach, decided without the query language.
fn reaches(parts: &ScopeParts, decoded: &Decoded, tags: &[Tag], time: TimestampNs) -> bool {
    let ends: Option<[IpAddr; 2]> = match decoded.network {
        Network::None { .. } => None,
        Network::V4 { src, dst } => Some([src.into(), dst.into()]),
        Network::V6 { src, dst } => Some([src.into(), dst.into()]),
    };
    let of_network = parts.networks.as_ref().is_none_or(|ranges| {
        ends.is_some_and(|ends| ends.iter().any(|end| ranges.iter().any(|r| r.low() <= *end && *end <= r.high())))
    });
    let of_vlan = parts.vlans.as_ref().is_none_or(|ids| ids.iter().any(|id| tags.contains(&Tag::Vlan(*id))));
    of_network && of_vlan && parts.from.is_none_or(|from| from <= time)
}

fn is_in_reach(store: &TestStore, parts: &ScopeParts, stored: &Stored) -> bool {
    let mut tags = Vec::new();
    let decoded = store.decoded(stored, &mut tags);
    reaches(parts, &decoded, &tags, stored.packet.time)
}

fn options(parts: &ScopeParts) -> Options {
    Options { scope: Scope::new("some", parts.clone()).map(Arc::new), ..Options::default() }
}

/// A flow, whichever end is called a.
fn told(flow: &Flow) -> impl Ord + std::fmt::Debug + use<> {
    let way = |t: &Traffic| (t.packets, t.bytes, t.matches);
    let mut ends = [(flow.a, flow.a_port, way(&flow.a_to_b)), (flow.b, flow.b_port, way(&flow.b_to_a))];
    ends.sort_unstable();
    (flow.first, flow.last, flow.layers.clone(), flow.protocol, ends, flow.partial)
}

fn flows(store: &Store, query: &Query, options: &Options) -> Vec<impl Ord + std::fmt::Debug + use<>> {
    let mut all: Vec<_> = store.flows(query, options).iter().map(|flow| told(&flow)).collect();
    all.sort_unstable();
    all
}

/// All that an explanation says of packets.
fn explained(Explanation { segments, conversations, estimate, .. }: Explanation) -> impl PartialEq + std::fmt::Debug {
    (segments, conversations, estimate)
}

#[test]
fn a_pcapng_file_counts_nothing_out_of_reach() {
    let tens = "1700000000 ip 10.0.0.1 > 10.0.0.2 udp 1 > 2\n1700000009 ip 10.0.0.3 > 10.0.0.2 udp 1 > 2";
    let all = tens.replace('\n', "\n1700000005 ip 192.168.0.1 > 192.168.0.2 udp 1 > 2\n");
    let file = |text: &str, scope: Option<Arc<Scope>>| {
        let mut store = TestStore::new();
        store.add(0, EPOCH_NS / 1_000, &recipe(text).unwrap(), &Shape::default());
        let options = Options { format: Format::PcapNg, scope, ..Options::default() };
        take_bytes(&mut store.open().answer(&query("net 10.0.0.0/8"), options))
    };
    let networks = vec![AddrRange::prefix("10.0.0.0".parse().unwrap(), 8).unwrap()];
    let scope =
        || Scope::new("tens", ScopeParts { networks: Some(networks.clone()), ..ScopeParts::default() }).map(Arc::new);
    assert!(scope().is_some());
    assert!(file(&all, scope()) == file(tens, scope()), "as of a sensor that has no others");
    // Without a scope, two of three.
    let of = |text| file(text, None);
    assert!(of(&all).len() == of(tens).len() && of(&all) != of(tens));
    assert!(file(tens, scope()).len() < of(tens).len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn packets_are_those_that_match_of_those_in_reach(
        segments in segments(),
        expr in expr(),
        parts in scope(),
        limit in 0u64..60,
    ) {
        let store = store(&segments);
        let query = Query { expr };
        let reach: Vec<Got> = store.packets().iter().filter(|p| is_in_reach(&store, &parts, p)).map(Stored::got).collect();
        let expected: Vec<Got> = store.scan(&query.expr).into_iter().filter(|got| reach.contains(got)).collect();
        let opened = store.open();
        for (memory_bytes, verify_blocks) in [(Options::MEMORY_BYTES, true), (0, false)] {
            let options = Options { memory_bytes, verify_blocks, ..options(&parts) };
            let mut answer = opened.answer(&query, options.clone());
            prop_assert_eq!(&take(&mut answer), &expected, "{} within {:?}", query, parts);
            let receipt = answer.receipt();
            prop_assert!(receipt.is_complete(), "{}", receipt);
            prop_assert_eq!((receipt.packets, &receipt.query), (expected.len() as u64, &query.to_string()));
            let said = receipt.scope.map(|within| (within.name, within.query));
            let scope = options.scope.map(|scope| ("some".to_owned(), Query { expr: scope.expr().clone() }.to_string()));
            prop_assert_eq!(said, scope);
        }
        for format in [Format::PcapNs, Format::PcapLegacy] {
            let file = take_bytes(&mut opened.answer(&query, Options { format, ..options(&parts) }));
            prop_assert_eq!(&file, &capture_file(&expected, format));
        }
        let followed = take(&mut opened.follow(&query, options(&parts)));
        prop_assert_eq!(&followed, &expected, "followed");
        let most = expected.len().min(usize::try_from(limit).unwrap());
        let mut answer = opened.answer(&query, Options { limit_packets: Some(limit), ..options(&parts) });
        prop_assert_eq!(&take(&mut answer), &expected[..most]);
        let mut answer = opened.answer(&query, Options { limit_bytes: Some(limit * 40), ..options(&parts) });
        let cut = take(&mut answer);
        prop_assert_eq!(&cut, &expected[..cut.len()]);
    }

    /// What is said of flows and of what an answer would hold is the same as if the store held no packet out of reach.
    #[test]
    fn what_is_out_of_reach_changes_nothing_that_is_told(segments in segments(), expr in expr(), parts in scope()) {
        let mut segments = segments;
        for (_, (packets, _)) in &mut segments {
            // A later fragment has the ports of its first one, in reach or not.
            packets.retain(|packet| decode(&packet.frame(), &mut Vec::new()).fragment == Fragment::Whole);
        }
        let all = store(&segments);
        for (_, (packets, shape)) in &mut segments {
            let mut tags = Vec::new();
            packets.retain(|packet| {
                let own = if shape.index == IndexKind::Old { steno_core::packet::decode_as_indexed } else { decode };
                let decoded = own(&packet.frame(), &mut tags);
                reaches(&parts, &decoded, &tags, packet.time)
            });
        }
        let rest = store(&segments);
        let (all, rest, query, options) = (all.open(), rest.open(), Query { expr }, options(&parts));
        prop_assert_eq!(flows(&all, &query, &options), flows(&rest, &query, &options), "{} within {:?}", query, parts);
        let (told, bare) = (all.explain(&query, &options), rest.explain(&query, &options));
        prop_assert!(told.receipt.is_complete(), "{}", told.receipt);
        prop_assert_eq!(explained(told), explained(bare), "{} within {:?}", query, parts);
    }

    /// Later fragments and all: no flow counts a packet that is out of reach.
    #[test]
    fn flows_count_packets_in_reach_alone(segments in segments(), expr in expr(), parts in scope()) {
        let store = store(&segments);
        let reach: Vec<Got> = store.packets().iter().filter(|p| is_in_reach(&store, &parts, p)).map(Stored::got).collect();
        let flows = store.open().flows(&Query { expr }, &options(&parts));
        let receipt = flows.receipt();
        prop_assert!(receipt.is_complete(), "{}", receipt);
        prop_assert!(receipt.packets <= reach.len() as u64, "{} of {}", receipt.packets, reach.len());
        for flow in flows.iter() {
            let within = reach.iter().filter(|got| flow.first <= got.time && got.time <= flow.last);
            let (packets, bytes) = within.fold((0, 0), |(n, sum), got| (n + 1, sum + u64::from(got.wire_len)));
            prop_assert!(flow.a_to_b.packets + flow.b_to_a.packets <= packets, "{:?}", flow);
            prop_assert!(flow.a_to_b.bytes + flow.b_to_a.bytes <= bytes, "{:?}", flow);
            prop_assert!(parts.from.is_none_or(|from| from <= flow.first), "{:?}", flow);
        }
    }
}

/// A conversation that began before the time in reach, one beside it, and one of another network.
const TALK: &str = "
100.0 ip 10.0.0.9 > 10.0.0.1 tcp 40000 > 80 data 10
101.0 ip 10.0.0.1 > 10.0.0.9 tcp 80 > 40000 data 20
102.0 ip 10.0.0.9 > 10.0.0.1 tcp 40000 > 80 data 30
102.0 ip 192.168.0.9 > 192.168.0.1 udp 53 > 53
103.0 vlan 5 ip 10.0.0.1 > 192.168.0.1 udp 5353 > 53
104.0 type 0x0806 data 28
";

fn talk(index: IndexKind) -> TestStore {
    let mut store = TestStore::new();
    store.add(0, 100_000_000, &recipe(TALK).unwrap(), &Shape { index, ..Shape::default() });
    store
}

fn in_tens() -> Options {
    let networks = Some(vec![steno_query::AddrRange::prefix("10.0.0.0".parse().unwrap(), 8).unwrap()]);
    options(&ScopeParts { networks, vlans: None, from: Some(TimestampNs::from_parts(101, 0)) })
}

#[test]
fn no_word_of_the_language_leads_out() {
    for index in [IndexKind::Native, IndexKind::Leveldb, IndexKind::Old] {
        let talk = talk(index);
        let store = talk.open();
        for (text, packets) in [
            ("ip or arp or not ip", 3),
            ("not net 10.0.0.0/8", 0),
            ("not (net 10.0.0.0/8 and after 1970-01-01T00:01:41Z)", 0),
            ("(((arp or not arp)))", 3),
            ("udp or udp port 53", 1),
            ("before 1970-01-01T00:01:41Z", 0),
            ("between 1970-01-01T00:01:40Z and 1970-01-01T00:01:42Z or host 192.168.0.9", 1),
            ("vlan 5 or host 192.168.0.1", 1),
        ] {
            let got = take(&mut store.answer(&query(text), in_tens()));
            assert_eq!(got.len(), packets, "{index:?}: {text}");
        }
    }
}

#[test]
fn a_flow_that_began_before_is_counted_from_then_on() {
    for index in [IndexKind::Native, IndexKind::Leveldb] {
        let talk = talk(index);
        let opened = talk.open();
        let found: Vec<_> = opened.flows(&query("tcp"), &in_tens()).iter().collect();
        let [flow] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((flow.first.secs(), flow.last.secs(), flow.partial), (101, 102, false), "{index:?}");
        assert_eq!((flow.a_port, flow.a_to_b.packets, flow.b_to_a.packets), (Some(80), 1, 1));
        let e = opened.explain(&query("tcp"), &in_tens()).estimate;
        assert_eq!((e.packets_at_least, e.packets_at_most), (2, 2), "{index:?}");
        assert_eq!(opened.flows(&query("arp or host 192.168.0.9"), &in_tens()).len(), 0);
    }
}

#[test]
fn a_receipt_says_that_a_scope_applied_and_is_complete_within_it() {
    let talk = talk(IndexKind::Native);
    let opened = talk.open();
    let mut answer = opened.answer(&query("udp"), in_tens());
    let n = take(&mut answer).len();
    assert_eq!(n, 1, "{}", answer.receipt());
    let receipt: Receipt = answer.receipt();
    assert!(receipt.is_complete());
    assert_eq!(receipt.asked_from, Some(TimestampNs::from_parts(101, 0)));
    let text = receipt.to_string();
    let line = "scope some: held to packets of `net 10.0.0.0/8 and after 1970-01-01T00:01:41Z`; nothing is said here of any others";
    assert_eq!(text.lines().nth(1), Some(line), "{text}");
    let json = serde_json::to_value(&receipt).unwrap();
    assert_eq!((&json["scope"]["name"], &json["query"]), (&"some".into(), &"udp".into()));
    let explained = opened.explain(&query("udp"), &in_tens());
    assert!(explained.to_string().contains("\nscope:         some: net 10.0.0.0/8 and after"), "{explained}");
    assert_eq!(opened.answer(&query("udp"), Options::default()).receipt().scope, None);
}
