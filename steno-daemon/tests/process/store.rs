//! A store that a test makes, and what steno-query itself answers from it.

use std::{fs, path::Path};

use steno_core::{
    BLOCK_BYTES, TimestampNs,
    block::{Block, BlockWriter, Push},
    pcap::Format,
    testkit::FrameBuilder,
};
use steno_index::{Facts, Log, note_block, seal};
use steno_query::{Options, Store, store::ThreadDirs};

/// The time of the first packet.
pub(crate) const EPOCH_S: u32 = 1_700_000_000;
/// Packets of a segment.
const PACKETS: u32 = 6_000;

/// Makes `segments` segments of about 8 MiB each in `root/PKT0` and `root/IDX0`: a packet a millisecond; one in a thousand is
/// UDP to port 53, and of the others four of five are TCP.
pub(crate) fn fill(root: &Path, segments: u32) {
    for name in ["PKT0", "IDX0"] {
        fs::create_dir(root.join(name)).unwrap();
    }
    for segment in 0..segments {
        let (packets, index) = make(segment);
        let name = (u64::from(EPOCH_S + segment * 1_000) * 1_000_000).to_string();
        fs::write(root.join("PKT0").join(&name), packets).unwrap();
        fs::write(root.join("IDX0").join(&name), index).unwrap();
    }
}

fn make(segment: u32) -> (Vec<u8>, Vec<u8>) {
    let (mut file, mut log, mut writer) = (Vec::new(), Log::new(), BlockWriter::new(BLOCK_BYTES));
    let mut finish = |writer: &mut BlockWriter| {
        let offset = file.len() as u64;
        let bytes = writer.finish(offset / u64::from(BLOCK_BYTES) + 1);
        let _captured = note_block(&mut log, offset, &Block::parse(bytes).unwrap(), None).unwrap();
        file.extend_from_slice(bytes);
        writer.clear();
    };
    let mut payload = vec![0x5a; 1_300];
    for i in 0..PACKETS {
        let time = TimestampNs::from_parts(EPOCH_S + segment * 1_000 + i / 1_000, i % 1_000 * 1_000_000);
        payload[..8].copy_from_slice(&(u64::from(segment) << 32 | u64::from(i)).to_be_bytes());
        let ip = FrameBuilder::ethernet().ipv4([10, 0, 0, u8::try_from(i % 200).unwrap()], [10, 0, 1, 1]);
        let port = u16::try_from(20_000 + i % 500).unwrap();
        let frame = match i {
            _ if i % 1_000 == 0 => ip.udp(port, 53),
            _ if i % 5 == 0 => ip.udp(port, 443),
            _ => ip.tcp(port, 443),
        };
        let frame = frame.payload(&payload).build();
        let wire_len = u32::try_from(frame.len()).unwrap();
        if writer.push(time, wire_len, &frame).unwrap() == Push::Full {
            finish(&mut writer);
            assert_ne!(writer.push(time, wire_len, &frame).unwrap(), Push::Full);
        }
    }
    finish(&mut writer);
    let mut index = Vec::new();
    let facts = Facts { block_bytes: BLOCK_BYTES, interface: "lo".into(), ..Facts::default() };
    let _sealed = seal(&log, &facts, &mut index).unwrap();
    (file, index)
}

/// The bytes that the store in `root` itself answers with.
pub(crate) fn answer(root: &Path, query: &str, format: Format) -> Vec<u8> {
    let threads = vec![ThreadDirs { thread: 0, packets: root.join("PKT0"), index: root.join("IDX0") }];
    let query = steno_query::parse(query, TimestampNs::from_parts(EPOCH_S, 0)).unwrap();
    let mut answer = Store::of_threads(threads).answer(&query, Options { format, ..Options::default() });
    let (mut all, mut chunk) = (Vec::new(), Vec::new());
    while answer.next_chunk(&mut chunk) {
        all.extend_from_slice(&chunk);
    }
    assert!(answer.receipt().is_complete(), "{}", answer.receipt());
    all
}
