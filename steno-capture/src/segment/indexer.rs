//! The index of a finished file, in either format.

use std::io::Write;

use steno_index::{Facts, IndexError, Log, Pause, Summary, Version2Sealer};

use crate::IndexFormat;

/// Writes indexes one after the other, in the same memory.
#[derive(Debug)]
pub(crate) enum Indexer {
    Native(Box<steno_index::Sealer>),
    Version2(Version2Sealer),
}

impl Indexer {
    /// One that takes a pause between pieces of its work.
    pub(crate) fn new(format: IndexFormat, pause: Pause) -> Self {
        match format {
            IndexFormat::Native => Self::Native(Box::new(steno_index::Sealer::pausing(pause))),
            IndexFormat::Leveldb => Self::Version2(Version2Sealer::pausing(pause)),
        }
    }

    /// Writes the index of what `log` holds.
    pub(super) fn seal(&mut self, log: &Log, facts: &Facts, out: &mut impl Write) -> Result<Summary, IndexError> {
        match self {
            Self::Native(sealer) => sealer.seal(log, facts, out),
            Self::Version2(sealer) => sealer.seal(log, facts, out),
        }
    }
}
