//! Groups the packets of a log into conversations, and collects its blocks.

use std::{
    hash::{Hash, Hasher},
    io::Write,
    sync::Arc,
};

use steno_core::{
    PacketNo, TimestampNs,
    block::BLOCK_HEADER_BYTES,
    packet::{Fragment, Network, Tag},
};

use super::{fragments::Fragments, intern::Interner, output::Output};
use crate::{
    Class, IndexError, Log, NetworkKind,
    column::{ColumnWriter, common_scale},
    format::{ANCHOR_STEP, BlockRecord, MAX_PACKETS, SectionId},
    log::{BlockEntry, Entry, PacketNote, TagStack},
    reader::BlockInfo,
};

/// Packets lie behind the header of their block.
const HEADER: u64 = BLOCK_HEADER_BYTES as u64;

/// What the packets of a conversation share. IPv4 addresses stand for themselves, IPv6 addresses are numbered in the
/// order of appearance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    pub(super) bytes: u64,
    pub(super) first_ns: u64,
    pub(super) last_ns: u64,
}

impl SideTotals {
    const NONE: Self = Self { packets: 0, bytes: 0, first_ns: u64::MAX, last_ns: 0 };

    #[inline]
    fn add(&mut self, wire_len: u32, ns: u64) {
        self.packets += 1;
        self.bytes += u64::from(wire_len);
        self.first_ns = self.first_ns.min(ns);
        self.last_ns = self.last_ns.max(ns);
    }
}

/// What went both ways, and who began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Totals {
    pub(super) forward: SideTotals,
    pub(super) reverse: SideTotals,
    pub(super) opened_by_high: bool,
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

#[derive(Debug)]
pub(super) struct Groups {
    keys: Interner<Key>,
    totals: Vec<Totals>,
    v6: Interner<u128>,
    classes: Interner<ClassKey>,
    last_class: Option<(ClassKey, u32)>,
    stacks: Interner<Box<[Tag]>>,
    last_stack: Option<(Arc<[Tag]>, u32)>,
    /// For each packet its conversation and, in the lowest bit, 1 for reverse.
    sides: Vec<u32>,
    fragments: Fragments,
    blocks: Vec<BlockRecord>,
    /// Positions of anchors.
    anchors: Vec<u32>,
    /// Packets in the blocks that are complete, and the first and last position since.
    blocked: u32,
    open_positions: Option<(u32, u32)>,
    time_range: Option<(u64, u64)>,
    wire_bytes: u64,
}

impl Groups {
    pub(super) fn new() -> Self {
        Self {
            keys: Interner::new(),
            totals: Vec::new(),
            v6: Interner::new(),
            classes: Interner::new(),
            last_class: None,
            stacks: Interner::new(),
            last_stack: None,
            sides: Vec::new(),
            fragments: Fragments::default(),
            blocks: Vec::new(),
            anchors: Vec::new(),
            blocked: 0,
            open_positions: None,
            time_range: None,
            wire_bytes: 0,
        }
    }

    fn clear(&mut self) {
        self.keys.clear();
        self.totals.clear();
        self.v6.clear();
        self.classes.clear();
        self.last_class = None;
        self.stacks.clear();
        self.last_stack = None;
        self.sides.clear();
        self.fragments.clear();
        self.blocks.clear();
        self.anchors.clear();
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
        for entry in log.entries() {
            match entry? {
                Entry::Packet(packet) => self.add(&packet)?,
                Entry::Block(block) => self.end_block(&block)?,
            }
        }
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

    /// Writes the block table and the anchors.
    pub(super) fn write_blocks<W: Write>(
        &self,
        output: &mut Output<'_, W>,
        column: &mut ColumnWriter,
    ) -> Result<(), IndexError> {
        let records: Vec<u8> = self.blocks.iter().flat_map(BlockRecord::encode).collect();
        output.section(SectionId::Blocks, self.blocks.len() as u64, &records)?;
        let anchors = || self.anchors.iter().map(|&position| u64::from(position));
        column.begin(common_scale(anchors()));
        anchors().for_each(|position| column.push(position));
        output.column(SectionId::Anchors, column)
    }

    #[inline]
    fn add(&mut self, packet: &PacketNote) -> Result<(), IndexError> {
        let (position, in_block) = (packet.position.0, self.packets() - self.blocked);
        self.open_positions = match self.open_positions {
            None => Some((position, position)),
            Some((first, last)) if last < position => Some((first, position)),
            Some(_) => return Err(IndexError::corrupt("log", "positions do not ascend", self.packets())),
        };
        if in_block.is_multiple_of(ANCHOR_STEP) {
            self.anchors.push(position);
        }
        let class = self.class(packet);
        let (key, sent_by_high) = self.key(class, packet);
        let (no, new) = self.keys.intern(key);
        if new {
            let (forward, reverse) = (SideTotals::NONE, SideTotals::NONE);
            self.totals.push(Totals { forward, reverse, opened_by_high: sent_by_high });
        }
        if let Some(totals) = self.totals.get_mut(no as usize) {
            let reverse = sent_by_high != totals.opened_by_high;
            let side = if reverse { &mut totals.reverse } else { &mut totals.forward };
            side.add(packet.wire_len, packet.time.as_ns());
            let side = no << 1 | u32::from(reverse);
            self.sides.push(side);
            if packet.decoded.fragment != Fragment::Whole {
                self.fragments.add(packet, side);
            }
        }
        self.wire_bytes += u64::from(packet.wire_len);
        Ok(())
    }

    /// The key of a packet, and whether its sender is the high end.
    #[inline]
    fn key(&mut self, class: u32, packet: &PacketNote) -> (Key, bool) {
        let (src_port, dst_port) = packet.decoded.ports.unwrap_or_default();
        let (src, dst, sent_by_high) = match packet.decoded.network {
            Network::None { .. } => (0, 0, src_port > dst_port),
            Network::V4 { src, dst } => (src.to_bits(), dst.to_bits(), (src_port, src) > (dst_port, dst)),
            Network::V6 { src, dst } => {
                let (from, to) = (self.v6.intern(src.to_bits()).0, self.v6.intern(dst.to_bits()).0);
                (from, to, (src_port, src) > (dst_port, dst))
            }
        };
        let from_low = Key { class, low_address: src, high_address: dst, low_port: src_port, high_port: dst_port };
        let from_high = Key { class, low_address: dst, high_address: src, low_port: dst_port, high_port: src_port };
        (if sent_by_high { from_high } else { from_low }, sent_by_high)
    }

    #[inline]
    fn class(&mut self, packet: &PacketNote) -> u32 {
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
        match self.last_class {
            Some((last, no)) if last == key => no,
            _ => {
                let (no, _) = self.classes.intern(key);
                self.last_class = Some((key, no));
                no
            }
        }
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

    fn end_block(&mut self, block: &BlockEntry) -> Result<(), IndexError> {
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
        self.blocks.push(BlockRecord { info, first_anchor: anchors.saturating_sub(of_block) });
        self.blocked = self.packets();
        Ok(())
    }
}
