//! What each packet thread counts, and anyone may read.

use std::sync::atomic::{AtomicU64, Ordering};

/// The counters of a thread, on cache lines of their own: one thread adds, others read.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Counters {
    pub(crate) packets: Counter,
    pub(crate) bytes: Counter,
    pub(crate) blocks: Counter,
    pub(crate) dropped: Counter,
    pub(crate) freezes: Counter,
    pub(crate) write_errors: Counter,
    pub(crate) packets_lost: Counter,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, more: u64) {
        let _ = self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
