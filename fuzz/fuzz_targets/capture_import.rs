//! Capture files from anywhere: [`steno_cli::import::reader`].
//!
//! Reading ends, and gives the same packets however the bytes arrive: at once or in small pieces.

#![no_main]

use std::io::{self, Read};

use libfuzzer_sys::fuzz_target;
use steno_cli::import::reader::{CaptureReader, Record};
use steno_core::TimestampNs;

/// A small input that is compressed may hold very many records: these are enough.
const RECORDS_MAX: usize = 20_000;

/// Compressed files start so (RFC 1952).
const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];

/// What a file was read as: its records, and how reading ended.
#[derive(Debug, PartialEq)]
struct Outcome {
    records: Vec<Seen>,
    oddity: Option<String>,
    error: Option<String>,
}

#[derive(Debug, PartialEq)]
enum Seen {
    Packet { time: Option<TimestampNs>, link_type: u16, wire_len: u32, interface: Option<String>, data: Vec<u8> },
    TooLarge { bytes: u32 },
}

/// Hands out at most `piece` bytes at a time.
struct Dribble<'a> {
    bytes: &'a [u8],
    piece: usize,
}

impl Read for Dribble<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let most = out.len().min(self.piece);
        self.bytes.read(&mut out[..most])
    }
}

fn outcome(file: impl Read) -> Outcome {
    let mut outcome = Outcome { records: Vec::new(), oddity: None, error: None };
    let mut reader = match CaptureReader::open(file) {
        Ok(reader) => reader,
        Err(error) => {
            outcome.error = Some(error.to_string());
            return outcome;
        }
    };
    while outcome.records.len() < RECORDS_MAX {
        match reader.next_record() {
            Ok(None) => break,
            Ok(Some(Record::TooLarge { bytes })) => outcome.records.push(Seen::TooLarge { bytes }),
            Ok(Some(Record::Packet(packet))) => outcome.records.push(Seen::Packet {
                time: packet.time,
                link_type: packet.link_type,
                wire_len: packet.wire_len,
                interface: packet.interface.map(str::to_owned),
                data: packet.data.to_vec(),
            }),
            Err(error) => {
                outcome.error = Some(error.to_string());
                let again = reader.next_record().expect("an error is told once");
                assert_eq!(again, None, "nothing is read past an error");
                break;
            }
        }
    }
    outcome.oddity = reader.oddity();
    outcome
}

fuzz_target!(|input: &[u8]| {
    let at_once = outcome(input);
    let piece = input.len() % 13 + 1;
    let in_pieces = outcome(Dribble { bytes: input, piece });
    // How much a decompressor gives before it notices broken data depends on how much it is given; what it gives does not.
    if input.starts_with(GZIP_MAGIC) && (at_once.error.is_some() || in_pieces.error.is_some()) {
        let same = at_once.records.iter().zip(&in_pieces.records).all(|(one, other)| one == other);
        assert!(same, "pieces of {piece} bytes read otherwise: {at_once:?} {in_pieces:?}");
        return;
    }
    assert_eq!(in_pieces, at_once, "pieces of {piece} bytes read otherwise");
});
