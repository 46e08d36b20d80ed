//! The operating system: packet sockets, the ring that the kernel shares, AF_XDP sockets, direct writes, processors, privileges.
//!
//! The only unsafe code of this crate is here, one operation a block, behind functions that cannot be misused. Nothing
//! here knows files, indexes or flags.

#![expect(unsafe_code, reason = "system calls and kernel-shared memory that no crate wraps")]

mod bpf;
mod cpus;
mod ethtool;
mod host;
mod hostuse;
mod inherited;
mod link;
mod mapping;
mod memory;
mod privileges;
mod ring;
mod socket;
mod uring;
mod xsk;

pub(crate) use bpf::{Attached, Redirect, SocketMap, XdpMode};
pub(crate) use cpus::{Cpus, Keeping, keep_to, link_mbits, memory_bytes};
pub(crate) use ethtool::{SIOCETHTOOL, receive_queues, strips_tags};
pub(crate) use host::{Host, allow_locked_memory, allow_nice_level, allow_open_files, set_nice_level};
pub(crate) use hostuse::{HostUse, host_use, virtual_kind};
pub(crate) use inherited::inherited_socket;
pub(crate) use link::{LinkCounts, LinkStatistics};
pub(crate) use mapping::PageKind;
pub(crate) use memory::{AlignedBuffer, BlockMemory};
pub(crate) use privileges::{Account, Acting, group_by_name, user_by_name};
pub(crate) use ring::{FreeBlock, OpenHeader, RingBlock, RingMemory};
pub(crate) use socket::{FilterInstruction, PacketSocket, RingShape, RingStatistics};
pub(crate) use uring::{Operation, Uring};
pub(crate) use xsk::{ChunkShape, HEADROOM_BYTES, Part, QueueBacklog, XdpQueue, XdpSocket};

use std::io;

/// The result of a system call that says -1 for an error in errno.
fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
