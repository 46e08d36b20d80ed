//! Both ends of a shared log, and memory that holds none.

use rustix::fs::{SealFlags, fcntl_add_seals};
use steno_core::{
    Position, TimestampNs,
    packet::{Frame, decode as decode_frame},
    testkit::FrameBuilder,
};

use super::{reader::MOST_PARTS, *};
use crate::{BlockNote, Facts, Index, Log, PIECE_BYTES, Sealer, seal};

/// Notes blocks of so many packets each; gives where each ends.
fn note(log: &mut Log, blocks: &[u32]) -> Vec<u64> {
    let mut tags = Vec::new();
    let mut ends = Vec::new();
    for (number, packets) in (0..).zip(blocks) {
        for i in 0..*packets {
            let port = u16::try_from(i).unwrap();
            let v6 = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
            let frame = match i % 3 {
                0 => FrameBuilder::ethernet()
                    .tag(0x8100, 7)
                    .tag(0x8100, 8)
                    .ipv4([10, 0, 0, 1], [10, 0, 0, 2])
                    .tcp(port, 80),
                1 => FrameBuilder::ethernet().ipv6(v6, v6).udp(9, port),
                _ => FrameBuilder::ethernet().ipv4([10, 0, 0, 3], [10, 0, 0, 2]).udp(53, port),
            };
            let decoded = decode_frame(&Frame::new(&frame.build()), &mut tags);
            let position = Position(number * 8_388_608 + 48 + i * 144);
            log.note(position, TimestampNs::from_parts(1_700_000_000 + number, i), 80, &decoded, &tags);
        }
        let (offset_bytes, seq_num) = (u64::from(number) * 8_388_608, u64::from(number) + 1);
        let used_bytes = 48 + packets * 144;
        let note = BlockNote { offset_bytes, used_bytes, crc32c: Some(7), seq_num };
        log.end_block_with(note, &running(used_bytes));
        ends.push(log.bytes());
    }
    ends
}

/// Running checksums, some for each block that can have any.
fn running(used_bytes: u32) -> Vec<u32> {
    (0..(used_bytes - 1) / PIECE_BYTES).map(|no| no ^ used_bytes).collect()
}

fn memory_of(shared: &SharedLog) -> File {
    File::from(shared.as_fd().try_clone_to_owned().unwrap())
}

fn reader(shared: &SharedLog) -> SharedLogReader {
    SharedLogReader::new(memory_of(shared), 1 << 23)
}

fn packets(parts: &[OpenPart]) -> u32 {
    let mut before = 0;
    for part in parts {
        assert_eq!(part.first_packet, before);
        part.index.verify().unwrap();
        before += part.index.packets();
    }
    before
}

#[test]
fn what_is_published_is_read_as_if_it_were_sealed() {
    let mut log = Log::new();
    // More than one chunk of memory.
    let ends = note(&mut log, &[5, 1, 40_000, 0, 3]);
    let mut shared = SharedLog::create().unwrap();
    let mut reader = reader(&shared);
    assert!(reader.parts().unwrap().is_empty());
    for (end, expected) in [(ends[0], 5), (ends[0], 5), (ends[1], 6), (ends[4], 40_009)] {
        shared.publish(&log, end).unwrap();
        assert_eq!(packets(&reader.parts().unwrap()), expected);
    }
    let mut fresh = SharedLogReader::new(memory_of(&shared), 1 << 23);
    let mut sealed = Vec::new();
    let _summary = seal(&log, &Facts { block_bytes: 1 << 23, ..Facts::default() }, &mut sealed).unwrap();
    let sealed = Index::from_bytes(sealed).unwrap();
    let parts = fresh.parts().unwrap();
    let lines = |index: &Index| index.iter().map(|c| c.unwrap().1.to_string()).collect::<Vec<_>>();
    assert_eq!((parts.len(), lines(&parts[0].index)), (1, lines(&sealed)));
}

#[test]
fn parts_go_on_where_those_before_ended_and_stay_few() {
    let mut log = Log::new();
    // Some of them have running checksums.
    let blocks: Vec<u32> = (0..400).map(|i| if i % 29 == 3 { 400 + i } else { 1 + i * 7 % 40 }).collect();
    let ends = note(&mut log, &blocks);
    let mut shared = SharedLog::create().unwrap();
    let mut reader = reader(&shared);
    // Fewer than the records of some blocks.
    reader.together_bytes = 512;
    let mut expected = 0;
    for (i, (end, more)) in ends.iter().zip(&blocks).enumerate() {
        expected += more;
        shared.publish(&log, *end).unwrap();
        if i % 3 > 0 {
            continue;
        }
        let parts = reader.parts().unwrap();
        assert_eq!(packets(&parts), expected);
        assert!(parts.len() <= 12, "{} parts after {i} blocks", parts.len());
    }
    let mut indexed = 0;
    for part in reader.parts().unwrap() {
        for number in 0..part.index.block_count() {
            let block = part.index.block(number).unwrap();
            assert_eq!((block.packets, block.seq_num), (blocks[indexed], indexed as u64 + 1));
            let checksums = part.index.checksums(number).unwrap().unwrap();
            assert_eq!((checksums.crc32c(), checksums.running()), (7, &running(block.used_bytes)[..]));
            indexed += 1;
        }
    }
    assert_eq!(indexed, 400);
}

#[test]
fn large_parts_are_merged_while_others_come() {
    let mut log = Log::new();
    let blocks: Vec<u32> = (0..60).map(|i| 20 + i * 7 % 40).collect();
    let ends = note(&mut log, &blocks);
    let mut shared = SharedLog::create().unwrap();
    let mut reader = reader(&shared);
    reader.small_packets = 64;
    let (mut sealer, mut under_way, mut merges, mut expected) = (Sealer::new(), None::<Merge>, 0, 0);
    for (i, (end, more)) in ends.iter().zip(&blocks).enumerate() {
        expected += more;
        shared.publish(&log, *end).unwrap();
        let parts = reader.parts().unwrap();
        assert_eq!(packets(&parts), expected);
        // Made while four blocks come.
        match (under_way.take(), i % 5) {
            (Some(merge), 4) => {
                reader.take(merge.make(&mut sealer)).unwrap();
                let merged = reader.parts().unwrap();
                assert_eq!(packets(&merged), expected);
                assert!(merged.len() < parts.len());
                merges += 1;
            }
            (merge @ Some(_), _) => {
                assert!(reader.due().is_none(), "one at a time");
                under_way = merge;
            }
            (None, _) => under_way = reader.due(),
        }
    }
    assert!(merges >= 10, "{merges}");
    // None is under way: to the end.
    if let Some(merge) = under_way {
        reader.take(merge.make(&mut sealer)).unwrap();
    }
    while let Some(merge) = reader.due() {
        reader.take(merge.make(&mut sealer)).unwrap();
    }
    let parts = reader.parts().unwrap();
    assert_eq!(packets(&parts), expected);
    let sizes: Vec<_> = parts.iter().map(|part| part.index.packets()).collect();
    assert!(sizes.is_sorted_by(|some, more| some / 2 > *more), "{sizes:?}");
    let blocks_of = |parts: &[OpenPart]| {
        let of =
            |part: &OpenPart| (0..part.index.block_count()).map(|no| part.index.block(no).unwrap().packets).collect();
        parts.iter().flat_map(|part| -> Vec<u32> { of(part) }).collect::<Vec<_>>()
    };
    assert_eq!(blocks_of(&parts), blocks);
}

#[test]
fn what_is_being_merged_is_not_made_into_one_with_what_comes() {
    let mut log = Log::new();
    let ends = note(&mut log, &[60, 40, 20]);
    let mut shared = SharedLog::create().unwrap();
    let mut reader = reader(&shared);
    reader.small_packets = 64;
    let mut sizes = |reader: &mut SharedLogReader, end: u64| {
        shared.publish(&log, end).unwrap();
        reader.parts().unwrap().iter().map(|part| part.index.packets()).collect::<Vec<_>>()
    };
    assert_eq!(sizes(&mut reader, ends[0]), [60]);
    assert_eq!(sizes(&mut reader, ends[1]), [60, 40]);
    let merge = reader.due().unwrap();
    assert_eq!(sizes(&mut reader, ends[2]), [60, 40, 20]);
    reader.take(merge.make(&mut Sealer::new())).unwrap();
    assert_eq!(sizes(&mut reader, ends[2]), [100, 20]);
}

#[test]
fn parts_stay_few_where_nobody_merges_them() {
    let mut log = Log::new();
    let ends = note(&mut log, &[40; 400]);
    let mut shared = SharedLog::create().unwrap();
    let mut reader = reader(&shared);
    reader.small_packets = 64;
    for end in &ends {
        shared.publish(&log, *end).unwrap();
        let parts = reader.parts().unwrap();
        assert!(parts.len() <= MOST_PARTS + 1, "{}", parts.len());
    }
    assert_eq!(packets(&reader.parts().unwrap()), 400 * 40);
}

#[test]
fn a_merge_of_records_that_hold_no_more_is_an_error() {
    let mut log = Log::new();
    let ends = note(&mut log, &[40, 40]);
    let mut shared = SharedLog::create().unwrap();
    let mut reader = reader(&shared);
    reader.small_packets = 64;
    for end in ends {
        shared.publish(&log, end).unwrap();
        let _parts = reader.parts().unwrap();
    }
    let merge = reader.due().unwrap();
    memory_of(&shared).write_all_at(&[99], RECORDS_AT).unwrap();
    let refused = reader.take(merge.make(&mut Sealer::new())).unwrap_err();
    assert!(steno_core::chain(&refused).contains("unknown kind 99"), "{refused:?}");
}

#[test]
fn hostile_memory_is_an_error() {
    let mut log = Log::new();
    let ends = note(&mut log, &[3, 3]);
    let (note, end) =
        (BlockNote { offset_bytes: 1 << 25, used_bytes: 100_000, crc32c: Some(7), seq_num: 9 }, log.bytes() + 96);
    log.end_block_with(note, &[1, 2]);
    let written = |bytes: &[u8], at: u64| {
        let mut shared = SharedLog::create().unwrap();
        shared.publish(&log, end).unwrap();
        memory_of(&shared).write_all_at(bytes, at).unwrap();
        reader(&shared).parts().map(|parts| packets(&parts)).map_err(|e| steno_core::chain(&e))
    };
    assert_eq!(written(&[], 0), Ok(6));
    for (bytes, at, why) in [
        (&[0; 8][..], 0, "of another version"),
        (&[3], 8, "of another version"),
        (&[0xff; 8], COUNT_AT, "not kept any more"),
        (&[0xff; 7], COUNT_AT, "failed to fill"),
        (&(end + 32).to_le_bytes(), COUNT_AT, "failed to fill"),
        // Within a record, and within a block.
        (&(end - 1).to_le_bytes(), COUNT_AT, "ends within"),
        (&(ends[0] - 64).to_le_bytes(), COUNT_AT, "ends within"),
        // No more than a base of times: no packet is open, and no block has ended.
        (&32_u64.to_le_bytes(), COUNT_AT, "no end of a block"),
        (&[99], RECORDS_AT, "unknown kind 99"),
        // Of the last block, which has no packets, the running checksums and not the block.
        (&(end - 64).to_le_bytes(), COUNT_AT, "ends within"),
    ] {
        let got = written(bytes, at).unwrap_err();
        assert!(got.contains(why), "{why}: {got}");
    }
}

#[test]
fn memory_that_is_not_to_be_had_is_told() {
    let mut log = Log::new();
    let ends = note(&mut log, &[3, 3]);
    let mut shared = SharedLog::with(SealFlags::SHRINK).unwrap();
    let memory = memory_of(&shared);
    shared.publish(&log, ends[0]).unwrap();
    fcntl_add_seals(&memory, SealFlags::GROW).unwrap();
    let _refused = shared.publish(&log, ends[1]).unwrap_err();
    assert!(matches!(published_bytes(&memory), Err(SharedLogError::GivenUp)));
    shared.publish(&log, ends[1]).unwrap();
    assert!(matches!(published_bytes(&memory), Err(SharedLogError::GivenUp)));
}
