//! The directory that a capture process is given as `--dir`: links `PKT<i>` and `IDX<i>` into the configured directories,
//! as 1.0.1's daemon makes them.
//!
//! It lives as long as the capture process, which may be longer than the daemon: a note in it says which process that is,
//! so that the next daemon takes the process over instead of starting a second one beside it, whose packets would then
//! all be there twice. A lock says that the daemon that made it still runs.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, ErrorKind, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::{
            ffi::{OsStrExt, OsStringExt},
            fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink},
        },
    },
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{
    fs::{FlockOperation, fstat, fstatfs},
    io::Errno,
    process::{Pid, PidfdFlags, pidfd_open},
};

use super::{CaptureError, ThreadDirectories, backoff, meeting, process::wait_readable};

/// What the names of these directories begin with.
const PREFIX: &str = "stenographer-";
/// Locked while the daemon that made the directory runs.
const LOCK: &str = "lock";
/// Which process captures into the directory.
const NOTE: &str = "process";

/// A `--dir` of our own making; its lock is held.
#[derive(Debug)]
pub(super) struct RunDirectory {
    path: PathBuf,
    _lock: File,
}

/// The capture process that an earlier daemon left behind.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Orphan {
    pub(super) pid: Pid,
    /// `starttime` of proc_pid_stat(5): with the number, it names a process for good.
    start_ticks: u64,
    /// What names it where proc(5) does not show it.
    inode: Option<u64>,
    /// What it was started with.
    pub(super) arguments: Vec<OsString>,
}

impl Orphan {
    /// Whether its number still belongs to it.
    pub(super) fn is_alive(&self) -> bool {
        self.is_still_the_one(start_ticks(self.pid))
    }

    fn is_still_the_one(&self, start_ticks: io::Result<u64>) -> bool {
        match start_ticks {
            Ok(ticks) => ticks == self.start_ticks,
            // Gone, or hidden: where proc(5) is mounted with `hidepid=`, what cannot be looked into is shown to root alone.
            Err(_) => self.inode.is_some() && inode_of(self.pid) == self.inode,
        }
    }
}

impl RunDirectory {
    /// A new directory below `base` with links for `threads`, whose place in the list is the capture process's number
    /// for them.
    pub(super) fn create(base: &Path, threads: &[ThreadDirectories]) -> Result<Self, CaptureError> {
        let path = base.join(format!("{PREFIX}{:08x}", random()));
        let failed = |source| CaptureError::RunDirectory { path: path.clone(), source };
        DirBuilder::new().mode(0o700).create(&path).map_err(failed)?;
        let made = Self::fill(&path, threads);
        if made.is_err() {
            let _ = fs::remove_dir_all(&path);
        }
        made.map_err(failed)
    }

    fn fill(path: &Path, threads: &[ThreadDirectories]) -> io::Result<Self> {
        let lock = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path.join(LOCK))?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        for (i, thread) in threads.iter().enumerate() {
            symlink(fs::canonicalize(&thread.packets)?, path.join(format!("PKT{i}")))?;
            symlink(fs::canonicalize(&thread.index)?, path.join(format!("IDX{i}")))?;
        }
        // A stenotype that gives up root (--uid) still opens its files through the links.
        fs::set_permissions(path, Permissions::from_mode(0o711))?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// The directory.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Notes which process captures into this directory, and with what arguments.
    pub(super) fn note(&self, pid: Pid, pidfd: BorrowedFd<'_>, arguments: &[OsString]) -> io::Result<()> {
        let (started, inode) = (start_ticks(pid), inode(pidfd));
        let started = if inode.is_some() { started.unwrap_or_default() } else { started? };
        let inode = inode.map(|inode| format!(" {inode}")).unwrap_or_default();
        let mut text = format!("{} {started}{inode}", pid.as_raw_nonzero()).into_bytes();
        for argument in arguments {
            text.push(0);
            text.extend_from_slice(argument.as_bytes());
        }
        let new = self.path.join(".process");
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?.write_all(&text)?;
        fs::rename(new, self.path.join(NOTE))
    }

    /// Removes the directory; what the links lead to stays.
    pub(super) fn remove(self) {
        // Only names that were made here: anything else in it keeps it.
        for entry in fs::read_dir(&self.path).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if name == LOCK || name == NOTE || name == meeting::NAME || is_link_name(&name) {
                let _ = fs::remove_file(entry.path());
            }
        }
        let _ = fs::remove_dir(&self.path);
    }

    /// Looks below `base` for directories that lead to any of those of `threads`, left by daemons that are gone. The ones
    /// without a living process are removed; the others are returned.
    ///
    /// # Errors
    /// [`CaptureError::InUse`], where another daemon runs on one of the directories.
    pub(super) fn left_behind(base: &Path, threads: &[ThreadDirectories]) -> Result<Vec<(Self, Orphan)>, CaptureError> {
        let mut found = Vec::new();
        let entries =
            fs::read_dir(base).map_err(|source| CaptureError::RunDirectory { path: base.to_owned(), source })?;
        for entry in entries.flatten() {
            let path = entry.path();
            if !entry.file_name().as_bytes().starts_with(PREFIX.as_bytes()) || !is_ours(&path) {
                continue;
            }
            let Some(shared) = leads_to(&path, threads) else { continue };
            let Ok(lock) = OpenOptions::new().write(true).open(path.join(LOCK)) else { continue };
            match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Err(CaptureError::InUse { path: shared }),
                Err(_) => continue,
            }
            let directory = Self { path, _lock: lock };
            match read_note(&directory.path).filter(Orphan::is_alive) {
                Some(orphan) => found.push((directory, orphan)),
                None => directory.remove(),
            }
        }
        Ok(found)
    }

    /// Whether the links are exactly those that [`Self::create`] would make.
    pub(super) fn is_for(&self, threads: &[ThreadDirectories]) -> bool {
        let links = links(&self.path);
        links.len() == 2 * threads.len()
            && threads.iter().enumerate().all(|(i, thread)| {
                let holds = |name: String, to: &Path| {
                    let to = fs::canonicalize(to).ok();
                    links.iter().any(|(n, target)| *n == *name && Some(target) == to.as_ref())
                };
                holds(format!("PKT{i}"), &thread.packets) && holds(format!("IDX{i}"), &thread.index)
            })
    }
}

/// A directory, no link to one, that this user made.
fn is_ours(path: &Path) -> bool {
    let euid = rustix::process::geteuid().as_raw();
    fs::symlink_metadata(path).is_ok_and(|m| m.is_dir() && m.uid() == euid)
}

fn is_link_name(name: &OsStr) -> bool {
    let name = name.as_bytes();
    let number = name.strip_prefix(b"PKT").or_else(|| name.strip_prefix(b"IDX"));
    number.is_some_and(|n| !n.is_empty() && n.iter().all(u8::is_ascii_digit))
}

fn links(path: &Path) -> Vec<(OsString, PathBuf)> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries
        .filter(|e| is_link_name(&e.file_name()))
        .filter_map(|e| Some((e.file_name(), fs::read_link(e.path()).ok()?)))
        .collect()
}

/// The first directory of `threads` to which a link in `path` leads.
fn leads_to(path: &Path, threads: &[ThreadDirectories]) -> Option<PathBuf> {
    let targets: Vec<PathBuf> = links(path).into_iter().map(|(_, target)| target).collect();
    threads
        .iter()
        .flat_map(|t| [&t.packets, &t.index])
        .find(|dir| fs::canonicalize(dir).is_ok_and(|dir| targets.contains(&dir)))
        .cloned()
}

fn read_note(path: &Path) -> Option<Orphan> {
    let text = fs::read(path.join(NOTE)).ok()?;
    let mut parts = text.split(|b| *b == 0);
    let mut numbers = str::from_utf8(parts.next()?).ok()?.split(' ');
    let pid = Pid::from_raw(numbers.next()?.parse().ok().filter(|pid| *pid > 1)?)?;
    let start_ticks = numbers.next()?.parse().ok()?;
    let inode = numbers.next().and_then(|inode| inode.parse().ok());
    let arguments = parts.map(|a| OsString::from_vec(a.to_vec())).collect();
    Some(Orphan { pid, start_ticks, inode, arguments })
}

/// When the process was started, in clock ticks since boot: field 22 of `/proc/PID/stat`. A process that has ended and
/// waits to be reaped counts as gone.
fn start_ticks(pid: Pid) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()))?;
    // The second field, the name in brackets, may hold anything but is the only one that may hold a bracket.
    let mut after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_ascii_whitespace();
    if matches!(after_name.next(), Some("Z" | "X")) {
        return Err(ErrorKind::NotFound.into());
    }
    after_name
        .nth(18)
        .and_then(|t| t.parse().ok())
        .ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "/proc/PID/stat has no start time"))
}

/// What no other process has in common with this one until the next boot, its number and its start aside: the number of its file in
/// pidfs. None before Linux 6.9, and of one that has ended.
fn inode(pidfd: BorrowedFd<'_>) -> Option<u64> {
    /// linux/magic.h
    const PID_FS_MAGIC: u64 = 0x5049_4446;
    let is_pidfs = fstatfs(pidfd).is_ok_and(|fs| u64::try_from(fs.f_type) == Ok(PID_FS_MAGIC));
    let runs = wait_readable(&[pidfd], Duration::ZERO).is_ok_and(|ended| ended == [false]);
    if is_pidfs && runs { fstat(pidfd).ok().map(|stat| stat.st_ino) } else { None }
}

fn inode_of(pid: Pid) -> Option<u64> {
    inode(pidfd_open(pid, PidfdFlags::empty()).ok()?.as_fd())
}

fn random() -> u64 {
    // 32 bits are enough: create_dir refuses a name that is there.
    backoff::random() >> 32
}

#[cfg(test)]
mod tests {
    use std::{
        process::{Command, Stdio},
        thread,
        time::Instant,
    };

    use steno_core::testkit::need;

    use super::*;

    fn threads(root: &Path, n: usize) -> Vec<ThreadDirectories> {
        (0..n)
            .map(|i| {
                let dirs = ThreadDirectories {
                    thread: u32::try_from(i).unwrap(),
                    packets: root.join(format!("p{i}")),
                    index: root.join(format!("i{i}")),
                };
                fs::create_dir_all(&dirs.packets).unwrap();
                fs::create_dir_all(&dirs.index).unwrap();
                dirs
            })
            .collect()
    }

    fn sleeper() -> std::process::Child {
        Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap()
    }

    /// What a daemon that is gone has left. A child that another test has just begun has the lock as well, until it is a program of
    /// its own.
    fn left_behind(base: &Path, threads: &[ThreadDirectories]) -> Vec<(RunDirectory, Orphan)> {
        let begun = Instant::now();
        loop {
            match RunDirectory::left_behind(base, threads) {
                Err(CaptureError::InUse { .. }) if begun.elapsed() < Duration::from_secs(30) => {
                    thread::sleep(Duration::from_millis(5));
                }
                found => return found.unwrap(),
            }
        }
    }

    #[test]
    fn links_lead_into_the_configured_directories() {
        let root = tempfile::tempdir().unwrap();
        let threads = threads(root.path(), 2);
        let dir = RunDirectory::create(root.path(), &threads).unwrap();
        fs::write(dir.path().join("PKT1/x"), "1").unwrap();
        assert_eq!(fs::read(threads[1].packets.join("x")).unwrap(), b"1");
        assert!(dir.is_for(&threads));
        assert!(!dir.is_for(&threads[..1]));
        let mode = fs::metadata(dir.path()).unwrap().mode() & 0o7777;
        assert_eq!(mode, 0o711);
        let path = dir.path().to_owned();
        dir.remove();
        assert!(!path.exists());
        assert_eq!(fs::read(threads[1].packets.join("x")).unwrap(), b"1", "removing links must not follow them");
    }

    #[test]
    fn a_living_process_is_found_again_and_a_dead_one_swept_away() {
        let root = tempfile::tempdir().unwrap();
        let threads = threads(root.path(), 1);
        let dir = RunDirectory::create(root.path(), &threads).unwrap();
        let path = dir.path().to_owned();
        let mut child = sleeper();
        let arguments: Vec<OsString> = vec!["--a=b c".into(), "\n".into()];
        let pid = Pid::from_child(&child);
        dir.note(pid, pidfd_open(pid, PidfdFlags::empty()).unwrap().as_fd(), &arguments).unwrap();
        assert!(
            matches!(RunDirectory::left_behind(root.path(), &threads), Err(CaptureError::InUse { path }) if path == threads[0].packets),
            "its daemon still runs"
        );
        drop(dir);
        let mut found = left_behind(root.path(), &threads);
        assert_eq!(found.len(), 1);
        let (dir, orphan) = found.pop().unwrap();
        assert_eq!((dir.path(), orphan.pid, &orphan.arguments), (&*path, Pid::from_child(&child), &arguments));
        drop(dir);
        child.kill().unwrap();
        let _ = child.wait().unwrap();
        assert!(!orphan.is_alive());
        assert!(left_behind(root.path(), &threads).is_empty());
        assert!(!path.exists());
    }

    #[test]
    fn a_number_that_went_to_another_process_is_not_taken_for_it() {
        let root = tempfile::tempdir().unwrap();
        let threads = threads(root.path(), 1);
        let dir = RunDirectory::create(root.path(), &threads).unwrap();
        let mut child = sleeper();
        let pid = Pid::from_child(&child);
        let ticks = start_ticks(pid).unwrap();
        let noted = |ticks: u64| {
            fs::write(dir.path().join(NOTE), format!("{} {ticks}\0x", pid.as_raw_nonzero())).unwrap();
            read_note(dir.path()).is_some_and(|o| o.is_alive())
        };
        assert!(noted(ticks));
        assert!(!noted(ticks + 1));
        for bad in ["", "1 5", "0 0", "-4 1", "x y", "12"] {
            fs::write(dir.path().join(NOTE), bad).unwrap();
            assert_eq!(read_note(dir.path()), None, "{bad:?}");
        }
        child.kill().unwrap();
        let _ = child.wait().unwrap();
    }

    #[test]
    fn a_process_that_is_not_shown_is_known_by_its_inode() {
        let mut child = sleeper();
        let pid = Pid::from_child(&child);
        let Some(inode) = inode_of(pid) else {
            let _ = need(false, "pidfs (Linux 6.9)");
            child.kill().unwrap();
            let _ = child.wait().unwrap();
            return;
        };
        // What proc(5) shows none of.
        let hidden = |pid: Pid, inode: u64| {
            let known = Orphan { pid, start_ticks: 0, inode: Some(inode), arguments: Vec::new() };
            known.is_still_the_one(Err(ErrorKind::NotFound.into()))
        };
        assert!(hidden(pid, inode));
        assert!(!hidden(pid, inode + 1));
        child.kill().unwrap();
        // It has ended, and is not reaped.
        while inode_of(pid).is_some() {
            thread::sleep(Duration::from_millis(5));
        }
        assert!(!hidden(pid, inode));
        let _ = child.wait().unwrap();
        assert!(!hidden(pid, inode));
    }

    #[test]
    fn directories_of_other_sensors_are_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let mine = threads(&root.path().join("mine"), 1);
        let other = threads(&root.path().join("other"), 1);
        let dir = RunDirectory::create(root.path(), &other).unwrap();
        let path = dir.path().to_owned();
        drop(dir);
        assert!(RunDirectory::left_behind(root.path(), &mine).unwrap().is_empty());
        assert!(path.exists());
        symlink(&path, root.path().join(format!("{PREFIX}link"))).unwrap();
        assert!(!is_ours(&root.path().join(format!("{PREFIX}link"))), "a link is nobody's directory");
    }
}
