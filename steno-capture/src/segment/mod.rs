//! The file that a packet thread writes, from its first block to the name that publishes it.

mod open;
mod sealer;

pub(crate) use open::{OpenSegment, Place, Rotation, WrittenBlock};
pub(crate) use sealer::{SealJob, Sealer};
