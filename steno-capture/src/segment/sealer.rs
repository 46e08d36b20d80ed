//! The index thread beside a packet thread: takes finished files and publishes them (step 5 of the data flow).

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc,
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use steno_index::Log;

use super::{Indexer, SealJob, seal::SealError};
use crate::{
    IndexFormat,
    console::{debug, error, warning},
    control::Control,
    counters::Counters,
    ledger::{Accounted, Balance},
    sys,
};

/// Finished files in the channel at most.
const CHANNEL_MAX: usize = 2;
/// Finished files that keep their logs while the channel is full. Further ones are read back when their turn comes: slower,
/// but the memory of a capture stays bounded however far its index thread is behind.
const LOGS_WAITING_MAX: usize = 4;
/// How long until a file that could not be published is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// What an index thread is told once.
#[derive(Clone, Debug)]
pub(crate) struct Sealing {
    /// The packet thread that it is beside.
    pub(crate) thread: u16,
    pub(crate) nice_level: i32,
    /// The index to write, if any.
    pub(crate) index: Option<IndexFormat>,
    pub(crate) counters: Arc<Counters>,
    /// Of which packets are accounted for.
    pub(crate) balance: Arc<Balance>,
    /// Told of each segment that is whole: of none without an index, which cannot be searched.
    pub(crate) control: Control,
}

/// The packet thread's end of an index thread.
#[derive(Debug)]
pub(crate) struct Sealer {
    jobs: Option<SyncSender<SealJob>>,
    waiting: VecDeque<SealJob>,
    /// Logs to be used again.
    logs: Receiver<Log>,
    thread: Option<JoinHandle<()>>,
}

impl Sealer {
    /// Starts an index thread.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub(crate) fn start(sealing: Sealing) -> io::Result<Self> {
        let (jobs, received) = mpsc::sync_channel(CHANNEL_MAX);
        let (used, logs) = mpsc::channel();
        let thread = thread::Builder::new().name(format!("index{}", sealing.thread)).spawn(move || {
            if sealing.nice_level != 0
                && let Err(e) = sys::set_nice_level(sealing.nice_level)
            {
                warning!("the nice level of this thread stays as it is: {e}");
            }
            let indexer = sealing.index.map(Indexer::new);
            IndexThread { jobs: received, used, indexer, failed: VecDeque::new(), sealing }.run();
        })?;
        Ok(Self { jobs: Some(jobs), waiting: VecDeque::new(), logs, thread: Some(thread) })
    }

    /// An empty log, used before if there is one.
    pub(crate) fn empty_log(&self) -> Log {
        self.logs.try_recv().unwrap_or_default()
    }

    /// Hands a finished file over, without waiting for anything.
    pub(crate) fn hand_over(&mut self, mut job: SealJob) {
        if self.waiting.len() >= LOGS_WAITING_MAX {
            job.log = None;
        }
        self.waiting.push_back(job);
        self.go_on();
    }

    /// Sends what waits, as far as there is room.
    pub(crate) fn go_on(&mut self) {
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

/// The index thread itself.
struct IndexThread {
    jobs: Receiver<SealJob>,
    used: mpsc::Sender<Log>,
    indexer: Option<Indexer>,
    /// Files that could not be published so far.
    failed: VecDeque<SealJob>,
    sealing: Sealing,
}

impl IndexThread {
    fn run(mut self) {
        loop {
            let received = match self.failed.is_empty() {
                true => self.jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
                false => self.jobs.recv_timeout(TRY_AGAIN),
            };
            match received {
                Ok(job) => self.publish(job),
                Err(RecvTimeoutError::Timeout) => self.try_again(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.try_again();
        for job in &self.failed {
            self.sealing.counters.unpublished.add(1);
            error!("{} stays hidden", job.paths.hidden_packet_file().display());
        }
    }

    fn try_again(&mut self) {
        for job in std::mem::take(&mut self.failed) {
            self.publish(job);
        }
    }

    fn publish(&mut self, mut job: SealJob) {
        self.sealing.balance.begins(job.paths.id());
        match job.run(self.indexer.as_mut(), &self.sealing.counters.index_pulse) {
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
            }
            Err(e) => {
                let again = if matches!(e, SealError::Index { .. }) { "" } else { "; it is tried again" };
                error!("failed to publish {}: {e}{again}", job.paths.packet_file().display());
                // The packets are on the disk: no need to keep a second account of them.
                self.give_back(job.log.take());
                self.failed.push_back(job);
            }
        }
    }

    /// Lets the packet thread use a log again.
    fn give_back(&self, log: Option<Log>) {
        if let Some(mut log) = log {
            log.clear();
            // The packet thread may have ended.
            let _ = self.used.send(log);
        }
    }
}
