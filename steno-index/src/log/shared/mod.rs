//! The log of a file that is being written, in memory that another process reads (`docs/format/open-log.md`).
//!
//! The writer owns anonymous memory with a descriptor (memfd_create(2)) and appends the records of blocks that are on the disk,
//! a system call a block. The reader takes a copy by reading, so that nothing it looks at can change or go away under it, and
//! believes none of it.

use std::{fs::File, io, os::unix::fs::FileExt};

mod parts;
mod reader;
mod writer;

pub use parts::{Merge, Merged};
pub use reader::{OpenPart, SharedLogReader};
pub use writer::SharedLog;

use crate::IndexError;

/// What the memory begins with.
const MAGIC: [u8; 8] = *b"STENOLOG";
/// The version of this layout, and the oldest that is read: it is the same without running checksums.
const VERSION: u32 = 2;
const OLDEST_VERSION: u32 = 1;
/// Where the count of the records' bytes lies.
const COUNT_AT: u64 = 16;
/// What comes before the records, and where they begin.
const HEAD_BYTES: usize = 32;
const RECORDS_AT: u64 = HEAD_BYTES as u64;
/// The count of a log that does not have the records of all blocks on the disk.
const GIVEN_UP: u64 = u64::MAX;
/// What the indexes of a file may take in memory: those of a hundred million packets, as a rule.
const MOST_BYTES: u64 = 512 << 20;

/// Why the log of an open file cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SharedLogError {
    /// The memory cannot be read.
    #[error("read the log of the open file")]
    Read(#[source] io::Error),
    /// It is no such log, or one of another version.
    #[error("the log of the open file is of another version")]
    Version,
    /// Its writer had no memory for all records.
    #[error("the log of the open file is not kept any more")]
    GivenUp,
    /// More than is taken.
    #[error("the index of the open file takes {got} bytes of memory; {MOST_BYTES} are the most that is kept")]
    TooLarge {
        /// Bytes of its index.
        got: u64,
    },
    /// Its records do not hold.
    #[error("the log of the open file")]
    Records(#[source] IndexError),
}

/// How many bytes of records a shared log has.
fn published_bytes(memory: &File) -> Result<u64, SharedLogError> {
    let mut head = [0; HEAD_BYTES];
    memory.read_exact_at(&mut head, 0).map_err(SharedLogError::Read)?;
    let (magic, rest) = head.split_at(MAGIC.len());
    let word = |at: usize| rest.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes);
    if magic != MAGIC || !(u64::from(OLDEST_VERSION)..=u64::from(VERSION)).contains(&word(0)) {
        return Err(SharedLogError::Version);
    }
    match word(8) {
        GIVEN_UP => Err(SharedLogError::GivenUp),
        bytes => Ok(bytes),
    }
}

#[cfg(test)]
mod tests;
