//! The bytes of a file, given out only where their page's checksum has been compared.

use std::{
    fmt,
    fs::File,
    ops::Deref,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use steno_core::{FileMap, crc32c};

use crate::{
    IndexError,
    format::{PAGE_BYTES, Section},
    le::{array, u32_at},
};

/// A file's bytes, wherever they are.
pub(crate) enum Bytes {
    Map(FileMap),
    Owned(Vec<u8>),
}

impl Bytes {
    /// Those of the file at `path`, over a memory map.
    pub(crate) fn open(path: &Path) -> Result<Self, IndexError> {
        let map = File::open(path).and_then(|file| FileMap::open(&file));
        map.map(Self::Map).map_err(|source| IndexError::Open { path: path.to_owned(), source })
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Map(map) => map,
            Self::Owned(bytes) => bytes,
        }
    }
}

/// A file, and which of its pages have been checked.
pub(crate) struct Pages {
    bytes: Bytes,
    /// Where the pages end and the table of their checksums starts.
    table: u64,
    /// A bit a page. Threads that race for a page check it twice, and agree.
    checked: Vec<AtomicU64>,
}

impl Pages {
    pub(super) fn new(bytes: Bytes) -> Self {
        Self { bytes, table: 0, checked: Vec::new() }
    }

    /// All bytes, unchecked: for the parts of the file that have checksums of their own.
    pub(super) fn unchecked(&self) -> &[u8] {
        &self.bytes
    }

    /// Says where the page table starts, from which on [`Self::get`] gives out what lies before it.
    pub(super) fn set_table(&mut self, offset: u64, pages: u32) {
        self.table = offset;
        self.checked.clear();
        self.checked.resize_with(pages.div_ceil(u64::BITS) as usize, AtomicU64::default);
    }

    /// The bytes from `offset` on.
    ///
    /// # Errors
    /// [`IndexError::Checksum`] where a page of them is damaged; [`IndexError::Corrupt`] where they lie behind the
    /// pages.
    #[inline]
    pub(crate) fn get(&self, offset: u64, len: u64) -> Result<&[u8], IndexError> {
        let end = offset.checked_add(len).filter(|&end| end <= self.table);
        let end = end.ok_or_else(|| IndexError::corrupt("pages", "a place outside of the sections", offset))?;
        if len > 0 {
            let page = u64::from(PAGE_BYTES);
            for no in offset / page..=(end - 1) / page {
                self.check(no)?;
            }
        }
        Ok(self.slice(offset, end))
    }

    /// `N` bytes from `offset` on.
    ///
    /// # Errors
    /// As [`Self::get`].
    #[inline]
    pub(crate) fn array<const N: usize>(&self, offset: u64) -> Result<[u8; N], IndexError> {
        let bytes = self.get(offset, N as u64)?;
        array(bytes, 0).ok_or_else(|| IndexError::corrupt("pages", "a place outside of the sections", offset))
    }

    /// All bytes of a section.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub(crate) fn section(&self, section: &Section) -> Result<&[u8], IndexError> {
        self.get(section.offset, section.len)
    }

    /// Checks every page.
    pub(crate) fn check_all(&self) -> Result<(), IndexError> {
        (0..self.table.div_ceil(u64::from(PAGE_BYTES))).try_for_each(|no| self.check(no))
    }

    #[inline]
    fn check(&self, no: u64) -> Result<(), IndexError> {
        let bit = 1 << (no % 64);
        let word = usize::try_from(no / 64).ok().and_then(|at| self.checked.get(at));
        // A set bit guards nothing but bytes that no one writes: no order is needed.
        match word {
            Some(word) if word.load(Ordering::Relaxed) & bit != 0 => Ok(()),
            _ => self.compare(no, word, bit),
        }
    }

    #[cold]
    fn compare(&self, no: u64, word: Option<&AtomicU64>, bit: u64) -> Result<(), IndexError> {
        let start = no * u64::from(PAGE_BYTES);
        let got = crc32c::crc32c(self.slice(start, (start + u64::from(PAGE_BYTES)).min(self.table)));
        let entry = self.slice(self.table + no * 4, self.bytes.len() as u64);
        let expected = u32_at(entry, 0).unwrap_or_default();
        let Some(word) = word.filter(|_| got == expected) else {
            return Err(IndexError::Checksum { what: "the page", offset_bytes: start, expected, got });
        };
        let _ = word.fetch_or(bit, Ordering::Relaxed);
        Ok(())
    }

    /// The bytes from `start` to `end`, which the caller has compared with the length.
    #[inline]
    fn slice(&self, start: u64, end: u64) -> &[u8] {
        match (usize::try_from(start), usize::try_from(end)) {
            (Ok(start), Ok(end)) => self.bytes.get(start..end).unwrap_or_default(),
            _ => &[],
        }
    }
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mapped = matches!(self.bytes, Bytes::Map(_));
        f.debug_struct("Pages").field("mapped", &mapped).field("len", &self.bytes.len()).finish_non_exhaustive()
    }
}
