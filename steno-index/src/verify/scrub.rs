//! The light check of a segment: every byte that has a checksum is read and compared, nothing is built anew, and the caller says how
//! fast. What `verify_segment` tells beyond that is whether the index is that of the packets.

use std::{fs::File, ops::ControlFlow, os::unix::fs::FileExt};

use steno_core::{
    block::{Block, BlockError},
    crc32c,
};

use crate::{AnyIndex, BlockInfo, Index, IndexError, detect_block_bytes};

/// Faults that are spelled out; more are counted.
const MOST_FAULTS: usize = 10;
/// More used bytes than any block has; a table that says so sizes no allocation.
const BLOCK_BYTES_MAX: u32 = 64 << 20;

/// What is wrong with a part of a segment.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScrubFault {
    /// The index.
    #[error("index: {0}")]
    Index(#[source] IndexError),
    /// The packet file cannot be read where a block should be.
    #[error("the block at offset {offset_bytes} cannot be read: {source}")]
    Read {
        /// Where the block starts.
        offset_bytes: u64,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A block is not whole.
    #[error("the block at offset {offset_bytes}: {source}")]
    Block {
        /// Where the block starts.
        offset_bytes: u64,
        /// What is wrong with it.
        #[source]
        source: BlockError,
    },
    /// A block is not the one that was captured.
    #[error("the block at offset {offset_bytes} has the checksum {got:#010x}, and {expected:#010x} was captured")]
    Checksum {
        /// Where the block starts.
        offset_bytes: u64,
        /// By the index, CRC-32C.
        expected: u32,
        /// Of what is there.
        got: u32,
    },
}

/// What a scrub found.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Scrubbed {
    /// Bytes that were read.
    pub bytes: u64,
    /// What is wrong, the first ten things.
    pub faults: Vec<ScrubFault>,
    /// How many more things are.
    pub more_faults: u64,
}

impl Scrubbed {
    fn add(&mut self, fault: ScrubFault) {
        if self.faults.len() < MOST_FAULTS {
            self.faults.push(fault);
        } else {
            self.more_faults += 1;
        }
    }
}

/// Reads a segment from end to end. `pace` is told before each read how many bytes it is of; it may wait, and may end the scrub,
/// which then gives `None`. Memory for one block is taken.
pub fn scrub_segment(
    packets: &File,
    index: &AnyIndex,
    pace: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Option<Scrubbed> {
    let (mut scrubbed, mut buffer) = (Scrubbed::default(), Vec::new());
    let ended = match index {
        AnyIndex::Native(index) => native(packets, index, pace, &mut scrubbed, &mut buffer),
        AnyIndex::Version2(index) => {
            if let Err(error) = index.verify() {
                scrubbed.add(ScrubFault::Index(error));
            }
            version2(packets, index.extra().map(|extra| extra.facts.block_bytes), pace, &mut scrubbed, &mut buffer)
        }
    };
    ended.is_continue().then_some(scrubbed)
}

fn native(
    packets: &File,
    index: &Index,
    pace: &mut dyn FnMut(u64) -> ControlFlow<()>,
    scrubbed: &mut Scrubbed,
    buffer: &mut Vec<u8>,
) -> ControlFlow<()> {
    pace(index.file_bytes())?;
    scrubbed.bytes += index.file_bytes();
    if let Err(error) = index.check_pages() {
        scrubbed.add(ScrubFault::Index(error));
    }
    for number in 0..index.block_count() {
        match index.block(number) {
            Ok(info) => check(packets, &info, pace, scrubbed, buffer)?,
            Err(error) => scrubbed.add(ScrubFault::Index(error)),
        }
    }
    ControlFlow::Continue(())
}

fn version2(
    packets: &File,
    block_bytes: Option<u32>,
    pace: &mut dyn FnMut(u64) -> ControlFlow<()>,
    scrubbed: &mut Scrubbed,
    buffer: &mut Vec<u8>,
) -> ControlFlow<()> {
    let detected = block_bytes.filter(|&bytes| bytes > 0).map_or_else(|| detect_block_bytes(packets), |b| Ok(Some(b)));
    let file_bytes = packets.metadata().map_or(0, |metadata| metadata.len());
    match detected {
        Err(error) => scrubbed.add(ScrubFault::Index(error)),
        Ok(None) => {}
        Ok(Some(block_bytes)) => {
            for offset_bytes in (0..file_bytes).step_by((block_bytes as usize).max(1)) {
                let used_bytes = u32::try_from(file_bytes - offset_bytes).unwrap_or(u32::MAX).min(block_bytes);
                read(packets, offset_bytes, used_bytes, None, pace, scrubbed, buffer)?;
            }
        }
    }
    ControlFlow::Continue(())
}

fn check(
    packets: &File,
    info: &BlockInfo,
    pace: &mut dyn FnMut(u64) -> ControlFlow<()>,
    scrubbed: &mut Scrubbed,
    buffer: &mut Vec<u8>,
) -> ControlFlow<()> {
    if info.used_bytes > BLOCK_BYTES_MAX {
        scrubbed.add(ScrubFault::Index(IndexError::corrupt("blocks", "more bytes than a block has", info.used_bytes)));
        return ControlFlow::Continue(());
    }
    read(packets, info.offset_bytes, info.used_bytes, info.crc32c, pace, scrubbed, buffer)
}

fn read(
    packets: &File,
    offset_bytes: u64,
    bytes: u32,
    expected: Option<u32>,
    pace: &mut dyn FnMut(u64) -> ControlFlow<()>,
    scrubbed: &mut Scrubbed,
    buffer: &mut Vec<u8>,
) -> ControlFlow<()> {
    pace(bytes.into())?;
    scrubbed.bytes += u64::from(bytes);
    buffer.resize(bytes as usize, 0);
    if let Err(source) = packets.read_exact_at(buffer, offset_bytes) {
        scrubbed.add(ScrubFault::Read { offset_bytes, source });
        return ControlFlow::Continue(());
    }
    match expected {
        Some(expected) => {
            let got = crc32c::crc32c(buffer);
            if got != expected {
                scrubbed.add(ScrubFault::Checksum { offset_bytes, expected, got });
            }
        }
        None => {
            let walked = Block::parse(buffer).and_then(|block| block.packets().try_for_each(|packet| packet.map(drop)));
            if let Err(source) = walked {
                scrubbed.add(ScrubFault::Block { offset_bytes, source });
            }
        }
    }
    ControlFlow::Continue(())
}
