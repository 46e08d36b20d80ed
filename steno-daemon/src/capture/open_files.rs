//! What capture processes tell of the files that they are writing: the memory of their logs, by thread and name.
//!
//! Owns these descriptors, and reads them when somebody asks. Nothing that is read is believed (`steno_index::log`); a log that
//! does not hold is as good as none: receipts name the file as not searched.

use std::{
    collections::BTreeMap,
    fs::File,
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use steno_core::{SegmentId, chain};
use steno_index::log::{OpenPart, SharedLogReader};
use steno_query::store::{OpenContents, OpenLogs};
use tracing::warn;

use super::process::wait_readable;

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
    read: Mutex<Read>,
    /// Readable once its writer has ended.
    writer: Arc<OwnedFd>,
}

#[derive(Debug)]
struct Read {
    /// When it came, or was asked for last.
    asked: Instant,
    reader: SharedLogReader,
    /// It does not hold, which has been said.
    is_bad: bool,
}

impl OpenFiles {
    /// Takes the log of a file that the process of the descriptor `writer` (pidfd_open(2)) writes; the same memory may come again
    /// under another name.
    pub(super) fn add(
        &self,
        (thread, id): (u32, SegmentId),
        (memory, block_bytes): (OwnedFd, u32),
        writer: Arc<OwnedFd>,
    ) {
        let reader = SharedLogReader::new(File::from(memory), block_bytes);
        let read = Mutex::new(Read { asked: Instant::now(), reader, is_bad: false });
        let log = Arc::new(OpenLog { read, writer });
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
    fn contents(&self, thread: u32, id: SegmentId) -> Option<OpenContents> {
        let log = Arc::clone(self.all().get(&(thread, id))?);
        let parts = log.parts(id)?;
        // Asked after the log was read: a writer that lives now had told of all that it knew to be written then.
        Some(OpenContents { parts, writer_has_ended: log.writer_has_ended() })
    }

    fn files(&self) -> Vec<(u32, SegmentId)> {
        self.all().keys().copied().collect()
    }
}

impl OpenLog {
    fn read(&self) -> MutexGuard<'_, Read> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether its writer has ended, which the capture's own thread may come to see later. Where that cannot be told, it has.
    fn writer_has_ended(&self) -> bool {
        wait_readable(&[self.writer.as_fd()], Duration::ZERO).map_or(true, |ready| ready != [false])
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

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use rustix::process::{Pid, PidfdFlags, pidfd_open};
    use steno_index::log::SharedLog;

    use super::*;

    #[test]
    fn that_a_writer_has_ended_is_known_before_anybody_reaps_it() {
        let mut writer = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let pidfd = Arc::new(pidfd_open(Pid::from_child(&writer), PidfdFlags::empty()).unwrap());
        let log = SharedLog::create().unwrap();
        let (files, id) = (OpenFiles::default(), SegmentId(7));
        files.add((3, id), (log.as_fd().try_clone_to_owned().unwrap(), 1 << 20), Arc::clone(&pidfd));
        let has_ended = || files.contents(3, id).unwrap().writer_has_ended;
        assert!(!has_ended());
        writer.kill().unwrap();
        let _ended = wait_readable(&[pidfd.as_fd()], Duration::from_secs(20)).unwrap();
        assert!(has_ended());
        let _status = writer.wait().unwrap();
        assert!(has_ended());
        files.sealed(3, id);
        assert!(files.contents(3, id).is_none());
    }
}
