//! The sensor: the real `stenographer` as a child process, which runs the real `stenotype`.
//!
//! It gets a configuration of its own, as an installed sensor has one, rather than `-interface`: that one's segments last ten
//! seconds and its ring takes 128 MiB, which would make a slow demo out of a small one.

use std::{
    fs::{self, File},
    io,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use steno_proto::{
    certs::CertDir,
    v1::{CaptureState, StatusResponse},
};

use super::{DemoError, client::Client, watch::Watch, wire::SERVER};
use crate::{command::chain, sensor::Location, sys::spawn_tied};

/// How long it may take to start: a ring is allocated, ports and files are opened.
const START_LIMIT: Duration = Duration::from_secs(20);
/// How long it may take to end its streams, and to write, index and seal the little that the demo sends.
const STOP_LIMIT: Duration = Duration::from_secs(20);
/// How often it is looked whether it has ended, where nothing else can be done meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Where it listens, on the loopback of the private network.
const HOST: &str = "127.0.0.1";
const PORT: u16 = 1234;
/// What the service manager, or the user's shell, may have set for another daemon.
const NOT_FOR_IT: [&str; 5] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "STENO_LOG", "STENO_LOG_FORMAT"];
/// So much of the end of the log is shown when something fails.
const LOG_LINES: usize = 6;

/// So many percent of the disk it keeps free.
pub(super) const DISK_FREE_PERCENT: u64 = 1;

/// The programs of a sensor.
#[derive(Debug)]
pub(super) struct Programs {
    stenographer: PathBuf,
    stenotype: PathBuf,
}

impl Programs {
    /// Those beside this program.
    ///
    /// # Errors
    /// [`DemoError::NoProgram`]; where the path of this program cannot be told.
    pub(super) fn find() -> Result<Self, DemoError> {
        let this = std::env::current_exe().map_err(DemoError::at("find the path of this program"))?;
        let [stenographer, stenotype] = ["stenographer", "stenotype"].map(|name| this.with_file_name(name));
        let missing = [&stenographer, &stenotype].into_iter().find(|program| !program.is_file()).cloned();
        missing.map_or(Ok(Self { stenographer, stenotype }), |program| Err(DemoError::NoProgram { program }))
    }
}

/// A running `stenographer`. Dropping it ends it and its capture process.
#[derive(Debug)]
pub(super) struct Daemon {
    child: Child,
    folder: PathBuf,
    /// Its capture processes, which would outlive it if it had to be killed.
    captures: Vec<u32>,
}

impl Daemon {
    /// Makes certificates and a configuration in `folder`, and starts the daemon with them.
    ///
    /// # Errors
    /// What cannot be made or started.
    pub(super) fn start(programs: &Programs, folder: &Path) -> Result<Self, DemoError> {
        let what = "start the sensor";
        let folder = fs::canonicalize(folder).map_err(DemoError::at(what))?;
        let certs = CertDir::new(folder.join("certs"));
        let _made = certs.init(&[HOST, "localhost"]).map_err(DemoError::at("make certificates"))?;
        let text = configuration(programs, &folder, &certs)?;
        let file = Self::config_of(&folder);
        fs::write(&file, text).map_err(DemoError::at("write the configuration"))?;
        let log = File::create(log_of(&folder)).map_err(DemoError::at(what))?;
        let errors = log.try_clone().map_err(DemoError::at(what))?;
        let mut command = Command::new(&programs.stenographer);
        let _ = command
            .arg("-config")
            .arg(&file)
            .arg("-syslog=false")
            // Where it makes the directory that it hands to its capture process.
            .env("RUNTIME_DIRECTORY", &folder)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            // Ctrl-C is for the demo, which then ends it.
            .process_group(0);
        for name in NOT_FOR_IT {
            let _ = command.env_remove(name);
        }
        let child = spawn_tied(&mut command).map_err(DemoError::at(what))?;
        Ok(Self { child, folder, captures: Vec::new() })
    }

    /// Waits until it answers, over mutual TLS, that it captures.
    ///
    /// # Errors
    /// [`DemoError::Ended`], [`DemoError::TimedOut`], [`DemoError::Interrupted`]; a certificate that it refuses.
    pub(super) fn ready<'w>(&mut self, watch: &'w Watch) -> Result<Client<'w>, DemoError> {
        let what = "start the sensor";
        let location = self.location()?;
        let over = watch.flag()?;
        let mut client = None;
        watch.until(what, START_LIMIT, || {
            if let Some(status) = self.child.try_wait().map_err(DemoError::at(what))? {
                return Err(DemoError::Ended { what, status });
            }
            if client.is_none() {
                client = Client::connect(&location, watch, &over)?;
            }
            let Some(connected) = &client else { return Ok(None) };
            let status = connected.status()?;
            self.captures = status.captures.iter().map(|capture| capture.pid).collect();
            // It would be started again, and again.
            if let Some(failed) = status.captures.iter().find(|capture| capture.state() == CaptureState::Backoff) {
                return Err(DemoError::NoCapture { why: failed.last_exit.clone() });
            }
            Ok(is_capturing(&status).then(|| client.take()).flatten())
        })
    }

    /// Where it is, as its configuration tells any client.
    ///
    /// # Errors
    /// Where its configuration cannot be read.
    pub(super) fn location(&self) -> Result<Location, DemoError> {
        Location::of_config(&Self::config_of(&self.folder)).map_err(DemoError::at("find the sensor"))
    }

    /// The configuration in a folder.
    pub(super) fn config_of(folder: &Path) -> PathBuf {
        folder.join("config")
    }

    /// Asks it to end, which makes its capture process write what its ring holds, index and seal; waits until it has.
    ///
    /// # Errors
    /// As [`Self::ready`].
    pub(super) fn stop(&mut self, watch: &Watch) -> Result<(), DemoError> {
        let what = "stop the sensor";
        if let Some(status) = self.child.try_wait().map_err(DemoError::at(what))? {
            return Err(DemoError::Ended { what: "keep the sensor running", status });
        }
        signal(self.child.id(), Signal::TERM).map_err(DemoError::at(what))?;
        let status = watch.until(what, STOP_LIMIT, || self.child.try_wait().map_err(DemoError::at(what)))?;
        if status.success() { Ok(()) } else { Err(DemoError::Ended { what, status }) }
    }

    /// `error`, and what the log says of it, unless the demo itself was ended.
    pub(super) fn explain(&self, error: DemoError) -> DemoError {
        if matches!(error, DemoError::Interrupted | DemoError::Output(_)) {
            return error;
        }
        let log = fs::read(log_of(&self.folder)).unwrap_or_default();
        DemoError::WithLog { error: chain(&error), said: last_lines(&String::from_utf8_lossy(&log)) }
    }

    fn ended_within(&mut self, limit: Duration) -> Option<ExitStatus> {
        let began = Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(None) if began.elapsed() < limit => std::thread::sleep(LOOK_EVERY),
                Ok(status) => return status,
                Err(_) => return None,
            }
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Ok(Some(_)) = self.child.try_wait() {
            return;
        }
        let _ = signal(self.child.id(), Signal::TERM);
        if self.ended_within(STOP_LIMIT).is_some() {
            return;
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        for capture in &self.captures {
            let _ = signal(*capture, Signal::KILL);
        }
    }
}

/// A segment a second lets a short demo see several of them; a ring of 16 MiB is ample for its traffic and asks little of the
/// machine. The user and group are those that run it already: in a private user namespace nobody else exists.
fn configuration(programs: &Programs, folder: &Path, certs: &CertDir) -> Result<String, DemoError> {
    let text =
        |path: PathBuf| path.into_os_string().into_string().map_err(|path| DemoError::NotText { path: path.into() });
    let config = json!({
        "Threads": [{
            "PacketsDirectory": text(folder.join("PKT0"))?,
            "IndexDirectory": text(folder.join("IDX0"))?,
            "DiskFreePercentage": DISK_FREE_PERCENT,
        }],
        "StenotypePath": text(programs.stenotype.clone())?,
        "Interface": SERVER.interface,
        "Flags": ["--blocks=16", "--aiops=8", "--fileage_sec=1", "--uid=0", "--gid=0"],
        "Host": HOST,
        "Port": PORT,
        "CertPath": text(certs.path().to_owned())?,
    });
    let text = serde_json::to_string_pretty(&config).map_err(DemoError::at("write the configuration"))?;
    Ok(text + "\n")
}

fn is_capturing(status: &StatusResponse) -> bool {
    !status.captures.is_empty() && status.captures.iter().all(|capture| capture.state() == CaptureState::Running)
}

fn log_of(folder: &Path) -> PathBuf {
    folder.join("stenographer.log")
}

fn signal(pid: u32, signal: Signal) -> io::Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    kill_process(pid, signal).map_err(io::Error::from)
}

/// The end of a log, in one line.
fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let end = lines.get(lines.len().saturating_sub(LOG_LINES)..).unwrap_or_default().join(" / ");
    if end.is_empty() { "it is empty".to_owned() } else { end }
}

#[cfg(test)]
mod tests {
    use super::last_lines;

    #[test]
    fn a_failure_shows_the_end_of_the_log() {
        assert_eq!(last_lines("\n \n"), "it is empty");
        assert_eq!(last_lines("1\n2\n3\n\n4\n5\n  6\n7"), "2 / 3 / 4 / 5 / 6 / 7");
    }
}
