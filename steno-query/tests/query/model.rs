//! Against a model: the answer to any query over any capture is that of a linear scan of its packets.

use crate::{
    generate::{EPOCH_NS, TICK_NS, expr, packet, segment},
    support::{Shape, TestStore, capture_file, take, take_bytes},
};
use proptest::{collection::vec, prelude::*};
use steno_core::{TimestampNs, pcap::Format, testkit::RecipePacket};
use steno_query::{Expr, Options, Primitive, Query, TimeSpan};

/// The segments of up to three threads, up to three each. In every other store the packets of a segment are in order of
/// time, as captures mostly have them; the others hold clocks that jump.
fn threads() -> impl Strategy<Value = Vec<Vec<(Vec<RecipePacket>, Shape)>>> {
    (vec(vec(segment(40), 0..4), 1..4), any::<bool>()).prop_map(|(mut threads, sorted)| {
        if sorted {
            threads.iter_mut().flatten().for_each(|(packets, _)| packets.sort_by_key(|p| p.time));
        }
        threads
    })
}

fn store(threads: Vec<Vec<(Vec<RecipePacket>, Shape)>>) -> TestStore {
    let mut store = TestStore::new();
    let _dirs = store.paths(0, 0);
    for (thread, segments) in (0..).zip(threads) {
        for (name, (packets, shape)) in (0..).zip(segments) {
            store.add(thread, EPOCH_NS / 1_000 + name, &packets, &shape);
        }
    }
    store
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_answer_is_that_of_a_linear_scan(threads in threads(), expr in expr(), limit in 0u64..60) {
        let store = store(threads);
        let query = Query { expr };
        let expected = store.scan(&query.expr);
        let opened = store.open();
        for (memory_bytes, verify_blocks) in [(Options::MEMORY_BYTES, false), (0, false), (9000, true)] {
            let cached_bytes = if verify_blocks { 0 } else { Options::CACHED_BYTES };
            let options = Options { memory_bytes, verify_blocks, cached_bytes, ..Options::default() };
            let mut answer = opened.answer(&query, options);
            prop_assert_eq!(&take(&mut answer), &expected, "{} with {} bytes", query, memory_bytes);
            let receipt = answer.receipt();
            prop_assert!(receipt.is_complete(), "{}", receipt);
            prop_assert_eq!(receipt.packets, expected.len() as u64);
        }
        let mut answer = opened.answer(&query, Options::default());
        let file = take_bytes(&mut answer);
        prop_assert_eq!(&file, &capture_file(&expected, Format::PcapNs));
        prop_assert_eq!(answer.receipt().blake3, Some(blake3::hash(&file).to_hex().to_string()));

        let mut answer = opened.answer(&query, Options { limit_packets: Some(limit), ..Options::default() });
        let got = take(&mut answer);
        let most = expected.len().min(usize::try_from(limit).unwrap());
        prop_assert_eq!(&got, &expected[..most]);
        // Where a bound of time leaves it open whether more matches, the answer may say that it does.
        let cut = answer.receipt().truncated_by.is_some();
        prop_assert!(cut || expected.len() == most, "more match, and the receipt does not say so");
        prop_assert!(!cut || query.expr.has_time() || expected.len() > most, "it says that more match, and none do");
    }

    #[test]
    fn explanations_bound_what_is_delivered(threads in threads(), expr in expr()) {
        let store = store(threads);
        let query = Query { expr };
        let expected = store.scan(&query.expr);
        let explanation = store.open().explain(&query, &Options::default());
        let e = explanation.estimate;
        let (packets, bytes) = (expected.len() as u64, expected.iter().map(|p| u64::from(p.wire_len)).sum::<u64>());
        prop_assert!(e.packets_at_least <= packets && packets <= e.packets_at_most, "{} of {:?}", packets, e);
        prop_assert!(e.bytes_at_least <= bytes && bytes <= e.bytes_at_most, "{} of {:?}", bytes, e);
        if !query.expr.has_time() {
            prop_assert_eq!((e.packets_at_least, e.packets_at_most), (packets, packets));
        }
        let read = explanation.segments.len() as u64;
        let s = explanation.receipt.segments;
        prop_assert_eq!(s.considered, read + s.skipped);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Blocks that are large enough to be read in parts: a few thousand packets, of which a query wants few.
    #[test]
    fn parts_of_large_blocks_are_as_good_as_whole_ones(
        common in vec(packet(), 40),
        rare in vec((packet(), 0u32..6000), 1..6),
        (crc, running) in any::<(bool, bool)>(),
        expr in expr(),
        ticks in (0u64..40, 0u64..40),
    ) {
        let mut packets: Vec<RecipePacket> = (0..6000)
            .map(|i: u32| {
                let mut packet = common[i as usize % common.len()].clone();
                packet.time = TimestampNs::new(EPOCH_NS + u64::from(i) * (40 * TICK_NS / 6000));
                packet
            })
            .collect();
        for (packet, at) in rare {
            packets[at as usize] = packet;
        }
        let mut store = TestStore::new();
        store.add(0, EPOCH_NS / 1_000, &packets, &Shape { crc, running, ..Shape::default() });
        let span = TimeSpan {
            from: Some(TimestampNs::new(EPOCH_NS + ticks.0.min(ticks.1) * TICK_NS)),
            until: Some(TimestampNs::new(EPOCH_NS + (ticks.0.min(ticks.1) + 1) * TICK_NS)),
        };
        let narrow = expr.clone().and(Expr::Is(Primitive::Time(span)));
        for expr in [expr, narrow] {
            let query = Query { expr };
            let expected = store.scan(&query.expr);
            for verify_blocks in [false, true] {
                let mut answer = store.open().answer(&query, Options { verify_blocks, ..Options::default() });
                prop_assert!(take(&mut answer) == expected, "{}", query);
                prop_assert!(answer.receipt().is_complete(), "{}", answer.receipt());
            }
        }
    }
}
