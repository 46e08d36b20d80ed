//! The reading end: which parts there are, and which are to be one.

use std::{fs::File, sync::Arc};

use super::{
    MOST_BYTES, SharedLogError,
    parts::{Merge, Merged, Part, Source},
    published_bytes,
};
use crate::{Index, Sealer, log::entries::Resume};

/// Records that are indexed at once: half a million packets.
const TOGETHER_BYTES: u64 = 16 << 20;
/// Packets up to which parts are made into one.
const PART_PACKETS: u32 = 1 << 20;
/// And up to which that is done while somebody waits for the parts: a millisecond or two.
const SMALL_PACKETS: u32 = 16 << 10;
/// With more parts, somebody waits for larger ones, too: each is looked into by itself.
pub(super) const MOST_PARTS: usize = 64;

/// The reading end: what a shared log says, as indexes of parts of the packet file. Each record is read, checked and indexed when
/// it is new; small parts are made into larger ones, so that there are few: the smallest at once, the others as a [`Merge`], which
/// nobody has to wait for.
#[derive(Debug)]
pub struct SharedLogReader {
    source: Source,
    parts: Vec<Part>,
    sealer: Sealer,
    /// Where the records end of which a [`Merge`] is under way.
    merging_until: Option<u64>,
    /// Records that are indexed at once.
    pub(super) together_bytes: u64,
    /// Packets up to which parts are made into one at once.
    pub(super) small_packets: u32,
}

/// Some blocks of a packet file that is being written, and their index.
#[derive(Clone, Debug)]
pub struct OpenPart {
    /// Their index. It numbers packets from 0.
    pub index: Arc<Index>,
    /// Packets of the file before them.
    pub first_packet: u32,
}

impl SharedLogReader {
    /// Reads `memory`, which somebody else writes, for a packet file whose blocks are `block_bytes` apart.
    pub fn new(memory: File, block_bytes: u32) -> Self {
        Self {
            source: Source { memory: Arc::new(memory), block_bytes },
            parts: Vec::new(),
            sealer: Sealer::new(),
            merging_until: None,
            together_bytes: TOGETHER_BYTES,
            small_packets: SMALL_PACKETS,
        }
    }

    /// The parts of the file, in order: all blocks that are on the disk by now.
    ///
    /// # Errors
    /// Memory that is no such log, or is given up; records that do not hold; more than is taken.
    pub fn parts(&mut self) -> Result<Vec<OpenPart>, SharedLogError> {
        let published = published_bytes(&self.source.memory)?;
        loop {
            let start = self.parts.last().map_or_else(Resume::default, |part| part.end.clone());
            if start.bytes() >= published {
                break;
            }
            let part = self.source.part(start, published, self.together_bytes, &mut self.sealer)?;
            self.parts.push(part);
            self.settle()?;
        }
        let mut first_packet = 0u32;
        let parts = self.parts.iter().map(|part| {
            let first = first_packet;
            first_packet = first_packet.saturating_add(part.index.packets());
            OpenPart { index: Arc::clone(&part.index), first_packet: first }
        });
        Ok(parts.collect())
    }

    /// Parts that are to be made into one, where there are some and none are being: whoever gets them has them made, and tells
    /// [`SharedLogReader::take`]. Until then, and if never, the reader gives the parts that it has.
    pub fn due(&mut self) -> Option<Merge> {
        if self.merging_until.is_some() {
            return None;
        }
        // As one after the other is made into one with the one before it, while they belong together.
        let mut runs: Vec<(&[Part], u32)> = Vec::new();
        for no in 0..self.parts.len() {
            let (mut first, mut packets) = (no, self.parts.get(no)?.index.packets());
            while let Some((before, some)) = runs.last()
                && belong_together(*some, packets, PART_PACKETS)
            {
                (first, packets) = (first - before.len(), some.saturating_add(packets));
                let _one_with_this = runs.pop();
            }
            runs.push((self.parts.get(first..=no)?, packets));
        }
        let run = runs.into_iter().map(|(parts, _)| parts).find(|parts| parts.len() > 1)?;
        let (first, last) = (run.first()?, run.last()?);
        let until_bytes = last.end.bytes();
        let merge = Merge { source: self.source.clone(), start: first.start.clone(), until_bytes };
        self.merging_until = Some(until_bytes);
        Some(merge)
    }

    /// Puts what was made in the place of its parts.
    ///
    /// # Errors
    /// Records that do not hold any more.
    pub fn take(&mut self, Merged(part): Merged) -> Result<(), SharedLogError> {
        self.merging_until = None;
        let part = part?;
        let place = |slot: u64, of: fn(&Part) -> &Resume| self.parts.iter().position(|p| of(p).slot() == slot);
        let range = (place(part.start.slot(), |p| &p.start), place(part.end.slot(), |p| &p.end));
        if let (Some(first), Some(last)) = range
            && first <= last
        {
            drop(self.parts.splice(first..=last, [part]));
        }
        Ok(())
    }

    /// Makes one of the last two parts as long as they are of about the same size, and together not too large to be waited for.
    fn settle(&mut self) -> Result<(), SharedLogError> {
        let most = if self.parts.len() > MOST_PARTS { PART_PACKETS } else { self.small_packets };
        while let [.., before, last] = &self.parts[..] {
            let is_being_merged = self.merging_until.is_some_and(|until| before.start.bytes() < until);
            if is_being_merged || !belong_together(before.index.packets(), last.index.packets(), most) {
                break;
            }
            let (start, end) = (before.start.clone(), last.end.bytes());
            let part = self.source.part(start, end, u64::MAX, &mut self.sealer)?;
            self.parts.truncate(self.parts.len() - 2);
            self.parts.push(part);
        }
        let index_bytes: u64 = self.parts.iter().map(|part| part.index.file_bytes()).sum();
        if index_bytes > MOST_BYTES { Err(SharedLogError::TooLarge { got: index_bytes }) } else { Ok(()) }
    }
}

/// Whether a part of so many packets and the next one are to be one, of no more than `most`.
fn belong_together(some: u32, more: u32, most: u32) -> bool {
    some / 2 <= more && some.saturating_add(more) <= most
}
