//! The writing end, in the capture process.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::FileExt,
    },
};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

use super::{COUNT_AT, GIVEN_UP, HEAD_BYTES, MAGIC, RECORDS_AT, VERSION};
use crate::Log;

/// The writing end.
#[derive(Debug)]
pub struct SharedLog {
    memory: File,
    /// Bytes of records that are in it; none once it is given up.
    published: Option<u64>,
}

impl SharedLog {
    /// Memory without records, which cannot be made smaller.
    ///
    /// # Errors
    /// What memfd_create(2) and what follows it say.
    pub fn create() -> io::Result<Self> {
        Self::with(SealFlags::SHRINK | SealFlags::SEAL)
    }

    pub(super) fn with(seals: SealFlags) -> io::Result<Self> {
        let memory = memfd_create("steno-open-log", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        let mut head = [0; HEAD_BYTES];
        let (magic, rest) = head.split_at_mut(MAGIC.len());
        magic.copy_from_slice(&MAGIC);
        for (place, byte) in rest.iter_mut().zip(VERSION.to_le_bytes()) {
            *place = byte;
        }
        let memory = File::from(memory);
        memory.write_all_at(&head, 0)?;
        fcntl_add_seals(&memory, seals)?;
        Ok(Self { memory, published: Some(0) })
    }

    /// What a reader is to be given.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.memory.as_fd()
    }

    /// Appends the records of `log` up to `until_bytes`, which is a block's end ([`Log::bytes`]), all of which are packets on the
    /// disk. What was published before is not looked at again.
    ///
    /// # Errors
    /// Memory that is not to be had. The log is given up then, and readers are told so.
    pub fn publish(&mut self, log: &Log, until_bytes: u64) -> io::Result<()> {
        let Some(mut at) = self.published else { return Ok(()) };
        for piece in log.pieces(at, until_bytes) {
            if let Err(e) = self.memory.write_all_at(piece, RECORDS_AT + at) {
                self.published = None;
                // This page is there.
                self.memory.write_all_at(&GIVEN_UP.to_le_bytes(), COUNT_AT)?;
                return Err(e);
            }
            at += piece.len() as u64;
        }
        self.memory.write_all_at(&at.to_le_bytes(), COUNT_AT)?;
        self.published = Some(at);
        Ok(())
    }
}
