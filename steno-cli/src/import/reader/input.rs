//! A window on the bytes of a capture: as many as the next record needs, and never more than the file really has.

use std::io::{self, BufReader, Chain, Cursor, Read};

use flate2::bufread::MultiGzDecoder;

use super::ReadError;

/// The largest record that is held in memory, and so the largest that is read: 1 MiB, as much as a block of a packet file
/// has room for. Larger ones are stepped over.
pub const RECORD_BYTES_MAX: u32 = 1 << 20;

/// How much the window grows and is refilled by. The file has to deliver this much before more memory is taken, so that
/// a length field alone costs nothing.
const STEP_BYTES: usize = 64 << 10;

/// The two bytes that every gzip member starts with (RFC 1952, section 2.3.1).
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// The bytes of a capture, decompressed where need be.
pub(super) struct Input<R> {
    source: Source<R>,
    window: Vec<u8>,
    /// What has been taken of the window.
    taken: usize,
    /// Offset in the capture of the window's first byte.
    window_offset: u64,
}

enum Source<R> {
    Plain(Prefixed<R>),
    Gzip(Box<MultiGzDecoder<BufReader<Prefixed<R>>>>),
}

/// A reader whose first bytes were read ahead.
type Prefixed<R> = Chain<Cursor<Vec<u8>>, R>;

impl<R: Read> Input<R> {
    /// Opens a capture, and sees from its first two bytes whether it is compressed.
    pub(super) fn open(mut reader: R) -> Result<Self, ReadError> {
        let mut start = Vec::new();
        let read = reader.by_ref().take(GZIP_MAGIC.len() as u64).read_to_end(&mut start);
        let _ = read.map_err(|source| ReadError::Io { offset_bytes: 0, source })?;
        let compressed = start == GZIP_MAGIC;
        let whole = Cursor::new(start).chain(reader);
        let source = if compressed {
            Source::Gzip(Box::new(MultiGzDecoder::new(BufReader::with_capacity(STEP_BYTES, whole))))
        } else {
            Source::Plain(whole)
        };
        Ok(Self { source, window: Vec::new(), taken: 0, window_offset: 0 })
    }

    /// Offset in the capture of the next byte.
    pub(super) fn offset_bytes(&self) -> u64 {
        self.window_offset + self.taken as u64
    }

    /// The next `wanted` bytes, or all that are left where they are fewer. They stay.
    pub(super) fn peek(&mut self, wanted: usize) -> Result<&[u8], ReadError> {
        debug_assert!(wanted <= RECORD_BYTES_MAX as usize + STEP_BYTES, "a record above the bound is asked for");
        while self.window.len() - self.taken < wanted {
            if self.refill()? == 0 {
                break;
            }
        }
        let there = self.window.get(self.taken..).unwrap_or_default();
        Ok(there.get(..wanted).unwrap_or(there))
    }

    /// The next `len` bytes, which are `what`, taken. They stand until the next call.
    pub(super) fn take(&mut self, len: usize, what: &'static str) -> Result<&[u8], ReadError> {
        let offset_bytes = self.offset_bytes();
        let got = self.peek(len)?.len();
        if got < len {
            return Err(ReadError::Cut { what, offset_bytes, expected: len as u64, got: got as u64 });
        }
        let start = self.taken;
        self.taken += len;
        Ok(self.window.get(start..start + len).unwrap_or_default())
    }

    /// Steps over the next `len` bytes, which are `what`, without keeping them.
    pub(super) fn skip(&mut self, len: u64, what: &'static str) -> Result<(), ReadError> {
        let offset_bytes = self.offset_bytes();
        let mut left = len;
        while left > 0 {
            let step = self.peek(STEP_BYTES.min(usize::try_from(left).unwrap_or(STEP_BYTES)))?.len();
            if step == 0 {
                return Err(ReadError::Cut { what, offset_bytes, expected: len, got: len - left });
            }
            self.taken += step;
            left -= step as u64;
        }
        Ok(())
    }

    /// Reads on into the window, what was taken of it dropped; 0 at the end of the file.
    fn refill(&mut self) -> Result<usize, ReadError> {
        let _ = self.window.drain(..self.taken);
        self.window_offset += self.taken as u64;
        self.taken = 0;
        let old = self.window.len();
        self.window.resize(old + STEP_BYTES, 0);
        let place = self.window.get_mut(old..).unwrap_or_default();
        let read = loop {
            match self.source.read(place) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.window.truncate(old + *read.as_ref().unwrap_or(&0));
        let offset_bytes = self.window_offset + old as u64;
        read.map_err(|source| self.source.error(offset_bytes, source))
    }
}

impl<R: Read> Source<R> {
    fn read(&mut self, place: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(reader) => reader.read(place),
            Self::Gzip(reader) => reader.read(place),
        }
    }

    /// Tells a broken gzip stream from a file that cannot be read.
    fn error(&self, offset_bytes: u64, source: io::Error) -> ReadError {
        use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
        match self {
            Self::Gzip(_) if matches!(source.kind(), InvalidData | InvalidInput | UnexpectedEof) => {
                ReadError::Gzip { offset_bytes, source }
            }
            _ => ReadError::Io { offset_bytes, source },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte a call, as a slow pipe would.
    struct Trickle<'a>(&'a [u8]);

    impl Read for Trickle<'_> {
        fn read(&mut self, place: &mut [u8]) -> io::Result<usize> {
            let one = place.len().min(1);
            self.0.read(&mut place[..one])
        }
    }

    #[test]
    fn bytes_come_in_order_however_they_arrive() {
        let bytes: Vec<u8> = (0..=255).collect();
        for mut input in
            [Input::open(&bytes[..]).map(|i| run(i, &bytes)), Input::open(Trickle(&bytes)).map(|i| run(i, &bytes))]
        {
            assert_eq!(input.as_mut().unwrap(), &mut 256);
        }
    }

    fn run<R: Read>(mut input: Input<R>, bytes: &[u8]) -> u64 {
        assert_eq!(input.peek(3).unwrap(), &bytes[..3]);
        assert_eq!(input.take(10, "ten").unwrap(), &bytes[..10]);
        input.skip(40, "forty").unwrap();
        assert_eq!((input.offset_bytes(), input.take(2, "two").unwrap()), (50, &bytes[50..52]));
        input.skip(200, "most").unwrap();
        assert_eq!(input.peek(9).unwrap(), &bytes[252..]);
        let cut = input.take(5, "five").unwrap_err().to_string();
        assert_eq!(cut, "the file is cut: five at byte 252 needs 5 bytes, 4 are there");
        assert!(matches!(input.skip(5, "x"), Err(ReadError::Cut { got: 4, expected: 5, offset_bytes: 252, .. })));
        input.offset_bytes()
    }

    #[test]
    fn memory_follows_the_bytes_that_are_there() {
        let mut input = Input::open(&[0u8; 100][..]).unwrap();
        assert_eq!(input.peek(RECORD_BYTES_MAX as usize).unwrap().len(), 100);
        assert!(input.window.capacity() < 4 * STEP_BYTES, "{} bytes were taken for 100", input.window.capacity());
        let cut = input.skip(u64::MAX, "much").unwrap_err();
        assert!(matches!(cut, ReadError::Cut { got: 100, expected: u64::MAX, .. }));
    }
}
