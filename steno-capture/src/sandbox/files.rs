//! Which files can be opened at all: those of the capture's directories (landlock(7)).
//!
//! The kernel holds the directories themselves, not their names. One that is put into the place of another while the capture
//! runs is a place that it can't get at any more. Then it ends, and says so: whoever starts it again has it in the new place.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::fs::{Access, AtFlags, CWD, accessat};

/// Whether directories are told apart in this process.
static IN_FORCE: AtomicBool = AtomicBool::new(false);
/// A directory that took another's place.
static REPLACED: OnceLock<PathBuf> = OnceLock::new();

/// Lets the process get at nothing but files in `directories`. `false` where the kernel has no Landlock.
///
/// # Errors
/// A directory that is not there, or what the kernel says. Nothing is forbidden then.
pub(super) fn only(directories: &[PathBuf]) -> io::Result<bool> {
    let is_in_force = steno_sandbox::only(directories)?;
    IN_FORCE.store(is_in_force, Ordering::Relaxed);
    Ok(is_in_force)
}

/// Looks at a directory in which something was refused: whether that is because it is not the one of the start.
pub(crate) fn look_at(directory: &Path) {
    if IN_FORCE.load(Ordering::Relaxed) && is_out_of_reach(directory) {
        let _known_already = REPLACED.set(directory.to_owned());
    }
}

/// Whether the rights that the process has would do, and it can't be opened all the same.
fn is_out_of_reach(directory: &Path) -> bool {
    let access = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    let would_do = accessat(CWD, directory, access, AtFlags::EACCESS).is_ok();
    would_do && File::open(directory).is_err_and(|e| e.kind() == io::ErrorKind::PermissionDenied)
}

/// The directory that took another's place, once somebody has run into that.
pub(crate) fn replaced() -> Option<&'static Path> {
    REPLACED.get().map(PathBuf::as_path)
}
