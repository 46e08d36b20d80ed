//! From a query to what is looked up where (step 8 of the data flow).
//!
//! `selection` finds the segments whose times the query can match, `lookup` turns the query into look-ups that find no
//! less than what matches in an index, `matching` decides the conversations found, exactly; `narrowing` is what the look-ups
//! come to in an index of version 2. [`Explanation`] shows all three.
//! Packet files are not touched here.

mod explain;
mod lookup;
mod matching;
mod narrowing;
mod selection;

pub(crate) use explain::explain;
pub use explain::{Estimate, Explanation, SegmentPlan};
pub(crate) use lookup::Lookup;
pub(crate) use matching::{Matcher, Stop};
pub(crate) use narrowing::Narrowing;
pub(crate) use selection::{Selected, Selection};
