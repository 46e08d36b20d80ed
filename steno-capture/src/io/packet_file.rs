//! A packet file while it is written.

use std::{
    fs::{File, OpenOptions},
    io,
    os::fd::{AsFd, BorrowedFd},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use rustix::{
    fs::{AtFlags, FallocateFlags, StatxFlags, fallocate, statx},
    io::Errno,
};

/// What direct writes are aligned to where the kernel does not say (statx(2), STATX_DIOALIGN, since Linux 6.1).
const ALIGN_BYTES_DEFAULT: u32 = 4096;

/// A packet file that blocks are written into, at any offset and in any order.
#[derive(Debug)]
pub(crate) struct PacketFile {
    file: File,
    align_bytes: u32,
    direct: bool,
}

impl PacketFile {
    /// Creates the file, which must not be there, with mode 0600; for direct writes, where the file system has them.
    pub(crate) fn create(path: &Path, preallocate_bytes: u64) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let _ = options.write(true).create_new(true).mode(0o600);
        let direct = options.clone().custom_flags(libc::O_DIRECT).open(path);
        let (file, direct) = match direct {
            Ok(file) => (file, true),
            // The file is created before O_DIRECT is refused (open(2)).
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) => (options.create_new(false).open(path)?, false),
            Err(e) => return Err(e),
        };
        let created = Self { align_bytes: if direct { alignment(&file) } else { 1 }, file, direct };
        if let Err(e) = created.preallocate(preallocate_bytes) {
            let _ = std::fs::remove_file(path);
            return Err(e);
        }
        Ok(created)
    }

    /// Whether writes go past the page cache.
    pub(crate) fn is_direct(&self) -> bool {
        self.direct
    }

    /// Bytes to write of a block that uses `used` of its `block` bytes.
    pub(crate) fn write_bytes(&self, used: u32, block: u32) -> u32 {
        used.checked_next_multiple_of(self.align_bytes).unwrap_or(block).min(block)
    }

    /// Gives the file its final length: what lies beyond is given back, what is missing is a hole.
    pub(crate) fn finish(self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)?;
        self.file.sync_all()
    }

    fn preallocate(&self, bytes: u64) -> io::Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        match fallocate(&self.file, FallocateFlags::empty(), 0, bytes) {
            // Nothing is lost but speed.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            other => Ok(other?),
        }
    }
}

impl AsFd for PacketFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn alignment(file: &File) -> u32 {
    let said = statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN);
    said.map_or(ALIGN_BYTES_DEFAULT, |s| s.stx_dio_offset_align.max(s.stx_dio_mem_align)).max(512)
}
