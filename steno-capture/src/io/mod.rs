//! From the ring to the disk (step 4 of the data flow): packet files, and the ways to write blocks into them.
//!
//! [`BlockSink`] takes blocks and gives them back once they are written, or have failed for good. Nothing here knows what is in a block, or when a file is rotated.

mod packet_file;
mod sink;
mod sync;
mod uring;

pub(crate) use packet_file::PacketFile;
pub(crate) use sink::{BlockSink, BlockWrite, Ended, Ticket};
pub(crate) use sync::SyncSink;
pub(crate) use uring::{MadeUring, probe_uring};
