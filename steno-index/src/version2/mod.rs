//! Index files of version 2, as stenographer 1.0.1 writes and reads them (`docs/format/version2.md`): LevelDB tables from
//! attributes of packets to where the packets lie.
//!
//! `table` reads the container, [`Version2Index`] what is in it, `writer` and `seal` make one. What Steno's own files say beyond
//! 1.0.1's ([`Extra`]) stands in a block that LevelDB passes over.
//!
//! An index of this version knows neither times nor directions nor conversations. Whoever answers from one reads the packets
//! that it leads to, and decides.

mod attribute;
mod extra;
mod positions;
mod reader;
mod seal;
mod table;
mod writer;

pub use attribute::Attribute;
pub use extra::Extra;
pub use positions::Positions;
pub use reader::{AnyIndex, Version2Index};
pub use seal::{Version2Sealer, index_packet_file_version2, seal_version2};
