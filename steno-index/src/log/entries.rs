//! Reads a log back, from its own memory or from foreign bytes.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    slice,
    sync::Arc,
};

use steno_core::{
    Position, TimestampNs,
    packet::{Decoded, Fragment, Network, Tag},
};

use super::slot::{BLOCK_CRC, SLOT_BYTES, Slot, TAGS_START, decode_tag, flag, halves, kind, quarters, values, words};
use crate::checksums::{RUNNING_MAX, running_checksums};

/// Why bytes are not a log. Offsets count from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// A slot that starts no known record.
    #[error("slot {slot} starts a record of unknown kind {got}")]
    UnknownKind {
        /// Number of the slot.
        slot: u64,
        /// Its kind.
        got: u8,
    },
    /// The log ends within a record.
    #[error("the log ends within the record at slot {slot}")]
    Cut {
        /// Number of the record's first slot.
        slot: u64,
    },
    /// A record that contradicts itself or those before it.
    #[error("{what} in the record at slot {slot}")]
    Bad {
        /// Number of the record's first slot.
        slot: u64,
        /// What is wrong.
        what: &'static str,
    },
}

/// A packet of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketNote {
    /// Where its header lies in the packet file.
    pub position: Position,
    /// Its arrival time.
    pub time: TimestampNs,
    /// Its bytes on the wire.
    pub wire_len: u32,
    /// Its fields.
    pub decoded: Decoded,
    /// Its tags.
    pub tags: TagStack,
}

/// The tags of a packet, outermost first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagStack {
    /// None.
    None,
    /// One VLAN tag.
    One(Tag),
    /// Any others, shared by the packets that have the same.
    Shared(Arc<[Tag]>),
}

impl TagStack {
    /// The tags.
    pub fn as_slice(&self) -> &[Tag] {
        match self {
            Self::None => &[],
            Self::One(tag) => slice::from_ref(tag),
            Self::Shared(tags) => tags,
        }
    }
}

/// A block of a log: the packets since the block before it are its packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockEntry {
    /// Where it starts in the packet file.
    pub offset_bytes: u64,
    /// Its used bytes.
    pub used_bytes: u32,
    /// CRC-32C of its used bytes, where it was computed.
    pub crc32c: Option<u32>,
    /// The sequence number of its header.
    pub seq_num: u64,
    /// Its packets.
    pub packets: u32,
    /// Earliest time of its packets; [`TimestampNs::MIN`] without packets.
    pub min_time: TimestampNs,
    /// Latest time of its packets; [`TimestampNs::MIN`] without packets.
    pub max_time: TimestampNs,
}

/// A packet of a log as its slot has it, which is checked but not taken apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawPacket<'a> {
    kind: u8,
    flags: u8,
    protocol: u8,
    vlan: u16,
    /// Identification over IPv4, type field without IP.
    last: u16,
    pub(crate) position: u32,
    pub(crate) wire_len: u32,
    pub(crate) ns: u64,
    /// Source and destination over IPv4; over IPv6 the first is the identification.
    pair: (u32, u32),
    /// Source and destination; 0 without ports.
    pub(crate) ports: (u16, u16),
    /// The second slot, over IPv6.
    addresses: Option<&'a Slot>,
}

/// The addresses of a packet.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RawAddresses {
    None,
    V4(u32, u32),
    V6(u128, u128),
}

impl RawPacket<'_> {
    /// What of a packet decides its class, but for a stack of tags. Packets that have the same have the same class.
    #[inline]
    pub(crate) fn class_word(&self) -> u64 {
        let ether_type = if self.kind == kind::PACKET_OTHER { self.last } else { 0 };
        u64::from(self.kind)
            | u64::from(self.flags) << 8
            | u64::from(self.protocol) << 16
            | u64::from(self.vlan) << 32
            | u64::from(ether_type) << 48
    }

    /// Whether its tags are those of the last tags record.
    #[inline]
    pub(crate) fn has_stack(&self) -> bool {
        self.flags & flag::TAGS_MASK == flag::TAGS_STACK
    }

    #[inline]
    pub(crate) fn is_fragment(&self) -> bool {
        self.flags & flag::FRAGMENT_MASK != 0
    }

    #[inline]
    pub(crate) fn addresses(&self) -> RawAddresses {
        match (self.kind, self.addresses.map(|slot| slot.as_chunks::<16>().0)) {
            (kind::PACKET_V4, _) => RawAddresses::V4(self.pair.0, self.pair.1),
            (_, Some(&[src, dst])) => RawAddresses::V6(u128::from_be_bytes(src), u128::from_be_bytes(dst)),
            _ => RawAddresses::None,
        }
    }
}

/// What a log holds, packets as they are there.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RawEntry<'a> {
    Packet(RawPacket<'a>),
    Block(BlockEntry),
}

/// What a log holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A packet.
    Packet(PacketNote),
    /// The block of the packets before it.
    Block(BlockEntry),
}

/// Decodes the bytes of a log, which may come from anywhere.
///
/// ```
/// use steno_index::log::{Log, decode};
/// assert_eq!(decode(&Log::new().to_vec()).count(), 0);
/// assert!(decode(&[9; 32]).next().is_some_and(|entry| entry.is_err()));
/// ```
pub fn decode(bytes: &[u8]) -> Entries<'_> {
    let (slots, rest) = bytes.as_chunks::<SLOT_BYTES>();
    Entries::new([].iter(), slots, !rest.is_empty())
}

/// Decodes bytes of a log that go on where others ended, at the end of a block.
pub(super) fn decode_from<'a>(bytes: &'a [u8], start: &Resume) -> Entries<'a> {
    let Resume { slot, base_ns, stack } = start.clone();
    Entries { slot, base_ns, stack, ..decode(bytes) }
}

/// What has to be known of a log to read it from the end of a block on.
#[derive(Clone, Debug, Default)]
pub(super) struct Resume {
    slot: u64,
    base_ns: Option<u64>,
    stack: Vec<Tag>,
}

impl Resume {
    /// How many slots come before.
    pub(super) fn slot(&self) -> u64 {
        self.slot
    }

    /// How many bytes come before.
    pub(super) fn bytes(&self) -> u64 {
        self.slot.saturating_mul(SLOT_BYTES as u64)
    }
}

/// The entries of a log in arrival order. Ends after the first error.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    chunks: slice::Iter<'a, Box<[Slot]>>,
    slots: slice::Iter<'a, Slot>,
    /// The slots behind `chunks`.
    last: &'a [Slot],
    /// Whether there are bytes behind the last slot.
    torn: bool,
    slot: u64,
    failed: bool,
    base_ns: Option<u64>,
    /// The stack of the last tags record; shared once a packet has it.
    stack: Vec<Tag>,
    shared: Option<Arc<[Tag]>>,
    /// The running checksums since the last block, which are of the next one; and those of the last one.
    next_running: Vec<u32>,
    running: Vec<u32>,
    /// Packets since the last block, and the range of their times.
    block_packets: u32,
    block_first_ns: u64,
    block_last_ns: u64,
}

impl<'a> Entries<'a> {
    pub(super) fn of_chunks(chunks: &'a [Box<[Slot]>], last: &'a [Slot]) -> Self {
        Self::new(chunks.iter(), last, false)
    }

    fn new(chunks: slice::Iter<'a, Box<[Slot]>>, last: &'a [Slot], torn: bool) -> Self {
        Self {
            chunks,
            slots: [].iter(),
            last,
            torn,
            slot: 0,
            failed: false,
            base_ns: None,
            stack: Vec::new(),
            shared: None,
            next_running: Vec::new(),
            running: Vec::new(),
            block_packets: 0,
            block_first_ns: u64::MAX,
            block_last_ns: 0,
        }
    }

    /// Packets since the last block record that was read.
    pub fn open_packets(&self) -> u32 {
        self.block_packets
    }

    /// The running checksums ([`BlockChecksums`](crate::BlockChecksums)) of the block that was read last; none where it has none.
    pub fn running_checksums(&self) -> &[u32] {
        &self.running
    }

    /// Whether there is something behind the last block that was read which is of another one.
    pub(super) fn is_within_a_block(&self) -> bool {
        self.block_packets > 0 || !self.next_running.is_empty()
    }

    /// What has to be known to read on, behind a block.
    pub(super) fn resume(&self) -> Resume {
        Resume { slot: self.slot, base_ns: self.base_ns, stack: self.stack.clone() }
    }

    #[inline]
    fn next_slot(&mut self) -> Option<&'a Slot> {
        loop {
            if let Some(slot) = self.slots.next() {
                self.slot += 1;
                return Some(slot);
            }
            if let Some(chunk) = self.chunks.next() {
                self.slots = chunk.iter();
            } else if self.last.is_empty() {
                return None;
            } else {
                self.slots = std::mem::take(&mut self.last).iter();
            }
        }
    }

    fn bad(&self, what: &'static str) -> LogError {
        LogError::Bad { slot: self.slot.saturating_sub(1), what }
    }

    fn second_slot(&mut self) -> Result<&'a Slot, LogError> {
        let first = self.slot.saturating_sub(1);
        self.next_slot().ok_or(LogError::Cut { slot: first })
    }

    /// The next packet or block; `None` at the end. After an error there is nothing to be asked.
    ///
    /// Where packets are read by the million, what is given back through memory costs more than the reading of it: so this
    /// becomes part of its callers, as far as it is about packets.
    #[inline(always)]
    pub(crate) fn next_raw(&mut self) -> Result<Option<RawEntry<'a>>, LogError> {
        loop {
            let Some(slot) = self.next_slot() else {
                return if self.torn { Err(LogError::Cut { slot: self.slot }) } else { Ok(None) };
            };
            let &[kind, ..] = slot;
            if let kind::PACKET_V4 | kind::PACKET_V6 | kind::PACKET_OTHER = kind {
                return self.raw_packet(slot).map(|packet| Some(RawEntry::Packet(packet)));
            }
            if let Some(block) = self.no_packet(slot)? {
                return Ok(Some(RawEntry::Block(block)));
            }
        }
    }

    /// A slot that starts no packet: a block, or what is to be known of packets to come.
    #[inline(never)]
    fn no_packet(&mut self, slot: &'a Slot) -> Result<Option<BlockEntry>, LogError> {
        let &[kind, flags, third, ..] = slot;
        match kind {
            kind::TAGS => self.tags(flags, third, slot)?,
            kind::TIME_BASE => {
                let [_, base, ..] = words(slot);
                self.base_ns = Some(base);
            }
            kind::BLOCK => return self.block(flags, slot).map(Some),
            kind::RUNNING_CHECKSUMS => self.more_running(third, slot)?,
            got => return Err(LogError::UnknownKind { slot: self.slot.saturating_sub(1), got }),
        }
        Ok(None)
    }

    #[inline(always)]
    fn raw_packet(&mut self, slot: &'a Slot) -> Result<RawPacket<'a>, LogError> {
        let &[kind, flags, protocol, ..] = slot;
        let [head, length, addresses, ports] = words(slot);
        let (_, position) = halves(head);
        let (wire_len, since) = halves(length);
        let [src_port, dst_port, vlan, last] = quarters(ports);
        let ns = self.base_ns.ok_or_else(|| self.bad("a packet without a time base"))?.checked_add(u64::from(since));
        let ns = ns.ok_or_else(|| self.bad("a time past the year 2554"))?;
        if flags & flag::TAGS_MASK == flag::TAGS_MASK {
            return Err(self.bad("an unknown kind of tags"));
        }
        if flags & flag::FRAGMENT_MASK == flag::FRAGMENT_MASK {
            return Err(self.bad("an unknown kind of fragment"));
        }
        if kind == kind::PACKET_OTHER && flags & flag::FRAGMENT_MASK != 0 {
            return Err(self.bad("a fragment of no IP packet"));
        }
        let second = if kind == kind::PACKET_V6 { Some(self.second_slot()?) } else { None };
        self.block_packets =
            self.block_packets.checked_add(1).ok_or_else(|| self.bad("more than 2^32 packets in a block"))?;
        self.block_first_ns = self.block_first_ns.min(ns);
        self.block_last_ns = self.block_last_ns.max(ns);
        let ports = if flags & flag::PORTS != 0 { (src_port, dst_port) } else { (0, 0) };
        let pair = halves(addresses);
        Ok(RawPacket { kind, flags, protocol, vlan, last, position, wire_len, ns, pair, ports, addresses: second })
    }

    /// All that a packet has, which must be the one that was read last.
    pub(crate) fn note_of(&mut self, raw: &RawPacket<'_>) -> PacketNote {
        let flags = raw.flags;
        let tags = match flags & flag::TAGS_MASK {
            0 => TagStack::None,
            flag::TAGS_INLINE => TagStack::One(Tag::Vlan(raw.vlan)),
            _ => TagStack::Shared(self.shared()),
        };
        let fragment = match flags & flag::FRAGMENT_MASK {
            0 => Fragment::Whole,
            flag::FRAGMENT_FIRST => Fragment::First,
            _ => Fragment::Later,
        };
        let (network, identification) = match raw.addresses() {
            RawAddresses::V4(src, dst) => {
                (Network::V4 { src: Ipv4Addr::from_bits(src), dst: Ipv4Addr::from_bits(dst) }, u32::from(raw.last))
            }
            RawAddresses::V6(src, dst) => {
                (Network::V6 { src: Ipv6Addr::from_bits(src), dst: Ipv6Addr::from_bits(dst) }, raw.pair.0)
            }
            RawAddresses::None => {
                (Network::None { ether_type: (flags & flag::ETHER_TYPE != 0).then_some(raw.last) }, 0)
            }
        };
        let decoded = Decoded {
            network,
            protocol: (flags & flag::PROTOCOL != 0).then_some(raw.protocol),
            ports: (flags & flag::PORTS != 0).then_some(raw.ports),
            fragment,
            identification,
        };
        let (position, time) = (Position(raw.position), TimestampNs::new(raw.ns));
        PacketNote { position, time, wire_len: raw.wire_len, decoded, tags }
    }

    fn tags(&mut self, flags: u8, count: u8, slot: &Slot) -> Result<(), LogError> {
        if flags & TAGS_START != 0 {
            self.stack.clear();
        } else if self.shared.is_some() {
            // So that bytes which grow a stack between any two packets cannot make us copy it each time.
            return Err(self.bad("more tags for a stack that packets already have"));
        }
        self.shared = None;
        for tag in values(slot, count).ok_or_else(|| self.bad("more tags than a slot has room for"))? {
            let tag = decode_tag(tag).ok_or_else(|| self.bad("a tag out of range"))?;
            self.stack.push(tag);
        }
        Ok(())
    }

    fn shared(&mut self) -> Arc<[Tag]> {
        Arc::clone(self.shared.get_or_insert_with(|| self.stack.as_slice().into()))
    }

    fn more_running(&mut self, count: u8, slot: &Slot) -> Result<(), LogError> {
        let some = values(slot, count).ok_or_else(|| self.bad("more running checksums than a slot has room for"))?;
        self.next_running.extend(some);
        match self.next_running.len() > RUNNING_MAX as usize {
            true => Err(self.bad("more running checksums than a block can have")),
            false => Ok(()),
        }
    }

    fn block(&mut self, flags: u8, slot: &Slot) -> Result<BlockEntry, LogError> {
        let [head, offset_bytes, seq_num, counts] = words(slot);
        let (_, used_bytes) = halves(head);
        let (packets, crc) = halves(counts);
        let [first, last, ..] = words(self.second_slot()?);
        let seen = if self.block_packets == 0 { (0, 0) } else { (self.block_first_ns, self.block_last_ns) };
        if packets != self.block_packets || (first, last) != seen {
            return Err(self.bad("a count or times that are not those of the packets before it"));
        }
        let (has_crc, running) = (flags & BLOCK_CRC != 0, self.next_running.len());
        if running > 0 && (!has_crc || running != running_checksums(used_bytes) as usize) {
            return Err(self.bad("running checksums before it that it cannot have"));
        }
        std::mem::swap(&mut self.running, &mut self.next_running);
        self.next_running.clear();
        self.block_packets = 0;
        (self.block_first_ns, self.block_last_ns) = (u64::MAX, 0);
        Ok(BlockEntry {
            offset_bytes,
            used_bytes,
            crc32c: has_crc.then_some(crc),
            seq_num,
            packets,
            min_time: TimestampNs::new(first),
            max_time: TimestampNs::new(last),
        })
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<Entry, LogError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let step = self.next_raw();
        self.failed = step.is_err();
        let entry = match step {
            Ok(entry) => entry?,
            Err(e) => return Some(Err(e)),
        };
        Some(Ok(match entry {
            RawEntry::Packet(raw) => Entry::Packet(self.note_of(&raw)),
            RawEntry::Block(block) => Entry::Block(block),
        }))
    }
}
