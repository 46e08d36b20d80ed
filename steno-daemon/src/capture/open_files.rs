//! What capture processes tell of the files that they are writing: the memory of their logs, by thread and name.
//!
//! Owns these descriptors, reads them when somebody asks, and has a thread that merges what was read, which nobody waits for.
//! Nothing that is read is believed (`steno_index::log`); a log that does not hold is as good as none: receipts name the file as
//! not searched.

use std::{
    collections::BTreeMap,
    fs::File,
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use steno_core::{SegmentId, chain};
use steno_index::{
    Sealer,
    log::{Merge, OpenPart, SharedLogError, SharedLogReader},
};
use steno_query::store::{OpenContents, OpenLogs};
use tracing::warn;

use super::process::wait_readable;

/// How many logs are kept of a thread: the open file, and those that wait to be sealed.
const MOST: usize = 64;
/// A log whose file is not asked for any more is forgotten after this time.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

/// How much nicer the thread is that merges than this process: below answers that are soon made, above those that take long.
const NICER_BY: i32 = 10;

/// The logs of open files.
#[derive(Debug, Default)]
pub struct OpenFiles {
    all: Mutex<BTreeMap<(u32, SegmentId), Arc<OpenLog>>>,
    /// To the thread that merges, which starts with the first file, for who asks may be nice, and ends with these; `None` where there is
    /// no thread to be had.
    merges: OnceLock<Option<Sender<Due>>>,
}

/// A log that is to be told of a merge, which another thread makes.
#[derive(Debug)]
struct Due {
    of: Weak<OpenLog>,
    id: SegmentId,
    merge: Merge,
}

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
        let _merges = self.merges.get_or_init(|| {
            let (merges, to_make) = channel();
            let started = thread::Builder::new().name("merge".to_owned()).spawn(move || make(&to_make));
            started.is_ok().then_some(merges)
        });
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
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes what is due until nobody can ask any more.
fn make(merges: &Receiver<Due>) {
    // Refused, it works as it is.
    let _refused = rustix::process::nice(NICER_BY);
    while let Ok(Due { of, id, merge }) = merges.recv() {
        let (mut next, mut sealer) = (Some(merge), Sealer::new());
        // A file that is sealed by now needs none.
        while let (Some(merge), Some(log)) = (next.take(), of.upgrade()) {
            let merged = merge.make(&mut sealer);
            let mut read = log.read();
            next = match read.reader.take(merged) {
                Ok(()) => read.reader.due(),
                Err(e) => {
                    read.is_refused(id, &e);
                    None
                }
            };
        }
    }
}

impl Read {
    /// Nothing more of it is taken.
    fn is_refused(&mut self, id: SegmentId, why: &SharedLogError) {
        if !std::mem::replace(&mut self.is_bad, true) {
            warn!(%id, "the file that is being written is searched once it is sealed: {}", chain(why));
        }
    }
}

impl OpenLogs for OpenFiles {
    fn contents(&self, thread: u32, id: SegmentId) -> Option<OpenContents> {
        let log = Arc::clone(self.all().get(&(thread, id))?);
        let (parts, due) = log.parts(id)?;
        if let (Some(merge), Some(Some(merges))) = (due, self.merges.get()) {
            // Without a thread whoever asks merges, once there are very many.
            let _sent = merges.send(Due { of: Arc::downgrade(&log), id, merge });
        }
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

    /// What it says now, and what is to be merged of that. Questions that come together wait for one to read what is new.
    fn parts(&self, id: SegmentId) -> Option<(Vec<OpenPart>, Option<Merge>)> {
        let mut read = self.read();
        read.asked = Instant::now();
        if read.is_bad {
            return None;
        }
        match read.reader.parts() {
            Ok(parts) => Some((parts, read.reader.due())),
            Err(e) => {
                read.is_refused(id, &e);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use rustix::process::{Pid, PidfdFlags, pidfd_open};
    use steno_core::{
        Position, TimestampNs,
        packet::{Frame, decode},
        testkit::{FrameBuilder, until},
    };
    use steno_index::{BlockNote, Log, log::SharedLog};

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

    #[test]
    fn what_was_read_is_merged_while_nobody_asks() {
        const BLOCK_PACKETS: u32 = 10_000;
        let mut writer = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let pidfd = Arc::new(pidfd_open(Pid::from_child(&writer), PidfdFlags::empty()).unwrap());
        let (mut shared, mut log) = (SharedLog::create().unwrap(), Log::new());
        let (files, id) = (OpenFiles::default(), SegmentId(7));
        files.add((0, id), (shared.as_fd().try_clone_to_owned().unwrap(), 1 << 20), pidfd);
        let frame = FrameBuilder::ethernet().ipv4([10, 0, 0, 1], [10, 0, 0, 2]).tcp(80, 81).build();
        let decoded = decode(&Frame::new(&frame), &mut Vec::new());
        for number in 0..8 {
            let at = number * (1 << 20);
            for i in 0..BLOCK_PACKETS {
                log.note(Position(at + 48 + i * 100), TimestampNs::from_parts(number, i), 80, &decoded, &[]);
            }
            let used_bytes = 48 + BLOCK_PACKETS * 100;
            let seq_num = u64::from(number) + 1;
            log.end_block_with(BlockNote { offset_bytes: u64::from(at), used_bytes, crc32c: None, seq_num }, &[]);
            shared.publish(&log, log.bytes()).unwrap();
            let _parts = files.contents(0, id).unwrap();
        }
        // Nothing is asked of the log but whether it has been merged.
        let one = Arc::clone(&files.all()[&(0, id)]);
        until("the parts are few", || {
            let parts = one.read().reader.parts().unwrap();
            assert_eq!(parts.iter().map(|part| part.index.packets()).sum::<u32>(), 8 * BLOCK_PACKETS);
            parts.len() <= 3
        });
        writer.kill().unwrap();
        let _status = writer.wait().unwrap();
    }
}
