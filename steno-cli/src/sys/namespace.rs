//! Private user and network namespaces: user_namespaces(7), network_namespaces(7).
//!
//! Owns entering them and saying why the machine refuses. It must not configure anything inside:
//! that is [`super::netlink`].

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::process::{getegid, geteuid};
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// What this process was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isolation {
    /// A user namespace, in which this process is root and nobody else exists, and a network
    /// namespace that belongs to it.
    UserAndNetwork,
    /// A network namespace only: the machine refuses user namespaces, and this process is root.
    NetworkOnly,
}

/// Why there is no private namespace.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum NamespaceError {
    /// The kernel refused.
    #[error("make {what}: {}; {advice}", words_of(*.errno))]
    Refused {
        /// What was asked for.
        what: &'static str,
        /// What the kernel said.
        errno: Errno,
        /// What the reader can do about it.
        advice: String,
    },
    /// `unshare` was called too late.
    #[error("make a private user namespace: the process already has more than one thread (a fault of this program)")]
    Threaded,
    /// The identity map of the new namespace could not be written.
    #[error("write {}: {}; {advice}", .path.display(), words_of(*.errno))]
    Map {
        /// The file of procfs.
        path: PathBuf,
        /// What the kernel said.
        errno: Errno,
        /// What the reader can do about it.
        advice: String,
    },
}

/// Moves this process into a user namespace and a network namespace of its own.
///
/// The caller's user becomes uid 0 of the new user namespace, which gives it every capability over
/// what the new namespaces hold and none over anything else. Must be called while the process has
/// one thread (the kernel's rule for `CLONE_NEWUSER`). Where user namespaces are refused and the
/// caller is root, a network namespace alone is made.
///
/// # Errors
/// [`NamespaceError`], with advice that fits this machine's settings.
pub(crate) fn isolate() -> Result<Isolation, NamespaceError> {
    if threads_of_this_process() > 1 {
        return Err(NamespaceError::Threaded);
    }
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    match unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNET) {
        Ok(()) => {
            // gid_map takes an unprivileged writer only after setgroups(2) is given up.
            write_map("/proc/self/setgroups", "deny")?;
            write_map("/proc/self/uid_map", &format!("0 {uid} 1"))?;
            write_map("/proc/self/gid_map", &format!("0 {gid} 1"))?;
            Ok(Isolation::UserAndNetwork)
        }
        Err(errno) if uid == 0 => match unshare(UnshareFlags::NEWNET) {
            Ok(()) => Ok(Isolation::NetworkOnly),
            Err(_) => Err(refused("a private user and network namespace", errno)),
        },
        Err(errno) => Err(refused("a private user and network namespace", errno)),
    }
}

/// Moves the calling *thread* alone into a new, empty network namespace. Sockets that it opens from
/// now on belong to that namespace, and so do those of threads that it starts.
///
/// # Errors
/// [`NamespaceError::Refused`], where [`isolate`] was not called before, or a limit is reached.
pub(crate) fn enter_network() -> Result<(), NamespaceError> {
    unshare(UnshareFlags::NEWNET).map_err(|errno| refused("a second network namespace", errno))
}

/// A handle of the calling thread's network namespace, good for `IFLA_NET_NS_FD`.
///
/// # Errors
/// Where procfs is not mounted.
pub(crate) fn current_network() -> io::Result<File> {
    File::open("/proc/thread-self/ns/net")
}

fn unshare(flags: UnshareFlags) -> Result<(), Errno> {
    // SAFETY: the one condition of `unshare_unsafe` concerns `UnshareFlags::FILES`, which splits the
    // table of file descriptors; every caller in this file passes only NEWUSER and NEWNET.
    unsafe { unshare_unsafe(flags) }
}

/// How many threads there are, 0 where procfs does not tell.
fn threads_of_this_process() -> usize {
    fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

fn write_map(path: &str, text: &str) -> Result<(), NamespaceError> {
    fs::write(path, text).map_err(|error| NamespaceError::Map {
        path: PathBuf::from(path),
        errno: Errno::from_io_error(&error).unwrap_or(Errno::IO),
        advice: advice(None, &Settings::read(Path::new("/proc/sys"))),
    })
}

fn refused(what: &'static str, errno: Errno) -> NamespaceError {
    let settings = Settings::read(Path::new("/proc/sys"));
    NamespaceError::Refused { what, errno, advice: advice(Some(errno), &settings) }
}

/// The settings of the machine that forbid namespaces, each `None` where the kernel does not have it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Settings {
    unprivileged_userns_clone: Option<u64>,
    apparmor_restrict_unprivileged_userns: Option<u64>,
    max_user_namespaces: Option<u64>,
    max_net_namespaces: Option<u64>,
}

impl Settings {
    /// Reads them below `sysctls`, which is `/proc/sys` but in tests.
    fn read(sysctls: &Path) -> Self {
        let number = |name: &str| fs::read_to_string(sysctls.join(name)).ok()?.trim().parse().ok();
        Self {
            unprivileged_userns_clone: number("kernel/unprivileged_userns_clone"),
            apparmor_restrict_unprivileged_userns: number("kernel/apparmor_restrict_unprivileged_userns"),
            max_user_namespaces: number("user/max_user_namespaces"),
            max_net_namespaces: number("user/max_net_namespaces"),
        }
    }
}

/// The kernel's words for an errno, without the number that means nothing to most readers.
fn words_of(errno: Errno) -> String {
    if errno == Errno::NOSPC {
        // unshare(2) means this by ENOSPC, whose own text speaks of a disk.
        return "the limit of namespaces is reached".to_owned();
    }
    let text = io::Error::from(errno).to_string();
    text.rsplit_once(" (os error").map_or(text.as_str(), |(words, _)| words).to_lowercase()
}

/// One sentence: the setting that forbids it and how to allow it. `errno` is what `unshare` said, if that was refused.
fn advice(errno: Option<Errno>, settings: &Settings) -> String {
    let setting = if settings.unprivileged_userns_clone == Some(0) {
        "kernel.unprivileged_userns_clone is 0: `sudo sysctl -w kernel.unprivileged_userns_clone=1` allows it"
    } else if settings.max_user_namespaces == Some(0) {
        "user.max_user_namespaces is 0: `sudo sysctl -w user.max_user_namespaces=1000` allows it"
    } else if settings.max_net_namespaces == Some(0) {
        "user.max_net_namespaces is 0: `sudo sysctl -w user.max_net_namespaces=1000` allows it"
    } else if settings.apparmor_restrict_unprivileged_userns.is_some_and(|value| value != 0) {
        "kernel.apparmor_restrict_unprivileged_userns is on: \
         `sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0` allows it"
    } else if errno == Some(Errno::NOSPC) {
        "user.max_user_namespaces or user.max_net_namespaces, here or in the container around it, is too low: \
         `sudo sysctl -w user.max_user_namespaces=1000 user.max_net_namespaces=1000` raises both"
    } else {
        "unprivileged user namespaces are forbidden here, by a container's seccomp profile \
         (Docker: --security-opt seccomp=unconfined) or by a limit \
         (sysctl kernel.unprivileged_userns_clone, user.max_user_namespaces, \
         kernel.apparmor_restrict_unprivileged_userns)"
    };
    format!("{setting}, or run `sudo steno demo`, which needs no user namespace")
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::{Settings, advice};

    #[test]
    fn advice_names_the_setting_that_forbids() {
        let mut settings = Settings { max_user_namespaces: Some(96_364), ..Settings::default() };
        let refused = |settings: &Settings| advice(Some(Errno::PERM), settings);
        assert!(refused(&settings).starts_with("unprivileged user namespaces are forbidden here"));
        assert!(advice(Some(Errno::NOSPC), &settings).contains("raises both"));
        settings.apparmor_restrict_unprivileged_userns = Some(1);
        assert!(refused(&settings).contains("sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"));
        settings.max_net_namespaces = Some(0);
        assert!(refused(&settings).contains("sysctl -w user.max_net_namespaces="));
        settings.max_user_namespaces = Some(0);
        assert!(refused(&settings).contains("sysctl -w user.max_user_namespaces="));
        settings.unprivileged_userns_clone = Some(0);
        assert!(refused(&settings).contains("sysctl -w kernel.unprivileged_userns_clone=1"));
        assert!(refused(&settings).ends_with("or run `sudo steno demo`, which needs no user namespace"));
    }

    #[test]
    fn settings_are_read_from_their_files() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("kernel")).unwrap();
        std::fs::create_dir(root.path().join("user")).unwrap();
        std::fs::write(root.path().join("kernel/unprivileged_userns_clone"), "0\n").unwrap();
        std::fs::write(root.path().join("user/max_user_namespaces"), "96364\n").unwrap();
        let expected =
            Settings { unprivileged_userns_clone: Some(0), max_user_namespaces: Some(96_364), ..Settings::default() };
        assert_eq!(Settings::read(root.path()), expected);
    }
}
