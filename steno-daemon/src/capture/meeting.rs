//! Where a capture process that an earlier daemon started finds this one: a socket in its `--dir` at which it calls.
//!
//! Only that process is let in. The socket goes with the directory.

use std::{
    fs::{self, Permissions},
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::PermissionsExt,
    },
    path::Path,
};

use rustix::{
    net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, socket_with,
        sockopt::socket_peercred,
    },
    process::Pid,
};

/// The name of the socket.
pub(super) const NAME: &str = "control";

/// Calls that wait to be taken.
const BACKLOG: i32 = 4;

/// A socket that waits for a call.
#[derive(Debug)]
pub(super) struct MeetingPlace(OwnedFd);

impl MeetingPlace {
    /// In `dir`. One that an earlier daemon left there is replaced.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        let path = dir.join(NAME);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        bind(&socket, &SocketAddrUnix::new(&path)?)?;
        // The process may be another user by now. Who else calls is not let in.
        fs::set_permissions(&path, Permissions::from_mode(0o666))?;
        listen(&socket, BACKLOG)?;
        Ok(Self(socket))
    }

    /// Readable when somebody calls.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// The connection to `pid`, if that has called; never waits.
    pub(super) fn accept(&self, pid: Pid) -> Option<OwnedFd> {
        for _ in 0..BACKLOG {
            let caller = accept_with(&self.0, SocketFlags::CLOEXEC).ok()?;
            if socket_peercred(&caller).is_ok_and(|caller| caller.pid == pid) {
                return Some(caller);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use rustix::{net::connect, process::getpid};

    use super::*;

    #[test]
    fn the_process_that_is_waited_for_is_let_in_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        drop(MeetingPlace::open(dir.path()).unwrap());
        let place = MeetingPlace::open(dir.path()).unwrap();
        let call = || {
            let caller = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
            connect(&caller, &SocketAddrUnix::new(dir.path().join(NAME)).unwrap()).unwrap();
            caller
        };
        assert!(place.accept(getpid()).is_none());
        let _first = call();
        assert!(place.accept(Pid::INIT).is_none());
        let _second = call();
        assert!(place.accept(getpid()).is_some());
        assert!(place.accept(getpid()).is_none());
    }
}
