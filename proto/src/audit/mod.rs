//! The audit log: who asked a sensor what, as lines of JSON each of which holds the hash of the one before it. The sensor
//! writes it, `steno audit verify` checks it; `docs/format/audit.md` describes it.
//!
//! - [`Event`] is what a line tells; [`seal`] makes a line of it, [`read`] holds one against its own hash.
//! - [`Head`] is where a log has got to: the number and the hash of a line.
//! - [`Verifier`] holds lines against each other, over any number of files.
//!
//! Nothing here opens a file.

mod event;
mod line;
#[cfg(test)]
mod tests;
mod verify;

pub use event::{Asked, Cut, End, Event, Fragment, Limits, Lost, Missing, Open, OpenedAs, TurnedAway, Why};
pub use line::{Digest, Head, LineFault, MOST_LINE_BYTES, ParseHeadError, Read, read, seal};
pub use verify::{Finding, Place, Report, Verifier, What};
