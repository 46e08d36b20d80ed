//! Tests of the language as a whole: texts in, trees or reports out.

mod accepted;
mod generated;
mod limits;
mod reference;
mod refused;
mod stenographer;

use steno_core::TimestampNs;

use super::{Query, QueryErrors};

/// What `now` is in these tests: 2024-03-05T14:05:00Z.
const NOW: TimestampNs = TimestampNs::from_parts(1_709_647_500, 0);

fn parse(text: &str) -> Result<Query, QueryErrors> {
    super::parse(text, NOW)
}
