//! Capture files out of packets: pcap, nanosecond pcap, and pcapng (step 12 of the data flow).
//!
//! [`CaptureWriter`] appends to a byte buffer of the caller's, so that a record is assembled once, in the chunk that goes
//! out. Reading capture files is no business of this module.

mod classic;
mod ng;
mod writer;

pub use classic::{FILE_HEADER_BYTES, RECORD_HEADER_BYTES};
pub use writer::{CaptureMeta, CaptureWriter, Format, InterfaceDrops, InterfaceMeta, ParseFormatError, Record};

/// LINKTYPE_ETHERNET (the tcpdump group's list of link-layer header types).
pub const LINKTYPE_ETHERNET: u16 = 1;
/// The snapshot length that files announce: tcpdump's default, which no Ethernet frame exceeds.
pub const SNAPLEN: u32 = 262_144;
/// The snapshot length that stenographer 1.0.1 announces. libpcap cuts the packets of a file to what it announces.
pub const LEGACY_SNAPLEN: u32 = 65_536;
