//! The ring of blocks that the kernel fills and we empty (linux/if_packet.h; packet_mmap.rst).
//!
//! A block belongs to the kernel or to us, by the TP_STATUS_USER bit of its status word: the kernel sets it when the block
//! is ready, and we clear it to give the block back. [`RingBlock`] is a block that is ours, for as long as it lives. What
//! the kernel still owns is read word by word, atomically, and never seen as a slice. Where no kernel fills blocks
//! (AF_XDP), the memory is our own, and [`FreeBlock`] is a block that we fill ourselves.

use std::{
    fmt, io,
    os::fd::AsFd,
    ptr::NonNull,
    slice,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use steno_core::block::TP_STATUS_USER;

use super::{
    AlignedBuffer, PacketSocket, RingShape,
    mapping::{Mapping, PageKind},
};

/// Where the words of a block header lie (docs/format/block.md).
const STATUS_OFFSET: usize = 8;
const PACKETS_OFFSET: usize = 12;
const SEQ_LOW_OFFSET: usize = 24;
const SEQ_HIGH_OFFSET: usize = 28;
const TP_STATUS_KERNEL: u32 = 0;
const WORD_BYTES: usize = size_of::<u32>();

/// The mapped memory of a ring, in blocks. Unmapped when it and all blocks taken from it are gone.
///
/// Threads share it: a block's bytes are reached only through the one `RingBlock` that stands for it, everything else by
/// atomic operations.
pub(crate) struct RingMemory {
    mapping: Mapping,
    block_bytes: usize,
    /// For each block whether a [`RingBlock`] stands for it.
    taken: Box<[AtomicBool]>,
    /// Whether no kernel fills the blocks.
    is_own: bool,
}

/// What the header of a block says that the kernel may be filling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OpenHeader {
    /// Packets so far.
    pub(crate) packets: u32,
    /// The block's sequence number; of an earlier round, where the kernel has not opened it again.
    pub(crate) seq_num: u64,
}

impl RingMemory {
    /// Maps the ring that `socket` was given with this shape; into locked memory where the limits allow it, which the
    /// second part of the result says.
    pub(crate) fn map(socket: &PacketSocket, shape: RingShape) -> io::Result<(Arc<Self>, bool)> {
        let len = shape.bytes()?;
        let map = |flags| Mapping::shared(socket.as_fd(), len, 0, flags);
        // The kernel allocated the pages when the ring was made. Locking is refused where RLIMIT_MEMLOCK is small.
        let locked = map(libc::MAP_LOCKED);
        let is_locked = locked.is_ok();
        Ok((Arc::new(Self::over(locked.or_else(|_| map(0))?, shape, false)), is_locked))
    }

    /// Blocks in memory of our own, which [`Self::take_free`] gives out.
    pub(crate) fn own(shape: RingShape) -> io::Result<(Arc<Self>, PageKind)> {
        let (mapping, pages) = Mapping::own(shape.bytes()?)?;
        Ok((Arc::new(Self::over(mapping, shape, true)), pages))
    }

    fn over(mapping: Mapping, shape: RingShape, is_own: bool) -> Self {
        let taken = (0..shape.blocks).map(|_| AtomicBool::new(false)).collect();
        Self { mapping, block_bytes: shape.block_bytes as usize, taken, is_own }
    }

    /// Blocks of the ring.
    pub(crate) fn blocks(&self) -> u32 {
        u32::try_from(self.taken.len()).unwrap_or(u32::MAX)
    }

    /// Bytes of a block.
    pub(crate) fn block_bytes(&self) -> usize {
        self.block_bytes
    }

    /// Block `number`, where the kernel has handed it over and nobody has it.
    pub(crate) fn take(self: &Arc<Self>, number: u32) -> Option<RingBlock> {
        let taken = self.taken.get(number as usize)?;
        // Acquire: where an earlier `RingBlock` gave it back, its store to the status word is seen below.
        if taken.swap(true, Ordering::Acquire) {
            return None;
        }
        // Acquire: what the kernel wrote into the block comes before its status.
        let ours = self.word(number, STATUS_OFFSET).is_some_and(|w| w.load(Ordering::Acquire) & TP_STATUS_USER != 0);
        if !ours {
            taken.store(false, Ordering::Release);
            return None;
        }
        Some(RingBlock { memory: Arc::clone(self), number })
    }

    /// Whether the kernel has handed block `number` over, and nobody has taken it. Never of memory of our own.
    pub(crate) fn is_ready(&self, number: u32) -> bool {
        let is_free = self.taken.get(number as usize).is_some_and(|taken| !taken.load(Ordering::Relaxed));
        // Blocks of our own are not written atomically, by whoever takes one meanwhile.
        !self.is_own
            && is_free
            && self.word(number, STATUS_OFFSET).is_some_and(|w| w.load(Ordering::Relaxed) & TP_STATUS_USER != 0)
    }

    /// A block that nobody has, of memory of our own: the first one, so that no more memory is in use than has to be.
    pub(crate) fn take_free(self: &Arc<Self>) -> Option<FreeBlock> {
        // Acquire: what was read of the block before comes before what is written into it now.
        let number = self.taken.iter().position(|taken| self.is_own && !taken.swap(true, Ordering::Acquire))?;
        Some(FreeBlock(RingBlock { memory: Arc::clone(self), number: u32::try_from(number).ok()? }))
    }

    /// The header of block `number`, where the kernel has it; it may be in the middle of a change.
    pub(crate) fn open_header(&self, number: u32) -> Option<OpenHeader> {
        let word = |offset| self.word(number, offset).map(|w| w.load(Ordering::Acquire));
        if word(STATUS_OFFSET)? & TP_STATUS_USER != 0 {
            return None;
        }
        let seq_num = u64::from(word(SEQ_LOW_OFFSET)?) | u64::from(word(SEQ_HIGH_OFFSET)?) << 32;
        Some(OpenHeader { packets: word(PACKETS_OFFSET)?, seq_num })
    }

    /// Copies block `number`, which the kernel has. `None` where the kernel has handed it over meanwhile. The copy is
    /// worth something once no packet is received any more: then all that the kernel may still do is to hand the block over.
    pub(crate) fn copy_open(&self, number: u32) -> Option<AlignedBuffer> {
        let _ = self.open_header(number)?;
        let mut copy = AlignedBuffer::new(self.block_bytes);
        for (i, place) in copy.bytes_mut().as_chunks_mut::<WORD_BYTES>().0.iter_mut().enumerate() {
            *place = self.word(number, i * WORD_BYTES)?.load(Ordering::Relaxed).to_ne_bytes();
        }
        let _ = self.open_header(number)?;
        Some(copy)
    }

    /// The whole mapping: its address and its length.
    pub(super) fn region(&self) -> (*mut u8, usize) {
        (self.mapping.start().as_ptr(), self.taken.len() * self.block_bytes)
    }

    /// The word at `offset` of block `number`; `None` for a place that is none.
    fn word(&self, number: u32, offset: usize) -> Option<&AtomicU32> {
        let inside = (number as usize) < self.taken.len()
            && offset.is_multiple_of(WORD_BYTES)
            && offset + WORD_BYTES <= self.block_bytes;
        let offset = inside.then_some(number as usize * self.block_bytes + offset)?;
        let word = self.mapping.place(offset, WORD_BYTES)?;
        // SAFETY: aligned (the mapping and the blocks in it are page-aligned, the offset is a multiple of 4), mapped as long
        // as `self`, and, but for `RingBlock::bytes` of a block that is ours, only accessed atomically on our side; the
        // kernel accesses it by single loads and stores.
        Some(unsafe { AtomicU32::from_ptr(word.as_ptr().cast()) })
    }
}

impl fmt::Debug for RingMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RingMemory").field("mapping", &self.mapping).field("block_bytes", &self.block_bytes).finish()
    }
}

/// A block that is ours. Dropping it gives it back to the kernel.
pub(crate) struct RingBlock {
    memory: Arc<RingMemory>,
    number: u32,
}

impl RingBlock {
    /// All bytes of the block.
    pub(crate) fn bytes(&self) -> &[u8] {
        let Some(start) = self.place() else { return &[] };
        // SAFETY: `block_bytes` bytes from there on are mapped as long as `self.memory` lives, initialised (the kernel
        // zeroes the pages of a ring), and not written while the block is ours: its status said so, with acquire
        // ordering, when `self` was made (memory of our own is written through `FreeBlock` alone, exclusively), `taken`
        // keeps a second `RingBlock` of it from being made, and `drop` alone takes both back.
        unsafe { slice::from_raw_parts(start.as_ptr(), self.memory.block_bytes) }
    }

    fn place(&self) -> Option<NonNull<u8>> {
        let bytes = self.memory.block_bytes;
        self.memory.mapping.place(self.number as usize * bytes, bytes)
    }
}

impl Drop for RingBlock {
    fn drop(&mut self) {
        // Release: our reads of the block come before the kernel's writes to it.
        if let Some(status) = self.memory.word(self.number, STATUS_OFFSET) {
            status.store(TP_STATUS_KERNEL, Ordering::Release);
        }
        if let Some(taken) = self.memory.taken.get(self.number as usize) {
            taken.store(false, Ordering::Release);
        }
    }
}

impl fmt::Debug for RingBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RingBlock").field("number", &self.number).finish_non_exhaustive()
    }
}

/// A block of our own memory that is being filled, by whoever has this. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct FreeBlock(RingBlock);

impl FreeBlock {
    /// The block, of which nothing is changed any more.
    pub(crate) fn into_block(self) -> RingBlock {
        self.0
    }
}

impl AsRef<[u8]> for FreeBlock {
    fn as_ref(&self) -> &[u8] {
        self.0.bytes()
    }
}

impl AsMut<[u8]> for FreeBlock {
    fn as_mut(&mut self) -> &mut [u8] {
        let Some(start) = self.0.place() else { return &mut [] };
        // SAFETY: `block_bytes` bytes from there on are mapped as long as the memory that the block holds, and
        // initialised: pages of our own begin as zeros. Nobody else has them: `take_free` makes this of memory that no
        // kernel fills, `taken` keeps a second one from being made, and `&mut self` keeps other slices away.
        unsafe { slice::from_raw_parts_mut(start.as_ptr(), self.0.memory.block_bytes) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn blocks_of_our_own_are_given_out_once_each_and_again_when_they_are_back() {
        let shape = RingShape { block_bytes: 4096, blocks: 3, retire_after: Duration::ZERO };
        let (memory, _) = RingMemory::own(shape).unwrap();
        let mut blocks: Vec<_> = std::iter::from_fn(|| memory.take_free()).collect();
        assert_eq!(blocks.len(), 3);
        for (value, block) in (1..).zip(&mut blocks) {
            assert!(block.as_ref().iter().all(|&byte| byte == 0));
            block.as_mut().fill(value);
        }
        let second = blocks.remove(1).into_block();
        assert!(memory.take_free().is_none() && second.bytes().iter().all(|&byte| byte == 2));
        drop(second);
        let again = memory.take_free().unwrap();
        assert_eq!((again.as_ref().len(), again.as_ref()[4095]), (4096, 2), "the second one");
        assert!(memory.take_free().is_none());
        assert!([0, 1].map(|i: usize| blocks[i].as_ref()[7]) == [1, 3]);
    }
}
