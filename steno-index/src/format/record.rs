//! Records: blocks and classes.

use steno_core::{PacketNo, TimestampNs};

use crate::{
    Class, IndexError, NetworkKind,
    le::{u16_at, u32_at, u64_at},
    log::{decode_tag, encode_tag},
    reader::BlockInfo,
};

pub(crate) const BLOCK_RECORD_BYTES: usize = 64;
const CLASS_HEAD_BYTES: usize = 12;

const BLOCK_HAS_CRC: u32 = 1;
const BLOCK_HAS_RUNNING: u32 = 1 << 1;

/// A record of the block table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockRecord {
    pub(crate) info: BlockInfo,
    pub(crate) first_anchor: u32,
    /// The number of its first running checksum, if it has any.
    pub(crate) first_running: Option<u32>,
}

impl BlockRecord {
    pub(crate) fn encode(&self) -> [u8; BLOCK_RECORD_BYTES] {
        let info = &self.info;
        let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        let flags = if info.crc32c.is_some() { BLOCK_HAS_CRC } else { 0 }
            | if self.first_running.is_some() { BLOCK_HAS_RUNNING } else { 0 };
        let words = [
            info.offset_bytes,
            info.min_time.as_ns(),
            info.max_time.as_ns(),
            info.seq_num,
            pair(info.first_packet.0, info.packets),
            pair(info.used_bytes, info.crc32c.unwrap_or_default()),
            pair(self.first_anchor, flags),
            u64::from(self.first_running.unwrap_or_default()),
        ];
        let mut bytes = [0; BLOCK_RECORD_BYTES];
        for (place, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(words) {
            *place = word.to_le_bytes();
        }
        bytes
    }

    /// `None` for fewer than 64 bytes.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let crc = u32_at(bytes, 44)?;
        let flags = u32_at(bytes, 52)?;
        let info = BlockInfo {
            offset_bytes: u64_at(bytes, 0)?,
            min_time: TimestampNs::new(u64_at(bytes, 8)?),
            max_time: TimestampNs::new(u64_at(bytes, 16)?),
            seq_num: u64_at(bytes, 24)?,
            first_packet: PacketNo(u32_at(bytes, 32)?),
            packets: u32_at(bytes, 36)?,
            used_bytes: u32_at(bytes, 40)?,
            crc32c: (flags & BLOCK_HAS_CRC != 0).then_some(crc),
        };
        let first_running = u32_at(bytes, 56)?;
        let first_running = (flags & BLOCK_HAS_RUNNING != 0).then_some(first_running);
        Some(Self { info, first_anchor: u32_at(bytes, 48)?, first_running })
    }
}

mod class_flag {
    pub(super) const PROTOCOL: u8 = 1;
    pub(super) const PORTS: u8 = 1 << 1;
    pub(super) const LATER_FRAGMENTS: u8 = 1 << 2;
}

mod network {
    pub(super) const NONE: u8 = 0;
    pub(super) const TYPE_FIELD: u8 = 1;
    pub(super) const V4: u8 = 4;
    pub(super) const V6: u8 = 6;
}

/// Appends a class record.
pub(crate) fn encode_class(class: &Class, out: &mut Vec<u8>) {
    let (network, ether_type) = match class.network {
        NetworkKind::None { ether_type: None } => (network::NONE, 0),
        NetworkKind::None { ether_type: Some(ether_type) } => (network::TYPE_FIELD, ether_type),
        NetworkKind::V4 => (network::V4, 0),
        NetworkKind::V6 => (network::V6, 0),
    };
    let flags = if class.protocol.is_some() { class_flag::PROTOCOL } else { 0 }
        | if class.has_ports { class_flag::PORTS } else { 0 }
        | if class.later_fragments { class_flag::LATER_FRAGMENTS } else { 0 };
    out.extend_from_slice(&[network, flags, class.protocol.unwrap_or_default(), 0]);
    out.extend_from_slice(&ether_type.to_le_bytes());
    out.extend_from_slice(&[0, 0]);
    // A stack is read from a frame, whose length has 32 bits.
    out.extend_from_slice(&u32::try_from(class.tags.len()).unwrap_or(u32::MAX).to_le_bytes());
    for tag in &class.tags {
        out.extend_from_slice(&encode_tag(*tag).to_le_bytes());
    }
}

/// Decodes `count` class records, which must fill `bytes`.
pub(crate) fn decode_classes(mut bytes: &[u8], count: u64) -> Result<Vec<Class>, IndexError> {
    let mut classes = Vec::with_capacity(usize::try_from(count).unwrap_or(0).min(bytes.len() / CLASS_HEAD_BYTES));
    for i in 0..count {
        let corrupt = |what| IndexError::corrupt("classes", what, i);
        let cut = || corrupt("the section ends within a class");
        let &[network, flags, protocol, _] = bytes.first_chunk().ok_or_else(cut)?;
        let ether_type = u16_at(bytes, 4).ok_or_else(cut)?;
        let tags = u32_at(bytes, 8).ok_or_else(cut)? as usize;
        let end = tags.checked_mul(4).and_then(|len| len.checked_add(CLASS_HEAD_BYTES)).ok_or_else(cut)?;
        let (record, rest) = bytes.split_at_checked(end).ok_or_else(cut)?;
        let stack = record.get(CLASS_HEAD_BYTES..).unwrap_or_default().as_chunks::<4>().0;
        let tags: Option<Vec<_>> = stack.iter().map(|tag| decode_tag(u32::from_le_bytes(*tag))).collect();
        let network = match network {
            network::NONE => NetworkKind::None { ether_type: None },
            network::TYPE_FIELD => NetworkKind::None { ether_type: Some(ether_type) },
            network::V4 => NetworkKind::V4,
            network::V6 => NetworkKind::V6,
            _ => return Err(corrupt("an unknown network layer")),
        };
        classes.push(Class {
            network,
            protocol: (flags & class_flag::PROTOCOL != 0).then_some(protocol),
            has_ports: flags & class_flag::PORTS != 0,
            later_fragments: flags & class_flag::LATER_FRAGMENTS != 0,
            tags: tags.ok_or_else(|| corrupt("a tag out of range"))?,
        });
        bytes = rest;
    }
    if bytes.is_empty() { Ok(classes) } else { Err(IndexError::corrupt("classes", "bytes behind the last one", count)) }
}
