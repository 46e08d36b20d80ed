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
use steno_index::log::{OpenPart, SharedLogReader};
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
struct OpenLog(Mutex<Read>);

#[derive(Debug)]
struct Read {
    /// When it came, or was asked for last.
    asked: Instant,
    reader: SharedLogReader,
    /// It does not hold, which has been said.
    is_bad: bool,
}

impl OpenFiles {
    /// Takes the log of a file; the same memory may come again under another name.
    pub(super) fn add(&self, thread: u32, id: SegmentId, memory: OwnedFd, block_bytes: u32) {
        let reader = SharedLogReader::new(File::from(memory), block_bytes);
        let log = Arc::new(OpenLog(Mutex::new(Read { asked: Instant::now(), reader, is_bad: false })));
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
    fn parts(&self, thread: u32, id: SegmentId) -> Option<Vec<OpenPart>> {
        let log = Arc::clone(self.all().get(&(thread, id))?);
        log.parts(id)
    }

    fn files(&self) -> Vec<(u32, SegmentId)> {
        self.all().keys().copied().collect()
    }
}

impl OpenLog {
    fn read(&self) -> MutexGuard<'_, Read> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it says now. Questions that come together wait for one to read what is new.
    fn parts(&self, id: SegmentId) -> Option<Vec<OpenPart>> {
        let mut read = self.read();
        read.asked = Instant::now();
        if read.is_bad {
            return None;
        }
        let parts = read.reader.parts().map_err(|e| {
            read.is_bad = true;
            warn!(%id, "the file that is being written is searched once it is sealed: {}", chain(&e));
        });
        parts.ok()
    }
}
