//! The store that queries are answered from, kept current: step 6 of the data flow in a daemon that runs.
//!
//! It listens to the news of segments and has the store list its directories again; it opens each new index once, so that
//! what cannot be read is known, said and counted before a query meets it; and it gives a query what the store holds
//! *now*, pinned, so that nothing goes from under it.
//!
//! It reads no packet and removes nothing; what it writes is the catalogue files (`docs/format/catalogue.md`), which are made
//! of what the indexes say.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    time::{Duration, Instant},
};

use steno_core::SegmentId;
use steno_query::{
    Catalogue, Store,
    store::{Fault, OpenLogs, Segment, ThreadDirs},
    syntax::TimeSpan,
};
use tracing::{debug, info, warn};

use crate::{
    capture::SegmentEvent,
    retention::{Pin, Pins},
    unreadable::UnreadableLog,
};

/// How long news, and the writing of a catalogue file, wait for a listing: others may come. A directory that was changed longer ago than a tick of its clock, 50 ms, need
/// not be listed again by the query that comes next, unless it is changed again.
const LIST_AFTER: Duration = Duration::from_millis(100);
/// Files may come and go without news: the one that is being written does.
const LIST_AT_LEAST_EVERY: Duration = Duration::from_secs(10);
/// How much earlier than its name a segment's packets may be, and later than the next one's: the name is a clock's
/// reading at the opening of the file, and blocks are written late. 1.0.1 allows a minute too.
const NAME_SLACK_NS: u64 = 60_000_000_000;
/// How long a packet file may be alone: its index is published after it, and 1.0.1 writes all of that in between.
const PUBLISHING: Duration = Duration::from_secs(30);
/// How often a query asks again for what retention has just taken.
const ATTEMPTS: usize = 8;
/// The catalogue files are written anew when one segment in so many is not in them: then all of them together cost no more than
/// so many times the last one.
const KEEP_ONE_IN: usize = 8;
/// And when any is not in them for so long, which it takes to open a few after a start.
const KEEP_AT_LEAST_EVERY: Duration = Duration::from_secs(600);
/// But then no more than so much of the time goes into it: with very many segments each file is copied for some of them.
const KEEP_ONE_SECOND_IN: u32 = 1000;
/// And no sooner than so long after the last time: among them may be some that cannot be read, and never will be in there.
const KEEP_AT_MOST_EVERY: Duration = Duration::from_secs(5);

/// The store of a running daemon. Clones are the same one.
#[derive(Clone)]
pub struct LiveStore(Arc<Inner>);

struct Inner {
    store: Store,
    pins: Pins,
    /// When the last listing of the store began.
    listed: Mutex<Instant>,
    quarantine: Mutex<BTreeMap<(u32, SegmentId), Fault>>,
    log: UnreadableLog,
    news: Sender<()>,
}

/// What the thread that follows the news has seen.
#[derive(Default)]
struct Checked {
    /// Whether the index of a segment can be used.
    segments: BTreeMap<(u32, SegmentId), bool>,
    /// Files without their other half, and since when that is so.
    orphans: BTreeMap<String, Instant>,
    /// When the catalogue files were written, or could not be, and how long that took.
    kept: Option<(Instant, Duration)>,
}

impl LiveStore {
    /// The store of `threads`, listed now; `logs` tell what is in files that are being written. A thread of its own follows the news until the last clone is dropped.
    ///
    /// # Errors
    /// The system gives no thread. Directories that cannot be listed are no error: receipts name them.
    pub fn start(threads: Vec<ThreadDirs>, pins: Pins, logs: Arc<dyn OpenLogs>) -> io::Result<Self> {
        let began = Instant::now();
        let store = Store::of_capture(threads, Some(logs));
        let (news, heard) = channel();
        let inner = Arc::new(Inner {
            store,
            pins,
            listed: Mutex::new(began),
            quarantine: Mutex::default(),
            log: UnreadableLog::default(),
            news,
        });
        let weak = Arc::downgrade(&inner);
        let _detached = std::thread::Builder::new().name("catalogue".into()).spawn(move || follow(&weak, &heard))?;
        Ok(Self(inner))
    }

    /// The store. [`Self::pin`] brings it up to date.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// Brings the store up to date and pins the segments that may hold packets of `span`: to be called before each query,
    /// and held until the answer is delivered.
    pub fn pin(&self, span: TimeSpan) -> Pin {
        let Inner { store, pins, .. } = &*self.0;
        for _ in 0..ATTEMPTS {
            self.0.list_for_query();
            // What is added to the catalogue meanwhile is young, and nothing that is pinned now leaves it.
            let catalogue = store.catalogue();
            match pins.pin(catalogue.runs(span, NAME_SLACK_NS), |thread, id| is_in(&catalogue, thread, id)) {
                Ok(pin) => return pin,
                Err(gone) => {
                    debug!("listing again: {gone}");
                    self.0.list();
                }
            }
        }
        // News come faster than they can be listed. What goes from under the query now is named in its receipt.
        pins.pin_what_is_left(store.catalogue().runs(span, NAME_SLACK_NS))
    }

    /// The same for an answer that goes on: pins the segments that `is_wanted` says, whatever times they are of.
    pub(crate) fn pin_more(&self, is_wanted: impl Fn(u32, SegmentId) -> bool) -> Pin {
        let Inner { store, pins, .. } = &*self.0;
        self.0.list_for_query();
        let catalogue = store.catalogue();
        let wanted = catalogue.segments().iter().filter(|segment| is_wanted(segment.thread(), segment.id()));
        // What has just gone is among the removals.
        pins.pin_what_is_left(wanted.map(|segment| (segment.thread(), segment.id()..=segment.id())).collect())
    }

    /// What retention removes.
    pub(crate) fn pins(&self) -> &Pins {
        &self.0.pins
    }

    /// Where it is said which files cannot be read.
    pub(crate) fn log(&self) -> &UnreadableLog {
        &self.0.log
    }

    /// Calls for what [`crate::capture::SegmentWatch`] hears.
    pub fn listener(&self) -> impl Fn(SegmentEvent) + Send + 'static {
        let news = self.0.news.clone();
        move |_| {
            let _ = news.send(());
        }
    }

    /// Sets a segment aside that was found damaged: it is told of, and answered from as far as it can be.
    pub(crate) fn set_aside(&self, segment: &Segment, fault: Fault) {
        self.0.log.tell(&segment.packet_name(), &fault.to_string());
        let _before = self.0.quarantine().insert((segment.thread(), segment.id()), fault);
    }

    /// A segment was read from end to end, and nothing is wrong with it any more.
    pub(crate) fn found_sound(&self, segment: &Segment) {
        let _before = self.0.quarantine().remove(&(segment.thread(), segment.id()));
    }

    /// Segments whose index cannot be used, or that were found damaged, and why.
    pub fn quarantined(&self) -> Vec<(u32, SegmentId, Fault)> {
        self.0.quarantine().iter().map(|((thread, id), fault)| (*thread, *id, fault.clone())).collect()
    }

    /// How many segments cannot be searched: those in quarantine, and files without their other half.
    pub fn unreadable(&self) -> u64 {
        let n = self.0.quarantine().len() + self.0.store.catalogue().orphans().len();
        u64::try_from(n).unwrap_or(u64::MAX)
    }
}

impl Inner {
    fn quarantine(&self) -> MutexGuard<'_, BTreeMap<(u32, SegmentId), Fault>> {
        self.quarantine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn list(&self) {
        let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        self.list_locked(&mut listed);
    }

    /// Lists the store, which costs little where nothing has come or gone. Queries that come together share one listing; none takes an
    /// older one, which need not have a file that was begun since.
    fn list_for_query(&self) {
        let came = Instant::now();
        let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        if *listed < came {
            self.list_locked(&mut listed);
        }
    }

    fn list_locked(&self, listed: &mut Instant) {
        let began = Instant::now();
        let refreshed = {
            let _whole = self.pins.files();
            self.store.refresh()
        };
        if let Err(e) = refreshed {
            warn!("cannot list the store: {e}");
        }
        *listed = began;
    }

    /// Opens the indexes that `checked` has not seen, tells of what cannot be read, and forgets what is gone.
    fn check(&self, checked: &mut Checked) {
        let catalogue = self.store.catalogue();
        let mut there = BTreeMap::new();
        for segment in catalogue.segments() {
            let key = (segment.thread(), segment.id());
            let good = match checked.segments.get(&key) {
                Some(good) => *good,
                // Its index was whole when it was written down, and nobody has touched it since.
                None if segment.is_known() => true,
                None => match segment.index() {
                    Ok(_) => true,
                    // Retention was faster.
                    Err(Fault::Vanished) => continue,
                    Err(fault) => {
                        self.log.tell(&segment.index_name(), &fault.to_string());
                        let _ = self.quarantine().insert(key, fault);
                        false
                    }
                },
            };
            let _ = there.insert(key, good);
        }
        self.quarantine().retain(|key, _| there.contains_key(key));
        checked.segments = there;

        let now = Instant::now();
        let alone = catalogue.orphans().iter().map(|orphan| {
            let since = checked.orphans.get(&orphan.name).copied().unwrap_or(now);
            if now.duration_since(since) >= PUBLISHING {
                self.log.tell(&orphan.name, &orphan.fault.to_string());
            }
            (orphan.name.clone(), since)
        });
        checked.orphans = alone.collect();
    }

    /// Writes down what the indexes say, if that is worth it, so that the next start need not open them, and queries pass over
    /// those without the address that is asked for.
    fn keep(&self, kept: &mut Option<(Instant, Duration)>) {
        let catalogue = self.store.catalogue();
        let (missing, all) = (catalogue.not_kept(), catalogue.segments().len());
        if !is_worth_it(missing, all, kept.map(|(at, took)| (at.elapsed(), took))) {
            return;
        }
        let began = Instant::now();
        match self.store.keep_catalogue() {
            Ok(()) => debug!("the catalogue files were written in {:?}", began.elapsed()),
            Err(e) if kept.is_none() => {
                warn!("cannot write down what the indexes say, so that starts are slow: {e}")
            }
            Err(e) => debug!("cannot write down what the indexes say: {e}"),
        }
        *kept = Some((Instant::now(), began.elapsed()));
        std::thread::sleep(LIST_AFTER);
        self.list();
    }
}

/// Follows the news until nobody holds the store any more.
fn follow(inner: &Weak<Inner>, heard: &Receiver<()>) {
    let mut checked = Checked::default();
    while let Some(store) = inner.upgrade() {
        let first = checked.segments.is_empty();
        store.check(&mut checked);
        let segments = checked.segments.len();
        if first && segments > 0 {
            info!("the store holds {segments} segments, {} of them cannot be read", store.quarantine().len());
        }
        store.keep(&mut checked.kept);
        // Not held while waiting, so that the last of the others ends this thread.
        drop(store);
        match heard.recv_timeout(LIST_AT_LEAST_EVERY) {
            Ok(()) => {
                std::thread::sleep(LIST_AFTER);
                heard.try_iter().for_each(drop);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if let Some(store) = inner.upgrade() {
            store.list();
        }
    }
}

/// Whether the catalogue files are to be written, in which `missing` of all segments are not: by when that was done last, if it was, and how long it
/// took.
fn is_worth_it(missing: usize, all: usize, last: Option<(Duration, Duration)>) -> bool {
    let Some((elapsed, took)) = last else { return missing > 0 };
    let is_many = missing * KEEP_ONE_IN >= all && elapsed >= KEEP_AT_MOST_EVERY;
    let is_long = elapsed >= KEEP_AT_LEAST_EVERY.max(took * KEEP_ONE_SECOND_IN);
    missing > 0 && (is_many || is_long)
}

fn is_in(catalogue: &Catalogue, thread: u32, id: SegmentId) -> bool {
    catalogue.segments().binary_search_by_key(&(thread, id), |segment| (segment.thread(), segment.id())).is_ok()
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use steno_core::{
        BLOCK_BYTES, TimestampNs,
        block::{Block, BlockWriter, Push},
        testkit::FrameBuilder,
    };
    use steno_index::{Facts, Log, note_block, seal};

    use super::*;
    use crate::retention::Gone;

    const SECOND: u64 = 1_000_000_000;

    struct Bench {
        root: tempfile::TempDir,
        store: LiveStore,
        pins: Pins,
    }

    fn bench(threads: u32, prepare: impl FnOnce(&Path)) -> Bench {
        let root = tempfile::tempdir().unwrap();
        let dirs = |thread| ThreadDirs {
            thread,
            packets: root.path().join(format!("p{thread}")),
            index: root.path().join(format!("i{thread}")),
        };
        let threads: Vec<ThreadDirs> = (0..threads).map(dirs).collect();
        for thread in &threads {
            fs::create_dir(&thread.packets).unwrap();
            fs::create_dir(&thread.index).unwrap();
        }
        prepare(root.path());
        let pins = Pins::new();
        let store = LiveStore::start(threads, pins.clone(), Arc::new(crate::capture::OpenFiles::default())).unwrap();
        Bench { root, store, pins }
    }

    /// A segment, opened at this second. Its index is none, which does not matter to names and pins.
    fn segment(root: &Path, thread: u32, second: u64) -> SegmentId {
        let id = SegmentId(second * 1_000_000);
        fs::write(root.join(format!("p{thread}/{id}")), "packets").unwrap();
        fs::write(root.join(format!("i{thread}/{id}")), "no index").unwrap();
        id
    }

    /// A segment of thread 0 with one packet of second 1000, and its index.
    fn whole_segment(root: &Path, name: u64) {
        let mut writer = BlockWriter::new(BLOCK_BYTES);
        let frame = FrameBuilder::ethernet().ipv4([10, 0, 0, 1], [10, 0, 0, 2]).udp(1, 2).build();
        assert_ne!(writer.push(TimestampNs(1_000 * SECOND), 60, &frame), Ok(Push::Full));
        let block = writer.finish(1);
        let mut log = Log::new();
        let _captured = note_block(&mut log, 0, &Block::parse(block).unwrap(), None).unwrap();
        let facts = Facts { block_bytes: BLOCK_BYTES, ..Facts::default() };
        let mut index = Vec::new();
        let _summary = seal(&log, &facts, &mut index).unwrap();
        fs::write(root.join(format!("p0/{name}")), block).unwrap();
        fs::write(root.join(format!("i0/{name}")), index).unwrap();
    }

    fn span(from: Option<u64>, until: Option<u64>) -> TimeSpan {
        TimeSpan::new(from.map(|s| TimestampNs(s * SECOND)), until.map(|s| TimestampNs(s * SECOND)))
    }

    #[test]
    fn a_query_pins_what_is_there_now_and_may_matter() {
        let bench = bench(2, |root| {
            for second in [1_000, 1_100, 1_200, 1_300] {
                let _ = segment(root, 0, second);
            }
        });
        let _new = segment(bench.root.path(), 1, 5_000);
        let pinned = |from, until| {
            let pin = bench.store.pin(span(from, until));
            let runs = bench.pins.runs();
            drop(pin);
            runs
        };
        let run =
            |thread: u32, first: u64, last: u64| (thread, SegmentId(first * 1_000_000)..=SegmentId(last * 1_000_000));
        let all = [run(0, 1_000, 1_300), run(1, 5_000, 5_000)];
        assert_eq!(pinned(None, None), all, "with the one that came after the start");
        // Packets of second 1150 may be in the segments of 1100 (until 1200) and, by the slack of a minute, in those of
        // 1000 (until 1100) and 1200; the other thread's begins later.
        assert_eq!(pinned(Some(1_150), Some(1_151)), [run(0, 1_000, 1_200)]);
        let last = [run(0, 1_300, 1_300), run(1, 5_000, 5_000)];
        assert_eq!(pinned(Some(6_000), None), last, "the last one of each thread has no end");
        assert_eq!(pinned(None, Some(900)), []);
        assert_eq!(bench.pins.runs(), []);
    }

    #[test]
    fn catalogue_files_are_written_when_many_are_missing_or_long_ago_but_not_all_the_time() {
        let seconds = Duration::from_secs;
        let is_due = |missing, elapsed, took| is_worth_it(missing, 8_000, Some((seconds(elapsed), seconds(took))));
        assert!(is_worth_it(1, 8_000, None) && !is_worth_it(0, 8_000, None));
        assert!(is_due(1_000, 5, 60) && !is_due(1_000, 4, 0) && !is_due(999, 599, 0));
        assert!(is_due(1, 600, 0) && !is_due(0, 6_000, 0));
        assert!(!is_due(1, 1_999, 2) && is_due(1, 2_000, 2));
    }

    #[test]
    fn true_times_count_where_they_are_known() {
        // Named an hour after its packet, as when the clock was set back.
        let bench = bench(1, |root| {
            whole_segment(root, 4_600_000_000);
        });
        let _opened = bench.store.store().catalogue().segments()[0].index().unwrap();
        for (from, until, pinned) in [(None, Some(1_001), 1), (None, Some(1_000), 0), (Some(1_001), None, 0)] {
            let pin = bench.store.pin(span(from, until));
            assert_eq!(bench.pins.runs().len(), pinned, "{from:?} to {until:?}");
            drop(pin);
        }
    }

    /// Waits until what the store knows is so.
    fn until(store: &LiveStore, is_so: impl Fn(&Catalogue) -> bool) {
        let began = Instant::now();
        while !is_so(&store.store().catalogue()) {
            assert!(began.elapsed() < Duration::from_secs(20), "it never comes to be so");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn what_indexes_say_is_written_down_and_known_at_the_next_start() {
        let bench = bench(1, |root| {
            whole_segment(root, 4_600_000_000);
            // Of what has just been written nothing is kept.
            std::thread::sleep(Duration::from_millis(100));
        });
        until(&bench.store, |catalogue| catalogue.not_kept() == 0);
        let dirs = bench.store.store().threads().unwrap();
        let next = LiveStore::start(dirs, Pins::new(), Arc::new(crate::capture::OpenFiles::default())).unwrap();
        let times = Some((TimestampNs(1_000 * SECOND), TimestampNs(1_000 * SECOND)));
        assert_eq!(next.store().catalogue().segments()[0].known_times(), times);
        // One that was damaged since is found by the next start.
        drop((next, bench.store));
        fs::write(bench.root.path().join("i0/4600000000"), "no index").unwrap();
        let dirs = ThreadDirs { thread: 0, packets: bench.root.path().join("p0"), index: bench.root.path().join("i0") };
        let logs = Arc::new(crate::capture::OpenFiles::default());
        let again = LiveStore::start(vec![dirs], Pins::new(), logs).unwrap();
        until(&again, |_| !again.quarantined().is_empty());
    }

    #[test]
    fn what_is_listed_upon_news_need_not_be_listed_by_the_next_query() {
        let bench = bench(1, |root| {
            let _first = segment(root, 0, 1_000);
        });
        // The listing that follows a start may come at any time.
        std::thread::sleep(LIST_AFTER * 3);
        for second in 2_000..2_005 {
            let id = segment(bench.root.path(), 0, second);
            bench.store.listener()(SegmentEvent { thread: 0, id, change: crate::capture::Change::Added });
            until(&bench.store, |catalogue| is_in(catalogue, 0, id));
            let listed = bench.store.store().catalogue();
            drop(bench.store.pin(span(None, None)));
            let now = bench.store.store().catalogue();
            assert!(std::ptr::eq(listed.segments(), now.segments()), "{second}: all of them were looked at again");
        }
    }

    #[test]
    fn what_retention_took_is_not_asked_for() {
        let bench = bench(1, |root| {
            let _ = segment(root, 0, 1_000);
            let _ = segment(root, 0, 2_000);
        });
        let id = SegmentId(1_000_000_000);
        let before = bench.store.store().catalogue();
        assert_eq!(before.segments().len(), 2);
        let claim = bench.pins.claim(0, id).unwrap();
        fs::remove_file(bench.root.path().join(format!("i0/{id}"))).unwrap();
        fs::remove_file(bench.root.path().join(format!("p0/{id}"))).unwrap();
        claim.removed();
        let pin = bench.store.pin(span(None, None));
        let other = SegmentId(2_000_000_000);
        assert_eq!(
            (bench.pins.runs(), bench.store.store().catalogue().segments().len()),
            (vec![(0, other..=other)], 1)
        );
        drop(pin);
        // Claimed and not gone yet: a query takes what it can get.
        let claim = bench.pins.claim(0, other).unwrap();
        let refused = bench.pins.pin(vec![(0, other..=other)], |_, _| true).unwrap_err();
        assert_eq!(refused, Gone { thread: 0, id: other });
        drop(bench.store.pin(span(None, None)));
        drop(claim);
        let _pin = bench.store.pin(span(None, None));
        assert_eq!(bench.pins.runs(), [(0, other..=other)]);
    }

    #[test]
    fn what_cannot_be_read_is_set_aside_until_it_goes() {
        let bench = bench(1, |root| {
            let _ = segment(root, 0, 1_000);
            fs::write(root.join("p0/7"), "packets without an index").unwrap();
        });
        let until = |what: &str, done: &dyn Fn() -> bool| {
            let deadline = Instant::now() + Duration::from_secs(20);
            while !done() {
                assert!(Instant::now() < deadline, "not within 20 s: {what}");
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        until("it is set aside", &|| bench.store.unreadable() == 2);
        let [(0, id, fault)] = &bench.store.quarantined()[..] else { panic!("{:?}", bench.store.quarantined()) };
        assert_eq!(*id, SegmentId(1_000_000_000));
        assert!(matches!(fault, Fault::DamagedIndex(_)), "{fault:?}");
        let tell = bench.store.listener();
        for file in [format!("p0/{id}"), format!("i0/{id}"), "p0/7".to_owned()] {
            fs::remove_file(bench.root.path().join(file)).unwrap();
        }
        tell(SegmentEvent { thread: 0, id: *id, change: crate::capture::Change::Removed });
        until("it is forgotten", &|| bench.store.unreadable() == 0);
    }
}
