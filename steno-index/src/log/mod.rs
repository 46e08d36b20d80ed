//! The open log: one fixed-size record a packet, appended while packets arrive (step 3 of the data flow;
//! `docs/format/index.md` section 7).
//!
//! [`Log::note`] is on the capture path: it hashes nothing, takes no lock, and allocates a chunk of memory once in
//! 32,767 slots. [`Entries`] reads a log back, also from bytes that another process wrote, and believes none of them.

mod entries;
mod shared;
mod slot;
mod writer;

pub use entries::{BlockEntry, Entries, Entry, LogError, PacketNote, TagStack, decode};
pub(crate) use entries::{RawAddresses, RawEntry, RawPacket};
pub use shared::{Merge, Merged, OpenPart, SharedLog, SharedLogError, SharedLogReader};
pub use slot::SLOT_BYTES;
pub(crate) use slot::{decode_tag, encode_tag};
pub use writer::{BlockNote, Log};
