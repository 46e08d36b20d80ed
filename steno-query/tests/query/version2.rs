//! Segments with an index of version 2, Steno's and 1.0.1's, alone and beside native ones: the answer is that of a scan.

use std::{collections::BTreeMap, fs};

use proptest::{collection::vec, prelude::*, sample::select};
use steno_core::{
    packet::{Fragment, decode},
    testkit::{RecipePacket, recipe},
};
use steno_query::{Options, Query};

use crate::{
    generate::{EPOCH_NS, expr, packet, segment},
    old_index,
    support::{IndexKind, Shape, TestStore, assert_scan, query, take},
};

/// Segments of any kind, in order of time as captures are.
fn segments() -> impl Strategy<Value = Vec<(Vec<RecipePacket>, Shape)>> {
    let kind = select(vec![IndexKind::Native, IndexKind::Leveldb, IndexKind::Old, IndexKind::Old]);
    let segment = (segment(40), kind).prop_map(|((mut packets, shape), index)| {
        packets.sort_by_key(|p| p.time);
        (packets, Shape { index, ..shape })
    });
    vec(segment, 1..5)
}

fn store(segments: &[(Vec<RecipePacket>, Shape)]) -> TestStore {
    let mut store = TestStore::new();
    for (i, (packets, shape)) in (0..).zip(segments) {
        store.add(u32::from(i % 2 == 1), EPOCH_NS / 1_000 + i, packets, shape);
    }
    store
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_answer_is_that_of_a_linear_scan(segments in segments(), expr in expr()) {
        let store = store(&segments);
        let query = Query { expr };
        let expected = store.scan(&query.expr);
        let opened = store.open();
        for (memory_bytes, verify_blocks) in [(Options::MEMORY_BYTES, false), (0, false), (9000, true)] {
            let options = Options { memory_bytes, verify_blocks, ..Options::default() };
            let mut answer = opened.answer(&query, options);
            prop_assert_eq!(&take(&mut answer), &expected, "{} with {} bytes", query, memory_bytes);
            let receipt = answer.receipt();
            prop_assert!(receipt.is_complete(), "{}", receipt);
        }
        let e = opened.explain(&query, &Options::default()).estimate;
        let (packets, bytes) = (expected.len() as u64, expected.iter().map(|p| u64::from(p.wire_len)).sum::<u64>());
        prop_assert!(e.packets_at_least <= packets && packets <= e.packets_at_most, "{} of {:?}", packets, e);
        prop_assert!(e.bytes_at_least <= bytes && bytes <= e.bytes_at_most, "{} of {:?}", bytes, e);
    }

    #[test]
    fn flows_are_those_of_a_native_index(mut segments in segments(), expr in expr()) {
        // Which of them belong together an index of version 2 does not tell.
        let is_whole = |p: &RecipePacket| decode(&p.frame(), &mut Vec::new()).fragment == Fragment::Whole;
        segments.iter_mut().for_each(|(packets, _)| packets.retain(is_whole));
        let of = |index| {
            let same: Vec<_> = segments.iter().map(|(p, shape)| (p.clone(), Shape { index, ..shape.clone() })).collect();
            let flows = store(&same).open().flows(&Query { expr: expr.clone() }, &Options::default());
            assert!(flows.receipt().is_complete());
            flows.iter().map(|flow| format!("{flow:?}")).collect::<Vec<_>>()
        };
        prop_assert_eq!(of(IndexKind::Leveldb), of(IndexKind::Native));
    }

    /// Whatever a byte of the index is changed to, what is delivered is right, and what is missing is said.
    #[test]
    fn a_damaged_index_never_misleads(
        segments in segments(),
        expr in expr(),
        place in any::<prop::sample::Index>(),
        change in 1u8..,
    ) {
        let store = store(&segments);
        let file = store.index_file(0, EPOCH_NS / 1_000);
        let mut bytes = fs::read(&file).unwrap();
        let at = place.index(bytes.len());
        bytes[at] ^= change;
        fs::write(&file, bytes).unwrap();
        let query = Query { expr };
        let expected = store.scan(&query.expr);
        let mut answer = store.open().answer(&query, Options::default());
        let got = take(&mut answer);
        prop_assert!(got.iter().all(|packet| expected.contains(packet)));
        prop_assert!(got == expected || !answer.receipt().is_complete(), "{}", answer.receipt());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Blocks that are large enough to be read in parts.
    #[test]
    fn parts_of_large_blocks_are_as_good_as_whole_ones(
        common in vec(packet(), 40),
        rare in vec((packet(), 0u32..6000), 1..6),
        index in select(vec![IndexKind::Leveldb, IndexKind::Old]),
        expr in expr(),
    ) {
        let mut packets: Vec<RecipePacket> = (0..6000).map(|i: usize| common[i % common.len()].clone()).collect();
        for (packet, at) in rare {
            packets[at as usize] = packet;
        }
        packets.sort_by_key(|p| p.time);
        let mut store = TestStore::new();
        store.add(0, EPOCH_NS / 1_000, &packets, &Shape { index, ..Shape::default() });
        let query = Query { expr };
        let expected = store.scan(&query.expr);
        for verify_blocks in [false, true] {
            let mut answer = store.open().answer(&query, Options { verify_blocks, ..Options::default() });
            prop_assert!(take(&mut answer) == expected, "{}", query);
            prop_assert!(answer.receipt().is_complete(), "{}", answer.receipt());
        }
    }
}

fn two(index: IndexKind) -> TestStore {
    let mut store = TestStore::new();
    for segment in [1, 2] {
        let lines = format!(
            "{segment}00 ip 10.0.0.1 > 10.0.0.2 udp 1000 > 53 data 9\n{segment}01 ip 10.0.0.3 > 10.0.0.2 tcp 1 > 2"
        );
        store.add(0, segment * 100_000_000, &recipe(&lines).unwrap(), &Shape { index, ..Shape::default() });
    }
    store
}

#[test]
fn receipts_count_segments_of_1_0_1_and_only_those() {
    for (index, expected) in [(IndexKind::Native, 0), (IndexKind::Leveldb, 0), (IndexKind::Old, 1)] {
        let store = two(index);
        assert_eq!(assert_scan(&store, "udp and before 1970-01-01T00:01:50Z"), 1);
        let query = query("udp and before 1970-01-01T00:00:20Z or host 10.0.0.3 and after 1970-01-01T00:04:41Z");
        let mut answer = store.open().answer(&query, Options::default());
        assert_eq!(take(&mut answer).len(), 0);
        assert_eq!(answer.receipt().segments.of_1_0_1, 0, "a bound of a minute and more is outside");
        let mut answer = store.open().answer(&self::query("udp and before 1970-01-01T00:01:50Z"), Options::default());
        assert_eq!(take(&mut answer).len(), 1);
        assert_eq!(answer.receipt().segments.of_1_0_1, expected, "{}", answer.receipt());
        assert_eq!(answer.receipt().to_string().contains("1 of stenographer 1.0.1"), expected == 1);
    }
}

type Table = BTreeMap<Vec<u8>, Vec<u8>>;
type Spoil<'a> = &'a dyn Fn(&mut Table);

/// What is answered when the index of a packet is spoilt, beside a segment that is good; and what is said to be unreadable.
fn spoilt(store: &TestStore, spoil: impl FnOnce(&mut Table)) -> (usize, String) {
    let packets = recipe("100 ip 10.0.0.1 > 10.0.0.2 udp 1000 > 53 data 9\n").unwrap();
    let mut table = BTreeMap::from([(vec![0], vec![0, 0, 0, 2, 0, 0, 0, 0])]);
    for key in old_index::keys(&packets[0].bytes) {
        let _new = table.insert(key, 48u32.to_be_bytes().to_vec());
    }
    spoil(&mut table);
    fs::write(store.index_file(0, 100_000_000), old_index::write(&table)).unwrap();
    let mut answer = store.open().answer(&query("udp"), Options::default());
    let got = take(&mut answer).len();
    let receipt = answer.receipt();
    assert_eq!(receipt.is_complete(), receipt.unreadable.is_empty());
    let said = receipt.unreadable.iter().map(|u| format!("{}: {}", u.file, u.reason)).collect::<Vec<_>>();
    (got, said.join("\n"))
}

#[test]
fn a_segment_whose_index_is_wrong_is_set_aside_and_the_rest_answers() {
    let store = two(IndexKind::Old);
    assert_eq!(spoilt(&store, |_| {}), (2, String::new()));
    let udp = || vec![1, 17];
    let cases: [(&str, Spoil<'_>); 5] = [
        ("version 1", &|table| drop(table.insert(vec![0], vec![0, 0, 0, 1, 0, 0, 0, 0]))),
        ("multiple of", &|table| drop(table.insert(udp(), vec![0, 0, 0, 48, 0]))),
        ("ascending", &|table| drop(table.insert(udp(), [96u32.to_be_bytes(), 48u32.to_be_bytes()].concat()))),
        ("past the end", &|table| drop(table.insert(udp(), (1u32 << 20).to_be_bytes().to_vec()))),
        ("no packet", &|table| drop(table.insert(udp(), 56u32.to_be_bytes().to_vec()))),
    ];
    for (words, spoil) in cases {
        let (got, said) = spoilt(&store, spoil);
        assert_eq!(got, 1, "{words}: the other segment answers");
        assert!(said.contains("0/100000000: ") && said.contains(words), "{words}: {said}");
    }
}

#[test]
fn an_empty_packet_file_of_1_0_1_holds_nothing_and_is_no_fault() {
    let store = two(IndexKind::Old);
    let table = BTreeMap::from([(vec![0], vec![0, 0, 0, 2, 0, 0, 0, 0])]);
    fs::write(store.packet_file(0, 300_000_000), "").unwrap();
    fs::write(store.index_file(0, 300_000_000), old_index::write(&table)).unwrap();
    assert_eq!(assert_scan(&store, "udp"), 2);
}
