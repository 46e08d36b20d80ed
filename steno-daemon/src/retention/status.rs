//! What is known of a thread's disks at a moment: for `Status`, for metrics, for the log.

use std::collections::BTreeMap;

use steno_core::SegmentId;

use super::Reason;

/// Space of one file system, in bytes (statvfs(3)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// All of it.
    pub total_bytes: u64,
    /// What a user who is not root may still take.
    pub available_bytes: u64,
    /// What of it is to stay free for what is written until more can be removed.
    pub reserve_bytes: u64,
}

impl Space {
    /// Whole percent that are free, rounded down: 1.0.1's figure.
    pub fn free_percent(self) -> u64 {
        let percent = u128::from(self.available_bytes) * 100 / u128::from(self.total_bytes.max(1));
        u64::try_from(percent).unwrap_or(100)
    }

    /// Whether less is free than is to stay so.
    pub fn is_short(self) -> bool {
        self.available_bytes < self.reserve_bytes
    }
}

/// The file systems that a thread writes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    /// The one of `PacketsDirectory`.
    pub packets: Space,
    /// The one of `IndexDirectory`; often the same.
    pub index: Space,
}

impl Disk {
    /// The smaller of the two.
    pub fn free_percent(self) -> u64 {
        self.packets.free_percent().min(self.index.free_percent())
    }

    /// Whether either is short.
    pub fn is_short(self) -> bool {
        self.packets.is_short() || self.index.is_short()
    }

    /// With half of the reserves.
    pub(super) fn with_half_the_reserve(self) -> Self {
        let halved = |space: Space| Space { reserve_bytes: space.reserve_bytes / 2, ..space };
        Self { packets: halved(self.packets), index: halved(self.index) }
    }
}

/// What retention knows of one thread, and what it has done there since the daemon started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ThreadStatus {
    /// The configured thread.
    pub thread: u32,
    /// Whole segments.
    pub segments: u64,
    /// What their packet files take on the disk, in bytes.
    pub packet_bytes: u64,
    /// What their indexes take, in bytes.
    pub index_bytes: u64,
    /// What files take that are no whole segment: being written, or left by a crash. In bytes.
    pub other_bytes: u64,
    /// The oldest whole segment.
    pub oldest: Option<SegmentId>,
    /// The newest one.
    pub newest: Option<SegmentId>,
    /// The space of the disks; none, where it could not be measured.
    pub disk: Option<Disk>,
    /// Segments removed, by reason.
    pub removed: BTreeMap<Reason, u64>,
    /// What they took, in bytes.
    pub removed_bytes: u64,
    /// How often a segment had to stay longer because a query had pinned it: once a segment.
    pub pinned: u64,
    /// Removals and looks at the disk that failed.
    pub errors: u64,
    /// What went wrong the last time, until it goes well again.
    pub error: Option<String>,
    /// A bound that is broken although nothing there may be removed.
    pub stuck: Option<Reason>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_are_whole_and_rounded_down() {
        let percent =
            |available_bytes, total_bytes| Space { total_bytes, available_bytes, reserve_bytes: 0 }.free_percent();
        assert_eq!((percent(109, 1000), percent(110, 1000), percent(0, 1000)), (10, 11, 0));
        assert_eq!(percent(u64::MAX, u64::MAX), 100);
        assert_eq!(percent(0, 0), 0);
        let half = Space { total_bytes: 10, available_bytes: 5, reserve_bytes: 5 };
        let full = Space { total_bytes: 10, available_bytes: 0, reserve_bytes: 1 };
        let disk = Disk { packets: half, index: full };
        assert_eq!(disk.free_percent(), 0);
        assert!(!half.is_short() && full.is_short() && disk.is_short());
        assert!(!disk.with_half_the_reserve().is_short());
    }
}
