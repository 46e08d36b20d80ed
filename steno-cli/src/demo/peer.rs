//! The other end of the cable: a thread in a network namespace of its own.
//!
//! Network namespaces belong to threads, so the far end needs no second process: sockets that a job
//! opens on this thread are in the far namespace, and all that they send crosses the veth pair.

use std::io;
use std::sync::mpsc::{self, Sender, TryRecvError};
use std::thread;
use std::time::Duration;

use super::DemoError;
use super::watch::Watch;
use crate::sys::enter_network;

type Job = Box<dyn FnOnce() + Send>;

/// Runs jobs, one after the other, in the far network namespace. The thread ends when this is dropped.
#[derive(Debug)]
pub(super) struct Peer {
    jobs: Sender<Job>,
}

impl Peer {
    /// Starts the thread and moves it into a new network namespace.
    ///
    /// # Errors
    /// Where the kernel refuses the thread or the namespace.
    pub(super) fn start(watch: &Watch) -> Result<Self, DemoError> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let thread = thread::Builder::new().name("demo-peer".to_owned());
        // Not joined: it ends with its queue, and the process does not wait for it.
        drop(thread.spawn(move || queue.into_iter().for_each(|job| job())).map_err(DemoError::at("start a thread"))?);
        let peer = Self { jobs };
        peer.call(watch, "make the other end's network", Duration::from_secs(5), || {
            enter_network().map_err(DemoError::at("make the other end's network"))
        })??;
        Ok(peer)
    }

    /// Runs `job` there and waits for its result; `what` reads after "failed to".
    ///
    /// # Errors
    /// [`DemoError::TimedOut`], [`DemoError::Interrupted`]; a job that panicked.
    pub(super) fn call<T: Send + 'static>(
        &self,
        watch: &Watch,
        what: &str,
        limit: Duration,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, DemoError> {
        let gone = || DemoError::at(what)(io::Error::other("the thread of the other end is gone"));
        let (result, results) = mpsc::channel();
        let job = Box::new(move || {
            // Nobody listens any more after a time-out: then the result is of no use.
            let _ = result.send(job());
        });
        self.jobs.send(job).map_err(|_| gone())?;
        watch.until(what, limit, || match results.try_recv() {
            Ok(value) => Ok(Some(value)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(gone()),
        })
    }
}
