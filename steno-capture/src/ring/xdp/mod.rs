//! Packets by AF_XDP: a program at the interface hands frames to sockets before the host makes packets of them, and we copy
//! them into blocks of the format that the kernel's ring has (`docs/format/block.md`).
//!
//! [`open()`] makes program and sockets, [`source::XdpSource`] is a thread's share of them, [`filler::Filler`] the block that is
//! being filled. Frames that are handed over so never reach the host, and what the host sends is not seen: a port that nothing
//! but this capture uses is what it is for.

mod filler;
mod link;
mod open;
mod queues;
mod source;

pub(super) use open::open;
pub(crate) use queues::QueueWatch;
