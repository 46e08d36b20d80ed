//! What the fuzz targets reach of the ledger ([`crate::fuzzing`]).

use super::Entry;

/// A ledger as it is written again, where `text` is one.
#[must_use]
pub fn ledger(text: &str) -> Option<String> {
    Entry::parse(text).map(|entry| entry.to_string())
}
