//! A catalogue file, opened: nothing of it is believed that has not been held against its checksum.

use std::{
    fs::OpenOptions,
    io,
    net::IpAddr,
    ops::{Deref, Range},
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
    format::{ENTRY_BYTES, Entry, GROUP_BYTES, Group, Header, Part, compare},
};
use crate::store::{Lost, identity::Identity, segment::Summary};

/// A catalogue file. Opening it reads its header and its entries; what else there is of a segment is read when it is needed.
#[derive(Debug)]
pub struct Kept {
    bytes: Bytes,
    /// Of the file itself; of bytes in memory there is none.
    identity: Option<Identity>,
    entries_at: usize,
    entries: u32,
    groups_at: usize,
    groups: u32,
    /// A bit for each filter that was held against its checksum: those of the entries, then those of the groups.
    checked: Vec<AtomicU64>,
}

/// What is kept of one segment.
#[derive(Clone, Debug)]
pub(crate) struct KeptSegment {
    kept: Arc<Kept>,
    entry: u32,
}

/// What is kept of a group of segments.
#[derive(Clone, Debug)]
pub(crate) struct KeptGroup {
    kept: Arc<Kept>,
    group: u32,
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
        // Both are within the file, which is in memory.
        let [entries_at, groups_at] =
            [header.entries_at, header.groups_at].map(|at| usize::try_from(at).unwrap_or(usize::MAX));
        compare("the entries", bytes.get(entries_at..).unwrap_or_default(), header.entries_crc)?;
        let (entries, groups) = (header.entries, header.groups);
        if groups > 0 {
            compare("the groups", bytes.get(groups_at..entries_at).unwrap_or_default(), header.groups_crc)?;
        }
        let mut checked = Vec::new();
        let filters = u64::from(entries) + u64::from(groups);
        checked.resize_with(usize::try_from(filters.div_ceil(u64::BITS.into())).unwrap_or(0), AtomicU64::default);
        let kept = Self { bytes, identity, entries_at, entries, groups_at, groups, checked };
        let mut last = None;
        for (number, entry) in kept.entries() {
            if last.is_some_and(|last| last >= entry.id) {
                return Err(KeptError::Corrupt { what: "the segments do not ascend", entry: number });
            }
            if let Some(what) = entry.flaw(header.parts_end()) {
                return Err(KeptError::Corrupt { what, entry: number });
            }
            last = Some(entry.id);
        }
        let mut before = None;
        for (number, group) in kept.groups() {
            if let Some(what) = group.flaw(before.as_ref(), entries, header.parts_end()) {
                return Err(KeptError::Corrupt { what, entry: number });
            }
            before = Some(group);
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

    /// The same of the group at this place among all groups: of each of its segments. They are those whose places the first value says.
    pub fn group_may_hold(&self, place: u32, address: IpAddr) -> Option<(Range<u32>, bool)> {
        let group = self.group(place)?;
        let may = self.group_filter(place, &group).is_none_or(|filter| may_hold(filter, address.into()));
        Some((group.first..group.end(), may))
    }

    /// The entries by their numbers.
    pub(in crate::store) fn entries(&self) -> impl Iterator<Item = (u32, Entry)> + '_ {
        let table = self.bytes.get(self.entries_at..).unwrap_or_default();
        (0..).zip(table.chunks_exact(ENTRY_BYTES).map(Entry::decode))
    }

    pub(in crate::store) fn entry(&self, number: u32) -> Option<Entry> {
        self.row(self.entries_at, ENTRY_BYTES, number, self.entries).map(Entry::decode)
    }

    /// The groups by their numbers.
    pub(in crate::store) fn groups(&self) -> impl Iterator<Item = (u32, Group)> + '_ {
        (0..self.groups).filter_map(|number| Some((number, self.group(number)?)))
    }

    fn group(&self, number: u32) -> Option<Group> {
        self.row(self.groups_at, GROUP_BYTES, number, self.groups).map(Group::decode)
    }

    /// A row of a table that has so many.
    fn row(&self, table_at: usize, row_bytes: usize, number: u32, rows: u32) -> Option<&[u8]> {
        let at = table_at.checked_add((number as usize).checked_mul(row_bytes)?)?;
        self.bytes.get(at..at.checked_add(row_bytes)?).filter(|_| number < rows)
    }

    /// The filter of an entry; `None` where there is none, or its bytes are not those that were written.
    fn filter(&self, number: u32, entry: &Entry) -> Option<&[u8]> {
        self.checked(number.into(), entry.filter)
    }

    /// The same of a group.
    fn group_filter(&self, number: u32, group: &Group) -> Option<&[u8]> {
        self.checked(u64::from(self.entries) + u64::from(number), group.filter)
    }

    /// The bytes of a filter, held against their checksum when they are asked for first; `number` is its place among all filters.
    fn checked(&self, number: u64, filter: Part) -> Option<&[u8]> {
        let bytes = self.part(filter)?;
        let word = self.checked.get(usize::try_from(number / u64::from(u64::BITS)).ok()?)?;
        let bit = 1 << (number % u64::from(u64::BITS));
        // A set bit guards nothing but bytes that no one writes: no order is needed.
        if word.load(Ordering::Relaxed) & bit == 0 {
            compare("a filter", bytes, filter.crc).ok()?;
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

    /// The file that it is kept in, and its place among the entries there.
    pub(in crate::store) fn place(&self) -> (&Arc<Kept>, u32) {
        (&self.kept, self.entry)
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

impl KeptGroup {
    pub(in crate::store) fn new(kept: &Arc<Kept>, group: u32) -> Self {
        Self { kept: Arc::clone(kept), group }
    }

    /// Its entries.
    #[cfg(test)]
    pub(in crate::store) fn entries(&self) -> Range<u32> {
        let group = self.kept.group(self.group).unwrap();
        group.first..group.end()
    }

    /// The filter of the addresses of all of its segments.
    pub(crate) fn filter(&self) -> Option<&[u8]> {
        self.kept.group_filter(self.group, &self.kept.group(self.group)?)
    }

    /// The same, to be written again: without bytes where there is none, `None` where its bytes are not those that were written.
    pub(super) fn bytes(&self) -> Option<Vec<u8>> {
        let group = self.kept.group(self.group)?;
        let has_none = group.filter.bytes == 0;
        self.kept.group_filter(self.group, &group).map(<[u8]>::to_vec).or_else(|| has_none.then(Vec::new))
    }
}
