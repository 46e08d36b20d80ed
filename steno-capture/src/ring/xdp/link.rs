//! The program at the interface, as long as any thread captures by it.

use std::sync::{Mutex, PoisonError};

use crate::{ring::tap::wait_for_receivers, sys::Attached};

/// A program at work, which the first thread that stops takes away: all stop together.
#[derive(Debug)]
pub(super) struct Link(Mutex<Option<Attached>>);

impl Link {
    pub(super) fn new(attached: Attached) -> Self {
        Self(Mutex::new(Some(attached)))
    }

    /// Has nothing come any more, and returns once no frame is on its way to a socket.
    pub(super) fn cut(&self) {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
        wait_for_receivers();
    }
}
