//! What can go wrong with an index: one type for building, reading and checking.

use std::{io, path::PathBuf};

use steno_core::block::BlockError;

use crate::log::LogError;

/// Why an index could not be built, opened or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// The file could not be opened or mapped.
    #[error("open the index {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The index could not be written.
    #[error("write the index")]
    Write {
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The packet file could not be read.
    #[error("read the packet file at offset {offset_bytes}")]
    ReadPackets {
        /// Where.
        offset_bytes: u64,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file does not end as an index does.
    #[error("not an index: it ends in {got:02x?}, expected {expected:02x?}")]
    NotAnIndex {
        /// The last eight bytes, or fewer if there are not as many.
        got: Vec<u8>,
        /// The magic of the format.
        expected: [u8; 8],
    },
    /// The file has another major version.
    #[error("the index has version {got_major}.{got_minor}, this program reads version {expected_major}")]
    Version {
        /// Major version of the file.
        got_major: u16,
        /// Minor version of the file.
        got_minor: u16,
        /// The major version that is read here.
        expected_major: u16,
    },
    /// The file is shorter or longer than its footer says.
    #[error("the index is {got} bytes long, its footer says {expected}")]
    Length {
        /// What the footer says.
        expected: u64,
        /// What is there.
        got: u64,
    },
    /// Bytes differ from their checksum.
    #[error("checksum of {what} at offset {offset_bytes} is {got:#010x}, expected {expected:#010x}")]
    Checksum {
        /// What is covered.
        what: &'static str,
        /// Where it starts in the file.
        offset_bytes: u64,
        /// The checksum stored.
        expected: u32,
        /// That of the bytes.
        got: u32,
    },
    /// The contents contradict themselves or the format.
    #[error("{section}: {what} (item {item})")]
    Corrupt {
        /// The part of the file.
        section: &'static str,
        /// What is wrong with it.
        what: &'static str,
        /// Which item of that part.
        item: u64,
    },
    /// The caller asked for something that the index does not have.
    #[error("no {what} {got}: the index has {count}")]
    NoSuch {
        /// The kind of thing.
        what: &'static str,
        /// Its number.
        got: u64,
        /// How many there are.
        count: u64,
    },
    /// There is more than the format can hold.
    #[error("{what}: {got} is more than an index can hold ({most})")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How much.
        got: u64,
        /// How much is possible.
        most: u64,
    },
    /// The log does not decode.
    #[error("read the log")]
    Log(#[from] LogError),
    /// A block of the packet file is not one.
    #[error("the block at offset {offset_bytes} of the packet file is damaged")]
    Block {
        /// Where the block starts in the packet file.
        offset_bytes: u64,
        /// What is wrong with it.
        #[source]
        source: BlockError,
    },
}

impl IndexError {
    /// Whether the bytes of the index are at fault: building it again from its packets mends that.
    pub fn is_corrupt(&self) -> bool {
        matches!(self, Self::NotAnIndex { .. } | Self::Length { .. } | Self::Checksum { .. } | Self::Corrupt { .. })
    }

    pub(crate) fn corrupt(section: &'static str, what: &'static str, item: impl Into<u64>) -> Self {
        Self::Corrupt { section, what, item: item.into() }
    }
}
