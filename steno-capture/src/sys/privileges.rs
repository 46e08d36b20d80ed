//! Who the process is: accounts by name or number, and the switch to one, first for a trial and then for good
//! (credentials(7)). Through glibc, whose calls switch every thread of the process.

use std::{ffi::CString, io, mem::MaybeUninit, ptr};

use rustix::process::{getegid, geteuid, getgid, getuid};

use super::check;

/// The id that leaves a user or group as it is (setresuid(2)).
const SAME: u32 = u32::MAX;

/// A user and a group by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Account {
    /// Who the process is now, effectively.
    pub(crate) fn current() -> Self {
        Self { uid: geteuid().as_raw(), gid: getegid().as_raw() }
    }

    /// Whether the process is it, really and effectively.
    fn is_ours(self) -> bool {
        self == Self::current() && self == Self { uid: getuid().as_raw(), gid: getgid().as_raw() }
    }
}

/// The process acting as another account, with the way back still open.
///
/// Dropping it goes back; [`Acting::for_good`] stays.
#[derive(Debug)]
pub(crate) struct Acting {
    account: Account,
    /// Who the process was; `None` where that is the same.
    before: Option<Account>,
}

impl Acting {
    /// Acts as `account` from now on, with the supplementary groups of the user `name`, or none. Nothing happens to a
    /// process that is it already: a user namespace of one user may not even set its groups.
    pub(crate) fn begin(account: Account, name: Option<&str>) -> io::Result<Self> {
        if account.is_ours() {
            return Ok(Self { account, before: None });
        }
        match name {
            Some(name) => {
                let name = CString::new(name)?;
                // SAFETY: initgroups(3) reads a NUL-terminated string, which `name` is for the length of the call.
                let _ = check(unsafe { libc::initgroups(name.as_ptr(), account.gid) })?;
            }
            None => {
                // SAFETY: setgroups(2) with a length of zero reads nothing.
                let _ = check(unsafe { libc::setgroups(0, ptr::null()) })?;
            }
        }
        // Made before the ids change, so that a half-made switch is taken back too.
        let acting = Self { account, before: Some(Account::current()) };
        act_as_group(account.gid)?;
        act_as_user(account.uid)?;
        Ok(acting)
    }

    /// Gives up the way back.
    pub(crate) fn for_good(mut self) -> io::Result<()> {
        if self.before.is_none() {
            return Ok(());
        }
        let Account { uid, gid } = self.account;
        // SAFETY: setresgid(2) takes three numbers.
        let _ = check(unsafe { libc::setresgid(gid, gid, gid) })?;
        // SAFETY: setresuid(2) takes three numbers.
        let _ = check(unsafe { libc::setresuid(uid, uid, uid) })?;
        self.before = None;
        if uid != 0 && act_as_user(0).is_ok() {
            return Err(io::Error::other("the way back to root is still open"));
        }
        Ok(())
    }
}

impl Drop for Acting {
    fn drop(&mut self) {
        let Some(before) = self.before else { return };
        // The user first: only root may choose any group. What fails here leaves fewer privileges, not more.
        let _ = act_as_user(before.uid);
        let _ = act_as_group(before.gid);
    }
}

/// A user by name: its number and its group; `None` where the system's databases have none.
pub(crate) fn user_by_name(name: &str) -> io::Result<Option<Account>> {
    let name = CString::new(name)?;
    look_up(|buffer| {
        let mut entry = MaybeUninit::<libc::passwd>::uninit();
        let mut found = ptr::null_mut();
        let (text, len) = (buffer.as_mut_ptr(), buffer.len());
        // SAFETY: getpwnam_r(3) reads the name, writes an entry and its texts into the two places given, whose lengths
        // are right, and points `found` at the entry or at nothing.
        let error = unsafe { libc::getpwnam_r(name.as_ptr(), entry.as_mut_ptr(), text, len, &raw mut found) };
        let account = (!found.is_null()).then(|| {
            // SAFETY: `found` points at `entry`: the call has filled it in.
            let entry = unsafe { entry.assume_init_ref() };
            Account { uid: entry.pw_uid, gid: entry.pw_gid }
        });
        (error, account)
    })
}

/// The number of a group; `None` where the system's databases have none of this name.
pub(crate) fn group_by_name(name: &str) -> io::Result<Option<u32>> {
    let name = CString::new(name)?;
    look_up(|buffer| {
        let mut entry = MaybeUninit::<libc::group>::uninit();
        let mut found = ptr::null_mut();
        let (text, len) = (buffer.as_mut_ptr(), buffer.len());
        // SAFETY: getgrnam_r(3) reads the name, writes an entry and its texts into the two places given, whose lengths
        // are right, and points `found` at the entry or at nothing.
        let error = unsafe { libc::getgrnam_r(name.as_ptr(), entry.as_mut_ptr(), text, len, &raw mut found) };
        let gid = (!found.is_null()).then(|| {
            // SAFETY: `found` points at `entry`: the call has filled it in.
            unsafe { entry.assume_init_ref() }.gr_gid
        });
        (error, gid)
    })
}

/// Calls `query` with larger buffers until its texts fit.
fn look_up<T>(mut query: impl FnMut(&mut [libc::c_char]) -> (libc::c_int, Option<T>)) -> io::Result<Option<T>> {
    let mut buffer = vec![0; 1 << 10];
    loop {
        match query(&mut buffer) {
            (0, found) => return Ok(found),
            (libc::ERANGE, _) if buffer.len() < 1 << 20 => buffer.resize(buffer.len() * 2, 0),
            // What databases say of a name that they do not have (getpwnam(3), ERRORS).
            (libc::ENOENT | libc::ESRCH | libc::EBADF | libc::EPERM, _) => return Ok(None),
            (error, _) => return Err(io::Error::from_raw_os_error(error)),
        }
    }
}

/// Sets the effective user; the real and the saved one stay.
fn act_as_user(uid: u32) -> io::Result<()> {
    // SAFETY: setresuid(2) takes three numbers.
    check(unsafe { libc::setresuid(SAME, uid, SAME) }).map(|_| ())
}

/// Sets the effective group; the real and the saved one stay.
fn act_as_group(gid: u32) -> io::Result<()> {
    // SAFETY: setresgid(2) takes three numbers.
    check(unsafe { libc::setresgid(SAME, gid, SAME) }).map(|_| ())
}
