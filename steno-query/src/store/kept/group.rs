//! Groups of segments with a filter for all of them (`docs/format/catalogue.md`, section 5): which there are to be in a file, and
//! what their filters are made of.
//!
//! A group stays with its segments from file to file, as long as none comes between them: what goes leaves its addresses behind,
//! which only makes the filter say yes where it could say no. So the addresses of a segment are read once for each level.

use std::{collections::BTreeMap, fs, io, net::IpAddr, ops::Range};

use steno_index::Index;

use super::{
    Kept,
    filter::{BLOCK_BYTES, folded, group_blocks_for, insert},
    format::{GROUP_OF, Group, LEVELS_MAX},
};
use crate::store::{Segment, identity::Identity};

/// An entry of the file that is written.
pub(super) struct Member<'a> {
    pub(super) segment: &'a Segment,
    /// Of the index that the entry is of.
    pub(super) identity: Identity,
    /// How many addresses that index has; `None` where it was not looked into.
    pub(super) addresses: Option<u64>,
    /// Its place in the file that was there before, where it is from that.
    pub(super) before: Option<u32>,
}

/// A group of the file that is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) level: u32,
    /// The places of its segments.
    pub(super) entries: Range<u32>,
    /// The group of the file before that it is; `None` of a new one.
    pub(super) before: Option<u32>,
}

/// The groups that so many entries fall into, by level and place; `befores` are their places in the file `kept` that was there before.
pub(super) fn plan(befores: &[Option<u32>], kept: Option<&Kept>) -> Vec<Planned> {
    let mut levels: BTreeMap<u32, Vec<Planned>> = BTreeMap::new();
    for group in staying(befores, kept) {
        levels.entry(group.level).or_default().push(group);
    }
    let mut below: Vec<Range<u32>> = (0..).zip(befores).map(|(at, _)| at..at + 1).collect();
    for level in 1..=LEVELS_MAX {
        let mut groups = levels.remove(&level).unwrap_or_default();
        let mut free: Vec<&Range<u32>> = Vec::new();
        let mut new = Vec::new();
        let mut staying = groups.iter().peekable();
        for entries in &below {
            while staying.next_if(|group| group.entries.end <= entries.start).is_some() {
                free.clear();
            }
            if staying.peek().is_some_and(|group| group.entries.start < entries.end) {
                continue;
            }
            free.push(entries);
            if let (GROUP_OF, Some(first), Some(last)) = (free.len(), free.first(), free.last()) {
                new.push(Planned { level, entries: first.start..last.end, before: None });
                free.clear();
            }
        }
        groups.extend(new);
        groups.sort_by_key(|group| group.entries.start);
        below = groups.iter().map(|group| group.entries.clone()).collect();
        let _none = levels.insert(level, groups);
    }
    levels.into_values().flatten().collect()
}

/// The groups of the file before whose segments are still next to one another, as far as they are there.
fn staying(befores: &[Option<u32>], kept: Option<&Kept>) -> Vec<Planned> {
    let places: Vec<(u32, u32)> = (0..).zip(befores).filter_map(|(now, before)| Some(((*before)?, now))).collect();
    let groups = kept.into_iter().flat_map(|kept| kept.groups());
    let stays = |(number, group): (u32, Group)| {
        let at = |place: u32| places.partition_point(|(before, _)| *before < place);
        let members = places.get(at(group.first)..at(group.end()))?;
        let entries = members.first()?.1..members.last()?.1 + 1;
        // None has come between them.
        (entries.len() == members.len()).then_some(Planned { level: group.level, entries, before: Some(number) })
    };
    groups.filter_map(stays).collect()
}

/// A group whose filter is being made.
struct Growing {
    /// Its place among the groups.
    group: usize,
    entries: Range<u32>,
    /// `None` where it cannot be made.
    filter: Option<Vec<u8>>,
}

impl Growing {
    fn of(group: usize, planned: &Planned, counts: &[Option<u64>]) -> Self {
        let Range { start, end } = planned.entries;
        let counted = counts.get(start as usize..end as usize).unwrap_or_default().iter();
        let addresses = counted.copied().try_fold(0u64, |sum, count| Some(sum.saturating_add(count?)));
        let filter = addresses.map(|addresses| vec![0; group_blocks_for(addresses) as usize * BLOCK_BYTES]);
        Self { group, entries: start..end, filter }
    }
}

/// Makes the filters of the new ones among `groups`, of `members`, and gives each to `done`, with the place of its group: without bytes
/// where it is not worth having; none where an index fails, or is not any more the one that its entry is of. Each index is opened
/// once for all levels, and once more where it is not known how many addresses it has.
///
/// # Errors
/// What `done` says.
pub(super) fn make_filters(
    members: &[Member<'_>],
    groups: &[Planned],
    done: &mut dyn FnMut(usize, Vec<u8>) -> io::Result<()>,
) -> io::Result<()> {
    let mut new: Vec<(usize, &Planned)> =
        groups.iter().enumerate().filter(|(_, group)| group.before.is_none()).collect();
    new.sort_by_key(|(_, group)| group.entries.start);
    let mut is_wanted = vec![false; members.len()];
    for (_, Planned { entries, .. }) in &new {
        is_wanted.get_mut(entries.start as usize..entries.end as usize).into_iter().flatten().for_each(|is| *is = true);
    }
    let count = |(member, is_wanted): (&Member<'_>, bool)| if is_wanted { member.count() } else { None };
    let counts: Vec<Option<u64>> = members.iter().zip(is_wanted).map(count).collect();
    let mut new = new.into_iter().peekable();
    let mut growing: Vec<Growing> = Vec::new();
    for (at, member) in (0..).zip(members) {
        while let Some((group, planned)) = new.next_if(|(_, group)| group.entries.start == at) {
            growing.push(Growing::of(group, planned, &counts));
        }
        if growing.iter().any(|group| group.filter.is_some()) {
            let mut filters: Vec<&mut Vec<u8>> = growing.iter_mut().filter_map(|group| group.filter.as_mut()).collect();
            let added = member.read(|index| {
                let mut add = |address: IpAddr| filters.iter_mut().for_each(|filter| insert(filter, address.into()));
                index.each_address(&mut add).ok()
            });
            if added.is_none() {
                growing.iter_mut().for_each(|group| group.filter = None);
            }
        }
        for whole in growing.extract_if(.., |group| group.entries.end == at + 1) {
            if let Some(filter) = whole.filter {
                done(whole.group, folded(filter))?;
            }
        }
    }
    Ok(())
}

impl Member<'_> {
    /// How many addresses its index has.
    fn count(&self) -> Option<u64> {
        self.addresses.or_else(|| self.read(|index| Some(index.addresses())))
    }

    fn read<T>(&self, look: impl FnOnce(&Index) -> Option<T>) -> Option<T> {
        let path = self.segment.index_file();
        let got = look(&Index::open(&path).ok()?)?;
        let now = Identity::of(&fs::metadata(&path).ok()?);
        Some(got).filter(|_| now == self.identity)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testkit, *};

    /// A file of so many entries and these groups.
    fn file(entries: u32, groups: &[Planned]) -> Kept {
        let groups: Vec<(u32, Range<u32>)> = groups.iter().map(|group| (group.level, group.entries.clone())).collect();
        testkit::file(entries, &groups)
    }

    /// Level, entries, and whether it was there before.
    fn told(groups: &[Planned]) -> Vec<(u32, Range<u32>, bool)> {
        groups.iter().map(|group| (group.level, group.entries.clone(), group.before.is_some())).collect()
    }

    fn level(groups: &[Planned], level: u32) -> Vec<Range<u32>> {
        groups.iter().filter(|group| group.level == level).map(|group| group.entries.clone()).collect()
    }

    #[test]
    fn so_many_make_a_group_and_so_many_groups_the_next() {
        assert_eq!(plan(&[None; 31], None), []);
        assert_eq!(told(&plan(&[None; 63], None)), [(1, 0..32, false)]);
        let groups = plan(&[None; 1_060], None);
        assert_eq!(level(&groups, 1).len(), 33);
        assert_eq!(told(&groups).last(), Some(&(2, 0..1024, false)));
    }

    #[test]
    fn groups_stay_with_their_segments_and_what_is_new_makes_others() {
        let before = plan(&[None; 1_060], None);
        let kept = file(1_060, &before);
        // The first forty are gone, and seventy have come.
        let places: Vec<Option<u32>> = (40..1_060).map(Some).chain([None; 70]).collect();
        let now = plan(&places, Some(&kept));
        let expected: Vec<(u32, Range<u32>, bool)> = [(1, 0..24, true)]
            .into_iter()
            .chain((0..31).map(|at| (1, 24 + 32 * at..56 + 32 * at, true)))
            .chain([(1, 1_016..1_048, false), (1, 1_048..1_080, false), (2, 0..984, true)])
            .collect();
        assert_eq!(told(&now), expected);
        // As it is, nothing changes.
        let same: Vec<Option<u32>> = (0..1_060).map(Some).collect();
        assert_eq!(level(&plan(&same, Some(&kept)), 1), level(&before, 1));
        assert!(plan(&same, Some(&kept)).iter().all(|group| group.before.is_some()));
    }

    #[test]
    fn one_that_comes_between_ends_a_group_for_it_was_not_in_the_filter() {
        let kept = file(96, &plan(&[None; 96], None));
        let places: Vec<Option<u32>> = (0..40).map(Some).chain([None]).chain((40..96).map(Some)).collect();
        let now = plan(&places, Some(&kept));
        assert_eq!(told(&now), [(1, 0..32, true), (1, 32..64, false), (1, 65..97, true)]);
        // Between two groups it is in neither.
        let places: Vec<Option<u32>> = (0..32).map(Some).chain([None]).chain((32..96).map(Some)).collect();
        assert_eq!(told(&plan(&places, Some(&kept))), [(1, 0..32, true), (1, 33..65, true), (1, 65..97, true)]);
    }
}
