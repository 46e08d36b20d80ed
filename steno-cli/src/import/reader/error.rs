//! Why a capture file cannot be read, or not to its end.

use std::io;

/// Why reading a capture file ended early. Offsets count the bytes of the capture, decompressed where it was compressed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The file is something else.
    #[error("not a pcap or pcapng file: {what}")]
    NotACapture {
        /// What it is, or how it starts.
        what: String,
    },
    /// The file ends within a header, a packet or a block.
    #[error("the file is cut: {what} at byte {offset_bytes} needs {expected} bytes, {got} are there")]
    Cut {
        /// The structure that is not whole.
        what: &'static str,
        /// Where it starts.
        offset_bytes: u64,
        /// Bytes that it needs.
        expected: u64,
        /// Bytes that are there.
        got: u64,
    },
    /// What the file says cannot be.
    #[error("the file is damaged at byte {offset_bytes}: {why}")]
    Damaged {
        /// Where the structure starts.
        offset_bytes: u64,
        /// What is wrong with it.
        why: String,
    },
    /// The gzip stream around the capture breaks off or does not add up.
    #[error("the gzip data breaks after {offset_bytes} bytes of the capture")]
    Gzip {
        /// Bytes of the capture that were unpacked.
        offset_bytes: u64,
        /// What the decompressor says.
        source: io::Error,
    },
    /// The file cannot be read.
    #[error("reading fails after {offset_bytes} bytes")]
    Io {
        /// Bytes that were read.
        offset_bytes: u64,
        /// What the system says.
        source: io::Error,
    },
}

impl ReadError {
    /// Whether the file is no capture at all, so that nothing of it can be read.
    pub fn is_not_a_capture(&self) -> bool {
        matches!(self, Self::NotACapture { .. })
    }
}
