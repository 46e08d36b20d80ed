//! The steps, in their order, and what is told of them.

use std::{io, panic, path::PathBuf, sync::OnceLock};

use rustix::{
    fs::Mode,
    process::{geteuid, umask},
    time::{ClockId, clock_gettime},
};
use steno_sandbox::{CapabilitySet, Filter, Otherwise, give_up, hide, owns};

use super::{
    calls::{self, Role},
    files,
};
use crate::{
    Seccomp,
    console::{debug, error, warning},
    error::words,
};

/// What becomes of a call that is in no list, once the process is confined.
static OTHERWISE: OnceLock<Otherwise> = OnceLock::new();

/// Confines the process to capturing into `directories`. To be called once all sockets are open, by its only thread: those
/// that it starts inherit it. Never fails: what the system does not offer is told in the log, and goes without.
pub fn confine(directories: &[PathBuf], mode: Seccomp) {
    panic_in_the_log();
    // Where the clock is read without a call is looked up once, on older kernels in a file.
    let _ = clock_gettime(ClockId::Monotonic);
    // Files are the owner's, whatever mode they are made with, and whatever who starts the capture has set.
    let _before = umask(Mode::RWXG | Mode::RWXO);
    if let Err(e) = hide() {
        warning!("this process is not hidden from others of its user: {}", words(&e));
    }
    match give_up(|| what_root_needs(directories)) {
        Ok(kept) if kept.is_empty() => {}
        Ok(_) => warning!(
            "as root, this process keeps the capability to read and write what is another user's: there is such in its \
             directories; give that user with --uid, or give them to root (chown)"
        ),
        Err(e) => warning!("this process keeps its capabilities: {}", words(&e)),
    }
    match files::only(directories) {
        Ok(true) => debug!("no files but those of {} directories can be got at", directories.len()),
        Ok(false) => warning!("this kernel has no Landlock: other files than those captured are not out of reach"),
        Err(e) => warning!("other files than those captured are not out of reach: {}", words(&e)),
    }
    let Some(otherwise) = otherwise(mode) else {
        return debug!("no system call is forbidden, as asked (--seccomp=none)");
    };
    let installed = Filter::allow(calls::base(), otherwise).and_then(|filter| filter.apply_to_all_threads());
    match installed {
        Ok(()) => {
            debug!("system calls that a capture has no use for are forbidden");
            let _ = OTHERWISE.set(otherwise);
        }
        Err(e) => warning!("no system call is forbidden: {}", words(&e)),
    }
}

/// Narrows the calling thread to what threads of its kind do. Does nothing in a process that is not confined.
pub fn keep_to(role: Role) {
    let Some(otherwise) = OTHERWISE.get() else { return };
    if let Err(e) = install(role, *otherwise) {
        warning!("this thread may make every call that the process may: {}", words(&e));
    }
}

fn install(role: Role, otherwise: Otherwise) -> io::Result<()> {
    let refused = calls::refused(role);
    if !refused.is_empty() {
        let fail = if otherwise == Otherwise::Log { otherwise } else { Otherwise::Fail(libc::EACCES) };
        // Before the other, which does not let another one be installed.
        Filter::refuse(refused.iter(), fail)?.apply()?;
    }
    Filter::allow(calls::calls(role), otherwise)?.apply()
}

/// As root, what others have put into the directories is not to be had without capabilities: read and written, and asked
/// whether anybody writes it.
fn what_root_needs(directories: &[PathBuf]) -> CapabilitySet {
    if !geteuid().is_root() || directories.iter().all(|directory| owns(directory)) {
        return CapabilitySet::empty();
    }
    CapabilitySet::DAC_OVERRIDE | CapabilitySet::LEASE
}

/// 1.0.1 has a tracer told; without one its call fails, and the capture with it. Here the kernel's log is told, and the call
/// is made.
const fn otherwise(mode: Seccomp) -> Option<Otherwise> {
    match mode {
        Seccomp::None => None,
        Seccomp::Trace => Some(Otherwise::Log),
        Seccomp::Kill => Some(Otherwise::Kill),
    }
}

/// A panic is told without the calls that led to it: to name those, the program's own file would have to be read.
fn panic_in_the_log() {
    panic::set_hook(Box::new(|panic| error!("{panic}")));
}
