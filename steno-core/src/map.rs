//! A whole file as read-only memory: the one unsafe operation of this crate.

use std::{fs::File, io, ops::Deref};

use memmap2::Mmap;

/// A read-only map of a file, as long as the file was when it was opened.
///
/// Only for files that nobody changes any more (published index files): the bytes of a shared map follow the file, and
/// reading past the end of a file that was cut since raises SIGBUS (mmap(2)). Publishing by rename, and retention by
/// unlink, leave a mapped file whole.
#[derive(Debug)]
pub struct FileMap(Mmap);

impl FileMap {
    /// Maps `file` from its first byte to its last. An empty file gives an empty slice.
    ///
    /// # Errors
    /// What fstat(2) and mmap(2) say.
    pub fn open(file: &File) -> io::Result<Self> {
        // SAFETY: `map` asks that the file is not changed while the map lives. Published files are never written in
        // place: the writers of this workspace build under a hidden name and rename (`steno_index::segment`). A foreign
        // writer could change bytes under us; readers therefore hold no invariant on the bytes between two reads, check
        // what they read each time they decode it, and never make a `str` or an enum of them by transmutation.
        #[expect(unsafe_code, reason = "memmap2 offers no safe constructor; the condition is discharged above")]
        unsafe { Mmap::map(file) }.map(Self)
    }
}

impl Deref for FileMap {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn maps_what_was_written_and_nothing_of_an_empty_file() {
        let mut file = tempfile::tempfile().unwrap();
        assert!(FileMap::open(&file).unwrap().is_empty());
        file.write_all(b"steno").unwrap();
        assert_eq!(&*FileMap::open(&file).unwrap(), b"steno");
    }
}
