//! The check of a segment against its packets: whatever is changed in either file, it says so and says where.

use std::{fs, path::PathBuf};

use crate::segments::{BLOCK_BYTES, facts, index_of, packet_file};
use steno_core::{block::Block, testkit::recipe};
use steno_index::{
    Facts, Index, IndexError, Log, Problem, Report, index_packet_file, note_block, seal, verify_segment,
};

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
fn a_changed_byte_of_a_block_is_found() {
    let packets = mixed();
    let index = index_of(&packets, &facts());
    let used: Vec<usize> =
        packets.chunks(BLOCK_BYTES as usize).map(|block| Block::parse(block).unwrap().used().len()).collect();
    assert!(used.len() > 1);
    for at in 0..packets.len() {
        let (block, within) = (at / BLOCK_BYTES as usize, at % BLOCK_BYTES as usize);
        // Of the frames every third byte will do, and behind the used part every 64th.
        if within >= used[block] && at % 64 != 0 || within >= 200 && at % 3 != 0 {
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

/// Packets that an index without CRCs takes for each other's: alike in time and length, of two conversations.
#[test]
fn packets_in_the_wrong_list_are_found() {
    let line = |port: u16| format!("1700000000 ip 10.0.0.1 > 10.0.0.2 tcp 40000 > {port}\n");
    let ours = packet_file(&recipe(&[80, 81, 81, 80].map(line).concat()).unwrap());
    let other = packet_file(&recipe(&[80, 81, 80, 81].map(line).concat()).unwrap());
    let mut log = Log::new();
    let _captured = note_block(&mut log, 0, &Block::parse(&other).unwrap(), None).unwrap();
    let mut index = Vec::new();
    let _ = seal(&log, &facts(), &mut index).unwrap();
    assert!(check(&other, &index).is_clean(), "an index need not have CRCs");
    let expected = [0, 1].map(|no| format!("conversation {no}: the index has other packets"));
    assert_eq!(lines(&check(&ours, &index)), expected);
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
    // A chain that breaks after some packets takes its whole block with it.
    let mut bad = packets;
    let second = Block::parse(&bad).unwrap().packets().nth(1).unwrap().unwrap().offset_bytes as usize;
    bad[second..second + 4].copy_from_slice(&1u32.to_le_bytes());
    let mut none = Vec::new();
    let built = index_packet_file(&mut &bad[..], &facts(), &mut none).unwrap();
    assert_eq!(built.damage.map(|damage| damage.offset_bytes), Some(0));
    assert_eq!(none, index_of(&[], &facts()));
}

#[test]
fn blocks_that_hold_nothing_are_refused() {
    let tiny = Facts { block_bytes: 47, ..facts() };
    let error = index_packet_file(&mut &mixed()[..], &tiny, &mut Vec::new()).unwrap_err();
    assert_eq!(error.to_string(), "facts: blocks too small for their header (item 47)");
}

/// Found by fuzzing: what `verify` passes, a look-up must be able to use.
#[test]
fn a_packet_within_the_header_of_its_block_is_refused_by_check_and_look_up_alike() {
    for (position, whole) in [(0, false), (47, false), (48, true)] {
        let mut log = Log::new();
        let decoded = steno_core::packet::decode(&steno_core::packet::Frame::new(&[]), &mut Vec::new());
        log.note(steno_core::Position(position), steno_core::TimestampNs::new(1), 60, &decoded, &[]);
        log.end_block(steno_index::BlockNote { offset_bytes: 0, used_bytes: 192, crc32c: None, seq_num: 1 });
        let mut bytes = Vec::new();
        let Ok(_) = seal(&log, &Facts::default(), &mut bytes) else {
            assert!(!whole, "position {position} was refused at seal");
            continue;
        };
        let index = Index::from_bytes(bytes).unwrap();
        assert_eq!(index.verify().is_ok(), whole, "position {position}");
        assert_eq!(index.locator().locate(steno_core::PacketNo(0)).is_ok(), whole, "position {position}");
    }
}
