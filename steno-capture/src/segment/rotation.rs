//! When a packet file makes room for the next one.

use std::time::Duration;

use steno_core::TimestampNs;

/// The limits of a packet file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rotation {
    /// Bytes of a block.
    pub(crate) block_bytes: u32,
    /// Blocks of a full file. With `block_bytes` at most 4 GiB: positions have 32 bits.
    pub(crate) blocks_max: u32,
    /// The age at which a file is closed.
    pub(crate) after: Duration,
}

/// What is to be done with the open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing.
    Nothing,
    /// Close it, and open the next one.
    Rotate,
    /// Give it a new name: it got no block in its time, and its name says when its packets begin.
    Rename,
}

impl Rotation {
    /// What is due for a file with `blocks` blocks that was opened, or last renamed, at `opened`.
    pub(crate) fn due(&self, opened: TimestampNs, now: TimestampNs, blocks: u32) -> Due {
        if blocks >= self.blocks_max {
            Due::Rotate
        } else if !self.wait(opened, now).is_zero() {
            Due::Nothing
        } else if blocks == 0 {
            Due::Rename
        } else {
            Due::Rotate
        }
    }

    /// How long the file may stay open. Nothing for a file that was opened in the future: the clock was set back, and its
    /// age is not known.
    pub(crate) fn wait(&self, opened: TimestampNs, now: TimestampNs) -> Duration {
        match now.as_ns().checked_sub(opened.as_ns()) {
            Some(age) => self.after.saturating_sub(Duration::from_nanos(age)),
            None => Duration::ZERO,
        }
    }

    /// Where block `number` of a file starts.
    pub(crate) fn offset(&self, number: u32) -> u64 {
        u64::from(number) * u64::from(self.block_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROTATION: Rotation = Rotation { block_bytes: 1 << 20, blocks_max: 4096, after: Duration::from_secs(60) };

    fn at(secs: u64) -> TimestampNs {
        TimestampNs::new(secs * 1_000_000_000)
    }

    #[test]
    fn files_are_rotated_by_age_and_by_size() {
        let opened = at(1_000);
        let due = |now, blocks| ROTATION.due(opened, at(now), blocks);
        assert_eq!(due(1_000, 0), Due::Nothing);
        assert_eq!(due(1_059, 4095), Due::Nothing);
        assert_eq!(due(1_001, 4096), Due::Rotate);
        assert_eq!(due(1_060, 1), Due::Rotate);
        assert_eq!(due(1_060, 0), Due::Rename);
        assert_eq!(ROTATION.wait(opened, at(1_010)), Duration::from_secs(50));
        assert_eq!(ROTATION.wait(opened, at(2_000)), Duration::ZERO);
    }

    #[test]
    fn a_clock_that_is_set_back_keeps_no_file_open() {
        assert_eq!(ROTATION.due(at(5_000), at(1_000), 7), Due::Rotate);
        assert_eq!(ROTATION.due(at(5_000), at(1_000), 0), Due::Rename);
    }

    #[test]
    fn positions_of_a_full_file_have_32_bits() {
        let last = ROTATION.offset(ROTATION.blocks_max - 1) + u64::from(ROTATION.block_bytes) - 1;
        assert_eq!(last, u64::from(u32::MAX));
    }
}
