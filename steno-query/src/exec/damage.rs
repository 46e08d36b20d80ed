//! What can be wrong with what is read of a packet file.

use std::io;

use steno_core::block::BlockError;
use steno_index::IndexError;

/// What is wrong with a block, or with some of its packets.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Damage {
    #[error("read at offset {offset_bytes}")]
    Read { offset_bytes: u64, source: io::Error },
    #[error("the file ends at {file_bytes}, before the block at offset {offset_bytes} does")]
    Cut { offset_bytes: u64, file_bytes: u64 },
    #[error("checksum of the block at offset {offset_bytes} is {got:#010x}, its index says {expected:#010x}")]
    Checksum { offset_bytes: u64, expected: u32, got: u32 },
    #[error(
        "checksum of the block at offset {offset_bytes}, of bytes {start} to {end}, is {got:#010x}, its index says {expected:#010x}"
    )]
    Piece { offset_bytes: u64, start: u64, end: u64, expected: u32, got: u32 },
    #[error("the block at offset {offset_bytes} is not the one that its index describes")]
    OtherBlock { offset_bytes: u64 },
    #[error("the block at offset {offset_bytes}")]
    Block { offset_bytes: u64, source: BlockError },
    #[error("packet {packet} at offset {offset_bytes} is not the one that its index describes")]
    OtherPacket { packet: u32, offset_bytes: u64 },
    #[error("at offset {offset_bytes} there is no packet that its index describes")]
    NoSuchPacket { offset_bytes: u64 },
    #[error("{0}")]
    Head(String),
    #[error(transparent)]
    Index(#[from] IndexError),
}
