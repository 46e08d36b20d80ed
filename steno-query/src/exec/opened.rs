//! A segment whose turn has come: its index looked up, its packet file at hand, and what was found wrong with it.

use std::{collections::BTreeMap, sync::Arc};

use steno_core::{PacketNo, TimestampNs};
use steno_index::{Direction, Index, IndexError};

use super::{
    candidates::{Candidates, Seen},
    damage::Damage,
    fetch::Fetch,
    hits::Hits,
    loaded::{Entry, Loaded},
    packet_file::PacketFile,
};
use crate::{
    Expr, TimeSet,
    plan::{Fragments, Matched, Matcher, Stop},
    receipt::Truncation,
    store::{BlockHead, Fault, Segment, SegmentIndex},
};

/// Numbers at and above this cannot be packets of a 4 GiB file.
const PACKETS_MAX: u32 = 1 << 31;

/// A segment with packets that are wanted.
#[derive(Debug)]
pub(super) struct Opened {
    segment: Arc<Segment>,
    wanted: Wanted,
    /// The packet file, while it is kept open.
    file: Option<PacketFile>,
    /// Blocks with wanted packets that are not wholly delivered.
    pub(super) blocks_left: u32,
}

/// The packets that are wanted of a segment.
#[derive(Debug)]
pub(super) enum Wanted {
    /// As its index tells them.
    Native { index: Arc<Index>, hits: Hits },
    /// As an index of version 2 leads to them, and the blocks that they are in, by their numbers.
    Version2 { candidates: Candidates, blocks: BTreeMap<u32, BlockHead> },
}

/// A block that has wanted packets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Due {
    /// Its number.
    pub(super) block: u32,
    /// No packet of it is earlier.
    pub(super) time: TimestampNs,
    /// What comes before all of its packets among those of the segment.
    pub(super) packet: u32,
}

impl Opened {
    /// Looks up which packets of `segment` are wanted, of certain times and from a place in the packet file on, and the blocks that they are in. What is wrong with some of those is
    /// told to `report`.
    ///
    /// # Errors
    /// An index that fails, a packet file that cannot be opened where it is needed, or what `interrupted` says.
    pub(super) fn look_up(
        segment: &Arc<Segment>,
        index: SegmentIndex,
        matcher: &Matcher,
        (times, from_bytes): (&TimeSet, u64),
        interrupted: &dyn Fn() -> Option<Truncation>,
        report: &mut dyn FnMut(Damage),
    ) -> Result<(Self, Vec<Due>), Stop> {
        let mut file = None;
        let (wanted, due) = match index {
            SegmentIndex::Native(index) => {
                let hits = hits(&index, matcher, interrupted)?;
                let due = native_blocks(&index, &hits, times, from_bytes)?;
                (Wanted::Native { index, hits }, due)
            }
            SegmentIndex::Version2(version2) => {
                matcher.note_untold();
                let candidates = Candidates::look_up(version2, matcher.lookup())?;
                let mut blocks = BTreeMap::new();
                if candidates.count() != Some(0) {
                    let packets = PacketFile::open(segment).map_err(Stop::Packets)?;
                    blocks.extend(candidates.blocks(&packets.file, times, interrupted, report)?);
                    file = Some(packets);
                }
                blocks.retain(|_, block| block.offset_bytes >= from_bytes);
                let due = blocks.iter().map(|(&number, block)| {
                    let packet = u32::try_from(block.offset_bytes).unwrap_or(u32::MAX);
                    Due { block: number, time: block.expected_from(), packet }
                });
                let due = due.collect();
                (Wanted::Version2 { candidates, blocks }, due)
            }
        };
        let blocks_left = u32::try_from(due.len()).unwrap_or(u32::MAX);
        Ok((Self { segment: Arc::clone(segment), wanted, file, blocks_left }, due))
    }

    /// Bytes that a block takes in memory at the most, with its wanted packets; `None` where the index fails.
    pub(super) fn block_memory(&self, block: u32) -> Result<u64, Fault> {
        let (used_bytes, packets) = match &self.wanted {
            Wanted::Native { index, hits } => {
                let info = index.block(block).map_err(|e| Fault::of_index(&e))?;
                (info.used_bytes, hits.count(info.first_packet.0, info.packets))
            }
            Wanted::Version2 { candidates, blocks } => {
                blocks.get(&block).map_or((0, 0), |block| (block.used_bytes, candidates.count_in(block)))
            }
        };
        Ok(u64::from(used_bytes) + u64::from(packets) * size_of::<Entry>() as u64)
    }

    /// Memory that the look-up holds, in bytes.
    pub(super) fn memory_bytes(&self) -> u64 {
        match &self.wanted {
            Wanted::Native { hits, .. } => hits.memory_bytes(),
            Wanted::Version2 { candidates, blocks } => {
                candidates.memory_bytes() + blocks.len() as u64 * size_of::<(u32, BlockHead)>() as u64
            }
        }
    }

    /// Fills `loaded` with the wanted packets of a block from the time and packet `from` on; `passing` where nothing of what is read
    /// is to stay in the page cache. What could not be had is told to `report`; the rest is there.
    ///
    /// # Errors
    /// An index that fails, or a packet file that cannot be opened.
    pub(super) fn load(
        &mut self,
        block: u32,
        from: (TimestampNs, u32),
        (expr, always_whole, passing): (&Expr, bool, bool),
        loaded: &mut Loaded,
        report: &mut dyn FnMut(Damage),
    ) -> Result<(), Fault> {
        let file = match self.file.take() {
            Some(file) => file,
            None => PacketFile::open(&self.segment)?,
        };
        let file = self.file.insert(file);
        file.pass_by(passing);
        match &self.wanted {
            Wanted::Native { index, hits } => {
                let info = index.block(block).map_err(|e| Fault::of_index(&e))?;
                Fetch { index, hits, file, expr, always_whole }.load((block, &info), from, loaded, report);
            }
            Wanted::Version2 { candidates, blocks } => {
                let Some(head) = blocks.get(&block) else { return Ok(()) };
                loaded.clear();
                let mut entries = loaded.take_entries();
                let mut each = |seen: &Seen<'_>| {
                    let (time, packet) = (seen.packet.timestamp(), seen.position);
                    if (time, packet) >= from && expr.matches(&seen.fields(), time) {
                        entries.push(Entry { time, packet, offset_bytes: seen.packet.offset_bytes });
                    }
                };
                candidates.visit(file, head, always_whole, loaded, &mut each, report);
                loaded.give_entries(entries);
            }
        }
        Ok(())
    }

    /// Whether its packet file is open.
    pub(super) fn has_file(&self) -> bool {
        self.file.is_some()
    }

    /// Closes its packet file until it is needed again.
    pub(super) fn close_file(&mut self) {
        self.file = None;
    }
}

/// Which packets a native index says are wanted.
fn hits(index: &Index, matcher: &Matcher, interrupted: &dyn Fn() -> Option<Truncation>) -> Result<Hits, Stop> {
    if index.packets() >= PACKETS_MAX {
        return Err(too_many(index).into());
    }
    let mut hits = Hits::new(index.packets());
    let mut numbers = Vec::new();
    matcher.each(index, Fragments::Joined, interrupted, |cursor, matched| {
        let (number, times) = match matched {
            Matched::Conversation { number, times } => (*number, *times),
            Matched::Fragment { fragment, matches } => {
                if *matches {
                    hits.extend(&[fragment.later.packet], false);
                }
                return Ok(());
            }
        };
        for (direction, times) in Direction::BOTH.into_iter().zip(times) {
            if times.is_empty() {
                continue;
            }
            let mut check = false;
            if !times.is_all() {
                let side = *cursor.conversation(number)?.side(direction);
                if side.packets == 0 || !times.overlaps(side.first, side.last) {
                    continue;
                }
                check = !times.covers(side.first, side.last);
            }
            numbers.clear();
            cursor.packets(number, direction, &mut numbers)?;
            hits.extend(&numbers, check);
        }
        Ok(())
    })?;
    hits.finish();
    Ok(hits)
}

/// The blocks from `from_bytes` on with wanted packets that may be of the right time.
fn native_blocks(index: &Index, hits: &Hits, times: &TimeSet, from_bytes: u64) -> Result<Vec<Due>, IndexError> {
    let mut wanted = Vec::new();
    let mut next = hits.iter(0, index.packets()).next();
    while let Some(hit) = next {
        let number = index.locate(PacketNo(hit.packet))?.block;
        let block = index.block(number)?;
        if block.offset_bytes >= from_bytes && times.overlaps(block.min_time, block.max_time) {
            wanted.push(Due { block: number, time: block.min_time, packet: block.first_packet.0 });
        }
        // Always further on, whatever the block table says.
        let end = block.first_packet.0.saturating_add(block.packets).max(hit.packet + 1);
        next = hits.iter(end, index.packets().saturating_sub(end)).next();
    }
    Ok(wanted)
}

fn too_many(index: &Index) -> IndexError {
    let (got, most) = (u64::from(index.packets()), u64::from(PACKETS_MAX) - 1);
    IndexError::TooLarge { what: "packets", got, most }
}
