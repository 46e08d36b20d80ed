//! What the host is called, and the limits of the process.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setpriority_process, setrlimit};

/// The host's name and kernel (uname(2)).
#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) kernel: String,
}

impl Host {
    pub(crate) fn current() -> Self {
        let uname = rustix::system::uname();
        let text = |t: &std::ffi::CStr| t.to_string_lossy().into_owned();
        Self {
            name: text(uname.nodename()),
            kernel: format!("{} {} {}", text(uname.sysname()), text(uname.release()), text(uname.machine())),
        }
    }
}

/// Gives the calling thread this nice level.
pub(crate) fn set_nice_level(level: i32) -> io::Result<()> {
    // On Linux the nice level belongs to the thread (setpriority(2), "C library/kernel differences").
    setpriority_process(None, level).map_err(io::Error::from)
}

/// Lets threads go down to this nice level once the process is not root any more (getrlimit(2), RLIMIT_NICE).
pub(crate) fn allow_nice_level(level: i32) -> io::Result<()> {
    raise(Resource::Nice, u64::try_from(20 - level).unwrap_or_default())
}

/// Lets the process lock, and register for I/O, this much memory more (RLIMIT_MEMLOCK); as much as it likes where it may choose.
/// The kernel counts what is registered for all captures of a user together.
pub(crate) fn allow_locked_memory(bytes: u64) -> io::Result<()> {
    if setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None }).is_ok() {
        return Ok(());
    }
    let now = getrlimit(Resource::Memlock).current;
    now.map_or(Ok(()), |now| raise(Resource::Memlock, now.saturating_add(bytes)))
}

/// Lets the process have as many open files as it may allow itself (RLIMIT_NOFILE): each segment that waits to be published has one.
pub(crate) fn allow_open_files() -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    if raised == limit { Ok(()) } else { Ok(setrlimit(Resource::Nofile, raised)?) }
}

/// Raises a limit to `least`, where it is below that.
fn raise(resource: Resource, least: u64) -> io::Result<()> {
    let limit = getrlimit(resource);
    let at_least = |value: Option<u64>| value.map(|value| value.max(least));
    let raised = Rlimit { current: at_least(limit.current), maximum: at_least(limit.maximum) };
    if raised == limit { Ok(()) } else { Ok(setrlimit(resource, raised)?) }
}
