//! What every other crate of Steno shares: units, the kernel's packet blocks as they lie in a packet file, the decoding
//! of packet headers, and the writing of capture files.
//!
//! Sits at the bottom of the data flow (`docs/ARCHITECTURE.md`): it knows no index, no query, no socket. Everything that
//! is read here may come from a hostile wire or a damaged disk, so every decoder returns an error, or decodes less, for
//! bytes that do not hold what they announce.

#![deny(unsafe_code)]

pub mod block;
mod chain;
mod clock;
pub mod crc32c;
mod heap;
mod lease;
mod map;
pub mod packet;
pub mod pcap;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;
mod units;

pub use chain::chain;
pub use clock::{Clock, FixedClock, SystemClock};
pub use heap::{give_back_memory, keep_freed_memory};
pub use lease::is_written_elsewhere;
pub use map::FileMap;
pub use units::{BLOCK_BYTES, PacketNo, ParseSegmentIdError, Position, SegmentId, TimestampNs};
