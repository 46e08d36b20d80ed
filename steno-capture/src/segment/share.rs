//! The log of the open file, shared with the daemon: what is on the disk can be found before the file is sealed.

use std::collections::VecDeque;

use steno_core::SegmentId;
use steno_index::{Log, log::SharedLog};

use crate::{
    console::{debug, warning},
    control::Control,
    error::words,
};

/// How the files of a thread share their logs.
#[derive(Clone, Debug)]
pub(crate) struct Shares {
    pub(crate) control: Control,
    pub(crate) thread: u16,
    /// How far apart the blocks of the packet files are.
    pub(crate) block_bytes: u32,
}

/// The shared log of a file.
#[derive(Debug)]
pub(crate) struct Share {
    shared: SharedLog,
    /// Where the records of each block end, of those that are not published yet, the first one first.
    ends: VecDeque<u64>,
}

impl Shares {
    /// A shared log for the file of this name; none where there is no daemon, or no memory.
    pub(super) fn of(&self, id: SegmentId) -> Option<Share> {
        if self.control.is_none() {
            return None;
        }
        match SharedLog::create() {
            Ok(shared) => {
                let share = Share { shared, ends: VecDeque::new() };
                self.tell(&share, id);
                Some(share)
            }
            Err(e) => {
                debug!("the daemon cannot look into {id} before it is sealed: {}", words(&e));
                None
            }
        }
    }

    /// Tells the daemon which file the log is of.
    pub(super) fn tell(&self, share: &Share, id: SegmentId) {
        self.control.log(self.thread, id, self.block_bytes, share.shared.as_fd());
    }
}

impl Share {
    /// A block was noted, and its records end here.
    pub(super) fn noted(&mut self, end_bytes: u64) {
        self.ends.push_back(end_bytes);
    }

    /// So many more blocks are on the disk.
    pub(super) fn written(&mut self, log: &Log, blocks: u32) {
        let mut end = None;
        for _ in 0..blocks {
            end = self.ends.pop_front().or(end);
        }
        let Some(end) = end else { return };
        if let Err(e) = self.shared.publish(log, end) {
            warning!(
                "no memory to share the log of the open file; it can be searched once it is sealed: {}",
                words(&e)
            );
        }
    }
}
