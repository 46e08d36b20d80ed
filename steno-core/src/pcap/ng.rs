//! The pcapng format (draft-ietf-opsawg-pcapng), little-endian: a section, its interfaces, enhanced packets with
//! nanosecond times, and interface statistics at the end.

use super::{CaptureMeta, InterfaceDrops, InterfaceMeta, Record};
use crate::TimestampNs;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;

const OPT_SHB_HARDWARE: u16 = 2;
const OPT_SHB_OS: u16 = 3;
const OPT_SHB_USERAPPL: u16 = 4;
const OPT_IF_NAME: u16 = 2;
const OPT_IF_TSRESOL: u16 = 9;
const OPT_IF_FILTER: u16 = 11;
const OPT_ISB_IFRECV: u16 = 4;
const OPT_ISB_IFDROP: u16 = 5;

/// 10⁻⁹ seconds (if_tsresol).
const NANOSECONDS: u8 = 9;
/// Block type, two lengths, and the five words before an enhanced packet's data.
const ENHANCED_PACKET_OVERHEAD: usize = 32;
/// The longest value that an option can hold.
const OPTION_BYTES_MAX: usize = u16::MAX as usize;

/// Appends the section header and a description of each interface.
pub(super) fn start(out: &mut Vec<u8>, meta: &CaptureMeta) {
    block(out, SECTION_HEADER, |out| {
        words(out, &[BYTE_ORDER_MAGIC, 1]);
        // The section's length is not known.
        words(out, &[u32::MAX, u32::MAX]);
        text(out, OPT_SHB_HARDWARE, &meta.hardware);
        text(out, OPT_SHB_OS, &meta.os);
        text(out, OPT_SHB_USERAPPL, &meta.application);
    });
    meta.interfaces.iter().for_each(|each| interface(out, each));
}

/// Appends the description of an interface.
pub(super) fn interface(out: &mut Vec<u8>, interface: &InterfaceMeta) {
    block(out, INTERFACE_DESCRIPTION, |out| {
        words(out, &[u32::from(interface.link_type), interface.snaplen]);
        text(out, OPT_IF_NAME, &interface.name);
        option(out, OPT_IF_TSRESOL, &[NANOSECONDS]);
        if !interface.filter.is_empty() {
            // Code 0: a filter text in the syntax of libpcap.
            option(out, OPT_IF_FILTER, &[&[0], interface.filter.as_bytes()].concat());
        }
    });
}

/// Appends an enhanced packet.
#[inline]
pub(super) fn packet(out: &mut Vec<u8>, record: &Record<'_>) {
    let captured = u32::try_from(record.frame.len()).unwrap_or(u32::MAX);
    let total = u32::try_from(record_bytes(record.frame.len())).unwrap_or(u32::MAX);
    let [high, low] = time(record.time);
    words(out, &[ENHANCED_PACKET, total, record.interface, high, low, captured, record.wire_len]);
    record.frame.append_to(out);
    pad(out, record.frame.len());
    words(out, &[total]);
}

/// Bytes of an enhanced packet that holds `captured` bytes.
pub(super) fn record_bytes(captured: usize) -> usize {
    ENHANCED_PACKET_OVERHEAD + captured.next_multiple_of(4)
}

/// Appends what an interface lost.
pub(super) fn statistics(out: &mut Vec<u8>, drops: &InterfaceDrops) {
    block(out, INTERFACE_STATISTICS, |out| {
        let [high, low] = time(drops.time);
        words(out, &[drops.interface, high, low]);
        if let Some(received) = drops.received {
            option(out, OPT_ISB_IFRECV, &received.to_le_bytes());
        }
        option(out, OPT_ISB_IFDROP, &drops.dropped.to_le_bytes());
    });
}

fn time(time: TimestampNs) -> [u32; 2] {
    let ns = time.as_ns();
    #[expect(clippy::cast_possible_truncation, reason = "the format takes the two halves apart")]
    [(ns >> 32) as u32, ns as u32]
}

/// Appends a block around what `body` appends, which is a multiple of 4 bytes, options closed.
fn block(out: &mut Vec<u8>, kind: u32, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    words(out, &[kind, 0]);
    body(out);
    // opt_endofopt
    words(out, &[0]);
    let total = u32::try_from(out.len() - start + 4).unwrap_or(u32::MAX);
    words(out, &[total]);
    if let Some(place) = out.get_mut(start + 4..start + 8) {
        place.copy_from_slice(&total.to_le_bytes());
    }
}

/// Appends an option of text, unless it is empty.
fn text(out: &mut Vec<u8>, code: u16, value: &str) {
    if !value.is_empty() {
        option(out, code, value.as_bytes());
    }
}

fn option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = value.get(..OPTION_BYTES_MAX).unwrap_or(value);
    out.extend_from_slice(&code.to_le_bytes());
    out.extend_from_slice(&u16::try_from(value.len()).unwrap_or(u16::MAX).to_le_bytes());
    out.extend_from_slice(value);
    pad(out, value.len());
}

#[inline]
fn pad(out: &mut Vec<u8>, len: usize) {
    out.extend(std::iter::repeat_n(0, len.next_multiple_of(4) - len));
}

#[inline]
fn words(out: &mut Vec<u8>, words: &[u32]) {
    for word in words {
        out.extend_from_slice(&word.to_le_bytes());
    }
}
