//! A catalogue file, opened: nothing of it is believed that has not been held against its checksum.

use std::{
    fs::OpenOptions,
    io,
    net::IpAddr,
    ops::Deref,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use rustix::fs::OFlags;
use steno_core::{FileMap, SegmentId};
use steno_index::Facts;

use super::{
    KeptError,
    filter::may_hold,
    format::{ENTRY_BYTES, Entry, Header, Part, compare},
};
use crate::store::{Lost, identity::Identity, segment::Summary};

/// A catalogue file. Opening it reads its header and its entries; what else there is of a segment is read when it is needed.
#[derive(Debug)]
pub struct Kept {
    bytes: Bytes,
    /// Of the file itself; of bytes in memory there is none.
    identity: Option<Identity>,
    entries_at: usize,
    /// A bit for each entry whose filter was held against its checksum.
    checked: Vec<AtomicU64>,
}

/// What is kept of one segment.
#[derive(Clone, Debug)]
pub(crate) struct KeptSegment {
    kept: Arc<Kept>,
    entry: u32,
}

#[derive(Debug)]
enum Bytes {
    Map(FileMap),
    Owned(Vec<u8>),
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

impl Kept {
    /// Opens the file at `path`; `before`, where that is still the same file.
    ///
    /// # Errors
    /// [`KeptError`], whatever is wrong with it.
    pub(in crate::store) fn open(path: &Path, before: Option<&Arc<Self>>) -> Result<Arc<Self>, KeptError> {
        // A pipe of this name must not keep whoever opens the store waiting.
        let file = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(KeptError::Open(io::ErrorKind::InvalidInput.into()));
        }
        let identity = Identity::of(&metadata);
        if let Some(before) = before.filter(|before| before.identity == Some(identity)) {
            return Ok(Arc::clone(before));
        }
        Self::of(Bytes::Map(FileMap::open(&file)?), Some(identity)).map(Arc::new)
    }

    /// Takes a file that is in memory.
    ///
    /// # Errors
    /// [`KeptError`], whatever is wrong with it.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, KeptError> {
        Self::of(Bytes::Owned(bytes), None)
    }

    fn of(bytes: Bytes, identity: Option<Identity>) -> Result<Self, KeptError> {
        let header = Header::decode(&bytes, bytes.len() as u64)?;
        // It is within the file, which is in memory.
        let entries_at = usize::try_from(header.entries_at).unwrap_or(usize::MAX);
        compare("the entries", bytes.get(entries_at..).unwrap_or_default(), header.entries_crc)?;
        let mut checked = Vec::new();
        checked.resize_with(header.entries.div_ceil(u64::BITS) as usize, AtomicU64::default);
        let kept = Self { bytes, identity, entries_at, checked };
        let mut last = None;
        for (number, entry) in kept.entries() {
            if last.is_some_and(|last| last >= entry.id) {
                return Err(KeptError::Corrupt { what: "the segments do not ascend", entry: number });
            }
            if let Some(what) = entry.flaw(header.entries_at) {
                return Err(KeptError::Corrupt { what, entry: number });
            }
            last = Some(entry.id);
        }
        Ok(kept)
    }

    /// The segments of which something is kept, ascending, and how many packets each has.
    pub fn segments(&self) -> impl Iterator<Item = (SegmentId, u32)> + '_ {
        self.entries().map(|(_, entry)| (entry.id, entry.packets))
    }

    /// Whether the segment at this place may have packets from or to `address`; `None` where there is none at the place. Where no
    /// filter is kept of it, or a damaged one, it may.
    pub fn may_hold(&self, place: u32, address: IpAddr) -> Option<bool> {
        let entry = self.entry(place)?;
        Some(self.filter(place, &entry).is_none_or(|filter| may_hold(filter, address.into())))
    }

    /// The entries by their numbers.
    pub(in crate::store) fn entries(&self) -> impl Iterator<Item = (u32, Entry)> + '_ {
        let table = self.bytes.get(self.entries_at..).unwrap_or_default();
        (0..).zip(table.chunks_exact(ENTRY_BYTES).map(Entry::decode))
    }

    fn entry(&self, number: u32) -> Option<Entry> {
        let at = self.entries_at.checked_add((number as usize).checked_mul(ENTRY_BYTES)?)?;
        self.bytes.get(at..at.checked_add(ENTRY_BYTES)?).map(Entry::decode)
    }

    /// The filter of an entry; `None` where there is none, or its bytes are not those that were written.
    fn filter(&self, number: u32, entry: &Entry) -> Option<&[u8]> {
        let bytes = self.part(entry.filter)?;
        let word = self.checked.get((number / u64::BITS) as usize)?;
        let bit = 1 << (number % u64::BITS);
        // A set bit guards nothing but bytes that no one writes: no order is needed.
        if word.load(Ordering::Relaxed) & bit == 0 {
            compare("a filter", bytes, entry.filter.crc).ok()?;
            let _before = word.fetch_or(bit, Ordering::Relaxed);
        }
        Some(bytes)
    }

    /// The bytes of a part; `None` of one that has none.
    fn part(&self, part: Part) -> Option<&[u8]> {
        let at = usize::try_from(part.at).ok().filter(|_| part.bytes > 0)?;
        self.bytes.get(at..at.checked_add(part.bytes as usize)?)
    }

    /// What an entry says that an index would have to be opened for; `None` where it is damaged.
    pub(in crate::store) fn summary(&self, entry: &Entry) -> Option<Summary> {
        let times = (entry.packets > 0).then_some(entry.times);
        let lost = match self.lost(entry) {
            None => None,
            Some(bytes) => {
                compare("what was lost", bytes, entry.lost.crc).ok()?;
                Lost::of(&Facts::decode(bytes, u64::from(entry.lost_tags)).ok()?).map(Arc::new)
            }
        };
        Some(Summary { times, bounds: times, packets: Some(entry.packets), is_native: true, of_1_0_1: false, lost })
    }

    fn lost(&self, entry: &Entry) -> Option<&[u8]> {
        self.part(entry.lost)
    }
}

impl KeptSegment {
    pub(in crate::store) fn new(kept: &Arc<Kept>, entry: u32) -> Self {
        Self { kept: Arc::clone(kept), entry }
    }

    /// The filter of its addresses.
    pub(crate) fn filter(&self) -> Option<&[u8]> {
        self.kept.filter(self.entry, &self.kept.entry(self.entry)?)
    }

    /// Its entry, and the bytes of its two parts, of a filter only where they are whole.
    pub(super) fn parts(&self) -> Option<(Entry, &[u8], &[u8])> {
        let entry = self.kept.entry(self.entry)?;
        let lost = self.kept.lost(&entry).unwrap_or_default();
        compare("what was lost", lost, entry.lost.crc).ok()?;
        let filter = self.kept.part(entry.filter).unwrap_or_default();
        compare("a filter", filter, entry.filter.crc).ok()?;
        Some((entry, lost, filter))
    }
}
