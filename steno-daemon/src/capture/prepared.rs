//! A capture process before it is started: its directories are there, what an earlier daemon left running on them is known, and
//! so is every command line that it will ever be started with.
//!
//! All that takes rights which the daemon does not keep is done here ([`crate::confine`]).

use std::{
    ffi::OsString,
    os::fd::BorrowedFd,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::process::Pid;
use tracing::warn;

use super::{
    CaptureError, CaptureSettings,
    directory::{Orphan, RunDirectory},
    meeting::MeetingPlace,
    process::{Process, Start},
};
use crate::launch::Launcher;

/// What a program is started for. Its command lines are in this order.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    /// To say which flags it knows.
    Help,
    /// To capture.
    Capture,
    /// To capture, and told of the configured format of indexes.
    CaptureInFormat,
}

impl Purpose {
    const ALL: [Self; 3] = [Self::Help, Self::Capture, Self::CaptureInFormat];
}

/// A capture that is ready to be started. Dropped, it leaves nothing behind.
#[derive(Debug)]
pub struct Prepared {
    pub(super) settings: CaptureSettings,
    /// None: it was handed on.
    pub(super) place: Option<Place>,
    /// Processes of earlier daemons that do something else than is configured now, and the directories that they are in.
    pub(super) to_end: Vec<(RunDirectory, Process)>,
}

/// Where a capture process runs, and how it is started there.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) directory: RunDirectory,
    /// The process that an earlier daemon left there, and that is taken over.
    pub(super) adopted: Option<Process>,
    commands: [Vec<OsString>; 3],
    /// Who starts it, and the number of the first of its commands there; none: the daemon itself.
    launcher: Option<(Arc<Launcher>, u32)>,
}

impl Prepared {
    /// Makes the directories that are missing, and decides what becomes of the processes that an earlier daemon left running
    /// on them: one that does exactly what is configured now goes on, every other one would capture the same packets into
    /// the same directories a second time.
    ///
    /// # Errors
    /// [`CaptureError`], where a directory cannot be used, or another daemon uses it.
    pub fn new(settings: CaptureSettings) -> Result<Self, CaptureError> {
        settings.make_directories()?;
        let mut chosen = None;
        let mut to_end = Vec::new();
        for (directory, orphan) in RunDirectory::left_behind(&settings.run_base, &settings.threads)? {
            let pid = orphan.pid.as_raw_nonzero();
            let same = chosen.is_none() && is_configured(&settings, &directory, &orphan);
            match Process::adopt(orphan.pid, || orphan.is_alive()) {
                Ok(Some(process)) if same => chosen = Some((directory, process)),
                Ok(Some(process)) => to_end.push((directory, process)),
                Ok(None) => directory.remove(),
                Err(e) if same => return Err(e.into()),
                Err(e) => warn!(%pid, "cannot end the stenotype that an earlier daemon left running: {e}"),
            }
        }
        let (directory, adopted) = match chosen {
            Some((directory, process)) => {
                let process = meet(&directory, process);
                (directory, Some(process))
            }
            None => (RunDirectory::create(&settings.run_base, &settings.threads)?, None),
        };
        let commands = Purpose::ALL.map(|purpose| command(&settings, directory.path(), purpose));
        let place = Place { directory, adopted, commands, launcher: None };
        Ok(Self { settings, place: Some(place), to_end })
    }

    /// Every command that is ever started for it.
    pub fn commands(&self) -> impl Iterator<Item = &Vec<OsString>> {
        self.place.iter().flat_map(|place| &place.commands)
    }

    /// The processes of earlier daemons that it signals.
    pub fn left_behind(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let adopted = self.place.iter().filter_map(|place| place.adopted.as_ref());
        adopted.chain(self.to_end.iter().map(|(_, process)| process)).map(Process::end_fd)
    }

    /// Has `launcher` do what takes privileges, which knows [`Self::commands`] by the numbers from `command` on, and
    /// [`Self::left_behind`] by those from `process` on.
    pub fn launch_by(&mut self, launcher: &Arc<Launcher>, command: u32, process: u32) {
        let adopted = self.place.iter_mut().filter_map(|place| place.adopted.as_mut());
        let processes = adopted.chain(self.to_end.iter_mut().map(|(_, process)| process));
        for (number, process) in (process..).zip(processes) {
            process.signalled_by(Arc::clone(launcher), number);
        }
        if let Some(place) = &mut self.place {
            place.launcher = Some((Arc::clone(launcher), command));
        }
    }

    /// The directories of packets and indexes.
    pub fn stores(&self) -> impl Iterator<Item = &PathBuf> {
        self.settings.threads.iter().flat_map(|thread| [&thread.packets, &thread.index])
    }

    /// The directories that are made for capture processes, and removed when those have ended.
    pub fn run_directories(&self) -> impl Iterator<Item = &Path> {
        let own = self.place.iter().map(|place| place.directory.path());
        own.chain(self.to_end.iter().map(|(directory, _)| directory.path()))
    }

    /// Whether what is captured belongs to another user than this process.
    pub fn is_of_another_user(&self) -> bool {
        self.settings.is_of_another_user()
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        // One that is taken over stays as it is, for the next daemon.
        if let Some(Place { directory, adopted: None, .. }) = self.place.take() {
            directory.remove();
        }
    }
}

impl Place {
    /// How to start a process here for this.
    pub(super) fn command(&self, purpose: Purpose) -> Start<'_> {
        let [help, capture, in_format] = &self.commands;
        let (line, number) = match purpose {
            Purpose::Help => (help, 0),
            Purpose::Capture => (capture, 1),
            Purpose::CaptureInFormat => (in_format, 2),
        };
        let by = self.launcher.as_ref().map(|(launcher, first)| (launcher, first.saturating_add(number)));
        Start { line, by }
    }

    /// What is noted of a process here, so that the next daemon knows whether it does what is configured: its command line,
    /// with the flag as configured, so that the program need not be asked before they are compared.
    pub(super) fn identity(&self) -> &[OsString] {
        let [_, _, in_format] = &self.commands;
        in_format
    }

    /// Notes which process captures here.
    pub(super) fn note(&self, pid: Pid, pidfd: BorrowedFd<'_>) -> std::io::Result<()> {
        self.directory.note(pid, pidfd, self.identity())
    }
}

fn command(settings: &CaptureSettings, directory: &Path, purpose: Purpose) -> Vec<OsString> {
    let mut line = vec![settings.program.clone().into_os_string()];
    line.extend(match purpose {
        Purpose::Help => vec!["--help".into()],
        Purpose::Capture => settings.arguments(directory, false),
        Purpose::CaptureInFormat => settings.arguments(directory, true),
    });
    line
}

/// Whether a process that was left behind does exactly what is configured now.
fn is_configured(settings: &CaptureSettings, directory: &RunDirectory, orphan: &Orphan) -> bool {
    directory.is_for(&settings.threads)
        && orphan.arguments == command(settings, directory.path(), Purpose::CaptureInFormat)
}

/// Lets a process that is taken over call.
fn meet(directory: &RunDirectory, mut process: Process) -> Process {
    match MeetingPlace::open(directory.path()) {
        Ok(place) => process.wait_at(place),
        Err(e) => warn!("the stenotype that is taken over cannot tell of what it does: {e}"),
    }
    process
}
