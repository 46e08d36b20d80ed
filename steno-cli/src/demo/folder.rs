//! The folder of the demo's sensor: temporary, or kept where the user said.

use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::DemoError;
use super::daemon::DISK_FREE_PERCENT;

/// Where a temporary folder goes when there is no room where it belongs: as durable, or in memory.
const ELSEWHERE: [&str; 2] = ["/var/tmp", "/dev/shm"];
/// What the demo writes, and what its sensor keeps free for what it writes next (docs/OPERATING.md, retention).
const NEEDED_BYTES: u64 = 96 << 20;

/// A store folder. Dropping it removes a temporary one with all it holds.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    temporary: bool,
}

impl Folder {
    /// The folder `keep`, made where it is missing; without one, a new temporary folder that no other
    /// user can read.
    ///
    /// # Errors
    /// [`DemoError::NotEmpty`]; [`DemoError::NoRoom`]; a folder that cannot be made.
    pub(super) fn make(keep: Option<&Path>) -> Result<Self, DemoError> {
        let Some(path) = keep else { return Self::make_temporary() };
        let at = || format!("make the folder {}", path.display());
        fs::create_dir_all(path).map_err(DemoError::at(at()))?;
        if fs::read_dir(path).map_err(DemoError::at(at()))?.next().is_some() {
            return Err(DemoError::NotEmpty { dir: path.to_owned() });
        }
        match has_room(path) {
            Ok(false) => Err(DemoError::NoRoom { dir: path.to_owned(), how: "--keep" }),
            _ => Ok(Self { path: path.to_owned(), temporary: false }),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn is_temporary(&self) -> bool {
        self.temporary
    }

    fn make_temporary() -> Result<Self, DemoError> {
        let parent = place_with_room(std::env::temp_dir(), &ELSEWHERE.map(Path::new))?;
        let at = || format!("make a folder in {} (TMPDIR names another place)", parent.display());
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.subsec_nanos());
        // mkdir refuses a name that exists, whoever made it: a taken name is stepped over, never used.
        for attempt in 0..100u32 {
            let path = parent.join(format!("steno-demo-{}-{}", std::process::id(), nanos.wrapping_add(attempt)));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self { path, temporary: true }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(DemoError::at(at())(error)),
            }
        }
        Err(DemoError::at(at())(io::Error::from(io::ErrorKind::AlreadyExists)))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.temporary
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            // Standard error may be gone; then nobody is left to be told.
            let _ = writeln!(io::stderr(), "warning: failed to remove {}: {error}", self.path.display());
        }
    }
}

/// Where a temporary folder is to be made: in `first`, unless it has no room and another place has.
fn place_with_room(first: PathBuf, others: &[&Path]) -> Result<PathBuf, DemoError> {
    // What cannot be measured is told of when the folder is made.
    if has_room(&first).unwrap_or(true) {
        return Ok(first);
    }
    match others.iter().find(|place| has_room(place).unwrap_or(false)) {
        Some(place) => Ok((*place).to_owned()),
        None => Err(DemoError::NoRoom { dir: first, how: "TMPDIR" }),
    }
}

/// Whether the sensor can keep there what it captures: with too little free on a disk it removes its oldest files, whoever has
/// filled it.
fn has_room(dir: &Path) -> io::Result<bool> {
    let disk = rustix::fs::statvfs(dir)?;
    let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
    Ok(is_room(bytes(disk.f_bavail), bytes(disk.f_blocks)))
}

/// The sensor counts whole per cent: it is content with one more than it keeps free.
fn is_room(available_bytes: u64, total_bytes: u64) -> bool {
    let kept_free = (total_bytes / 100).saturating_mul(DISK_FREE_PERCENT + 1);
    available_bytes >= kept_free.saturating_add(NEEDED_BYTES)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{DemoError, Folder, NEEDED_BYTES, is_room, place_with_room};

    #[test]
    fn there_is_room_where_the_sensor_would_remove_nothing() {
        const GIB: u64 = 1 << 30;
        let total = 100 * GIB;
        assert!(is_room(2 * GIB + NEEDED_BYTES, total) && !is_room(2 * GIB + NEEDED_BYTES - 1, total));
        assert!(is_room(GIB, GIB) && !is_room(64 << 20, GIB) && !is_room(64 << 20, 64 << 20));
        assert!(!is_room(0, 0));
    }

    #[test]
    fn a_place_without_room_is_left_for_one_that_has_some() {
        let roomy = tempfile::tempdir().unwrap();
        // A file system of the kernel that has no blocks at all.
        let (full, roomy) = (Path::new("/proc"), roomy.path());
        assert_eq!(place_with_room(full.to_owned(), &[full, roomy]).unwrap(), roomy);
        assert_eq!(place_with_room(roomy.to_owned(), &[full]).unwrap(), roomy);
        let error = place_with_room(full.to_owned(), &[full, Path::new("/no such place")]).unwrap_err();
        assert!(matches!(&error, DemoError::NoRoom { how: "TMPDIR", .. }), "{error}");
        let nowhere = Path::new("/no such place");
        assert_eq!(place_with_room(nowhere.to_owned(), &[roomy]).unwrap(), nowhere, "which its making tells of");
    }

    #[test]
    fn a_temporary_folder_is_private_and_goes_with_its_files() {
        use std::os::unix::fs::PermissionsExt;
        let folder = Folder::make(None).unwrap();
        let path = folder.path().to_owned();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        std::fs::write(path.join("file"), "x").unwrap();
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn a_kept_folder_stays_and_must_be_empty() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        let folder = Folder::make(Some(&path)).unwrap();
        assert!(!folder.is_temporary());
        std::fs::write(path.join("file"), "x").unwrap();
        drop(folder);
        assert!(path.join("file").exists());
        assert!(matches!(Folder::make(Some(&path)), Err(DemoError::NotEmpty { .. })));
    }
}
