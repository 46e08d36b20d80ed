//! Why a file of a store cannot be used.

use std::io;

use steno_core::chain;
use steno_index::IndexError;

/// Why a file of a store cannot be used. The text is what receipts show behind the name of the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// A packet file without an index.
    #[error("it has no index (`steno verify --repair` makes one)")]
    NoIndex,
    /// An index without a packet file.
    #[error("its packet file is missing")]
    NoPackets,
    /// An index of another version.
    #[error("{0}")]
    OtherVersion(String),
    /// An index that does not hold what it should.
    #[error("damaged index: {0}")]
    DamagedIndex(String),
    /// A packet file that does not hold what its index says.
    #[error("damaged: {0}")]
    DamagedPackets(String),
    /// It was there when the store was listed, and is not any more: retention takes the oldest.
    #[error("gone since the store was listed")]
    Vanished,
    /// The system refused.
    #[error("{0}")]
    Io(String),
}

impl Fault {
    /// What an index error means for the segment.
    pub(crate) fn of_index(error: &IndexError) -> Self {
        match error {
            IndexError::Version { .. } => Self::OtherVersion(chain(error)),
            IndexError::Open { source, .. } => Self::of_io(source),
            other => Self::DamagedIndex(chain(other)),
        }
    }

    /// What an error of the system means for the file.
    pub(crate) fn of_io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Vanished,
            _ => Self::Io(error.to_string()),
        }
    }
}
