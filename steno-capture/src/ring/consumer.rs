//! Takes the blocks of a ring in the order in which the kernel fills them.

use std::sync::Arc;

use steno_core::block::BlockHeader;

use super::{backlog::RingBacklog, cut};
use crate::{
    console::error,
    sys::{BlockMemory, OpenHeader, RingBlock, RingMemory},
};

/// The reader of a ring.
#[derive(Debug)]
pub(super) struct Consumer {
    /// The ring, and the block that comes next.
    ring: Arc<RingBacklog>,
    /// The sequence number of the block that comes next; the kernel counts from 1.
    next_seq: u64,
}

impl Consumer {
    pub(super) fn new(memory: Arc<RingMemory>) -> Self {
        Self { ring: Arc::new(RingBacklog::new(memory)), next_seq: 1 }
    }

    /// The next block, where the kernel has handed it over and its write of the round before has ended.
    pub(super) fn next(&mut self) -> Option<RingBlock> {
        let block = self.memory().take(self.ring.next())?;
        self.ring.advance();
        self.next_seq = BlockHeader::parse(block.bytes()).map_or(self.next_seq, |header| header.seq_num) + 1;
        Some(block)
    }

    /// The ring.
    pub(super) fn memory(&self) -> &Arc<RingMemory> {
        self.ring.memory()
    }

    /// How far it is behind the kernel.
    pub(super) fn backlog(&self) -> &Arc<RingBacklog> {
        &self.ring
    }

    /// The sequence number of the block that comes next.
    pub(super) fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// The header of the block that the kernel is filling, if it has packets. A block that the kernel has not opened yet
    /// still has the header of the round before, with another sequence number.
    pub(super) fn open_block(&self) -> Option<OpenHeader> {
        let header = self.memory().open_header(self.ring.next())?;
        (header.packets > 0 && header.seq_num == self.next_seq).then_some(header)
    }

    /// A copy of the block that the kernel is filling, ended after its last packet. Only once no packet is received any
    /// more. `None` where it has no packets, and where the kernel hands it over just now: then it comes from [`Self::next`].
    pub(super) fn copy_open_block(&self) -> Option<BlockMemory> {
        let open = self.open_block()?;
        let mut copy = self.memory().copy_open(self.ring.next())?;
        match cut::end_after(copy.bytes_mut(), open.packets) {
            Ok(()) => Some(BlockMemory::Copy(copy)),
            Err(e) => {
                error!("the block that the kernel was filling is malformed, and is dropped: {e}");
                None
            }
        }
    }
}
