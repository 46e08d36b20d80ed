//! `steno index`: looks into an index, builds one, converts one.

mod build;
mod convert;
mod dump;
mod dump_version2;
mod output;

pub(super) use build::build;
pub(super) use convert::convert;
pub(super) use dump::dump;
