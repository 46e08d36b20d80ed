//! Index files of version 2, as stenographer 1.0.1 writes and reads them (`docs/format/version2.md`): LevelDB tables from
//! attributes of packets to where the packets lie.
//!
//! `table` reads the container, [`Version2Index`] what is in it, `writer` and `seal` make one. What Steno's own files say beyond
//! 1.0.1's ([`Extra`]) stands in a block that LevelDB passes over.
//!
//! An index of this version knows neither times nor directions nor conversations. Whoever answers from one reads the packets
//! that it leads to, and decides.
//!
//! ```
//! # use steno_core::{block::BlockWriter, testkit::{block_of, recipe}};
//! # let mut writer = BlockWriter::new(4096);
//! # block_of(&mut writer, &recipe("1700000000 ip 10.0.0.1 > 10.0.0.2 tcp 40000 > 80").unwrap()).unwrap();
//! # let (facts, mut file) = (steno_index::Facts { block_bytes: 4096, ..Default::default() }, Vec::new());
//! # steno_index::index_packet_file_version2(&mut writer.finish(1), &facts, &mut file)?;
//! use std::ops::ControlFlow;
//! use steno_index::{AnyIndex, Attribute};
//!
//! // `AnyIndex::open(path)` for a file.
//! if let AnyIndex::Version2(index) = AnyIndex::from_bytes(file)? {
//!     let positions = index.positions(Attribute::V4([10, 0, 0, 1].into()))?;
//!     assert_eq!(positions.map(|positions| positions.len()), Some(1));
//!     let mut ports = Vec::new();
//!     index.each(Attribute::Port(0)..=Attribute::Port(1023), &mut |port, _| {
//!         ports.push(port);
//!         ControlFlow::Continue(())
//!     })?;
//!     assert_eq!(ports, [Attribute::Port(80)]);
//! }
//! # Ok::<(), steno_index::IndexError>(())
//! ```

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
pub(crate) use table::MAGIC;
