//! Why the demo did not come to its end.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// A step of the demo that failed. Each message reads after "failed to"; [`Error::source`] goes on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DemoError {
    /// A step failed for the reason that the source gives.
    #[error("{step}")]
    Step {
        /// What was being done.
        step: String,
        /// Why it failed.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A program is not there.
    #[error(
        "find the programs of the sensor: {} does not exist; put stenographer and stenotype into the folder where \
         steno is (`cargo build --release --workspace --bins` makes them all)",
        .program.display()
    )]
    NoProgram {
        /// Where it should be.
        program: PathBuf,
    },
    /// A path that a configuration cannot name.
    #[error("write the configuration: {path:?} is not UTF-8; name another folder, by --keep or TMPDIR")]
    NotText {
        /// The path.
        path: PathBuf,
    },
    /// The folder to keep the files in holds something already.
    #[error("keep the files in {}: it is not empty; name a folder that is new or empty", .dir.display())]
    NotEmpty {
        /// The folder.
        dir: PathBuf,
    },
    /// The disk is too full.
    #[error(
        "have room for what is captured: the disk of {} is too full, and a sensor removes its oldest files then; name a \
         folder elsewhere by {how}, or free some space", .dir.display()
    )]
    NoRoom {
        /// Where it was to be.
        dir: PathBuf,
        /// What names another place.
        how: &'static str,
    },
    /// The daemon ended by itself, or with an error.
    #[error("{what}: stenographer ended with {status}")]
    Ended {
        /// What it was to do.
        what: &'static str,
        /// How it ended.
        status: std::process::ExitStatus,
    },
    /// The capture program does not capture.
    #[error("capture: stenotype {why}")]
    NoCapture {
        /// What became of it.
        why: String,
    },
    /// Something failed while the sensor ran.
    #[error("{error}; the log of the sensor ends so: {said}")]
    WithLog {
        /// What failed.
        error: String,
        /// The end of the log.
        said: String,
    },
    /// Who has no certificate was let in.
    #[error("see a client without a certificate refused: {got}")]
    LetIn {
        /// What happened instead.
        got: String,
    },
    /// Something took too long.
    #[error("{what}: no result after {} s", .limit.as_secs())]
    TimedOut {
        /// What was waited for.
        what: String,
        /// How long.
        limit: Duration,
    },
    /// What was found is not what was sent.
    #[error("find what was sent: {}", .faults.join("; "))]
    Differs {
        /// Each difference.
        faults: Vec<String>,
    },
    /// Standard output was closed.
    #[error("write to standard output")]
    Output(#[from] io::Error),
    /// Ctrl-C, or a signal of the like.
    #[error("finish: interrupted")]
    Interrupted,
}

impl DemoError {
    /// Whether the user stopped it (exit status 130 by contract).
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        matches!(self, Self::Interrupted)
    }

    /// For `map_err`: names the step at which a source arose.
    pub(super) fn at<E>(step: impl Into<String>) -> impl FnOnce(E) -> Self
    where
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let step = step.into();
        move |source| Self::Step { step, source: source.into() }
    }
}
