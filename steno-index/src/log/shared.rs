//! The log of a file that is being written, in memory that another process reads (`docs/format/open-log.md`).
//!
//! The writer owns anonymous memory with a descriptor (memfd_create(2)) and appends the records of blocks that are on the disk,
//! a system call a block. The reader takes a copy by reading, so that nothing it looks at can change or go away under it, and
//! believes none of it.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::FileExt,
    },
};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

use super::{Log, LogError, SLOT_BYTES, decode};
use crate::{Facts, Index, IndexError, seal};

/// What the memory begins with.
const MAGIC: [u8; 8] = *b"STENOLOG";
/// The version of this layout.
const VERSION: u32 = 1;
/// Where the count of the records' bytes lies.
const COUNT_AT: u64 = 16;
/// What comes before the records, and where they begin.
const HEAD_BYTES: usize = 32;
const RECORDS_AT: u64 = HEAD_BYTES as u64;
/// The count of a log that does not have the records of all blocks on the disk.
const GIVEN_UP: u64 = u64::MAX;
/// Records that are read at the most: those of two million packets. An index of them is made in three times as much memory.
const MOST_BYTES: u64 = 64 << 20;

/// Why the log of an open file cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SharedLogError {
    /// The memory cannot be read.
    #[error("read the log of the open file")]
    Read(#[source] io::Error),
    /// It is no such log, or one of another version.
    #[error("the log of the open file is of another version")]
    Version,
    /// Its writer had no memory for all records.
    #[error("the log of the open file is not kept any more")]
    GivenUp,
    /// More than is taken.
    #[error("the log of the open file has {got} bytes; {MOST_BYTES} are the most that is searched")]
    TooLarge {
        /// Bytes of its records.
        got: u64,
    },
    /// Its records do not hold.
    #[error("the log of the open file")]
    Records(#[source] IndexError),
}

/// The writing end.
#[derive(Debug)]
pub struct SharedLog {
    memory: File,
    /// Bytes of records that are in it; none once it is given up.
    published: Option<u64>,
}

impl SharedLog {
    /// Memory without records, which cannot be made smaller.
    ///
    /// # Errors
    /// What memfd_create(2) and what follows it say.
    pub fn create() -> io::Result<Self> {
        Self::with(SealFlags::SHRINK | SealFlags::SEAL)
    }

    fn with(seals: SealFlags) -> io::Result<Self> {
        let memory = memfd_create("steno-open-log", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        let mut head = [0; HEAD_BYTES];
        let (magic, rest) = head.split_at_mut(MAGIC.len());
        magic.copy_from_slice(&MAGIC);
        for (place, byte) in rest.iter_mut().zip(VERSION.to_le_bytes()) {
            *place = byte;
        }
        let memory = File::from(memory);
        memory.write_all_at(&head, 0)?;
        fcntl_add_seals(&memory, seals)?;
        Ok(Self { memory, published: Some(0) })
    }

    /// What a reader is to be given.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.memory.as_fd()
    }

    /// Appends the records of `log` up to `until_bytes`, which is a block's end ([`Log::bytes`]), all of which are packets on the
    /// disk. What was published before is not looked at again.
    ///
    /// # Errors
    /// Memory that is not to be had. The log is given up then, and readers are told so.
    pub fn publish(&mut self, log: &Log, until_bytes: u64) -> io::Result<()> {
        let Some(mut at) = self.published else { return Ok(()) };
        for piece in log.pieces(at, until_bytes) {
            if let Err(e) = self.memory.write_all_at(piece, RECORDS_AT + at) {
                self.published = None;
                // This page is there.
                self.memory.write_all_at(&GIVEN_UP.to_le_bytes(), COUNT_AT)?;
                return Err(e);
            }
            at += piece.len() as u64;
        }
        self.memory.write_all_at(&at.to_le_bytes(), COUNT_AT)?;
        self.published = Some(at);
        Ok(())
    }
}

/// How many bytes of records a shared log has: as long as that does not change, nor does what it says.
///
/// # Errors
/// Memory that is no such log, or is given up.
pub fn published_bytes(memory: &File) -> Result<u64, SharedLogError> {
    let mut head = [0; HEAD_BYTES];
    memory.read_exact_at(&mut head, 0).map_err(SharedLogError::Read)?;
    let (magic, rest) = head.split_at(MAGIC.len());
    let word = |at: usize| rest.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes);
    if magic != MAGIC || word(0) != u64::from(VERSION) {
        return Err(SharedLogError::Version);
    }
    match word(8) {
        GIVEN_UP => Err(SharedLogError::GivenUp),
        bytes => Ok(bytes),
    }
}

/// The index of what a shared log says, for a packet file whose blocks are `block_bytes` apart.
///
/// # Errors
/// Memory that is no such log, is given up or larger than is taken, and records that do not hold.
pub fn index_of_shared(memory: &File, block_bytes: u32) -> Result<Index, SharedLogError> {
    let bytes = published_bytes(memory)?;
    if bytes > MOST_BYTES {
        return Err(SharedLogError::TooLarge { got: bytes });
    }
    let mut records = vec![0; usize::try_from(bytes).unwrap_or(0)];
    memory.read_exact_at(&mut records, RECORDS_AT).map_err(SharedLogError::Read)?;
    let log = Log::of_records(&records).map_err(|e| SharedLogError::Records(e.into()))?;
    drop(records);
    let (facts, mut index) = (Facts { block_bytes, ..Facts::default() }, Vec::new());
    let sealed = seal(&log, &facts, &mut index).map_err(SharedLogError::Records)?;
    debug_assert_eq!(sealed.packets, log.packets());
    drop(log);
    Index::from_bytes(index).map_err(SharedLogError::Records)
}

impl Log {
    /// The log that these records are, each of which is checked. They end with a block.
    ///
    /// # Errors
    /// Records that do not hold.
    pub fn of_records(records: &[u8]) -> Result<Self, LogError> {
        let mut entries = decode(records);
        let mut packets = 0;
        for entry in entries.by_ref() {
            packets += u32::from(matches!(entry?, super::Entry::Packet(_)));
        }
        if entries.open_packets() > 0 {
            return Err(LogError::Cut { slot: (records.len() / SLOT_BYTES) as u64 });
        }
        Ok(Self::of_slots(records.as_chunks::<SLOT_BYTES>().0, packets))
    }
}

#[cfg(test)]
mod tests {
    use steno_core::{
        Position, TimestampNs,
        packet::{Frame, decode as decode_frame},
        testkit::FrameBuilder,
    };

    use super::*;
    use crate::BlockNote;

    /// Notes blocks of so many packets each; gives where each ends.
    fn note(log: &mut Log, blocks: &[u32]) -> Vec<u64> {
        let mut tags = Vec::new();
        let mut ends = Vec::new();
        for (number, packets) in (0..).zip(blocks) {
            for i in 0..*packets {
                let port = u16::try_from(i).unwrap();
                let v6 = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
                let frame = match i % 3 {
                    0 => FrameBuilder::ethernet()
                        .tag(0x8100, 7)
                        .tag(0x8100, 8)
                        .ipv4([10, 0, 0, 1], [10, 0, 0, 2])
                        .tcp(port, 80),
                    1 => FrameBuilder::ethernet().ipv6(v6, v6).udp(9, port),
                    _ => FrameBuilder::ethernet().ipv4([10, 0, 0, 3], [10, 0, 0, 2]).udp(53, port),
                };
                let decoded = decode_frame(&Frame::new(&frame.build()), &mut tags);
                let position = Position(number * 8_388_608 + 48 + i * 144);
                log.note(position, TimestampNs::from_parts(1_700_000_000 + number, i), 80, &decoded, &tags);
            }
            let (offset_bytes, seq_num) = (u64::from(number) * 8_388_608, u64::from(number) + 1);
            log.end_block(BlockNote { offset_bytes, used_bytes: 48 + packets * 144, crc32c: Some(7), seq_num });
            ends.push(log.bytes());
        }
        ends
    }

    fn reader(shared: &SharedLog) -> File {
        File::from(shared.as_fd().try_clone_to_owned().unwrap())
    }

    #[test]
    fn what_is_published_is_read_as_if_it_were_sealed() {
        let mut log = Log::new();
        // More than one chunk of memory.
        let ends = note(&mut log, &[5, 1, 40_000, 0, 3]);
        let mut shared = SharedLog::create().unwrap();
        let memory = reader(&shared);
        assert_eq!(index_of_shared(&memory, 1 << 23).unwrap().packets(), 0);
        for (end, packets) in [(ends[0], 5), (ends[0], 5), (ends[1], 6), (ends[4], 40_009)] {
            shared.publish(&log, end).unwrap();
            assert_eq!(published_bytes(&memory).unwrap(), end);
            assert_eq!(index_of_shared(&memory, 1 << 23).unwrap().packets(), packets);
        }
        let mut sealed = Vec::new();
        let _summary = seal(&log, &Facts::default(), &mut sealed).unwrap();
        let mut again = Vec::new();
        let mut records = vec![0; usize::try_from(log.bytes()).unwrap()];
        memory.read_exact_at(&mut records, RECORDS_AT).unwrap();
        let _summary = seal(&Log::of_records(&records).unwrap(), &Facts::default(), &mut again).unwrap();
        assert!(sealed == again);
    }

    #[test]
    fn hostile_memory_is_an_error() {
        let mut log = Log::new();
        let ends = note(&mut log, &[3, 3]);
        let written = |bytes: &[u8], at: u64| {
            let mut shared = SharedLog::create().unwrap();
            shared.publish(&log, ends[1]).unwrap();
            let memory = reader(&shared);
            memory.write_all_at(bytes, at).unwrap();
            index_of_shared(&memory, 1 << 23).map(|index| index.packets()).map_err(|e| steno_core::chain(&e))
        };
        assert_eq!(written(&[], 0), Ok(6));
        for (bytes, at, why) in [
            (&[0; 8][..], 0, "of another version"),
            (&[2], 8, "of another version"),
            (&[0xff; 8], COUNT_AT, "not kept any more"),
            (&[0xff; 7], COUNT_AT, "are the most"),
            (&(ends[1] + 32).to_le_bytes(), COUNT_AT, "failed to fill"),
            // Within a record, and within a block.
            (&(ends[1] - 1).to_le_bytes(), COUNT_AT, "ends within"),
            (&(ends[0] - 64).to_le_bytes(), COUNT_AT, "ends within"),
            (&[99], RECORDS_AT, "unknown kind 99"),
        ] {
            let got = written(bytes, at).unwrap_err();
            assert!(got.contains(why), "{why}: {got}");
        }
    }

    #[test]
    fn memory_that_is_not_to_be_had_is_told() {
        let mut log = Log::new();
        let ends = note(&mut log, &[3, 3]);
        let mut shared = SharedLog::with(SealFlags::SHRINK).unwrap();
        let memory = reader(&shared);
        shared.publish(&log, ends[0]).unwrap();
        fcntl_add_seals(&memory, SealFlags::GROW).unwrap();
        let _refused = shared.publish(&log, ends[1]).unwrap_err();
        assert!(matches!(published_bytes(&memory), Err(SharedLogError::GivenUp)));
        shared.publish(&log, ends[1]).unwrap();
        assert!(matches!(published_bytes(&memory), Err(SharedLogError::GivenUp)));
    }
}
