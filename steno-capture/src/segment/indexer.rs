//! The index of a finished file, in either format.

use std::io::{Read, Write};

use steno_index::{Facts, IndexError, Log, Summary, Version2Sealer, index_packet_file, index_packet_file_version2};

use crate::IndexFormat;

/// Writes indexes one after the other, in the same memory.
#[derive(Debug)]
pub(crate) enum Indexer {
    Native(Box<steno_index::Sealer>),
    Version2(Version2Sealer),
}

impl Indexer {
    pub(crate) fn new(format: IndexFormat) -> Self {
        match format {
            IndexFormat::Native => Self::Native(Box::default()),
            IndexFormat::Leveldb => Self::Version2(Version2Sealer::new()),
        }
    }

    /// Writes the index of what `log` holds.
    pub(super) fn seal(&mut self, log: &Log, facts: &Facts, out: &mut impl Write) -> Result<Summary, IndexError> {
        match self {
            Self::Native(sealer) => sealer.seal(log, facts, out),
            Self::Version2(sealer) => sealer.seal(log, facts, out),
        }
    }

    /// Writes the index of a packet file.
    pub(super) fn read_back(
        &self,
        packets: &mut impl Read,
        facts: &Facts,
        out: &mut impl Write,
    ) -> Result<Summary, IndexError> {
        let built = match self {
            Self::Native(_) => index_packet_file(packets, facts, out),
            Self::Version2(_) => index_packet_file_version2(packets, facts, out),
        };
        built.map(|built| built.summary)
    }
}
