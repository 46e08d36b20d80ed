//! A packet file while it is written.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::{
    fs::{AtFlags, FallocateFlags, OFlags, StatxFlags, fallocate, fcntl_getfl, fcntl_setfl, statx},
    io::Errno,
};

/// What writes are rounded up to, at the least: file systems have blocks of this size, and make a direct write that ends
/// within one wait for others.
const ALIGN_BYTES_LEAST: u32 = 4096;

/// A packet file that blocks are written into, at any offset and in any order.
#[derive(Debug)]
pub(crate) struct PacketFile {
    file: Arc<File>,
    align_bytes: u32,
    direct: AtomicBool,
}

impl PacketFile {
    /// Creates the file, which must not be there, with mode 0600; for direct writes, where the file system has them.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let _ = options.write(true).create_new(true).mode(0o600);
        let (file, direct) = match options.clone().custom_flags(libc::O_DIRECT).open(path) {
            Ok(file) => (file, true),
            // The file is created before O_DIRECT is refused (open(2), NOTES).
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {
                (options.create_new(false).create(true).open(path)?, false)
            }
            Err(e) => return Err(e),
        };
        // Whoever recovers what was left behind must leave this alone, as long as it is written. Where a file system knows no
        // locks, nothing else than that care is lost.
        let _claimed = steno_index::recover::claim(&file);
        // Without the mark it is recovered as a stranger's is: nothing is cut off.
        let _marked = steno_index::recover::mark(&file);
        Ok(Self { align_bytes: alignment(&file), file: Arc::new(file), direct: AtomicBool::new(direct) })
    }

    /// Has the file system set aside this many bytes, from the start of the file. Nothing but speed is lost where it can't,
    /// which the error says.
    pub(crate) fn preallocate(&self, bytes: u64) -> io::Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        loop {
            match fallocate(&self.file, FallocateFlags::empty(), 0, bytes) {
                Err(Errno::INTR) => {}
                other => return Ok(other?),
            }
        }
    }

    /// Whether writes go past the page cache.
    pub(crate) fn is_direct(&self) -> bool {
        self.direct.load(Ordering::Relaxed)
    }

    /// Writes go through the page cache from now on.
    pub(crate) fn go_through_cache(&self) -> io::Result<()> {
        let flags = fcntl_getfl(&self.file)?;
        fcntl_setfl(&self.file, flags.difference(OFlags::DIRECT))?;
        self.direct.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Bytes to write of a block of `block_bytes` that uses `used_bytes`. The rest of the block stays a hole.
    pub(crate) fn write_bytes(&self, used_bytes: u32, block_bytes: u32) -> u32 {
        used_bytes.checked_next_multiple_of(self.align_bytes).unwrap_or(block_bytes).min(block_bytes)
    }

    /// How far a write that stopped short has come, as far as the next one may start there.
    pub(crate) fn whole_bytes(&self, written_bytes: usize) -> usize {
        let align = if self.is_direct() { self.align_bytes as usize } else { 1 };
        written_bytes - written_bytes.checked_rem(align).unwrap_or(0)
    }

    /// Gives the file its final length: what lies beyond is given back, what is missing is a hole.
    pub(crate) fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }

    pub(crate) fn file(&self) -> &Arc<File> {
        &self.file
    }
}

#[cfg(test)]
impl PacketFile {
    /// A file or device that is there, for buffered writes.
    pub(crate) fn existing(path: &Path) -> Self {
        let file = OpenOptions::new().write(true).open(path).unwrap();
        Self { file: Arc::new(file), align_bytes: ALIGN_BYTES_LEAST, direct: AtomicBool::new(false) }
    }
}

/// What direct writes of this file are to be aligned to (statx(2), STATX_DIOALIGN, since Linux 6.1).
fn alignment(file: &File) -> u32 {
    let said = statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN);
    said.map_or(0, |s| s.stx_dio_offset_align).max(ALIGN_BYTES_LEAST)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn file() -> (tempfile::TempDir, PacketFile) {
        let dir = tempfile::tempdir().unwrap();
        let file = PacketFile::create(&dir.path().join("f")).unwrap();
        (dir, file)
    }

    #[test]
    fn a_block_is_written_as_far_as_it_is_used() {
        let (_dir, file) = file();
        for (used, written) in
            [(48, 4096), (4096, 4096), (4097, 8192), ((1 << 20) - 1, 1 << 20), (1 << 20, 1 << 20), (u32::MAX, 1 << 20)]
        {
            assert_eq!(file.write_bytes(used, 1 << 20), written, "{used} used bytes");
        }
    }

    #[test]
    fn an_existing_file_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "mine").unwrap();
        assert_eq!(PacketFile::create(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).unwrap(), b"mine");
    }

    #[test]
    fn files_are_private_and_get_the_length_they_are_given() {
        let (dir, file) = file();
        file.preallocate(1 << 20)
            .or_else(|e| if e.raw_os_error() == Some(libc::EOPNOTSUPP) { Ok(()) } else { Err(e) })
            .unwrap();
        file.set_len(8192).unwrap();
        let meta = std::fs::metadata(dir.path().join("f")).unwrap();
        assert_eq!((meta.len(), meta.mode() & 0o777), (8192, 0o600));
    }

    #[test]
    fn a_write_that_stops_short_goes_on_where_it_may() {
        let (_dir, file) = file();
        if file.is_direct() {
            assert_eq!(file.whole_bytes(5000), 4096);
            file.go_through_cache().unwrap();
        }
        assert!(!file.is_direct());
        assert_eq!(file.whole_bytes(5000), 5000);
    }
}
