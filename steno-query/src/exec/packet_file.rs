//! A packet file that is read for an answer, and what its reads leave in the page cache.

use std::{
    cell::Cell,
    fs::File,
    io::{self, IoSliceMut},
    os::unix::fs::FileExt,
};

use rustix::io::{Errno, ReadWriteFlags, preadv2};

use crate::store::{Fault, Segment};

/// RWF_DONTCACHE (linux/fs.h, since Linux 6.14): the pages that a read brings into the page cache leave it with its end; those that
/// were there before stay.
const RWF_DONTCACHE: ReadWriteFlags = ReadWriteFlags::from_bits_retain(0x80);

/// A packet file and its length.
#[derive(Debug)]
pub(crate) struct PacketFile {
    pub(super) file: File,
    pub(super) bytes: u64,
    /// Whether reads leave nothing in the page cache.
    passing: Cell<bool>,
}

impl PacketFile {
    pub(super) fn open(segment: &Segment) -> Result<Self, Fault> {
        let open = || {
            let file = segment.open_packet_file()?;
            let bytes = file.metadata()?.len();
            Ok(Self { file, bytes, passing: Cell::new(false) })
        };
        open().map_err(|e: io::Error| Fault::of_io(&e))
    }

    /// Has reads leave nothing in the page cache that was not there, where the kernel and the file system know how to.
    pub(super) fn pass_by(&self, passing: bool) {
        self.passing.set(passing);
    }

    /// Reads all of `into` from `offset_bytes` on.
    ///
    /// # Errors
    /// As [`FileExt::read_exact_at`].
    pub(super) fn read_exact_at(&self, into: &mut [u8], offset_bytes: u64) -> io::Result<()> {
        let mut had = 0;
        while self.passing.get() && had < into.len() {
            let (rest, at) = (into.get_mut(had..).unwrap_or_default(), offset_bytes.saturating_add(had as u64));
            match preadv2(&self.file, &mut [IoSliceMut::new(rest)], at, RWF_DONTCACHE) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(more) => had += more,
                Err(Errno::INTR) => {}
                // An older kernel, another file system, a filter of system calls: read as ever, and what is wrong is told then.
                Err(_) => self.passing.set(false),
            }
        }
        let rest = into.get_mut(had..).unwrap_or_default();
        self.file.read_exact_at(rest, offset_bytes.saturating_add(had as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_the_same_either_way() {
        let whole: Vec<u8> = (0..200_000u32).map(|i| i.to_le_bytes()[1]).collect();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &whole).unwrap();
        for passing in [false, true] {
            let file = File::open(file.path()).unwrap();
            let file = PacketFile { file, bytes: 200_000, passing: Cell::new(passing) };
            for (from, len) in [(0, 1), (4_095, 2), (1, 199_999), (200_000, 0)] {
                let mut bytes = vec![0; len];
                file.read_exact_at(&mut bytes, from as u64).unwrap();
                assert!(bytes == whole[from..from + len], "{len} from {from}, {passing}");
            }
            let mut too_many = vec![0; 10];
            let e = file.read_exact_at(&mut too_many, 199_995).unwrap_err();
            assert_eq!(e.kind(), io::ErrorKind::UnexpectedEof);
        }
    }
}
