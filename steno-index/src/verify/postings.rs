//! Whether each conversation is posted under what it has, once each, and under nothing else.

use super::conversations::Rows;
use crate::{
    IndexError,
    format::{ROWS, SectionId},
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

/// Checks that the postings of one dictionary are those of `items`: the two that each conversation has, if any.
fn check(index: &Index, starts: SectionId, postings: SectionId, items: &[Option<[u64; 2]>]) -> Result<(), IndexError> {
    let mut starts = ColumnReader::new(index.column(starts));
    let mut postings = ColumnReader::new(index.column(postings));
    let count = starts.column().count().saturating_sub(1);
    let missing = |item: u64| postings.column().corrupt("a conversation is not posted under what it has", item);
    let expected = Expected::of(items, count).map_err(missing)?;
    let (mut list, mut groups) = (Vec::new(), Vec::new());
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
        let mut wanted = expected.of_item(item);
        let limit = if end - start <= index.most_row_groups() {
            groups.clear();
            groups.extend(wanted.iter().map(|no| no / ROWS));
            groups.dedup();
            wanted = &groups;
            index.row_groups()
        } else {
            index.conversations()
        };
        postings.read_ascending(start..end, 0, limit, &mut list, |no| no)?;
        if list != wanted {
            let what = match list.iter().all(|no| wanted.binary_search(no).is_ok()) {
                true => "a conversation is not posted under what it has",
                false => "a conversation that does not have the item",
            };
            return Err(postings.column().corrupt(what, item));
        }
        start = end;
    }
    Ok(())
}

/// The conversations of each item, as the table of conversations tells.
struct Expected {
    /// Where those of each item end.
    ends: Vec<usize>,
    conversations: Vec<u32>,
}

impl Expected {
    /// Those of `count` items. Where a conversation has another item, its number is the error.
    fn of(items: &[Option<[u64; 2]>], count: u64) -> Result<Self, u64> {
        let pairs = || (0u32..).zip(items).filter_map(|(no, pair)| Some((no, (*pair)?)));
        let of_pair = |[low, high]: [u64; 2]| [Some(low), (high != low).then_some(high)].into_iter().flatten();
        // As many as there are entries in a section.
        let mut ends = vec![0; usize::try_from(count).unwrap_or(0)];
        for item in pairs().flat_map(|(_, pair)| of_pair(pair)) {
            let place = usize::try_from(item).ok().and_then(|item| ends.get_mut(item));
            *place.ok_or(item)? += 1;
        }
        let mut total = 0;
        for end in &mut ends {
            total += std::mem::replace(end, total);
        }
        let mut conversations = vec![0; total];
        for (no, pair) in pairs() {
            for item in of_pair(pair) {
                let end = usize::try_from(item).ok().and_then(|item| ends.get_mut(item));
                let Some(end) = end else { continue };
                if let Some(place) = conversations.get_mut(*end) {
                    *place = no;
                }
                *end += 1;
            }
        }
        Ok(Self { ends, conversations })
    }

    fn of_item(&self, item: u64) -> &[u32] {
        let item = usize::try_from(item).unwrap_or(usize::MAX);
        let end = |item: usize| self.ends.get(item).copied();
        let start = item.checked_sub(1).and_then(end).unwrap_or(0);
        end(item).and_then(|end| self.conversations.get(start..end)).unwrap_or_default()
    }
}
