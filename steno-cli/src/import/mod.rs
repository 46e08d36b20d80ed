//! `steno import`: capture files become segments of a store, with the packets' own times.
//!
//! [`reader`] takes capture files apart; `segments` fills blocks, indexes and publishes them; [`import_file`] leads
//! packets from the one to the other, one at a time, in bounded memory. A file's segments appear in the store together,
//! when the file has been read to its end: an import that fails or is interrupted leaves the store as it was.

mod error;
mod file;
pub mod reader;
mod segments;
mod skipped;

pub use error::ImportError;
pub use file::{Imported, import_file};
pub use skipped::Skipped;
