//! Whether an index holds what its format promises: checksums, block table, anchors, sorted dictionaries. What needs
//! the table of conversations is in the two files beside this one.

use steno_core::block::BLOCK_HEADER_BYTES;

use super::{conversations::Rows, fragments::check_fragments, postings::check_postings};
use crate::{
    IndexError,
    checksums::running_checksums,
    format::{ANCHOR_STEP, MAX_PACKETS, SectionId},
    reader::{ColumnReader, Index},
};

impl Index {
    /// Checks every page and everything that the format promises of an index by itself: that each packet is in one list
    /// and one block, that each conversation is posted under its class, addresses and ports and nowhere else, that
    /// and that fragments are those of their conversations; that counts, sums and times agree. What it cannot know is whether the packets are those of the packet file:
    /// [`crate::verify_segment`] tells. Takes memory in proportion to packets and conversations.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn verify(&self) -> Result<(), IndexError> {
        self.pages().check_all()?;
        let _ = self.facts()?;
        self.check_classes()?;
        self.check_blocks()?;
        self.check_sorted(SectionId::V4, Self::v4)?;
        self.check_sorted(SectionId::V6, Self::v6)?;
        self.check_sorted(SectionId::Ports, Self::port)?;
        let rows = Rows::read(self)?;
        check_postings(self, &rows)?;
        check_fragments(self)
    }

    /// Compares the checksum of every page, and nothing else; of pages that were read before, what they were then.
    ///
    /// # Errors
    /// The first page that differs.
    pub(super) fn check_pages(&self) -> Result<(), IndexError> {
        self.pages().check_all()
    }

    fn check_classes(&self) -> Result<(), IndexError> {
        let mut sorted: Vec<_> = self.classes()?.iter().collect();
        sorted.sort_unstable();
        match sorted.windows(2).any(|pair| matches!(pair, [a, b] if a == b)) {
            true => Err(IndexError::corrupt("classes", "the same class twice", 0u32)),
            false => Ok(()),
        }
    }

    fn check_sorted<T: Ord>(
        &self,
        id: SectionId,
        item: impl Fn(&Self, u64) -> Result<T, IndexError>,
    ) -> Result<(), IndexError> {
        let section = self.section(id);
        let mut before = None;
        for no in 0..section.count {
            let item = Some(item(self, no)?);
            if item <= before {
                return Err(section.corrupt("items do not ascend", no));
            }
            before = item;
        }
        Ok(())
    }

    fn check_blocks(&self) -> Result<(), IndexError> {
        let mut anchors = ColumnReader::new(self.column(SectionId::Anchors));
        let (mut next_packet, mut next_anchor, mut next_running, mut end) = (0u32, 0u32, 0u32, 0u64);
        let mut times = None;
        for no in 0..self.block_count() {
            let record = self.block_record(no)?;
            let corrupt = |what| IndexError::corrupt("blocks", what, no);
            let info = record.info;
            if info.offset_bytes < end {
                return Err(corrupt("blocks overlap"));
            }
            let block_end = info.offset_bytes.checked_add(u64::from(info.used_bytes)).filter(|&end| end <= 1 << 32);
            end = block_end.ok_or_else(|| corrupt("a block that ends past 4 GiB"))?;
            if info.first_packet.0 != next_packet || record.first_anchor != next_anchor {
                return Err(corrupt("packets or anchors do not go on where the block before ended"));
            }
            next_packet = next_packet
                .checked_add(info.packets)
                .filter(|&n| n <= MAX_PACKETS)
                .ok_or_else(|| corrupt("more packets than a packet file can hold"))?;
            next_anchor += info.packets.div_ceil(ANCHOR_STEP);
            if let Some(first) = record.first_running {
                let count = running_checksums(info.used_bytes);
                if first != next_running || count == 0 || info.crc32c.is_none() {
                    return Err(corrupt("running checksums that are not its own"));
                }
                next_running += count;
            }
            if info.min_time > info.max_time {
                return Err(corrupt("the earliest time is after the latest"));
            }
            if info.packets > 0 {
                let (min, max) = times.unwrap_or((info.min_time, info.max_time));
                times = Some((info.min_time.min(min), info.max_time.max(max)));
            }
            // No packet lies within the block's header: a look-up says so too.
            let (mut least, mut ascends) = (info.offset_bytes + u64::from(BLOCK_HEADER_BYTES), true);
            anchors.for_each(u64::from(record.first_anchor)..u64::from(next_anchor), |positions| {
                for &position in positions {
                    ascends &= (least..end).contains(&position);
                    least = position.saturating_add(1);
                }
            })?;
            if !ascends {
                return Err(corrupt("anchors do not ascend within the block"));
            }
        }
        if next_packet != self.packets() || u64::from(next_anchor) != self.section(SectionId::Anchors).count {
            return Err(IndexError::corrupt("blocks", "packets or anchors that are in no block", next_packet));
        }
        let running = self.section(SectionId::RunningChecksums).count;
        if u64::from(next_running) != running {
            return Err(IndexError::corrupt("blocks", "running checksums that are of no block", running));
        }
        if times != self.time_range() {
            return Err(IndexError::corrupt("blocks", "times at odds with those of the file", 0u32));
        }
        Ok(())
    }
}
