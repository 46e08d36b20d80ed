//! What tells a file from another of its name, and from itself before it was changed: what stat(2) says of it.

use std::{fs::Metadata, os::unix::fs::MetadataExt};

use rustix::{
    fd::AsFd,
    fs::{AtFlags, statat},
};
use steno_core::TimestampNs;

const SECOND_NS: u64 = 1_000_000_000;
/// A change that comes within this may get the same time as the one before it: the clock of a file system ticks every 10 ms at
/// the slowest, whatever its unit.
const TICK_NS: u64 = 50_000_000;
/// The same where times are in whole seconds, or in two of them.
const COARSE_TICK_NS: u64 = 2 * SECOND_NS + TICK_NS;

/// A file or a directory as it was when it was looked at.
///
/// The time of its last change is among it, which nobody can set: who writes into it, renames it or takes its permissions
/// away leaves another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Inode number.
    pub(super) inode: u64,
    /// Length in bytes.
    pub(super) bytes: u64,
    /// When its contents were changed last (`st_mtim`), in nanoseconds since the UNIX epoch.
    pub(super) modified_ns: u64,
    /// When anything of it was changed last (`st_ctim`), likewise.
    pub(super) changed_ns: u64,
}

impl Identity {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified_ns: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            changed_ns: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Of the file of this name in a directory; `None` where it cannot be looked at. It costs half of what a path does, which is gone
    /// through from the root.
    pub(super) fn at(dir: impl AsFd, name: &str) -> Option<Self> {
        let stat = statat(dir, name, AtFlags::empty()).ok()?;
        Some(Self {
            inode: stat.st_ino,
            bytes: u64::try_from(stat.st_size).unwrap_or(0),
            modified_ns: nanoseconds(stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap_or(0)),
            changed_ns: nanoseconds(stat.st_ctime, i64::try_from(stat.st_ctime_nsec).unwrap_or(0)),
        })
    }

    /// Whether a change after `now`, which is not later than this was read, is sure to leave another identity.
    pub(super) fn is_settled(&self, now: TimestampNs) -> bool {
        let is_coarse = self.changed_ns.is_multiple_of(SECOND_NS);
        let settled_ns = self.changed_ns.saturating_add(if is_coarse { COARSE_TICK_NS } else { TICK_NS });
        settled_ns < now.as_ns()
    }
}

/// A time of stat(2); one before the epoch counts as the epoch.
fn nanoseconds(seconds: i64, nanoseconds: i64) -> u64 {
    let whole = u64::try_from(seconds).unwrap_or(0).saturating_mul(SECOND_NS);
    whole.saturating_add(u64::try_from(nanoseconds).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_changed_has_another_identity() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "one").unwrap();
        let read = || Identity::of(&fs::metadata(&path).unwrap());
        let first = read();
        assert_eq!(read(), first);
        std::thread::sleep(std::time::Duration::from_nanos(TICK_NS));
        fs::write(&path, "two").unwrap();
        let second = read();
        assert_ne!(second, first, "the same length in the same place, written again");
        // As a program does that wants nobody to see it.
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        std::thread::sleep(std::time::Duration::from_nanos(TICK_NS));
        fs::write(&path, "six").unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        assert_eq!(read().modified_ns, second.modified_ns);
        assert_ne!(read(), second);
    }

    #[test]
    fn by_its_name_in_a_directory_it_is_the_same_as_by_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let [path, link] = ["file", "link"].map(|name| dir.path().join(name));
        fs::write(&path, "one").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let (opened, expected) = (fs::File::open(dir.path()).unwrap(), Identity::of(&fs::metadata(&path).unwrap()));
        assert_eq!(
            ["file", "link", "none"].map(|name| Identity::at(&opened, name)),
            [Some(expected), Some(expected), None]
        );
        let past = std::time::UNIX_EPOCH - std::time::Duration::from_millis(1500);
        fs::File::options().write(true).open(&path).unwrap().set_modified(past).unwrap();
        let at = Identity::at(&opened, "file").unwrap();
        assert_eq!(at, Identity::of(&fs::metadata(&path).unwrap()));
    }

    #[test]
    fn one_that_has_just_changed_is_not_settled() {
        let file = |changed_ns| Identity { inode: 1, bytes: 2, modified_ns: 3, changed_ns };
        let now = TimestampNs(100 * SECOND_NS);
        for (changed_ns, settled) in [
            (98 * SECOND_NS + 1, true),
            (100 * SECOND_NS - TICK_NS - 1, true),
            (100 * SECOND_NS - TICK_NS + 1, false),
            (100 * SECOND_NS + 1, false),
            (200 * SECOND_NS + 1, false),
            (98 * SECOND_NS, false),
            (97 * SECOND_NS, true),
        ] {
            assert_eq!(file(changed_ns).is_settled(now), settled, "{changed_ns}");
        }
    }
}
