//! What is kept of the segments of a directory in one file beside them, so that a store of very many is opened without
//! opening each (`docs/format/catalogue.md`).
//!
//! It is a cache: it is believed of a segment only as long as the index file is the one that it was made from, byte for byte by
//! what stat(2) tells, and it may be deleted at any time. [`Kept`] reads it, `write` makes it, `filter` says which addresses a
//! segment does not have, and `group` which none of many has, so that these need not be asked one by one.

mod error;
mod file;
mod filter;
mod format;
mod group;
#[cfg(test)]
pub(super) mod testkit;
mod write;

pub use error::KeptError;
pub use file::Kept;
pub(crate) use file::{KeptGroup, KeptSegment};
pub(crate) use filter::{Hashed, may_hold};
pub(super) use format::{GROUP_OF, Group, LEVELS_MAX};
pub(super) use write::write;

/// The name of the file in a directory of indexes. It is hidden, and no segment's, so that nobody takes it for one.
pub const CATALOGUE_FILE: &str = ".catalogue";
