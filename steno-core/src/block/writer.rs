//! Builds a block as the kernel would fill it: for imported captures, for packets that come from elsewhere than the
//! kernel's ring, and for tests.

use super::{BLOCK_HEADER_BYTES, BlockError, BlockHeader, PACKET_HEADER_BYTES, PacketHeader, TP_STATUS_USER};
use crate::TimestampNs;

/// Packet headers start at multiples of this within a block: V3_ALIGNMENT of net/packet/af_packet.c.
pub const PACKET_ALIGN_BYTES: u32 = 8;

/// Where the kernel puts the network layer of an Ethernet frame: `tpacket3_hdr` and `sockaddr_ll` (68 bytes), and 16 for
/// the link layer, rounded up to TPACKET_ALIGNMENT (16).
const NET_OFFSET: u16 = 96;
/// The frame starts an Ethernet header (14 bytes) before that.
const MAC_OFFSET: u16 = 82;

/// Bytes of the `struct sockaddr_ll` behind a packet's header.
pub const LINK_ADDRESS_BYTES: usize = 20;

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Push {
    /// Its header lies at this offset of the block.
    Stored {
        /// Offset from the start of the block.
        offset_bytes: u32,
    },
    /// It does not fit any more: finish this block, and push it again.
    Full,
}

/// A block in the making, of a fixed size, in memory of its own or in what it is given.
#[derive(Debug)]
pub struct BlockWriter<B = Vec<u8>> {
    bytes: B,
    used_bytes: usize,
    last_offset: usize,
    packets: u32,
    first: TimestampNs,
    last: TimestampNs,
}

impl BlockWriter {
    /// A writer of blocks of `block_bytes` bytes (1 MiB, [`crate::BLOCK_BYTES`], unless there is a reason).
    pub fn new(block_bytes: u32) -> Self {
        Self::over(vec![0; block_bytes.max(BLOCK_HEADER_BYTES) as usize])
    }

    /// Begins an empty block in the same memory.
    pub fn clear(&mut self) {
        if let Some(used) = self.bytes.get_mut(..self.used_bytes) {
            used.fill(0);
        }
        self.used_bytes = BLOCK_HEADER_BYTES as usize;
        self.packets = 0;
    }
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> BlockWriter<B> {
    /// A writer of one block into `bytes`, as long as the block is to be. What they hold before means nothing, and is what
    /// lies between packets then.
    pub fn over(bytes: B) -> Self {
        let used_bytes = BLOCK_HEADER_BYTES as usize;
        let (first, last) = (TimestampNs::MIN, TimestampNs::MIN);
        Self { bytes, used_bytes, last_offset: 0, packets: 0, first, last }
    }

    /// Appends a packet that was `wire_len` bytes long, of which `frame` was captured, tags and all.
    ///
    /// # Errors
    /// [`BlockError::FrameTooLarge`] for a frame that does not fit an empty block.
    pub fn push(&mut self, time: TimestampNs, wire_len: u32, frame: &[u8]) -> Result<Push, BlockError> {
        self.push_with(time, wire_len, frame, |_| ())
    }

    /// As [`Self::push`], with the address (`struct sockaddr_ll`) that a packet socket gives with a packet.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn push_from(
        &mut self,
        time: TimestampNs,
        frame: &[u8],
        address: &[u8; LINK_ADDRESS_BYTES],
        complete: impl FnOnce(&mut PacketHeader),
    ) -> Result<Push, BlockError> {
        let push = self.push_with(time, u32::try_from(frame.len()).unwrap_or(u32::MAX), frame, complete)?;
        if let Push::Stored { offset_bytes } = push {
            self.put((offset_bytes + PACKET_HEADER_BYTES) as usize, address);
        }
        Ok(push)
    }

    /// As [`Self::push`], with the header completed by `complete` (a stripped tag, a hash).
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn push_with(
        &mut self,
        time: TimestampNs,
        wire_len: u32,
        frame: &[u8],
        complete: impl FnOnce(&mut PacketHeader),
    ) -> Result<Push, BlockError> {
        let bytes = self.bytes.as_mut();
        let most = bytes.len().saturating_sub(BLOCK_HEADER_BYTES as usize + usize::from(MAC_OFFSET));
        let snaplen = u32::try_from(frame.len()).ok().filter(|_| frame.len() <= most);
        let Some(snaplen) = snaplen else {
            let (got, most) = (frame.len() as u64, u32::try_from(most).unwrap_or(u32::MAX));
            return Err(BlockError::FrameTooLarge { got, most });
        };
        let start = self.used_bytes;
        let frame_start = start + usize::from(MAC_OFFSET);
        let Some(place) = bytes.get_mut(frame_start..frame_start + frame.len()) else {
            return Ok(Push::Full);
        };
        place.copy_from_slice(frame);
        let mut header = PacketHeader {
            sec: u32::try_from(time.secs()).unwrap_or(u32::MAX),
            nsec: time.subsec_ns(),
            snaplen,
            len: wire_len,
            status: TP_STATUS_USER,
            mac: MAC_OFFSET,
            net: NET_OFFSET,
            ..PacketHeader::default()
        };
        complete(&mut header);
        self.put(start, &header.encode());
        if self.packets == 0 {
            self.first = time;
        } else {
            let step = u32::try_from(start - self.last_offset).unwrap_or(u32::MAX);
            self.put(self.last_offset, &step.to_le_bytes());
        }
        self.last = time;
        self.last_offset = start;
        self.packets += 1;
        let end = frame_start + frame.len();
        self.used_bytes = end.next_multiple_of(PACKET_ALIGN_BYTES as usize).min(self.bytes.as_ref().len());
        Ok(Push::Stored { offset_bytes: u32::try_from(start).unwrap_or(u32::MAX) })
    }

    /// Packets pushed since the block was begun.
    pub fn packets(&self) -> u32 {
        self.packets
    }

    /// Writes the block header. The whole block comes back, its unused part as it was; zero, where the memory is its own.
    pub fn finish(&mut self, seq_num: u64) -> &[u8] {
        let used = u32::try_from(self.used_bytes).unwrap_or(u32::MAX);
        let header = BlockHeader::new(self.packets, used, seq_num, self.first, self.last);
        self.put(0, &header.encode());
        self.bytes.as_ref()
    }

    /// The memory, as [`Self::finish`] has left it.
    pub fn into_memory(self) -> B {
        self.bytes
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        // Every caller has made sure that the place is within the block.
        if let Some(place) = self.bytes.as_mut().get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::Block;

    #[test]
    fn a_full_block_takes_the_largest_frame_and_no_larger() {
        let mut writer = BlockWriter::new(4096);
        let most = 4096 - 48 - 82;
        let too_large = writer.push(TimestampNs::MIN, 0, &vec![0; most + 1]);
        assert_eq!(
            too_large,
            Err(BlockError::FrameTooLarge { got: most as u64 + 1, most: u32::try_from(most).unwrap() })
        );
        assert_eq!(writer.push(TimestampNs::MIN, 0, &vec![7; most]), Ok(Push::Stored { offset_bytes: 48 }));
        assert_eq!(writer.push(TimestampNs::MIN, 0, &[]), Ok(Push::Full));
        let block = Block::parse(writer.finish(1)).unwrap();
        assert_eq!(block.header().blk_len, 4096);
        assert_eq!(block.packets().next().unwrap().unwrap().bytes, vec![7; most]);
    }

    #[test]
    fn a_cleared_writer_keeps_nothing() {
        let mut writer = BlockWriter::new(4096);
        let _ = writer.push(TimestampNs::new(5), 9, &[1; 500]).unwrap();
        let _ = writer.finish(1);
        writer.clear();
        let _ = writer.push(TimestampNs::new(6), 9, &[2; 10]).unwrap();
        let bytes = writer.finish(2).to_vec();
        let block = Block::parse(&bytes).unwrap();
        assert_eq!((block.header().num_pkts, block.header().seq_num), (1, 2));
        assert!(bytes[block.used().len()..].iter().all(|&b| b == 0));
    }

    #[test]
    fn memory_that_was_used_before_gives_the_same_packets() {
        let mut writer = BlockWriter::over([0xa5; 512]);
        let address = [7; LINK_ADDRESS_BYTES];
        for i in 1..=2u8 {
            let time = TimestampNs::new(i.into());
            let push = writer.push_from(time, &[i; 30], &address, |header| header.status |= 64).unwrap();
            assert_eq!(push, Push::Stored { offset_bytes: 48 + 112 * (u32::from(i) - 1) });
        }
        assert_eq!(writer.push(TimestampNs::new(3), 900, &[0; 300]), Ok(Push::Full));
        let _ = writer.finish(9);
        let memory = writer.into_memory();
        let block = Block::parse(&memory).unwrap();
        let packets: Vec<_> = block.packets().map(Result::unwrap).collect();
        assert_eq!((packets.len(), block.header().seq_num, block.header().ts_last), (2, 9, (0, 2)));
        for (i, packet) in (1..).zip(&packets) {
            assert_eq!((packet.bytes, packet.header.status), (&[i; 30][..], TP_STATUS_USER | 64));
            let at = packet.offset_bytes as usize + 48;
            assert_eq!(memory[at..at + 20], address);
        }
    }

    #[test]
    fn headers_are_those_of_the_kernel() {
        let mut writer = BlockWriter::new(4096);
        let _ = writer.push(TimestampNs::from_parts(3, 4), 60, &[1; 60]).unwrap();
        let _ = writer.push(TimestampNs::from_parts(5, 6), 61, &[2; 61]).unwrap();
        let bytes = writer.finish(1).to_vec();
        let block = Block::parse(&bytes).unwrap();
        let h = block.header();
        assert_eq!((h.version, h.offset_to_priv, h.status, h.offset_to_first_pkt), (2, 48, 1, 48));
        assert_eq!((h.ts_first, h.ts_last), ((3, 4), (5, 6)));
        // 48 + (82 + 60 rounded up to 8) + (82 + 61 rounded up to 8)
        assert_eq!(h.blk_len, 48 + 144 + 144);
        let packets: Vec<_> = block.packets().map(Result::unwrap).collect();
        assert_eq!((packets[0].header.next_offset, packets[1].header.next_offset), (144, 0));
        assert_eq!((packets[0].header.mac, packets[0].header.net), (82, 96));
    }
}
