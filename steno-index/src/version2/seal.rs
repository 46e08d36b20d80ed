//! From a log to an index file of version 2.
//!
//! A first pass over the log numbers the attributes and counts their packets, a second puts the positions in their places. What
//! is noted is what 1.0.1 notes, without its two faults: the tag that the kernel took out is among the keys, and fragments
//! after the first have no ports.

use std::io::{Read, Write};

use steno_core::{
    TimestampNs,
    packet::{Network, Tag, ip_protocol},
};

use super::{Attribute, Extra, attribute::VERSION_KEY, extra::META_KEY, reader::MAJOR, writer::TableWriter};
use crate::{
    Built, Facts, IndexError, Log, Pause, Summary,
    format::MAX_PACKETS,
    log::{Entry, PacketNote},
    packet_file::note_packet_file,
    pause::PIECE,
    seal::Interner,
};

/// Writes the version-2 index of the packets and blocks of `log` to `out`. For more than one segment, [`Version2Sealer`] keeps
/// the memory.
///
/// # Errors
/// As [`seal`](crate::seal()).
pub fn seal_version2(log: &Log, facts: &Facts, out: &mut impl Write) -> Result<Summary, IndexError> {
    Version2Sealer::new().seal(log, facts, out)
}

/// Writes the version-2 index of a packet file to `out`, as [`index_packet_file`](crate::index_packet_file) writes a native one.
///
/// # Errors
/// As there.
pub fn index_packet_file_version2(
    packets: &mut impl Read,
    facts: &Facts,
    out: &mut impl Write,
) -> Result<Built, IndexError> {
    let mut log = Log::new();
    let damage = note_packet_file(packets, facts.block_bytes, &mut log)?;
    Ok(Built { summary: seal_version2(&log, facts, out)?, damage })
}

/// Seals one log after the other in the same memory: for each packet 4 bytes an attribute, twice.
#[derive(Debug)]
pub struct Version2Sealer {
    attributes: Interner<Attribute>,
    /// For each attribute by its number: its packets.
    counts: Vec<u32>,
    /// For each packet in turn the numbers of its attributes.
    noted: Vec<u32>,
    positions: Vec<u32>,
    pause: Pause,
}

impl Default for Version2Sealer {
    fn default() -> Self {
        Self::new()
    }
}

impl Version2Sealer {
    /// A sealer without memory yet.
    pub fn new() -> Self {
        Self::pausing(Pause::default())
    }

    /// One that takes a pause between pieces of its work.
    pub fn pausing(pause: Pause) -> Self {
        let (counts, noted, positions) = (Vec::new(), Vec::new(), Vec::new());
        Self { attributes: Interner::new(), counts, noted, positions, pause }
    }

    /// As [`seal_version2`].
    ///
    /// # Errors
    /// As there.
    pub fn seal(&mut self, log: &Log, facts: &Facts, out: &mut impl Write) -> Result<Summary, IndexError> {
        let pause = self.pause.clone();
        let (mut summary, attributes) = self.sort(log)?;
        let mut table = TableWriter::new(out);
        table.add(&VERSION_KEY, &[MAJOR.to_be_bytes(), 0u32.to_be_bytes()].concat())?;
        let mut since = 0;
        for (attribute, positions) in attributes {
            table.add_words(attribute.key().as_bytes(), positions)?;
            since += 1 + positions.len();
            if since >= PIECE {
                since = 0;
                pause.take();
            }
        }
        table.meta(META_KEY, &Extra::new(facts, &summary).entries()?)?;
        summary.file_bytes = table.finish()?;
        Ok(summary)
    }

    /// Sums up the log, and gives each attribute of its packets with their positions, in the order of the keys.
    pub(crate) fn sort(
        &mut self,
        log: &Log,
    ) -> Result<(Summary, impl Iterator<Item = (Attribute, &[u32])>), IndexError> {
        let summary = self.note(log)?;
        let starts = self.place(log)?;
        let mut order: Vec<(Attribute, usize)> = self.attributes.keys().iter().copied().zip(0..).collect();
        order.sort_unstable();
        let (positions, counts) = (self.positions.as_slice(), self.counts.as_slice());
        let sorted = order.into_iter().map(move |(attribute, number)| {
            let start = starts.get(number).copied().unwrap_or_default();
            let count = counts.get(number).copied().unwrap_or_default() as usize;
            (attribute, positions.get(start..start + count).unwrap_or_default())
        });
        Ok((summary, sorted))
    }

    /// Numbers the attributes of all packets, and sums up.
    fn note(&mut self, log: &Log) -> Result<Summary, IndexError> {
        self.attributes.clear();
        self.counts.clear();
        self.noted.clear();
        if log.packets() > MAX_PACKETS {
            let (got, most) = (u64::from(log.packets()), u64::from(MAX_PACKETS));
            return Err(IndexError::TooLarge { what: "packets", got, most });
        }
        let mut summary =
            Summary { packets: 0, conversations: 0, blocks: 0, file_bytes: 0, wire_bytes: 0, time_range: None };
        let mut open = Open::default();
        for entry in log.entries() {
            match entry? {
                Entry::Packet(packet) => {
                    open.add(packet.position.0)?;
                    summary.packets += 1;
                    summary.wire_bytes = summary.wire_bytes.saturating_add(u64::from(packet.wire_len));
                    let (first, last) = summary.time_range.unwrap_or((TimestampNs::MAX, TimestampNs::MIN));
                    summary.time_range = Some((first.min(packet.time), last.max(packet.time)));
                    attributes(&packet, |attribute| {
                        let (number, new) = self.attributes.intern(attribute);
                        if new {
                            self.counts.push(0);
                        }
                        if let Some(count) = self.counts.get_mut(number as usize) {
                            *count += 1;
                        }
                        self.noted.push(number);
                    });
                }
                Entry::Block(block) => {
                    self.pause.take();
                    open.end_block(block.offset_bytes, block.used_bytes)?;
                    summary.blocks += 1;
                }
            }
        }
        if open.first.is_some() {
            return Err(IndexError::corrupt("log", "packets behind the last block", summary.packets));
        }
        Ok(summary)
    }

    /// Puts the position of each packet into the lists of its attributes, and gives where each list starts.
    fn place(&mut self, log: &Log) -> Result<Vec<usize>, IndexError> {
        let (mut end, mut starts) = (0, Vec::with_capacity(self.counts.len()));
        for &count in &self.counts {
            starts.push(end);
            end += count as usize;
        }
        self.positions.clear();
        self.positions.resize(end, 0);
        let (mut next, mut noted) = (starts.clone(), self.noted.iter());
        for entry in log.entries() {
            let Entry::Packet(packet) = entry? else {
                self.pause.take();
                continue;
            };
            attributes(&packet, |_| {
                let Some(at) = noted.next().and_then(|&number| next.get_mut(number as usize)) else { return };
                if let Some(place) = self.positions.get_mut(*at) {
                    *place = packet.position.0;
                }
                *at += 1;
            });
        }
        Ok(starts)
    }
}

/// The packets since the last block.
#[derive(Debug, Default)]
struct Open {
    first: Option<u32>,
    last: Option<u32>,
}

impl Open {
    fn add(&mut self, position: u32) -> Result<(), IndexError> {
        if self.last.is_some_and(|last| position <= last) {
            return Err(IndexError::corrupt("log", "positions are not ascending", position));
        }
        self.first = self.first.or(Some(position));
        self.last = Some(position);
        Ok(())
    }

    /// Compares the packets with the block that they are said to lie in.
    fn end_block(&mut self, offset_bytes: u64, used_bytes: u32) -> Result<(), IndexError> {
        let within = |position: u32| {
            (offset_bytes..offset_bytes.saturating_add(u64::from(used_bytes))).contains(&u64::from(position))
        };
        let Some(first) = self.first.take() else { return Ok(()) };
        if !within(first) || !self.last.is_some_and(within) {
            return Err(IndexError::corrupt("log", "packets outside of their block", offset_bytes));
        }
        Ok(())
    }
}

/// Shows each attribute of a packet once.
fn attributes(packet: &PacketNote, mut each: impl FnMut(Attribute)) {
    let decoded = &packet.decoded;
    let mut pair = |a: Attribute, b: Attribute| {
        each(a);
        if a != b {
            each(b);
        }
    };
    match decoded.network {
        Network::None { .. } => {}
        Network::V4 { src, dst } => pair(Attribute::V4(src), Attribute::V4(dst)),
        Network::V6 { src, dst } => pair(Attribute::V6(src), Attribute::V6(dst)),
    }
    if let (Some(ip_protocol::TCP | ip_protocol::UDP), Some((src, dst))) = (decoded.protocol, decoded.ports) {
        pair(Attribute::Port(src), Attribute::Port(dst));
    }
    if let Some(protocol) = decoded.protocol {
        each(Attribute::Protocol(protocol));
    }
    let attribute = |tag: &Tag| match *tag {
        Tag::Vlan(id) => Attribute::Vlan(id),
        Tag::Mpls(label) => Attribute::Mpls(label),
    };
    let tags = packet.tags.as_slice();
    for (i, tag) in tags.iter().enumerate() {
        if !tags.get(..i).is_some_and(|before| before.contains(tag)) {
            each(attribute(tag));
        }
    }
}
