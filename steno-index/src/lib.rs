//! The index of a Steno segment: what is noted while packets arrive, the file that is sealed from it, and the look-ups
//! that answer from that file (steps 3, 5 and 9 of the data flow; the byte map is `docs/format/index.md`).
//!
//! An index describes one packet file. It groups the packets into conversations (the same layers, the same two ends, in
//! either direction) and knows which conversations have an address, a port or a class, and which packets are theirs.
//! It knows no query language, no capture and no network.
//!
//! # Open, look up, iterate
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("1700000000000000");
//! # use steno_core::{block::BlockWriter, testkit::{block_of, recipe}};
//! # let mut writer = BlockWriter::new(4096);
//! # block_of(&mut writer, &recipe("1700000000 ip 10.0.0.1 > 10.0.0.2 tcp 40000 > 80").unwrap()).unwrap();
//! # let (facts, mut file) = (steno_index::Facts { block_bytes: 4096, ..Default::default() }, Vec::new());
//! # steno_index::index_packet_file(&mut writer.finish(1), &facts, &mut file).unwrap();
//! # std::fs::write(&path, file)?;
//! use steno_index::{Direction, Index};
//!
//! let index = Index::open(&path)?;
//! let host: std::net::IpAddr = "10.0.0.1".parse()?;
//! let mut found = Vec::new();
//! index.conversations_by_address(host..=host, &mut found)?;
//! let (mut cursor, mut packets) = (index.cursor(), Vec::new());
//! for conversation in found {
//!     println!("{}", cursor.conversation(conversation)?);
//!     cursor.packets(conversation, Direction::Forward, &mut packets)?;
//! }
//! # assert_eq!(packets.len(), 1);
//! # Ok(())
//! # }
//! ```
//!
//! [`index_packet_file`] builds an index from a packet file, [`Log`] and [`seal()`] build one from packets as they
//! arrive, and [`verify_segment`] holds an index against its packets.
//!
//! [`version2`] has the index files of stenographer 1.0.1, read and written; [`AnyIndex`] opens a file of either format.
//!
//! # Hostile bytes
//! Whatever an index file, a packet file or a log holds: reading it ends, in memory bounded by the bytes that are
//! there, with the right answer or with an error. No read of a file uses a byte whose checksum has not been compared.

#![forbid(unsafe_code)]

mod checksums;
mod column;
mod conversation;
mod error;
mod facts;
mod format;
mod le;
pub mod log;
mod losses;
mod packet_file;
mod pause;
mod reader;
pub mod recover;
mod seal;
pub mod segment;
mod verify;
pub mod version2;

pub use checksums::{BlockChecksums, PIECE_BYTES, PieceDiffers};
pub use conversation::{Class, ClassNo, ConvNo, Conversation, Direction, Endpoint, Ends, NetworkKind, Side};
pub use error::IndexError;
pub use facts::Facts;
pub use format::{FORMAT_MAJOR, FORMAT_MINOR, SectionInfo};
pub use log::{BlockNote, Log};
pub use losses::{Cause, ClockStep, Drops, Gap, Loss};
pub use packet_file::{Built, Damage, Noted, detect_block_bytes, index_packet_file, note_block, note_packet_file};
pub use pause::Pause;
pub use reader::{
    Anchor, BlockInfo, ConversationCursor, FirstFragment, FirstFragments, Found, Index, LaterFragment, LaterFragments,
    Locator,
};
pub use seal::{Sealer, Summary, seal};
pub use verify::{Problem, Report, ScrubFault, Scrubbed, scrub_segment, verify_segment};
pub use version2::{
    AnyIndex, Attribute, Extra, Positions, Version2Index, Version2Sealer, index_packet_file_version2, seal_version2,
};
