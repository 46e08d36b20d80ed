//! How far a packet thread is behind, for others to see: it may be that it does not get to run.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use crate::sys::RingMemory;

/// The part of a ring's blocks that wait when its thread is behind.
const PART: u32 = 8;

/// Tells whether packets wait for a packet thread that should have taken them by now.
pub(crate) trait Backlog: fmt::Debug + Send + Sync {
    /// Whether so much waits that it is time to let the thread have the processor.
    fn is_behind(&self) -> bool;
}

/// Of a ring that the kernel fills.
#[derive(Debug)]
pub(super) struct RingBacklog {
    memory: Arc<RingMemory>,
    /// The block that its thread takes next.
    next: AtomicU32,
}

impl RingBacklog {
    pub(super) fn new(memory: Arc<RingMemory>) -> Self {
        Self { memory, next: AtomicU32::new(0) }
    }

    pub(super) fn memory(&self) -> &Arc<RingMemory> {
        &self.memory
    }

    pub(super) fn next(&self) -> u32 {
        self.next.load(Ordering::Relaxed)
    }

    /// The thread has taken the block that was next.
    pub(super) fn advance(&self) {
        self.next.store(self.after(1), Ordering::Relaxed);
    }

    /// The block that comes so many after the next one.
    fn after(&self, more: u32) -> u32 {
        (self.next() + more) % self.memory.blocks().max(1)
    }
}

impl Backlog for RingBacklog {
    fn is_behind(&self) -> bool {
        self.memory.is_ready(self.after((self.memory.blocks() / PART).max(1)))
    }
}
