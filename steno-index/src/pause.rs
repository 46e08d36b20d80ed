//! Pauses in long work: who does it beside a capture gives way where the capture needs the processor.

use std::{fmt, sync::Arc};

/// Packets or values of one kind after which a pause may be taken: a millisecond of work, or less.
pub(crate) const PIECE: usize = 1 << 13;

/// What is called between two pieces of long work, each of a millisecond at the most where memory is not slow: nothing, or what
/// waits while there is something more urgent to be done.
///
/// It is called from the thread that works. How long it waits is up to it; the work is the same either way.
#[derive(Clone, Default)]
pub struct Pause(Option<Arc<dyn Fn() + Send + Sync>>);

impl Pause {
    /// Calls `wait` between two pieces.
    pub fn new(wait: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(wait)))
    }

    /// Between two pieces.
    pub fn take(&self) {
        if let Some(wait) = &self.0 {
            wait();
        }
    }
}

impl fmt::Debug for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pause").field(&self.0.is_some()).finish()
    }
}
