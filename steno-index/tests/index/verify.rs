//! The check of a segment against its packets: whatever is changed in either file, it says so and says where.

use std::{fs, path::PathBuf};

use crate::segments::{BLOCK_BYTES, facts, index_of, packet_file};
use steno_core::{block::Block, testkit::recipe};
use steno_index::{Index, IndexError, Problem, Report, index_packet_file, verify_segment};

fn mixed() -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/mixed.recipe");
    packet_file(&recipe(&fs::read_to_string(path).unwrap()).unwrap())
}

fn check(packets: &[u8], index: &[u8]) -> Report {
    Index::from_bytes(index.to_vec()).unwrap().verify_against(&mut &packets[..])
}

fn lines(report: &Report) -> Vec<String> {
    report.problems.iter().map(ToString::to_string).collect()
}

#[test]
fn a_segment_as_it_was_written_is_clean() {
    let packets = mixed();
    let dir = tempfile::tempdir().unwrap();
    let (packet_path, index_path) = (dir.path().join("packets"), dir.path().join("index"));
    fs::write(&packet_path, &packets).unwrap();
    fs::write(&index_path, index_of(&packets, &facts())).unwrap();
    let report = verify_segment(&packet_path, &index_path);
    assert!(report.is_clean(), "{:?}", lines(&report));
    let blocks = packets.len() / BLOCK_BYTES as usize;
    assert_eq!((report.blocks as usize, report.packets, report.conversations), (blocks, 18, 12));
}

#[test]
fn every_changed_byte_of_a_block_is_found() {
    let packets = mixed();
    let index = index_of(&packets, &facts());
    let used: Vec<usize> =
        packets.chunks(BLOCK_BYTES as usize).map(|block| Block::parse(block).unwrap().used().len()).collect();
    assert!(used.len() > 1);
    for at in 0..packets.len() {
        let (block, within) = (at / BLOCK_BYTES as usize, at % BLOCK_BYTES as usize);
        // Behind the used part every 64th byte will do.
        if within >= used[block] && at % 64 != 0 {
            continue;
        }
        let mut bad = packets.clone();
        bad[at] ^= 0x40;
        let report = check(&bad, &index);
        assert_eq!(report.is_clean(), within >= used[block], "byte {at}: {:?}", lines(&report));
    }
}

#[test]
fn a_packet_file_that_ends_early_is_found() {
    let packets = mixed();
    let index = index_of(&packets, &facts());
    let last = packets.len() - BLOCK_BYTES as usize;
    let used = Block::parse(&packets[last..]).unwrap().used().len();
    // The unused part of the last block need not be there.
    assert!(check(&packets[..last + used], &index).is_clean());
    for len in [last + used - 1, last + 100, last + 20, last, 0] {
        let report = check(&packets[..len], &index);
        assert!(!report.is_clean(), "cut to {len}");
    }
    let longer = [&packets[..], &packets[..BLOCK_BYTES as usize]].concat();
    assert!(!check(&longer, &index).is_clean());
}

#[test]
fn an_index_of_other_packets_is_found() {
    let text = "1700000000 ip 10.0.0.1 > 10.0.0.2 tcp 40000 > 80\n1700000001 ip 10.0.0.1 > 10.0.0.2 tcp 40000 > 80";
    let ours = packet_file(&recipe(text).unwrap());
    let problems_of = |other: &str| {
        let other = packet_file(&recipe(other).unwrap());
        lines(&check(&ours, &index_of(&other, &facts())))
    };
    assert_eq!(problems_of(text), [""; 0]);
    let port = problems_of(&text.replace("> 80", "> 81"));
    assert_eq!(port, ["block 0 at offset 0: the index has another CRC-32C"]);
    let time = problems_of(&text.replace("1700000001", "1700000002"));
    assert_eq!(
        time,
        [
            "latest time (ns): the packets say 1700000001000000000, the index says 1700000002000000000",
            "block 0 at offset 0: the index has another CRC-32C"
        ]
    );
}

#[test]
fn a_file_that_is_missing_is_a_problem_with_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let report = verify_segment(&dir.path().join("packets"), &dir.path().join("index"));
    assert!(matches!(
        report.problems[..],
        [Problem::Index(IndexError::Open { .. }), Problem::Packets(IndexError::ReadPackets { .. })]
    ));
    assert!(lines(&report)[0].ends_with(&format!("open the index {}", dir.path().join("index").display())));
}

#[test]
fn problems_past_the_hundredth_are_counted() {
    let line = "1700000000 ip 10.0.0.1 > 10.0.0.2 tcp 40000 > 80 data 3000\n";
    let packets = packet_file(&recipe(&line.repeat(130)).unwrap());
    let index = index_of(&packets, &facts());
    let mut bad = packets;
    bad.chunks_mut(BLOCK_BYTES as usize).for_each(|block| block[3000] ^= 1);
    let report = check(&bad, &index);
    assert_eq!((report.problems.len(), report.more_problems), (100, 30));
}

#[test]
fn an_index_is_built_up_to_the_first_block_that_is_not_whole() {
    let packets = mixed();
    let mut bad = packets.clone();
    bad[BLOCK_BYTES as usize] = 9;
    let mut index = Vec::new();
    let built = index_packet_file(&mut &bad[..], &facts(), &mut index).unwrap();
    assert_eq!(built.damage.map(|damage| damage.offset_bytes), Some(u64::from(BLOCK_BYTES)));
    let whole = &packets[..BLOCK_BYTES as usize];
    assert_eq!(index, index_of(whole, &facts()));
    // A chain that breaks after some packets takes the whole block with it.
    let mut bad = packets.clone();
    let at = BLOCK_BYTES as usize + 48;
    bad[at..at + 4].copy_from_slice(&1u32.to_le_bytes());
    let mut same = Vec::new();
    let built = index_packet_file(&mut &bad[..], &facts(), &mut same).unwrap();
    assert!(built.damage.is_some());
    assert_eq!(index, same);
}
