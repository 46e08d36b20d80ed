//! Why a command was not done, and the exit status that goes with it.

use std::{io, path::PathBuf};

use steno_core::chain;
use steno_index::IndexError;
use steno_proto::certs::CertError;
use steno_query::QueryErrors;

use crate::{demo::DemoError, exit::Exit, sensor::SensorError};

/// Why a command was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// The command line asks for something that cannot be.
    #[error("{0}")]
    Usage(String),
    /// The query does not parse.
    #[error(transparent)]
    Query(#[from] QueryErrors),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] steno_query::StoreError),
    /// A file cannot be opened or read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A capture file could be written in part.
    #[error("cannot go on writing {}: it holds the first {whole_bytes} bytes of the answer, up to a whole packet", path.display())]
    Cut {
        /// The file.
        path: PathBuf,
        /// Its length.
        whole_bytes: u64,
        /// What the system says.
        source: io::Error,
    },
    /// Standard output cannot be written.
    #[error("cannot write to standard output")]
    Stdout(#[source] io::Error),
    /// An index cannot be used.
    #[error("cannot use {}", path.display())]
    Index {
        /// The index.
        path: PathBuf,
        /// What is wrong with it.
        source: IndexError,
    },
    /// Another program did not do its part.
    #[error("{0}")]
    Program(String),
    /// The demo did not come to its end.
    #[error(transparent)]
    Demo(#[from] DemoError),
    /// A sensor gave no answer, or not a whole one.
    #[error(transparent)]
    Sensor(#[from] SensorError),
    /// Certificates cannot be made.
    #[error(transparent)]
    Keys(#[from] CertError),
    /// Signals cannot be handled.
    #[error("cannot handle signals")]
    Signals(#[source] io::Error),
}

impl CommandError {
    /// The exit status.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) | Self::Query(_) => Exit::Usage,
            Self::Keys(CertError::ClientName { .. } | CertError::ServerName { .. } | CertError::Unit { .. }) => {
                Exit::Usage
            }
            Self::Demo(error) if error.is_interrupted() => Exit::Interrupted,
            Self::Sensor(error) => error.exit(),
            _ => Exit::Failed,
        }
    }

    /// What the user reads. The report on a query is complete in itself.
    pub fn report(&self) -> String {
        match self {
            Self::Query(errors) => errors.to_string(),
            // So are these.
            Self::Sensor(error @ (SensorError::Query(_) | SensorError::Cut { .. } | SensorError::Interrupted(_))) => {
                error.to_string()
            }
            Self::Demo(error) => format!("error: failed to {}", chain(error)),
            error => format!("error: {}", chain(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_follow_what_they_cause() {
        let source = io::Error::from(io::ErrorKind::PermissionDenied);
        let error = CommandError::Read { path: "/x".into(), source };
        assert_eq!(error.report(), "error: cannot read /x: permission denied");
        assert_eq!(error.exit(), Exit::Failed);
        assert_eq!(CommandError::Usage("give --store DIR".to_owned()).exit(), Exit::Usage);
    }
}
