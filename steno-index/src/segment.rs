//! A segment's two files: their names, how they are published, and which ones a directory holds
//! (step 5 of the data flow; `docs/format/index.md` section 6).

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use steno_core::SegmentId;

/// The names of a segment's files, hidden while they are written and published afterwards.
///
/// ```
/// use std::path::Path;
/// use steno_core::SegmentId;
/// use steno_index::segment::SegmentPaths;
///
/// let paths = SegmentPaths::new(Path::new("PKT0"), Path::new("IDX0"), SegmentId(1_700_000_000_000_000));
/// assert_eq!(paths.hidden_packet_file(), Path::new("PKT0/.1700000000000000"));
/// assert_eq!(paths.index_file(), Path::new("IDX0/1700000000000000"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentPaths {
    packets_dir: PathBuf,
    index_dir: PathBuf,
    id: SegmentId,
}

impl SegmentPaths {
    /// The files of segment `id` of a thread with these two directories.
    pub fn new(packets_dir: &Path, index_dir: &Path, id: SegmentId) -> Self {
        Self { packets_dir: packets_dir.to_owned(), index_dir: index_dir.to_owned(), id }
    }

    /// The segment.
    pub fn id(&self) -> SegmentId {
        self.id
    }

    /// The packet file.
    pub fn packet_file(&self) -> PathBuf {
        self.packets_dir.join(self.id.to_string())
    }

    /// The index file.
    pub fn index_file(&self) -> PathBuf {
        self.index_dir.join(self.id.to_string())
    }

    /// The packet file while it is written.
    pub fn hidden_packet_file(&self) -> PathBuf {
        self.packets_dir.join(self.id.hidden_name())
    }

    /// The index file while it is written.
    pub fn hidden_index_file(&self) -> PathBuf {
        self.index_dir.join(self.id.hidden_name())
    }

    /// Publishes the two hidden files, which are complete. The data of both goes to disk first, and their names; then
    /// the packet file gets its name, then the index, and the names go to disk. So an index that can be seen has its
    /// packets beside it, whole, whenever power fails.
    ///
    /// # Errors
    /// What the system says, with the file's name; `AlreadyExists` where a file of either name is there: a published
    /// file is never replaced.
    pub fn publish(&self) -> io::Result<()> {
        let (packets, index) = (self.packet_file(), self.index_file());
        for path in [&packets, &index] {
            if path.try_exists()? {
                return Err(named(io::ErrorKind::AlreadyExists.into(), path));
            }
        }
        sync(&self.hidden_packet_file())?;
        sync(&self.hidden_index_file())?;
        self.sync_dirs()?;
        rename(&self.hidden_packet_file(), &packets)?;
        rename(&self.hidden_index_file(), &index)?;
        self.sync_dirs()
    }

    /// Publishes the packet file alone, for a capture that writes no index; in the same order.
    ///
    /// # Errors
    /// As [`Self::publish`].
    pub fn publish_without_index(&self) -> io::Result<()> {
        let packets = self.packet_file();
        if packets.try_exists()? {
            return Err(named(io::ErrorKind::AlreadyExists.into(), &packets));
        }
        sync(&self.hidden_packet_file())?;
        sync(&self.packets_dir)?;
        rename(&self.hidden_packet_file(), &packets)?;
        sync(&self.packets_dir)
    }

    /// Publishes the index of a packet file that has its name already; in the same order.
    ///
    /// # Errors
    /// As [`Self::publish`].
    pub fn publish_index(&self) -> io::Result<()> {
        let index = self.index_file();
        if index.try_exists()? {
            return Err(named(io::ErrorKind::AlreadyExists.into(), &index));
        }
        sync(&self.hidden_index_file())?;
        sync(&self.index_dir)?;
        rename(&self.hidden_index_file(), &index)?;
        sync(&self.index_dir)
    }

    /// Publishes the hidden index in the place of the published one, which gets the name `set_aside` in the same directory. At
    /// every moment one of the two is published.
    ///
    /// # Errors
    /// What the system says, with the file's name.
    pub fn replace_index(&self, set_aside: &Path) -> io::Result<()> {
        let index = self.index_file();
        sync(&self.hidden_index_file())?;
        fs::hard_link(&index, set_aside).map_err(|e| named(e, set_aside))?;
        sync(&self.index_dir)?;
        rename(&self.hidden_index_file(), &index)?;
        sync(&self.index_dir)
    }

    fn sync_dirs(&self) -> io::Result<()> {
        sync(&self.packets_dir)?;
        sync(&self.index_dir)
    }
}

/// The segments whose files a directory holds: published ones and hidden ones, each ascending. Files of other names
/// count for nothing.
///
/// # Errors
/// What the system says, with the directory's name.
pub fn scan_dir(dir: &Path) -> io::Result<(Vec<SegmentId>, Vec<SegmentId>)> {
    let (mut published, mut hidden) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(dir).map_err(|e| named(e, dir))? {
        let name = entry.map_err(|e| named(e, dir))?.file_name();
        let Some(name) = name.to_str() else { continue };
        match name.strip_prefix('.') {
            None => published.extend(name.parse::<SegmentId>()),
            Some(rest) => hidden.extend(rest.parse::<SegmentId>()),
        }
    }
    published.sort_unstable();
    hidden.sort_unstable();
    Ok((published, hidden))
}

fn sync(path: &Path) -> io::Result<()> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|e| named(e, path))
}

fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to).map_err(|e| named(e, from))
}

fn named(error: io::Error, path: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_dirs() -> (tempfile::TempDir, SegmentPaths) {
        let dir = tempfile::tempdir().unwrap();
        let (packets, index) = (dir.path().join("PKT0"), dir.path().join("IDX0"));
        fs::create_dir(&packets).unwrap();
        fs::create_dir(&index).unwrap();
        let paths = SegmentPaths::new(&packets, &index, SegmentId(1_700_000_000_000_000));
        (dir, paths)
    }

    #[test]
    fn publishing_gives_both_files_their_names() {
        let (_dir, paths) = two_dirs();
        fs::write(paths.hidden_packet_file(), "packets").unwrap();
        fs::write(paths.hidden_index_file(), "index").unwrap();
        assert_eq!(scan_dir(&paths.index_dir).unwrap(), (vec![], vec![paths.id()]));
        paths.publish().unwrap();
        assert_eq!(fs::read(paths.packet_file()).unwrap(), b"packets");
        assert_eq!(fs::read(paths.index_file()).unwrap(), b"index");
        for dir in [&paths.packets_dir, &paths.index_dir] {
            assert_eq!(scan_dir(dir).unwrap(), (vec![paths.id()], vec![]));
        }
    }

    #[test]
    fn a_published_file_is_not_replaced() {
        let (_dir, paths) = two_dirs();
        fs::write(paths.hidden_packet_file(), "new").unwrap();
        fs::write(paths.hidden_index_file(), "new").unwrap();
        fs::write(paths.index_file(), "old").unwrap();
        assert_eq!(paths.publish().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(paths.index_file()).unwrap(), b"old");
        assert!(!paths.packet_file().exists(), "nothing may be half published");
    }

    #[test]
    fn without_an_index_nothing_is_published() {
        let (_dir, paths) = two_dirs();
        fs::write(paths.hidden_packet_file(), "packets").unwrap();
        let error = paths.publish().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().contains(".1700000000000000"), "{error}");
        assert!(paths.hidden_packet_file().exists() && !paths.packet_file().exists());
    }

    #[test]
    fn a_scan_tells_names_apart() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["12", "7", ".9", ".3", "x", ".x", "1.idx", "007", ".07", "."] {
            let _ = fs::write(dir.path().join(name), "");
        }
        let ids = |ids: &[u64]| ids.iter().copied().map(SegmentId).collect::<Vec<_>>();
        assert_eq!(scan_dir(dir.path()).unwrap(), (ids(&[7, 12]), ids(&[3, 9])));
        assert!(scan_dir(&dir.path().join("none")).unwrap_err().to_string().contains("none"));
    }
}
