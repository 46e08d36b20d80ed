//! Which segments there are: step 6's source of news.
//!
//! Three sources are merged, and whoever listens hears each change once: what a capture process says it sealed, what
//! inotify(7) sees happen in the index directories (the only source there is with a foreign stenotype, and the one that
//! sees imports and deletions), and a slow look through the directories for all that those two missed. A segment is there
//! when both of its files bear its name; the index gets its name last and loses it first, so that one directory is enough
//! to watch.
//!
//! It opens no file.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rustix::{
    event::EventfdFlags,
    fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags},
    io::Errno,
};
use steno_core::SegmentId;
use tracing::warn;

use super::{CaptureError, OnSealed, ThreadDirectories, process::wait_readable, supervisor::drain};

/// How often the directories are looked through where inotify is not to be had.
const RESCAN_UNWATCHED: Duration = Duration::from_secs(1);

/// What happened to a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is whole and can be read.
    Added,
    /// It is gone.
    Removed,
}

/// A change of what a thread's directories hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentEvent {
    /// The configured thread.
    pub thread: u32,
    /// The segment.
    pub id: SegmentId,
    /// What happened.
    pub change: Change,
}

/// Watches the directories until it is dropped.
pub struct SegmentWatch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    /// What capture processes said they sealed, not yet looked at.
    sealed: Mutex<Vec<(u32, SegmentId)>>,
    rescan: AtomicBool,
    stop: AtomicBool,
    wake: OwnedFd,
}

impl SegmentWatch {
    /// Tells `listener` of every segment that is there, on this thread, and then, on a thread of its own, of every
    /// change. The directories are looked through every `rescan_every` whatever else is heard.
    ///
    /// # Errors
    /// [`CaptureError::System`], where the system gives no thread or descriptor. Directories that cannot be read are a
    /// warning, and looked at again.
    pub fn start(
        threads: Vec<ThreadDirectories>,
        rescan_every: Duration,
        listener: impl FnMut(SegmentEvent) + Send + 'static,
    ) -> Result<Self, CaptureError> {
        let wake =
            rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(io::Error::from)?;
        let shared = Arc::new(Shared {
            sealed: Mutex::default(),
            rescan: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            wake,
        });
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)
            .inspect_err(|e| warn!("no inotify ({e}): looking through the directories each second instead"))
            .ok();
        let threads = threads.into_iter().map(Watched::new).collect();
        let mut watcher = Watcher { shared: Arc::clone(&shared), inotify, threads, rescan_every, listener };
        watcher.rescan();
        let thread = std::thread::Builder::new().name("segments".into()).spawn(move || watcher.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// What a [`super::Capture`] is to call for each segment that its process sealed.
    pub fn on_sealed(&self) -> OnSealed {
        let shared = Arc::clone(&self.shared);
        Arc::new(move |thread, id| {
            shared.sealed.lock().unwrap_or_else(PoisonError::into_inner).push((thread, id));
            shared.wake();
        })
    }

    /// Asks for a look through the directories now.
    pub fn rescan(&self) {
        self.shared.rescan.store(true, Ordering::SeqCst);
        self.shared.wake();
    }
}

impl Drop for SegmentWatch {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn wake(&self) {
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }
}

/// One thread's directories, and what is known to be there.
struct Watched {
    directories: ThreadDirectories,
    /// The watch on the index directory; none, where it could not be set or was lost.
    watch: Option<i32>,
    known: BTreeSet<SegmentId>,
    /// Whether the last look failed, so that a lasting failure is said once.
    failing: bool,
}

impl Watched {
    fn new(directories: ThreadDirectories) -> Self {
        Self { directories, watch: None, known: BTreeSet::new(), failing: false }
    }

    fn holds(&self, id: SegmentId) -> bool {
        let is_file = |directory: &Path| fs::metadata(directory.join(id.to_string())).is_ok_and(|m| m.is_file());
        is_file(&self.directories.index) && is_file(&self.directories.packets)
    }
}

struct Watcher<L> {
    shared: Arc<Shared>,
    inotify: Option<OwnedFd>,
    threads: Vec<Watched>,
    rescan_every: Duration,
    listener: L,
}

impl<L: FnMut(SegmentEvent)> Watcher<L> {
    fn run(mut self) {
        let mut rescanned = Instant::now();
        while !self.shared.stop.load(Ordering::SeqCst) {
            let every = if self.threads.iter().all(|t| t.watch.is_some()) {
                self.rescan_every
            } else {
                self.rescan_every.min(RESCAN_UNWATCHED)
            };
            let mut fds: Vec<BorrowedFd<'_>> = vec![self.shared.wake.as_fd()];
            fds.extend(self.inotify.as_ref().map(AsFd::as_fd));
            if let Err(e) = wait_readable(&fds, every.saturating_sub(rescanned.elapsed())) {
                warn!("waiting for news of segments: {e}");
                std::thread::sleep(Duration::from_millis(100));
            }
            drain(&self.shared.wake);
            self.take_sealed();
            let missed = self.take_inotify();
            let asked = self.shared.rescan.swap(false, Ordering::SeqCst);
            if missed || asked || rescanned.elapsed() >= every {
                self.rescan();
                rescanned = Instant::now();
            }
        }
    }

    fn take_sealed(&mut self) {
        let sealed = std::mem::take(&mut *self.shared.sealed.lock().unwrap_or_else(PoisonError::into_inner));
        for (thread, id) in sealed {
            if let Some(place) = self.threads.iter().position(|t| t.directories.thread == thread) {
                self.appeared(place, id);
            }
        }
    }

    /// Reads what inotify has. True: it has lost something.
    fn take_inotify(&mut self) -> bool {
        let Some(inotify) = &self.inotify else { return false };
        let mut missed = false;
        let mut seen: Vec<(i32, ReadFlags, Option<SegmentId>)> = Vec::new();
        let mut buffer = [MaybeUninit::uninit(); 8192];
        let mut reader = inotify::Reader::new(inotify.as_fd(), &mut buffer);
        loop {
            match reader.next() {
                Ok(event) => {
                    let name = event.file_name().and_then(|n| n.to_str().ok());
                    seen.push((event.wd(), event.events(), name.and_then(|n| n.parse().ok())));
                }
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(e) => {
                    warn!("reading inotify: {e}");
                    missed = true;
                    break;
                }
            }
        }
        for (watch, events, id) in seen {
            missed |= events.contains(ReadFlags::QUEUE_OVERFLOW);
            let Some(place) = self.threads.iter().position(|t| t.watch == Some(watch)) else { continue };
            if events
                .intersects(ReadFlags::IGNORED | ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::UNMOUNT)
            {
                if let Some(thread) = self.threads.get_mut(place) {
                    thread.watch = None;
                }
                missed = true;
            }
            let Some(id) = id else { continue };
            if events.intersects(ReadFlags::MOVED_TO | ReadFlags::CREATE | ReadFlags::CLOSE_WRITE) {
                self.appeared(place, id);
            } else if events.intersects(ReadFlags::MOVED_FROM | ReadFlags::DELETE) {
                self.went(place, id);
            }
        }
        missed
    }

    fn appeared(&mut self, place: usize, id: SegmentId) {
        let Some(thread) = self.threads.get_mut(place) else { return };
        // A name without its other half is heard of again, or found by the next look.
        if !thread.known.contains(&id) && thread.holds(id) {
            let _ = thread.known.insert(id);
            (self.listener)(SegmentEvent { thread: thread.directories.thread, id, change: Change::Added });
        }
    }

    fn went(&mut self, place: usize, id: SegmentId) {
        let Some(thread) = self.threads.get_mut(place) else { return };
        if !thread.holds(id) && thread.known.remove(&id) {
            (self.listener)(SegmentEvent { thread: thread.directories.thread, id, change: Change::Removed });
        }
    }

    /// Looks through all directories, and sets the watches that are missing.
    fn rescan(&mut self) {
        for thread in &mut self.threads {
            if let (None, Some(inotify)) = (thread.watch, &self.inotify) {
                // Before the look, so that nothing falls between the two.
                let events = WatchFlags::MOVED_TO
                    | WatchFlags::MOVED_FROM
                    | WatchFlags::CREATE
                    | WatchFlags::CLOSE_WRITE
                    | WatchFlags::DELETE
                    | WatchFlags::DELETE_SELF
                    | WatchFlags::MOVE_SELF
                    | WatchFlags::ONLYDIR;
                thread.watch = inotify::add_watch(inotify, &thread.directories.index, events).ok();
            }
            let there = match names(&thread.directories) {
                Ok(there) => there,
                Err(e) => {
                    // What cannot be looked at is not gone: an answer says that it is unreadable.
                    if !std::mem::replace(&mut thread.failing, true) {
                        warn!(thread = thread.directories.thread, "cannot look for segments: {e}");
                    }
                    continue;
                }
            };
            thread.failing = false;
            let number = thread.directories.thread;
            let mut tell = |id: &SegmentId, change| (self.listener)(SegmentEvent { thread: number, id: *id, change });
            thread.known.difference(&there).for_each(|id| tell(id, Change::Removed));
            there.difference(&thread.known).for_each(|id| tell(id, Change::Added));
            thread.known = there;
        }
    }
}

/// The names that both directories hold.
fn names(directories: &ThreadDirectories) -> Result<BTreeSet<SegmentId>, Unreadable> {
    let list = |path: &Path| -> Result<BTreeSet<SegmentId>, Unreadable> {
        let failed = |source| Unreadable { path: path.display().to_string(), source };
        let mut names = BTreeSet::new();
        for entry in fs::read_dir(path).map_err(failed)? {
            if let Some(id) = entry.map_err(failed)?.file_name().to_str().and_then(|n| n.parse().ok()) {
                let _ = names.insert(id);
            }
        }
        Ok(names)
    };
    let mut both: BTreeMap<SegmentId, bool> = list(&directories.packets)?.into_iter().map(|id| (id, false)).collect();
    for id in list(&directories.index)? {
        let _ = both.get_mut(&id).map(|indexed| *indexed = true);
    }
    Ok(both.into_iter().filter_map(|(id, indexed)| indexed.then_some(id)).collect())
}

#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
struct Unreadable {
    path: String,
    source: io::Error,
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    struct Bench {
        root: tempfile::TempDir,
        watch: SegmentWatch,
        events: Receiver<SegmentEvent>,
    }

    fn path(root: &Path, kind: &str, thread: u32) -> std::path::PathBuf {
        root.join(format!("{kind}{thread}"))
    }

    fn bench(rescan_every: Duration, prepare: impl FnOnce(&Path)) -> Bench {
        let root = tempfile::tempdir().unwrap();
        let threads: Vec<ThreadDirectories> = (0..2)
            .map(|thread| ThreadDirectories {
                thread,
                packets: path(root.path(), "p", thread),
                index: path(root.path(), "i", thread),
            })
            .collect();
        for thread in &threads {
            fs::create_dir(&thread.packets).unwrap();
            fs::create_dir(&thread.index).unwrap();
        }
        prepare(root.path());
        let (tell, events) = channel();
        let watch = SegmentWatch::start(threads, rescan_every, move |e| {
            let _ = tell.send(e);
        })
        .unwrap();
        Bench { root, watch, events }
    }

    impl Bench {
        fn publish(&self, thread: u32, id: u64) {
            publish(self.root.path(), thread, id);
        }

        fn next(&self) -> (u32, u64, Change) {
            let e = self.events.recv_timeout(Duration::from_secs(10)).expect("an event");
            (e.thread, e.id.0, e.change)
        }

        fn nothing(&self) {
            let silence = self.events.recv_timeout(Duration::from_millis(200));
            assert_eq!(silence, Err(RecvTimeoutError::Timeout));
        }
    }

    /// As stenotype does it: hidden, then the packet file's name, then the index's.
    fn publish(root: &Path, thread: u32, id: u64) {
        for kind in ["p", "i"] {
            let dir = path(root, kind, thread);
            fs::write(dir.join(format!(".{id}")), "x").unwrap();
            fs::rename(dir.join(format!(".{id}")), dir.join(id.to_string())).unwrap();
        }
    }

    #[test]
    fn what_is_there_is_told_first_and_changes_follow() {
        let bench = bench(HOUR, |root| {
            publish(root, 0, 5);
            publish(root, 1, 4);
            fs::write(path(root, "i", 0).join("6"), "index without packets").unwrap();
            fs::write(path(root, "p", 0).join(".7"), "being written").unwrap();
            fs::write(path(root, "i", 0).join("README"), "not ours").unwrap();
        });
        assert_eq!((bench.next(), bench.next()), ((0, 5, Change::Added), (1, 4, Change::Added)));
        bench.publish(1, 9);
        assert_eq!(bench.next(), (1, 9, Change::Added));
        fs::remove_file(path(bench.root.path(), "i", 0).join("5")).unwrap();
        assert_eq!(bench.next(), (0, 5, Change::Removed));
        bench.nothing();
    }

    #[test]
    fn what_capture_says_and_what_inotify_sees_is_told_once() {
        let bench = bench(HOUR, |_| {});
        let sealed = bench.watch.on_sealed();
        sealed(0, SegmentId(3));
        bench.nothing();
        bench.publish(0, 3);
        sealed(0, SegmentId(3));
        sealed(9, SegmentId(3));
        assert_eq!(bench.next(), (0, 3, Change::Added));
        bench.nothing();
    }

    #[test]
    fn a_look_finds_what_nobody_told() {
        let bench = bench(HOUR, |_| {});
        // Renaming within the packets directory makes no event in the index directory.
        fs::write(path(bench.root.path(), "i", 0).join("8"), "x").unwrap();
        bench.nothing();
        fs::write(path(bench.root.path(), "p", 0).join("8"), "x").unwrap();
        bench.nothing();
        bench.watch.rescan();
        assert_eq!(bench.next(), (0, 8, Change::Added));
        fs::remove_file(path(bench.root.path(), "p", 0).join("8")).unwrap();
        bench.watch.rescan();
        assert_eq!(bench.next(), (0, 8, Change::Removed));
    }

    #[test]
    fn a_directory_that_comes_back_is_watched_again() {
        let bench = bench(Duration::from_millis(50), |root| publish(root, 0, 1));
        assert_eq!(bench.next(), (0, 1, Change::Added));
        let (index, away) = (path(bench.root.path(), "i", 0), bench.root.path().join("away"));
        fs::rename(&index, &away).unwrap();
        bench.nothing();
        fs::rename(&away, &index).unwrap();
        bench.publish(0, 2);
        assert_eq!(bench.next(), (0, 2, Change::Added));
        fs::remove_file(index.join("1")).unwrap();
        assert_eq!(bench.next(), (0, 1, Change::Removed));
    }
}
