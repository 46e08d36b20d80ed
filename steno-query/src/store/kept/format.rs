//! The bytes of a catalogue file (`docs/format/catalogue.md`, sections 1, 2 and 5): its header, its entries and its groups.

use steno_core::{SegmentId, TimestampNs, crc32c};
use steno_index::{Cause, FORMAT_MAJOR, FORMAT_MINOR};

use super::{
    KeptError,
    filter::{BLOCK_BYTES, BLOCKS_MAX, GROUP_BLOCKS_MAX},
};
use crate::store::identity::Identity;

pub(super) const HEADER_BYTES: usize = 64;
pub(super) const ENTRY_BYTES: usize = 96;
pub(super) const GROUP_BYTES: usize = 32;
/// Segments of a group of the first level, and groups of a level in one of the next.
pub(in crate::store) const GROUP_OF: usize = 32;
/// Levels of groups: so many segments as one of the last would have do not fit a table of entries.
pub(in crate::store) const LEVELS_MAX: u32 = 6;
/// `\x89STENOCT`.
pub(super) const MAGIC: [u8; 8] = [0x89, b'S', b'T', b'E', b'N', b'O', b'C', b'T'];
pub(super) const MAJOR: u16 = 1;
pub(super) const MINOR: u16 = 1;
/// Where the CRC of the header lies, which covers all before it.
const HEADER_CRC_AT: usize = 60;

/// What a writer knows of indexes: the version of their format, and how many causes of losses there are. What it does not
/// know it passes over, so that a reader who knows more would miss it.
fn known() -> [u32; 2] {
    [u32::from(FORMAT_MAJOR) << 16 | u32::from(FORMAT_MINOR), u32::try_from(Cause::ALL.len()).unwrap_or(u32::MAX)]
}

/// The first bytes of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) entries: u32,
    pub(super) file_bytes: u64,
    /// Where the entries are. They end with the file.
    pub(super) entries_at: u64,
    pub(super) entries_crc: u32,
    /// How many groups there are; none in a file of version 1.0.
    pub(super) groups: u32,
    /// Where they are. They end where the entries begin.
    pub(super) groups_at: u64,
    pub(super) groups_crc: u32,
}

/// What is kept of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Entry {
    pub(in crate::store) id: SegmentId,
    /// Of the index file that the rest is of.
    pub(in crate::store) identity: Identity,
    /// Of its packets; both 0 without packets.
    pub(super) times: (TimestampNs, TimestampNs),
    pub(super) packets: u32,
    /// What was never captured, as facts of an index.
    pub(super) lost: Part,
    /// How many facts these are.
    pub(super) lost_tags: u32,
    /// The filter of addresses; without bytes where there is none.
    pub(super) filter: Part,
}

/// Entries that follow one another, and which addresses none of them has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Group {
    /// The first of them, and how many there are.
    pub(in crate::store) first: u32,
    pub(in crate::store) entries: u32,
    /// One is a group of segments, each further one of groups of the level below.
    pub(in crate::store) level: u32,
    pub(super) filter: Part,
}

/// A part of the file with a checksum of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) at: u64,
    pub(super) bytes: u32,
    pub(super) crc: u32,
}

impl Header {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(MAJOR.to_le_bytes());
        bytes.extend(MINOR.to_le_bytes());
        bytes.extend(self.entries.to_le_bytes());
        bytes.extend(self.file_bytes.to_le_bytes());
        bytes.extend(self.entries_at.to_le_bytes());
        bytes.extend(self.entries_crc.to_le_bytes());
        bytes.extend(known().into_iter().flat_map(u32::to_le_bytes));
        bytes.extend(self.groups.to_le_bytes());
        bytes.extend(self.groups_at.to_le_bytes());
        bytes.extend(self.groups_crc.to_le_bytes());
        bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
        bytes
    }

    /// Reads the header of a file of `file_bytes` bytes that begins with `bytes`.
    pub(super) fn decode(bytes: &[u8], file_bytes: u64) -> Result<Self, KeptError> {
        let magic = bytes.get(..MAGIC.len()).unwrap_or(bytes);
        let Some(header) = bytes.get(..HEADER_BYTES).filter(|_| magic == MAGIC) else {
            return Err(KeptError::NotACatalogue { got: magic.to_vec() });
        };
        let mut fields = Fields(header.get(MAGIC.len()..).unwrap_or_default());
        let major = fields.u16();
        if major != MAJOR {
            return Err(KeptError::Version { got: major, expected: MAJOR });
        }
        let covered = header.get(..HEADER_CRC_AT).unwrap_or_default();
        let crc = Fields(header.get(HEADER_CRC_AT..).unwrap_or_default()).u32();
        compare("the header", covered, crc)?;
        let _minor = fields.u16();
        let (entries, says_bytes, entries_at, entries_crc) = (fields.u32(), fields.u64(), fields.u64(), fields.u32());
        let (got, expected) = ([fields.u32(), fields.u32()], known());
        let (groups, groups_at, groups_crc) = (fields.u32(), fields.u64(), fields.u32());
        let header = Self { entries, file_bytes: says_bytes, entries_at, entries_crc, groups, groups_at, groups_crc };
        if got != expected {
            return Err(KeptError::OtherKnowledge { got, expected });
        }
        if says_bytes != file_bytes {
            return Err(KeptError::Length { expected: says_bytes, got: file_bytes });
        }
        let table_bytes = u64::from(entries) * ENTRY_BYTES as u64;
        let is_whole = header.entries_at.checked_add(table_bytes) == Some(file_bytes);
        if !is_whole || header.entries_at < HEADER_BYTES as u64 {
            return Err(KeptError::Corrupt { what: "the entries do not fill the file", entry: entries });
        }
        let table_bytes = u64::from(groups) * GROUP_BYTES as u64;
        let is_whole = groups_at.checked_add(table_bytes) == Some(entries_at) && groups_at >= HEADER_BYTES as u64;
        if groups > 0 && !is_whole {
            return Err(KeptError::Corrupt { what: "the groups do not lie before the entries", entry: groups });
        }
        Ok(header)
    }

    /// Where the parts end.
    pub(super) fn parts_end(&self) -> u64 {
        if self.groups > 0 { self.groups_at } else { self.entries_at }
    }
}

impl Entry {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let Self { id, identity, times, packets, lost, lost_tags, filter } = self;
        let Identity { inode, bytes, modified_ns, changed_ns } = identity;
        for word in [id.0, *inode, *bytes, *modified_ns, *changed_ns, times.0.as_ns(), times.1.as_ns()] {
            out.extend(word.to_le_bytes());
        }
        out.extend(packets.to_le_bytes());
        out.extend(lost_tags.to_le_bytes());
        for part in [lost, filter] {
            out.extend(part.at.to_le_bytes());
            out.extend(part.bytes.to_le_bytes());
            out.extend(part.crc.to_le_bytes());
        }
    }

    /// Reads the entry at the start of `bytes`.
    pub(super) fn decode(bytes: &[u8]) -> Self {
        let mut fields = Fields(bytes);
        let id = SegmentId(fields.u64());
        let [inode, bytes, modified_ns, changed_ns] = std::array::from_fn(|_| fields.u64());
        let times = (TimestampNs(fields.u64()), TimestampNs(fields.u64()));
        let (packets, lost_tags) = (fields.u32(), fields.u32());
        let [lost, filter] = std::array::from_fn(|_| Part { at: fields.u64(), bytes: fields.u32(), crc: fields.u32() });
        let identity = Identity { inode, bytes, modified_ns, changed_ns };
        Self { id, identity, times, packets, lost, lost_tags, filter }
    }

    /// What cannot be about it, in a file whose parts end at `parts_end`.
    pub(super) fn flaw(&self, parts_end: u64) -> Option<&'static str> {
        if self.times.0 > self.times.1 {
            return Some("the earliest time is after the latest");
        }
        self.lost.flaw(parts_end).or_else(|| self.filter.flaw_of_filter(parts_end, BLOCKS_MAX))
    }
}

impl Group {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let Self { first, entries, level, filter: Part { at, bytes, crc } } = self;
        for word in [first, entries, level, bytes] {
            out.extend(word.to_le_bytes());
        }
        out.extend(at.to_le_bytes());
        out.extend(crc.to_le_bytes());
        out.extend([0; 4]);
    }

    /// Reads the group at the start of `bytes`.
    pub(super) fn decode(bytes: &[u8]) -> Self {
        let mut fields = Fields(bytes);
        let [first, entries, level, filter_bytes] = std::array::from_fn(|_| fields.u32());
        let filter = Part { at: fields.u64(), bytes: filter_bytes, crc: fields.u32() };
        Self { first, entries, level, filter }
    }

    /// Behind the last of its entries.
    pub(in crate::store) fn end(&self) -> u32 {
        self.first.saturating_add(self.entries)
    }

    /// What cannot be about it, behind the group `before`, in a file of so many entries whose parts end at `parts_end`.
    pub(super) fn flaw(&self, before: Option<&Self>, entries: u32, parts_end: u64) -> Option<&'static str> {
        let ascends = before
            .is_none_or(|before| self.level > before.level || self.level == before.level && self.first >= before.end());
        if !ascends {
            Some("the groups do not ascend")
        } else if !(1..=LEVELS_MAX).contains(&self.level) {
            Some("a group of no possible level")
        } else if self.entries == 0 || self.first.checked_add(self.entries).is_none_or(|end| end > entries) {
            Some("a group of entries that are not there")
        } else {
            self.filter.flaw_of_filter(parts_end, GROUP_BLOCKS_MAX)
        }
    }
}

impl Part {
    fn flaw(&self, parts_end: u64) -> Option<&'static str> {
        let end = self.at.checked_add(u64::from(self.bytes));
        let is_within = self.bytes == 0 || self.at >= HEADER_BYTES as u64 && end.is_some_and(|end| end <= parts_end);
        (!is_within).then_some("a part outside of the file")
    }

    fn flaw_of_filter(&self, parts_end: u64, blocks_max: u32) -> Option<&'static str> {
        let bytes = self.bytes as usize;
        let is_possible = bytes.is_multiple_of(BLOCK_BYTES) && bytes / BLOCK_BYTES <= blocks_max as usize;
        self.flaw(parts_end).or_else(|| (!is_possible).then_some("a filter of no possible size"))
    }
}

/// Holds a part against its checksum.
pub(super) fn compare(what: &'static str, bytes: &[u8], expected: u32) -> Result<(), KeptError> {
    let got = crc32c::crc32c(bytes);
    if got == expected { Ok(()) } else { Err(KeptError::Checksum { what, expected, got }) }
}

/// Little-endian fields one behind the other. Whoever made this knows that they are there.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let Some((field, rest)) = self.0.split_first_chunk() else { return [0; N] };
        self.0 = rest;
        *field
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }
}
