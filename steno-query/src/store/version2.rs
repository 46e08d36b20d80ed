//! A segment whose index is of version 2, as stenographer 1.0.1 writes it: what that index does not say is read from the
//! packet file's blocks.

use std::{fs::File, io, ops::ControlFlow, os::unix::fs::FileExt, path::Path, sync::OnceLock};

use steno_core::{
    TimestampNs,
    block::{BLOCK_HEADER_BYTES, BlockHeader, PACKET_HEADER_BYTES, PacketHeader},
    chain,
    packet::{Decoded, Frame, Tag, decode, decode_as_indexed},
};
use steno_index::{Attribute, Facts, IndexError, Version2Index, detect_block_bytes};

use super::Fault;

/// How far the time of a packet may be from those of the first and the last packet of its block: a packet is stamped before its
/// turn in the ring comes, and the clock may be set while the block fills, which takes 10 s at the most.
const BLOCK_SLACK_NS: u64 = 10_000_000_000;
/// The same for a whole file, which is written for 60 s unless a flag says otherwise. 1.0.1 allows a minute, too.
const FILE_SLACK_NS: u64 = 70_000_000_000;
/// How far behind its block's first packet one is waited for. The blocks of so much time are held at once; a packet that is
/// later still comes, in the wrong place.
const LATE_NS: u64 = 100_000_000;

/// An index of version 2, and what is known of the packet file that it describes.
#[derive(Debug)]
pub struct Version2Segment {
    index: Version2Index,
    block_bytes: u32,
    packet_bytes: u64,
    times: Option<(TimestampNs, TimestampNs)>,
    bounds: Option<(TimestampNs, TimestampNs)>,
    last_position: OnceLock<Option<u32>>,
}

/// What the head of a block says, without the packets behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockHead {
    /// Where the block starts in the packet file.
    pub(crate) offset_bytes: u64,
    /// Its used bytes.
    pub(crate) used_bytes: u32,
    /// Its packets.
    pub(crate) packets: u32,
    /// The sequence number of its header.
    pub(crate) seq_num: u64,
    /// When it was opened, and the times of its first and of its last packet.
    opened: TimestampNs,
    first: TimestampNs,
    last: TimestampNs,
}

impl Version2Segment {
    /// Takes `index`, and reads of its packet file what it does not say.
    ///
    /// # Errors
    /// A packet file that cannot be read, or does not begin with a block.
    pub(super) fn new(index: Version2Index, packet_file: &Path) -> Result<Self, Fault> {
        let io = |e: io::Error| Fault::of_io(&e);
        let file = File::open(packet_file).map_err(io)?;
        let packet_bytes = file.metadata().map_err(io)?.len();
        let last_position = OnceLock::new();
        if let Some(extra) = index.extra() {
            let (block_bytes, times) = (extra.facts.block_bytes, extra.time_range);
            return Ok(Self { index, block_bytes, packet_bytes, times, bounds: times, last_position });
        }
        let block_bytes = detect_block_bytes(&file).map_err(|e| Fault::DamagedPackets(chain(&e)))?;
        let Some(block_bytes) = block_bytes.filter(|&bytes| bytes > 0) else {
            // One that 1.0.1 leaves behind when nothing was captured has an index of nothing.
            if self::last_position(&index).map_err(|e| Fault::of_index(&e))?.is_some() {
                return Err(Fault::DamagedPackets("it is empty, and its index tells of packets".to_owned()));
            }
            return Ok(Self { index, block_bytes: 0, packet_bytes, times: None, bounds: None, last_position });
        };
        let first = BlockHead::read(&file, 0, block_bytes).map_err(Fault::DamagedPackets)?;
        let last_at = (packet_bytes - 1) / u64::from(block_bytes) * u64::from(block_bytes);
        // A file that was cut may end in something else. Then nothing is known of its latest packet.
        let last = BlockHead::read(&file, last_at, block_bytes).map_or(TimestampNs::MAX, |block| block.last);
        let (from, to) = (first.first, last.max(first.last));
        // The clock was set back in between: any time may be in there.
        let in_order = first.first <= last && last < TimestampNs::MAX;
        let bounds = if in_order { widened(from, to, FILE_SLACK_NS) } else { (TimestampNs::MIN, TimestampNs::MAX) };
        let times = (from.min(first.last), if last < TimestampNs::MAX { to } else { first.last });
        Ok(Self { index, block_bytes, packet_bytes, times: Some(times), bounds: Some(bounds), last_position })
    }

    /// The index.
    pub fn index(&self) -> &Version2Index {
        &self.index
    }

    /// How far apart the blocks of the packet file are; 0 where it is empty.
    pub fn block_bytes(&self) -> u32 {
        self.block_bytes
    }

    /// Length of the packet file.
    pub fn packet_bytes(&self) -> u64 {
        self.packet_bytes
    }

    /// The times of the earliest and the latest packet; in a file of stenographer 1.0.1 those of its first and its last one.
    /// `None` without packets.
    pub fn times(&self) -> Option<(TimestampNs, TimestampNs)> {
        self.times
    }

    /// Times between which all packets certainly lie.
    pub(crate) fn bounds(&self) -> Option<(TimestampNs, TimestampNs)> {
        self.bounds
    }

    /// The circumstances of the capture, which only Steno's own files tell.
    pub fn facts(&self) -> Option<&Facts> {
        self.index.extra().map(|extra| &extra.facts)
    }

    /// Packets, which only Steno's own files tell.
    pub fn packets(&self) -> Option<u32> {
        self.index.extra().map(|extra| extra.packets)
    }

    /// Where the header of the last packet lies that the index knows of; `None` where it knows of none.
    ///
    /// # Errors
    /// A damaged index.
    pub(crate) fn last_position(&self) -> Result<Option<u32>, IndexError> {
        if let Some(known) = self.last_position.get() {
            return Ok(*known);
        }
        let last = self::last_position(&self.index)?;
        Ok(*self.last_position.get_or_init(|| last))
    }

    /// Gives `each` where the header of each packet of IP lies, protocol after protocol.
    ///
    /// # Errors
    /// A damaged index.
    pub(crate) fn each_position(&self, each: &mut dyn FnMut(u32)) -> Result<(), IndexError> {
        each_position(&self.index, each)
    }

    /// Blocks that the packet file should have, which only Steno's own files tell.
    pub(crate) fn expected_blocks(&self) -> Option<u32> {
        self.index.extra().map(|extra| extra.blocks)
    }

    /// Whether stenographer 1.0.1 wrote the index. It does not tell of the tag that the kernel takes out of a frame, and it
    /// tells of ports that later fragments do not have.
    pub fn is_of_1_0_1(&self) -> bool {
        self.index.extra().is_none()
    }

    /// The fields of a frame by the rule that the index was made by.
    #[inline]
    pub(crate) fn decode(&self, frame: &Frame<'_>, tags: &mut Vec<Tag>) -> Decoded {
        if self.is_of_1_0_1() { decode_as_indexed(frame, tags) } else { decode(frame, tags) }
    }

    /// Blocks of the packet file, the last of which may be cut.
    pub(crate) fn blocks(&self) -> u32 {
        let blocks = self.packet_bytes.checked_div(u64::from(self.block_bytes)).unwrap_or(0);
        let cut = self.block_bytes > 0 && !self.packet_bytes.is_multiple_of(u64::from(self.block_bytes));
        u32::try_from(blocks).unwrap_or(u32::MAX).saturating_add(u32::from(cut))
    }

    /// The head of a block.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn block(&self, file: &File, number: u32) -> Result<BlockHead, String> {
        BlockHead::read(file, u64::from(number) * u64::from(self.block_bytes), self.block_bytes)
    }
}

impl BlockHead {
    /// Of the block at `offset_bytes` of a packet file.
    fn read(file: &File, offset_bytes: u64, block_bytes: u32) -> Result<Self, String> {
        let wrong = |what: &dyn std::fmt::Display| format!("the block at offset {offset_bytes}: {what}");
        let mut bytes = [0; (BLOCK_HEADER_BYTES + PACKET_HEADER_BYTES) as usize];
        let (head, packet) = bytes.split_at_mut(BLOCK_HEADER_BYTES as usize);
        file.read_exact_at(head, offset_bytes).map_err(|e| wrong(&e))?;
        let head = BlockHeader::parse(head).map_err(|e| wrong(&e))?;
        head.check(block_bytes as usize).map_err(|e| wrong(&e))?;
        // The rings of 1.0.1 and of Steno have no private area in between.
        if head.offset_to_first_pkt != BLOCK_HEADER_BYTES && head.num_pkts > 0 {
            return Err(wrong(&"its first packet is not behind its header"));
        }
        let opened = TimestampNs::from_parts(head.ts_first.0, head.ts_first.1);
        let mut times = (opened, TimestampNs::from_parts(head.ts_last.0, head.ts_last.1));
        if head.num_pkts > 0 {
            let at = offset_bytes.saturating_add(u64::from(head.offset_to_first_pkt));
            file.read_exact_at(packet, at).map_err(|e| wrong(&e))?;
            times.0 = PacketHeader::parse(packet, 0).map_err(|e| wrong(&e))?.timestamp();
        }
        let (first, last) = times;
        let BlockHeader { num_pkts: packets, blk_len: used_bytes, seq_num, .. } = head;
        Ok(Self { offset_bytes, used_bytes, packets, seq_num, opened, first, last })
    }

    /// Times between which all of its packets lie, even where the clock was set once while it filled.
    pub(crate) fn bounds(&self) -> (TimestampNs, TimestampNs) {
        widened(self.earliest(), self.first.max(self.last), BLOCK_SLACK_NS)
    }

    /// Before its packets are expected.
    pub(crate) fn expected_from(&self) -> TimestampNs {
        self.earliest().saturating_sub_ns(LATE_NS)
    }

    /// Whichever of its times may be wrong, this is not too late.
    fn earliest(&self) -> TimestampNs {
        self.opened.min(self.first).min(self.last)
    }
}

/// Where the last packet lies.
fn last_position(index: &Version2Index) -> Result<Option<u32>, IndexError> {
    let mut last = None;
    each_position(index, &mut |position| last = last.max(Some(position)))?;
    Ok(last)
}

/// Every packet of IP has a protocol among the keys; of others nothing is told but their tags.
fn each_position(index: &Version2Index, each: &mut dyn FnMut(u32)) -> Result<(), IndexError> {
    index.each(Attribute::Protocol(0)..=Attribute::Protocol(u8::MAX), &mut |_, positions| {
        positions.iter().for_each(|position| each(position.0));
        ControlFlow::Continue(())
    })
}

fn widened(from: TimestampNs, to: TimestampNs, slack_ns: u64) -> (TimestampNs, TimestampNs) {
    (from.saturating_sub_ns(slack_ns), to.saturating_add_ns(slack_ns))
}
