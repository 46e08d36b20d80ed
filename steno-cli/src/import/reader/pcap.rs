//! pcap records (`pcap-savefile(5)`), with its variants: microseconds or nanoseconds, either byte order, Kuznetzov's
//! modified format, and files from before version 2.3.

use std::io::Read;

use pcap_file::{
    Endianness,
    pcap::{PcapHeader, PcapTsResolution},
};
use steno_core::TimestampNs;

use super::{Packet, RECORD_BYTES_MAX, ReadError, Record, input::Input, order::Order};

const FILE_HEADER_BYTES: usize = 24;
const RECORD_HEADER_BYTES: usize = 16;
/// The modified format adds an interface index (4 bytes), a protocol (2), a packet type (1) and padding (1).
const MODIFIED_RECORD_HEADER_BYTES: usize = 24;

const MAGIC_MICROSECONDS: u32 = 0xa1b2_c3d4;
const MAGIC_NANOSECONDS: u32 = 0xa1b2_3c4d;
/// Alexey Kuznetzov's modified format (libpcap, `sf-pcap.c`, KUZNETZOV_TCPDUMP_MAGIC).
const MAGIC_MODIFIED: u32 = 0xa1b2_cd34;

/// Records say more only where they are damaged: libpcap's own limit for a link type that it does not know is far below.
const CAPTURED_BYTES_MAX: u32 = 64 << 20;

/// The records of a pcap file.
#[derive(Debug)]
pub(super) struct PcapRecords {
    order: Order,
    record_header_bytes: usize,
    ns_per_unit: u64,
    version_minor: u16,
    link_type: u16,
}

impl PcapRecords {
    /// Whether a file starts as one of these.
    pub(super) fn has_magic(start: &[u8]) -> bool {
        magic(start).is_some()
    }

    /// Reads the file header.
    pub(super) fn open<R: Read>(input: &mut Input<R>) -> Result<Self, ReadError> {
        let mut bytes = [0; FILE_HEADER_BYTES];
        bytes.copy_from_slice(input.take(FILE_HEADER_BYTES, "the file header")?);
        let magic = magic(&bytes);
        let modified = magic.is_some_and(|(magic, _)| magic == MAGIC_MODIFIED);
        if let (true, Some((_, order)), Some(place)) = (modified, magic, bytes.first_chunk_mut()) {
            // But for the magic, its file header is that of the standard format.
            *place = match order {
                Order::Little => MAGIC_MICROSECONDS.to_le_bytes(),
                Order::Big => MAGIC_MICROSECONDS.to_be_bytes(),
            };
        }
        let (_, header) = PcapHeader::from_slice(&bytes)
            .map_err(|e| ReadError::Damaged { offset_bytes: 0, why: format!("the file header: {e}") })?;
        let order = match header.endianness {
            Endianness::Little => Order::Little,
            Endianness::Big => Order::Big,
        };
        let ns_per_unit = match header.ts_resolution {
            PcapTsResolution::MicroSecond => 1_000,
            PcapTsResolution::NanoSecond => 1,
        };
        let record_header_bytes = if modified { MODIFIED_RECORD_HEADER_BYTES } else { RECORD_HEADER_BYTES };
        // The upper half of the field says how long the frame check sequence is.
        let link_type = u16::try_from(u32::from(header.datalink) & 0xffff).unwrap_or(u16::MAX);
        Ok(Self { order, record_header_bytes, ns_per_unit, version_minor: header.version_minor, link_type })
    }

    /// The next record; `None` at the end.
    pub(super) fn next_record<'a, R: Read>(
        &mut self,
        input: &'a mut Input<R>,
    ) -> Result<Option<Record<'a>>, ReadError> {
        let offset_bytes = input.offset_bytes();
        if input.peek(1)?.is_empty() {
            return Ok(None);
        }
        let header = input.take(self.record_header_bytes, "a record header")?;
        let word = |at| self.order.u32(header, at).unwrap_or_default();
        let (secs, units) = (word(0), word(4));
        let (captured, wire_len) = self.lengths(word(8), word(12));
        if captured > CAPTURED_BYTES_MAX {
            let why = format!("a record says that it holds {captured} bytes");
            return Err(ReadError::Damaged { offset_bytes, why });
        }
        if captured > RECORD_BYTES_MAX {
            input.skip(u64::from(captured), "a packet")?;
            return Ok(Some(Record::TooLarge { bytes: captured }));
        }
        // A fraction of a second or more carries over, as libpcap's readers have it.
        let ns = u64::from(secs) * 1_000_000_000 + u64::from(units) * self.ns_per_unit;
        let data = input.take(captured as usize, "a packet")?;
        let (time, link_type) = (Some(TimestampNs::new(ns)), self.link_type);
        Ok(Some(Record::Packet(Packet { time, link_type, wire_len, interface: None, data })))
    }

    /// Captured and original length, which files before version 2.3 have the other way round, and those of 2.3 sometimes
    /// (libpcap, `sf-pcap.c`, SWAPPED and MAYBE_SWAPPED).
    fn lengths(&self, third: u32, fourth: u32) -> (u32, u32) {
        match self.version_minor {
            0..3 => (fourth, third),
            3 if third > fourth => (fourth, third),
            _ => (third, fourth),
        }
    }
}

/// The magic number that a file starts with, and the byte order that it tells.
fn magic(start: &[u8]) -> Option<(u32, Order)> {
    let known = |order: Order| {
        let magic = order.u32(start, 0)?;
        matches!(magic, MAGIC_MICROSECONDS | MAGIC_NANOSECONDS | MAGIC_MODIFIED).then_some((magic, order))
    };
    known(Order::Little).or_else(|| known(Order::Big))
}
