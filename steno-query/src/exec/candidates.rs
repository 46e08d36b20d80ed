//! The packets of a segment with an index of version 2 that may belong to an answer: found, read, and held against what the
//! index says of them.
//!
//! Where many packets of a block are wanted it is read whole and walked; where few are, each is read where the index says
//! that it lies. There is no checksum to compare: a packet is good if it has the attributes that led to it.

use std::{fs::File, ops::Range, sync::Arc};

use steno_core::{
    block::{BLOCK_HEADER_BYTES, Block, PACKET_HEADER_BYTES, PacketHeader, RawPacket, packet_at},
    packet::{Decoded, Tag},
};
use steno_index::IndexError;

use super::{
    damage::Damage,
    fetch::{BLOCK_BYTES_MAX, BRIDGED_BYTES, SMALL_BLOCK_BYTES, read},
    loaded::Loaded,
    packet_file::PacketFile,
};
use crate::{
    Fields, TimeSet,
    plan::{Lookup, Narrowing, Stop},
    receipt::Truncation,
    store::{BlockHead, Version2Segment},
};

/// Bytes read at the last packet of a stretch: most frames are shorter than this.
const FRAME_BYTES: u64 = 2048;
/// Heads of blocks that are read between two looks at whether to go on.
const BETWEEN_LOOKS: u32 = 256;

/// The packets that may belong to an answer.
#[derive(Debug)]
pub(crate) struct Candidates {
    segment: Arc<Version2Segment>,
    /// The look-ups that led to them.
    narrowing: Narrowing,
    /// Where their headers lie, ascending; `None` for all packets.
    positions: Option<Vec<u32>>,
}

/// A candidate that was read.
#[derive(Debug)]
pub(crate) struct Seen<'a> {
    /// Where its header lies in the packet file.
    pub(crate) position: u32,
    /// The packet, in the bytes that were read.
    pub(crate) packet: RawPacket<'a>,
    /// Its fields, by the rule that the index was made by.
    pub(crate) decoded: Decoded,
    /// Its tags.
    pub(crate) tags: &'a [Tag],
}

impl Seen<'_> {
    /// What a query looks at.
    pub(crate) fn fields(&self) -> Fields<'_> {
        Fields::of(&self.decoded, self.tags)
    }
}

impl Candidates {
    /// Looks them up.
    ///
    /// # Errors
    /// An index that fails, or that has packets past the end of the packet file.
    pub(crate) fn look_up(segment: Arc<Version2Segment>, lookup: &Lookup) -> Result<Self, IndexError> {
        let (positions, narrowing) = Narrowing::of(lookup, !segment.is_of_1_0_1()).run(segment.index())?;
        let last = match &positions {
            Some(positions) => positions.last().copied(),
            // All packets are to be read, and where they end only the index tells.
            None => segment.last_position()?,
        };
        let end = |position: u32| u64::from(position) + u64::from(PACKET_HEADER_BYTES);
        if let Some(last) = last
            && end(last) > segment.packet_bytes()
        {
            let what = "a packet past the end of the packet file, at offset";
            return Err(IndexError::Corrupt { section: "positions", what, item: last.into() });
        }
        if positions.is_none()
            && let Some(blocks) = segment.expected_blocks()
            && blocks > segment.blocks()
        {
            let what = "more blocks than the packet file has";
            return Err(IndexError::Corrupt { section: "summary", what, item: blocks.into() });
        }
        Ok(Self { segment, narrowing, positions })
    }

    /// How many there are; `None` where that is known only once all packets are read.
    pub(crate) fn count(&self) -> Option<u64> {
        self.positions.as_ref().map(|positions| positions.len() as u64)
    }

    /// The segment.
    pub(crate) fn segment(&self) -> &Version2Segment {
        &self.segment
    }

    /// The blocks that they are in, with their numbers, as far as they may hold packets of `times`.
    ///
    /// # Errors
    /// What `interrupted` says.
    pub(crate) fn blocks(
        &self,
        file: &File,
        times: &TimeSet,
        interrupted: &dyn Fn() -> Option<Truncation>,
        report: &mut dyn FnMut(Damage),
    ) -> Result<Vec<(u32, BlockHead)>, Stop> {
        let (mut blocks, mut read) = (Vec::new(), Vec::new());
        let mut next = self.block_from(0);
        while let Some(number) = next {
            if number.is_multiple_of(BETWEEN_LOOKS)
                && let Some(by) = interrupted()
            {
                return Err(Stop::Interrupted(by));
            }
            let block = self.segment.block(file, number);
            read.extend(
                block.as_ref().map(|block| block.offset_bytes..block.offset_bytes + u64::from(block.used_bytes)).ok(),
            );
            match block {
                Ok(block) if block.packets == 0 => {
                    // One that was retired without packets holds nothing but its header.
                    let few = self.in_block(&block).unwrap_or_default();
                    if !few.is_empty() || block.used_bytes > BLOCK_HEADER_BYTES {
                        report(Damage::OtherBlock { offset_bytes: block.offset_bytes });
                    }
                }
                Ok(block) => {
                    let (first, last) = block.bounds();
                    if times.overlaps(first, last) {
                        blocks.push((number, block));
                    }
                }
                Err(what) => report(Damage::Head(what)),
            }
            next = self.block_from(number.saturating_add(1));
        }
        if self.positions.is_none() {
            self.check_all_are_in(&read, report)?;
        }
        Ok(blocks)
    }

    /// Reports the first packet that the index knows of and that is in none of the blocks that were found, which ascend: where the
    /// index does not lead to the packets, what is passed over would not be missed.
    fn check_all_are_in(&self, blocks: &[Range<u64>], report: &mut dyn FnMut(Damage)) -> Result<(), Stop> {
        let mut lost = None;
        self.segment.each_position(&mut |position| {
            let at = u64::from(position);
            let block = blocks.get(blocks.partition_point(|block| block.end <= at));
            if block.is_none_or(|block| at < block.start) {
                lost = lost.filter(|&lost| lost < at).or(Some(at));
            }
        })?;
        if let Some(offset_bytes) = lost {
            report(Damage::NoSuchPacket { offset_bytes });
        }
        Ok(())
    }

    /// The first block from `number` on that has any.
    fn block_from(&self, number: u32) -> Option<u32> {
        let Some(positions) = &self.positions else {
            return Some(number).filter(|&number| number < self.segment.blocks());
        };
        let start = u64::from(number) * u64::from(self.segment.block_bytes());
        let at = positions.partition_point(|&position| u64::from(position) < start);
        positions.get(at).and_then(|position| position.checked_div(self.segment.block_bytes()))
    }

    /// Those in a block; `None` for all of its packets.
    fn in_block(&self, block: &BlockHead) -> Option<&[u32]> {
        let positions = self.positions.as_ref()?;
        let end = block.offset_bytes + u64::from(self.segment.block_bytes());
        let from = positions.partition_point(|&position| u64::from(position) < block.offset_bytes);
        let to = positions.partition_point(|&position| u64::from(position) < end);
        Some(positions.get(from..to).unwrap_or_default())
    }

    /// How many of a block's packets there may be among them.
    pub(crate) fn count_in(&self, block: &BlockHead) -> u32 {
        self.in_block(block).map_or(block.packets, |positions| u32::try_from(positions.len()).unwrap_or(u32::MAX))
    }

    /// Memory held, in bytes.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.positions.as_ref().map_or(0, |positions| positions.capacity() * size_of::<u32>()) as u64
    }

    /// Reads those in `block` into `buffer` and shows each to `each`, in the order of the file. What could not be had is told
    /// to `report`.
    pub(crate) fn visit(
        &self,
        file: &PacketFile,
        block: &BlockHead,
        always_whole: bool,
        buffer: &mut Loaded,
        each: &mut dyn FnMut(&Seen<'_>),
        report: &mut dyn FnMut(Damage),
    ) {
        let (offset_bytes, file_bytes) = (block.offset_bytes, self.segment.packet_bytes());
        let mut visit = Visit { candidates: self, file, block, buffer, tags: Vec::new(), each, report };
        if offset_bytes + u64::from(block.used_bytes) > file_bytes {
            // Its packets before the cut are there all the same.
            (visit.report)(Damage::Cut { offset_bytes, file_bytes });
            return visit.each_by_itself(self.in_block(block).unwrap_or_default());
        }
        match self.in_block(block) {
            Some(few)
                if !always_whole
                    && block.used_bytes > SMALL_BLOCK_BYTES
                    && few.len() as u64 * 4 < u64::from(block.packets) =>
            {
                visit.each_by_itself(few);
            }
            wanted => visit.whole(wanted),
        }
    }
}

/// A visit to a block.
struct Visit<'a> {
    candidates: &'a Candidates,
    file: &'a PacketFile,
    block: &'a BlockHead,
    buffer: &'a mut Loaded,
    tags: Vec<Tag>,
    each: &'a mut dyn FnMut(&Seen<'_>),
    report: &'a mut dyn FnMut(Damage),
}

impl Visit<'_> {
    /// Reads the block in one go. Where its chain is broken, the packets behind the break are read by themselves.
    fn whole(&mut self, mut wanted: Option<&[u32]>) {
        let offset_bytes = self.block.offset_bytes;
        if self.block.used_bytes > BLOCK_BYTES_MAX {
            return (self.report)(Damage::OtherBlock { offset_bytes });
        }
        let (start, room) = self.buffer.room(self.block.used_bytes as usize);
        if let Err(damage) = read(self.file, offset_bytes, room) {
            return (self.report)(damage);
        }
        let bytes = self.buffer.bytes().get(start..).unwrap_or_default();
        let mut broken = None;
        match Block::parse(bytes) {
            Err(source) => broken = Some(source),
            Ok(parsed) => {
                let mut next_offset = 0;
                for packet in parsed.packets() {
                    let packet = match packet {
                        Ok(packet) => packet,
                        Err(source) => {
                            broken = Some(source);
                            break;
                        }
                    };
                    let position = offset_bytes + u64::from(packet.offset_bytes);
                    next_offset = packet.header.next_offset;
                    // What lies before it is no packet.
                    while let Some([next, rest @ ..]) = wanted
                        && u64::from(*next) < position
                    {
                        (self.report)(Damage::NoSuchPacket { offset_bytes: u64::from(*next) });
                        wanted = Some(rest);
                    }
                    match wanted {
                        None => {}
                        Some([next, rest @ ..]) if u64::from(*next) == position => wanted = Some(rest),
                        Some([_, ..]) => continue,
                        Some([]) => {
                            next_offset = 0;
                            break;
                        }
                    }
                    let packet = RawPacket { offset_bytes: packet.offset_bytes + place(start), ..packet };
                    let decoded = self.candidates.segment.decode(&packet.frame(), &mut self.tags);
                    let position = u32::try_from(position).unwrap_or(u32::MAX);
                    let seen = Seen { position, packet, decoded, tags: &self.tags };
                    show(self.candidates, &seen, self.each, self.report);
                }
                if broken.is_none() && next_offset != 0 {
                    // The kernel ends the chain with the last packet, so that the block had more of them.
                    (self.report)(Damage::OtherBlock { offset_bytes });
                }
            }
        }
        match (broken, wanted) {
            (Some(source), rest) => {
                (self.report)(Damage::Block { offset_bytes, source });
                self.each_by_itself(rest.unwrap_or_default());
            }
            (None, rest) => {
                for next in rest.unwrap_or_default() {
                    (self.report)(Damage::NoSuchPacket { offset_bytes: u64::from(*next) });
                }
            }
        }
    }

    /// Reads the packets at `positions` where they lie, near ones in one go.
    fn each_by_itself(&mut self, positions: &[u32]) {
        let block_end = self.block.offset_bytes + u64::from(self.block.used_bytes);
        let end = block_end.min(self.candidates.segment.packet_bytes());
        let near = |a: &u32, b: &u32| u64::from(b.saturating_sub(*a)) <= BRIDGED_BYTES;
        for stretch in positions.chunk_by(near) {
            let (Some(&first), Some(&last)) = (stretch.first(), stretch.last()) else { continue };
            let from = u64::from(first);
            let until = (u64::from(last) + FRAME_BYTES).min(end);
            let read_at = match self.read(from, until) {
                Ok(at) => at,
                Err(damage) => {
                    (self.report)(damage);
                    continue;
                }
            };
            for &position in stretch {
                if let Err(damage) = self.one(position, from, read_at, end) {
                    (self.report)(damage);
                }
            }
        }
    }

    /// Shows the packet at `position`, of a stretch from `from` of the file on that was read to `read_at`. The block ends at
    /// `end`.
    fn one(&mut self, position: u32, from: u64, read_at: usize, end: u64) -> Result<(), Damage> {
        let offset_bytes = u64::from(position);
        let nothing = || Damage::NoSuchPacket { offset_bytes };
        let at = read_at.saturating_add(usize::try_from(offset_bytes - from).unwrap_or(usize::MAX));
        let bytes = self.buffer.bytes();
        let head = PacketHeader::parse(bytes, place(at)).map_err(|_| nothing())?;
        let len = u64::from(head.mac) + u64::from(head.snaplen);
        if offset_bytes + len > end {
            return Err(nothing());
        }
        let at = if at as u64 + len > bytes.len() as u64 { self.read(offset_bytes, offset_bytes + len)? } else { at };
        let packet = packet_at(self.buffer.bytes(), place(at)).map_err(|_| nothing())?;
        let decoded = self.candidates.segment.decode(&packet.frame(), &mut self.tags);
        let seen = Seen { position, packet, decoded, tags: &self.tags };
        show(self.candidates, &seen, self.each, self.report);
        Ok(())
    }

    /// Reads from `from` to `until` of the file; says where it is in the buffer.
    fn read(&mut self, from: u64, until: u64) -> Result<usize, Damage> {
        let len = usize::try_from(until.saturating_sub(from)).unwrap_or(usize::MAX);
        let (at, room) = self.buffer.room(len);
        read(self.file, from, room)?;
        Ok(at)
    }
}

/// Shows a packet that was read, if it is one that the index describes.
fn show(candidates: &Candidates, seen: &Seen<'_>, each: &mut dyn FnMut(&Seen<'_>), report: &mut dyn FnMut(Damage)) {
    if candidates.positions.is_none() || candidates.narrowing.holds(&seen.fields()) {
        each(seen);
    } else {
        report(Damage::NoSuchPacket { offset_bytes: seen.position.into() });
    }
}

/// A place in the buffer, which is far smaller than 4 GiB.
fn place(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
