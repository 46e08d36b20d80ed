//! What can be wrong with the bytes of a block.

/// Why bytes are not a block, or a packet of one. Offsets count from the start of the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BlockError {
    /// Fewer bytes than the structure needs.
    #[error("{what} at offset {offset_bytes} needs {expected} bytes, {got} are there")]
    Short {
        /// The structure.
        what: &'static str,
        /// Where it starts.
        offset_bytes: u32,
        /// Bytes that it needs.
        expected: u64,
        /// Bytes that are there.
        got: u64,
    },
    /// `blk_len` is smaller than a block header or larger than the block.
    #[error("the block says that it uses {got} bytes, which is not within {least} to {most}")]
    BadLength {
        /// What the header says.
        got: u32,
        /// The least that it can be.
        least: u32,
        /// The bytes there are.
        most: u64,
    },
    /// The block version is not TPACKET_V3's.
    #[error("block version {got}, expected 2 (TPACKET_V3)")]
    BadVersion {
        /// What the header says.
        got: u32,
    },
    /// `offset_to_first_pkt` points into the block header or past the used part.
    #[error("the first packet is said to be at offset {got}, outside of the block's used {used_bytes} bytes")]
    BadFirstPacket {
        /// What the header says.
        got: u32,
        /// Used bytes of the block.
        used_bytes: u32,
    },
    /// `tp_next_offset` is zero before the last packet, or does not lead to a later header.
    #[error(
        "the packet at offset {offset_bytes} leads on by {got} bytes, which is no place for packet {packet} of {packets}"
    )]
    BadChain {
        /// Where the packet starts.
        offset_bytes: u32,
        /// What its header says.
        got: u32,
        /// The ordinal in the block of the packet that should follow.
        packet: u32,
        /// Packets that the block announces.
        packets: u32,
    },
    /// `tp_mac` points into the packet header.
    #[error(
        "the frame of the packet at offset {offset_bytes} is said to start {got} bytes after it, inside its header"
    )]
    BadFrameOffset {
        /// Where the packet starts.
        offset_bytes: u32,
        /// What its header says.
        got: u16,
    },
    /// The frame does not fit an empty block.
    #[error("a frame of {got} bytes does not fit a block, which holds one of {most} bytes at the most")]
    FrameTooLarge {
        /// Bytes of the frame.
        got: u64,
        /// Bytes that fit.
        most: u32,
    },
}
