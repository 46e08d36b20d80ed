//! A block's wanted packets in memory, checked, in the order in which they are delivered.

use steno_core::{
    BLOCK_BYTES, TimestampNs,
    block::{PACKET_HEADER_BYTES, RawPacket, packet_at},
};

/// A wanted packet: its place in time, in its segment, and in [`Loaded::bytes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    /// Arrival time.
    pub(super) time: TimestampNs,
    /// Its number in the segment.
    pub(super) packet: u32,
    /// Where its header starts in the bytes read.
    pub(super) offset_bytes: u32,
}

/// Wanted packets are a small part of what was read if they are no more than one byte in so many.
const SMALL_PART: usize = 8;

/// What was read of a block. The memory is used again for other blocks.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    /// A whole block, or parts of one, one behind the other. Never shrinks; [`Self::read_bytes`] are valid.
    bytes: Vec<u8>,
    read_bytes: usize,
    /// Sorted by time, then number, once loaded.
    entries: Vec<Entry>,
    /// Entries delivered.
    delivered: usize,
}

impl Loaded {
    /// Forgets everything but the memory.
    pub(crate) fn clear(&mut self) {
        self.read_bytes = 0;
        self.entries.clear();
        self.delivered = 0;
    }

    /// Room for `len` more bytes, to be filled by the caller, and where they start.
    pub(super) fn room(&mut self, len: usize) -> (usize, &mut [u8]) {
        let start = self.read_bytes;
        let end = start.saturating_add(len);
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.read_bytes = end;
        (start, self.bytes.get_mut(start..end).unwrap_or_default())
    }

    /// What was read.
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.read_bytes).unwrap_or_default()
    }

    /// The entries for a loader to fill, beside what was read.
    pub(super) fn parts(&mut self) -> (&[u8], &mut Vec<Entry>) {
        (self.bytes.get(..self.read_bytes).unwrap_or_default(), &mut self.entries)
    }

    /// The memory of the entries, to be filled by a loader that cannot borrow both at once.
    pub(super) fn take_entries(&mut self) -> Vec<Entry> {
        std::mem::take(&mut self.entries)
    }

    /// Takes the filled entries, and puts them in order.
    pub(super) fn give_entries(&mut self, entries: Vec<Entry>) {
        self.entries = entries;
        self.sort();
    }

    /// Puts the entries in order. Ring order nearly always is.
    pub(super) fn sort(&mut self) {
        if !self.entries.is_sorted() {
            self.entries.sort_unstable();
        }
    }

    /// The next entry to be delivered.
    #[inline]
    pub(super) fn peek(&self) -> Option<&Entry> {
        self.entries.get(self.delivered)
    }

    /// Moves on to the entry behind it.
    #[inline]
    pub(super) fn advance(&mut self) {
        self.delivered += 1;
    }

    /// The packet of an entry. It was walked when it was loaded, so that it is there.
    #[inline]
    pub(super) fn packet(&self, entry: &Entry) -> Option<RawPacket<'_>> {
        packet_at(self.bytes(), entry.offset_bytes).ok()
    }

    /// Takes the memory of `spare` where it has none of its own.
    pub(super) fn use_memory(&mut self, spare: &mut Vec<u8>) {
        if self.bytes.len() < spare.len() {
            std::mem::swap(&mut self.bytes, spare);
        }
    }

    /// Keeps of what was read the wanted packets alone, where they are a small part of it, and gives the memory of all of it back:
    /// so that of very many segments whose turn comes at the same time, a block of each can wait.
    pub(super) fn compact(&mut self) -> Option<Vec<u8>> {
        let most = self.read_bytes / SMALL_PART;
        if self.entries.len().saturating_mul(PACKET_HEADER_BYTES as usize) > most {
            return None;
        }
        let mut kept = Vec::new();
        let mut places = Vec::with_capacity(self.entries.len());
        for entry in &self.entries {
            let packet = self.packet(entry)?;
            let start = entry.offset_bytes as usize;
            let end = start + usize::from(packet.header.mac) + packet.bytes.len();
            places.push(u32::try_from(kept.len()).ok()?);
            kept.extend_from_slice(self.bytes().get(start..end)?);
            if kept.len() > most {
                return None;
            }
        }
        for (entry, place) in self.entries.iter_mut().zip(places) {
            entry.offset_bytes = place;
        }
        self.read_bytes = kept.len();
        Some(std::mem::replace(&mut self.bytes, kept))
    }

    /// Bytes of memory held.
    pub(super) fn memory_bytes(&self) -> u64 {
        (self.bytes.len() + self.entries.capacity() * size_of::<Entry>()) as u64
    }

    /// Whether its memory is worth keeping for another block.
    pub(super) fn is_reusable(&self) -> bool {
        self.bytes.len() <= 2 * BLOCK_BYTES as usize
    }
}
