//! From a plan to the packets of the answer (steps 9 to 12 of the data flow).
//!
//! `merge` puts the packets of all segments in order, opening segments and loading blocks when their time comes, `at_once` has several looked up together; `opened`
//! is a segment whose index has been looked up, `hits` which of its packets are wanted; `fetch` reads and checks them into
//! a `loaded` block in one of the `slots`, by `pieces` where few are wanted, and from a `packet_file`. `candidates` does the work of both for a segment with an index of version 2;
//! `in_memory` indexes packets that were read, for who wants their conversations. [`Answer`] hands packets or bytes of a capture file to the caller, keeps to the limits, and ends with
//! a receipt. Reads are positional; memory is bounded by [`Options::memory_bytes`].

mod answer;
mod at_once;
mod candidates;
mod damage;
mod fetch;
mod hits;
mod in_memory;
mod key;
mod loaded;
mod merge;
mod opened;
mod options;
mod packet_file;
mod pieces;
mod slots;

pub use answer::{Answer, Packet};
pub(crate) use at_once::AtOnce;
pub(crate) use candidates::{Candidates, Seen};
pub(crate) use damage::Damage;
pub(crate) use in_memory::{index_scope, index_version2};
pub(crate) use loaded::Loaded;
pub use options::{Cancel, Options};
