//! The bytes of a catalogue file (`docs/format/catalogue.md`, sections 1 to 3): its header and its entries.

use steno_core::{SegmentId, TimestampNs, crc32c};
use steno_index::{Cause, FORMAT_MAJOR, FORMAT_MINOR};

use super::{
    KeptError,
    filter::{BLOCK_BYTES, BLOCKS_MAX},
};
use crate::store::identity::Identity;

pub(super) const HEADER_BYTES: usize = 64;
pub(super) const ENTRY_BYTES: usize = 96;
/// `\x89STENOCT`.
pub(super) const MAGIC: [u8; 8] = [0x89, b'S', b'T', b'E', b'N', b'O', b'C', b'T'];
pub(super) const MAJOR: u16 = 1;
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
        bytes.extend([0; 2]);
        bytes.extend(self.entries.to_le_bytes());
        bytes.extend(self.file_bytes.to_le_bytes());
        bytes.extend(self.entries_at.to_le_bytes());
        bytes.extend(self.entries_crc.to_le_bytes());
        bytes.extend(known().into_iter().flat_map(u32::to_le_bytes));
        bytes.resize(HEADER_CRC_AT, 0);
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
        let (entries, says_bytes) = (fields.u32(), fields.u64());
        let header = Self { entries, file_bytes: says_bytes, entries_at: fields.u64(), entries_crc: fields.u32() };
        let (got, expected) = ([fields.u32(), fields.u32()], known());
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
        Ok(header)
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

    /// What cannot be about it, in a file whose entries begin at `entries_at`.
    pub(super) fn flaw(&self, entries_at: u64) -> Option<&'static str> {
        let is_within = |part: &Part| {
            let end = part.at.checked_add(u64::from(part.bytes));
            part.bytes == 0 || part.at >= HEADER_BYTES as u64 && end.is_some_and(|end| end <= entries_at)
        };
        let filter_bytes = self.filter.bytes as usize;
        if self.times.0 > self.times.1 {
            Some("the earliest time is after the latest")
        } else if !is_within(&self.lost) || !is_within(&self.filter) {
            Some("a part outside of the file")
        } else if !filter_bytes.is_multiple_of(BLOCK_BYTES) || filter_bytes / BLOCK_BYTES > BLOCKS_MAX as usize {
            Some("a filter of no possible size")
        } else {
            None
        }
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
