//! The checksums of a block: that of all its used bytes, and what it comes to on the way, so that a piece of the block can be
//! held against the index without reading the rest (`docs/format/index.md` section 4).

use steno_core::crc32c;

/// Bytes of a piece: whole pages of any disk, few enough that a read costs its request, and so many that the values take 84 bytes
/// for a block of 1 MiB.
pub const PIECE_BYTES: u32 = 48 << 10;

/// The CRC-32C (Castagnoli) of a block's used bytes, and of those up to each end of a piece but the last.
///
/// ```
/// use steno_index::{BlockChecksums, PIECE_BYTES};
///
/// let used = vec![7; 100_000];
/// let checksums = BlockChecksums::of(&used);
/// assert_eq!((checksums.crc32c(), checksums.running().len()), (crc32c::crc32c(&used), 2));
/// for (no, piece) in (0..).zip(used.chunks(PIECE_BYTES as usize)) {
///     assert!(checksums.check(no, piece).is_ok());
/// }
/// assert!(checksums.check(1, &used[1..]).is_err());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockChecksums {
    crc32c: u32,
    running: Vec<u32>,
}

/// A piece of a block is not the one that was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("running checksum {got:#010x}, expected {expected:#010x}")]
pub struct PieceDiffers {
    /// The running checksum behind the piece by the index.
    pub expected: u32,
    /// By what is there.
    pub got: u32,
}

impl BlockChecksums {
    /// Of a block's used bytes.
    pub fn of(used: &[u8]) -> Self {
        let mut checksums = Self::default();
        let _same = checksums.renew(used);
        checksums
    }

    /// Becomes those of another block, in the same memory: one pass over its bytes.
    pub fn renew(&mut self, used: &[u8]) -> &Self {
        self.running.clear();
        self.crc32c = 0;
        for (no, piece) in used.chunks(PIECE_BYTES as usize).enumerate() {
            if no > 0 {
                self.running.push(self.crc32c);
            }
            self.crc32c = crc32c::crc32c_append(self.crc32c, piece);
        }
        self
    }

    /// Those that were stored: `running` has [`running_checksums`] values, or none.
    pub(crate) fn stored(crc32c: u32, running: Vec<u32>) -> Self {
        Self { crc32c, running }
    }

    /// CRC-32C of all used bytes.
    pub fn crc32c(&self) -> u32 {
        self.crc32c
    }

    /// CRC-32C of the bytes up to the end of each piece but the last.
    pub fn running(&self) -> &[u32] {
        &self.running
    }

    /// Holds the bytes of a piece against what the block's checksum comes to before and behind them. Without running checksums
    /// the block is one piece.
    ///
    /// # Errors
    /// Other bytes, or a piece that the block does not have.
    pub fn check(&self, piece: u32, bytes: &[u8]) -> Result<(), PieceDiffers> {
        let at = |no: usize| self.running.get(no).copied();
        let piece = piece as usize;
        let before = piece.checked_sub(1).map_or(Some(0), at);
        let expected = at(piece).unwrap_or(self.crc32c);
        let got = before.map_or(!expected, |before| crc32c::crc32c_append(before, bytes));
        if got == expected { Ok(()) } else { Err(PieceDiffers { expected, got }) }
    }
}

/// How many running checksums a block of so many used bytes has: one less than pieces.
pub(crate) const fn running_checksums(used_bytes: u32) -> u32 {
    used_bytes.saturating_sub(1) / PIECE_BYTES
}

/// More than any block has.
pub(crate) const RUNNING_MAX: u32 = running_checksums(u32::MAX);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_counted_from_the_start_and_the_last_may_be_short() {
        let piece = PIECE_BYTES as usize;
        for (used, running) in [(0, 0), (1, 0), (piece, 0), (piece + 1, 1), (2 * piece, 1), (1 << 20, 21)] {
            let bytes: Vec<u8> = (0..used).map(|i| (i * 7 % 251).to_le_bytes()[0]).collect();
            let checksums = BlockChecksums::of(&bytes);
            assert_eq!(checksums.crc32c(), ::crc32c::crc32c(&bytes));
            let expected: Vec<u32> = (1..=running).map(|end| ::crc32c::crc32c(&bytes[..end * piece])).collect();
            assert_eq!(checksums.running(), expected);
            assert_eq!(running_checksums(u32::try_from(used).unwrap()) as usize, running);
        }
    }

    #[test]
    fn a_changed_byte_is_found_in_its_piece_and_in_no_other() {
        let used = vec![9; 3 * PIECE_BYTES as usize - 5];
        let checksums = BlockChecksums::of(&used);
        for at in [0, 49_151, 49_152, 100_000, used.len() - 1] {
            let mut bad = used.clone();
            bad[at] ^= 1;
            for (no, piece) in (0..).zip(bad.chunks(PIECE_BYTES as usize)) {
                let differs = no == u32::try_from(at).unwrap() / PIECE_BYTES;
                assert_eq!(checksums.check(no, piece).is_err(), differs, "byte {at}, piece {no}");
            }
        }
        assert!(checksums.check(4, &[]).is_err(), "a piece behind the last one");
        assert!(checksums.check(2, &used[..100]).is_err(), "a piece that is cut");
    }

    #[test]
    fn memory_is_used_again() {
        let mut checksums = BlockChecksums::of(&vec![1; 1 << 20]);
        let before = checksums.running.as_ptr();
        for used in [vec![2; 200_000], vec![], vec![3; 1 << 20]] {
            assert_eq!(checksums.renew(&used), &BlockChecksums::of(&used));
        }
        assert_eq!(checksums.running.as_ptr(), before);
    }
}
