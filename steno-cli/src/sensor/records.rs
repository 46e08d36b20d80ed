//! The bytes of a capture file as they come, put together to whole records.
//!
//! A sensor's chunks end anywhere. What is handed on ends with a record, so that a file that could be written in part, or of
//! which only a part came, can be read, and so that its packets can be counted.

use bytes::Bytes;
use steno_core::{TimestampNs, pcap::Format};

use super::SensorError;

/// No record is longer: a packet fits a block of 1 MiB, and pcapng's blocks of statistics are short.
const RECORD_BYTES_MAX: usize = 4 << 20;
const FILE_HEADER_BYTES: usize = 24;
const RECORD_HEADER_BYTES: usize = 16;
/// The type and the length of a pcapng block (draft-ietf-opsawg-pcapng, section 3.1).
const BLOCK_HEADER_BYTES: usize = 8;
const ENHANCED_PACKET_BLOCK: u32 = 6;
/// Type, two lengths.
const BLOCK_BYTES_MIN: usize = 12;

/// Puts chunks together to whole records.
#[derive(Debug)]
pub(super) struct Records {
    pcapng: bool,
    /// The file header of pcap is the first of its records.
    began: bool,
    /// The beginning of a record.
    rest: Bytes,
    packets: u64,
}

impl Records {
    pub(super) fn new(format: Format) -> Self {
        Self { pcapng: matches!(format, Format::PcapNg), began: false, rest: Bytes::new(), packets: 0 }
    }

    /// Packets that were handed on.
    pub(super) fn packets(&self) -> u64 {
        self.packets
    }

    /// All records that are whole with `chunk`. Nothing is copied where records begin and end with the chunks, as those of a
    /// sensor mostly do.
    pub(super) fn take(&mut self, chunk: Bytes) -> Result<Bytes, SensorError> {
        let rest = self.rest();
        let mut whole = if rest.is_empty() { chunk } else { [rest, chunk].concat().into() };
        let mut end = 0;
        while let Some((bytes, is_packet)) = self.record(whole.get(end..).unwrap_or_default())? {
            end += bytes;
            self.began = true;
            self.packets += u64::from(is_packet);
        }
        self.rest = whole.split_off(end);
        Ok(whole)
    }

    /// What is left behind the last whole record.
    pub(super) fn rest(&mut self) -> Bytes {
        std::mem::take(&mut self.rest)
    }

    /// The length of the record at the start, and whether it is a packet; none where it is not whole.
    fn record(&self, bytes: &[u8]) -> Result<Option<(usize, bool)>, SensorError> {
        let (length, is_packet) = if self.pcapng {
            let (Some(kind), Some(length)) = (word(bytes, 0), word(bytes, BLOCK_HEADER_BYTES - 4)) else {
                return Ok(None);
            };
            (length, kind == ENHANCED_PACKET_BLOCK)
        } else if self.began {
            let Some(captured) = word(bytes, 8).filter(|_| bytes.len() >= RECORD_HEADER_BYTES) else { return Ok(None) };
            (captured.saturating_add(16), true)
        } else {
            (24, false)
        };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > RECORD_BYTES_MAX || (self.pcapng && length < BLOCK_BYTES_MIN) {
            return Err(SensorError::Nonsense(format!("a capture file with a record of {length} bytes")));
        }
        Ok((bytes.len() >= length).then_some((length, is_packet)))
    }
}

/// The packets in whole records of a pcap, its file header among them or not: time, length on the wire, bytes.
pub(crate) fn pcap_packets(format: Format, mut records: &[u8]) -> impl Iterator<Item = (TimestampNs, u32, &[u8])> {
    let (magic, ns_per_unit) = if matches!(format, Format::Pcap) { (0xa1b2_c3d4_u32, 1_000) } else { (0xa1b2_3c4d, 1) };
    // The magic and the version of the file, and two fields that are 0: as a packet, it would have no bytes on the wire.
    if records.starts_with(&magic.to_le_bytes()) && records.get(4..16) == Some(&[2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]) {
        records = records.get(FILE_HEADER_BYTES..).unwrap_or_default();
    }
    std::iter::from_fn(move || {
        let (secs, units) = (word(records, 0)?, word(records, 4)?);
        let (captured, wire_len) = (word(records, 8)?, word(records, 12)?);
        let end = RECORD_HEADER_BYTES.checked_add(usize::try_from(captured).ok()?)?;
        let frame = records.get(RECORD_HEADER_BYTES..end)?;
        records = records.get(end..)?;
        Some((TimestampNs::from_parts(secs, units.saturating_mul(ns_per_unit)), wire_len, frame))
    })
}

/// A little-endian number at an offset. The sensor writes all its formats so.
fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(four.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use steno_core::{
        packet::Frame,
        pcap::{CaptureMeta, CaptureWriter, InterfaceMeta, Record},
    };

    use super::*;
    use crate::import::reader::CaptureReader;

    /// A file with frames of 0 to 99 bytes, and where its records end.
    fn file(format: Format) -> (Vec<u8>, Vec<usize>) {
        let mut out = Vec::new();
        let writer = CaptureWriter::new(
            format,
            CaptureMeta { interfaces: vec![InterfaceMeta::ethernet("e")], ..CaptureMeta::default() },
        );
        writer.start(&mut out);
        let mut ends = vec![out.len()];
        for i in 0..100u32 {
            let frame = vec![7; i as usize];
            let (time, wire_len) = (TimestampNs::from_parts(i, 5_007), i + 1);
            writer.packet(&mut out, &Record { time, wire_len, frame: Frame::new(&frame), interface: 0 });
            ends.push(out.len());
        }
        (out, ends)
    }

    #[test]
    fn records_are_whole_however_the_chunks_end() {
        for format in [Format::Pcap, Format::PcapNs, Format::PcapNg] {
            let (bytes, ends) = file(format);
            for step in [1, 7, 16, 24, 100, 5_000, bytes.len()] {
                let mut records = Records::new(format);
                let mut got = Vec::new();
                for chunk in bytes.chunks(step) {
                    got.extend_from_slice(&records.take(Bytes::copy_from_slice(chunk)).unwrap());
                    let mut reader = (got.len() >= ends[0]).then(|| CaptureReader::open(&got[..]).unwrap());
                    let mut packets = 0;
                    while let Some(_packet) = reader.as_mut().and_then(|r| r.next_record().unwrap()) {
                        packets += 1;
                    }
                    assert_eq!(records.packets(), packets, "{format:?} in steps of {step}");
                }
                assert!(records.rest().is_empty());
                assert_eq!((got == bytes, records.packets()), (true, 100), "{format:?} in steps of {step}");
            }
        }
    }

    #[test]
    fn a_length_that_cannot_be_is_refused_before_it_is_waited_for() {
        for (format, at, length) in
            [(Format::PcapNs, 24 + 8, u32::MAX), (Format::PcapNg, 4, u32::MAX), (Format::PcapNg, 4, 0)]
        {
            let (mut bytes, _) = file(format);
            bytes[at..at + 4].copy_from_slice(&length.to_le_bytes());
            let error = Records::new(format).take(bytes.into()).unwrap_err();
            assert!(matches!(error, SensorError::Nonsense(_)), "{error}");
        }
    }

    #[test]
    fn packets_of_a_pcap_are_those_that_went_into_it() {
        for (format, nanos) in [(Format::PcapNs, 5_007), (Format::Pcap, 5_000)] {
            let (bytes, ends) = file(format);
            let sizes =
                |bytes| pcap_packets(format, bytes).map(|(_, wire, frame)| (wire, frame.len())).collect::<Vec<_>>();
            let expected: Vec<_> = (0..100).map(|i| (i + 1, i as usize)).collect();
            assert_eq!(sizes(&bytes), expected);
            assert_eq!(sizes(&bytes[ends[0]..]), expected);
            assert_eq!(sizes(&bytes[ends[50]..]), &expected[50..]);
            let (time, _, frame) = pcap_packets(format, &bytes).nth(9).unwrap();
            assert_eq!((time, frame), (TimestampNs::from_parts(9, nanos), &[7; 9][..]));
            assert_eq!(pcap_packets(format, &bytes[ends[0]..ends[1] - 1]).count(), 0);
        }
    }
}
