//! A segment from its first block to the names that publish it (steps 3 and 5 of the data flow).
//!
//! [`SegmentWriter`] runs on the packet thread: it notes each block in the open segment's log, has it written, rotates
//! files, and goes on when a write fails. What is on the disk it shares with the daemon before the file is sealed (`share`). [`Sealer`] is its index thread, which makes the index and publishes both files.

pub(crate) mod earlier;
mod failure;
mod give_way;
mod indexer;
mod losses;
mod names;
mod open;
mod recovery;
mod rotation;
mod seal;
mod sealer;
mod share;
mod stall;
mod writer;

pub(crate) use give_way::give_way;
pub(crate) use indexer::Indexer;
pub(crate) use losses::{LossSource, Losses};
pub(crate) use open::{OpenSegment, Place};
pub(crate) use recovery::{Recovery, RecoveryPlan};
pub(crate) use rotation::Rotation;
pub(crate) use seal::SealJob;
pub(crate) use sealer::{Sealer, Sealing};
pub(crate) use share::Shares;
pub(crate) use writer::{Means, SegmentWriter, WriterOptions};

#[cfg(test)]
mod tests;
