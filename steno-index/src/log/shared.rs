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
/// And up to which that is done while somebody waits for the parts: a millisecond or two.
const SMALL_PACKETS: u32 = 16 << 10;
/// With more parts, somebody waits for larger ones, too: each is looked into by itself.
const MOST_PARTS: usize = 64;
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
/// it is new; small parts are made into larger ones, so that there are few: the smallest at once, the others as a [`Merge`], which
/// nobody has to wait for.
#[derive(Debug)]
pub struct SharedLogReader {
    source: Source,
    parts: Vec<Part>,
    sealer: Sealer,
    /// Where the records end of which a [`Merge`] is under way.
    merging_until: Option<u64>,
    /// Records that are indexed at once.
    together_bytes: u64,
    /// Packets up to which parts are made into one at once.
    small_packets: u32,
}

/// Some blocks of a packet file that is being written, and their index.
#[derive(Clone, Debug)]
pub struct OpenPart {
    /// Their index. It numbers packets from 0.
    pub index: Arc<Index>,
    /// Packets of the file before them.
    pub first_packet: u32,
}

/// Parts that are to be one, which is made without their reader ([`SharedLogReader::due`]).
#[derive(Debug)]
#[must_use = "the reader has no other made until it is told of this one"]
pub struct Merge {
    source: Source,
    start: Resume,
    until_bytes: u64,
}

/// What has become of a [`Merge`].
#[derive(Debug)]
pub struct Merged(Result<Part, SharedLogError>);

/// Where records come from.
#[derive(Clone, Debug)]
struct Source {
    memory: Arc<File>,
    /// How far apart the blocks of the packet file are.
    block_bytes: u32,
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
        Self {
            source: Source { memory: Arc::new(memory), block_bytes },
            parts: Vec::new(),
            sealer: Sealer::new(),
            merging_until: None,
            together_bytes: TOGETHER_BYTES,
            small_packets: SMALL_PACKETS,
        }
    }

    /// The parts of the file, in order: all blocks that are on the disk by now.
    ///
    /// # Errors
    /// Memory that is no such log, or is given up; records that do not hold; more than is taken.
    pub fn parts(&mut self) -> Result<Vec<OpenPart>, SharedLogError> {
        let published = published_bytes(&self.source.memory)?;
        loop {
            let start = self.parts.last().map_or_else(Resume::default, |part| part.end.clone());
            if start.bytes() >= published {
                break;
            }
            let part = self.source.part(start, published, self.together_bytes, &mut self.sealer)?;
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

    /// Parts that are to be made into one, where there are some and none are being: whoever gets them has them made, and tells
    /// [`SharedLogReader::take`]. Until then, and if never, the reader gives the parts that it has.
    pub fn due(&mut self) -> Option<Merge> {
        if self.merging_until.is_some() {
            return None;
        }
        // As one after the other is made into one with the one before it, while they belong together.
        let mut runs: Vec<(&[Part], u32)> = Vec::new();
        for no in 0..self.parts.len() {
            let (mut first, mut packets) = (no, self.parts.get(no)?.index.packets());
            while let Some((before, some)) = runs.last()
                && belong_together(*some, packets, PART_PACKETS)
            {
                (first, packets) = (first - before.len(), some.saturating_add(packets));
                let _one_with_this = runs.pop();
            }
            runs.push((self.parts.get(first..=no)?, packets));
        }
        let run = runs.into_iter().map(|(parts, _)| parts).find(|parts| parts.len() > 1)?;
        let (first, last) = (run.first()?, run.last()?);
        let until_bytes = last.end.bytes();
        let merge = Merge { source: self.source.clone(), start: first.start.clone(), until_bytes };
        self.merging_until = Some(until_bytes);
        Some(merge)
    }

    /// Puts what was made in the place of its parts.
    ///
    /// # Errors
    /// Records that do not hold any more.
    pub fn take(&mut self, Merged(part): Merged) -> Result<(), SharedLogError> {
        self.merging_until = None;
        let part = part?;
        let place = |slot: u64, of: fn(&Part) -> &Resume| self.parts.iter().position(|p| of(p).slot() == slot);
        let range = (place(part.start.slot(), |p| &p.start), place(part.end.slot(), |p| &p.end));
        if let (Some(first), Some(last)) = range
            && first <= last
        {
            drop(self.parts.splice(first..=last, [part]));
        }
        Ok(())
    }

    /// Makes one of the last two parts as long as they are of about the same size, and together not too large to be waited for.
    fn settle(&mut self) -> Result<(), SharedLogError> {
        let most = if self.parts.len() > MOST_PARTS { PART_PACKETS } else { self.small_packets };
        while let [.., before, last] = &self.parts[..] {
            let is_being_merged = self.merging_until.is_some_and(|until| before.start.bytes() < until);
            if is_being_merged || !belong_together(before.index.packets(), last.index.packets(), most) {
                break;
            }
            let (start, end) = (before.start.clone(), last.end.bytes());
            let part = self.source.part(start, end, u64::MAX, &mut self.sealer)?;
            self.parts.truncate(self.parts.len() - 2);
            self.parts.push(part);
        }
        let index_bytes: u64 = self.parts.iter().map(|part| part.index.file_bytes()).sum();
        if index_bytes > MOST_BYTES { Err(SharedLogError::TooLarge { got: index_bytes }) } else { Ok(()) }
    }
}

/// Whether a part of so many packets and the next one are to be one, of no more than `most`.
fn belong_together(some: u32, more: u32, most: u32) -> bool {
    some / 2 <= more && some.saturating_add(more) <= most
}

impl Merge {
    /// Makes the part. `sealer` is for its memory to be used again.
    pub fn make(self, sealer: &mut Sealer) -> Merged {
        Merged(self.source.part(self.start, self.until_bytes, u64::MAX, sealer))
    }
}

impl Source {
    /// The part of the records from `start` to `until_bytes`, or to a block's end before where that is too much at once.
    fn part(
        &self,
        start: Resume,
        until_bytes: u64,
        together_bytes: u64,
        sealer: &mut Sealer,
    ) -> Result<Part, SharedLogError> {
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
            let sealed = sealer.seal(&log, &facts, &mut index).map_err(SharedLogError::Records)?;
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
    fn large_parts_are_merged_while_others_come() {
        let mut log = Log::new();
        let blocks: Vec<u32> = (0..60).map(|i| 20 + i * 7 % 40).collect();
        let ends = note(&mut log, &blocks);
        let mut shared = SharedLog::create().unwrap();
        let mut reader = reader(&shared);
        reader.small_packets = 64;
        let (mut sealer, mut under_way, mut merges, mut expected) = (Sealer::new(), None::<Merge>, 0, 0);
        for (i, (end, more)) in ends.iter().zip(&blocks).enumerate() {
            expected += more;
            shared.publish(&log, *end).unwrap();
            let parts = reader.parts().unwrap();
            assert_eq!(packets(&parts), expected);
            // Made while four blocks come.
            match (under_way.take(), i % 5) {
                (Some(merge), 4) => {
                    reader.take(merge.make(&mut sealer)).unwrap();
                    let merged = reader.parts().unwrap();
                    assert_eq!(packets(&merged), expected);
                    assert!(merged.len() < parts.len());
                    merges += 1;
                }
                (merge @ Some(_), _) => {
                    assert!(reader.due().is_none(), "one at a time");
                    under_way = merge;
                }
                (None, _) => under_way = reader.due(),
            }
        }
        assert!(merges >= 10, "{merges}");
        // None is under way: to the end.
        if let Some(merge) = under_way {
            reader.take(merge.make(&mut sealer)).unwrap();
        }
        while let Some(merge) = reader.due() {
            reader.take(merge.make(&mut sealer)).unwrap();
        }
        let parts = reader.parts().unwrap();
        assert_eq!(packets(&parts), expected);
        let sizes: Vec<_> = parts.iter().map(|part| part.index.packets()).collect();
        assert!(sizes.is_sorted_by(|some, more| some / 2 > *more), "{sizes:?}");
        let blocks_of = |parts: &[OpenPart]| {
            let of = |part: &OpenPart| {
                (0..part.index.block_count()).map(|no| part.index.block(no).unwrap().packets).collect()
            };
            parts.iter().flat_map(|part| -> Vec<u32> { of(part) }).collect::<Vec<_>>()
        };
        assert_eq!(blocks_of(&parts), blocks);
    }

    #[test]
    fn what_is_being_merged_is_not_made_into_one_with_what_comes() {
        let mut log = Log::new();
        let ends = note(&mut log, &[60, 40, 20]);
        let mut shared = SharedLog::create().unwrap();
        let mut reader = reader(&shared);
        reader.small_packets = 64;
        let mut sizes = |reader: &mut SharedLogReader, end: u64| {
            shared.publish(&log, end).unwrap();
            reader.parts().unwrap().iter().map(|part| part.index.packets()).collect::<Vec<_>>()
        };
        assert_eq!(sizes(&mut reader, ends[0]), [60]);
        assert_eq!(sizes(&mut reader, ends[1]), [60, 40]);
        let merge = reader.due().unwrap();
        assert_eq!(sizes(&mut reader, ends[2]), [60, 40, 20]);
        reader.take(merge.make(&mut Sealer::new())).unwrap();
        assert_eq!(sizes(&mut reader, ends[2]), [100, 20]);
    }

    #[test]
    fn parts_stay_few_where_nobody_merges_them() {
        let mut log = Log::new();
        let ends = note(&mut log, &[40; 400]);
        let mut shared = SharedLog::create().unwrap();
        let mut reader = reader(&shared);
        reader.small_packets = 64;
        for end in &ends {
            shared.publish(&log, *end).unwrap();
            let parts = reader.parts().unwrap();
            assert!(parts.len() <= MOST_PARTS + 1, "{}", parts.len());
        }
        assert_eq!(packets(&reader.parts().unwrap()), 400 * 40);
    }

    #[test]
    fn a_merge_of_records_that_hold_no_more_is_an_error() {
        let mut log = Log::new();
        let ends = note(&mut log, &[40, 40]);
        let mut shared = SharedLog::create().unwrap();
        let mut reader = reader(&shared);
        reader.small_packets = 64;
        for end in ends {
            shared.publish(&log, end).unwrap();
            let _parts = reader.parts().unwrap();
        }
        let merge = reader.due().unwrap();
        memory_of(&shared).write_all_at(&[99], RECORDS_AT).unwrap();
        let refused = reader.take(merge.make(&mut Sealer::new())).unwrap_err();
        assert!(steno_core::chain(&refused).contains("unknown kind 99"), "{refused:?}");
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
