//! The block table, and where in the packet file a packet is.

use steno_core::{PacketNo, Position, TimestampNs, block::BLOCK_HEADER_BYTES};

use super::{ColumnReader, Index};
use crate::{
    BlockChecksums, IndexError,
    checksums::running_checksums,
    format::{ANCHOR_STEP, BLOCK_RECORD_BYTES, BlockRecord, SectionId},
};

/// A block of the packet file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockInfo {
    /// Where it starts in the packet file.
    pub offset_bytes: u64,
    /// The number of its first packet.
    pub first_packet: PacketNo,
    /// Its packets.
    pub packets: u32,
    /// Its used bytes (`blk_len`).
    pub used_bytes: u32,
    /// Earliest time of its packets; [`TimestampNs::MIN`] without packets.
    pub min_time: TimestampNs,
    /// Latest time of its packets; [`TimestampNs::MIN`] without packets.
    pub max_time: TimestampNs,
    /// CRC-32C of its used bytes, where it was computed.
    pub crc32c: Option<u32>,
    /// The sequence number of its header.
    pub seq_num: u64,
}

/// A place in the packet file from which a packet is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// The block that the packet is in.
    pub block: u32,
    /// Where a packet header lies in the packet file.
    pub position: Position,
    /// How many steps along `tp_next_offset` lead from there to the packet: 0 to 15.
    pub skip: u32,
}

impl Index {
    /// A block of the packet file.
    ///
    /// # Errors
    /// [`IndexError::NoSuch`] past the last one; damage.
    pub fn block(&self, no: u32) -> Result<BlockInfo, IndexError> {
        self.block_record(no).map(|record| record.info)
    }

    /// The checksums of a block, the running ones where the index has them; `None` where it has none at all.
    ///
    /// # Errors
    /// [`IndexError::NoSuch`] past the last one; damage.
    pub fn checksums(&self, no: u32) -> Result<Option<BlockChecksums>, IndexError> {
        let record = self.block_record(no)?;
        let Some(crc32c) = record.info.crc32c else { return Ok(None) };
        let Some(first) = record.first_running else { return Ok(Some(BlockChecksums::stored(crc32c, Vec::new()))) };
        let section = self.section(SectionId::RunningChecksums);
        let (first, count) = (u64::from(first), u64::from(running_checksums(record.info.used_bytes)));
        if first + count > section.count {
            return Err(section.corrupt("a value that is not there", first + count));
        }
        let values = self.pages().get(section.offset + first * 4, count * 4)?.as_chunks::<4>().0;
        let running = values.iter().map(|value| u32::from_le_bytes(*value)).collect();
        Ok(Some(BlockChecksums::stored(crc32c, running)))
    }

    /// Where packet `no` is. For many packets, a [`Self::locator`] finds neighbours at once.
    ///
    /// # Errors
    /// [`IndexError::NoSuch`] past the last one; damage.
    pub fn locate(&self, no: PacketNo) -> Result<Anchor, IndexError> {
        self.locator().locate(no)
    }

    /// Finds the places of many packets, best in ascending order.
    pub fn locator(&self) -> Locator<'_> {
        Locator { index: self, anchors: ColumnReader::new(self.column(SectionId::Anchors)), block: None }
    }

    pub(crate) fn block_record(&self, no: u32) -> Result<BlockRecord, IndexError> {
        if no >= self.block_count() {
            let (got, count) = (u64::from(no), u64::from(self.block_count()));
            return Err(IndexError::NoSuch { what: "block", got, count });
        }
        let section = self.section(SectionId::Blocks);
        let offset = section.offset + u64::from(no) * BLOCK_RECORD_BYTES as u64;
        let bytes: [u8; BLOCK_RECORD_BYTES] = self.pages().array(offset)?;
        BlockRecord::decode(&bytes).ok_or_else(|| section.corrupt("a record that is cut", no))
    }

    /// The block that packet `no` is in: the last one whose first packet is not behind it.
    fn block_of(&self, no: PacketNo) -> Result<u32, IndexError> {
        let (mut low, mut high) = (0, self.block_count());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.block_record(middle)?.info.first_packet <= no {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low.checked_sub(1).ok_or_else(|| IndexError::corrupt("blocks", "no block has the packet", no.0))
    }
}

/// Finds the places of packets; see [`Index::locator`].
#[derive(Debug)]
pub struct Locator<'i> {
    index: &'i Index,
    anchors: ColumnReader<'i>,
    /// The block of the packet before.
    block: Option<(u32, BlockRecord)>,
}

impl Locator<'_> {
    /// Where packet `no` is.
    ///
    /// # Errors
    /// [`IndexError::NoSuch`] past the last one; damage.
    pub fn locate(&mut self, no: PacketNo) -> Result<Anchor, IndexError> {
        if no.0 >= self.index.packets() {
            let (got, count) = (u64::from(no.0), u64::from(self.index.packets()));
            return Err(IndexError::NoSuch { what: "packet", got, count });
        }
        let (block, record) = match self.block {
            Some(known) if in_block(&known.1, no).is_some() => known,
            _ => {
                let block = self.index.block_of(no)?;
                (block, self.index.block_record(block)?)
            }
        };
        let corrupt = |what| IndexError::corrupt("blocks", what, block);
        let in_block = in_block(&record, no).ok_or_else(|| corrupt("no block has the packet"))?;
        self.block = Some((block, record));
        let anchor = u64::from(record.first_anchor) + u64::from(in_block / ANCHOR_STEP);
        let position = self.anchors.get(anchor)?;
        let header = record.info.offset_bytes.checked_add(u64::from(BLOCK_HEADER_BYTES));
        let end = record.info.offset_bytes.checked_add(u64::from(record.info.used_bytes));
        let (Some(header), Some(end)) = (header, end) else { return Err(corrupt("a block past the end")) };
        match u32::try_from(position) {
            Ok(within) if (header..end).contains(&position) => {
                Ok(Anchor { block, position: Position(within), skip: in_block % ANCHOR_STEP })
            }
            _ => Err(self.anchors.column().corrupt("a position outside of its block", anchor)),
        }
    }
}

/// Which packet of the block `no` is, if it is in it.
fn in_block(record: &BlockRecord, no: PacketNo) -> Option<u32> {
    no.0.checked_sub(record.info.first_packet.0).filter(|&in_block| in_block < record.info.packets)
}
