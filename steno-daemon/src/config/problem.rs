//! What is wrong with a configuration.

use std::{
    fmt::{self, Display, Formatter},
    io,
    path::PathBuf,
};

/// Something wrong with a configuration, or merely odd, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key, as `Threads[0].MaxAge`; empty for the whole.
    pub key: String,
    /// What is the matter and what to do.
    pub message: String,
}

impl Problem {
    pub(super) fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { key: key.into(), message: message.into() }
    }
}

impl Display for Problem {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.key.is_empty() { f.write_str(&self.message) } else { write!(f, "{}: {}", self.key, self.message) }
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is not JSON.
    #[error("the configuration is not JSON: {0}")]
    Syntax(String),
    /// It does not hold. Everything that is wrong with it.
    #[error("{}", lines(.0))]
    Bad(Vec<Problem>),
    /// The embedded default cannot be set up.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The certificates of the embedded default cannot be made.
    #[error(transparent)]
    Certificates(#[from] steno_proto::certs::CertError),
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
}
