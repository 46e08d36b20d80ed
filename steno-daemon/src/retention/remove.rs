//! Removes the files of one segment, in the order that never leaves an index without its packets.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use steno_core::SegmentId;

use crate::capture::ThreadDirectories;

/// A file could not be removed, or its removal not be made durable.
#[derive(Debug, thiserror::Error)]
#[error("cannot remove {path}: {source}", path = path.display())]
pub struct RemoveError {
    /// The file, or its directory.
    pub path: PathBuf,
    /// What the system says.
    pub source: io::Error,
}

/// Removes the index of `id` and then its packet file, with the hidden names that a crash may have left. Each directory is
/// synced before the next file goes. What is not there is removed already.
pub(super) fn remove(directories: &ThreadDirectories, id: SegmentId) -> Result<(), RemoveError> {
    for directory in [&directories.index, &directories.packets] {
        let mut removed = false;
        for name in [id.to_string(), id.hidden_name()] {
            let path = directory.join(name);
            match fs::remove_file(&path) {
                Ok(()) => removed = true,
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(RemoveError { path, source }),
            }
        }
        if removed {
            sync(directory)?;
        }
    }
    Ok(())
}

fn sync(directory: &Path) -> Result<(), RemoveError> {
    File::open(directory)
        .and_then(|d| d.sync_all())
        .map_err(|source| RemoveError { path: directory.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_dirs() -> (tempfile::TempDir, ThreadDirectories) {
        let root = tempfile::tempdir().unwrap();
        let directories = ThreadDirectories { thread: 0, packets: root.path().join("p"), index: root.path().join("i") };
        fs::create_dir(&directories.packets).unwrap();
        fs::create_dir(&directories.index).unwrap();
        (root, directories)
    }

    #[test]
    fn all_files_of_the_segment_go_and_no_other() {
        let (_root, dirs) = two_dirs();
        for dir in [&dirs.packets, &dirs.index] {
            for name in ["7", ".7", "77", ".77", "x7"] {
                fs::write(dir.join(name), name).unwrap();
            }
        }
        remove(&dirs, SegmentId(7)).unwrap();
        for dir in [&dirs.packets, &dirs.index] {
            let mut left: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name()).collect();
            left.sort();
            assert_eq!(left, [".77", "77", "x7"]);
        }
        remove(&dirs, SegmentId(7)).unwrap();
    }

    #[test]
    fn an_index_never_outlives_its_packets() {
        let (_root, dirs) = two_dirs();
        fs::write(dirs.index.join("7"), "").unwrap();
        // A directory in the packet file's place cannot be unlinked: the removal stops half-way.
        fs::create_dir(dirs.packets.join("7")).unwrap();
        let error = remove(&dirs, SegmentId(7)).unwrap_err();
        assert_eq!(error.path, dirs.packets.join("7"));
        assert!(!dirs.index.join("7").exists(), "the index must go first");
        // And when the index cannot go, the packets stay.
        let (_root, dirs) = two_dirs();
        fs::write(dirs.packets.join("7"), "").unwrap();
        fs::create_dir(dirs.index.join("7")).unwrap();
        assert!(remove(&dirs, SegmentId(7)).is_err());
        assert!(dirs.packets.join("7").exists());
    }
}
