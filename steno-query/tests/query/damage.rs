//! Damaged files: what differs from what was captured is never delivered in silence.

use std::{
    collections::BTreeSet,
    fs::{self, OpenOptions},
    io::{Seek, SeekFrom, Write},
    path::Path,
};

use crate::support::{Got, Shape, TestStore, query, take};
use proptest::prelude::*;
use steno_core::testkit::{RecipePacket, recipe};
use steno_query::Options;

/// Packets of several hosts and protocols, tags among them.
fn mixed(count: u64) -> Vec<RecipePacket> {
    let line = |i: u64| {
        let (host, time) = (i % 23, format!("{}.{:03}", 100 + i / 1000, i % 1000));
        match i % 4 {
            0 => format!("{time} ip 10.0.0.{host} > 10.0.1.1 tcp {} > 80 data {}\n", 1000 + host, i % 90),
            1 => format!("{time} vlan 7 ip 10.0.0.{host} > 10.0.1.1 udp {} > 53 data 30 stripped\n", 1000 + host),
            2 => format!("{time} ip 2001:db8::{host} > 2001:db8::1 tcp {} > 443 data 40\n", 1000 + host),
            _ => format!("{time} type 0x0806 data 28\n"),
        }
    };
    recipe(&(0..count).map(line).collect::<String>()).unwrap()
}

fn flip(path: &Path, at: u64, mask: u8) {
    let mut bytes = fs::read(path).unwrap();
    let at = usize::try_from(at).unwrap() % bytes.len();
    bytes[at] ^= mask;
    fs::write(path, bytes).unwrap();
}

/// Asks, and fails if anything was delivered that is not expected, or if something is missing without the receipt saying so.
fn assert_honest(store: &TestStore, text: &str, verify_blocks: bool) -> (usize, bool) {
    let asked = query(text);
    let mut answer = store.open().answer(&asked, Options { verify_blocks, ..Options::default() });
    let got = take(&mut answer);
    let expected = store.scan(&asked.expr);
    let known: BTreeSet<_> = expected.iter().map(|p| p.place).collect();
    let wrong: Vec<&Got> = got.iter().filter(|p| !known.contains(&p.place) || !expected.contains(p)).collect();
    assert!(wrong.is_empty(), "{text}: {wrong:?}");
    let receipt = answer.receipt();
    assert!(
        got == expected || !receipt.is_complete(),
        "{text}: {} of {} packets, {receipt}",
        got.len(),
        expected.len()
    );
    (got.len(), receipt.is_complete())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Blocks that are read whole have checksums: no flipped bit gets through, wherever it is.
    #[test]
    fn a_flip_in_a_packet_file_is_found_when_blocks_are_read_whole(at in any::<u32>(), bit in 0u8..8, all in any::<bool>()) {
        let mut store = TestStore::new();
        store.add(0, 100_000_000, &mixed(600), &Shape { block_bytes: 1 << 16, ..Shape::default() });
        flip(&store.packet_file(0, 100_000_000), u64::from(at), 1 << bit);
        for text in ["tcp", "udp", "host 10.0.0.5", "not arp"] {
            let (_, complete) = assert_honest(&store, text, !all);
            // The flip may lie behind the used bytes of a block, or in one that was not asked for.
            prop_assert!(complete || !text.is_empty());
        }
    }

    /// An index has checksums for all of its bytes: it gives the right answer, or none.
    #[test]
    fn a_flip_in_an_index_gives_the_right_answer_or_says_so(at in any::<u32>(), bit in 0u8..8) {
        let mut store = TestStore::new();
        store.add(0, 100_000_000, &mixed(400), &Shape { block_bytes: 4096, ..Shape::default() });
        store.add(1, 100_000_000, &mixed(30), &Shape::default());
        flip(&store.index_file(0, 100_000_000), u64::from(at), 1 << bit);
        for text in ["tcp", "udp port 1003", "host 10.0.0.5", "vlan 7 and after 1970-01-01T00:01:40.2Z"] {
            let _ = assert_honest(&store, text, false);
        }
        let flows = store.open().flows(&query("tcp"), &Options::default());
        prop_assert!(flows.receipt().is_complete() || flows.receipt().packets < 430);
    }

    /// Without checksums, headers are still held against the index: a packet that is not what the index says is not
    /// delivered, nor are those behind a chain that is broken.
    #[test]
    fn a_flip_in_a_header_is_found_when_packets_are_read_singly(
        number in 0u32..3000,
        field in prop::sample::select(vec![0u64, 1, 12, 13, 24, 25]),
        bit in 0u8..8,
    ) {
        let mut store = TestStore::new();
        let packets = mixed(3000);
        store.add(0, 100_000_000, &packets, &Shape { crc: false, ..Shape::default() });
        // Header `number`: 48 bytes of block header, then 82 and the frame, rounded up to 8, for each before it.
        let size = |p: &RecipePacket| (82 + p.bytes.len() as u64).next_multiple_of(8);
        let header = 48 + packets.iter().take(number as usize).map(size).sum::<u64>();
        flip(&store.packet_file(0, 100_000_000), header + field, 1 << bit);
        let asked = query("host 10.0.0.4");
        let mut answer = store.open().answer(&asked, Options::default());
        let got = take(&mut answer);
        let expected = store.scan(&asked.expr);
        // A length or an offset of the frame itself may still decode; then it is the packet's own bytes that differ.
        let other = got.iter().filter(|p| !expected.iter().any(|e| e.place == p.place && e.time == p.time)).count();
        prop_assert_eq!(other, 0);
        prop_assert!(got.len() == expected.len() || !answer.receipt().is_complete());
    }
}

#[test]
fn a_damaged_block_is_left_out_and_the_others_are_delivered() {
    let mut store = TestStore::new();
    let packets = mixed(600);
    store.add(0, 100_000_000, &packets, &Shape { block_bytes: 1 << 16, block_packets: 100, ..Shape::default() });
    // A payload byte in the second block.
    flip(&store.packet_file(0, 100_000_000), (1 << 16) + 48 + 82 + 60, 1);
    let (got, complete) = assert_honest(&store, "tcp or udp or arp", false);
    assert_eq!((got, complete), (500, false));
    let mut answer = store.open().answer(&query("tcp or udp or arp"), Options::default());
    let _ = take(&mut answer);
    let receipt = answer.receipt();
    assert_eq!(receipt.unreadable.len(), 1);
    assert_eq!(receipt.unreadable[0].file, "PKT0/100000000");
    assert!(receipt.unreadable[0].reason.starts_with("damaged: checksum of the block at offset 65536"), "{receipt}");
    assert_eq!((receipt.segments.read, receipt.segments.unreadable, receipt.segments.considered), (1, 1, 1));
}

#[test]
fn another_segments_packets_are_not_taken_for_ones_own() {
    let mut store = TestStore::new();
    for crc in [true, false] {
        let (a, b) = if crc { (1, 2) } else { (3, 4) };
        let shape = Shape { crc, ..Shape::default() };
        store.add(0, a, &mixed(2000), &shape);
        let other: Vec<_> = mixed(2001).into_iter().skip(1).collect();
        store.add(0, b, &other, &shape);
        let _bytes = fs::copy(store.packet_file(0, b), store.packet_file(0, a)).unwrap();
        store.forget(0, a);
        for text in ["tcp", "host 10.0.0.4", "arp"] {
            let asked = query(text);
            let mut answer = store.open().answer(&asked, Options::default());
            let got = take(&mut answer);
            let misplaced = got.iter().filter(|p| p.place.1 == a).count();
            assert!(misplaced == 0 || text == "arp", "{text}: {misplaced} packets of segment {a}, checksums {crc}");
            assert!(!answer.receipt().is_complete(), "{text}: {}", answer.receipt());
        }
    }
}

#[test]
fn a_packet_file_that_was_cut_gives_what_is_left() {
    let mut store = TestStore::new();
    store.add(0, 100_000_000, &mixed(600), &Shape { block_bytes: 1 << 16, block_packets: 100, ..Shape::default() });
    let file = OpenOptions::new().write(true).open(store.packet_file(0, 100_000_000)).unwrap();
    file.set_len(3 << 16).unwrap();
    let (got, complete) = assert_honest(&store, "tcp or udp or arp", false);
    assert_eq!((got, complete), (300, false));
    file.set_len(0).unwrap();
    assert_eq!(assert_honest(&store, "tcp", false), (0, false));
}

#[test]
fn a_broken_chain_without_checksums_costs_the_stretch_between_two_anchors() {
    let mut store = TestStore::new();
    let packets = mixed(3000);
    store.add(0, 100_000_000, &packets, &Shape { crc: false, ..Shape::default() });
    let size = |p: &RecipePacket| (82 + p.bytes.len() as u64).next_multiple_of(8);
    let header = 48 + packets.iter().take(40).map(size).sum::<u64>();
    let mut file = OpenOptions::new().write(true).open(store.packet_file(0, 100_000_000)).unwrap();
    let _ = file.seek(SeekFrom::Start(header)).unwrap();
    file.write_all(&[0; 4]).unwrap();
    // Packet 40 leads nowhere: with packets 32 to 47, nothing else is lost.
    let (got, complete) = assert_honest(&store, "tcp or udp or arp", false);
    assert_eq!((got, complete), (3000 - 16, false));
}
