//! Who the process is: accounts by name or number, and the switch to one for good (credentials(7)).

use std::{ffi::CString, io, mem::MaybeUninit, ptr};

use super::check;

/// A user and a group by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Account {
    /// Who the process is now, effectively.
    pub(crate) fn current() -> Self {
        Self { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() }
    }
}

/// The number of a user name, by the system's databases; `None` where there is no such user.
pub(crate) fn user_number(name: &str) -> io::Result<Option<u32>> {
    let name = CString::new(name)?;
    look_up(|buffer| {
        let mut entry = MaybeUninit::<libc::passwd>::uninit();
        let mut found = ptr::null_mut();
        // SAFETY: getpwnam_r(3) reads the name, writes an entry and its texts into the two places given, whose lengths
        // are right, and points `found` at the entry or at nothing.
        let error = unsafe {
            libc::getpwnam_r(name.as_ptr(), entry.as_mut_ptr(), buffer.as_mut_ptr(), buffer.len(), &raw mut found)
        };
        // SAFETY: where `found` points anywhere, it is at `entry`, filled in.
        (error, (!found.is_null()).then(|| unsafe { (*found).pw_uid }))
    })
}

/// The number of a group name, likewise.
pub(crate) fn group_number(name: &str) -> io::Result<Option<u32>> {
    let name = CString::new(name)?;
    look_up(|buffer| {
        let mut entry = MaybeUninit::<libc::group>::uninit();
        let mut found = ptr::null_mut();
        // SAFETY: as in `user_number`.
        let error = unsafe {
            libc::getgrnam_r(name.as_ptr(), entry.as_mut_ptr(), buffer.as_mut_ptr(), buffer.len(), &raw mut found)
        };
        // SAFETY: as in `user_number`.
        (error, (!found.is_null()).then(|| unsafe { (*found).gr_gid }))
    })
}

/// Calls `query` with larger buffers until its texts fit.
fn look_up(mut query: impl FnMut(&mut [libc::c_char]) -> (libc::c_int, Option<u32>)) -> io::Result<Option<u32>> {
    let mut buffer = vec![0; 1 << 10];
    loop {
        match query(&mut buffer) {
            (0, number) => return Ok(number),
            (libc::ERANGE, _) if buffer.len() < 1 << 20 => buffer.resize(buffer.len() * 2, 0),
            (error, _) => return Err(io::Error::from_raw_os_error(error)),
        }
    }
}

/// Becomes `account`, without supplementary groups and without a way back. Nothing happens to a process that is it
/// already. Through glibc, which switches every thread of the process.
pub(crate) fn become_account(account: Account) -> io::Result<()> {
    if account == Account::current() {
        return Ok(());
    }
    // SAFETY: setgroups(2) with a length of zero reads nothing.
    let _ = check(unsafe { libc::setgroups(0, ptr::null()) })?;
    // SAFETY: setresgid(2) takes three numbers.
    let _ = check(unsafe { libc::setresgid(account.gid, account.gid, account.gid) })?;
    // SAFETY: setresuid(2) takes three numbers.
    let _ = check(unsafe { libc::setresuid(account.uid, account.uid, account.uid) })?;
    Ok(())
}
