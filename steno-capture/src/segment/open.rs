//! A segment that is being written.

use std::{
    io,
    path::Path,
    time::{Duration, Instant},
};

use steno_core::{Clock, SegmentId, SystemClock};
use steno_index::{Drops, Log, segment::SegmentPaths};

use crate::io::PacketFile;

/// The directories of a thread.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) packets_dir: std::path::PathBuf,
    pub(crate) index_dir: std::path::PathBuf,
}

/// When a file is full or old.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rotation {
    pub(crate) block_bytes: u64,
    pub(crate) file_bytes: u64,
    pub(crate) after: Duration,
    pub(crate) preallocate_bytes: u64,
}

/// A block on its way to the disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WrittenBlock {
    pub(crate) packets: u32,
    /// Bytes that are to be written.
    pub(crate) len_bytes: u32,
}

/// A packet file with a hidden name, and the log of its packets.
#[derive(Debug)]
pub(crate) struct OpenSegment {
    pub(crate) paths: SegmentPaths,
    pub(crate) file: PacketFile,
    pub(crate) log: Log,
    pub(crate) drops: Vec<Drops>,
    /// The blocks so far.
    pub(crate) blocks: Vec<WrittenBlock>,
    /// Writes of this file that are under way.
    pub(crate) in_flight: u32,
    /// The first block that could not be written.
    pub(crate) failed_block: Option<usize>,
    opened: Instant,
}

impl OpenSegment {
    /// Opens a file that is named after the time now, with an empty log.
    pub(crate) fn create(place: &Place, rotation: &Rotation, log: Log) -> io::Result<Self> {
        let paths = fresh_name(place)?;
        let path = paths.hidden_packet_file();
        let file = PacketFile::create(&path, rotation.preallocate_bytes)
            .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))?;
        Ok(Self {
            paths,
            file,
            log,
            drops: Vec::new(),
            blocks: Vec::new(),
            in_flight: 0,
            failed_block: None,
            opened: Instant::now(),
        })
    }

    /// Where the next block goes.
    pub(crate) fn next_offset(&self, rotation: &Rotation) -> u64 {
        self.blocks.len() as u64 * rotation.block_bytes
    }

    /// Whether another block would make the file too large, or it must not get one any more.
    pub(crate) fn is_full(&self, rotation: &Rotation) -> bool {
        self.failed_block.is_some() || self.next_offset(rotation) + rotation.block_bytes > rotation.file_bytes
    }

    /// How long until the file is too old.
    pub(crate) fn ages_in(&self, rotation: &Rotation) -> Duration {
        rotation.after.saturating_sub(self.opened.elapsed())
    }

    /// Gives a file that got no block in its time a name of the time now, so that the name goes on to say when the
    /// packets begin.
    pub(crate) fn rename(&mut self, place: &Place) -> io::Result<()> {
        let paths = fresh_name(place)?;
        std::fs::rename(self.paths.hidden_packet_file(), paths.hidden_packet_file())?;
        self.paths = paths;
        self.opened = Instant::now();
        Ok(())
    }

    /// Removes a file without blocks.
    pub(crate) fn discard(self) -> io::Result<()> {
        std::fs::remove_file(self.paths.hidden_packet_file())
    }

    /// Notes that the write of a block has ended; one that wrote too few bytes has failed.
    pub(crate) fn written(&mut self, block: usize, result: io::Result<u32>) -> io::Result<()> {
        self.in_flight -= 1;
        let wanted = self.blocks.get(block).map_or(0, |b| b.len_bytes);
        let result = match result {
            Ok(n) if n < wanted => Err(io::Error::other(format!("{n} of {wanted} bytes of a block were written"))),
            Ok(_) => return Ok(()),
            Err(e) => Err(e),
        };
        let first = self.failed_block.map_or(block, |first| first.min(block));
        self.failed_block = Some(first);
        result
    }

    /// Packets of the blocks from the first that could not be written on.
    pub(crate) fn packets_lost(&self) -> u64 {
        let Some(first) = self.failed_block else { return 0 };
        self.blocks.iter().skip(first).map(|block| u64::from(block.packets)).sum()
    }
}

/// A name that no file of the thread has: the microsecond now, or the first free one after it.
fn fresh_name(place: &Place) -> io::Result<SegmentPaths> {
    let SegmentId(mut micros) = SegmentId::at(SystemClock.now());
    loop {
        let paths = SegmentPaths::new(&place.packets_dir, &place.index_dir, SegmentId(micros));
        let taken = |path: &Path| path.try_exists();
        if !taken(&paths.packet_file())? && !taken(&paths.hidden_packet_file())? && !taken(&paths.index_file())? {
            return Ok(paths);
        }
        micros += 1;
    }
}
