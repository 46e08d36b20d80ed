//! What an answer says about itself: what was searched, what is missing, and why (contract: every answer ends with one).
//!
//! [`Receipt`] is plain data, filled in by `exec/` and `flows/`, shown by its `Display` (for people, a few lines) and by
//! serde (for programs). Nothing here searches or reads.

mod display;
mod losses;
mod model;
pub(crate) mod moment;
mod tally;

pub use losses::{ClockStep, Losses};
pub use model::{Gap, Held, Receipt, SegmentCounts, Truncation, Unreadable, Unsealed, Within};
pub use moment::rfc3339;
pub(crate) use tally::{Outcome, Tally};
