//! From a query to what is looked up where (step 8 of the data flow).
//!
//! `selection` finds the segments whose times the query can match, `screen` those of them that need not be opened, `lookup` turns the query into look-ups that find no
//! less than what matches in an index, `matching` decides the conversations found, exactly, and `datagrams` leads it from later
//! fragments to the first ones; `narrowing` is what the look-ups
//! come to in an index of version 2. [`Explanation`] shows all three.
//! Packet files are not touched here.

mod asked;
mod datagrams;
mod explain;
mod lookup;
mod matching;
mod narrowing;
mod screen;
mod selection;

pub(crate) use asked::Asked;
pub(crate) use datagrams::{Datagrams, Fragment};
pub(crate) use explain::explain;
pub use explain::{Estimate, Explanation, SegmentPlan};
pub(crate) use lookup::Lookup;
pub(crate) use matching::{Fragments, Matched, Matcher, Stop};
pub(crate) use narrowing::Narrowing;
pub(crate) use selection::{Of, Seen, Selected, Selection};
