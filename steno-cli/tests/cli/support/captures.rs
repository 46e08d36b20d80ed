//! Capture files made in memory: every pcap variant, and pcapng sections block by block.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};

/// A packet to put into a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) ns: u64,
    pub(crate) wire_len: u32,
    pub(crate) data: Vec<u8>,
}

/// Packets of different lengths and times, whole and cut ones, of which the times are multiples of `ns_step`.
pub(crate) fn samples(ns_step: u64) -> Vec<Sample> {
    (0..5u8)
        .map(|i| Sample {
            ns: 1_700_000_000_000_000_000 + u64::from(i) * 1_500_000_000 + u64::from(i) * ns_step,
            wire_len: 60 + u32::from(i % 2) * 1400,
            data: (0..20 + i * 9).map(|b| b ^ (i << 4)).collect(),
        })
        .collect()
}

/// Which pcap.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pcap {
    pub(crate) big_endian: bool,
    pub(crate) magic: u32,
    pub(crate) minor: u16,
    pub(crate) link_type: u32,
}

impl Pcap {
    pub(crate) const MICROSECONDS: Self = Self { big_endian: false, magic: 0xa1b2_c3d4, minor: 4, link_type: 1 };
    pub(crate) const NANOSECONDS: Self = Self { magic: 0xa1b2_3c4d, ..Self::MICROSECONDS };
    pub(crate) const MODIFIED: Self = Self { magic: 0xa1b2_cd34, ..Self::MICROSECONDS };

    pub(crate) fn big_endian(self) -> Self {
        Self { big_endian: true, ..self }
    }

    /// Nanoseconds in a unit of its times.
    pub(crate) fn ns_per_unit(self) -> u64 {
        if self.magic == 0xa1b2_3c4d { 1 } else { 1000 }
    }

    pub(crate) fn file(self, samples: &[Sample]) -> Vec<u8> {
        let order = Order { big: self.big_endian };
        let mut file = order.u32(self.magic);
        file.extend([order.u16(2), order.u16(self.minor)].concat());
        file.extend([order.u32(0), order.u32(0), order.u32(65_535), order.u32(self.link_type)].concat());
        for sample in samples {
            file.extend(self.record(sample));
        }
        file
    }

    pub(crate) fn record(self, sample: &Sample) -> Vec<u8> {
        let order = Order { big: self.big_endian };
        let captured = u32::try_from(sample.data.len()).unwrap();
        let lengths = if self.minor < 3 { [sample.wire_len, captured] } else { [captured, sample.wire_len] };
        let secs = u32::try_from(sample.ns / 1_000_000_000).unwrap();
        let units = u32::try_from(sample.ns % 1_000_000_000 / self.ns_per_unit()).unwrap();
        let mut record: Vec<u8> = [secs, units, lengths[0], lengths[1]].iter().flat_map(|&w| order.u32(w)).collect();
        if self.magic == 0xa1b2_cd34 {
            record.extend([order.u32(3), order.u16(0x0800), vec![0, 0]].concat());
        }
        record.extend_from_slice(&sample.data);
        record
    }
}

/// The blocks of a pcapng file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PcapNg {
    pub(crate) big_endian: bool,
}

impl PcapNg {
    fn order(self) -> Order {
        Order { big: self.big_endian }
    }

    pub(crate) fn block(self, kind: u32, body: &[u8]) -> Vec<u8> {
        let order = self.order();
        let padded = body.len().next_multiple_of(4);
        let total = order.u32(u32::try_from(padded + 12).unwrap());
        let mut block = [order.u32(kind), total.clone(), body.to_vec()].concat();
        block.resize(8 + padded, 0);
        block.extend(total);
        block
    }

    pub(crate) fn section(self) -> Vec<u8> {
        let order = self.order();
        let version = [order.u16(1), order.u16(0)].concat();
        self.block(0x0a0d_0d0a, &[order.u32(0x1a2b_3c4d), version, vec![0xff; 8]].concat())
    }

    pub(crate) fn option(self, code: u16, value: &[u8]) -> Vec<u8> {
        let order = self.order();
        let mut option = [order.u16(code), order.u16(u16::try_from(value.len()).unwrap()), value.to_vec()].concat();
        option.resize(4 + value.len().next_multiple_of(4), 0);
        option
    }

    pub(crate) fn interface(self, link_type: u16, snaplen: u32, options: &[Vec<u8>]) -> Vec<u8> {
        let order = self.order();
        self.block(1, &[order.u16(link_type), order.u16(0), order.u32(snaplen), options.concat()].concat())
    }

    /// `units` is the time in units of the interface.
    pub(crate) fn enhanced(self, interface: u32, units: u64, sample: &Sample) -> Vec<u8> {
        let body = [self.order().u32(interface), self.fields(units, sample)].concat();
        self.block(6, &body)
    }

    /// The obsolete packet block.
    pub(crate) fn obsolete(self, interface: u16, units: u64, sample: &Sample) -> Vec<u8> {
        let order = self.order();
        self.block(2, &[order.u16(interface), order.u16(7), self.fields(units, sample)].concat())
    }

    pub(crate) fn simple(self, sample: &Sample) -> Vec<u8> {
        self.block(3, &[self.order().u32(sample.wire_len), sample.data.clone()].concat())
    }

    fn fields(self, units: u64, sample: &Sample) -> Vec<u8> {
        let order = self.order();
        let halves = [u32::try_from(units >> 32).unwrap(), u32::try_from(units & 0xffff_ffff).unwrap()];
        let words = [halves[0], halves[1], u32::try_from(sample.data.len()).unwrap(), sample.wire_len];
        let mut fields: Vec<u8> = words.iter().flat_map(|&w| order.u32(w)).collect();
        fields.extend_from_slice(&sample.data);
        fields
    }

    /// A section with one interface of nanoseconds and a packet block for each sample.
    pub(crate) fn file(self, samples: &[Sample]) -> Vec<u8> {
        let mut file = self.section();
        file.extend(self.interface(1, 0, &[self.option(2, b"eth7"), self.option(9, &[9])]));
        for sample in samples {
            file.extend(self.enhanced(0, sample.ns, sample));
        }
        file
    }
}

/// The bytes as one gzip member.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[derive(Clone, Copy)]
struct Order {
    big: bool,
}

impl Order {
    fn u16(self, word: u16) -> Vec<u8> {
        if self.big { word.to_be_bytes().to_vec() } else { word.to_le_bytes().to_vec() }
    }

    fn u32(self, word: u32) -> Vec<u8> {
        if self.big { word.to_be_bytes().to_vec() } else { word.to_le_bytes().to_vec() }
    }
}
