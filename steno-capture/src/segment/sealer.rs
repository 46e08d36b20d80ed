//! The index thread beside a packet thread: takes finished files and publishes them (step 5 of the data flow).

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc,
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use steno_index::{Log, Pause};

use super::{Indexer, SealJob};
use crate::{
    IndexFormat,
    console::{debug, error, info, warning},
    control::Control,
    counters::Counters,
    ledger::{Accounted, Balance},
    sandbox::{self, Role},
    sys,
};

/// Finished files in the channel at most, beside the one that is sealed.
const CHANNEL_MAX: usize = 1;
/// Finished files that keep their logs while the channel is full, and what these may take in memory together. Further ones
/// are read back when their turn comes: slower, but the memory of a capture stays bounded however far its index thread is behind.
const LOGS_WAITING_MAX: usize = 4;
const LOGS_WAITING_BYTES_MAX: u64 = 1 << 30;
/// Empty logs that are kept to be used again: with one that is written, as many as are in use where nothing waits.
const LOGS_SPARE_MAX: usize = 1;
/// How long until a file that could not be published is tried again: twice as long after each attempt that fails, up to a
/// minute.
const TRY_AGAIN: Duration = Duration::from_secs(5);
const TRY_AGAIN_MOST: Duration = Duration::from_secs(60);

/// What an index thread is told once.
#[derive(Clone, Debug)]
pub(crate) struct Sealing {
    /// The packet thread that it is beside.
    pub(crate) thread: u16,
    pub(crate) nice_level: i32,
    /// The index to write, if any.
    pub(crate) index: Option<IndexFormat>,
    pub(crate) counters: Arc<Counters>,
    /// Between pieces of a seal.
    pub(crate) pause: Pause,
    /// Of which packets are accounted for.
    pub(crate) balance: Arc<Balance>,
    /// Told of each segment that is whole: of none without an index, which cannot be searched.
    pub(crate) control: Control,
}

impl Sealing {
    fn indexer(&self) -> Option<Indexer> {
        self.index.map(|format| Indexer::new(format, self.pause.clone()))
    }
}

/// The packet thread's end of an index thread.
#[derive(Debug)]
pub(crate) struct Sealer {
    jobs: Option<SyncSender<SealJob>>,
    /// Those that the index thread cannot take yet: it is behind, and that was said.
    waiting: VecDeque<SealJob>,
    /// Logs to be used again.
    logs: Receiver<Log>,
    counters: Arc<Counters>,
    thread: Option<JoinHandle<()>>,
}

impl Sealer {
    /// Starts an index thread.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub(crate) fn start(sealing: Sealing) -> io::Result<Self> {
        let (jobs, received) = mpsc::sync_channel(CHANNEL_MAX);
        let (used, logs) = mpsc::sync_channel(LOGS_SPARE_MAX);
        let counters = Arc::clone(&sealing.counters);
        let thread = thread::Builder::new().name(format!("index{}", sealing.thread)).spawn(move || {
            if sealing.nice_level != 0
                && let Err(e) = sys::set_nice_level(sealing.nice_level)
            {
                warning!("the nice level of this thread stays as it is: {e}");
            }
            sandbox::keep_to(Role::Index);
            let indexer = sealing.indexer();
            IndexThread::new(received, used, indexer, sealing).run();
        })?;
        Ok(Self { jobs: Some(jobs), waiting: VecDeque::new(), logs, counters, thread: Some(thread) })
    }

    /// An empty log, used before if there is one.
    pub(crate) fn empty_log(&self) -> Log {
        self.logs.try_recv().unwrap_or_default()
    }

    /// Hands a finished file over, without waiting for anything.
    pub(crate) fn hand_over(&mut self, job: SealJob) {
        let was_behind = self.keeps_some_waiting();
        self.waiting.push_back(job);
        self.send();
        if !self.keeps_some_waiting() {
            return;
        }
        self.counters.late.add(1);
        let bytes = self.waiting.iter().filter_map(|job| job.log.as_ref()).map(Log::memory_bytes).sum::<u64>();
        let may_wait = may_wait(self.waiting.len(), bytes);
        let Some(last) = self.waiting.back_mut() else { return };
        let path = last.paths.packet_file();
        if !was_behind {
            warning!("the index thread is behind: {} waits for its index, and so do those after it", path.display());
        }
        if !may_wait && last.log.take().is_some() {
            warning!("the index thread is far behind: {} will be read back from the disk", path.display());
        }
    }

    /// Sends what waits, as far as there is room.
    pub(crate) fn go_on(&mut self) {
        let was_behind = self.keeps_some_waiting();
        self.send();
        if was_behind && !self.keeps_some_waiting() {
            info!("the index thread has caught up");
        }
    }

    fn send(&mut self) {
        let Some(jobs) = &self.jobs else { return };
        while let Some(job) = self.waiting.pop_front() {
            match jobs.try_send(job) {
                Ok(()) => {}
                Err(TrySendError::Full(job)) => {
                    self.waiting.push_front(job);
                    return;
                }
                Err(TrySendError::Disconnected(job)) => {
                    error!("the index thread has died: {} stays hidden", job.paths.packet_file().display());
                }
            }
        }
    }

    /// Whether files wait that could not be sent yet.
    pub(crate) fn keeps_some_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Waits until everything that was handed over is published, or could not be.
    pub(crate) fn finish(mut self) {
        if let Some(jobs) = self.jobs.take() {
            for job in self.waiting.drain(..) {
                // It only fails where the thread has died, which is said below.
                let _ = jobs.send(job);
            }
        }
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            error!("the index thread has died; hidden files stay where they are");
        }
    }
}

/// Whether so many files may wait with their logs, which take so much memory.
const fn may_wait(files: usize, bytes: u64) -> bool {
    files <= LOGS_WAITING_MAX && bytes <= LOGS_WAITING_BYTES_MAX
}

/// The index thread itself.
struct IndexThread {
    jobs: Receiver<SealJob>,
    used: SyncSender<Log>,
    indexer: Option<Indexer>,
    /// Files that could not be published so far: that which was tried longest ago comes first.
    failed: VecDeque<SealJob>,
    /// When the first of them is tried again, and how long it was waited for that.
    due: Instant,
    patience: Duration,
    sealing: Sealing,
}

impl IndexThread {
    fn new(jobs: Receiver<SealJob>, used: SyncSender<Log>, indexer: Option<Indexer>, sealing: Sealing) -> Self {
        Self { jobs, used, indexer, failed: VecDeque::new(), due: Instant::now(), patience: TRY_AGAIN, sealing }
    }

    fn run(mut self) {
        loop {
            let received = match self.failed.is_empty() {
                true => self.jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
                false => self.jobs.recv_timeout(self.due.saturating_duration_since(Instant::now())),
            };
            match received {
                Ok(job) => {
                    let _ = self.publish(job);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if self.due <= Instant::now() {
                let _ = self.try_again();
            }
        }
        while self.try_again() {}
        for job in &self.failed {
            self.sealing.counters.unpublished.add(1);
            error!("{} stays hidden", job.paths.hidden_packet_file().display());
        }
    }

    /// Tries one file again, and says whether it is published now: if so, the next one need not wait. If not, all wait, as each
    /// try reads a file back, and what was amiss with one is so with the others, most likely. It goes behind them, should it be
    /// its own trouble.
    fn try_again(&mut self) -> bool {
        let Some(job) = self.failed.pop_front() else { return false };
        let patience = self.patience.saturating_mul(2).min(TRY_AGAIN_MOST);
        let is_published = self.publish(job);
        self.patience = if is_published { TRY_AGAIN } else { patience };
        self.due = Instant::now() + if is_published { Duration::ZERO } else { patience };
        is_published
    }

    fn publish(&mut self, mut job: SealJob) -> bool {
        self.sealing.balance.begins(job.paths.id());
        match job.run(self.indexer.as_mut(), &self.sealing.pause, &self.sealing.counters.index_pulse) {
            Ok(summary) => {
                self.sealing.counters.segments.add(1);
                if let Some(summary) = &summary {
                    self.sealing.balance.ends(job.paths.id(), Accounted::of(summary.packets, &job.facts));
                    self.sealing.control.sealed(self.sealing.thread, job.paths.id());
                }
                let path = job.paths.packet_file();
                match summary {
                    Some(s) => debug!(
                        "published {}: {} packets, {} conversations, index of {} bytes",
                        path.display(),
                        s.packets,
                        s.conversations,
                        s.file_bytes
                    ),
                    None => debug!("published {}: {} blocks, no index", path.display(), job.blocks),
                }
                self.give_back(job.log.take());
                true
            }
            Err(e) => {
                error!("failed to publish {}: {e}; it is tried again", job.paths.packet_file().display());
                [job.paths.packet_file(), job.paths.index_file()]
                    .iter()
                    .filter_map(|f| f.parent())
                    .for_each(sandbox::look_at);
                // The packets are on the disk: no need to keep a second account of them.
                self.give_back(job.log.take());
                if self.failed.is_empty() {
                    (self.patience, self.due) = (TRY_AGAIN, Instant::now() + TRY_AGAIN);
                }
                self.failed.push_back(job);
                false
            }
        }
    }

    /// Lets the packet thread use a log again, unless it has enough of them.
    fn give_back(&self, log: Option<Log>) {
        if let Some(mut log) = log {
            log.clear();
            // The packet thread may have ended.
            let _ = self.used.try_send(log);
        }
    }
}

#[cfg(test)]
mod tests {
    use steno_core::{
        Position, SegmentId, SystemClock, TimestampNs,
        packet::{Frame, decode},
        testkit::FrameBuilder,
    };
    use steno_index::Facts;

    use super::*;
    use crate::segment::{OpenSegment, Place};

    /// A packet thread's end without its index thread: what would be received, and what would be given back.
    fn sealer() -> (Sealer, Receiver<SealJob>, SyncSender<Log>) {
        let (jobs, received) = mpsc::sync_channel(CHANNEL_MAX);
        let (used, logs) = mpsc::sync_channel(LOGS_SPARE_MAX);
        let counters = Arc::new(Counters::default());
        (Sealer { jobs: Some(jobs), waiting: VecDeque::new(), logs, counters, thread: None }, received, used)
    }

    fn job(place: &Place, log: Log) -> SealJob {
        let OpenSegment { paths, file, .. } = OpenSegment::first(place, &SystemClock).unwrap();
        SealJob { paths, file, blocks: 1, log: Some(log), facts: Facts::default() }
    }

    fn place(dir: &tempfile::TempDir) -> Place {
        let place = Place { packets_dir: dir.path().join("PKT0"), index_dir: dir.path().join("IDX0") };
        std::fs::create_dir(&place.packets_dir).unwrap();
        std::fs::create_dir(&place.index_dir).unwrap();
        place
    }

    /// What is late is counted and keeps its log as long as not too many wait; nothing is left out, and nobody waits.
    #[test]
    fn files_that_wait_are_counted_and_keep_few_logs() {
        let dir = tempfile::tempdir().unwrap();
        let place = place(&dir);
        let (mut sealer, received, _used) = sealer();
        for no in 0..CHANNEL_MAX + LOGS_WAITING_MAX + 3 {
            sealer.hand_over(job(&place, Log::new()));
            assert_eq!(sealer.counters.late.get(), (no + 1).saturating_sub(CHANNEL_MAX) as u64);
            assert_eq!(sealer.keeps_some_waiting(), no >= CHANNEL_MAX);
        }
        let mut kept = Vec::new();
        while let Ok(job) = received.try_recv() {
            kept.push(job.log.is_some());
            sealer.go_on();
        }
        let expected = [vec![true; CHANNEL_MAX + LOGS_WAITING_MAX], vec![false; 3]].concat();
        assert_eq!((kept, sealer.keeps_some_waiting()), (expected, false));
    }

    #[test]
    fn logs_that_wait_are_few_and_take_little() {
        assert!(may_wait(LOGS_WAITING_MAX, LOGS_WAITING_BYTES_MAX));
        assert!(!may_wait(LOGS_WAITING_MAX + 1, 0));
        assert!(!may_wait(1, LOGS_WAITING_BYTES_MAX + 1), "one that is too large");
    }

    /// However many could not be published, one attempt is one file that is read back.
    #[test]
    fn files_that_could_not_be_published_are_tried_one_at_a_time_and_ever_less_often() {
        let dir = tempfile::tempdir().unwrap();
        let place = place(&dir);
        let (_jobs, received) = mpsc::sync_channel(CHANNEL_MAX);
        let (used, _logs) = mpsc::sync_channel(LOGS_SPARE_MAX);
        let sealing = Sealing {
            thread: 0,
            nice_level: 0,
            index: Some(IndexFormat::Native),
            counters: Arc::new(Counters::default()),
            pause: Pause::default(),
            balance: Arc::new(Balance::before(SegmentId(1))),
            control: Control::default(),
        };
        let mut thread = IndexThread::new(received, used, sealing.indexer(), sealing);
        let [jobs, mut more] = [3, 1].map(|count| (0..count).map(|_| job(&place, Log::new())).collect::<Vec<_>>());
        std::fs::remove_dir(&place.index_dir).unwrap();
        let mut order: VecDeque<SegmentId> = VecDeque::new();
        for job in jobs {
            order.push_back(job.paths.id());
            assert!(!thread.publish(job));
            assert_eq!(thread.patience, TRY_AGAIN);
        }
        for seconds in [10, 20, 40, 60, 60] {
            assert!(!thread.try_again());
            order.rotate_left(1);
            assert!(thread.failed.iter().map(|job| job.paths.id()).eq(order.iter().copied()), "one, and it goes last");
            let wait = thread.due.saturating_duration_since(Instant::now());
            assert_eq!(thread.patience, Duration::from_secs(seconds));
            assert!(wait > thread.patience.mul_f32(0.5) && wait <= thread.patience, "{wait:?}");
        }
        std::fs::create_dir(&place.index_dir).unwrap();
        for left in [2, 1, 0] {
            assert!(thread.try_again() && thread.due <= Instant::now(), "the next one need not wait");
            assert_eq!(thread.failed.len(), left);
        }
        assert_eq!((thread.sealing.counters.segments.get(), thread.try_again()), (3, false));
        // The next trouble begins anew.
        std::fs::remove_dir_all(&place.index_dir).unwrap();
        assert!(!thread.publish(more.remove(0)));
        assert!(thread.due > Instant::now() && thread.patience == TRY_AGAIN);
        assert!(!thread.try_again() && thread.patience == 2 * TRY_AGAIN, "also of a single one");
        assert!(!thread.try_again() && thread.patience == 4 * TRY_AGAIN);
    }

    #[test]
    fn a_log_is_used_again_and_more_are_not_kept() {
        let (sealer, _received, used) = sealer();
        assert_eq!(sealer.empty_log().memory_bytes(), Log::new().memory_bytes());
        let mut log = Log::new();
        let frame = FrameBuilder::ethernet().ipv4([10, 0, 0, 1], [10, 0, 0, 2]).udp(1, 2).build();
        let decoded = decode(&Frame::new(&frame), &mut Vec::new());
        (0..70_000).for_each(|_| log.note(Position(48), TimestampNs::new(1), 60, &decoded, &[]));
        log.clear();
        let bytes = log.memory_bytes();
        assert!(bytes > 2 << 20);
        used.try_send(log).unwrap();
        assert!(used.try_send(Log::new()).is_err(), "one is enough");
        assert_eq!(sealer.empty_log().memory_bytes(), bytes);
    }
}
