//! The index thread beside a packet thread: takes finished files, writes their indexes, publishes both (step 5).

use std::{
    fs::{File, OpenOptions},
    io::{self, BufReader, BufWriter, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::mpsc::{self, Receiver, SyncSender, TrySendError},
    thread::{self, JoinHandle},
};

use anyhow::Context;
use steno_index::{Facts, Log, index_packet_file, segment::SegmentPaths};

use crate::{
    io::PacketFile,
    log::{error, info, warning},
    sys,
};

/// Finished files that wait at most; a packet thread holds back more of them itself.
const WAITING_MAX: usize = 2;

/// A file whose blocks have all been written.
#[derive(Debug)]
pub(crate) struct SealJob {
    pub(crate) paths: SegmentPaths,
    pub(crate) file: PacketFile,
    /// Its length: whole blocks, up to the first that could not be written.
    pub(crate) file_bytes: u64,
    /// Its packets; where a block could not be written, more than it has.
    pub(crate) log: Log,
    pub(crate) log_is_exact: bool,
    pub(crate) facts: Facts,
}

/// The packet thread's end of an index thread.
#[derive(Debug)]
pub(crate) struct Sealer {
    jobs: Option<SyncSender<SealJob>>,
    /// Logs to be used again.
    logs: Receiver<Log>,
    thread: Option<JoinHandle<()>>,
}

impl Sealer {
    /// Starts the index thread of packet thread `number`.
    pub(crate) fn start(number: u16, nice_level: i32, with_index: bool) -> io::Result<Self> {
        let (jobs, waiting) = mpsc::sync_channel::<SealJob>(WAITING_MAX);
        let (used, logs) = mpsc::channel();
        let thread = thread::Builder::new().name(format!("index{number}")).spawn(move || {
            if nice_level != 0
                && let Err(e) = sys::set_nice_level(nice_level)
            {
                warning!("the nice level of this thread stays as it is: {e}");
            }
            let mut memory = steno_index::Sealer::new();
            for job in waiting {
                let name = job.paths.packet_file();
                let (result, mut log) = seal(job, with_index, &mut memory);
                match result {
                    Ok(text) => info!("published {}: {text}", name.display()),
                    Err(e) => {
                        error!("failed to publish {}: {e:#}. Its hidden files stay where they are", name.display())
                    }
                }
                log.clear();
                let _ = used.send(log);
            }
        })?;
        Ok(Self { jobs: Some(jobs), logs, thread: Some(thread) })
    }

    /// An empty log, used before if there is one.
    pub(crate) fn empty_log(&self) -> Log {
        self.logs.try_recv().unwrap_or_default()
    }

    /// Hands a finished file over; it comes back while too many wait.
    pub(crate) fn offer(&self, job: SealJob) -> Result<(), Box<SealJob>> {
        let Some(jobs) = &self.jobs else { return Err(Box::new(job)) };
        jobs.try_send(job).map_err(|e| match e {
            TrySendError::Full(job) | TrySendError::Disconnected(job) => Box::new(job),
        })
    }

    /// Hands a finished file over, and waits for room.
    pub(crate) fn hand_over(&self, job: SealJob) {
        if let Some(jobs) = &self.jobs
            && jobs.send(job).is_err()
        {
            error!("the index thread has died; the file keeps its hidden name");
        }
    }

    /// Waits until all that was handed over has been published.
    pub(crate) fn finish(mut self) {
        drop(self.jobs.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            error!("the index thread has died");
        }
    }
}

fn seal(job: SealJob, with_index: bool, memory: &mut steno_index::Sealer) -> (anyhow::Result<String>, Log) {
    let SealJob { paths, file, file_bytes, log, log_is_exact, facts } = job;
    let write = || {
        file.finish(file_bytes).with_context(|| paths.hidden_packet_file().display().to_string())?;
        if !with_index {
            paths.publish_without_index()?;
            return Ok(format!("{file_bytes} bytes, no index"));
        }
        let index = paths.hidden_index_file();
        let sealed = if log_is_exact {
            write_index(&index, |out| Ok(memory.seal(&log, &facts, out)?))
        } else {
            let packets = File::open(paths.hidden_packet_file())?;
            let mut packets = BufReader::new(packets).take(file_bytes);
            write_index(&index, |out| Ok(index_packet_file(&mut packets, &facts, out)?.summary))
        };
        let summary = sealed.with_context(|| index.display().to_string())?;
        paths.publish()?;
        Ok(format!("{} packets in {} conversations", summary.packets, summary.conversations))
    };
    (write(), log)
}

fn write_index<T>(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let mut out = BufWriter::with_capacity(1 << 18, file);
    let result = write(&mut out)?;
    out.flush()?;
    Ok(result)
}
