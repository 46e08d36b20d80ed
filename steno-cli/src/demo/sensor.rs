//! The sensor: the real `stenotype` as a child process.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::DemoError;
use super::watch::Watch;
use crate::sys::spawn_tied;

/// How long it may take to start: the ring is allocated, the first file opened.
const START_LIMIT: Duration = Duration::from_secs(10);
/// How long it may take to write, index and seal the little that the demo sends.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// The name of its log in the store folder.
const LOG: &str = "stenotype.log";
/// So much of the end of the log is shown when it fails.
const LOG_LINES: usize = 5;

/// A running `stenotype`. Dropping it kills and reaps the process.
#[derive(Debug)]
pub(super) struct Sensor {
    child: Child,
    store: PathBuf,
}

impl Sensor {
    /// Where `stenotype` is: beside this program.
    ///
    /// # Errors
    /// [`DemoError::NoStenotype`]; where the path of this program cannot be told.
    pub(super) fn find() -> Result<PathBuf, DemoError> {
        let this = std::env::current_exe().map_err(DemoError::at("find the path of this program"))?;
        let program = this.with_file_name("stenotype");
        if program.is_file() { Ok(program) } else { Err(DemoError::NoStenotype { program }) }
    }

    /// The flags it is started with, for `interface` and `store`.
    ///
    /// A segment a second lets a short demo end with several of them; a ring of 16 MiB is ample for its
    /// traffic and asks little of the machine. The user and group are those it runs as already: in a
    /// private user namespace nobody else exists.
    pub(super) fn flags(interface: &str, store: &Path) -> Vec<String> {
        let mut flags = vec![format!("--dir={}", store.display()), format!("--iface={interface}")];
        flags.extend(
            ["--threads=1", "--blocks=16", "--aiops=8", "--fileage_sec=1", "--uid=0", "--gid=0"].map(str::to_owned),
        );
        flags
    }

    /// Starts it and waits until it captures.
    ///
    /// # Errors
    /// [`DemoError::Stenotype`] with the end of its log; [`DemoError::TimedOut`], [`DemoError::Interrupted`].
    pub(super) fn start(program: &Path, flags: &[String], store: &Path, watch: &Watch) -> Result<Self, DemoError> {
        let what = "start the sensor";
        let log = File::create(store.join(LOG)).map_err(DemoError::at(what))?;
        let errors = log.try_clone().map_err(DemoError::at(what))?;
        let mut command = Command::new(program);
        let _ = command.args(flags).stdin(Stdio::null()).stdout(log).stderr(errors);
        let child = spawn_tied(&mut command).map_err(DemoError::at(what))?;
        let mut sensor = Self { child, store: store.to_owned() };
        watch.until(what, START_LIMIT, || {
            if let Some(status) = sensor.child.try_wait().map_err(DemoError::at(what))? {
                return Err(sensor.failed(what, status));
            }
            // The first packet file is opened, hidden, when the ring is bound to the interface.
            Ok(has_hidden_file(&store.join("PKT0")).then_some(()))
        })?;
        Ok(sensor)
    }

    /// Asks it to stop, which makes it write what its ring holds, index and seal; waits until it has.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub(super) fn stop(mut self, watch: &Watch) -> Result<(), DemoError> {
        let what = "stop the sensor";
        if let Some(status) = self.child.try_wait().map_err(DemoError::at(what))? {
            return Err(self.failed("capture", status));
        }
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| DemoError::at(what)(io::Error::from(io::ErrorKind::InvalidData)))?;
        kill_process(pid, Signal::TERM).map_err(DemoError::at(what))?;
        let status = watch.until(what, STOP_LIMIT, || self.child.try_wait().map_err(DemoError::at(what)))?;
        if status.success() { Ok(()) } else { Err(self.failed(what, status)) }
    }

    fn failed(&self, what: &'static str, status: ExitStatus) -> DemoError {
        let log = fs::read_to_string(self.store.join(LOG)).unwrap_or_default();
        DemoError::Stenotype { what, status, said: last_lines(&log) }
    }
}

impl Drop for Sensor {
    fn drop(&mut self) {
        // Both do nothing more than they should when the process has ended and was waited for already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether `dir` holds a file whose name begins with a dot and a digit.
fn has_hidden_file(dir: &Path) -> bool {
    let Ok(entries) = fs::read_dir(dir) else { return false };
    let mut names = entries.filter_map(|entry| entry.ok().map(|entry| entry.file_name()));
    names.any(|name| matches!(name.as_encoded_bytes(), [b'.', b'0'..=b'9', ..]))
}

/// The end of a log, in one line.
fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let end = lines.get(lines.len().saturating_sub(LOG_LINES)..).unwrap_or_default().join(" / ");
    if end.is_empty() { "it said nothing".to_owned() } else { format!("it said: {end}") }
}

#[cfg(test)]
mod tests {
    use super::{has_hidden_file, last_lines};

    #[test]
    fn only_a_hidden_segment_tells_that_it_captures() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!has_hidden_file(&dir.path().join("absent")));
        std::fs::write(dir.path().join("1795387622566079"), "").unwrap();
        std::fs::write(dir.path().join(".lock"), "").unwrap();
        assert!(!has_hidden_file(dir.path()));
        std::fs::write(dir.path().join(".1795387622566079"), "").unwrap();
        assert!(has_hidden_file(dir.path()));
    }

    #[test]
    fn a_failure_shows_the_end_of_the_log() {
        assert_eq!(last_lines("\n \n"), "it said nothing");
        assert_eq!(last_lines("1\n2\n3\n\n4\n5\n  6\n"), "it said: 2 / 3 / 4 / 5 / 6");
    }
}
