//! Writes out of the ring by io_uring: the ring's memory registered once, a write a block.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
};

use io_uring::{IoUring, opcode, types};

use super::{Block, Ring};

/// The kernel registers at most 1 GiB as one buffer (io_uring_register(2)).
const REGISTERED_BYTES_MAX: usize = 1 << 30;

/// A write that has ended.
#[derive(Debug)]
pub(crate) struct Completion {
    /// What `write` was told.
    pub(crate) tag: u64,
    /// Bytes written, or why not.
    pub(crate) result: io::Result<u32>,
}

/// An io_uring with the blocks that its writes read from.
pub(crate) struct Uring {
    /// Before `in_flight`, so that it is dropped first: dropping it waits for nothing, but `drop` below has.
    uring: IoUring,
    in_flight: Vec<Option<(Block, u64)>>,
    busy: u32,
    /// Start of the ring's memory, where it could be registered.
    registered: Option<usize>,
}

impl Uring {
    /// An io_uring for at most `depth` writes at a time. Fails where the kernel or a sandbox forbids io_uring.
    pub(crate) fn new(depth: u32, ring: &Ring) -> io::Result<Self> {
        let uring = IoUring::new(depth.next_power_of_two())?;
        let (start, len) = ring.region();
        let buffers: Vec<libc::iovec> = (0..len)
            .step_by(REGISTERED_BYTES_MAX)
            .map(|offset| libc::iovec {
                iov_base: start.wrapping_add(offset).cast(),
                iov_len: REGISTERED_BYTES_MAX.min(len - offset),
            })
            .collect();
        // SAFETY: the buffers must stay mapped while they are registered: every write holds a `Block`, which holds the
        // mapping, and no operation other than those writes is submitted.
        let registered = unsafe { uring.submitter().register_buffers(&buffers) };
        let registered = registered.is_ok().then_some(start.addr());
        let in_flight = (0..depth).map(|_| None).collect();
        Ok(Self { uring, in_flight, busy: 0, registered })
    }

    /// Whether the ring's memory is registered.
    pub(crate) fn is_registered(&self) -> bool {
        self.registered.is_some()
    }

    /// Writes under way.
    pub(crate) fn busy(&self) -> u32 {
        self.busy
    }

    /// Starts to write the first `len` bytes of `block` at `offset`. Gives the block back when too many are under way.
    pub(crate) fn write(
        &mut self,
        file: BorrowedFd<'_>,
        block: Block,
        len: u32,
        offset: u64,
        tag: u64,
    ) -> Result<(), Block> {
        let Some(slot) = self.in_flight.iter().position(Option::is_none) else { return Err(block) };
        let bytes = block.bytes();
        let (at, len) = (bytes.as_ptr(), len.min(u32::try_from(bytes.len()).unwrap_or(u32::MAX)));
        let file = types::Fd(file.as_raw_fd());
        let entry = match self.registered {
            Some(start) => {
                let buffer = (at.addr() - start) / REGISTERED_BYTES_MAX;
                let buffer = u16::try_from(buffer).unwrap_or(u16::MAX);
                opcode::WriteFixed::new(file, at, len, buffer).offset(offset).build()
            }
            None => opcode::Write::new(file, at, len).offset(offset).build(),
        };
        let entry = entry.user_data(slot as u64);
        // SAFETY: the entry's memory stays as it is until its completion has been seen: `in_flight` keeps the block from
        // now on, and `drop` waits for what is under way.
        let pushed = unsafe { self.uring.submission().push(&entry) };
        if pushed.is_err() {
            return Err(block);
        }
        if let Some(place) = self.in_flight.get_mut(slot) {
            *place = Some((block, tag));
        }
        self.busy += 1;
        Ok(())
    }

    /// Hands what was pushed to the kernel, and waits until `wait` writes have ended.
    pub(crate) fn submit(&mut self, wait: u32) -> io::Result<()> {
        loop {
            match self.uring.submit_and_wait(wait.min(self.busy) as usize) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
                Ok(_) => return Ok(()),
            }
        }
    }

    /// The next write that has ended; its block goes back to the kernel's ring.
    pub(crate) fn completion(&mut self) -> Option<Completion> {
        let entry = self.uring.completion().next()?;
        let slot = usize::try_from(entry.user_data()).ok()?;
        let (block, tag) = self.in_flight.get_mut(slot)?.take()?;
        drop(block);
        self.busy -= 1;
        let result = u32::try_from(entry.result()).map_err(|_| io::Error::from_raw_os_error(-entry.result()));
        Some(Completion { tag, result })
    }
}

impl AsFd for Uring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        let fd = self.uring.as_raw_fd();
        // SAFETY: the descriptor is open as long as `self.uring`, which outlives the borrow.
        unsafe { BorrowedFd::borrow_raw(fd) }
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        // The kernel may read the blocks until their writes have ended.
        while self.busy > 0 && self.submit(1).is_ok() {
            while self.completion().is_some() {}
        }
        if self.busy > 0 {
            // Nobody could tell when the kernel is done with them: they stay ours, for good.
            self.in_flight.drain(..).for_each(std::mem::forget);
        }
    }
}
