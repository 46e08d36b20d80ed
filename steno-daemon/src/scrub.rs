//! Reads what is stored, slowly, again and again, so that damage is known before somebody needs what it hit.
//!
//! Off unless the configuration says otherwise. It reads below everything else: at a bounded rate, with the lowest nice value, and
//! leaves nothing behind in the page cache. What it finds it tells and sets aside; it changes no file.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rustix::fs::{Advice, fadvise};
use steno_core::{SegmentId, chain};
use steno_index::{AnyIndex, Scrubbed, scrub_segment};
use steno_query::store::{Fault, Segment};
use tracing::{debug, info};

use crate::catalogue::LiveStore;

/// How it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScrubSettings {
    /// Bytes that are read in a second, at most.
    pub bytes_a_second: u64,
    /// How long after one pass over the store has begun the next one begins, at the earliest.
    pub every: Duration,
}

impl ScrubSettings {
    /// 8 MiB: a terabyte in a day and a half.
    pub const BYTES_A_SECOND: u64 = 8 << 20;
    /// A week.
    pub const EVERY: Duration = Duration::from_secs(7 * 24 * 3600);
}

/// What was scrubbed since the start.
#[derive(Debug, Default)]
pub struct ScrubCounts {
    /// Segments that were read from end to end.
    pub segments: AtomicU64,
    /// Bytes that were read.
    pub bytes: AtomicU64,
    /// Segments that were found damaged.
    pub damaged: AtomicU64,
}

/// The thread that reads. Dropping this ends it.
#[derive(Debug)]
pub struct Scrub {
    counts: Arc<ScrubCounts>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Scrub {
    /// Begins the first pass over `store`.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(store: LiveStore, settings: ScrubSettings) -> io::Result<Self> {
        let (stop, stopped) = channel();
        let counts = Arc::new(ScrubCounts::default());
        let scrubber = Scrubber { store, settings, counts: Arc::clone(&counts), stopped, due: Instant::now() };
        let thread = std::thread::Builder::new().name("scrub".into()).spawn(move || scrubber.run())?;
        Ok(Self { counts, stop: Some(stop), thread: Some(thread) })
    }

    /// What was done.
    pub fn counts(&self) -> Arc<ScrubCounts> {
        Arc::clone(&self.counts)
    }
}

impl Drop for Scrub {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

struct Scrubber {
    store: LiveStore,
    settings: ScrubSettings,
    counts: Arc<ScrubCounts>,
    stopped: Receiver<()>,
    /// When the next read may begin.
    due: Instant,
}

impl Scrubber {
    fn run(mut self) {
        // For this thread alone (nice(2)); the kernel derives its priority on the disks from it (ioprio_set(2)).
        let _refused = rustix::process::nice(19);
        let mut read: BTreeMap<(u32, SegmentId), Instant> = BTreeMap::new();
        loop {
            let began = Instant::now();
            let catalogue = self.store.store().catalogue();
            read.retain(|key, _| catalogue.segments().iter().any(|segment| (segment.thread(), segment.id()) == *key));
            let mut segments: Vec<_> = catalogue.segments().to_vec();
            // Those that were not read yet, the oldest first.
            segments.sort_by_key(|segment| segment.id());
            drop(catalogue);
            for segment in segments {
                let key = (segment.thread(), segment.id());
                if read.get(&key).is_some_and(|at| at.elapsed() < self.settings.every) {
                    continue;
                }
                if self.segment(&segment).is_break() {
                    return;
                }
                let _before = read.insert(key, Instant::now());
            }
            debug!(seconds = began.elapsed().as_secs(), "the store has been read from end to end");
            // What comes meanwhile is due too.
            if self.wait(self.settings.every.min(LOOK_EVERY)).is_break() {
                return;
            }
        }
    }

    fn segment(&mut self, segment: &Segment) -> ControlFlow<()> {
        let run = (segment.thread(), segment.id()..=segment.id());
        let Ok(_pin) = self.store.pins().pin(vec![run], |_, _| true) else {
            return ControlFlow::Continue(());
        };
        let opened = AnyIndex::open(&segment.index_file()).map(|index| (index, File::open(segment.packet_file())));
        let (index, packets) = match opened {
            Ok((index, Ok(packets))) => (index, packets),
            // The catalogue tells of those.
            _ => return ControlFlow::Continue(()),
        };
        let scrubbed = scrub_segment(&packets, &index, &mut |bytes| self.pace(bytes));
        let _refused = fadvise(&packets, 0, None, Advice::DontNeed);
        let Some(scrubbed) = scrubbed else { return ControlFlow::Break(()) };
        let Scrubbed { bytes, faults, more_faults, .. } = &scrubbed;
        if faults.is_empty() {
            self.store.found_sound(segment);
        }
        let _bytes = self.counts.bytes.fetch_add(*bytes, Relaxed);
        if let Some(first) = faults.first() {
            let more = more_faults.saturating_add(faults.len() as u64 - 1);
            let more = if more > 0 { format!("; and {more} more faults") } else { String::new() };
            let reason = format!("{}{more}", chain(first));
            let _damaged = self.counts.damaged.fetch_add(1, Relaxed);
            info!(thread = segment.thread(), id = %segment.id(), "found damaged: `steno verify` tells more");
            self.store.set_aside(segment, Fault::DamagedPackets(reason));
        }
        let _segments = self.counts.segments.fetch_add(1, Relaxed);
        ControlFlow::Continue(())
    }

    /// Waits until so many bytes may be read.
    fn pace(&mut self, bytes: u64) -> ControlFlow<()> {
        let now = Instant::now();
        let takes = Duration::from_secs_f64(bytes as f64 / self.settings.bytes_a_second.max(1) as f64);
        let wait = self.due.saturating_duration_since(now);
        self.due = self.due.max(now) + takes;
        self.wait(wait)
    }

    fn wait(&self, time: Duration) -> ControlFlow<()> {
        match self.stopped.recv_timeout(time) {
            Err(RecvTimeoutError::Timeout) => ControlFlow::Continue(()),
            Ok(()) | Err(RecvTimeoutError::Disconnected) => ControlFlow::Break(()),
        }
    }
}

/// How often is looked for segments that are due.
const LOOK_EVERY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use steno_core::testkit::{block_of, recipe, until};
    use steno_index::{Facts, index_packet_file};
    use steno_query::store::ThreadDirs;

    use super::*;
    use crate::{capture::OpenFiles, retention::Pins};

    const SETTINGS: ScrubSettings = ScrubSettings { bytes_a_second: 1 << 30, every: Duration::from_millis(20) };

    /// Segments of four blocks of 4 KiB each, with these names.
    fn store(root: &Path, ids: &[u64]) -> LiveStore {
        let dirs = |kind: &str| root.join(kind);
        ["PKT0", "IDX0"].iter().for_each(|kind| fs::create_dir(dirs(kind)).unwrap());
        let mut file = Vec::new();
        for number in 1..=4 {
            let mut writer = steno_core::block::BlockWriter::new(4096);
            let lines = format!("{number} ip 10.0.0.1 > 10.0.0.2 udp 53 > 9 data 900\n");
            let _packets = block_of(&mut writer, &recipe(&lines.repeat(3)).unwrap()).unwrap();
            file.extend_from_slice(writer.finish(number));
        }
        let facts = Facts { block_bytes: 4096, ..Facts::default() };
        let mut index = Vec::new();
        let _built = index_packet_file(&mut &file[..], &facts, &mut index).unwrap();
        for id in ids {
            fs::write(dirs("PKT0").join(id.to_string()), &file).unwrap();
            fs::write(dirs("IDX0").join(id.to_string()), &index).unwrap();
        }
        let threads = vec![ThreadDirs { thread: 0, packets: dirs("PKT0"), index: dirs("IDX0") }];
        LiveStore::start(threads, Pins::new(), Arc::new(OpenFiles::default())).unwrap()
    }

    #[test]
    fn damage_is_found_set_aside_with_its_reason_and_forgotten_once_it_is_mended() {
        let root = tempfile::tempdir().unwrap();
        let store = store(root.path(), &[1_000_000, 2_000_000, 3_000_000]);
        let scrub = Scrub::start(store.clone(), SETTINGS).unwrap();
        let counts = scrub.counts();
        until("all are read, twice", || counts.segments.load(Relaxed) >= 6);
        assert_eq!((counts.damaged.load(Relaxed), store.quarantined().len()), (0, 0));
        assert!(counts.bytes.load(Relaxed) > 6 * 10_000);
        let path = root.path().join("PKT0/2000000");
        let sound = fs::read(&path).unwrap();
        let mut bad = sound.clone();
        bad[4096 * 2 + 1500] ^= 1;
        fs::write(&path, &bad).unwrap();
        until("it is found", || !store.quarantined().is_empty());
        let [(0, id, fault)] = &store.quarantined()[..] else { panic!("{:?}", store.quarantined()) };
        assert_eq!(*id, SegmentId(2_000_000));
        assert!(fault.to_string().contains("the block at offset 8192 has the checksum"), "{fault}");
        assert!(counts.damaged.load(Relaxed) > 0);
        fs::write(&path, sound).unwrap();
        until("it is well again", || store.quarantined().is_empty());
        drop(scrub);
        assert_eq!(store.pins().runs(), []);
    }

    #[test]
    fn it_keeps_to_its_rate_and_ends_when_it_is_told_to() {
        let root = tempfile::tempdir().unwrap();
        let store = store(root.path(), &[1_000_000, 2_000_000]);
        let scrub = Scrub::start(store, ScrubSettings { bytes_a_second: 1, ..SETTINGS }).unwrap();
        let counts = scrub.counts();
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(counts.segments.load(Relaxed), 0, "a segment takes hours");
        drop(scrub);
    }
}
