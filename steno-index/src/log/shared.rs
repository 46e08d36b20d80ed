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
    sync::Arc,
};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

use super::{
    BlockEntry, BlockNote, Entry, Log, LogError, SLOT_BYTES,
    entries::{Resume, decode_from},
};
use crate::{Facts, Index, IndexError, Sealer};

/// What the memory begins with.
const MAGIC: [u8; 8] = *b"STENOLOG";
/// The version of this layout, and the oldest that is read: it is the same without running checksums.
const VERSION: u32 = 2;
const OLDEST_VERSION: u32 = 1;
/// Where the count of the records' bytes lies.
const COUNT_AT: u64 = 16;
/// What comes before the records, and where they begin.
const HEAD_BYTES: usize = 32;
const RECORDS_AT: u64 = HEAD_BYTES as u64;
/// The count of a log that does not have the records of all blocks on the disk.
const GIVEN_UP: u64 = u64::MAX;
/// Records that are indexed at once: half a million packets.
const TOGETHER_BYTES: u64 = 16 << 20;
/// More records than the packets of any block have.
const BLOCK_RECORDS_MOST: u64 = 256 << 20;
/// Packets up to which parts are made into one.
const PART_PACKETS: u32 = 1 << 20;
/// What the indexes of a file may take in memory: those of a hundred million packets, as a rule.
const MOST_BYTES: u64 = 512 << 20;

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
    #[error("the index of the open file takes {got} bytes of memory; {MOST_BYTES} are the most that is kept")]
    TooLarge {
        /// Bytes of its index.
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

/// How many bytes of records a shared log has.
fn published_bytes(memory: &File) -> Result<u64, SharedLogError> {
    let mut head = [0; HEAD_BYTES];
    memory.read_exact_at(&mut head, 0).map_err(SharedLogError::Read)?;
    let (magic, rest) = head.split_at(MAGIC.len());
    let word = |at: usize| rest.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes);
    if magic != MAGIC || !(u64::from(OLDEST_VERSION)..=u64::from(VERSION)).contains(&word(0)) {
        return Err(SharedLogError::Version);
    }
    match word(8) {
        GIVEN_UP => Err(SharedLogError::GivenUp),
        bytes => Ok(bytes),
    }
}

/// The reading end: what a shared log says, as indexes of parts of the packet file. Each record is read, checked and indexed when
/// it is new; small parts are made into larger ones, so that there are few.
#[derive(Debug)]
pub struct SharedLogReader {
    memory: File,
    /// How far apart the blocks of the packet file are.
    block_bytes: u32,
    parts: Vec<Part>,
    sealer: Sealer,
    /// Records that are indexed at once.
    together_bytes: u64,
}

/// Some blocks of a packet file that is being written, and their index.
#[derive(Clone, Debug)]
pub struct OpenPart {
    /// Their index. It numbers packets from 0.
    pub index: Arc<Index>,
    /// Packets of the file before them.
    pub first_packet: u32,
}

#[derive(Debug)]
struct Part {
    index: Arc<Index>,
    /// What has to be known to read its records.
    start: Resume,
    /// And those behind it.
    end: Resume,
}

impl SharedLogReader {
    /// Reads `memory`, which somebody else writes, for a packet file whose blocks are `block_bytes` apart.
    pub fn new(memory: File, block_bytes: u32) -> Self {
        Self { memory, block_bytes, parts: Vec::new(), sealer: Sealer::new(), together_bytes: TOGETHER_BYTES }
    }

    /// The parts of the file, in order: all blocks that are on the disk by now.
    ///
    /// # Errors
    /// Memory that is no such log, or is given up; records that do not hold; more than is taken.
    pub fn parts(&mut self) -> Result<Vec<OpenPart>, SharedLogError> {
        let published = published_bytes(&self.memory)?;
        loop {
            let start = self.parts.last().map_or_else(Resume::default, |part| part.end.clone());
            if start.bytes() >= published {
                break;
            }
            let part = self.part(start, published, self.together_bytes)?;
            self.parts.push(part);
            self.settle()?;
        }
        let mut first_packet = 0u32;
        let parts = self.parts.iter().map(|part| {
            let first = first_packet;
            first_packet = first_packet.saturating_add(part.index.packets());
            OpenPart { index: Arc::clone(&part.index), first_packet: first }
        });
        Ok(parts.collect())
    }

    /// Makes one of the last two parts as long as they are of about the same size, and together not too large.
    fn settle(&mut self) -> Result<(), SharedLogError> {
        while let [.., before, last] = &self.parts[..] {
            let (some, more) = (before.index.packets(), last.index.packets());
            if some / 2 > more || some.saturating_add(more) > PART_PACKETS {
                break;
            }
            let (start, end) = (before.start.clone(), last.end.bytes());
            let part = self.part(start, end, u64::MAX)?;
            self.parts.truncate(self.parts.len() - 2);
            self.parts.push(part);
        }
        let index_bytes: u64 = self.parts.iter().map(|part| part.index.file_bytes()).sum();
        if index_bytes > MOST_BYTES { Err(SharedLogError::TooLarge { got: index_bytes }) } else { Ok(()) }
    }

    /// The part of the records from `start` to `until_bytes`, or to a block's end before where that is too much at once.
    fn part(&mut self, start: Resume, until_bytes: u64, together_bytes: u64) -> Result<Part, SharedLogError> {
        let left = until_bytes.saturating_sub(start.bytes());
        let mut take = left.min(together_bytes);
        loop {
            let mut records = vec![0; usize::try_from(take).unwrap_or(usize::MAX)];
            self.memory.read_exact_at(&mut records, RECORDS_AT + start.bytes()).map_err(SharedLogError::Read)?;
            let read =
                Log::of_records(&records, &start, take == left).map_err(|e| SharedLogError::Records(e.into()))?;
            drop(records);
            let Some((log, end)) = read else {
                // Not one block ends in so many, or in all that there are.
                if take == left || take >= BLOCK_RECORDS_MOST {
                    let what = "no end of a block for very long";
                    return Err(SharedLogError::Records(LogError::Bad { slot: start.slot(), what }.into()));
                }
                take = left.min(take.saturating_mul(2)).min(BLOCK_RECORDS_MOST);
                continue;
            };
            let (facts, mut index) = (Facts { block_bytes: self.block_bytes, ..Facts::default() }, Vec::new());
            let sealed = self.sealer.seal(&log, &facts, &mut index).map_err(SharedLogError::Records)?;
            debug_assert_eq!(sealed.packets, log.packets());
            let index = Arc::new(Index::from_bytes(index).map_err(SharedLogError::Records)?);
            return Ok(Part { index, start, end });
        }
    }
}

impl Log {
    /// The log of the whole blocks that these records are, each of which is checked, and what has to be known to read on; `None`
    /// where no block ends in them. Unless there are more behind them, they must end with a block.
    ///
    /// # Errors
    /// Records that do not hold.
    fn of_records(records: &[u8], start: &Resume, are_last: bool) -> Result<Option<(Self, Resume)>, LogError> {
        let (mut log, mut blocks) = (Self::new(), 0u64);
        let mut entries = decode_from(records, start);
        let mut end = None;
        // What comes behind the last block is not of this log.
        for _ in 0..whole_blocks(records, start, are_last)? {
            while let Some(entry) = entries.next() {
                match entry? {
                    Entry::Packet(note) => {
                        log.note(note.position, note.time, note.wire_len, &note.decoded, note.tags.as_slice());
                    }
                    Entry::Block(block) => {
                        let BlockEntry { offset_bytes, used_bytes, crc32c, seq_num, .. } = block;
                        let note = BlockNote { offset_bytes, used_bytes, crc32c, seq_num };
                        log.end_block_with(note, entries.running_checksums());
                        blocks += 1;
                        break;
                    }
                }
            }
            end = Some(entries.resume());
        }
        debug_assert!(end.is_some() == (blocks > 0));
        Ok(end.map(|end| (log, end)))
    }
}

/// How many blocks end in `records`.
fn whole_blocks(records: &[u8], start: &Resume, are_last: bool) -> Result<u64, LogError> {
    let (mut entries, mut blocks) = (decode_from(records, start), 0);
    for entry in entries.by_ref() {
        match entry {
            Ok(Entry::Packet(_)) => {}
            Ok(Entry::Block(_)) => blocks += 1,
            // A record that the end of these cuts is read with the next ones.
            Err(LogError::Cut { .. }) if !are_last => return Ok(blocks),
            Err(e) => return Err(e),
        }
    }
    match are_last && entries.is_within_a_block() {
        true => Err(LogError::Cut { slot: start.slot().saturating_add((records.len() / SLOT_BYTES) as u64) }),
        false => Ok(blocks),
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
    use crate::{PIECE_BYTES, seal};

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
            let used_bytes = 48 + packets * 144;
            let note = BlockNote { offset_bytes, used_bytes, crc32c: Some(7), seq_num };
            log.end_block_with(note, &running(used_bytes));
            ends.push(log.bytes());
        }
        ends
    }

    /// Running checksums, some for each block that can have any.
    fn running(used_bytes: u32) -> Vec<u32> {
        (0..(used_bytes - 1) / PIECE_BYTES).map(|no| no ^ used_bytes).collect()
    }

    fn memory_of(shared: &SharedLog) -> File {
        File::from(shared.as_fd().try_clone_to_owned().unwrap())
    }

    fn reader(shared: &SharedLog) -> SharedLogReader {
        SharedLogReader::new(memory_of(shared), 1 << 23)
    }

    fn packets(parts: &[OpenPart]) -> u32 {
        let mut before = 0;
        for part in parts {
            assert_eq!(part.first_packet, before);
            part.index.verify().unwrap();
            before += part.index.packets();
        }
        before
    }

    #[test]
    fn what_is_published_is_read_as_if_it_were_sealed() {
        let mut log = Log::new();
        // More than one chunk of memory.
        let ends = note(&mut log, &[5, 1, 40_000, 0, 3]);
        let mut shared = SharedLog::create().unwrap();
        let mut reader = reader(&shared);
        assert!(reader.parts().unwrap().is_empty());
        for (end, expected) in [(ends[0], 5), (ends[0], 5), (ends[1], 6), (ends[4], 40_009)] {
            shared.publish(&log, end).unwrap();
            assert_eq!(packets(&reader.parts().unwrap()), expected);
        }
        let mut fresh = SharedLogReader::new(memory_of(&shared), 1 << 23);
        let mut sealed = Vec::new();
        let _summary = seal(&log, &Facts { block_bytes: 1 << 23, ..Facts::default() }, &mut sealed).unwrap();
        let sealed = Index::from_bytes(sealed).unwrap();
        let parts = fresh.parts().unwrap();
        let lines = |index: &Index| index.iter().map(|c| c.unwrap().1.to_string()).collect::<Vec<_>>();
        assert_eq!((parts.len(), lines(&parts[0].index)), (1, lines(&sealed)));
    }

    #[test]
    fn parts_go_on_where_those_before_ended_and_stay_few() {
        let mut log = Log::new();
        // Some of them have running checksums.
        let blocks: Vec<u32> = (0..400).map(|i| if i % 29 == 3 { 400 + i } else { 1 + i * 7 % 40 }).collect();
        let ends = note(&mut log, &blocks);
        let mut shared = SharedLog::create().unwrap();
        let mut reader = reader(&shared);
        // Fewer than the records of some blocks.
        reader.together_bytes = 512;
        let mut expected = 0;
        for (i, (end, more)) in ends.iter().zip(&blocks).enumerate() {
            expected += more;
            shared.publish(&log, *end).unwrap();
            if i % 3 > 0 {
                continue;
            }
            let parts = reader.parts().unwrap();
            assert_eq!(packets(&parts), expected);
            assert!(parts.len() <= 12, "{} parts after {i} blocks", parts.len());
        }
        let mut indexed = 0;
        for part in reader.parts().unwrap() {
            for number in 0..part.index.block_count() {
                let block = part.index.block(number).unwrap();
                assert_eq!((block.packets, block.seq_num), (blocks[indexed], indexed as u64 + 1));
                let checksums = part.index.checksums(number).unwrap().unwrap();
                assert_eq!((checksums.crc32c(), checksums.running()), (7, &running(block.used_bytes)[..]));
                indexed += 1;
            }
        }
        assert_eq!(indexed, 400);
    }

    #[test]
    fn hostile_memory_is_an_error() {
        let mut log = Log::new();
        let ends = note(&mut log, &[3, 3]);
        let (note, end) =
            (BlockNote { offset_bytes: 1 << 25, used_bytes: 100_000, crc32c: Some(7), seq_num: 9 }, log.bytes() + 96);
        log.end_block_with(note, &[1, 2]);
        let written = |bytes: &[u8], at: u64| {
            let mut shared = SharedLog::create().unwrap();
            shared.publish(&log, end).unwrap();
            memory_of(&shared).write_all_at(bytes, at).unwrap();
            reader(&shared).parts().map(|parts| packets(&parts)).map_err(|e| steno_core::chain(&e))
        };
        assert_eq!(written(&[], 0), Ok(6));
        for (bytes, at, why) in [
            (&[0; 8][..], 0, "of another version"),
            (&[3], 8, "of another version"),
            (&[0xff; 8], COUNT_AT, "not kept any more"),
            (&[0xff; 7], COUNT_AT, "failed to fill"),
            (&(end + 32).to_le_bytes(), COUNT_AT, "failed to fill"),
            // Within a record, and within a block.
            (&(end - 1).to_le_bytes(), COUNT_AT, "ends within"),
            (&(ends[0] - 64).to_le_bytes(), COUNT_AT, "ends within"),
            // No more than a base of times: no packet is open, and no block has ended.
            (&32_u64.to_le_bytes(), COUNT_AT, "no end of a block"),
            (&[99], RECORDS_AT, "unknown kind 99"),
            // Of the last block, which has no packets, the running checksums and not the block.
            (&(end - 64).to_le_bytes(), COUNT_AT, "ends within"),
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
        let memory = memory_of(&shared);
        shared.publish(&log, ends[0]).unwrap();
        fcntl_add_seals(&memory, SealFlags::GROW).unwrap();
        let _refused = shared.publish(&log, ends[1]).unwrap_err();
        assert!(matches!(published_bytes(&memory), Err(SharedLogError::GivenUp)));
        shared.publish(&log, ends[1]).unwrap();
        assert!(matches!(published_bytes(&memory), Err(SharedLogError::GivenUp)));
    }
}
