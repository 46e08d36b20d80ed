//! Groups the packets of a log into conversations, and collects its blocks.

use std::{
    hash::{Hash, Hasher},
    hint::select_unpredictable,
    io::Write,
    sync::Arc,
};

use steno_core::{
    PacketNo, TimestampNs,
    block::BLOCK_HEADER_BYTES,
    packet::{Fragment, Network, Tag},
};

use super::{
    forget,
    fragments::Fragments,
    intern::{Interner, TOGETHER},
    output::Output,
};
use crate::{
    Class, IndexError, Log, NetworkKind, Pause,
    column::{ColumnWriter, common_scale},
    format::{ANCHOR_STEP, BlockRecord, MAX_PACKETS, MINOR_WITH_RUNNING_CHECKSUMS, SectionId},
    le::{low16, low32},
    log::{BlockEntry, Entries, PacketNote, RawAddresses, RawEntry, RawPacket, TagStack},
    reader::BlockInfo,
};

/// Packets lie behind the header of their block.
const HEADER: u64 = BLOCK_HEADER_BYTES as u64;

/// What the packets of a conversation share. IPv4 addresses stand for themselves, IPv6 addresses are numbered in the
/// order of appearance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) class: u32,
    pub(super) low_address: u32,
    pub(super) high_address: u32,
    pub(super) low_port: u16,
    pub(super) high_port: u16,
}

impl Hash for Key {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(u64::from(self.low_address) | u64::from(self.high_address) << 32);
        let ports = u64::from(self.low_port) | u64::from(self.high_port) << 16;
        state.write_u64(u64::from(self.class) | ports << 32);
    }
}

/// What went one way.
#[derive(Clone, Copy, Debug)]
pub(super) struct SideTotals {
    pub(super) packets: u32,
    /// Whether the high end sends it.
    pub(super) from_high: bool,
    pub(super) bytes: u64,
    pub(super) first_ns: u64,
    pub(super) last_ns: u64,
}

impl SideTotals {
    const fn none(from_high: bool) -> Self {
        Self { packets: 0, from_high, bytes: 0, first_ns: u64::MAX, last_ns: 0 }
    }

    #[inline]
    fn add(&mut self, wire_len: u32, ns: u64) {
        self.packets += 1;
        self.bytes += u64::from(wire_len);
        self.first_ns = self.first_ns.min(ns);
        self.last_ns = self.last_ns.max(ns);
    }
}

/// What went both ways. Who sends forward began.
///
/// One cache line: packets come for any conversation, and each waits for the memory of its own.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(super) struct Totals {
    pub(super) forward: SideTotals,
    pub(super) reverse: SideTotals,
}

const _: () = assert!(size_of::<Totals>() == 64);

/// Packets whose conversations are looked up together.
#[derive(Debug)]
struct Batch {
    keys: [Key; TOGETHER],
    rest: [Waiting; TOGETHER],
    filled: usize,
}

/// What a packet adds to its conversation.
#[derive(Clone, Copy, Debug, Default)]
struct Waiting {
    ns: u64,
    wire_len: u32,
    sent_by_high: bool,
}

/// A class, its tags by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct ClassKey {
    network: NetworkKind,
    protocol: Option<u8>,
    has_ports: bool,
    later_fragments: bool,
    stack: StackKey,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum StackKey {
    None,
    Vlan(u16),
    /// A number of [`Groups::stacks`].
    Other(u32),
}

/// Bits of a class word's place in [`Groups::class_words`].
const CLASS_WORDS_BITS: u32 = 6;

#[derive(Debug)]
pub(super) struct Groups {
    keys: Interner<Key>,
    totals: Vec<Totals>,
    batch: Box<Batch>,
    v6: Interner<u128>,
    classes: Interner<ClassKey>,
    /// Class words seen last and their classes. No packet's word is 0.
    class_words: [(u64, u32); 1 << CLASS_WORDS_BITS],
    stacks: Interner<Box<[Tag]>>,
    last_stack: Option<(Arc<[Tag]>, u32)>,
    /// For each packet its conversation and, in the lowest bit, 1 for reverse.
    sides: Vec<u32>,
    fragments: Fragments,
    blocks: Vec<BlockRecord>,
    /// Positions of anchors.
    anchors: Vec<u32>,
    /// Running checksums of all blocks.
    running: Vec<u32>,
    /// Packets in the blocks that are complete, and the first and last position since.
    blocked: u32,
    open_positions: Option<(u32, u32)>,
    time_range: Option<(u64, u64)>,
    wire_bytes: u64,
    pause: Pause,
}

impl Groups {
    pub(super) fn new(pause: Pause) -> Self {
        Self {
            keys: Interner::new(),
            totals: Vec::new(),
            batch: Box::new(Batch {
                keys: [Key::default(); TOGETHER],
                rest: [Waiting::default(); TOGETHER],
                filled: 0,
            }),
            v6: Interner::new(),
            classes: Interner::new(),
            class_words: [(0, 0); 1 << CLASS_WORDS_BITS],
            stacks: Interner::new(),
            last_stack: None,
            sides: Vec::new(),
            fragments: Fragments::default(),
            blocks: Vec::new(),
            anchors: Vec::new(),
            running: Vec::new(),
            blocked: 0,
            open_positions: None,
            time_range: None,
            wire_bytes: 0,
            pause,
        }
    }

    fn clear(&mut self) {
        self.keys.clear();
        forget(&mut self.totals);
        self.batch.filled = 0;
        self.v6.clear();
        self.classes.clear();
        self.class_words.fill((0, 0));
        self.stacks.clear();
        self.last_stack = None;
        forget(&mut self.sides);
        self.fragments.clear();
        forget(&mut self.blocks);
        forget(&mut self.anchors);
        forget(&mut self.running);
        self.blocked = 0;
        self.open_positions = None;
        self.time_range = None;
        self.wire_bytes = 0;
    }

    /// Groups the packets of `log`; what was grouped before is forgotten.
    pub(super) fn read(&mut self, log: &Log) -> Result<(), IndexError> {
        self.clear();
        if log.packets() > MAX_PACKETS {
            let (got, most) = (u64::from(log.packets()), u64::from(MAX_PACKETS));
            return Err(IndexError::TooLarge { what: "packets", got, most });
        }
        self.sides.reserve(log.packets() as usize);
        let mut entries = log.entries();
        while let Some(entry) = entries.next_raw()? {
            match entry {
                RawEntry::Packet(packet) => self.add(&mut entries, &packet)?,
                RawEntry::Block(block) => {
                    self.add_batch();
                    self.pause.take();
                    self.end_block(&block, entries.running_checksums())?;
                }
            }
        }
        self.add_batch();
        if self.packets() != self.blocked {
            return Err(IndexError::corrupt("log", "packets behind the last block", self.blocked));
        }
        Ok(())
    }

    pub(super) fn keys(&self) -> &[Key] {
        self.keys.keys()
    }

    pub(super) fn totals(&self) -> &[Totals] {
        &self.totals
    }

    pub(super) fn sides(&self) -> &[u32] {
        &self.sides
    }

    pub(super) fn fragments(&self) -> &Fragments {
        &self.fragments
    }

    /// IPv6 addresses by number.
    pub(super) fn v6(&self) -> &[u128] {
        self.v6.keys()
    }

    /// The classes, by number.
    pub(super) fn classes(&self) -> impl Iterator<Item = Class> + '_ {
        self.classes.keys().iter().map(|key| Class {
            network: key.network,
            protocol: key.protocol,
            has_ports: key.has_ports,
            later_fragments: key.later_fragments,
            tags: match key.stack {
                StackKey::None => Vec::new(),
                StackKey::Vlan(id) => vec![Tag::Vlan(id)],
                StackKey::Other(no) => self.stacks.keys().get(no as usize).map(|s| s.to_vec()).unwrap_or_default(),
            },
        })
    }

    pub(super) fn packets(&self) -> u32 {
        // `read` has refused more than MAX_PACKETS.
        u32::try_from(self.sides.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn conversations(&self) -> u32 {
        u32::try_from(self.totals.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn blocks(&self) -> u32 {
        u32::try_from(self.blocks.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn wire_bytes(&self) -> u64 {
        self.wire_bytes
    }

    pub(super) fn time_range(&self) -> Option<(TimestampNs, TimestampNs)> {
        self.time_range.map(|(min, max)| (TimestampNs::new(min), TimestampNs::new(max)))
    }

    /// The lowest minor version, of the oldest major one, that has what is said of the blocks.
    pub(super) fn format_minor(&self) -> u16 {
        if self.running.is_empty() { 0 } else { MINOR_WITH_RUNNING_CHECKSUMS }
    }

    /// Writes the block table, the running checksums if there are any, and the anchors.
    pub(super) fn write_blocks<W: Write>(
        &self,
        output: &mut Output<'_, W>,
        column: &mut ColumnWriter,
    ) -> Result<(), IndexError> {
        let records: Vec<u8> = self.blocks.iter().flat_map(BlockRecord::encode).collect();
        output.section(SectionId::Blocks, self.blocks.len() as u64, &records)?;
        if !self.running.is_empty() {
            let values: Vec<u8> = self.running.iter().flat_map(|value| value.to_le_bytes()).collect();
            output.section(SectionId::RunningChecksums, self.running.len() as u64, &values)?;
        }
        let anchors = || self.anchors.iter().map(|&position| u64::from(position));
        column.begin(common_scale(anchors()));
        anchors().for_each(|position| column.push(position));
        output.column(SectionId::Anchors, column)
    }

    #[inline]
    fn add(&mut self, entries: &mut Entries<'_>, packet: &RawPacket<'_>) -> Result<(), IndexError> {
        let (position, in_block) = (packet.position, entries.open_packets().saturating_sub(1));
        self.open_positions = match self.open_positions {
            None => Some((position, position)),
            Some((first, last)) if last < position => Some((first, position)),
            Some(_) => return Err(IndexError::corrupt("log", "positions do not ascend", self.blocked + in_block)),
        };
        if in_block.is_multiple_of(ANCHOR_STEP) {
            self.anchors.push(position);
        }
        let class = self.class(entries, packet);
        let (key, sent_by_high) = self.key(class, packet);
        self.wire_bytes += u64::from(packet.wire_len);
        let Batch { keys, rest, filled } = &mut *self.batch;
        if let (Some(place), Some(waiting)) = (keys.get_mut(*filled), rest.get_mut(*filled)) {
            *place = key;
            *waiting = Waiting { ns: packet.ns, wire_len: packet.wire_len, sent_by_high };
            *filled += 1;
        }
        if packet.is_fragment() {
            self.add_batch();
            let side = self.sides.last().copied().unwrap_or_default();
            self.fragments.add(&entries.note_of(packet), side);
        } else if self.batch.filled == TOGETHER {
            self.add_batch();
        }
        Ok(())
    }

    /// Adds the packets that wait to their conversations.
    fn add_batch(&mut self) {
        let Batch { keys, rest, filled } = &mut *self.batch;
        let mut numbers = [0; TOGETHER];
        self.keys.intern_all(keys.get(..*filled).unwrap_or_default(), &mut numbers);
        for (&no, waiting) in numbers.iter().zip(rest.iter().take(*filled)) {
            if no as usize >= self.totals.len() {
                let (forward, reverse) = (waiting.sent_by_high, !waiting.sent_by_high);
                let (forward, reverse) = (SideTotals::none(forward), SideTotals::none(reverse));
                self.totals.push(Totals { forward, reverse });
            }
            let Some(totals) = self.totals.get_mut(no as usize) else { continue };
            let reverse = waiting.sent_by_high != totals.forward.from_high;
            let side = select_unpredictable(reverse, &mut totals.reverse, &mut totals.forward);
            side.add(waiting.wire_len, waiting.ns);
            self.sides.push(no << 1 | u32::from(reverse));
        }
        *filled = 0;
    }

    /// The key of a packet, and whether its sender is the high end.
    #[inline]
    fn key(&mut self, class: u32, packet: &RawPacket<'_>) -> (Key, bool) {
        let (src_port, dst_port) = packet.ports;
        let (src, dst, sent_by_high) = match packet.addresses() {
            RawAddresses::None => (0, 0, src_port > dst_port),
            RawAddresses::V4(src, dst) => (src, dst, (src_port, src) > (dst_port, dst)),
            RawAddresses::V6(src, dst) => {
                (self.v6.intern(src).0, self.v6.intern(dst).0, (src_port, src) > (dst_port, dst))
            }
        };
        let end = |address: u32, port: u16| u64::from(port) << 32 | u64::from(address);
        let (from, to) = (end(src, src_port), end(dst, dst_port));
        // Which end sends is anyone's guess.
        let (low, high) = (select_unpredictable(sent_by_high, to, from), select_unpredictable(sent_by_high, from, to));
        let (low_address, low_port) = (low32(low), low16(low >> 32));
        let (high_address, high_port) = (low32(high), low16(high >> 32));
        (Key { class, low_address, high_address, low_port, high_port }, sent_by_high)
    }

    /// The class of a packet. Traffic has few, so that nearly all are told by their words alone.
    #[inline]
    fn class(&mut self, entries: &mut Entries<'_>, packet: &RawPacket<'_>) -> u32 {
        let word = packet.class_word();
        let place = word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - CLASS_WORDS_BITS);
        let place = usize::try_from(place).unwrap_or(0);
        match self.class_words.get(place) {
            Some((known, no)) if *known == word && !packet.has_stack() => *no,
            _ => {
                let no = self.class_of(&entries.note_of(packet));
                if let Some(place) = self.class_words.get_mut(place) {
                    *place = (word, no);
                }
                no
            }
        }
    }

    #[cold]
    fn class_of(&mut self, packet: &PacketNote) -> u32 {
        let decoded = &packet.decoded;
        let key = ClassKey {
            network: match decoded.network {
                Network::None { ether_type } => NetworkKind::None { ether_type },
                Network::V4 { .. } => NetworkKind::V4,
                Network::V6 { .. } => NetworkKind::V6,
            },
            protocol: decoded.protocol,
            has_ports: decoded.ports.is_some(),
            later_fragments: decoded.fragment == Fragment::Later,
            stack: self.stack(&packet.tags),
        };
        self.classes.intern(key).0
    }

    #[inline]
    fn stack(&mut self, tags: &TagStack) -> StackKey {
        match tags.as_slice() {
            [] => StackKey::None,
            &[Tag::Vlan(id)] => StackKey::Vlan(id),
            stack => {
                if let (TagStack::Shared(tags), Some((last, no))) = (tags, &self.last_stack)
                    && Arc::ptr_eq(tags, last)
                {
                    return StackKey::Other(*no);
                }
                let (no, _) = self.stacks.intern(stack.into());
                if let TagStack::Shared(tags) = tags {
                    self.last_stack = Some((Arc::clone(tags), no));
                }
                StackKey::Other(no)
            }
        }
    }

    fn end_block(&mut self, block: &BlockEntry, running: &[u32]) -> Result<(), IndexError> {
        let no = self.blocks.len() as u64;
        let end = block.offset_bytes.saturating_add(u64::from(block.used_bytes));
        if let Some((first, last)) = self.open_positions.take()
            && (u64::from(first) < block.offset_bytes.saturating_add(HEADER) || u64::from(last) >= end)
        {
            return Err(IndexError::corrupt("log", "a packet outside of its block", no));
        }
        let before = self.blocks.last().map_or(0, |b| b.info.offset_bytes + u64::from(b.info.used_bytes));
        if block.offset_bytes < before || end > 1 << 32 {
            return Err(IndexError::corrupt("log", "a block that overlaps the one before, or ends past 4 GiB", no));
        }
        if block.packets > 0 {
            let (min, max) = self.time_range.unwrap_or((u64::MAX, 0));
            self.time_range = Some((min.min(block.min_time.as_ns()), max.max(block.max_time.as_ns())));
        }
        let of_block = block.packets.div_ceil(ANCHOR_STEP);
        let anchors = u32::try_from(self.anchors.len()).unwrap_or(u32::MAX);
        let info = BlockInfo {
            offset_bytes: block.offset_bytes,
            first_packet: PacketNo(self.blocked),
            packets: block.packets,
            used_bytes: block.used_bytes,
            min_time: block.min_time,
            max_time: block.max_time,
            crc32c: block.crc32c,
            seq_num: block.seq_num,
        };
        // Blocks do not overlap within 4 GiB, so that the numbers of their pieces have 32 bits.
        let first_running = u32::try_from(self.running.len()).ok().filter(|_| !running.is_empty());
        self.running.extend_from_slice(running);
        self.blocks.push(BlockRecord { info, first_anchor: anchors.saturating_sub(of_block), first_running });
        self.blocked = self.packets();
        Ok(())
    }
}
