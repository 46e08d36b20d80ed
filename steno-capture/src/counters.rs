//! What each packet thread counts, and anyone may read.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::watchdog::Pulse;

/// The counters of a thread, on cache lines of their own: the thread adds, others read.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Counters {
    /// Packets of blocks that were taken from the ring.
    pub(crate) packets: Counter,
    /// What was captured of those packets.
    pub(crate) bytes: Counter,
    /// Those blocks.
    pub(crate) blocks: Counter,
    /// Calls that waited for packets.
    pub(crate) polls: Counter,
    /// Packets that the kernel dropped.
    pub(crate) drops: Counter,
    /// Times that the ring was full.
    pub(crate) freezes: Counter,
    /// Writes that failed.
    pub(crate) write_errors: Counter,
    /// Packets taken from the ring that did not get to the disk.
    pub(crate) lost_packets: Counter,
    /// Packets of which less was kept than there was.
    pub(crate) cut_packets: Counter,
    /// Nanoseconds in which writes were under way and none ended.
    pub(crate) write_stall_ns: Counter,
    /// What the interface counts for itself; of the first thread only.
    pub(crate) interface_dropped: Counter,
    pub(crate) interface_missed: Counter,
    pub(crate) interface_overrun: Counter,
    /// Packets that passed before this capture began, and that no earlier one has stored; of the first thread only.
    pub(crate) uncaptured: Counter,
    /// Segments that were published.
    pub(crate) segments: Counter,
    /// Finished files that the index thread could not take at once.
    pub(crate) late: Counter,
    /// Segments that could not be published when the capture ended.
    pub(crate) unpublished: Counter,
    /// What the packet thread is about.
    pub(crate) pulse: Arc<Pulse>,
    /// What its index thread is about.
    pub(crate) index_pulse: Arc<Pulse>,
}

/// A number that only grows.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, more: u64) {
        let _ = self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}
