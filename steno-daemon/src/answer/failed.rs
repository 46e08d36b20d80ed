//! Why an answer must not be taken for a whole one, as its receipt tells.

use steno_proto::v1::{self, Truncation};

use super::worker::SensorBounds;

/// Why an answer must not be taken for a whole one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failed {
    /// The sensor's own deadline passed.
    #[error("the sensor gives a query no more time than this one has had; the answer lacks what comes later")]
    Deadline,
    /// The sensor's own bound of bytes was reached.
    #[error("the sensor gives no answer more bytes than this one has; it lacks what comes later")]
    Bytes,
    /// More matches than fit the memory.
    #[error("more matches than fit the memory that a query may use; ask for less at once")]
    Memory,
    /// The sensor is stopping.
    #[error("the sensor is stopping; the answer lacks what comes later")]
    Stopping,
    /// The client took nothing for too long.
    #[error("nothing was taken of the answer for too long; it lacks what comes later")]
    Stalled,
    /// Files that may hold matches could not be read.
    #[error("files that may hold matches could not be read: {0}")]
    DataLoss(String),
    /// Something that should not be.
    #[error("{0}")]
    Internal(String),
}

impl Failed {
    pub(super) fn internal(why: impl Into<String>) -> Self {
        Self::Internal(why.into())
    }

    /// What `receipt` tells of that the client did not ask for.
    pub(super) fn of(receipt: &v1::Receipt, bounds: SensorBounds) -> Option<Self> {
        match receipt.truncated_by() {
            Truncation::Deadline if bounds.deadline => return Some(Self::Deadline),
            Truncation::SensorLimitBytes => return Some(Self::Bytes),
            Truncation::Memory => return Some(Self::Memory),
            Truncation::Stopping => return Some(Self::Stopping),
            Truncation::Stalled => return Some(Self::Stalled),
            Truncation::Unfinished => return Some(Self::internal("the query did not come to its end")),
            _ => {}
        }
        let mut lost = receipt.unreadable.iter().filter(|file| file.may_hold_matches);
        let first = lost.next()?;
        let more = match lost.count() {
            0 => String::new(),
            n => format!("; and {n} more, which the receipt names"),
        };
        Some(Self::DataLoss(format!("{}: {}{more}", first.file, first.reason)))
    }
}
