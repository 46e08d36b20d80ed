//! Walks the packets of a block that comes from a disk or a ring, trusting none of its offsets.

use super::{
    BLOCK_HEADER_BYTES, BlockError, BlockHeader, PACKET_HEADER_BYTES, PacketHeader, TP_STATUS_VLAN_TPID_VALID,
    TP_STATUS_VLAN_VALID,
};
use crate::{
    TimestampNs,
    packet::{Frame, VlanTag},
};

/// The TPID of a tag whose header does not say it: 802.1Q.
const TPID_8021Q: u16 = 0x8100;

/// A block: its header, checked, and its used bytes.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    header: BlockHeader,
    used: &'a [u8],
}

impl<'a> Block<'a> {
    /// Takes the block at the start of `bytes`, of which at least the used part must be there.
    ///
    /// # Errors
    /// A header that is cut, of another version, or at odds with the bytes behind it. The packets are checked when they
    /// are walked.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BlockError> {
        let header = BlockHeader::parse(bytes)?;
        header.check(bytes.len())?;
        // `check` has compared the length; the fallback is never taken.
        let used = bytes.get(..header.blk_len as usize).unwrap_or(bytes);
        Ok(Self { header, used })
    }

    /// The header.
    pub fn header(&self) -> &BlockHeader {
        &self.header
    }

    /// The bytes in use, from the block header to the padding of the last packet: what a block's CRC-32C covers.
    pub fn used(&self) -> &'a [u8] {
        self.used
    }

    /// The packets in ring order. Ends after the first error, and after as many as the header announces.
    pub fn packets(&self) -> Packets<'a> {
        Packets {
            used: self.used,
            packets: self.header.num_pkts,
            walked: 0,
            offset_bytes: self.header.offset_to_first_pkt,
        }
    }
}

/// The packets of a block; see [`Block::packets`].
#[derive(Clone, Debug)]
pub struct Packets<'a> {
    used: &'a [u8],
    packets: u32,
    walked: u32,
    offset_bytes: u32,
}

impl<'a> Iterator for Packets<'a> {
    type Item = Result<RawPacket<'a>, BlockError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.walked >= self.packets {
            return None;
        }
        let result = packet_at(self.used, self.offset_bytes).and_then(|packet| {
            self.walked += 1;
            if self.walked < self.packets {
                self.offset_bytes = self.follow(&packet)?;
            }
            Ok(packet)
        });
        if result.is_err() {
            self.walked = self.packets;
        }
        Some(result)
    }
}

impl Packets<'_> {
    /// Where the packet after `packet` starts. Always further on, so that a walk ends.
    fn follow(&self, packet: &RawPacket<'_>) -> Result<u32, BlockError> {
        let step = packet.header.next_offset;
        let next = packet.offset_bytes.checked_add(step);
        next.filter(|&next| step >= PACKET_HEADER_BYTES && (next as usize) < self.used.len()).ok_or(
            BlockError::BadChain {
                offset_bytes: packet.offset_bytes,
                got: step,
                packet: self.walked,
                packets: self.packets,
            },
        )
    }
}

/// A packet as it lies in a block.
#[derive(Clone, Copy, Debug)]
pub struct RawPacket<'a> {
    /// Its header.
    pub header: PacketHeader,
    /// Where the header starts, from the start of the bytes that were walked: of the block, in a walk over one.
    pub offset_bytes: u32,
    /// The bytes captured, without a tag that the kernel took out.
    pub bytes: &'a [u8],
}

impl<'a> RawPacket<'a> {
    /// The arrival time.
    pub fn timestamp(&self) -> TimestampNs {
        self.header.timestamp()
    }

    /// The outermost VLAN tag, where the kernel took it out of the frame.
    pub fn stripped_tag(&self) -> Option<VlanTag> {
        let h = &self.header;
        if h.status & TP_STATUS_VLAN_VALID == 0 {
            return None;
        }
        let tpid = if h.status & TP_STATUS_VLAN_TPID_VALID == 0 { TPID_8021Q } else { h.vlan_tpid };
        #[expect(clippy::cast_possible_truncation, reason = "a TCI has 16 bits; the kernel widens it (if_packet.h)")]
        let tci = h.vlan_tci as u16;
        Some(VlanTag { tpid, tci })
    }

    /// The frame as it was on the wire, as far as it was captured: with its outermost tag put back.
    pub fn frame(&self) -> Frame<'a> {
        match self.stripped_tag() {
            Some(tag) => Frame::with_stripped(self.bytes, tag),
            None => Frame::new(self.bytes),
        }
    }

    /// Bytes that the frame had on the wire, its outermost tag included.
    pub fn wire_len(&self) -> u32 {
        self.header.len.saturating_add(self.frame().restored_bytes())
    }
}

/// The packet whose header is at `offset_bytes` of `bytes`. Its frame must lie within `bytes` too.
///
/// # Errors
/// A header or frame that does not lie within `bytes`.
#[inline]
pub fn packet_at(bytes: &[u8], offset_bytes: u32) -> Result<RawPacket<'_>, BlockError> {
    let header = PacketHeader::parse(bytes, offset_bytes)?;
    if u32::from(header.mac) < PACKET_HEADER_BYTES {
        return Err(BlockError::BadFrameOffset { offset_bytes, got: header.mac });
    }
    let start = offset_bytes as usize + usize::from(header.mac);
    let frame = start.checked_add(header.snaplen as usize).and_then(|end| bytes.get(start..end));
    let frame = frame.ok_or(BlockError::Short {
        what: "a frame",
        offset_bytes,
        expected: u64::from(header.mac) + u64::from(header.snaplen),
        got: (bytes.len() as u64).saturating_sub(u64::from(offset_bytes)),
    })?;
    Ok(RawPacket { header, offset_bytes, bytes: frame })
}

// The walk starts behind the block header, wherever the header says the first packet is.
const _: () = assert!(BLOCK_HEADER_BYTES == 48);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::BlockWriter;

    fn three_packets() -> Vec<u8> {
        let mut writer = BlockWriter::new(4096);
        for (i, len) in [60u32, 61, 1000].into_iter().enumerate() {
            let frame = vec![u8::try_from(i).unwrap(); len as usize];
            let time = TimestampNs::new(1_000 + i as u64);
            let _ = writer.push(time, len + 5, &frame).unwrap();
        }
        writer.finish(9).to_vec()
    }

    #[test]
    fn walks_what_was_written() {
        let bytes = three_packets();
        let block = Block::parse(&bytes).unwrap();
        let packets: Vec<_> = block.packets().map(Result::unwrap).collect();
        assert_eq!(packets.iter().map(|p| p.bytes.len()).collect::<Vec<_>>(), [60, 61, 1000]);
        assert_eq!(packets.iter().map(|p| p.wire_len()).collect::<Vec<_>>(), [65, 66, 1005]);
        assert_eq!(packets[2].timestamp(), TimestampNs::new(1_002));
        assert_eq!(packets[1].bytes, [1; 61]);
        assert!(packets.iter().all(|p| p.stripped_tag().is_none()));
    }

    #[test]
    fn the_stripped_tag_counts_and_defaults_to_8021q() {
        let mut bytes = three_packets();
        bytes[48 + 20] |= u8::try_from(TP_STATUS_VLAN_VALID).unwrap();
        bytes[48 + 32] = 100;
        bytes[48 + 36..48 + 38].copy_from_slice(&0x88a8u16.to_le_bytes());
        let first = packet_at(&bytes, 48).unwrap();
        assert_eq!(first.stripped_tag(), Some(VlanTag { tpid: 0x8100, tci: 100 }));
        assert_eq!((first.wire_len(), first.frame().len()), (69, 64));
        bytes[48 + 20] |= u8::try_from(TP_STATUS_VLAN_TPID_VALID).unwrap();
        let first = packet_at(&bytes, 48).unwrap();
        assert_eq!(first.stripped_tag(), Some(VlanTag { tpid: 0x88a8, tci: 100 }));
    }

    #[test]
    fn a_block_cut_at_any_length_is_an_error() {
        let bytes = three_packets();
        let used = Block::parse(&bytes).unwrap().used().len();
        for len in 0..used {
            assert!(Block::parse(&bytes[..len]).is_err(), "a block cut to {len} of {used} bytes was taken");
        }
        assert!(Block::parse(&bytes[..used]).is_ok(), "the zeros behind the used part are not needed");
    }

    #[test]
    fn hostile_chains_end() {
        let good = three_packets();
        let chain = |step: u32| {
            let mut bytes = good.clone();
            bytes[48..52].copy_from_slice(&step.to_le_bytes());
            Block::parse(&bytes).unwrap().packets().map(|p| p.map(|p| p.offset_bytes)).collect::<Vec<_>>()
        };
        for step in [0, 1, 47, 4096, u32::MAX] {
            let walked = chain(step);
            assert_eq!(walked.len(), 1, "step {step}");
            assert!(matches!(walked[0], Err(BlockError::BadChain { packet: 1, packets: 3, .. })), "step {step}");
        }
        // The chain may hold fewer packets than announced, never more.
        let mut bytes = good.clone();
        bytes[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
        let walked: Vec<_> = Block::parse(&bytes).unwrap().packets().collect();
        assert_eq!(walked.iter().filter(|p| p.is_ok()).count(), 2);
        assert!(walked.last().unwrap().is_err());
    }

    #[test]
    fn bad_headers_are_told_apart() {
        let good = three_packets();
        let with = |at: usize, value: u32| {
            let mut bytes = good.clone();
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
            Block::parse(&bytes).map(|_| ())
        };
        assert_eq!(with(0, 1), Err(BlockError::BadVersion { got: 1 }));
        assert_eq!(with(20, 47), Err(BlockError::BadLength { got: 47, least: 48, most: 4096 }));
        assert_eq!(with(20, 4097), Err(BlockError::BadLength { got: 4097, least: 48, most: 4096 }));
        assert!(matches!(with(16, 47), Err(BlockError::BadFirstPacket { got: 47, .. })));
        assert!(matches!(with(16, 4000), Err(BlockError::BadFirstPacket { got: 4000, .. })));
        let mut bytes = good;
        bytes[48 + 24..48 + 26].copy_from_slice(&47u16.to_le_bytes());
        assert_eq!(packet_at(&bytes, 48).map(|_| ()), Err(BlockError::BadFrameOffset { offset_bytes: 48, got: 47 }));
    }
}
