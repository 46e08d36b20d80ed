//! The operating system: packet sockets, the ring that the kernel shares, direct writes out of it, privileges.
//!
//! The only unsafe code of this crate is here, one operation a block, behind functions that cannot be misused. Nothing
//! here knows files, indexes or flags.

#![expect(unsafe_code, reason = "system calls and kernel-shared memory that no crate wraps")]

mod host;
mod inherited;
mod link;
mod memory;
mod privileges;
mod ring;
mod socket;
mod uring;

pub(crate) use host::{Host, allow_locked_memory, allow_nice_level, set_nice_level};
pub(crate) use inherited::inherited_socket;
pub(crate) use link::{LinkCounts, LinkStatistics};
pub(crate) use memory::{AlignedBuffer, BlockMemory};
pub(crate) use privileges::{Account, Acting, group_by_name, user_by_name};
pub(crate) use ring::{OpenHeader, RingBlock, RingMemory};
pub(crate) use socket::{FilterInstruction, PacketSocket, RingShape};
pub(crate) use uring::{Operation, Uring};

use std::io;

/// The result of a system call that says -1 for an error in errno.
fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
