//! The folder of the demo's sensor: temporary, or kept where the user said.

use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::DemoError;

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
    /// [`DemoError::NotEmpty`]; a folder that cannot be made.
    pub(super) fn make(keep: Option<&Path>) -> Result<Self, DemoError> {
        let Some(path) = keep else { return Self::make_temporary() };
        let at = || format!("make the folder {}", path.display());
        fs::create_dir_all(path).map_err(DemoError::at(at()))?;
        if fs::read_dir(path).map_err(DemoError::at(at()))?.next().is_some() {
            return Err(DemoError::NotEmpty { dir: path.to_owned() });
        }
        Ok(Self { path: path.to_owned(), temporary: false })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn is_temporary(&self) -> bool {
        self.temporary
    }

    fn make_temporary() -> Result<Self, DemoError> {
        let parent = std::env::temp_dir();
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

#[cfg(test)]
mod tests {
    use super::{DemoError, Folder};

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
