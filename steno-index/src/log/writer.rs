//! Appends to a log. The only part of this crate that runs on the capture path.

use steno_core::{
    Position, TimestampNs,
    packet::{Decoded, Fragment, Network, Tag},
};

use super::{
    entries::Entries,
    slot::{
        BLOCK_CRC, CHECKSUMS_PER_SLOT, SLOT_BYTES, Slot, TAGS_PER_SLOT, TAGS_START, encode_tag, flag, kind, slot,
        slot_of_values,
    },
};

/// Slots of a chunk: 1 MiB with what the allocator keeps beside them, so that none takes a page more than it fills.
const CHUNK_SLOTS: usize = (1 << 20) / SLOT_BYTES - 1;

/// A block of the packet file, once all its packets have been noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockNote {
    /// Where it starts in the packet file.
    pub offset_bytes: u64,
    /// Its used bytes (`blk_len`).
    pub used_bytes: u32,
    /// CRC-32C of its used bytes, where it was computed.
    pub crc32c: Option<u32>,
    /// The sequence number of its header.
    pub seq_num: u64,
}

/// The packets and blocks of an open segment, in arrival order.
///
/// ```
/// use steno_core::{Position, TimestampNs, packet::{Frame, decode}};
/// use steno_index::{BlockNote, Facts, Index, Log, seal};
///
/// # let frame = steno_core::testkit::FrameBuilder::ethernet().ipv4([10, 0, 0, 1], [10, 0, 0, 2]).tcp(40_000, 80).build();
/// let (mut log, mut tags) = (Log::new(), Vec::new());
/// let decoded = decode(&Frame::new(&frame), &mut tags);
/// log.note(Position(48), TimestampNs::from_parts(1_700_000_000, 0), 60, &decoded, &tags);
/// log.end_block(BlockNote { offset_bytes: 0, used_bytes: 192, crc32c: None, seq_num: 1 });
///
/// let mut file = Vec::new();
/// let summary = seal(&log, &Facts::default(), &mut file)?;
/// assert_eq!((summary.packets, summary.conversations), (1, 1));
/// assert_eq!(Index::from_bytes(file)?.packets(), 1);
/// # Ok::<(), steno_index::IndexError>(())
/// ```
#[derive(Debug)]
pub struct Log {
    full: Vec<Box<[Slot]>>,
    current: Box<[Slot]>,
    /// Chunks of earlier logs, to be used again.
    spare: Vec<Box<[Slot]>>,
    end: End,
}

/// Where the next record goes on.
#[derive(Clone, Debug)]
struct End {
    /// Slots used of the current chunk.
    used: usize,
    packets: u32,
    /// Packets since the last block record, and the range of their times.
    block_packets: u32,
    block_first_ns: u64,
    block_last_ns: u64,
    /// What the next packet's time counts from; the first packet sets it.
    base_ns: Option<u64>,
    /// The stack of the last tags record.
    stack: Vec<Tag>,
}

impl End {
    /// The end of a log without records.
    fn of_none() -> Self {
        Self {
            used: 0,
            packets: 0,
            block_packets: 0,
            block_first_ns: u64::MAX,
            block_last_ns: 0,
            base_ns: None,
            stack: Vec::new(),
        }
    }
}

/// Where a log ended at some time.
#[derive(Debug)]
pub(crate) struct Mark {
    full: usize,
    end: End,
}

impl Default for Log {
    fn default() -> Self {
        Self::new()
    }
}

impl Log {
    /// An empty log.
    pub fn new() -> Self {
        Self { full: Vec::new(), current: chunk(), spare: Vec::new(), end: End::of_none() }
    }

    /// Appends a packet: `position` is that of its header in the packet file, `wire_len` its bytes on the wire.
    #[inline]
    pub fn note(&mut self, position: Position, time: TimestampNs, wire_len: u32, decoded: &Decoded, tags: &[Tag]) {
        let ns = time.as_ns();
        let since = self.end.base_ns.and_then(|base| ns.checked_sub(base)).and_then(|since| u32::try_from(since).ok());
        let since = since.unwrap_or_else(|| self.new_base(ns));
        self.end.block_first_ns = self.end.block_first_ns.min(ns);
        self.end.block_last_ns = self.end.block_last_ns.max(ns);
        let (tag_flags, vlan) = match *tags {
            [] => (0, 0),
            [Tag::Vlan(id)] => (flag::TAGS_INLINE, id),
            _ => {
                self.note_stack(tags);
                (flag::TAGS_STACK, 0)
            }
        };
        let flags = tag_flags
            | match decoded.fragment {
                Fragment::Whole => 0,
                Fragment::First => flag::FRAGMENT_FIRST,
                Fragment::Later => flag::FRAGMENT_LATER,
            }
            | if decoded.protocol.is_some() { flag::PROTOCOL } else { 0 }
            | if decoded.ports.is_some() { flag::PORTS } else { 0 };
        let (src_port, dst_port) = decoded.ports.unwrap_or_default();
        let head = |kind: u8, flags: u8| {
            u64::from(kind)
                | u64::from(flags) << 8
                | u64::from(decoded.protocol.unwrap_or_default()) << 16
                | u64::from(position.0) << 32
        };
        let length = u64::from(wire_len) | u64::from(since) << 32;
        let ports = u64::from(src_port) | u64::from(dst_port) << 16 | u64::from(vlan) << 32;
        match decoded.network {
            Network::V4 { src, dst } => {
                let addresses = u64::from(src.to_bits()) | u64::from(dst.to_bits()) << 32;
                let identification = u64::from(decoded.identification) << 48;
                self.put(slot([head(kind::PACKET_V4, flags), length, addresses, ports | identification]));
            }
            Network::V6 { src, dst } => {
                let identification = u64::from(decoded.identification);
                self.put(slot([head(kind::PACKET_V6, flags), length, identification, ports]));
                let mut addresses = [0; SLOT_BYTES];
                if let ([low, high], []) = addresses.as_chunks_mut::<16>() {
                    (*low, *high) = (src.octets(), dst.octets());
                }
                self.put(addresses);
            }
            Network::None { ether_type } => {
                let flags = flags | if ether_type.is_some() { flag::ETHER_TYPE } else { 0 };
                let ether_type = u64::from(ether_type.unwrap_or_default()) << 48;
                self.put(slot([head(kind::PACKET_OTHER, flags), length, 0, ports | ether_type]));
            }
        }
        self.end.packets = self.end.packets.saturating_add(1);
        self.end.block_packets = self.end.block_packets.saturating_add(1);
    }

    /// Appends the block that the packets noted since the last call are in.
    pub fn end_block(&mut self, block: BlockNote) {
        self.end_block_with(block, &[]);
    }

    /// As [`Self::end_block`], with the running checksums of the block ([`BlockChecksums`](crate::BlockChecksums)): all of them,
    /// and its CRC-32C besides, or none.
    pub fn end_block_with(&mut self, block: BlockNote, running: &[u32]) {
        for some in running.chunks(CHECKSUMS_PER_SLOT) {
            let count = u8::try_from(some.len()).unwrap_or_default();
            self.put(slot_of_values([kind::RUNNING_CHECKSUMS, 0, count, 0], some.iter().copied()));
        }
        let head = u64::from(kind::BLOCK)
            | u64::from(if block.crc32c.is_some() { BLOCK_CRC } else { 0 }) << 8
            | u64::from(block.used_bytes) << 32;
        let counts = u64::from(self.end.block_packets) | u64::from(block.crc32c.unwrap_or_default()) << 32;
        self.put(slot([head, block.offset_bytes, block.seq_num, counts]));
        let first = if self.end.block_packets == 0 { 0 } else { self.end.block_first_ns };
        self.put(slot([first, self.end.block_last_ns, 0, 0]));
        self.end.block_packets = 0;
        (self.end.block_first_ns, self.end.block_last_ns) = (u64::MAX, 0);
    }

    /// Where it ends now.
    pub(crate) fn mark(&self) -> Mark {
        Mark { full: self.full.len(), end: self.end.clone() }
    }

    /// Takes back what was appended since `mark`, which must not be older than the last [`Self::clear`].
    #[cold]
    pub(crate) fn go_back(&mut self, mark: Mark) {
        while self.full.len() > mark.full {
            let Some(last) = self.full.pop() else { break };
            self.spare.push(std::mem::replace(&mut self.current, last));
        }
        self.end = mark.end;
    }

    /// Packets noted.
    pub fn packets(&self) -> u32 {
        self.end.packets
    }

    /// Bytes of the records.
    pub fn bytes(&self) -> u64 {
        ((self.full.len() * CHUNK_SLOTS + self.end.used) * SLOT_BYTES) as u64
    }

    /// Bytes of memory that it takes, those that it keeps for more records included.
    pub fn memory_bytes(&self) -> u64 {
        ((self.full.len() + 1 + self.spare.len()) * CHUNK_SLOTS * SLOT_BYTES) as u64
    }

    /// Empties the log and keeps its memory for the next segment; of what was left over, no more than was used.
    pub fn clear(&mut self) {
        self.spare.truncate(self.full.len() + 1);
        self.spare.append(&mut self.full);
        self.end = End::of_none();
    }

    /// The records, decoded.
    pub fn entries(&self) -> Entries<'_> {
        Entries::of_chunks(&self.full, self.current.get(..self.end.used).unwrap_or_default())
    }

    /// The records as bytes, in one piece: what [`super::decode`] takes.
    pub fn to_vec(&self) -> Vec<u8> {
        let slots = self.full.iter().flat_map(|chunk| chunk.iter()).chain(self.current.iter().take(self.end.used));
        slots.flatten().copied().collect()
    }

    /// The bytes of the records from one byte to another, as they lie in memory. Both are ends of slots.
    pub(super) fn pieces(&self, from: u64, until: u64) -> impl Iterator<Item = &[u8]> {
        const CHUNK_BYTES: u64 = (CHUNK_SLOTS * SLOT_BYTES) as u64;
        let current = self.current.get(..self.end.used).unwrap_or_default();
        let chunks = self.full.iter().map(|chunk| &**chunk).chain([current]);
        let begins = (0..).step_by(CHUNK_SLOTS * SLOT_BYTES);
        chunks.zip(begins).filter_map(move |(chunk, begin): (&[Slot], u64)| {
            let within = |at: u64| usize::try_from(at.saturating_sub(begin).min(CHUNK_BYTES)).unwrap_or(0);
            chunk.as_flattened().get(within(from)..within(until)).filter(|piece| !piece.is_empty())
        })
    }

    #[inline]
    fn put(&mut self, slot: Slot) {
        if self.end.used == CHUNK_SLOTS {
            self.next_chunk();
        }
        if let Some(place) = self.current.get_mut(self.end.used) {
            *place = slot;
            self.end.used += 1;
        }
    }

    #[cold]
    fn next_chunk(&mut self) {
        let next = self.spare.pop().unwrap_or_else(chunk);
        self.full.push(std::mem::replace(&mut self.current, next));
        self.end.used = 0;
    }

    /// Counts times from `ns` on. A packet at that time is 0 ns behind it.
    #[cold]
    fn new_base(&mut self, ns: u64) -> u32 {
        self.end.base_ns = Some(ns);
        self.put(slot([u64::from(kind::TIME_BASE), ns, 0, 0]));
        0
    }

    fn note_stack(&mut self, tags: &[Tag]) {
        if self.end.stack == tags {
            return;
        }
        self.end.stack.clear();
        self.end.stack.extend_from_slice(tags);
        for (i, some) in tags.chunks(TAGS_PER_SLOT).enumerate() {
            let start = if i == 0 { TAGS_START } else { 0 };
            let head = [kind::TAGS, start, u8::try_from(some.len()).unwrap_or_default(), 0];
            self.put(slot_of_values(head, some.iter().map(|tag| encode_tag(*tag))));
        }
    }
}

fn chunk() -> Box<[Slot]> {
    vec![[0; SLOT_BYTES]; CHUNK_SLOTS].into_boxed_slice()
}

#[cfg(test)]
mod tests {
    use steno_core::testkit::FrameBuilder;

    use super::*;

    /// Across chunks, a stack of tags and a time base: what is noted after going back is as if nothing had been there.
    #[test]
    fn going_back_leaves_no_trace() {
        let frame = FrameBuilder::ethernet().ipv6([1; 16], [2; 16]).udp(1, 2).build();
        let decoded = steno_core::packet::decode(&steno_core::packet::Frame::new(&frame), &mut Vec::new());
        let stack = [Tag::Vlan(1), Tag::Mpls(2)];
        let note = |log: &mut Log, from: u64, count: u64| {
            for i in from..from + count {
                let tags = if i % 2 == 0 { &stack[..] } else { &stack[..1 + usize::from(i % 3 == 0)] };
                log.note(Position(48), TimestampNs::new(i * 1_000_000), 60, &decoded, tags);
            }
        };
        let end = BlockNote { offset_bytes: 0, used_bytes: 100, crc32c: None, seq_num: 1 };
        for before in [0, 1, 16_000, 16_400] {
            let (mut log, mut other) = (Log::new(), Log::new());
            note(&mut log, 100, before);
            note(&mut other, 100, before);
            let mark = log.mark();
            note(&mut log, 7_000_000, 40_000);
            log.go_back(mark);
            assert!(log.to_vec() == other.to_vec(), "after {before}");
            for log in [&mut log, &mut other] {
                note(log, 20_000, 20_000);
                log.end_block(end);
            }
            assert!(log.to_vec() == other.to_vec(), "after {before} and on");
            assert_eq!(log.packets(), other.packets());
        }
    }
}
