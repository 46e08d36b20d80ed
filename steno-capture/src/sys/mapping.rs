//! Memory that this process maps: what the kernel shares by a descriptor, or pages of our own.

use std::{
    fmt, io,
    os::fd::{AsRawFd, BorrowedFd},
    ptr::NonNull,
};

/// What huge pages have (x86-64, arm64 with 4 KiB pages); a multiple of every other page size.
const HUGE_BYTES: usize = 2 << 20;

/// A mapping that may be read and written; it ends with this.
pub(super) struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

/// Which pages memory of our own has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PageKind {
    /// Huge ones, of those that were set aside (`vm.nr_hugepages`).
    Huge,
    /// The kernel was asked to join them into huge ones where it can (madvise(2), MADV_HUGEPAGE).
    Joined,
    /// Small ones.
    Small,
}

// SAFETY: the memory belongs to the process, not to a thread, and this type gives only its address away.
unsafe impl Send for Mapping {}
// SAFETY: as for `Send`: nothing is read or written through `&Mapping`.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `len` bytes from `offset` of what the descriptor shares.
    pub(super) fn shared(fd: BorrowedFd<'_>, len: usize, offset: i64, flags: libc::c_int) -> io::Result<Self> {
        Self::new(len, libc::MAP_SHARED | libc::MAP_POPULATE | flags, fd.as_raw_fd(), offset)
    }

    /// At least `len` zeroed bytes of our own, that nobody else has.
    pub(super) fn own(len: usize) -> io::Result<(Self, PageKind)> {
        let len = len.checked_next_multiple_of(HUGE_BYTES).ok_or(io::ErrorKind::OutOfMemory)?;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // Refused where fewer are set aside than are asked for, so that none is missing later.
        if let Ok(mapping) = Self::new(len, flags | libc::MAP_HUGETLB, -1, 0) {
            return Ok((mapping, PageKind::Huge));
        }
        let mapping = Self::new(len, flags, -1, 0)?;
        let (at, len) = (mapping.start.as_ptr().cast(), mapping.len);
        // SAFETY: advice on a mapping of our own, which changes nothing of what it holds.
        let advised = unsafe { libc::madvise(at, len, libc::MADV_HUGEPAGE) };
        Ok((mapping, if advised == 0 { PageKind::Joined } else { PageKind::Small }))
    }

    fn new(len: usize, flags: libc::c_int, fd: libc::c_int, offset: i64) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice takes no memory away from anyone.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, flags, fd, offset) };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(at.cast()).ok_or_else(|| io::Error::other("mmap gave address zero"))?;
        Ok(Self { start, len })
    }

    /// Its first byte.
    pub(super) fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// The address of `offset`, where `bytes` bytes from there on are mapped.
    pub(super) fn place(&self, offset: usize, bytes: usize) -> Option<NonNull<u8>> {
        let inside = offset.checked_add(bytes).is_some_and(|end| end <= self.len);
        // SAFETY: `offset` is within the mapping, by the comparison.
        inside.then(|| unsafe { self.start.add(offset) })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping of `new`, whole. Who uses its memory holds it, directly or by an `Arc`.
        let unmapped = unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
        debug_assert_eq!(unmapped, 0, "a mapping of our own can be unmapped");
    }
}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mapping").field("len", &self.len).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_beyond_the_end_are_none() {
        let (mapping, _) = Mapping::own(5).unwrap();
        assert_eq!(mapping.len, HUGE_BYTES);
        assert!(mapping.place(HUGE_BYTES - 8, 8).is_some() && mapping.place(0, HUGE_BYTES).is_some());
        for (offset, bytes) in [(HUGE_BYTES - 7, 8), (HUGE_BYTES + 1, 0), (usize::MAX, 2)] {
            assert_eq!(mapping.place(offset, bytes), None, "{bytes} bytes at {offset}");
        }
        assert!(Mapping::own(usize::MAX).is_err());
    }
}
