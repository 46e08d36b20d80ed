//! The one writer over the three formats.

use std::{fmt, str::FromStr};

use super::{FILE_HEADER_BYTES, LEGACY_SNAPLEN, LINKTYPE_ETHERNET, RECORD_HEADER_BYTES, SNAPLEN, classic, ng};
use crate::{TimestampNs, packet::Frame};

/// A capture-file format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// pcap with microseconds, which every tool reads: times are cut to the microsecond.
    Pcap,
    /// pcap with nanoseconds.
    #[default]
    PcapNs,
    /// pcapng, with interfaces, nanoseconds and drop counts.
    PcapNg,
    /// [`Self::Pcap`] with the file header of stenographer 1.0.1, for its clients. Nobody asks for it by name.
    PcapLegacy,
}

impl Format {
    /// Every format that can be asked for by name, in the order that help texts list them.
    pub const ALL: [Self; 3] = [Self::Pcap, Self::PcapNs, Self::PcapNg];

    /// The name on command lines and in requests.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pcap | Self::PcapLegacy => "pcap",
            Self::PcapNs => "pcap-ns",
            Self::PcapNg => "pcapng",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no format's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown capture format {0:?}, expected pcap, pcap-ns or pcapng")]
pub struct ParseFormatError(String);

impl FromStr for Format {
    type Err = ParseFormatError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|f| f.name() == name).ok_or_else(|| ParseFormatError(name.to_owned()))
    }
}

/// What a file says of its capture. Only pcapng has room for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CaptureMeta {
    /// The interfaces, to which records refer by their place here. At least one.
    pub interfaces: Vec<InterfaceMeta>,
    /// The program that writes the file.
    pub application: String,
    /// The operating system that captured.
    pub os: String,
    /// The machine that captured.
    pub hardware: String,
}

/// An interface of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceMeta {
    /// Its name.
    pub name: String,
    /// LINKTYPE_ of its packets.
    pub link_type: u16,
    /// Bytes of a packet that are kept at the most.
    pub snaplen: u32,
    /// The capture filter, as text; empty for none.
    pub filter: String,
}

impl InterfaceMeta {
    /// An Ethernet interface without a filter.
    pub fn ethernet(name: impl Into<String>) -> Self {
        Self { name: name.into(), link_type: LINKTYPE_ETHERNET, snaplen: SNAPLEN, filter: String::new() }
    }
}

/// A packet on its way into a file.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Arrival time.
    pub time: TimestampNs,
    /// Bytes on the wire, every tag included.
    pub wire_len: u32,
    /// What was captured.
    pub frame: Frame<'a>,
    /// The interface, by its place in [`CaptureMeta::interfaces`].
    pub interface: u32,
}

/// What an interface got and lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceDrops {
    /// The interface, by its place in [`CaptureMeta::interfaces`].
    pub interface: u32,
    /// When the counts were taken.
    pub time: TimestampNs,
    /// Packets received, where that may be told.
    pub received: Option<u64>,
    /// Packets dropped for lack of room.
    pub dropped: u64,
}

/// Writes a capture file into byte buffers: [`Self::start`], then packets, then [`Self::finish`].
#[derive(Clone, Debug)]
pub struct CaptureWriter {
    format: Format,
    meta: CaptureMeta,
}

impl CaptureWriter {
    /// A writer of `format`.
    pub fn new(format: Format, meta: CaptureMeta) -> Self {
        Self { format, meta }
    }

    /// The format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Appends what comes before the first packet. On its own it is a whole file without packets.
    pub fn start(&self, out: &mut Vec<u8>) {
        match self.format {
            Format::Pcap => classic::start(out, false, SNAPLEN),
            Format::PcapNs => classic::start(out, true, SNAPLEN),
            Format::PcapLegacy => classic::start(out, false, LEGACY_SNAPLEN),
            Format::PcapNg => ng::start(out, &self.meta),
        }
    }

    /// Adds an interface to a file that has been started, and gives its place: records that come later may refer to it.
    pub fn add_interface(&mut self, out: &mut Vec<u8>, interface: InterfaceMeta) -> u32 {
        if self.format == Format::PcapNg {
            ng::interface(out, &interface);
        }
        self.meta.interfaces.push(interface);
        u32::try_from(self.meta.interfaces.len() - 1).unwrap_or(u32::MAX)
    }

    /// The interfaces, by their places.
    pub fn interfaces(&self) -> &[InterfaceMeta] {
        &self.meta.interfaces
    }

    /// Appends a packet.
    #[inline]
    pub fn packet(&self, out: &mut Vec<u8>, record: &Record<'_>) {
        match self.format {
            Format::Pcap | Format::PcapLegacy => classic::packet(out, record, false),
            Format::PcapNs => classic::packet(out, record, true),
            Format::PcapNg => ng::packet(out, record),
        }
    }

    /// Appends what comes after the last packet: in pcapng, the statistics of interfaces.
    pub fn finish(&self, out: &mut Vec<u8>, drops: &[InterfaceDrops]) {
        if self.format == Format::PcapNg {
            for each in drops {
                ng::statistics(out, each);
            }
        }
    }

    /// Bytes that a packet of `captured` bytes takes in the file.
    pub fn record_bytes(&self, captured: usize) -> usize {
        match self.format {
            Format::Pcap | Format::PcapNs | Format::PcapLegacy => RECORD_HEADER_BYTES as usize + captured,
            Format::PcapNg => ng::record_bytes(captured),
        }
    }

    /// Bytes before the first packet.
    pub fn start_bytes(&self) -> usize {
        match self.format {
            Format::Pcap | Format::PcapNs | Format::PcapLegacy => FILE_HEADER_BYTES as usize,
            Format::PcapNg => {
                let mut out = Vec::new();
                ng::start(&mut out, &self.meta);
                out.len()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::VlanTag;

    fn meta() -> CaptureMeta {
        let mut interface = InterfaceMeta::ethernet("eth0");
        interface.filter = "tcp port 80".to_owned();
        CaptureMeta {
            interfaces: vec![interface],
            application: "steno".to_owned(),
            os: "Linux".to_owned(),
            hardware: String::new(),
        }
    }

    fn record(bytes: &[u8]) -> Record<'_> {
        let frame = Frame::with_stripped(bytes, VlanTag { tpid: 0x8100, tci: 5 });
        Record { time: TimestampNs::from_parts(0x6553_f100, 123_456_789), wire_len: 1500, frame, interface: 0 }
    }

    #[test]
    fn pcap_is_byte_for_byte_what_the_draft_says() {
        let bytes = *b"ddddddssssss\x08\x00";
        for (format, magic, fraction, snaplen) in [
            (Format::Pcap, [0xd4, 0xc3, 0xb2, 0xa1], 123_456u32, [0, 0, 4, 0]),
            (Format::PcapNs, [0x4d, 0x3c, 0xb2, 0xa1], 123_456_789, [0, 0, 4, 0]),
            // As 1.0.1 answered on the wire.
            (Format::PcapLegacy, [0xd4, 0xc3, 0xb2, 0xa1], 123_456, [0, 0, 1, 0]),
        ] {
            let writer = CaptureWriter::new(format, meta());
            let mut out = Vec::new();
            writer.start(&mut out);
            writer.packet(&mut out, &record(&bytes));
            writer.finish(&mut out, &[]);
            let mut expected = magic.to_vec();
            expected.extend_from_slice(&[2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            expected.extend_from_slice(&snaplen);
            expected.extend_from_slice(&[1, 0, 0, 0]);
            expected.extend_from_slice(&[0x00, 0xf1, 0x53, 0x65]);
            expected.extend_from_slice(&fraction.to_le_bytes());
            expected.extend_from_slice(&[18, 0, 0, 0, 0xdc, 5, 0, 0]);
            expected.extend_from_slice(b"ddddddssssss\x81\x00\x00\x05\x08\x00");
            assert_eq!(out, expected, "{format}");
            assert_eq!(out.len(), writer.start_bytes() + writer.record_bytes(18));
        }
    }

    #[test]
    fn pcapng_blocks_add_up_and_say_the_interface() {
        let writer = CaptureWriter::new(Format::PcapNg, meta());
        let mut out = Vec::new();
        writer.start(&mut out);
        assert_eq!(out.len(), writer.start_bytes());
        let before = out.len();
        writer.packet(&mut out, &record(b"ddddddssssss\x08\x00x"));
        assert_eq!(out.len() - before, writer.record_bytes(19));
        let time = TimestampNs::new(1 << 32 | 7);
        writer.finish(&mut out, &[InterfaceDrops { interface: 0, time, received: Some(9), dropped: 3 }]);
        let mut kinds = Vec::new();
        let mut rest = out.as_slice();
        while let [a, b, c, d, l0, l1, l2, l3, ..] = *rest {
            let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
            assert_eq!(len % 4, 0);
            assert_eq!(rest[len - 4..len], rest[4..8], "both lengths of a block are the same");
            kinds.push(u32::from_le_bytes([a, b, c, d]));
            rest = &rest[len..];
        }
        assert_eq!(kinds, [0x0a0d_0d0a, 1, 6, 5]);
        let interface = &out[writer.start_bytes() - 52..writer.start_bytes()];
        assert!(interface.windows(8).any(|w| w == b"\x02\0\x04\0eth0"));
        assert!(interface.windows(5).any(|w| w == b"\x09\0\x01\0\x09"), "nanoseconds");
        assert!(interface.windows(16).any(|w| w == b"\x0b\0\x0c\0\0tcp port 80"));
        let statistics = &out[out.len() - 52..];
        assert_eq!(statistics[8..20], [0, 0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0]);
        assert_eq!(statistics[20..44], [4, 0, 8, 0, 9, 0, 0, 0, 0, 0, 0, 0, 5, 0, 8, 0, 3, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn formats_are_named() {
        for format in Format::ALL {
            assert_eq!(format.name().parse(), Ok(format));
        }
        assert!("PCAP".parse::<Format>().is_err());
    }
}
