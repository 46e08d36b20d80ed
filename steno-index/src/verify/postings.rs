//! Whether each conversation is posted under what it has, once each, and under nothing else.

use super::conversations::Rows;
use crate::{
    IndexError,
    format::SectionId,
    reader::{ColumnReader, Index},
};

/// Checks all four dictionaries against the rows of the table.
pub(super) fn check_postings(index: &Index, rows: &Rows) -> Result<(), IndexError> {
    let classes: Vec<_> = rows.class.iter().map(|&class| Some([u64::from(class); 2])).collect();
    check(index, SectionId::ClassStarts, SectionId::ClassPostings, &classes)?;
    check(index, SectionId::V4Starts, SectionId::V4Postings, &rows.v4)?;
    check(index, SectionId::V6Starts, SectionId::V6Postings, &rows.v6)?;
    check(index, SectionId::PortStarts, SectionId::PortPostings, &rows.ports)
}

/// Checks that the postings of one dictionary are those of `items`: the two that each conversation has, if any. Each
/// posting ascends within its item, and every one must be of a conversation that has the item; so their number being
/// right means that none is missing.
fn check(index: &Index, starts: SectionId, postings: SectionId, items: &[Option<[u64; 2]>]) -> Result<(), IndexError> {
    let mut starts = ColumnReader::new(index.column(starts));
    let mut postings = ColumnReader::new(index.column(postings));
    let count = starts.column().count().saturating_sub(1);
    let (last, mut list) = (index.conversations(), Vec::new());
    let mut start = starts.get(0)?;
    if start != 0 || starts.get(count)? != postings.column().count() {
        return Err(starts.column().corrupt("starts do not begin with 0 and end with the count", count));
    }
    for item in 0..count {
        let end = starts.get(item + 1)?;
        if end <= start {
            return Err(starts.column().corrupt("an item without postings", item));
        }
        list.clear();
        postings.read_ascending(start..end, 0, last, &mut list, |no| no as usize)?;
        if !list.iter().all(|&no| items.get(no).copied().flatten().is_some_and(|pair| pair.contains(&item))) {
            return Err(postings.column().corrupt("a conversation that does not have the item", item));
        }
        start = end;
    }
    let expected: u64 = items.iter().flatten().map(|[low, high]| if low == high { 1 } else { 2 }).sum();
    if expected != postings.column().count() {
        return Err(postings.column().corrupt("a conversation is not posted under what it has", expected));
    }
    Ok(())
}
