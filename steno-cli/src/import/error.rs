//! Why a capture file was not imported.

use std::{io, path::PathBuf};

use steno_index::IndexError;

use super::{Skipped, reader::ReadError};

/// Why nothing of a file was imported. The store is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The file cannot be opened.
    #[error("cannot open it")]
    Open(#[source] io::Error),
    /// The file is no capture, or not a packet of it is whole.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The file has packets, and none that a packet file can hold.
    #[error("none of its packets can be stored: {skipped}")]
    NothingToStore {
        /// What there is instead.
        skipped: Skipped,
    },
    /// The store cannot be written.
    #[error("cannot {action} {}", path.display())]
    Store {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The packets cannot be indexed.
    #[error("cannot write the index {}", path.display())]
    Index {
        /// The index.
        path: PathBuf,
        /// What the indexer says.
        source: IndexError,
    },
    /// SIGINT or SIGTERM came.
    #[error("interrupted; nothing of this file was imported")]
    Interrupted,
}
