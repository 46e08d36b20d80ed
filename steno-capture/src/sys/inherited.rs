//! A socket that whoever started the process left open for it.

use std::{
    io,
    os::fd::{BorrowedFd, RawFd},
};

use rustix::{
    io::{FdFlags, fcntl_getfd, fcntl_setfd},
    net::{AddressFamily, SocketType, sockopt},
};

use super::check;

/// The socket with this number, of this family and type; programs that this process starts do not get it. To be called
/// before the process opens anything itself, or the number might be of something that another part of it closes.
pub(crate) fn inherited_socket(
    number: RawFd,
    family: AddressFamily,
    kind: SocketType,
) -> io::Result<BorrowedFd<'static>> {
    // SAFETY: fcntl(2) with F_GETFD takes a number, open or not, and changes nothing.
    let _ = check(unsafe { libc::fcntl(number, libc::F_GETFD) })?;
    // SAFETY: the descriptor is open, as the call before has shown, and so not -1. It stays open as long as the process
    // runs: it was open before this process opened anything, so that no owner in it will close it.
    let socket = unsafe { BorrowedFd::borrow_raw(number) };
    if sockopt::socket_domain(socket)? != family || sockopt::socket_type(socket)? != kind {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a socket of another kind"));
    }
    fcntl_setfd(socket, fcntl_getfd(socket)? | FdFlags::CLOEXEC)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::fd::AsRawFd};

    use rustix::net::{SocketFlags, socketpair};

    use super::*;

    fn take(number: RawFd) -> io::Result<BorrowedFd<'static>> {
        inherited_socket(number, AddressFamily::UNIX, SocketType::SEQPACKET)
    }

    #[test]
    fn a_socket_of_the_right_kind_is_taken_and_kept_from_programs() {
        let (ours, _theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::empty(), None).unwrap();
        assert!(!fcntl_getfd(&ours).unwrap().contains(FdFlags::CLOEXEC));
        let taken = take(ours.as_raw_fd()).unwrap();
        assert_eq!(taken.as_raw_fd(), ours.as_raw_fd());
        assert!(fcntl_getfd(&ours).unwrap().contains(FdFlags::CLOEXEC));
    }

    #[test]
    fn what_is_no_such_socket_is_left_as_it_is() {
        assert_eq!(take(-1).unwrap_err().raw_os_error(), Some(libc::EBADF));
        assert_eq!(take(1_000_000).unwrap_err().raw_os_error(), Some(libc::EBADF));
        assert_eq!(
            take(File::open("/dev/null").unwrap().as_raw_fd()).unwrap_err().raw_os_error(),
            Some(libc::ENOTSOCK)
        );
        let (datagrams, _other) =
            socketpair(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::empty(), None).unwrap();
        let error = take(datagrams.as_raw_fd()).unwrap_err();
        assert_eq!(error.to_string(), "it is a socket of another kind");
        assert!(!fcntl_getfd(&datagrams).unwrap().contains(FdFlags::CLOEXEC));
    }
}
