//! Whether anyone else writes a file: what the kernel knows, and tells to who asks for a lease.

use std::{fs::File, io, os::fd::AsRawFd};

/// Whether some program has `file` open for writing, this one's own `file` left aside.
///
/// The kernel gives a write lease only on a file that nobody else has open (fcntl(2), "Leases"); those who only read it count
/// where the kernel is built with integrity measurement. It is given back at once. `file` is to be open for writing, and a regular file of the caller's own user unless the caller has `CAP_LEASE`.
///
/// # Errors
/// Where it cannot be told: the file is another user's, or its file system knows no leases.
pub fn is_written_elsewhere(file: &File) -> io::Result<bool> {
    match set(file, libc::F_WRLCK) {
        Ok(()) => set(file, libc::F_UNLCK).map(|()| false),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(true),
        Err(e) => Err(e),
    }
}

fn set(file: &File, lease: libc::c_int) -> io::Result<()> {
    // SAFETY: fcntl(2) with F_SETLEASE takes an open descriptor, which `file` holds, and a number; it touches no memory of
    // ours.
    #[expect(unsafe_code, reason = "rustix has no leases")]
    let done = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, lease) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;

    use super::*;

    #[test]
    fn a_file_is_written_elsewhere_as_long_as_it_is_open_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).unwrap();
        assert!(!is_written_elsewhere(&file).unwrap());
        let again = OpenOptions::new().append(true).open(&path).unwrap();
        assert!(is_written_elsewhere(&file).unwrap());
        drop(again);
        // A program that another test starts has it until it is executed.
        while is_written_elsewhere(&file).unwrap() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let device = OpenOptions::new().write(true).open("/dev/null").unwrap();
        assert!(is_written_elsewhere(&device).is_err(), "no lease on what is no regular file");
    }
}
