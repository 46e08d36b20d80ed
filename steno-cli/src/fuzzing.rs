//! What the fuzz targets of `fuzz/` reach of this crate's readers. It is there with `--cfg fuzzing` alone, and no interface.

pub use crate::sensor::fuzzing::{Answered, flows, location, packets};
