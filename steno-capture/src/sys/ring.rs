//! The ring of blocks that the kernel fills and we empty (linux/if_packet.h; packet_mmap.rst).
//!
//! A block belongs to the kernel or to us, by the TP_STATUS_USER bit of its status word: the kernel sets it when the block
//! is ready, and we clear it to give the block back. [`RingBlock`] is a block that is ours, for as long as it lives. What
//! the kernel still owns is read word by word, atomically, and never seen as a slice.

use std::{
    fmt, io,
    os::fd::{AsFd, AsRawFd},
    ptr::NonNull,
    slice,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use steno_core::block::TP_STATUS_USER;

use super::{AlignedBuffer, PacketSocket, RingShape};

/// Where the words of a block header lie (docs/format/block.md).
const STATUS_OFFSET: usize = 8;
const PACKETS_OFFSET: usize = 12;
const SEQ_LOW_OFFSET: usize = 24;
const SEQ_HIGH_OFFSET: usize = 28;
const TP_STATUS_KERNEL: u32 = 0;
const WORD_BYTES: usize = size_of::<u32>();

/// The mapped memory of a ring, in blocks. Unmapped when it and all blocks taken from it are gone.
pub(crate) struct RingMemory {
    start: NonNull<u8>,
    len: usize,
    block_bytes: usize,
    /// For each block whether a [`RingBlock`] stands for it.
    taken: Box<[AtomicBool]>,
}

// SAFETY: the memory belongs to the process, not to a thread. A block's bytes are reached only through the one `RingBlock`
// that stands for it, everything else by atomic operations.
unsafe impl Send for RingMemory {}
// SAFETY: as for `Send`: `&RingMemory` gives atomic access to words, and makes at most one `RingBlock` of a block at a time.
unsafe impl Sync for RingMemory {}

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
        let block_bytes = shape.block_bytes as usize;
        let len = block_bytes
            .checked_mul(shape.blocks as usize)
            .ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let fd = socket.as_fd().as_raw_fd();
        let map = |flags| {
            let flags = flags | libc::MAP_SHARED | libc::MAP_POPULATE;
            // SAFETY: a new mapping at an address of the kernel's choice takes no memory away from anyone.
            let at = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, flags, fd, 0) };
            if at == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(at) }
        };
        // The kernel allocated the pages when the ring was made. Locking is refused where RLIMIT_MEMLOCK is small.
        let locked = map(libc::MAP_LOCKED);
        let is_locked = locked.is_ok();
        let at = locked.or_else(|_| map(0))?;
        let start = NonNull::new(at.cast()).ok_or_else(|| io::Error::other("mmap gave address zero"))?;
        let taken = (0..shape.blocks).map(|_| AtomicBool::new(false)).collect();
        Ok((Arc::new(Self { start, len, block_bytes, taken }), is_locked))
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
        (self.start.as_ptr(), self.len)
    }

    /// The word at `offset` of block `number`; `None` for a place that is none.
    fn word(&self, number: u32, offset: usize) -> Option<&AtomicU32> {
        let inside = (number as usize) < self.taken.len()
            && offset.is_multiple_of(WORD_BYTES)
            && offset + WORD_BYTES <= self.block_bytes;
        let place = inside.then_some(number as usize * self.block_bytes + offset)?;
        // SAFETY: `place` is within the mapping, by the comparison above.
        let word = unsafe { self.start.add(place) };
        // SAFETY: aligned (the mapping and the blocks in it are page-aligned, the offset is a multiple of 4), mapped as long
        // as `self`, and, but for `RingBlock::bytes` of a block that is ours, only accessed atomically on our side; the
        // kernel accesses it by single loads and stores.
        Some(unsafe { AtomicU32::from_ptr(word.as_ptr().cast()) })
    }
}

impl Drop for RingMemory {
    fn drop(&mut self) {
        // SAFETY: the mapping of `map`, whole, which no `RingBlock` refers to any more: each holds the `Arc` of it.
        let unmapped = unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
        debug_assert_eq!(unmapped, 0, "a mapping of our own can be unmapped");
    }
}

impl fmt::Debug for RingMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RingMemory").field("len", &self.len).field("block_bytes", &self.block_bytes).finish()
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
        let offset = self.number as usize * self.memory.block_bytes;
        // SAFETY: within the mapping: `take` makes blocks of it only.
        let start = unsafe { self.memory.start.add(offset) };
        // SAFETY: `block_bytes` bytes from there on are mapped as long as `self.memory` lives, initialised (the kernel
        // zeroes the pages of a ring), and not written while the block is ours: its status said so, with acquire
        // ordering, when `self` was made, `taken` keeps a second `RingBlock` of it from being made, and `drop` alone
        // takes both back.
        unsafe { slice::from_raw_parts(start.as_ptr(), self.memory.block_bytes) }
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
