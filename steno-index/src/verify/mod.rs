//! Checks: an index against its own checksums and rules, and against the packets that it describes.

mod conversations;
mod fragments;
mod postings;
mod scrub;
mod segment;
mod structure;
mod version2;

pub use scrub::{ScrubFault, Scrubbed, scrub_segment};
pub use segment::{Problem, Report, verify_segment};
