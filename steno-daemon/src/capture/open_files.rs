//! What capture processes tell of the files that they are writing: the memory of their logs, by thread and name.
//!
//! Owns these descriptors, and reads them when somebody asks. Nothing that is read is believed (`steno_index::log`); a log that
//! does not hold is as good as none: receipts name the file as not searched.

use std::{
    collections::BTreeMap,
    fs::File,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use steno_core::{SegmentId, chain};
use steno_index::{
    Index,
    log::{index_of_shared, published_bytes},
};
use steno_query::store::OpenLogs;
use tracing::warn;

/// How many logs are kept of a thread: the open file, and those that wait to be sealed.
const MOST: usize = 64;
/// A log whose file is not asked for any more is forgotten after this time.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

/// The logs of open files.
#[derive(Debug, Default)]
pub struct OpenFiles(Mutex<BTreeMap<(u32, SegmentId), Arc<OpenLog>>>);

/// The log of an open file.
#[derive(Debug)]
struct OpenLog {
    memory: File,
    block_bytes: u32,
    /// When it came, or was asked for last, and what was read of it then.
    read: Mutex<Read>,
}

#[derive(Debug)]
struct Read {
    asked: Instant,
    bytes: u64,
    index: Option<Arc<Index>>,
    /// It does not hold, which has been said.
    is_bad: bool,
}

impl OpenFiles {
    /// Takes the log of a file; the same memory may come again under another name.
    pub(super) fn add(&self, thread: u32, id: SegmentId, memory: OwnedFd, block_bytes: u32) {
        let read = Mutex::new(Read { asked: Instant::now(), bytes: 0, index: None, is_bad: false });
        let log = Arc::new(OpenLog { memory: File::from(memory), block_bytes, read });
        let mut all = self.all();
        all.retain(|_, log| log.read().asked.elapsed() < FORGOTTEN_AFTER);
        let of_thread: Vec<_> = all.keys().filter(|(of, _)| *of == thread).copied().collect();
        if let Some(oldest) = of_thread.first().filter(|_| of_thread.len() >= MOST) {
            let _ = all.remove(oldest);
        }
        let _ = all.insert((thread, id), log);
    }

    /// A file is not open any more.
    pub(super) fn sealed(&self, thread: u32, id: SegmentId) {
        let _ = self.all().remove(&(thread, id));
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<(u32, SegmentId), Arc<OpenLog>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenLogs for OpenFiles {
    fn index(&self, thread: u32, id: SegmentId) -> Option<Arc<Index>> {
        let log = Arc::clone(self.all().get(&(thread, id))?);
        log.index(id)
    }

    fn files(&self) -> Vec<(u32, SegmentId)> {
        self.all().keys().copied().collect()
    }
}

impl OpenLog {
    fn read(&self) -> MutexGuard<'_, Read> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The index of what it says now. Questions that come together wait for one to be made.
    fn index(&self, id: SegmentId) -> Option<Arc<Index>> {
        let mut read = self.read();
        read.asked = Instant::now();
        let made = published_bytes(&self.memory).and_then(|bytes| {
            if let Some(index) = read.index.as_ref().filter(|_| read.bytes == bytes) {
                return Ok((bytes, Arc::clone(index)));
            }
            // What comes between the two is in the index, and the next question makes another.
            index_of_shared(&self.memory, self.block_bytes).map(|index| (bytes, Arc::new(index)))
        });
        match made {
            Ok((bytes, index)) => {
                (read.bytes, read.index) = (bytes, Some(Arc::clone(&index)));
                Some(index)
            }
            Err(e) => {
                if !std::mem::replace(&mut read.is_bad, true) {
                    warn!(%id, "the file that is being written is searched once it is sealed: {}", chain(&e));
                }
                read.index = None;
                None
            }
        }
    }
}
