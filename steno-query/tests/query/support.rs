//! What the tests of this crate share: stores in a temporary directory, and the linear scan that answers are held against.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    thread::sleep,
    time::Duration,
};

use steno_core::{
    SegmentId, TimestampNs,
    block::{Block, BlockWriter, PacketHeader, Push, TP_STATUS_VLAN_TPID_VALID, TP_STATUS_VLAN_VALID},
    packet::{Decoded, Fragment, Network, Tag, decode, decode_as_indexed},
    pcap::{CaptureMeta, CaptureWriter, Format, InterfaceMeta, Record},
    testkit::RecipePacket,
};
use steno_index::{
    BlockChecksums, BlockNote, Facts, Index, Log,
    log::{BlockEntry, Entry, OpenPart},
    note_block, seal, seal_version2,
    segment::SegmentPaths,
};
use steno_query::{Answer, Expr, Fields, Options, Query, Store};
use tempfile::TempDir;

use crate::old_index;

/// A store in a temporary directory, and all that was put into it.
pub(crate) struct TestStore {
    dir: TempDir,
    packets: Vec<Stored>,
}

/// A packet and where it was put.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) packet: RecipePacket,
    pub(crate) thread: u32,
    pub(crate) segment: u64,
    /// As answers number it: in order, or by its position.
    pub(crate) number: u32,
    index: IndexKind,
}

/// How a segment is written.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// Bytes of a block.
    pub(crate) block_bytes: u32,
    /// A block is finished after so many packets even if there is room.
    pub(crate) block_packets: u32,
    /// Whether the index gets a checksum of each block.
    pub(crate) crc: bool,
    /// And running ones of long blocks; those of before had none.
    pub(crate) running: bool,
    /// What kind of index it is.
    pub(crate) index: IndexKind,
    /// What the index says of the capture.
    pub(crate) facts: Facts,
}

impl Default for Shape {
    fn default() -> Self {
        let index = IndexKind::Native;
        let facts = Facts::default();
        Self { block_bytes: 1 << 20, block_packets: u32::MAX, crc: true, running: true, index, facts }
    }
}

/// What kind of index a segment has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IndexKind {
    Native,
    /// Version 2, by Steno.
    Leveldb,
    /// Version 2, by stenographer 1.0.1.
    Old,
}

/// An answer's packet, as it is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Got {
    pub(crate) time: TimestampNs,
    pub(crate) wire_len: u32,
    pub(crate) frame: Vec<u8>,
    pub(crate) place: (u32, u64, u32),
}

impl TestStore {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), packets: Vec::new() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn open(&self) -> Store {
        Store::open(self.path()).unwrap()
    }

    pub(crate) fn paths(&self, thread: u32, segment: u64) -> SegmentPaths {
        let dirs = ["PKT", "IDX"].map(|kind| self.path().join(format!("{kind}{thread}")));
        dirs.iter().for_each(|dir| fs::create_dir_all(dir).unwrap());
        SegmentPaths::new(&dirs[0], &dirs[1], SegmentId(segment))
    }

    pub(crate) fn packet_file(&self, thread: u32, segment: u64) -> PathBuf {
        self.paths(thread, segment).packet_file()
    }

    pub(crate) fn index_file(&self, thread: u32, segment: u64) -> PathBuf {
        self.paths(thread, segment).index_file()
    }

    /// Writes a segment.
    pub(crate) fn add(&mut self, thread: u32, segment: u64, packets: &[RecipePacket], shape: &Shape) {
        let paths = self.paths(thread, segment);
        let (blocks, log) = blocks(packets, shape);
        let mut index = Vec::new();
        let facts = Facts { block_bytes: shape.block_bytes, thread, ..shape.facts.clone() };
        match shape.index {
            IndexKind::Native => drop(seal(&log, &facts, &mut index).unwrap()),
            IndexKind::Leveldb => drop(seal_version2(&log, &facts, &mut index).unwrap()),
            IndexKind::Old => index = old_index::index(&log, packets.iter().map(|p| p.bytes.as_slice())),
        }
        // Not by way of hidden names and syncs, which cost a test more than all else and are tested where they are.
        fs::write(paths.packet_file(), blocks).unwrap();
        fs::write(paths.index_file(), index).unwrap();
        let positions = log.entries().filter_map(|entry| match entry.unwrap() {
            Entry::Packet(note) => Some(note.position.0),
            Entry::Block(_) => None,
        });
        let numbers: Vec<u32> = match shape.index {
            IndexKind::Native => (0..).take(packets.len()).collect(),
            IndexKind::Leveldb | IndexKind::Old => positions.collect(),
        };
        let index = shape.index;
        let stored =
            |(number, packet): (u32, &RecipePacket)| Stored { packet: packet.clone(), thread, segment, number, index };
        self.packets.extend(numbers.into_iter().zip(packets).map(stored));
    }

    /// Forgets what is in a segment that a test has made unreadable.
    pub(crate) fn forget(&mut self, thread: u32, segment: u64) {
        self.packets.retain(|p| (p.thread, p.segment) != (thread, segment));
    }

    /// What a linear scan over all packets selects, in the order of answers.
    pub(crate) fn scan(&self, expr: &Expr) -> Vec<Got> {
        let mut tags = Vec::new();
        let wanted = self.packets.iter().filter(|stored| {
            let decoded = self.decoded(stored, &mut tags);
            expr.matches(&Fields::of(&decoded, &tags), stored.packet.time)
        });
        let mut got: Vec<Got> = wanted.map(Stored::got).collect();
        got.sort_by_key(|p| (p.time, p.place));
        got
    }

    /// The fields of a packet. A later fragment has the protocol and the ports of its first one, which is the nearest of the same
    /// datagram within a minute; it is then a first one itself here.
    pub(crate) fn decoded(&self, stored: &Stored, tags: &mut Vec<Tag>) -> Decoded {
        let own = if stored.index == IndexKind::Old { decode_as_indexed } else { decode };
        let mut decoded = own(&stored.packet.frame(), tags);
        if stored.index != IndexKind::Native || decoded.fragment != Fragment::Later {
            return decoded;
        }
        let datagram = |d: &Decoded| {
            let protocol = d.protocol.filter(|_| matches!(d.network, Network::V4 { .. }));
            (d.network, protocol, d.identification)
        };
        let firsts = self.packets.iter().filter(|other| other.index == IndexKind::Native).filter_map(|other| {
            let first = decode(&other.packet.frame(), &mut Vec::new());
            let apart = other.packet.time.as_ns().abs_diff(stored.packet.time.as_ns());
            let same = first.fragment == Fragment::First && datagram(&first) == datagram(&decoded);
            let rank = (apart, other.packet.time, other.thread, other.segment, other.number);
            (same && apart <= 60_000_000_000).then_some((rank, first))
        });
        if let Some((_, first)) = firsts.min_by_key(|(rank, _)| *rank) {
            decoded = Decoded { fragment: Fragment::First, ..first };
        }
        decoded
    }

    pub(crate) fn packets(&self) -> &[Stored] {
        &self.packets
    }
}

impl Stored {
    pub(crate) fn got(&self) -> Got {
        let frame = self.packet.frame();
        Got {
            time: self.packet.time,
            wire_len: self.packet.wire_len + frame.restored_bytes(),
            frame: frame.to_vec(),
            place: (self.thread, self.segment, self.number),
        }
    }
}

/// All packets of an answer.
pub(crate) fn take(answer: &mut Answer) -> Vec<Got> {
    let mut got = Vec::new();
    while let Some(p) = answer.next_packet() {
        let place = (p.thread, p.segment.0, p.number.0);
        got.push(Got { time: p.time, wire_len: p.wire_len, frame: p.frame.to_vec(), place });
    }
    got
}

/// The capture file of an answer.
pub(crate) fn take_bytes(answer: &mut Answer) -> Vec<u8> {
    let (mut file, mut chunk) = (Vec::new(), Vec::new());
    while answer.next_chunk(&mut chunk) {
        file.extend_from_slice(&chunk);
    }
    assert!(chunk.is_empty());
    file
}

/// The capture file that holds these packets, written in the plainest way.
pub(crate) fn capture_file(packets: &[Got], format: Format) -> Vec<u8> {
    let meta = CaptureMeta { interfaces: vec![InterfaceMeta::ethernet("unknown")], ..CaptureMeta::default() };
    let writer = CaptureWriter::new(format, meta);
    let mut file = Vec::new();
    writer.start(&mut file);
    for p in packets {
        let frame = steno_core::packet::Frame::new(&p.frame);
        writer.packet(&mut file, &Record { time: p.time, wire_len: p.wire_len, frame, interface: 0 });
    }
    file
}

pub(crate) fn query(text: &str) -> Query {
    steno_query::parse(text, TimestampNs::from_parts(1_700_000_000, 0)).unwrap()
}

/// Asks in packets, and fails unless the answer is that of the scan and complete.
pub(crate) fn assert_scan(store: &TestStore, text: &str) -> usize {
    let query = query(text);
    let mut answer = store.open().answer(&query, Options::default());
    let got = take(&mut answer);
    assert_eq!(got, store.scan(&query.expr), "{text}");
    let receipt = answer.receipt();
    assert!(receipt.is_complete(), "{receipt}");
    got.len()
}

/// All that a store says to a question: packets, flows, an explanation, and the receipts of these.
pub(crate) fn everything(store: &Store, text: &str) -> (Vec<Got>, [String; 4]) {
    let (query, options) = (query(text), Options::default());
    let mut answer = store.answer(&query, options.clone());
    let got = take(&mut answer);
    let flows = store.flows(&query, &options);
    let listed: Vec<String> = flows.iter().map(|flow| format!("{flow:?}")).collect();
    let explained = store.explain(&query, &options).to_string();
    (got, [answer.receipt().to_string(), listed.join("\n"), flows.receipt().to_string(), explained])
}

/// Waits until a change shows in the times of what was written before.
pub(crate) fn settle() {
    sleep(Duration::from_millis(80));
}

/// The indexes of the packet file of some packets, each of `blocks_each` blocks.
pub(crate) fn open_parts(packets: &[RecipePacket], shape: &Shape, blocks_each: usize) -> Vec<OpenPart> {
    let (_, log) = blocks(packets, shape);
    let (mut parts, mut part, mut blocks, mut first_packet) = (Vec::new(), Log::new(), 0, 0);
    let mut finish = |part: &mut Log| {
        let mut index = Vec::new();
        let facts = Facts { block_bytes: shape.block_bytes, ..Facts::default() };
        let sealed = seal(part, &facts, &mut index).unwrap();
        parts.push(OpenPart { index: Arc::new(Index::from_bytes(index).unwrap()), first_packet });
        first_packet += sealed.packets;
        part.clear();
    };
    let mut entries = log.entries();
    while let Some(entry) = entries.next() {
        match entry.unwrap() {
            Entry::Packet(note) => {
                part.note(note.position, note.time, note.wire_len, &note.decoded, note.tags.as_slice());
            }
            Entry::Block(BlockEntry { offset_bytes, used_bytes, crc32c, seq_num, .. }) => {
                let note = BlockNote { offset_bytes, used_bytes, crc32c, seq_num };
                part.end_block_with(note, entries.running_checksums());
                blocks += 1;
                if blocks % blocks_each == 0 {
                    finish(&mut part);
                }
            }
        }
    }
    if part.packets() > 0 {
        finish(&mut part);
    }
    parts
}

/// The bytes of a packet file, and the log that its index is sealed from.
fn blocks(packets: &[RecipePacket], shape: &Shape) -> (Vec<u8>, Log) {
    let (mut file, mut log) = (Vec::new(), Log::new());
    let mut writer = BlockWriter::new(shape.block_bytes);
    let mut finish = |writer: &mut BlockWriter| {
        if writer.packets() == 0 {
            return;
        }
        let offset = file.len() as u64;
        let bytes = writer.finish(offset / u64::from(shape.block_bytes) + 1);
        let block = Block::parse(bytes).unwrap();
        let checksums = shape.crc.then(|| BlockChecksums::of(block.used()));
        let _captured = note_block(&mut log, offset, &block, checksums.as_ref()).unwrap();
        file.extend_from_slice(bytes);
        writer.clear();
    };
    for packet in packets {
        if writer.packets() >= shape.block_packets || push(&mut writer, packet) == Push::Full {
            finish(&mut writer);
            if writer.packets() == 0 {
                assert!(matches!(push(&mut writer, packet), Push::Stored { .. }), "a packet fits an empty block");
            }
        }
    }
    finish(&mut writer);
    let log = if shape.running { log } else { without_running(&log) };
    (file, log)
}

/// The same log, as one of before running checksums had it.
fn without_running(log: &Log) -> Log {
    let mut old = Log::new();
    for entry in log.entries() {
        match entry.unwrap() {
            Entry::Packet(note) => {
                old.note(note.position, note.time, note.wire_len, &note.decoded, note.tags.as_slice());
            }
            Entry::Block(BlockEntry { offset_bytes, used_bytes, crc32c, seq_num, .. }) => {
                old.end_block(BlockNote { offset_bytes, used_bytes, crc32c, seq_num });
            }
        }
    }
    old
}

fn push(writer: &mut BlockWriter, packet: &RecipePacket) -> Push {
    let complete = |header: &mut PacketHeader| {
        if let Some(tag) = packet.stripped {
            header.status |= TP_STATUS_VLAN_VALID | TP_STATUS_VLAN_TPID_VALID;
            header.vlan_tci = u32::from(tag.tci);
            header.vlan_tpid = tag.tpid;
        }
    };
    writer.push_with(packet.time, packet.wire_len, &packet.bytes, complete).unwrap()
}
