//! Damaged files: what differs from what was captured is never delivered in silence.

use std::{
    collections::BTreeSet,
    fs::{self, OpenOptions},
    io::{Seek, SeekFrom, Write},
    ops::Range,
    path::Path,
};

use crate::support::{Got, Shape, TestStore, query, take};
use proptest::prelude::*;
use steno_core::testkit::{RecipePacket, recipe};
use steno_index::PIECE_BYTES;
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
    #![proptest_config(ProptestConfig::with_cases(64))]

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
        // The step to the next header, seconds from 256 up, lengths, and where the frame starts.
        field in prop::sample::select(vec![0u64, 1, 5, 6, 7, 12, 13, 24, 25]),
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

/// As [`mixed`], and in the places of some of them packets of a host that is in no other.
fn mixed_with(count: u64, rare: &[usize]) -> Vec<RecipePacket> {
    let mut packets = mixed(count);
    for &number in rare {
        let line = format!("{} ip 10.9.9.9 > 10.0.1.1 tcp 9 > 80 data 1200", packets[number].time.secs());
        let found = recipe(&line).unwrap().remove(0);
        packets[number] = RecipePacket { time: packets[number].time, ..found };
    }
    packets
}

/// Where each packet of a first block lies in it: its header, its frame, and the end of that.
fn places(packets: &[RecipePacket]) -> Vec<Range<usize>> {
    let mut at = 48;
    let place = |packet: &RecipePacket| {
        let start = at;
        at += (82 + packet.bytes.len()).next_multiple_of(8);
        start..start + 82 + packet.bytes.len()
    };
    packets.iter().map(place).collect()
}

/// The packets that can still be had where the bytes of a piece are not those that were captured: neither they nor the headers that
/// lead to them, from the one of which the index has the place, lie in it.
fn within_reach_without(piece: usize, places: &[Range<usize>]) -> BTreeSet<u32> {
    let piece = piece * PIECE..(piece + 1) * PIECE;
    let apart = |bytes: &Range<usize>| bytes.end <= piece.start || piece.end <= bytes.start;
    let good = |number: &usize| {
        let led_by = &places[number - number % 16..*number];
        apart(&places[*number]) && led_by.iter().all(|place| apart(&(place.start..place.start + 48)))
    };
    (0..places.len()).filter(good).map(|number| u32::try_from(number).unwrap()).collect()
}

const PIECE: usize = PIECE_BYTES as usize;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// In a large block a flip costs what lies in its piece, is named if anything of that was wanted, and costs nothing else:
    /// whether few packets are wanted, which are read by pieces, or all of them, for which the block is read whole.
    #[test]
    fn a_flip_costs_the_piece_that_it_is_in(
        rare in prop::collection::btree_set(0usize..5900, 1..7),
        at in any::<prop::sample::Index>(),
        bit in 0u8..8,
        on_edge in prop::option::weighted(0.3, (1usize..16, 0usize..4)),
    ) {
        let mut store = TestStore::new();
        let packets = mixed_with(5900, &rare.into_iter().collect::<Vec<_>>());
        store.add(0, 100_000_000, &packets, &Shape::default());
        let places = places(&packets);
        let used = places.last().unwrap().end;
        // Somewhere, or near the end of a piece.
        let at = on_edge.map_or_else(|| at.index(used), |(piece, back)| piece * PIECE + 1 - back);
        prop_assume!(at < used);
        flip(&store.packet_file(0, 100_000_000), at as u64, 1 << bit);
        let good = within_reach_without(at / PIECE, &places);
        for text in ["host 10.9.9.9", "tcp or udp or arp"] {
            let asked = query(text);
            let mut answer = store.open().answer(&asked, Options::default());
            let got = take(&mut answer);
            let all = store.scan(&asked.expr);
            let expected: Vec<Got> = all.iter().filter(|p| good.contains(&p.place.2)).cloned().collect();
            prop_assert!(got == expected, "{}: {} of {} packets, {} expected", text, got.len(), all.len(), expected.len());
            let receipt = answer.receipt();
            prop_assert!(receipt.is_complete() || !receipt.unreadable.is_empty());
            if got.len() < all.len() {
                let from = at / PIECE * PIECE;
                let said = format!("damaged: checksum of the block at offset 0, of bytes {from} to ");
                prop_assert!(receipt.unreadable[0].reason.starts_with(&said), "{}", receipt);
                prop_assert!(!receipt.is_complete() && receipt.unreadable.len() == 1);
            }
        }
    }
}

/// What is damaged far from a wanted packet is not even looked at; what is damaged beside it is told.
#[test]
fn few_packets_of_a_block_need_few_pieces_of_it() {
    let mut store = TestStore::new();
    let packets = mixed_with(5900, &[300, 3000]);
    store.add(0, 100_000_000, &packets, &Shape::default());
    let (places, path) = (places(&packets), store.packet_file(0, 100_000_000));
    let pieces = [300, 3000].map(|number: usize| places[number].start / PIECE);
    let whole = fs::read(&path).unwrap();
    for piece in 0..places.last().unwrap().end.div_ceil(PIECE) {
        let mut bad = whole.clone();
        bad[piece * PIECE + PIECE / 2..][..100].fill(0xee);
        fs::write(&path, bad).unwrap();
        let (got, complete) = assert_honest(&store, "host 10.9.9.9", true);
        let far = pieces.iter().filter(|near| near.abs_diff(piece) > 1).count();
        assert!(got >= far && (complete || far < 2), "piece {piece}: {got} packets, {far} are far from it");
        assert!(!complete || got == 2);
    }
    // An index from before running checksums has its blocks read whole.
    let mut store = TestStore::new();
    store.add(0, 100_000_000, &packets, &Shape { running: false, ..Shape::default() });
    assert_eq!(assert_honest(&store, "host 10.9.9.9", true), (2, true));
    let mut bad = whole;
    bad[10 * PIECE + 100] ^= 1;
    fs::write(store.packet_file(0, 100_000_000), bad).unwrap();
    assert_eq!(assert_honest(&store, "host 10.9.9.9", true), (0, false));
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

/// Packets of the same sizes at the same places, of other hosts: nothing but the packets themselves tells them apart.
#[test]
fn packets_are_held_against_the_query_where_there_is_no_checksum() {
    let udp = |shift: u64| {
        let line = |i: u64| format!("100.{i:04} ip 10.0.0.{} > 10.0.1.1 udp 7 > 9 data 500\n", 10 + (i + shift) % 50);
        recipe(&(0..3000).map(line).collect::<String>()).unwrap()
    };
    // Few packets, which are read in parts, and every other one, for which the block is read whole.
    let even: Vec<String> = (10..60).step_by(2).map(|host| format!("10.0.0.{host}")).collect();
    let even = format!("host in {{{}}}", even.join(", "));
    for (count, text) in [(60, "host 10.0.0.12"), (1500, even.as_str())] {
        let mut store = TestStore::new();
        store.add(0, 1, &udp(0), &Shape { crc: false, ..Shape::default() });
        assert_eq!(take(&mut store.open().answer(&query(text), Options::default())).len(), count, "{text}");
        store.add(0, 2, &udp(1), &Shape::default());
        fs::rename(store.packet_file(0, 2), store.packet_file(0, 1)).unwrap();
        fs::remove_file(store.index_file(0, 2)).unwrap();
        assert_eq!(assert_honest(&store, text, false), (0, false), "{text}");
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
    let packets = mixed(3000);
    // Packet 40 leads nowhere; packet 47, the last before an anchor, leads to a place short of it. Either way packets 32 to
    // 47 are lost, and nothing else.
    for (number, step) in [(40, 0u32), (47, 56)] {
        let mut store = TestStore::new();
        store.add(0, 100_000_000, &packets, &Shape { crc: false, ..Shape::default() });
        let size = |p: &RecipePacket| (82 + p.bytes.len() as u64).next_multiple_of(8);
        let header = 48 + packets.iter().take(number).map(size).sum::<u64>();
        overwrite(&store.packet_file(0, 100_000_000), header, &step.to_le_bytes());
        let (got, complete) = assert_honest(&store, "tcp or udp or arp", false);
        assert_eq!((got, complete), (3000 - 16, false), "packet {number}");
    }
}

#[test]
fn a_time_that_its_block_does_not_have_is_not_delivered() {
    let packets = mixed(3000);
    let mut store = TestStore::new();
    store.add(0, 100_000_000, &packets, &Shape { crc: false, ..Shape::default() });
    let size = |p: &RecipePacket| (82 + p.bytes.len() as u64).next_multiple_of(8);
    // Packet 96 is one of 10.0.0.4; its seconds are said to be many more.
    let header = 48 + packets.iter().take(96).map(size).sum::<u64>();
    overwrite(&store.packet_file(0, 100_000_000), header + 4, &5_000_000u32.to_le_bytes());
    let expected = store.scan(&query("host 10.0.0.4").expr);
    assert!(expected.iter().any(|p| p.place.2 == 96));
    let (got, complete) = assert_honest(&store, "host 10.0.0.4", false);
    assert_eq!((got, complete), (expected.len() - 1, false));
}

#[test]
fn a_block_that_the_index_does_not_describe_is_left_out() {
    // Packets, used bytes and sequence number, as the block header says them.
    for field in [12, 20, 24] {
        let mut store = TestStore::new();
        store.add(0, 100_000_000, &mixed(200), &Shape { crc: false, ..Shape::default() });
        overwrite(&store.packet_file(0, 100_000_000), field, &[77, 1]);
        let (got, complete) = assert_honest(&store, "tcp or udp or arp", false);
        assert!(!complete && got == 0, "{got} packets with another value at {field}");
    }
}

fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    let mut file = OpenOptions::new().write(true).open(path).unwrap();
    let _at = file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(bytes).unwrap();
}
