//! What a capture process is to be run with, and what is refused before it is started.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{BackoffPolicy, account::Account, directory::RunDirectory};

/// Where one capture thread puts its segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadDirectories {
    /// The thread's place in the configuration, from 0. A capture process that serves only some of the threads counts
    /// them from 0 itself.
    pub thread: u32,
    /// `PacketsDirectory`.
    pub packets: PathBuf,
    /// `IndexDirectory`.
    pub index: PathBuf,
}

/// Where packets come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A network interface, by name.
    Interface(String),
    /// A testimony socket.
    Testimony(PathBuf),
}

impl Source {
    /// What messages and labels call it: the interface's name, or the socket's path.
    pub fn name(&self) -> String {
        match self {
            Self::Interface(name) => name.clone(),
            Self::Testimony(path) => path.display().to_string(),
        }
    }
}

/// How to run one capture process.
#[derive(Clone, Debug)]
pub struct CaptureSettings {
    /// `StenotypePath`.
    pub program: PathBuf,
    /// Where packets come from.
    pub source: Source,
    /// `Flags`, passed on before the flags that the daemon adds, so that those win.
    pub flags: Vec<String>,
    /// `IndexFormat`, where it is configured; passed on to a stenotype that knows it.
    pub index_format: Option<String>,
    /// The directories, one pair a capture thread.
    pub threads: Vec<ThreadDirectories>,
    /// Below which the `--dir` is made.
    pub run_base: PathBuf,
    /// The wait before a restart.
    pub backoff: BackoffPolicy,
    /// How long a capture process may take to seal its files and end, before it is killed. 1.0.1 says "could take ~15
    /// seconds", and on a quiet link never ends at all.
    pub stop_within: Duration,
    /// A process that has said nothing on its control socket for so long is a foreign one.
    pub foreign_after: Duration,
}

impl CaptureSettings {
    /// `program` on `source`, with what every capture process of this daemon shares at its default.
    pub fn new(program: PathBuf, source: Source, threads: Vec<ThreadDirectories>) -> Self {
        Self {
            program,
            source,
            flags: Vec::new(),
            index_format: None,
            threads,
            run_base: run_base(),
            backoff: BackoffPolicy::default(),
            stop_within: Duration::from_secs(20),
            foreign_after: Duration::from_secs(5),
        }
    }

    /// The arguments of a capture process that is given `directory`, in 1.0.1's order: what is configured, then ours.
    pub(super) fn arguments(&self, directory: &Path, pass_index_format: bool) -> Vec<OsString> {
        let flag = |name: &str, value: &dyn AsRef<std::ffi::OsStr>| {
            let mut flag = OsString::from(name);
            flag.push(value.as_ref());
            flag
        };
        let mut arguments: Vec<OsString> = self.flags.iter().map(OsString::from).collect();
        if let Some(format) = self.index_format.as_ref().filter(|_| pass_index_format) {
            arguments.push(flag("--index_format=", format));
        }
        arguments.push(flag("--threads=", &self.threads.len().to_string()));
        arguments.push(match &self.source {
            Source::Interface(name) => flag("--iface=", name),
            Source::Testimony(path) => flag("--testimony=", path),
        });
        arguments.push(flag("--dir=", &directory));
        arguments
    }

    /// Refuses directories that another daemon uses.
    pub(crate) fn refuse_in_use(&self) -> Result<(), CaptureError> {
        // What is found is left to `Capture::start`: dropped here, it is found again.
        RunDirectory::left_behind(&self.run_base, &self.threads).map(drop)
    }

    /// Whether the capture process becomes another user, whose its files are then.
    pub(super) fn is_of_another_user(&self) -> bool {
        Account::of_capture(&self.flags).is_another_user()
    }

    /// Makes the directories that are missing, for the account alone that the capture process will write as.
    pub(crate) fn make_directories(&self) -> Result<(), CaptureError> {
        let account = Account::of_capture(&self.flags);
        for path in self.threads.iter().flat_map(|t| [&t.packets, &t.index]) {
            let failed = |source| CaptureError::Directory { path: path.clone(), source };
            match fs::metadata(path) {
                Ok(there) if there.is_dir() => {}
                Ok(_) => return Err(failed(io::ErrorKind::NotADirectory.into())),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    account.make_directory(path).map_err(failed)?;
                }
                Err(e) => return Err(failed(e)),
            }
        }
        Ok(())
    }
}

/// The service's runtime directory, where the service manager gives it one (systemd.exec(5), RuntimeDirectory=), else the
/// directory for temporary files.
fn run_base() -> PathBuf {
    let given = std::env::var_os("RUNTIME_DIRECTORY").map(PathBuf::from);
    given.filter(|path| path.is_absolute() && path.is_dir()).unwrap_or_else(std::env::temp_dir)
}

/// Why capture cannot be set up at all. What goes wrong later is a state ([`super::ChildState`]), not an error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// A configured directory is not there and cannot be made, or is none.
    #[error("cannot use the directory {path}: {source}; it must be one that this user may write to", path = path.display())]
    Directory {
        /// The configured path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The directory for `--dir` cannot be made or looked through.
    #[error("cannot set up {path} for stenotype: {source}", path = path.display())]
    RunDirectory {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Two daemons on one directory would each delete what the other wrote.
    #[error("another stenographer that is still running captures into {path}; stop it first", path = path.display())]
    InUse {
        /// The directory that both have configured.
        path: PathBuf,
    },
    /// The system gives no thread or file descriptor.
    #[error("cannot run a capture process: {0}")]
    System(#[from] io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> CaptureSettings {
        let dirs =
            |i: u32| ThreadDirectories { thread: i, packets: format!("/p{i}").into(), index: format!("/i{i}").into() };
        let mut settings = CaptureSettings::new(
            "/usr/sbin/stenotype".into(),
            Source::Interface("eth0".into()),
            vec![dirs(0), dirs(1)],
        );
        settings.flags = vec!["-v".into(), "--threads=7".into()];
        settings
    }

    #[test]
    fn our_flags_follow_the_configured_ones() {
        assert_eq!(
            settings().arguments(Path::new("/run/x"), true),
            ["-v", "--threads=7", "--threads=2", "--iface=eth0", "--dir=/run/x"]
        );
    }

    #[test]
    fn the_index_format_goes_to_those_who_know_it() {
        let mut settings = settings();
        settings.index_format = Some("leveldb".into());
        settings.source = Source::Testimony("/tmp/socket".into());
        let expected = ["-v", "--threads=7", "--threads=2", "--testimony=/tmp/socket", "--dir=/d"];
        assert_eq!(settings.arguments(Path::new("/d"), false), expected);
        assert_eq!(settings.arguments(Path::new("/d"), true)[2], "--index_format=leveldb");
    }

    #[test]
    fn a_file_in_a_directory_s_place_is_refused() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("file"), "").unwrap();
        let mut settings = settings();
        settings.threads = vec![ThreadDirectories {
            thread: 0,
            packets: root.path().join("new/packets"),
            index: root.path().join("file"),
        }];
        let error = settings.make_directories().unwrap_err().to_string();
        assert!(error.contains("file: not a directory; it must be one"), "{error}");
        assert!(root.path().join("new/packets").is_dir());
    }
}
