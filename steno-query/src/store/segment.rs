//! A segment: a packet file and its index, opened when it is needed.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use steno_core::{SegmentId, TimestampNs};
use steno_index::Index;

use super::{Fault, ThreadDirs};

/// A packet file and its index.
#[derive(Debug)]
pub struct Segment {
    dirs: Arc<ThreadDirs>,
    id: SegmentId,
    /// What the index said when it was first opened.
    summary: OnceLock<Summary>,
    /// The index, kept open as long as there is room for it.
    index: OnceLock<Arc<Index>>,
    /// The inode of the index file that the two above are of.
    inode: OnceLock<u64>,
}

/// What is known of a segment without looking into it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    /// The earliest and the latest time of a packet; `None` without packets.
    pub(crate) times: Option<(TimestampNs, TimestampNs)>,
    /// Packets.
    pub(crate) packets: u32,
}

impl Segment {
    pub(super) fn new(dirs: Arc<ThreadDirs>, id: SegmentId) -> Self {
        Self { dirs, id, summary: OnceLock::new(), index: OnceLock::new(), inode: OnceLock::new() }
    }

    /// The capture thread.
    pub fn thread(&self) -> u32 {
        self.dirs.thread
    }

    /// Its name.
    pub fn id(&self) -> SegmentId {
        self.id
    }

    /// The packet file.
    pub fn packet_file(&self) -> PathBuf {
        self.dirs.packets.join(self.id.to_string())
    }

    /// The index file.
    pub fn index_file(&self) -> PathBuf {
        self.dirs.index.join(self.id.to_string())
    }

    /// The packet file as receipts name it.
    pub fn packet_name(&self) -> String {
        format!("PKT{}/{}", self.dirs.thread, self.id)
    }

    /// The index file as receipts name it.
    pub fn index_name(&self) -> String {
        format!("IDX{}/{}", self.dirs.thread, self.id)
    }

    /// The index, opened if it is not open. Opening reads its footer and its tables, not its contents.
    ///
    /// # Errors
    /// Why it cannot be used. It is tried again at the next call.
    pub fn index(&self) -> Result<Arc<Index>, Fault> {
        if let Some(index) = self.index.get() {
            return Ok(Arc::clone(index));
        }
        let path = self.index_file();
        // Before the file is opened: should it be replaced between the two, the next refresh forgets what was read.
        let inode = fs::metadata(&path).map_err(|e| Fault::of_io(&e))?.ino();
        let index = Index::open(&path).map(Arc::new).map_err(|e| Fault::of_index(&e))?;
        let _known = self.inode.set(inode);
        let _known = self.summary.set(Summary { times: index.time_range(), packets: index.packets() });
        Ok(index)
    }

    /// The earliest and the latest time of a packet, where the index has been opened before and there are packets. Opens
    /// nothing.
    pub fn known_times(&self) -> Option<(TimestampNs, TimestampNs)> {
        self.summary.get().and_then(|summary| summary.times)
    }

    /// What its index said when it was first opened; opens it if that has not been.
    pub(crate) fn summary(&self, room: &KeptOpen) -> Result<Summary, Fault> {
        if let Some(summary) = self.summary.get() {
            return Ok(*summary);
        }
        let index = self.index()?;
        let summary = Summary { times: index.time_range(), packets: index.packets() };
        if self.index.get().is_none() && room.take() && self.index.set(index).is_err() {
            room.give_back();
        }
        Ok(summary)
    }

    /// Whether what is known of it is still that of its files. An index that was lost or damaged may have been built again.
    pub(super) fn is_current(&self) -> bool {
        self.inode.get().is_none_or(|&inode| fs::metadata(self.index_file()).is_ok_and(|now| now.ino() == inode))
    }

    /// Whether its index is kept open.
    pub(super) fn is_kept_open(&self) -> bool {
        self.index.get().is_some()
    }
}

/// How many more indexes may be kept open.
///
/// An open index is a memory map, of which a process has 65,530 at the most (`vm.max_map_count`). Opening one costs some
/// ten microseconds, more than most look-ups do.
#[derive(Debug)]
pub(crate) struct KeptOpen(AtomicUsize);

impl KeptOpen {
    /// Indexes that a store keeps open.
    const MOST: usize = 16_384;

    /// With `taken` of them open.
    pub(super) fn with(taken: usize) -> Self {
        Self(AtomicUsize::new(Self::MOST.saturating_sub(taken)))
    }

    fn take(&self) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    fn give_back(&self) {
        let _before = self.0.fetch_add(1, Ordering::Relaxed);
    }
}
