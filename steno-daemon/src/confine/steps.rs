//! The steps, in their order, and what is told of them.

use std::{
    env, io,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Access, AtFlags, CWD, accessat},
    process::{DumpableBehavior, Resource, Rlimit, geteuid, set_dumpable_behavior, setrlimit},
    thread::{capabilities, set_name, set_no_new_privs},
};
use steno_sandbox::{CapabilitySet, Filter, Others, Otherwise, Use, bound, give_up, libc, owns, reach};
use tracing::{debug, warn};

use super::calls::{CALLS, CLONE3, NOT_TO_START_WITH};

/// What the daemon keeps files in, and what it reads.
#[derive(Clone, Debug, Default)]
pub struct Reach {
    /// Directories of packets and indexes: read, written, and removed from.
    pub stores: Vec<PathBuf>,
    /// Others that it writes into.
    pub kept: Vec<PathBuf>,
    /// In which it removes directories of its own once they are empty.
    pub emptied: Vec<PathBuf>,
    /// Files that are read again when they change: certificates, keys, lists.
    pub read: Vec<PathBuf>,
    /// Whether what is captured is another user's, for a daemon that is root.
    pub has_files_of_others: bool,
}

/// What libraries ask the system about itself: the number of processors, memory, the process; times of the log.
const ABOUT_THE_SYSTEM: [&str; 5] =
    ["/proc", "/sys/devices/system", "/sys/fs/cgroup", "/usr/share/zoneinfo", "/etc/localtime"];

/// Keys are in the memory of this process: it leaves no core file, and no other process of its user looks into it.
pub fn hide() {
    let no_core = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    if let Err(e) = no_core.and(set_dumpable_behavior(DumpableBehavior::NotDumpable)) {
        warn!("this process is not hidden from others of its user: {e}");
    }
}

/// Confines the process to serving what is within `to`: to be called by its only thread, so that those that it starts inherit it.
/// Never fails.
pub fn serve_only(to: &Reach) {
    bound();
    let told = |what: &str, step: io::Result<()>| {
        if let Err(e) = step {
            warn!("{what}: {e}");
        }
    };
    told("programs may give this process privileges", set_no_new_privs(true).map_err(Into::into));
    told("this process keeps its capabilities", give_up(|| what_root_needs(to)).map(tell_kept));
    match reach(&to.places(), others()) {
        Ok(true) => debug!("no files but those of the sensor can be got at"),
        Ok(false) => warn!("this kernel has no Landlock: other files than the sensor's are not out of reach"),
        Err(e) => warn!("other files than the sensor's are not out of reach: {e}"),
    }
    // C libraries then start threads by clone, whose flags can be looked at.
    let filtered = Filter::refuse(CLONE3.iter(), Otherwise::Fail(libc::ENOSYS))
        .and_then(|filter| filter.apply())
        .and_then(|()| Filter::allow(CALLS.iter(), Otherwise::Fail(libc::EPERM))?.apply());
    told("no system call is forbidden", filtered);
}

/// Confines the launcher. What it starts inherits this, whatever it is: so only what nothing that captures has a use for is taken
/// away, and only where it has privileges itself. A stenotype whose file gives it capabilities has to get them.
pub(crate) fn launcher() {
    let _kept_as_it_was = set_name(c"launcher");
    let _to_others_of_its_user = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let is_privileged = capabilities(None).is_ok_and(|has| has.effective.contains(CapabilitySet::NET_RAW));
    if is_privileged && set_no_new_privs(true).is_ok() {
        // What cannot be had is told by the daemon, which asks for the same.
        let _ =
            Filter::refuse(NOT_TO_START_WITH.iter(), Otherwise::Fail(libc::EPERM)).and_then(|filter| filter.apply());
    }
}

fn tell_kept(kept: CapabilitySet) {
    if !kept.is_empty() {
        warn!(
            "as root, this process keeps the capability to read and remove what is another user's, in the directories of \
             the sensor; run it as the user that packets and keys belong to"
        );
    }
}

/// As root, with a stenotype that is another user: files of that one are read and removed.
fn what_root_needs(to: &Reach) -> CapabilitySet {
    let is_mine = |path: &PathBuf| accessat(CWD, path, Access::READ_OK, AtFlags::EACCESS).is_ok() || !path.exists();
    let has_others =
        to.has_files_of_others || !to.stores.iter().all(|store| owns(store)) || !to.read.iter().all(is_mine);
    if geteuid().is_root() && has_others {
        CapabilitySet::DAC_OVERRIDE | CapabilitySet::LEASE
    } else {
        CapabilitySet::empty()
    }
}

/// A service manager that is told over an abstract socket is to be told.
fn others() -> Others {
    let is_abstract = env::var_os("NOTIFY_SOCKET").is_some_and(|socket| socket.as_encoded_bytes().starts_with(b"@"));
    if is_abstract { Others::Called } else { Others::OutOfReach }
}

impl Reach {
    fn places(&self) -> Vec<(PathBuf, Use)> {
        let about_the_system = ABOUT_THE_SYSTEM.iter().map(PathBuf::from);
        // Where a file is exchanged, it is another one by the same name, and so may be the directory that it is in; where it is a
        // link, what that leads to is read.
        let with_targets = self.read.iter().flat_map(|path| [Some(path.clone()), path.canonicalize().ok()]).flatten();
        let read = with_targets.filter_map(|path| directory_of(&path)).flat_map(|directory| {
            let above = directory.parent().filter(|above| above.parent().is_some()).map(Path::to_owned);
            [Some(directory), above].into_iter().flatten()
        });
        let all = self.stores.iter().chain(&self.kept).cloned().map(|path| (path, Use::Keep));
        let all = all.chain(self.emptied.iter().cloned().map(|path| (path, Use::Empty)));
        let all = all.chain(about_the_system.chain(read).map(|path| (path, Use::Read)));
        all.filter(|(path, _)| path.exists()).collect()
    }
}

/// The directory that a file is in.
pub(crate) fn directory_of(path: &Path) -> Option<PathBuf> {
    let parent = path.parent()?;
    Some(if parent.as_os_str().is_empty() { PathBuf::from(".") } else { parent.to_owned() })
}
