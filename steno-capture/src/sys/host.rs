//! What the host is called, and how important a thread is.

use std::io;

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
    rustix::process::setpriority_process(None, level).map_err(io::Error::from)
}
