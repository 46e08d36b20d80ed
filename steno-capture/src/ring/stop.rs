//! The request to stop, which wakes whoever waits for packets.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::atomic::{AtomicBool, Ordering},
};

use rustix::event::{EventfdFlags, eventfd};

/// Asked once, never taken back.
#[derive(Debug)]
pub(crate) struct Stop {
    asked: AtomicBool,
    /// Readable from then on: nobody ever reads it.
    wake: OwnedFd,
}

impl Stop {
    /// A request that nobody has made yet.
    ///
    /// # Errors
    /// Where the system has no descriptor left.
    pub(crate) fn new() -> io::Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { asked: AtomicBool::new(false), wake })
    }

    /// Asks everyone to stop.
    pub(crate) fn ask(&self) {
        if !self.asked.swap(true, Ordering::AcqRel) {
            // One write of 1 to a counter that is 0 neither blocks nor fails.
            let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
        }
    }

    /// Whether anyone has asked.
    pub(crate) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }
}

impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}
