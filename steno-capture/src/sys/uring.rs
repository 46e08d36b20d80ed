//! Writes by io_uring, each of which owns the memory that it writes from until the kernel is done with it.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    sync::Arc,
    time::Duration,
};

use io_uring::{IoUring, opcode, register::Restriction, types};

use super::{BlockMemory, RingMemory};

/// The kernel registers at most 1 GiB as one buffer (io_uring_register(2)).
const REGISTERED_BYTES_MAX: usize = 1 << 30;

/// A write of a part of a block.
#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) file: Arc<File>,
    pub(crate) memory: BlockMemory,
    /// The bytes of `memory` to write.
    pub(crate) from: usize,
    pub(crate) until: usize,
    /// Where in the file.
    pub(crate) offset_bytes: u64,
}

/// An io_uring, and the operations that it has under way with what the caller wants to know of each.
pub(crate) struct Uring<T> {
    uring: IoUring,
    slots: Vec<Option<(Operation, T)>>,
    in_flight: usize,
    /// The ring whose memory is registered: blocks of it need not be mapped in again for each write.
    registered: Option<Arc<RingMemory>>,
}

impl<T> Uring<T> {
    /// An io_uring for at most `depth` operations at a time, which takes none before [`Self::enable`]. What it may register is a
    /// matter of who makes it, not of who uses it. Fails where the kernel, a sysctl or a sandbox forbids io_uring.
    pub(crate) fn new(depth: u32, ring: Option<&Arc<RingMemory>>) -> io::Result<Self> {
        let uring = IoUring::builder()
            .setup_single_issuer()
            .setup_coop_taskrun()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_r_disabled()
            .build(depth)
            .or_else(|_| IoUring::builder().setup_r_disabled().build(depth))?;
        if !uring.params().is_feature_ext_arg() {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "io_uring of Linux 5.11 or later is needed"));
        }
        let mut new = Self { uring, slots: (0..depth).map(|_| None).collect(), in_flight: 0, registered: None };
        if let Some(ring) = ring
            && new.register(ring).is_ok()
        {
            new.registered = Some(Arc::clone(ring));
        }
        Ok(new)
    }

    /// The kernel takes operations from now on, of the calling thread alone, and none but writes: what is done by them is not
    /// seen by any filter of system calls.
    pub(crate) fn enable(&self) -> io::Result<()> {
        let writes = [opcode::Write::CODE, opcode::WriteFixed::CODE];
        self.uring.submitter().register_restrictions(&mut writes.map(Restriction::sqe_op))?;
        self.uring.submitter().register_enable_rings()
    }

    /// Whether the ring's memory could be registered.
    pub(crate) fn is_registered(&self) -> bool {
        self.registered.is_some()
    }

    /// Operations under way.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// A descriptor that is readable when an operation has ended; none where none is under way.
    pub(crate) fn wakes(&self) -> Option<BorrowedFd<'_>> {
        (self.in_flight > 0).then(|| self.uring.as_fd())
    }

    /// Starts an operation. It comes back, with the reason, where it can't be started.
    pub(crate) fn start(&mut self, operation: Operation, about: T) -> Result<(), (Operation, T, io::Error)> {
        let Some(slot) = self.slots.iter().position(Option::is_none) else {
            return Err((operation, about, io::ErrorKind::ResourceBusy.into()));
        };
        let Some(entry) = self.entry(&operation) else {
            return Err((operation, about, io::ErrorKind::InvalidInput.into()));
        };
        let entry = entry.user_data(slot as u64);
        // SAFETY: the memory and the descriptor of the entry stay valid until its completion has been seen: from now on
        // `slots` keeps the operation, whose bytes do not move with it, and `drop` waits for what is under way.
        let pushed = unsafe { self.uring.submission().push(&entry) };
        if pushed.is_err() {
            return Err((operation, about, io::ErrorKind::ResourceBusy.into()));
        }
        if let Some(place) = self.slots.get_mut(slot) {
            *place = Some((operation, about));
            self.in_flight += 1;
        }
        // A submission that fails (EAGAIN, EBUSY, EINTR) stays queued: the next call takes it along.
        let _ = self.uring.submit();
        Ok(())
    }

    /// Fetches what has ended; where nothing has, and something is under way, waits for it as long as `wait` says.
    pub(crate) fn wait(&mut self, wait: Option<Duration>) {
        if self.in_flight == 0 {
            return;
        }
        // An error says that the time is up (ETIME) or that a signal came (EINTR): what has ended has ended.
        let _ = match wait {
            Some(time) if self.uring.completion().is_empty() => {
                let time = types::Timespec::from(time);
                self.uring.submitter().submit_with_args(1, &types::SubmitArgs::new().timespec(&time))
            }
            _ => self.uring.submit(),
        };
    }

    /// The next operation that has ended: bytes written, or a negated errno.
    pub(crate) fn ended(&mut self) -> Option<(Operation, T, io::Result<usize>)> {
        let entry = self.uring.completion().next()?;
        let slot = usize::try_from(entry.user_data()).ok()?;
        let (operation, about) = self.slots.get_mut(slot)?.take()?;
        self.in_flight -= 1;
        let result = usize::try_from(entry.result()).map_err(|_| io::Error::from_raw_os_error(-entry.result()));
        Some((operation, about, result))
    }

    fn register(&self, ring: &RingMemory) -> io::Result<()> {
        let (start, len) = ring.region();
        let step = registered_bytes(ring);
        let buffer = |offset: usize| libc::iovec {
            iov_base: start.wrapping_add(offset).cast(),
            iov_len: step.min(len - offset),
        };
        let buffers: Vec<libc::iovec> = (0..len).step_by(step).map(buffer).collect();
        // SAFETY: the buffers must stay mapped while they are registered: `registered` keeps the ring, and every write
        // that uses them holds a block of it.
        unsafe { self.uring.submitter().register_buffers(&buffers) }
    }

    /// `None` for an operation whose bytes are not there.
    fn entry(&self, operation: &Operation) -> Option<io_uring::squeue::Entry> {
        let bytes = operation.memory.bytes().get(operation.from..operation.until)?;
        let (at, len) = (bytes.as_ptr(), u32::try_from(bytes.len()).ok()?);
        let file = types::Fd(operation.file.as_raw_fd());
        let offset = operation.offset_bytes;
        let buffer = self.registered.as_deref().and_then(|ring| registered_buffer(ring, &operation.memory));
        Some(match buffer {
            Some(buffer) => opcode::WriteFixed::new(file, at, len, buffer).offset(offset).build(),
            None => opcode::Write::new(file, at, len).offset(offset).build(),
        })
    }
}

impl<T> Drop for Uring<T> {
    fn drop(&mut self) {
        // The kernel may read the memory until the writes have ended.
        while self.in_flight > 0 {
            match self.uring.submit_and_wait(1) {
                Err(e) if e.kind() != io::ErrorKind::Interrupted => break,
                _ => while self.ended().is_some() {},
            }
        }
        if self.in_flight > 0 {
            // Nobody could tell when the kernel is done with it: it stays ours, for good.
            self.slots.drain(..).for_each(std::mem::forget);
        }
    }
}

/// Bytes of a registered buffer: whole blocks.
fn registered_bytes(ring: &RingMemory) -> usize {
    let block = ring.block_bytes();
    (REGISTERED_BYTES_MAX / block).max(1) * block
}

/// The registered buffer that a block lies in.
fn registered_buffer(ring: &RingMemory, memory: &BlockMemory) -> Option<u16> {
    let BlockMemory::Ring(block) = memory else { return None };
    let (start, len) = ring.region();
    let offset = block.bytes().as_ptr().addr().checked_sub(start.addr()).filter(|&offset| offset < len)?;
    u16::try_from(offset / registered_bytes(ring)).ok()
}
