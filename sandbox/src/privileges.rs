//! What a process gives up of itself: capabilities, core dumps, the attention of debuggers.

use std::{fs, io, os::unix::fs::MetadataExt, path::Path};

pub use rustix::thread::CapabilitySet;
use rustix::{
    fs::{Access, AtFlags, CWD, accessat},
    process::{DumpableBehavior, Resource, Rlimit, geteuid, set_dumpable_behavior, setrlimit},
    thread::{
        CapabilitySets, capabilities, clear_ambient_capability_set, remove_capability_from_bounding_set,
        set_capabilities, set_no_new_privs,
    },
};

/// A crash leaves no packets or keys in a core file, and no other process of the same user reads this one's memory; no program
/// gives privileges back.
///
/// # Errors
/// The first step that the kernel refuses; the others are done nevertheless.
pub fn hide() -> io::Result<()> {
    let no_core = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let hidden = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let kept_low = set_no_new_privs(true);
    Ok(no_core.and(hidden).and(kept_low)?)
}

/// No program that is started from now on has capabilities, whatever its file says. To be called while the process has the
/// privilege to say so; without it nothing is said, and [`hide`] comes to the same.
pub fn bound() {
    CapabilitySet::all().iter().for_each(|one| {
        let _unknown_to_an_older_kernel = remove_capability_from_bounding_set(one);
    });
}

/// Gives up every capability of the calling thread, and of those that it starts, but for what `keep` names once none is in
/// force; gives those that are kept.
///
/// # Errors
/// Where the kernel refuses.
pub fn give_up(keep: impl FnOnce() -> CapabilitySet) -> io::Result<CapabilitySet> {
    // A kernel before 4.3 has none of these.
    let _ = clear_ambient_capability_set();
    let (had, none) = (capabilities(None)?, CapabilitySet::empty());
    set_capabilities(None, CapabilitySets { effective: none, permitted: had.permitted, inheritable: none })?;
    let keep = keep() & had.permitted;
    set_capabilities(None, CapabilitySets { effective: keep, permitted: keep, inheritable: none })?;
    Ok(keep)
}

/// Whether the process, with the capabilities that are in force, reads and writes a directory, and owns all that is in it.
pub fn owns(directory: &Path) -> bool {
    let access = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    if accessat(CWD, directory, access, AtFlags::EACCESS).is_err() {
        return false;
    }
    let Ok(mut files) = fs::read_dir(directory) else { return false };
    let user = geteuid().as_raw();
    files.all(|file| file.and_then(|file| file.metadata()).map_or(true, |file| file.uid() == user))
}
