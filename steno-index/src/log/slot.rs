//! The slots of a log: where each field lies. Both the writer and the reader of a log go by this file alone.

use steno_core::packet::Tag;

use crate::le::{low16, low32};

/// Bytes of a slot.
pub const SLOT_BYTES: usize = 32;

/// A slot as it lies in memory.
pub(super) type Slot = [u8; SLOT_BYTES];

/// Kinds of records: byte 0 of a record's first slot.
pub(super) mod kind {
    pub(in crate::log) const PACKET_V4: u8 = 1;
    pub(in crate::log) const PACKET_V6: u8 = 2;
    pub(in crate::log) const PACKET_OTHER: u8 = 3;
    pub(in crate::log) const TAGS: u8 = 4;
    pub(in crate::log) const TIME_BASE: u8 = 5;
    pub(in crate::log) const BLOCK: u8 = 6;
    pub(in crate::log) const RUNNING_CHECKSUMS: u8 = 7;
}

/// Byte 1 of a packet record.
pub(super) mod flag {
    pub(in crate::log) const PROTOCOL: u8 = 1;
    pub(in crate::log) const PORTS: u8 = 1 << 1;
    pub(in crate::log) const FRAGMENT_SHIFT: u32 = 2;
    pub(in crate::log) const FRAGMENT_FIRST: u8 = 1 << FRAGMENT_SHIFT;
    pub(in crate::log) const FRAGMENT_LATER: u8 = 2 << FRAGMENT_SHIFT;
    pub(in crate::log) const FRAGMENT_MASK: u8 = 3 << FRAGMENT_SHIFT;
    pub(in crate::log) const TAGS_INLINE: u8 = 1 << 4;
    pub(in crate::log) const TAGS_STACK: u8 = 2 << 4;
    pub(in crate::log) const TAGS_MASK: u8 = 3 << 4;
    pub(in crate::log) const ETHER_TYPE: u8 = 1 << 6;
}

/// Byte 1 of a tags record: a new stack starts.
pub(super) const TAGS_START: u8 = 1;
/// Tags in a slot.
pub(super) const TAGS_PER_SLOT: usize = 7;
/// Running checksums in a slot.
pub(super) const CHECKSUMS_PER_SLOT: usize = 7;
/// Byte 1 of a block record: there is a CRC.
pub(super) const BLOCK_CRC: u8 = 1;

/// The bit that tells an MPLS label from a VLAN id.
const MPLS: u32 = 1 << 31;

/// A slot of up to seven values of 32 bits behind its first four bytes.
pub(super) fn slot_of_values(head: [u8; 4], values: impl IntoIterator<Item = u32>) -> Slot {
    let mut slot = [0; SLOT_BYTES];
    let (place, places) = slot.split_at_mut(head.len());
    place.copy_from_slice(&head);
    for (place, value) in places.as_chunks_mut::<4>().0.iter_mut().zip(values) {
        *place = value.to_le_bytes();
    }
    slot
}

/// The first `count` of the values of such a slot; `None` where it has no room for as many.
pub(super) fn values(slot: &Slot, count: u8) -> Option<impl Iterator<Item = u32>> {
    let (_, values) = slot.as_chunks::<4>().0.split_first()?;
    Some(values.get(..usize::from(count))?.iter().map(|value| u32::from_le_bytes(*value)))
}

/// The four words of a slot.
#[inline]
pub(super) fn words(slot: &Slot) -> [u64; 4] {
    match slot.as_chunks::<8>().0 {
        &[a, b, c, d] => [u64::from_le_bytes(a), u64::from_le_bytes(b), u64::from_le_bytes(c), u64::from_le_bytes(d)],
        // 32 bytes are four chunks of 8.
        _ => [0; 4],
    }
}

/// The slot of four words.
#[inline]
pub(super) fn slot(words: [u64; 4]) -> Slot {
    let mut slot = [0; SLOT_BYTES];
    for (place, word) in slot.as_chunks_mut::<8>().0.iter_mut().zip(words) {
        *place = word.to_le_bytes();
    }
    slot
}

/// A tag as a u32, in logs and in the classes of an index.
pub(crate) fn encode_tag(tag: Tag) -> u32 {
    match tag {
        Tag::Vlan(id) => u32::from(id),
        Tag::Mpls(label) => MPLS | label,
    }
}

/// The tag of a u32; `None` for a VLAN id of more than 16 bits or a label of more than 20.
pub(crate) fn decode_tag(value: u32) -> Option<Tag> {
    if value & MPLS == 0 {
        return u16::try_from(value).ok().map(Tag::Vlan);
    }
    let label = value & !MPLS;
    (label < 1 << 20).then_some(Tag::Mpls(label))
}

/// The two halves of a word.
#[inline]
pub(super) const fn halves(word: u64) -> (u32, u32) {
    (low32(word), low32(word >> 32))
}

/// The four quarters of a word.
#[inline]
pub(super) const fn quarters(word: u64) -> [u16; 4] {
    [low16(word), low16(word >> 16), low16(word >> 32), low16(word >> 48)]
}
