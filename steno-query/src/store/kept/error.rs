//! Why a catalogue file is not believed.

use std::io;

/// Why a catalogue file is not believed. Nothing is lost with it: the index files say the same.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeptError {
    /// The system refused.
    #[error("open it")]
    Open(#[from] io::Error),
    /// It is another kind of file.
    #[error("no catalogue: it begins with {got:02x?}")]
    NotACatalogue {
        /// Its first bytes, eight of them if it has as many.
        got: Vec<u8>,
    },
    /// It is of another version.
    #[error("version {got}, and this program knows {expected}")]
    Version {
        /// Its version.
        got: u16,
        /// The one that is known.
        expected: u16,
    },
    /// Its writer knew more or less of indexes, and passed over the rest.
    #[error("of a program that knows {got:?} of indexes, and this one {expected:?}")]
    OtherKnowledge {
        /// The minor version of indexes and the number of causes of losses that were known.
        got: [u32; 2],
        /// Those that are known now.
        expected: [u32; 2],
    },
    /// It is cut, or has grown.
    #[error("{got} bytes long, and should be {expected}")]
    Length {
        /// As it says itself.
        expected: u64,
        /// As it is.
        got: u64,
    },
    /// Its bytes are not those that were written.
    #[error("checksum of {what} is {got:#010x}, expected {expected:#010x}")]
    Checksum {
        /// Which part.
        what: &'static str,
        /// As it says itself.
        expected: u32,
        /// As it is.
        got: u32,
    },
    /// What it says cannot be.
    #[error("{what}, entry {entry}")]
    Corrupt {
        /// What is wrong.
        what: &'static str,
        /// In which entry, or in which group.
        entry: u32,
    },
}
