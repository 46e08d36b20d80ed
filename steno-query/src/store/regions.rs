//! The segments of a listing as a tree: what lies together, and what is known of all of it, so that a question goes past what it
//! has nothing to do with in one step and not segment by segment.
//!
//! A region of the lowest level is a group that the catalogue file has a filter of, or up to [`GROUP_OF`] segments between two
//! such groups; one of a further level likewise of the regions below. It says nothing that its segments would not say.

use std::{collections::BTreeSet, ops::Range, sync::Arc};

use steno_core::TimestampNs;

use super::{
    Segment,
    kept::{GROUP_OF, KeptGroup, KeptSegment, LEVELS_MAX},
    segment::Summary,
};

/// The regions of a listing.
#[derive(Debug, Default)]
pub(crate) struct Regions {
    /// From the lowest level to the highest, each by place.
    levels: Vec<Vec<Region>>,
    /// The places of the segments that tell of losses.
    lost: Vec<u32>,
}

/// Segments that follow one another.
#[derive(Debug)]
pub(crate) struct Region {
    /// The places of its segments in the listing.
    segments: Range<u32>,
    /// The places of its regions on the level below; on the lowest level these are its segments.
    below: Range<u32>,
    extent: Extent,
    filter: Option<KeptGroup>,
}

/// What is known of the packets of several segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    /// Of some not enough: each is to be looked at by itself.
    Unknown,
    Known {
        /// Segments without packets.
        empty: u32,
        /// The earliest and the latest time of a packet; `None` without packets.
        times: Option<(TimestampNs, TimestampNs)>,
    },
}

/// What is come to on the way through a listing.
pub(crate) enum Place<'a> {
    /// Several segments.
    Region(&'a Region),
    /// The segment at this place.
    Segment(usize),
}

/// What is done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// What is in it is passed over.
    Over,
    /// What is in it comes next.
    Into,
    /// There is no going on.
    Stop,
}

/// A group of the catalogue file, by the places of its segments in the listing.
struct Group {
    level: u32,
    segments: Range<u32>,
    kept: KeptGroup,
}

impl Extent {
    const NOTHING: Self = Self::Known { empty: 0, times: None };

    /// Of indexes of version 2 more has to be said than this.
    fn of(summary: &Summary) -> Self {
        match summary.times {
            _ if !summary.is_native => Self::Unknown,
            None => Self::Known { empty: 1, times: None },
            times => Self::Known { empty: 0, times },
        }
    }

    fn and(self, other: Self) -> Self {
        let (Self::Known { empty, times }, Self::Known { empty: more, times: others }) = (self, other) else {
            return Self::Unknown;
        };
        let times = match (times, others) {
            (Some((first, last)), Some((other_first, other_last))) => {
                Some((first.min(other_first), last.max(other_last)))
            }
            (one, other) => one.or(other),
        };
        Self::Known { empty: empty + more, times }
    }
}

impl Regions {
    /// Of `segments`, which ascend, and what is kept of each, all in one file.
    pub(super) fn of(segments: &[Arc<Segment>], kept: &[Option<KeptSegment>]) -> Self {
        let groups = groups(segments, kept);
        let summaries = || segments.iter().map(|segment| segment.known_summary());
        let mut below: Vec<(Range<u32>, Extent)> = (0..)
            .zip(summaries())
            .map(|(at, summary)| (at..at + 1, summary.map_or(Extent::Unknown, Extent::of)))
            .collect();
        let mut levels = Vec::new();
        for level in 1..=LEVELS_MAX {
            let regions = level_of(level, &below, &groups);
            below = regions.iter().map(|region| (region.segments.clone(), region.extent)).collect();
            let is_last = regions.len() <= GROUP_OF && groups.iter().all(|group| group.level <= level);
            levels.push(regions);
            if is_last {
                break;
            }
        }
        let has_lost = |summary: Option<&Summary>| summary.is_some_and(|summary| summary.lost.is_some());
        let lost = (0..).zip(summaries()).filter(|(_, summary)| has_lost(*summary)).map(|(at, _)| at).collect();
        Self { levels, lost }
    }

    /// Goes through all segments in order, from what lies together to what is in it, as `visit` says.
    pub(crate) fn walk(&self, visit: &mut dyn FnMut(Place<'_>) -> Step) {
        let Some(top) = self.levels.last() else { return };
        let _over = self.walk_level(self.levels.len(), 0..top.len(), visit);
    }

    /// Those of `places` of a level; 0 is the segments.
    fn walk_level(&self, level: usize, places: Range<usize>, visit: &mut dyn FnMut(Place<'_>) -> Step) -> Step {
        let Some(regions) = level.checked_sub(1).and_then(|below| self.levels.get(below)) else {
            for at in places {
                if visit(Place::Segment(at)) == Step::Stop {
                    return Step::Stop;
                }
            }
            return Step::Over;
        };
        for region in regions.get(places).unwrap_or_default() {
            let step = match visit(Place::Region(region)) {
                Step::Into => self.walk_level(level - 1, usizes(&region.below), visit),
                step => step,
            };
            if step == Step::Stop {
                return Step::Stop;
            }
        }
        Step::Over
    }

    /// The places of those segments of `region` that tell of losses.
    pub(crate) fn lost(&self, region: &Region) -> impl Iterator<Item = usize> + '_ {
        let at = |place: u32| self.lost.partition_point(|lost| *lost < place);
        let within = self.lost.get(at(region.segments.start)..at(region.segments.end));
        within.unwrap_or_default().iter().map(|at| *at as usize)
    }
}

impl Region {
    /// The places of its segments.
    pub(crate) fn segments(&self) -> Range<usize> {
        usizes(&self.segments)
    }

    /// How many of them have no packets, and the earliest and the latest time of the others' packets, if there are any; `None`
    /// where they are to be looked at one by one.
    pub(crate) fn known(&self) -> Option<(u32, Option<(TimestampNs, TimestampNs)>)> {
        match self.extent {
            Extent::Unknown => None,
            Extent::Known { empty, times } => Some((empty, times)),
        }
    }

    /// The filter of all their addresses.
    pub(crate) fn filter(&self) -> Option<&[u8]> {
        self.filter.as_ref().and_then(KeptGroup::filter)
    }
}

fn usizes(places: &Range<u32>) -> Range<usize> {
    places.start as usize..places.end as usize
}

/// The groups of the catalogue file of which nothing but what is kept of its segments lies in the listing.
fn groups(segments: &[Arc<Segment>], kept: &[Option<KeptSegment>]) -> Vec<Group> {
    let Some((file, _)) = kept.iter().flatten().next().map(KeptSegment::place) else { return Vec::new() };
    // By place, how many before it are not kept.
    let mut strangers = vec![0u32];
    strangers.extend(kept.iter().scan(0, |sum, kept| {
        *sum += u32::from(kept.is_none());
        Some(*sum)
    }));
    let places = |(number, group): (u32, super::kept::Group)| {
        let last = group.end().checked_sub(1)?;
        let (first, last) = (file.entry(group.first)?.id, file.entry(last)?.id);
        let start = segments.partition_point(|segment| segment.id() < first);
        let end = segments.partition_point(|segment| segment.id() <= last);
        let has_none = strangers.get(start)? == strangers.get(end)?;
        let segments = u32::try_from(start).ok()?..u32::try_from(end).ok()?;
        let kept = KeptGroup::new(file, number);
        (start < end && has_none).then_some(Group { level: group.level, segments, kept })
    };
    file.groups().filter_map(places).collect()
}

/// The regions of a level, of what is `below`.
fn level_of(level: u32, below: &[(Range<u32>, Extent)], groups: &[Group]) -> Vec<Region> {
    let above = groups.iter().filter(|group| group.level >= level);
    let cuts: BTreeSet<u32> = above.flat_map(|group| [group.segments.start, group.segments.end]).collect();
    let mut groups = groups.iter().filter(|group| group.level == level).peekable();
    let (mut regions, mut rest, mut at) = (Vec::new(), below, 0u32);
    while let Some((first, _)) = rest.first() {
        while groups.next_if(|group| group.segments.start < first.start).is_some() {}
        let group = groups.peek().filter(|group| group.segments.start == first.start);
        let of_group = group.and_then(|group| {
            let last = rest.binary_search_by_key(&group.segments.end, |(segments, _)| segments.end).ok()?;
            Some((last + 1, Some(group.kept.clone())))
        });
        let (count, filter) = of_group.unwrap_or_else(|| {
            let next = rest.iter().skip(1).take(GROUP_OF - 1);
            (1 + next.take_while(|(segments, _)| !cuts.contains(&segments.start)).count(), None)
        });
        let Some((those, others)) = rest.split_at_checked(count) else { break };
        let extent = those.iter().fold(Extent::NOTHING, |sum, (_, extent)| sum.and(*extent));
        let segments = first.start..those.last().map_or(first.end, |(segments, _)| segments.end);
        let end = at.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
        regions.push(Region { segments, below: at..end, extent, filter });
        (rest, at) = (others, end);
    }
    regions
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use proptest::{collection::vec, prelude::*};
    use steno_core::SegmentId;

    use super::*;
    use crate::{
        TimeSet, TimeSpan,
        store::{Shelf, ThreadDirs, identity::Identity, kept::testkit},
    };

    /// What is known of a segment: that its packets are of the second of its place, or that there are none, or nothing.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Is {
        Known,
        Empty,
        Unknown,
    }

    fn second(place: u64) -> (TimestampNs, TimestampNs) {
        (TimestampNs(place * 1_000_000_000), TimestampNs(place * 1_000_000_000 + 999))
    }

    /// Segments named after their places, of which nothing but this is known.
    fn segments(are: &[Is]) -> Vec<Arc<Segment>> {
        let (packets, index) = (PathBuf::from("packets"), PathBuf::from("index"));
        let dirs = Arc::new(ThreadDirs { thread: 0, packets, index });
        let identity = Identity { inode: 0, bytes: 0, modified_ns: 0, changed_ns: 0 };
        let segment = |(place, is): (u64, &Is)| {
            let times = (*is == Is::Known).then(|| second(place));
            let (packets, lost) = (Some(u32::from(times.is_some())), None);
            let summary = Summary { times, bounds: times, packets, is_native: true, of_1_0_1: false, lost };
            let dirs = Arc::clone(&dirs);
            Arc::new(match is {
                Is::Unknown => Segment::new(dirs, SegmentId(place)),
                _ => Segment::with(dirs, SegmentId(place), identity, summary),
            })
        };
        (0..).zip(are).map(segment).collect()
    }

    fn is() -> impl Strategy<Value = Is> {
        prop_oneof![20 => Just(Is::Known), 2 => Just(Is::Empty), 1 => Just(Is::Unknown)]
    }

    /// Groups as a file may have them, for so many entries: of three levels, whether they nest or not.
    fn groups(entries: u32) -> impl Strategy<Value = Vec<(u32, Range<u32>)>> {
        let cuts = move || vec(0..=entries, 0..12);
        (cuts(), cuts(), cuts()).prop_map(|(one, two, three)| {
            let of = |(level, mut cuts): (u32, Vec<u32>)| {
                cuts.sort_unstable();
                cuts.dedup();
                let ranges: Vec<_> = cuts.chunks_exact(2).map(|cut| (level, cut[0]..cut[1])).collect();
                ranges
            };
            [(1, one), (2, two), (3, three)].into_iter().flat_map(of).collect()
        })
    }

    proptest! {
        #[test]
        fn every_segment_is_come_to_once_and_no_group_speaks_for_a_stranger(
            (are, kept, groups) in (1u32..200).prop_flat_map(|n| {
                let n_usize = n as usize;
                (vec(is(), n_usize), vec(prop::bool::weighted(0.95), n_usize), groups(n))
            }),
        ) {
            let file = Arc::new(testkit::file(u32::try_from(are.len()).unwrap(), &groups));
            let segments = segments(&are);
            let entry = |(place, kept): (u32, &bool)| kept.then(|| KeptSegment::new(&file, place));
            let kept_segments: Vec<_> = (0..).zip(&kept).map(entry).collect();
            let regions = Regions::of(&segments, &kept_segments);
            let (mut visited, mut within) = (Vec::new(), Vec::new());
            regions.walk(&mut |place| {
                match place {
                    Place::Segment(at) => visited.push(at),
                    Place::Region(region) => within.push((
                        visited.len(),
                        region.segments(),
                        region.known(),
                        region.filter.as_ref().map(KeptGroup::entries),
                    )),
                }
                Step::Into
            });
            prop_assert_eq!(visited, (0..are.len()).collect::<Vec<_>>());
            for (before, segments, known, group) in within {
                prop_assert_eq!(before, segments.start, "a region comes before its segments");
                prop_assert!(!segments.is_empty());
                let those = are.get(segments.clone()).unwrap();
                let times = |place: &usize| (are[*place] == Is::Known).then(|| second(*place as u64));
                let (first, last) = (segments.clone().find_map(|at| times(&at)), segments.clone().rev().find_map(|at| times(&at)));
                let expected = (!those.contains(&Is::Unknown)).then(|| {
                    let empty = those.iter().filter(|is| **is == Is::Empty).count();
                    (u32::try_from(empty).unwrap(), first.zip(last).map(|((first, _), (_, last))| (first, last)))
                });
                prop_assert_eq!(known, expected);
                if let Some(group) = group {
                    prop_assert!(segments.clone().all(|at| kept[at] && group.contains(&u32::try_from(at).unwrap())));
                }
            }
        }

        #[test]
        fn what_is_known_to_be_within_a_time_is_found(
            are in vec(is(), 0..200),
            (from, length) in (0u64..200, 0u64..200),
        ) {
            let all = segments(&are);
            let shelf = Shelf::new(all.into_iter().map(|segment| (segment, None)).collect());
            let span = TimeSpan { from: Some(second(from).0), until: Some(second(from + length).0) };
            let mut found = Vec::new();
            shelf.known_within(&TimeSet::of(span), &mut |segment| found.push(segment.id().0));
            let known = (0u64..).zip(&are).filter(|(_, is)| **is == Is::Known).map(|(at, _)| at);
            let expected: Vec<u64> = known.filter(|at| (from..from + length).contains(at)).collect();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn the_runs_of_a_span_are_the_segments_that_may_have_packets_of_it(
            are in vec(is(), 0..200),
            (from, length) in (0u64..200, 1u64..200),
        ) {
            let all = segments(&are);
            let shelf = Shelf::new(all.into_iter().map(|segment| (segment, None)).collect());
            let span = TimeSpan { from: Some(second(from).0), until: Some(second(from + length).0) };
            let mut runs = Vec::new();
            shelf.runs(span, 0, &mut runs);
            let is_in = |at: u64| runs.iter().any(|(_, names)| names.contains(&SegmentId(at)));
            for (at, is) in (0..).zip(&are) {
                match is {
                    Is::Known => prop_assert_eq!(is_in(at), (from..from + length).contains(&at), "{}", at),
                    // By its name, which is a moment of the first second.
                    Is::Unknown => prop_assert!(is_in(at) == (from == 0) || at + 1 == are.len() as u64, "{}", at),
                    Is::Empty => {}
                }
            }
            let ascend = runs.windows(2).all(|pair| pair[0].1.end() < pair[1].1.start());
            prop_assert!(ascend, "{:?}", runs);
        }
    }

    /// With thirty-two to one, three levels hold thirty thousand.
    #[test]
    fn a_moment_among_thirty_thousand_segments_is_found_in_a_hundred_steps() {
        let segments = segments(&[Is::Known; 30_000]);
        let none = vec![None; segments.len()];
        let regions = Regions::of(&segments, &none);
        for moment in [0, 1, 15_555, 29_999, 40_000] {
            let (mut steps, mut found) = (0, Vec::new());
            let times = TimeSet::of(TimeSpan { from: Some(second(moment).0), until: Some(second(moment).1) });
            regions.walk(&mut |place| {
                steps += 1;
                match place {
                    Place::Region(region) => match region.known() {
                        Some((0, Some((first, last)))) if !times.overlaps(first, last) => Step::Over,
                        _ => Step::Into,
                    },
                    Place::Segment(at) => {
                        found.push(at as u64);
                        Step::Over
                    }
                }
            });
            let those = (moment < 30_000).then(|| moment / 32 * 32..(moment / 32 * 32 + 32).min(30_000));
            assert_eq!(found, those.into_iter().flatten().collect::<Vec<_>>());
            assert!(steps <= 30 + 32 + 32, "{moment}: {steps}");
        }
    }
}
