//! One face for the ways to write: io_uring, and pwrite(2).

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, BorrowedFd},
};

use super::PacketFile;
use crate::{
    flags::IoChoice,
    sys::{Block, Completion, Ring, Uring},
};

/// Writes blocks; each ends with a [`Completion`], in any order.
pub(crate) enum Writer {
    /// Many at a time.
    Uring(Box<Uring>),
    /// One at a time: the completion waits to be fetched.
    Sync(VecDeque<Completion>),
}

impl Writer {
    /// The way that was chosen, or io_uring and, where it is forbidden, pwrite. Also says which it is.
    pub(crate) fn new(choice: Option<IoChoice>, depth: u32, ring: &Ring) -> io::Result<(Self, String)> {
        let sync = || Self::Sync(VecDeque::new());
        if choice == Some(IoChoice::Sync) {
            return Ok((sync(), "pwrite, as asked".to_owned()));
        }
        match Uring::new(depth, ring) {
            Ok(uring) => {
                let how = if uring.is_registered() { "with" } else { "without" };
                let how = format!("io_uring, {how} the ring registered");
                Ok((Self::Uring(Box::new(uring)), how))
            }
            Err(e) if choice.is_some() => {
                Err(io::Error::new(e.kind(), format!("io_uring is not to be had here ({e}): use --io=sync")))
            }
            Err(e) => Ok((sync(), format!("pwrite, as io_uring is not to be had here ({e})"))),
        }
    }

    /// Writes under way, which hold blocks of the ring.
    pub(crate) fn busy(&self) -> u32 {
        match self {
            Self::Uring(uring) => uring.busy(),
            Self::Sync(_) => 0,
        }
    }

    /// Starts to write the first `len` bytes of `block` at `offset`. When too many writes are under way the block comes
    /// back.
    pub(crate) fn write(
        &mut self,
        file: &PacketFile,
        block: Block,
        len: u32,
        offset: u64,
        tag: u64,
    ) -> Result<(), Block> {
        match self {
            Self::Uring(uring) => uring.write(file.as_fd(), block, len, offset, tag),
            Self::Sync(done) => {
                let bytes = block.bytes().get(..len as usize).unwrap_or(block.bytes());
                done.push_back(Completion { tag, result: write_all_at(file, bytes, offset) });
                Ok(())
            }
        }
    }

    /// Hands what was started to the kernel, and waits until `wait` writes have ended, or all that are under way.
    pub(crate) fn submit(&mut self, wait: u32) -> io::Result<()> {
        match self {
            Self::Uring(uring) => uring.submit(wait),
            Self::Sync(_) => Ok(()),
        }
    }

    /// The next write that has ended.
    pub(crate) fn completion(&mut self) -> Option<Completion> {
        match self {
            Self::Uring(uring) => uring.completion(),
            Self::Sync(done) => done.pop_front(),
        }
    }

    /// What becomes readable when a write has ended.
    pub(crate) fn wakes_on(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Uring(uring) => Some(uring.as_fd()),
            Self::Sync(_) => None,
        }
    }
}

/// A short write is gone on with, where the alignment lets it; bytes written in the end.
fn write_all_at(file: &PacketFile, bytes: &[u8], offset: u64) -> io::Result<u32> {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match rustix::io::pwrite(file, rest, offset + written as u64) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => written += n,
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    u32::try_from(written).map_err(io::Error::other)
}
