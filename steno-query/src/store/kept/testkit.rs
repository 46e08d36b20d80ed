//! Catalogue files for tests of what is made of them.

use std::ops::Range;

use steno_core::{SegmentId, TimestampNs, crc32c};

use super::{
    Kept,
    format::{Entry, Group, HEADER_BYTES, Header, Part},
};
use crate::store::identity::Identity;

/// A file of so many entries, named after their places, and of groups by level and entries. None has a filter.
pub(in crate::store) fn file(entries: u32, groups: &[(u32, Range<u32>)]) -> Kept {
    let identity = Identity { inode: 0, bytes: 0, modified_ns: 0, changed_ns: 0 };
    let (mut tables, none) = (Vec::new(), Part::default());
    for (level, entries) in groups {
        let (first, level) = (entries.start, *level);
        Group { first, entries: entries.end - first, level, filter: none }.encode(&mut tables);
    }
    let groups_bytes = tables.len();
    for id in 0..entries {
        let (id, times) = (SegmentId(id.into()), (TimestampNs::MIN, TimestampNs::MIN));
        Entry { id, identity, times, packets: 0, lost: none, lost_tags: 0, filter: none }.encode(&mut tables);
    }
    let header = Header {
        entries,
        file_bytes: (HEADER_BYTES + tables.len()) as u64,
        entries_at: (HEADER_BYTES + groups_bytes) as u64,
        entries_crc: crc32c::crc32c(&tables[groups_bytes..]),
        groups: groups.len().try_into().unwrap(),
        groups_at: HEADER_BYTES as u64,
        groups_crc: crc32c::crc32c(&tables[..groups_bytes]),
    };
    Kept::from_bytes([header.encode(), tables].concat()).unwrap()
}
