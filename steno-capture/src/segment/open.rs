//! A segment whose packet file is being written.

use std::{collections::BTreeMap, fs, io, path::PathBuf, sync::Arc, time::SystemTime};

use steno_core::{Clock, TimestampNs};
use steno_index::{Log, segment::SegmentPaths};

use super::{
    names::Names,
    share::{Share, Shares},
};
use crate::{error::words, io::PacketFile, sys::BlockMemory};

/// The directories of a thread.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) packets_dir: PathBuf,
    pub(crate) index_dir: PathBuf,
}

/// A block that could not be written.
#[derive(Debug)]
pub(crate) struct FailedBlock {
    pub(crate) memory: BlockMemory,
    /// Whether that was its second failure.
    pub(crate) again: bool,
    pub(crate) error: io::Error,
}

/// A packet file with a hidden name, the log of its packets, and what is known of its blocks.
///
/// Blocks are known to be on the disk from the first on without a gap: one that is written before an earlier one keeps its
/// memory, so that it can be written to another file if the earlier one fails.
#[derive(Debug)]
pub(crate) struct OpenSegment {
    pub(crate) paths: SegmentPaths,
    pub(crate) file: Arc<PacketFile>,
    pub(crate) log: Log,
    /// The same for the daemon, as far as blocks are on the disk.
    pub(super) share: Option<Share>,
    /// When the file was opened, or last renamed.
    pub(crate) opened: TimestampNs,
    /// Blocks that were given a place in the file.
    pub(crate) blocks: u32,
    /// Those of them whose write is under way.
    pub(crate) pending: u32,
    /// Blocks that are written, up to the first that is not.
    pub(crate) whole: u32,
    /// Blocks that are written, but for one before them.
    pub(crate) ahead: BTreeMap<u32, BlockMemory>,
    /// Blocks that could not be written. The segment takes no more then.
    pub(crate) failed: BTreeMap<u32, FailedBlock>,
}

impl OpenSegment {
    /// Opens the first file of a process.
    pub(crate) fn first(place: &Place, clock: &dyn Clock) -> io::Result<Self> {
        let mut names = Names::of(place, clock.now())?;
        Self::create(place, &mut names, clock, Log::default())
    }

    /// Opens a file that is named after the time now, with an empty log.
    pub(super) fn create(place: &Place, names: &mut Names, clock: &dyn Clock, log: Log) -> io::Result<Self> {
        let opened = clock.now();
        let paths = names.next(place, opened)?;
        let path = paths.hidden_packet_file();
        let file = PacketFile::create(&path)
            .map_err(|e| io::Error::new(e.kind(), format!("{}: {}", path.display(), words(&e))))?;
        Ok(Self {
            paths,
            file: Arc::new(file),
            log,
            share: None,
            opened,
            blocks: 0,
            pending: 0,
            whole: 0,
            ahead: BTreeMap::new(),
            failed: BTreeMap::new(),
        })
    }

    /// Shares the log from now on, where it can be.
    pub(super) fn share(&mut self, shares: Option<&Shares>) {
        self.share = shares.and_then(|shares| shares.of(self.paths.id()));
    }

    /// Gives a file without blocks a name of the time now.
    pub(super) fn rename(&mut self, place: &Place, names: &mut Names, clock: &dyn Clock) -> io::Result<()> {
        let now = clock.now();
        let paths = names.next(place, now)?;
        fs::rename(self.paths.hidden_packet_file(), paths.hidden_packet_file())?;
        // A file that was last changed before its name says would seem to be from before the clock was set back, to those who
        // list the store. (With space set aside it is not taken for empty.) Without the time they only are less sure.
        let _ = self.file.file().set_modified(SystemTime::now());
        self.paths = paths;
        self.opened = now;
        Ok(())
    }

    /// Removes a file that has no whole block.
    pub(crate) fn discard(self) -> io::Result<()> {
        fs::remove_file(self.paths.hidden_packet_file())
    }

    /// Notes that block `number` is written. The memory of all blocks that are on the disk without a gap goes back.
    pub(crate) fn written(&mut self, number: u32, memory: BlockMemory) {
        self.pending = self.pending.saturating_sub(1);
        let _ = self.ahead.insert(number, memory);
        let before = self.whole;
        while self.ahead.remove(&self.whole).is_some() {
            self.whole += 1;
        }
        if let Some(share) = &mut self.share {
            share.written(&self.log, self.whole - before);
        }
    }

    /// Notes that block `number` could not be written.
    pub(crate) fn not_written(&mut self, number: u32, block: FailedBlock) {
        self.pending = self.pending.saturating_sub(1);
        let _ = self.failed.insert(number, block);
    }
}
