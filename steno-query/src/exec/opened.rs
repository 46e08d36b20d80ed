//! A segment whose turn has come: its index looked up, its packet file at hand, and what was found wrong with it.

use std::{fs::File, io, sync::Arc};

use steno_core::{PacketNo, TimestampNs};
use steno_index::{BlockInfo, Direction, Facts, Index, IndexError};

use super::hits::Hits;
use crate::{
    TimeSet,
    plan::{Matcher, Stop},
    receipt::Truncation,
    store::{Fault, Segment},
};

/// Numbers at and above this cannot be packets of a 4 GiB file.
const PACKETS_MAX: u32 = 1 << 31;

/// A segment with packets that are wanted.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) segment: Arc<Segment>,
    pub(super) index: Arc<Index>,
    pub(super) hits: Hits,
    /// The packet file, while it is kept open.
    file: Option<PacketFile>,
    /// Blocks with wanted packets that are not wholly delivered.
    pub(super) blocks_left: u32,
}

/// A packet file and its length.
#[derive(Debug)]
pub(super) struct PacketFile {
    pub(super) file: File,
    pub(super) bytes: u64,
}

impl Opened {
    /// Looks up which packets of `segment` are wanted.
    ///
    /// # Errors
    /// An index that fails, or what `interrupted` says.
    pub(super) fn look_up(
        segment: &Arc<Segment>,
        index: Arc<Index>,
        matcher: &Matcher,
        interrupted: &dyn Fn() -> Option<Truncation>,
    ) -> Result<Self, Stop> {
        if index.packets() >= PACKETS_MAX {
            return Err(too_many(&index).into());
        }
        let mut hits = Hits::new(index.packets());
        let mut numbers = Vec::new();
        matcher.each(&index, interrupted, |cursor, matched| {
            for (direction, times) in Direction::BOTH.into_iter().zip(matched.times) {
                if times.is_empty() {
                    continue;
                }
                let mut check = false;
                if !times.is_all() {
                    let side = *cursor.conversation(matched.number)?.side(direction);
                    if side.packets == 0 || !times.overlaps(side.first, side.last) {
                        continue;
                    }
                    check = !times.covers(side.first, side.last);
                }
                numbers.clear();
                cursor.packets(matched.number, direction, &mut numbers)?;
                hits.extend(&numbers, check);
            }
            Ok(())
        })?;
        hits.finish();
        Ok(Self { segment: Arc::clone(segment), index, hits, file: None, blocks_left: 0 })
    }

    /// The blocks with wanted packets that may be of the right time, with their numbers.
    ///
    /// # Errors
    /// An index that fails.
    pub(super) fn blocks(&self, times: &TimeSet) -> Result<Vec<(u32, BlockInfo)>, IndexError> {
        let mut wanted = Vec::new();
        let mut next = self.hits.iter(0, self.index.packets()).next();
        while let Some(hit) = next {
            let number = self.index.locate(PacketNo(hit.packet))?.block;
            let block = self.index.block(number)?;
            if times.overlaps(block.min_time, block.max_time) {
                wanted.push((number, block));
            }
            // Always further on, whatever the block table says.
            let end = block.first_packet.0.saturating_add(block.packets).max(hit.packet + 1);
            next = self.hits.iter(end, self.index.packets().saturating_sub(end)).next();
        }
        Ok(wanted)
    }

    /// Opens the packet file if it is not open.
    ///
    /// # Errors
    /// Why it cannot be.
    pub(super) fn open_file(&mut self) -> Result<(), Fault> {
        if self.file.is_none() {
            let open = || {
                let file = File::open(self.segment.packet_file())?;
                let bytes = file.metadata()?.len();
                Ok(PacketFile { file, bytes })
            };
            self.file = Some(open().map_err(|e: io::Error| Fault::of_io(&e))?);
        }
        Ok(())
    }

    /// The packet file, while it is open.
    pub(super) fn file(&self) -> Option<&PacketFile> {
        self.file.as_ref()
    }

    /// Closes its packet file until it is needed again.
    pub(super) fn close_file(&mut self) {
        self.file = None;
    }
}

/// What the facts of a segment say of what was never captured.
pub(super) fn losses(facts: &Facts, times: &TimeSet) -> (u64, Vec<(TimestampNs, TimestampNs, String)>) {
    const SECOND_NS: u64 = 1_000_000_000;
    let mut drops = 0u64;
    for each in &facts.drops {
        let start = TimestampNs::new(each.second.saturating_mul(SECOND_NS));
        if times.overlaps(start, start.saturating_add_ns(SECOND_NS - 1)) {
            drops = drops.saturating_add(each.packets);
        }
    }
    let gaps = facts.gaps.iter().filter(|gap| times.overlaps(gap.from, gap.to));
    (drops, gaps.map(|gap| (gap.from, gap.to, gap.reason.clone())).collect())
}

fn too_many(index: &Index) -> IndexError {
    let (got, most) = (u64::from(index.packets()), u64::from(PACKETS_MAX) - 1);
    IndexError::TooLarge { what: "packets", got, most }
}
