//! A block that is read in parts: which pieces of it are read, and which of them are those that were captured.
//!
//! The running checksums of an index (`docs/format/index.md` section 4) vouch for each piece by itself. A packet is delivered
//! once all pieces that it lies in are vouched for, and the headers that lead to it; a piece that differs is reported, and takes
//! no other with it.

use std::ops::Range;

use steno_index::{BlockChecksums, BlockInfo, PIECE_BYTES, PieceDiffers};

use super::{
    damage::Damage,
    fetch::{Stretch, read},
    packet_file::PacketFile,
};

/// What a read costs besides its bytes, in bytes that could be read meanwhile: so many between two stretches are read with them,
/// and where reads in parts come to more than one of the whole block, that is what is read.
const REQUEST_BYTES: u64 = 64 << 10;

/// The pieces of a block.
#[derive(Debug)]
pub(super) struct Pieces {
    checksums: BlockChecksums,
    /// Where the block starts in the packet file, and where its used bytes end.
    offset_bytes: u64,
    end: u64,
    /// Of each piece, whether it was read and is the one that was captured.
    good: Vec<bool>,
}

impl Pieces {
    /// Of a block that has running checksums.
    pub(super) fn of(block: &BlockInfo, checksums: Option<BlockChecksums>) -> Option<Self> {
        let checksums = checksums.filter(|checksums| !checksums.running().is_empty())?;
        let end = block.offset_bytes.checked_add(u64::from(block.used_bytes))?;
        let good = vec![false; checksums.running().len() + 1];
        Some(Self { checksums, offset_bytes: block.offset_bytes, end, good })
    }

    /// The stretches of whole pieces that these lie in, near ones joined.
    pub(super) fn widened(&self, stretches: Vec<Stretch>) -> Vec<Stretch> {
        let mut wide: Vec<Stretch> = Vec::new();
        for stretch in stretches {
            let pieces = self.numbers(stretch.start, stretch.end);
            let (start, end) = (self.start_of(pieces.start), self.start_of(pieces.end));
            match wide.last_mut() {
                Some(last) if start <= last.end + REQUEST_BYTES => {
                    last.end = end.max(last.end);
                    last.groups.extend(stretch.groups);
                }
                _ => wide.push(Stretch { start, end, groups: stretch.groups }),
            }
        }
        wide
    }

    /// Whether the whole block is read as soon as these stretches of it.
    pub(super) fn cost_as_much_as_all(&self, stretches: &[Stretch]) -> bool {
        let cost: u64 = stretches.iter().map(|stretch| stretch.end - stretch.start + REQUEST_BYTES).sum();
        cost >= self.end - self.offset_bytes + REQUEST_BYTES
    }

    /// Reads a stretch of whole pieces, and checks those that its groups lie in.
    pub(super) fn read(
        &mut self,
        file: &PacketFile,
        stretch: &Stretch,
        into: &mut [u8],
        report: &mut dyn FnMut(Damage),
    ) {
        let at_once = read(file, stretch.start, into);
        let numbers = self.numbers(stretch.start, stretch.end);
        for (no, bytes) in numbers.zip(into.chunks_mut(PIECE_BYTES as usize)) {
            let (start, end) = (self.start_of(no), self.start_of(no + 1));
            let first = stretch.groups.partition_point(|group| group.end <= start);
            if stretch.groups.get(first).is_none_or(|group| group.start >= end) {
                continue;
            }
            // One that cannot be read keeps no other from being read.
            let had = if at_once.is_ok() { Ok(()) } else { read(file, start, bytes) };
            match had.and_then(|()| self.check(no, bytes)) {
                Ok(()) => self.good.iter_mut().skip(no).take(1).for_each(|good| *good = true),
                Err(damage) => report(damage),
            }
        }
    }

    /// Whether all bytes from `start` to `end` of the packet file were read and are those that were captured.
    pub(super) fn hold(&self, start: u64, end: u64) -> bool {
        self.good.get(self.numbers(start, end)).is_some_and(|pieces| pieces.iter().all(|good| *good))
    }

    fn check(&self, no: usize, bytes: &[u8]) -> Result<(), Damage> {
        let offset_bytes = self.offset_bytes;
        let (start, end) = (self.start_of(no) - offset_bytes, self.start_of(no + 1) - offset_bytes);
        let checked = self.checksums.check(u32::try_from(no).unwrap_or(u32::MAX), bytes);
        checked.map_err(|PieceDiffers { expected, got }| Damage::Piece { offset_bytes, start, end, expected, got })
    }

    /// The pieces that the bytes from `start` to `end` of the packet file lie in.
    fn numbers(&self, start: u64, end: u64) -> Range<usize> {
        let within = |at: u64| at.saturating_sub(self.offset_bytes);
        let number = |piece: u64| usize::try_from(piece).unwrap_or(usize::MAX);
        let piece = u64::from(PIECE_BYTES);
        number(within(start) / piece)..number(within(end).div_ceil(piece))
    }

    /// Where a piece starts in the packet file; where the block ends, of one behind the last.
    fn start_of(&self, no: usize) -> u64 {
        self.offset_bytes.saturating_add(no as u64 * u64::from(PIECE_BYTES)).min(self.end)
    }
}
