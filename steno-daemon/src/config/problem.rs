//! What is wrong with a configuration.

use std::{
    fmt::{self, Display, Formatter},
    io,
    path::PathBuf,
};

use steno_proto::{json::folds_to, places::Place};
use steno_query::plain;

/// Something wrong with a configuration, or merely odd, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key, as `Threads[0].MaxAge`; empty for the whole.
    pub key: String,
    /// What is the matter and what to do.
    pub message: String,
    /// Where the key is in the file, where it is in one.
    pub place: Option<Place>,
}

impl Problem {
    pub(super) fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { key: key.into(), message: message.into(), place: None }
    }

    /// Gives it the place of its key: of the one that is spelled like it, as warnings are, or of the one that counts, which is
    /// the last that Go takes for it. What is said of an item of a list is where the list is.
    pub(super) fn placed(mut self, places: &[(String, Place)], is_spelled: bool) -> Self {
        let mut path = self.key.as_str();
        loop {
            let exact = places.iter().rfind(|(key, _)| is_spelled && key == path);
            if let Some((_, place)) = exact.or_else(|| places.iter().rfind(|(key, _)| folds_to(key, path))) {
                self.place = Some(*place);
                return self;
            }
            match path.strip_suffix(']').and_then(|path| path.rsplit_once('[')) {
                Some((list, _)) => path = list,
                None => return self,
            }
        }
    }
}

impl Display for Problem {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        // Keys and values are as the file has them, whatever they hold.
        let (key, message) = (plain(&self.key), plain(&self.message));
        match self.place {
            _ if key.is_empty() => f.write_str(&message),
            Some(place) => write!(f, "{key} ({place}): {message}"),
            None => write!(f, "{key}: {message}"),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_steers_a_terminal() {
        let problem = Problem::new("a\u{1b}[2J", "is \u{7f}\nnot known");
        assert_eq!(problem.to_string(), "a\\u{1b}[2J: is \\u{7f}\\u{a}not known");
    }
}
