//! Blocks of a packet file: [`steno_core::block`].
//!
//! Any bytes are taken as a block. Where it reads, every packet lies within it and each after the one before, and what was
//! read can be written again and reads the same. They are also taken as a packet file of small blocks: an index built from
//! it is right, by itself and against the file.

#![no_main]

use libfuzzer_sys::fuzz_target;
use steno_core::block::{Block, BlockWriter, Push, packet_at};
use steno_core::packet::decode;
use steno_index::{Facts, Index, index_packet_file};

/// Bytes between the blocks of the packet file that the input is taken for.
const BLOCK_BYTES: usize = 2048;

fuzz_target!(|input: &[u8]| {
    walk(input);
    // Most inputs are no block at all; an index of nothing is not worth the time.
    if Block::parse(input.get(..BLOCK_BYTES).unwrap_or(input)).is_ok() {
        index(input);
    }
});

fn index(mut file: &[u8]) {
    let whole = file;
    let facts = Facts { block_bytes: BLOCK_BYTES as u32, ..Facts::default() };
    let mut bytes = Vec::new();
    let Ok(built) = index_packet_file(&mut file, &facts, &mut bytes) else { return };
    let index = Index::from_bytes(bytes).expect("an index that was just built opens");
    assert_eq!(index.packets(), built.summary.packets);
    index.verify().expect("an index that was just built is right");
    if built.damage.is_none() {
        let report = index.verify_against(&mut &whole[..]);
        assert!(report.is_clean(), "{:?}", report.problems);
    }
}

fn walk(input: &[u8]) {
    let Ok(block) = Block::parse(input) else { return };
    let used = block.used();
    assert!(used.len() <= input.len());
    let mut tags = Vec::new();
    let mut writer = BlockWriter::new(1 << 16);
    let mut written = Vec::new();
    let mut last_offset = None;
    let mut walked = 0u32;
    for packet in block.packets() {
        walked += 1;
        assert!(walked <= block.header().num_pkts, "more packets than the block announces");
        let Ok(packet) = packet else { continue };
        assert!(last_offset < Some(packet.offset_bytes), "the walk does not go forward");
        last_offset = Some(packet.offset_bytes);
        assert_eq!(packet_at(used, packet.offset_bytes).map(|again| again.bytes), Ok(packet.bytes));
        assert!(packet.wire_len() >= packet.header.len);
        let _ = decode(&packet.frame(), &mut tags);

        // Nanoseconds of a whole second and more may carry a time past what the seconds field holds.
        if packet.timestamp().secs() > u64::from(u32::MAX) {
            continue;
        }
        let frame = packet.frame().to_vec();
        if let Ok(Push::Stored { .. }) = writer.push(packet.timestamp(), packet.wire_len(), &frame) {
            written.push((packet.timestamp(), packet.wire_len(), frame));
        }
    }
    let bytes = writer.finish(7);
    let copy = Block::parse(bytes).expect("a written block reads");
    let read: Vec<_> = copy
        .packets()
        .map(|packet| packet.expect("a written packet reads"))
        .map(|packet| (packet.timestamp(), packet.wire_len(), packet.bytes.to_vec()))
        .collect();
    assert_eq!(read, written);
}
