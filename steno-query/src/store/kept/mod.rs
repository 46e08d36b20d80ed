//! What is kept of the segments of a directory in one file beside them, so that a store of very many is opened without
//! opening each (`docs/format/catalogue.md`).
//!
//! It is a cache: it is believed of a segment only as long as the index file is the one that it was made from, byte for byte by
//! what stat(2) tells, and it may be deleted at any time. [`Kept`] reads it, `write` makes it, `filter` says which addresses a
//! segment does not have.

mod error;
mod file;
mod filter;
mod format;
mod write;

pub use error::KeptError;
pub use file::Kept;
pub(crate) use file::KeptSegment;
pub(crate) use filter::{Hashed, may_hold};
pub(super) use write::write;

/// The name of the file in a directory of indexes. It is hidden, and no segment's, so that nobody takes it for one.
pub const CATALOGUE_FILE: &str = ".catalogue";
