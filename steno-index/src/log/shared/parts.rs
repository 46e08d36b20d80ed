//! Makes an index of records that another process wrote: of new ones, or of those of parts that are to be one.

use std::{fs::File, os::unix::fs::FileExt, sync::Arc};

use super::{RECORDS_AT, SharedLogError};
use crate::{
    Facts, Index, Sealer,
    log::{
        BlockEntry, BlockNote, Entry, Log, LogError, SLOT_BYTES,
        entries::{Resume, decode_from},
    },
};

/// More records than the packets of any block have.
const BLOCK_RECORDS_MOST: u64 = 256 << 20;

/// Parts that are to be one, which is made without their reader ([`SharedLogReader::due`](super::SharedLogReader::due)).
#[derive(Debug)]
#[must_use = "the reader has no other made until it is told of this one"]
pub struct Merge {
    pub(super) source: Source,
    pub(super) start: Resume,
    pub(super) until_bytes: u64,
}

/// What has become of a [`Merge`].
#[derive(Debug)]
pub struct Merged(pub(super) Result<Part, SharedLogError>);

/// Where records come from.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) memory: Arc<File>,
    /// How far apart the blocks of the packet file are.
    pub(super) block_bytes: u32,
}

#[derive(Debug)]
pub(super) struct Part {
    pub(super) index: Arc<Index>,
    /// What has to be known to read its records.
    pub(super) start: Resume,
    /// And those behind it.
    pub(super) end: Resume,
}

impl Merge {
    /// Makes the part. `sealer` is for its memory to be used again.
    pub fn make(self, sealer: &mut Sealer) -> Merged {
        Merged(self.source.part(self.start, self.until_bytes, u64::MAX, sealer))
    }
}

impl Source {
    /// The part of the records from `start` to `until_bytes`, or to a block's end before where that is too much at once.
    pub(super) fn part(
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
