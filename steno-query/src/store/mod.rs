//! Which segments a store holds, and what in it cannot be used (step 6 of the data flow).
//!
//! `scan` and `listing` list the directories, `kept` is the file beside the indexes that says what is in them, `shelf` is the segments of a thread with what is common to those that lie together (`regions`), `catalogue` is what was found at one time, `segment` opens an index when it is needed, and
//! [`Store`] is the door through which queries come in. Of packet files nothing is read here but the heads of blocks, where an
//! index of stenographer 1.0.1 (`version2`) leaves out what has to be known; and nothing is skipped in silence: what cannot be used has a [`Fault`], which receipts show.

mod catalogue;
mod door;
mod fault;
mod identity;
mod kept;
mod listing;
mod losses;
mod regions;
mod scan;
mod segment;
mod shelf;
mod version2;

pub(crate) use catalogue::Now;
pub use catalogue::{Catalogue, OpenContents, OpenFile, OpenLogs, Orphan};
pub use door::{Store, StoreError};
pub use fault::Fault;
pub use kept::{CATALOGUE_FILE, Kept, KeptError};
pub(crate) use kept::{Hashed, KeptSegment, may_hold};
pub(crate) use losses::Lost;
pub(crate) use regions::{Place, Region, Step};
pub use scan::ThreadDirs;
pub(crate) use segment::KeptOpen;
pub use segment::{Segment, SegmentIndex};
pub(crate) use shelf::Shelf;
pub(crate) use version2::BlockHead;
pub use version2::Version2Segment;
