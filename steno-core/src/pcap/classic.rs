//! The pcap format (draft-ietf-opsawg-pcap), with microseconds or nanoseconds, little-endian.

use super::{LINKTYPE_ETHERNET, Record};

/// Bytes of the file header.
pub const FILE_HEADER_BYTES: u32 = 24;
/// Bytes of a record before its packet.
pub const RECORD_HEADER_BYTES: u32 = 16;

const MAGIC_MICROSECONDS: u32 = 0xa1b2_c3d4;
const MAGIC_NANOSECONDS: u32 = 0xa1b2_3c4d;
/// Version 2.4, as two 16-bit words.
const VERSION: u32 = 4 << 16 | 2;

/// Appends the file header, which announces packets of `snaplen` bytes at the most.
pub(super) fn start(out: &mut Vec<u8>, nanoseconds: bool, snaplen: u32) {
    let magic = if nanoseconds { MAGIC_NANOSECONDS } else { MAGIC_MICROSECONDS };
    // Time zone and accuracy are always zero.
    for word in [magic, VERSION, 0, 0, snaplen, u32::from(LINKTYPE_ETHERNET)] {
        out.extend_from_slice(&word.to_le_bytes());
    }
}

/// Appends a record. Times past 2106 do not fit and stay at the end of it.
#[inline]
pub(super) fn packet(out: &mut Vec<u8>, record: &Record<'_>, nanoseconds: bool) {
    let secs = u32::try_from(record.time.secs()).unwrap_or(u32::MAX);
    let nanos = record.time.subsec_ns();
    let fraction = if nanoseconds { nanos } else { nanos / 1_000 };
    let captured = u32::try_from(record.frame.len()).unwrap_or(u32::MAX);
    let mut header = [0; RECORD_HEADER_BYTES as usize];
    for (place, word) in header.as_chunks_mut::<4>().0.iter_mut().zip([secs, fraction, captured, record.wire_len]) {
        *place = word.to_le_bytes();
    }
    out.extend_from_slice(&header);
    record.frame.append_to(out);
}
