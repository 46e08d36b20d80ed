//! The ring of blocks that the kernel fills and we empty (linux/if_packet.h; packet_mmap.rst).
//!
//! A block belongs to the kernel or to us, by the TP_STATUS_USER bit of its status word: the kernel sets it when the block
//! is ready, and we clear it to give the block back. [`Block`] is a block that is ours, for as long as it lives.

use std::{
    fmt, io,
    os::fd::{AsFd, AsRawFd},
    ptr::NonNull,
    slice,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use steno_core::block::{BLOCK_HEADER_BYTES, BlockHeader, TP_STATUS_USER};

use super::{PacketSocket, RingShape};

/// Where `block_status` lies in a block header.
const STATUS_OFFSET: usize = 8;
const TP_STATUS_KERNEL: u32 = 0;

/// The mapped memory of a ring. Unmapped when the ring and all its blocks are gone.
struct Memory {
    start: NonNull<u8>,
    len: usize,
    block_bytes: usize,
}

// SAFETY: the memory is shared with the kernel anyway; between threads, each block is reached only through the one `Block`
// or the one `Ring` that stands for it, and its status word only by atomic operations.
unsafe impl Send for Memory {}
// SAFETY: as for `Send`: `&Memory` gives access to status words, atomically, and to nothing else.
unsafe impl Sync for Memory {}

impl Memory {
    fn map(socket: &PacketSocket, shape: RingShape) -> io::Result<Self> {
        let block_bytes = shape.block_bytes as usize;
        let len = block_bytes * shape.blocks as usize;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let fd = socket.as_fd().as_raw_fd();
        let map = |flags| {
            // SAFETY: a new mapping at an address of the kernel's choice takes no memory away from anyone.
            let at = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, flags, fd, 0) };
            if at == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(at) }
        };
        // The kernel allocated the pages when the ring was made; locking keeps their mapping from being taken apart, and
        // is refused where RLIMIT_MEMLOCK is small.
        let at = map(libc::MAP_SHARED | libc::MAP_LOCKED).or_else(|_| map(libc::MAP_SHARED))?;
        let start = NonNull::new(at.cast()).ok_or_else(|| io::Error::other("mmap gave address zero"))?;
        Ok(Self { start, len, block_bytes })
    }

    /// The first byte of block `index`, which is below the number of blocks.
    fn block(&self, index: u32) -> NonNull<u8> {
        let offset = index as usize * self.block_bytes;
        debug_assert!(offset + self.block_bytes <= self.len, "block {index} is not of this ring");
        // SAFETY: the offset is within the mapping, as `Ring` counts modulo the number of blocks that it mapped.
        unsafe { self.start.add(offset) }
    }

    fn status(&self, index: u32) -> &AtomicU32 {
        // SAFETY: within block `index`, behind its first words.
        let word = unsafe { self.block(index).add(STATUS_OFFSET) };
        // SAFETY: aligned to 4 (blocks are page-aligned), mapped as long as `self`, and shared with the kernel, which
        // accesses it by single stores and barriers.
        unsafe { AtomicU32::from_ptr(word.as_ptr().cast()) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping of `map`, whole, which no `Block` refers to any more: each holds the `Arc` of it.
        let unmapped = unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
        debug_assert_eq!(unmapped, 0, "a mapping of our own can be unmapped");
    }
}

/// A ring, read in the order in which the kernel fills it.
pub(crate) struct Ring {
    memory: Arc<Memory>,
    blocks: u32,
    next: u32,
}

impl Ring {
    /// Maps the ring that was made with this shape.
    pub(crate) fn map(socket: &PacketSocket, shape: RingShape) -> io::Result<Self> {
        Ok(Self { memory: Arc::new(Memory::map(socket, shape)?), blocks: shape.blocks, next: 0 })
    }

    /// The next block, when the kernel has handed it over. Not a block that we still hold: the kernel passes over none,
    /// so that a full ring is one in which the next block is ours already.
    pub(crate) fn next(&mut self, held: u32) -> Option<Block> {
        if held >= self.blocks || self.memory.status(self.next).load(Ordering::Acquire) & TP_STATUS_USER == 0 {
            return None;
        }
        Some(self.take())
    }

    /// The block that the kernel was filling, if it has packets: `last_seq` is the sequence
    /// number of the last block handed over. Only once packets have stopped to come in
    /// ([`PacketSocket::shut`]), and once.
    pub(crate) fn take_open(&mut self, held: u32, last_seq: u64) -> Option<Block> {
        if held >= self.blocks {
            return None;
        }
        // The block may be retired by its timer at any moment, which changes its status and the time of its end, but no
        // packet. Look at it as ours only if it is the one after the last.
        let block = Block { memory: Arc::clone(&self.memory), index: self.next, give_back: false };
        let header = BlockHeader::parse(block.bytes()).ok()?;
        let open = header.num_pkts > 0 && header.seq_num == last_seq + 1;
        if open { Some(self.take()) } else { None }
    }

    /// The mapped memory, for registering it with the kernel: address and length.
    pub(crate) fn region(&self) -> (*mut u8, usize) {
        (self.memory.start.as_ptr(), self.memory.len)
    }

    fn take(&mut self) -> Block {
        let index = self.next;
        self.next = (index + 1) % self.blocks;
        Block { memory: Arc::clone(&self.memory), index, give_back: true }
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").field("blocks", &self.blocks).field("next", &self.next).finish_non_exhaustive()
    }
}

/// A block that is ours. Dropping it gives it back to the kernel.
pub(crate) struct Block {
    memory: Arc<Memory>,
    index: u32,
    give_back: bool,
}

impl Block {
    /// Replaces the header, to keep fewer packets than the block has.
    pub(crate) fn set_header(&mut self, header: &BlockHeader) {
        let bytes = header.encode();
        let start = self.memory.block(self.index).as_ptr();
        // SAFETY: the block is longer than its header, mapped, and ours; `&mut self` leaves no slice of it alive.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), start, bytes.len()) };
    }

    /// All bytes of the block.
    pub(crate) fn bytes(&self) -> &[u8] {
        let start = self.memory.block(self.index).as_ptr();
        // SAFETY: `block_bytes` bytes from there on are mapped as long as `self.memory` lives, initialised (the kernel
        // zeroes the pages of a ring), and not written while the block is ours: its status said so, with acquire
        // ordering, when `self` was made, and `drop` alone takes that back. After `shut` nobody writes packets at all.
        unsafe { slice::from_raw_parts(start, self.memory.block_bytes) }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if self.give_back {
            // Release: our reads of the block come before the kernel's writes to it.
            self.memory.status(self.index).store(TP_STATUS_KERNEL, Ordering::Release);
        }
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block").field("index", &self.index).finish_non_exhaustive()
    }
}

const _: () = assert!(STATUS_OFFSET + 4 <= BLOCK_HEADER_BYTES as usize);
