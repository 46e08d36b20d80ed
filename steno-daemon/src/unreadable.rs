//! The log of files that cannot be read: each once with its reason, and again when there is another reason.
//!
//! The catalogue finds such files when it lists the store, and queries when they read; both tell of them here.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use steno_query::{receipt::Unreadable, store::Fault};
use tracing::warn;

/// Lines that are remembered; when there are as many, all are forgotten, and may be said again.
const MOST: usize = 10_000;

/// What was said.
#[derive(Debug, Default)]
pub(crate) struct UnreadableLog(Mutex<BTreeSet<(String, String)>>);

impl UnreadableLog {
    /// Logs that `file`, as receipts name it, cannot be read, unless that was said with this reason.
    pub(crate) fn tell(&self, file: &str, reason: &str) {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if said.len() >= MOST {
            said.clear();
        }
        if said.insert((file.to_owned(), reason.to_owned())) {
            warn!("cannot read {file}: {reason}");
        }
    }

    /// What a receipt names. A file that retention took from under the query is none.
    pub(crate) fn tell_all(&self, files: &[Unreadable]) {
        let vanished = Fault::Vanished.to_string();
        files.iter().filter(|file| file.reason != vanished).for_each(|file| self.tell(&file.file, &file.reason));
    }
}
