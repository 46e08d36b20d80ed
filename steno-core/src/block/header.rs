//! The two fixed headers of a block: `struct tpacket_block_desc` and `struct tpacket3_hdr`, field by field.
//!
//! Both are in the byte order of the host that captured; every supported host is little-endian.

use byteorder::{ByteOrder, LittleEndian};

use super::BlockError;
use crate::TimestampNs;

/// Bytes of `struct tpacket_block_desc`.
pub const BLOCK_HEADER_BYTES: u32 = 48;
/// Bytes of `struct tpacket3_hdr`.
pub const PACKET_HEADER_BYTES: u32 = 48;

/// The block, or the packet, is the reader's (linux/if_packet.h).
pub const TP_STATUS_USER: u32 = 1;
/// The packet's `tp_vlan_tci` holds a tag that the kernel took out of the frame.
pub const TP_STATUS_VLAN_VALID: u32 = 1 << 4;
/// The block was retired by its timer.
pub const TP_STATUS_BLK_TMO: u32 = 1 << 5;
/// The packet's `tp_vlan_tpid` holds that tag's TPID; without it the TPID is 0x8100.
pub const TP_STATUS_VLAN_TPID_VALID: u32 = 1 << 6;

/// TPACKET_V3 as `version` says it.
const TPACKET_V3: u32 = 2;

/// `struct tpacket_block_desc`: what the first 48 bytes of a block say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockHeader {
    /// 2 for TPACKET_V3.
    pub version: u32,
    /// Where the private area would start; 48 where there is none.
    pub offset_to_priv: u32,
    /// TP_STATUS_ bits.
    pub status: u32,
    /// Packets in the block.
    pub num_pkts: u32,
    /// Offset of the first packet header from the start of the block.
    pub offset_to_first_pkt: u32,
    /// Bytes used, this header and the last packet's padding included.
    pub blk_len: u32,
    /// Counts the blocks of a ring, from 1.
    pub seq_num: u64,
    /// Seconds and nanoseconds of the first packet.
    pub ts_first: (u32, u32),
    /// Seconds and nanoseconds of the last packet; of the timer, when it retired the block.
    pub ts_last: (u32, u32),
}

impl BlockHeader {
    /// A header for `num_pkts` packets behind it in `blk_len` used bytes, as the kernel would fill it in.
    pub fn new(num_pkts: u32, blk_len: u32, seq_num: u64, first: TimestampNs, last: TimestampNs) -> Self {
        Self {
            version: TPACKET_V3,
            offset_to_priv: BLOCK_HEADER_BYTES,
            status: TP_STATUS_USER,
            num_pkts,
            offset_to_first_pkt: BLOCK_HEADER_BYTES,
            blk_len,
            seq_num,
            ts_first: split(first),
            ts_last: split(last),
        }
    }

    /// Reads the header at the start of `bytes`, as it stands: nothing but its length is checked.
    ///
    /// # Errors
    /// [`BlockError::Short`] for fewer than 48 bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, BlockError> {
        let b: &[u8; BLOCK_HEADER_BYTES as usize] = fixed(bytes, "a block header", 0)?;
        Ok(Self {
            version: word(b, 0),
            offset_to_priv: word(b, 4),
            status: word(b, 8),
            num_pkts: word(b, 12),
            offset_to_first_pkt: word(b, 16),
            blk_len: word(b, 20),
            seq_num: u64::from(word(b, 24)) | u64::from(word(b, 28)) << 32,
            ts_first: (word(b, 32), word(b, 36)),
            ts_last: (word(b, 40), word(b, 44)),
        })
    }

    /// The header's 48 bytes.
    pub fn encode(&self) -> [u8; BLOCK_HEADER_BYTES as usize] {
        let [seq_low, seq_high] = halves(self.seq_num);
        encode_words([
            self.version,
            self.offset_to_priv,
            self.status,
            self.num_pkts,
            self.offset_to_first_pkt,
            self.blk_len,
            seq_low,
            seq_high,
            self.ts_first.0,
            self.ts_first.1,
            self.ts_last.0,
            self.ts_last.1,
        ])
    }

    /// Checks what a walk relies on, for a block of which `available_bytes` are at hand.
    ///
    /// # Errors
    /// Another version, and lengths or offsets that lie outside of the block.
    pub fn check(&self, available_bytes: usize) -> Result<(), BlockError> {
        if self.version != TPACKET_V3 {
            return Err(BlockError::BadVersion { got: self.version });
        }
        if self.blk_len < BLOCK_HEADER_BYTES || u64::from(self.blk_len) > available_bytes as u64 {
            let most = available_bytes as u64;
            return Err(BlockError::BadLength { got: self.blk_len, least: BLOCK_HEADER_BYTES, most });
        }
        let first = self.offset_to_first_pkt;
        if self.num_pkts > 0 && !(BLOCK_HEADER_BYTES..self.blk_len).contains(&first) {
            return Err(BlockError::BadFirstPacket { got: first, used_bytes: self.blk_len });
        }
        Ok(())
    }
}

/// `struct tpacket3_hdr`: what the 48 bytes before a packet's link-layer address say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacketHeader {
    /// Bytes from this header to the next; 0 in a block's last packet.
    pub next_offset: u32,
    /// Seconds of the arrival time.
    pub sec: u32,
    /// Nanoseconds of the arrival time.
    pub nsec: u32,
    /// Bytes captured, without a tag that the kernel took out.
    pub snaplen: u32,
    /// Bytes on the wire, without that tag.
    pub len: u32,
    /// TP_STATUS_ bits.
    pub status: u32,
    /// Bytes from this header to the frame.
    pub mac: u16,
    /// Bytes from this header to the network layer.
    pub net: u16,
    /// The receive hash of the card or the kernel, where asked for.
    pub rxhash: u32,
    /// The tag control information of the tag that was taken out.
    pub vlan_tci: u32,
    /// That tag's TPID.
    pub vlan_tpid: u16,
}

impl PacketHeader {
    /// Reads the header at `offset_bytes` of `bytes`, as it stands: nothing but its length is checked.
    ///
    /// # Errors
    /// [`BlockError::Short`] where fewer than 48 bytes are left.
    pub fn parse(bytes: &[u8], offset_bytes: u32) -> Result<Self, BlockError> {
        let rest = bytes.get(offset_bytes as usize..).unwrap_or_default();
        let b: &[u8; PACKET_HEADER_BYTES as usize] = fixed(rest, "a packet header", offset_bytes)?;
        Ok(Self {
            next_offset: word(b, 0),
            sec: word(b, 4),
            nsec: word(b, 8),
            snaplen: word(b, 12),
            len: word(b, 16),
            status: word(b, 20),
            mac: half_word(b, 24),
            net: half_word(b, 26),
            rxhash: word(b, 28),
            vlan_tci: word(b, 32),
            vlan_tpid: half_word(b, 36),
        })
    }

    /// The header's 48 bytes.
    pub fn encode(&self) -> [u8; PACKET_HEADER_BYTES as usize] {
        encode_words([
            self.next_offset,
            self.sec,
            self.nsec,
            self.snaplen,
            self.len,
            self.status,
            u32::from(self.mac) | u32::from(self.net) << 16,
            self.rxhash,
            self.vlan_tci,
            u32::from(self.vlan_tpid),
            0,
            0,
        ])
    }

    /// The arrival time.
    pub fn timestamp(&self) -> TimestampNs {
        TimestampNs::from_parts(self.sec, self.nsec)
    }
}

/// The words of a header one after the other, little-endian.
fn encode_words(words: [u32; 12]) -> [u8; 48] {
    let mut bytes = [0; 48];
    for (place, value) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(words) {
        *place = value.to_le_bytes();
    }
    bytes
}

#[expect(clippy::cast_possible_truncation, reason = "the two halves of a word, on purpose")]
fn halves(value: u64) -> [u32; 2] {
    [value as u32, (value >> 32) as u32]
}

/// Seconds and nanoseconds as a header has room for; times after 2106 stay at the end of it.
fn split(time: TimestampNs) -> (u32, u32) {
    u32::try_from(time.secs()).map_or((u32::MAX, 999_999_999), |secs| (secs, time.subsec_ns()))
}

fn fixed<'a, const N: usize>(
    bytes: &'a [u8],
    what: &'static str,
    offset_bytes: u32,
) -> Result<&'a [u8; N], BlockError> {
    let (expected, got) = (N as u64, bytes.len() as u64);
    bytes.first_chunk().ok_or(BlockError::Short { what, offset_bytes, expected, got })
}

/// The word at `at` of a header. `at` is a constant below 45 at each call.
#[inline]
fn word(bytes: &[u8; 48], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, LittleEndian::read_u32)
}

#[inline]
fn half_word(bytes: &[u8; 48], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, LittleEndian::read_u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first 48 bytes of a block that Linux 6.18 filled, and the packet header behind them.
    #[test]
    fn fields_lie_where_if_packet_h_puts_them() {
        let mut bytes = [0u8; 48];
        for (i, b) in bytes.iter_mut().enumerate() {
            *b = u8::try_from(i).unwrap();
        }
        let h = BlockHeader::parse(&bytes).unwrap();
        assert_eq!(h.version, 0x0302_0100);
        assert_eq!(h.offset_to_priv, 0x0706_0504);
        assert_eq!(h.status, 0x0b0a_0908);
        assert_eq!(h.num_pkts, 0x0f0e_0d0c);
        assert_eq!(h.offset_to_first_pkt, 0x1312_1110);
        assert_eq!(h.blk_len, 0x1716_1514);
        assert_eq!(h.seq_num, 0x1f1e_1d1c_1b1a_1918);
        assert_eq!(h.ts_first, (0x2322_2120, 0x2726_2524));
        assert_eq!(h.ts_last, (0x2b2a_2928, 0x2f2e_2d2c));
        assert_eq!(h.encode(), bytes);

        let p = PacketHeader::parse(&bytes, 0).unwrap();
        assert_eq!(p.next_offset, 0x0302_0100);
        assert_eq!((p.sec, p.nsec), (0x0706_0504, 0x0b0a_0908));
        assert_eq!((p.snaplen, p.len), (0x0f0e_0d0c, 0x1312_1110));
        assert_eq!(p.status, 0x1716_1514);
        assert_eq!((p.mac, p.net), (0x1918, 0x1b1a));
        assert_eq!(p.rxhash, 0x1f1e_1d1c);
        assert_eq!((p.vlan_tci, p.vlan_tpid), (0x2322_2120, 0x2524));
        assert_eq!(p.encode()[..38], bytes[..38]);
        assert_eq!(p.encode()[38..], [0; 10], "padding is written as zeros");
    }

    #[test]
    fn a_cut_header_says_where_and_how_much() {
        let err = PacketHeader::parse(&[0; 60], 20).unwrap_err();
        assert_eq!(err, BlockError::Short { what: "a packet header", offset_bytes: 20, expected: 48, got: 40 });
        assert!(PacketHeader::parse(&[0; 60], u32::MAX).is_err());
        assert!(BlockHeader::parse(&[0; 47]).is_err());
    }
}
