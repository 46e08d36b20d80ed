//! Writes a LevelDB table, entry by entry, as LevelDB itself would without compression and without a filter.

use std::io::Write;

use steno_core::crc32c;

use super::{
    extra::MetaEntry,
    table::{Footer, Handle, TRAILER_BYTES, UNCOMPRESSED, mask, put_varint},
};
use crate::IndexError;

/// Bytes of entries at which a block is complete: LevelDB's default. One entry may be far longer.
const BLOCK_BYTES: usize = 4096;
/// Entries from one restart point to the next, where keys are written in full: LevelDB's defaults, for blocks of entries and
/// for the index of blocks.
const RESTART_INTERVAL: usize = 16;
const INDEX_RESTART_INTERVAL: usize = 1;

/// A block that is being filled.
#[derive(Debug)]
struct BlockBuilder {
    interval: usize,
    bytes: Vec<u8>,
    restarts: Vec<u32>,
    /// Entries since the last restart point.
    since: usize,
    last: Vec<u8>,
}

impl BlockBuilder {
    fn new(interval: usize) -> Self {
        Self { interval, bytes: Vec::new(), restarts: Vec::new(), since: 0, last: Vec::new() }
    }

    fn is_empty(&self) -> bool {
        self.restarts.is_empty()
    }

    /// Begins an entry whose value of so many bytes the caller appends to [`Self::bytes`].
    fn begin(&mut self, key: &[u8], value_bytes: usize) -> Result<(), IndexError> {
        if self.restarts.is_empty() || self.since == self.interval {
            let (got, most) = (self.bytes.len() as u64, u64::from(u32::MAX));
            let at = u32::try_from(got).map_err(|_| IndexError::TooLarge { what: "bytes of a block", got, most })?;
            self.restarts.push(at);
            self.since = 0;
            self.last.clear();
        }
        let shared = self.last.iter().zip(key).take_while(|(a, b)| a == b).count();
        let delta = key.get(shared..).unwrap_or_default();
        for len in [shared, delta.len(), value_bytes] {
            put_varint(&mut self.bytes, len as u64);
        }
        self.bytes.extend_from_slice(delta);
        self.last.clear();
        self.last.extend_from_slice(key);
        self.since += 1;
        Ok(())
    }

    /// The block's bytes, complete.
    fn finish(&mut self) -> &[u8] {
        if self.restarts.is_empty() {
            self.restarts.push(0);
        }
        let count = u32::try_from(self.restarts.len()).unwrap_or(u32::MAX);
        for word in self.restarts.iter().chain([&count]) {
            self.bytes.extend_from_slice(&word.to_le_bytes());
        }
        &self.bytes
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.restarts.clear();
        self.since = 0;
        self.last.clear();
    }
}

/// A table that is being written.
#[derive(Debug)]
pub(super) struct TableWriter<'w, W> {
    out: &'w mut W,
    written: u64,
    block: BlockBuilder,
    index: BlockBuilder,
    meta: BlockBuilder,
}

impl<'w, W: Write> TableWriter<'w, W> {
    pub(super) fn new(out: &'w mut W) -> Self {
        Self {
            out,
            written: 0,
            block: BlockBuilder::new(RESTART_INTERVAL),
            index: BlockBuilder::new(INDEX_RESTART_INTERVAL),
            meta: BlockBuilder::new(RESTART_INTERVAL),
        }
    }

    /// Adds an entry, whose key must come after those before it.
    pub(super) fn add(&mut self, key: &[u8], value: &[u8]) -> Result<(), IndexError> {
        self.block.begin(key, value.len())?;
        self.block.bytes.extend_from_slice(value);
        self.end_entry()
    }

    /// Adds an entry whose value is `words`, big-endian.
    pub(super) fn add_words(&mut self, key: &[u8], words: &[u32]) -> Result<(), IndexError> {
        self.block.begin(key, words.len() * 4)?;
        self.block.bytes.extend(words.iter().flat_map(|word| word.to_be_bytes()));
        self.end_entry()
    }

    fn end_entry(&mut self) -> Result<(), IndexError> {
        if self.block.bytes.len() >= BLOCK_BYTES { self.end_block() } else { Ok(()) }
    }

    fn end_block(&mut self) -> Result<(), IndexError> {
        if self.block.is_empty() {
            return Ok(());
        }
        // LevelDB may shorten the key that it puts here; the last key of the block is always right.
        let last = std::mem::take(&mut self.block.last);
        let handle = put_block(self.out, &mut self.written, self.block.finish())?;
        self.block.clear();
        add_handle(&mut self.index, &last, handle)
    }

    /// Adds a meta block, which a reader finds by its name only. In the order of the names.
    pub(super) fn meta(&mut self, name: &[u8], entries: &[MetaEntry]) -> Result<(), IndexError> {
        self.end_block()?;
        for (key, value) in entries {
            self.block.begin(key, value.len())?;
            self.block.bytes.extend_from_slice(value);
        }
        let handle = put_block(self.out, &mut self.written, self.block.finish())?;
        self.block.clear();
        add_handle(&mut self.meta, name, handle)
    }

    /// Writes what stands behind the entries, and gives the length of the file.
    pub(super) fn finish(mut self) -> Result<u64, IndexError> {
        self.end_block()?;
        let metaindex = put_block(self.out, &mut self.written, self.meta.finish())?;
        let index = put_block(self.out, &mut self.written, self.index.finish())?;
        let mut footer = Vec::new();
        Footer { metaindex, index }.encode(&mut footer);
        put(self.out, &mut self.written, &footer)?;
        self.out.flush().map_err(|source| IndexError::Write { source })?;
        Ok(self.written)
    }
}

fn add_handle(block: &mut BlockBuilder, key: &[u8], handle: Handle) -> Result<(), IndexError> {
    let mut value = Vec::new();
    handle.encode(&mut value);
    block.begin(key, value.len())?;
    block.bytes.extend_from_slice(&value);
    Ok(())
}

/// Writes a block and its trailer.
fn put_block(out: &mut impl Write, written: &mut u64, bytes: &[u8]) -> Result<Handle, IndexError> {
    let handle = Handle { offset: *written, len: bytes.len() as u64 };
    put(out, written, bytes)?;
    let crc = mask(crc32c::crc32c_append(crc32c::crc32c(bytes), &[UNCOMPRESSED]));
    let [a, b, c, d] = crc.to_le_bytes();
    put(out, written, &[UNCOMPRESSED, a, b, c, d])?;
    debug_assert_eq!(handle.end(), Some(*written), "a trailer has {TRAILER_BYTES} bytes");
    Ok(handle)
}

fn put(out: &mut impl Write, written: &mut u64, bytes: &[u8]) -> Result<(), IndexError> {
    out.write_all(bytes).map_err(|source| IndexError::Write { source })?;
    *written += bytes.len() as u64;
    Ok(())
}
