//! What every way of writing has in common: a block, where it goes, how far it has come.

use std::{io, os::fd::BorrowedFd, sync::Arc, time::Duration};

use super::PacketFile;
use crate::sys::{BlockMemory, Operation};

/// How often a write is begun anew before it has failed: a kernel short of memory says EAGAIN, a signal EINTR.
const TRIES_MAX: u32 = 100;

/// Which block a write is of: what its caller knows it by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    /// The segment.
    pub(crate) segment: u64,
    /// The number of the block in the segment's file.
    pub(crate) block: u32,
    /// Whether the block was in a write before, which failed.
    pub(crate) again: bool,
}

/// A block to be written.
#[derive(Debug)]
pub(crate) struct BlockWrite {
    pub(crate) ticket: Ticket,
    pub(crate) file: Arc<PacketFile>,
    pub(crate) memory: BlockMemory,
    /// How many of its first bytes.
    pub(crate) len_bytes: usize,
    /// Where in the file.
    pub(crate) offset_bytes: u64,
}

/// A block that has been written, or could not be.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) ticket: Ticket,
    pub(crate) memory: BlockMemory,
    pub(crate) result: io::Result<()>,
}

/// A way to write blocks: several at a time, in any order. Short writes, interruptions, and a file system that takes no
/// direct writes after all are dealt with behind it; what ends with an error has failed.
pub(crate) trait BlockSink {
    /// Starts to write a block. The caller keeps [`Self::in_flight`] below what it opened the sink with.
    fn start(&mut self, write: BlockWrite);

    /// Blocks that were started and did not come back yet.
    fn in_flight(&self) -> usize;

    /// Has writes go on. Where none has ended, waits for one as long as `most` says, and not at all for `None`.
    fn wait(&mut self, most: Option<Duration>);

    /// What becomes readable when a write ends, where writes are under way and there is such a thing.
    fn wakes(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// The next block that comes back.
    fn ended(&mut self) -> Option<Ended>;
}

/// How far a write has come: all of [`BlockWrite`] but the memory, which the kernel may have.
#[derive(Debug)]
pub(super) struct Progress {
    ticket: Ticket,
    file: Arc<PacketFile>,
    len_bytes: usize,
    offset_bytes: u64,
    written_bytes: usize,
    tries: u32,
}

impl Progress {
    /// The first attempt at a write.
    pub(super) fn begin(write: BlockWrite) -> (Operation, Self) {
        let BlockWrite { ticket, file, memory, len_bytes, offset_bytes } = write;
        let progress = Self { ticket, file, len_bytes, offset_bytes, written_bytes: 0, tries: 0 };
        (progress.operation(memory), progress)
    }

    /// What follows from the result of an attempt: the next attempt, or the end.
    pub(super) fn go_on(mut self, memory: BlockMemory, result: io::Result<usize>) -> Result<(Operation, Self), Ended> {
        self.tries += 1;
        let result = match result {
            Ok(n) => self.advance(n),
            Err(e) => self.recover(e),
        };
        match result {
            Ok(true) => Ok((self.operation(memory), self)),
            Ok(false) => Err(self.end(memory, Ok(()))),
            Err(e) => Err(self.end(memory, Err(e))),
        }
    }

    pub(super) fn end(self, memory: BlockMemory, result: io::Result<()>) -> Ended {
        Ended { ticket: self.ticket, memory, result }
    }

    /// Whether there is more to write, after `n` bytes.
    fn advance(&mut self, n: usize) -> io::Result<bool> {
        let come = self.written_bytes + n;
        if come >= self.len_bytes {
            return Ok(false);
        }
        let whole = self.file.whole_bytes(come);
        if whole <= self.written_bytes && self.tries >= TRIES_MAX {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.written_bytes = whole.max(self.written_bytes);
        Ok(true)
    }

    /// Whether it is worth another attempt, after `error`.
    fn recover(&self, error: io::Error) -> io::Result<bool> {
        let again = self.tries < TRIES_MAX;
        match error.raw_os_error() {
            Some(libc::EINTR | libc::EAGAIN) if again => Ok(true),
            // A file system that opened the file for direct writes and now refuses one.
            Some(libc::EINVAL) if again && self.file.is_direct() => self.file.go_through_cache().map(|()| true),
            _ => Err(error),
        }
    }

    fn operation(&self, memory: BlockMemory) -> Operation {
        Operation {
            file: Arc::clone(self.file.file()),
            memory,
            from: self.written_bytes,
            until: self.len_bytes,
            offset_bytes: self.offset_bytes + self.written_bytes as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::AlignedBuffer;

    fn begin() -> (tempfile::TempDir, Operation, Progress) {
        let dir = tempfile::tempdir().unwrap();
        let file = Arc::new(PacketFile::create(&dir.path().join("f")).unwrap());
        let memory = BlockMemory::Copy(AlignedBuffer::new(1 << 16));
        let ticket = Ticket { segment: 3, block: 1, again: false };
        let write = BlockWrite { ticket, file, memory, len_bytes: 16384, offset_bytes: 1 << 20 };
        let (operation, progress) = Progress::begin(write);
        (dir, operation, progress)
    }

    #[test]
    fn a_short_write_goes_on_at_a_place_where_a_direct_write_may_start() {
        let (_dir, operation, progress) = begin();
        assert_eq!((operation.from, operation.until, operation.offset_bytes), (0, 16384, 1 << 20));
        let direct = progress.file.is_direct();
        let (operation, progress) = progress.go_on(operation.memory, Ok(9000)).unwrap();
        let from = if direct { 8192 } else { 9000 };
        assert_eq!((operation.from, operation.until, operation.offset_bytes), (from, 16384, (1 << 20) + from as u64));
        let ended = progress.go_on(operation.memory, Ok(16384 - from)).unwrap_err();
        assert!(ended.result.is_ok());
        assert_eq!(ended.ticket, Ticket { segment: 3, block: 1, again: false });
    }

    #[test]
    fn a_disk_that_is_full_or_broken_ends_the_write() {
        for errno in [libc::ENOSPC, libc::EIO, libc::EFBIG] {
            let (_dir, operation, progress) = begin();
            let ended = progress.go_on(operation.memory, Err(io::Error::from_raw_os_error(errno))).unwrap_err();
            assert_eq!(ended.result.unwrap_err().raw_os_error(), Some(errno));
        }
    }

    #[test]
    fn a_write_that_never_gets_on_ends() {
        for result in [|| Ok(0), || Err(io::Error::from_raw_os_error(libc::EINTR))] {
            let (_dir, mut operation, mut progress) = begin();
            let ended = loop {
                match progress.go_on(operation.memory, result()) {
                    Ok(next) => (operation, progress) = next,
                    Err(ended) => break ended,
                }
            };
            assert!(ended.result.is_err());
        }
    }

    #[test]
    fn a_refused_direct_write_goes_through_the_cache() {
        let (_dir, operation, progress) = begin();
        let was_direct = progress.file.is_direct();
        let refused = || Err(io::Error::from_raw_os_error(libc::EINVAL));
        if was_direct {
            let (operation, progress) = progress.go_on(operation.memory, refused()).unwrap();
            assert!(!progress.file.is_direct());
            assert!(progress.go_on(operation.memory, refused()).unwrap_err().result.is_err());
        } else {
            assert!(progress.go_on(operation.memory, refused()).unwrap_err().result.is_err());
        }
    }
}
