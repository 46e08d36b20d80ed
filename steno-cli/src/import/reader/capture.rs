//! Any capture file as a sequence of packets: finds out which kind it is, and hands on.

use std::io::Read;

use steno_core::TimestampNs;

use super::{ReadError, input::Input, pcap::PcapRecords, pcapng::PcapNgBlocks};

/// A packet of a capture file, its bytes borrowed from the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// When it was captured, to the nanosecond (finer times are cut to it); `None` for a time before 1970 or after 2554.
    /// pcapng's simple packets have no time and get 1970.
    pub time: Option<TimestampNs>,
    /// LINKTYPE_ of its interface.
    pub link_type: u16,
    /// Bytes on the wire, as the file says.
    pub wire_len: u32,
    /// The name of its interface, where the file tells one.
    pub interface: Option<&'a str>,
    /// Bytes captured.
    pub data: &'a [u8],
}

/// What comes next in a capture file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// A packet.
    Packet(Packet<'a>),
    /// A packet that no block of a packet file could hold, stepped over.
    TooLarge {
        /// Bytes that its record says it has.
        bytes: u32,
    },
}

/// A capture file, read from its start to its end.
pub struct CaptureReader<R> {
    input: Input<R>,
    kind: Kind,
    ended: bool,
}

enum Kind {
    Pcap(PcapRecords),
    PcapNg(PcapNgBlocks),
}

impl<R: Read> CaptureReader<R> {
    /// Opens a capture: tells by its first bytes whether it is compressed, and pcap or pcapng.
    ///
    /// # Errors
    /// [`ReadError::NotACapture`] for anything else; [`ReadError::Cut`] where not even the file header is whole.
    pub fn open(reader: R) -> Result<Self, ReadError> {
        let mut input = Input::open(reader)?;
        let start = input.peek(START_BYTES)?;
        let kind = if pcapng_magic(start) {
            Kind::PcapNg(PcapNgBlocks::default())
        } else if PcapRecords::has_magic(start) {
            Kind::Pcap(PcapRecords::open(&mut input)?)
        } else {
            return Err(ReadError::NotACapture { what: describe(start) });
        };
        Ok(Self { input, kind, ended: false })
    }

    /// The next record; `None` at the end of the file, and after an error.
    ///
    /// # Errors
    /// Where the file is cut or damaged. What came before stands; nothing comes after.
    pub fn next_record(&mut self) -> Result<Option<Record<'_>>, ReadError> {
        if self.ended {
            return Ok(None);
        }
        // Taken for ended until a record proves otherwise: an error must not be read past.
        self.ended = true;
        let record = match &mut self.kind {
            Kind::Pcap(pcap) => pcap.next_record(&mut self.input)?,
            Kind::PcapNg(pcapng) => pcapng.next_record(&mut self.input)?,
        };
        self.ended = record.is_none();
        Ok(record)
    }

    /// What is odd in the file and yet did not stop the reading, as a sentence.
    pub fn oddity(&self) -> Option<String> {
        match &self.kind {
            Kind::Pcap(_) => None,
            Kind::PcapNg(pcapng) => pcapng.oddity(),
        }
    }
}

/// Bytes that tell every kind of file apart that is known here.
const START_BYTES: usize = 8;

fn pcapng_magic(start: &[u8]) -> bool {
    start.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a])
}

/// Files that people take for pcap, by how they start.
const LOOKALIKES: &[(&[u8], &str)] = &[
    (b"snoop\0\0\0", "a snoop capture (RFC 1761); convert it first, as with `editcap -F pcapng`"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd; decompress it first"),
    (b"\xfd7zXZ\0", "compressed by xz; decompress it first"),
    (b"BZh", "compressed by bzip2; decompress it first"),
    (b"\x04\x22\x4d\x18", "compressed by lz4; decompress it first"),
    (b"PK\x03\x04", "a zip archive; unpack it first"),
];

fn describe(start: &[u8]) -> String {
    if start.is_empty() {
        return "the file is empty".to_owned();
    }
    if let Some((_, what)) = LOOKALIKES.iter().find(|(magic, _)| start.starts_with(magic)) {
        return format!("it is {what}");
    }
    let hex: Vec<String> = start.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("it starts with {}", hex.join(" "))
}
