//! The directories of a capture: created where they are missing, and taken back when the capture does not start.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::{DirBuilderExt, chown},
    path::{Path, PathBuf},
};

use crate::{CaptureError, segment::Place, sys::Account};

/// Mode of directories that hold packets.
const PRIVATE: u32 = 0o700;
/// Mode of missing directories above them.
const PUBLIC: u32 = 0o755;

/// Directories that were created. Dropping it removes those of them that are empty, unless [`Self::keep`] was called.
#[derive(Debug, Default)]
pub(super) struct Directories {
    made: Vec<PathBuf>,
}

impl Directories {
    /// Makes `dir` and, for each thread, `PKT<i>` and `IDX<i>` in it, for `owner`. What is there stays as it is.
    ///
    /// # Errors
    /// [`CaptureError::Directory`]; what was created before it is removed.
    pub(super) fn make(dir: &Path, threads: u16, owner: Account) -> Result<(Self, Vec<Place>), CaptureError> {
        let mut made = Self::default();
        made.make_above(dir)?;
        made.make_one(dir, PRIVATE, Some(owner))?;
        let places = (0..threads).map(|thread| {
            let packets_dir = dir.join(format!("PKT{thread}"));
            let index_dir = dir.join(format!("IDX{thread}"));
            made.make_one(&packets_dir, PRIVATE, Some(owner))?;
            made.make_one(&index_dir, PRIVATE, Some(owner))?;
            Ok(Place { packets_dir, index_dir })
        });
        let places = places.collect::<Result<_, CaptureError>>()?;
        Ok((made, places))
    }

    /// The capture has started: they stay.
    pub(super) fn keep(mut self) {
        self.made.clear();
    }

    /// The missing directories above `dir`.
    fn make_above(&mut self, dir: &Path) -> Result<(), CaptureError> {
        let missing: Vec<&Path> =
            dir.ancestors().skip(1).take_while(|above| !above.as_os_str().is_empty() && !above.exists()).collect();
        missing.into_iter().rev().try_for_each(|above| self.make_one(above, PUBLIC, None))
    }

    fn make_one(&mut self, dir: &Path, mode: u32, owner: Option<Account>) -> Result<(), CaptureError> {
        let result = match DirBuilder::new().mode(mode).create(dir) {
            Ok(()) => {
                self.made.push(dir.to_owned());
                owner.map_or(Ok(()), |owner| chown(dir, Some(owner.uid), Some(owner.gid)))
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
            Err(e) => Err(e),
        };
        result.map_err(|source| CaptureError::Directory {
            what: "make the directory",
            path: dir.to_owned(),
            source,
            hint: "give a place where you may write with --dir".to_owned(),
        })
    }
}

impl Drop for Directories {
    fn drop(&mut self) {
        for dir in self.made.drain(..).rev() {
            // One that holds something by now is not ours alone any more.
            let _ = fs::remove_dir(dir);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn me() -> Account {
        Account::current()
    }

    #[test]
    fn missing_directories_are_made_private_and_stay_when_kept() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("a/b/store");
        let (made, places) = Directories::make(&dir, 2, me()).unwrap();
        made.keep();
        assert_eq!(places.len(), 2);
        assert_eq!(places[1].packets_dir, dir.join("PKT1"));
        for private in [&dir, &places[0].packets_dir, &places[0].index_dir, &places[1].index_dir] {
            assert_eq!(fs::metadata(private).unwrap().mode() & 0o777, 0o700, "{}", private.display());
        }
        assert!(fs::metadata(temp.path().join("a")).unwrap().mode() & 0o777 != 0o700);
    }

    #[test]
    fn what_was_made_is_taken_back_and_nothing_else() {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir(temp.path().join("PKT0")).unwrap();
        drop(Directories::make(temp.path(), 2, me()).unwrap());
        let left: Vec<_> = fs::read_dir(temp.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["PKT0"]);

        let dir = temp.path().join("x/y");
        let (made, places) = Directories::make(&dir, 1, me()).unwrap();
        fs::write(places[0].index_dir.join("7"), "").unwrap();
        drop(made);
        assert!(places[0].index_dir.join("7").exists() && !places[0].packets_dir.exists());
    }

    #[test]
    fn a_file_in_the_way_is_named_and_leaves_nothing_behind() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("store");
        fs::write(temp.path().join("f"), "").unwrap();
        let error = Directories::make(&temp.path().join("f"), 1, me()).unwrap_err().to_string();
        assert!(error.contains("/f: ") && error.contains("--dir"), "{error}");
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("IDX0"), "").unwrap();
        assert!(Directories::make(&dir, 1, me()).is_err());
        assert!(!dir.join("PKT0").exists());
    }

    #[test]
    fn a_symbolic_link_to_a_directory_is_one() {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir(temp.path().join("real")).unwrap();
        std::os::unix::fs::symlink("real", temp.path().join("PKT0")).unwrap();
        let (made, _) = Directories::make(temp.path(), 1, me()).unwrap();
        made.keep();
        assert!(temp.path().join("PKT0").is_symlink());
    }
}
