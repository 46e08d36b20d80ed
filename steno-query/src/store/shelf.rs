//! The segments of a thread, in order, with what is kept of each and what they have in common.

use std::{ops::RangeInclusive, sync::Arc};

use steno_core::{SegmentId, TimestampNs};

use super::{Lost, Place, Region, Segment, Step, kept::KeptSegment, regions::Regions};
use crate::{TimeSet, TimeSpan};

/// The segments of a thread. Clones are the same ones.
#[derive(Clone, Debug)]
pub(crate) struct Shelf {
    segments: Arc<Vec<Arc<Segment>>>,
    /// What the catalogue file keeps of each.
    kept: Arc<Vec<Option<KeptSegment>>>,
    regions: Arc<Regions>,
}

impl Shelf {
    /// Of segments by name, and what the catalogue file keeps of each.
    pub(super) fn new(segments: Vec<(Arc<Segment>, Option<KeptSegment>)>) -> Self {
        let (segments, kept): (Vec<_>, Vec<_>) = segments.into_iter().unzip();
        let regions = Arc::new(Regions::of(&segments, &kept));
        Self { segments: Arc::new(segments), kept: Arc::new(kept), regions }
    }

    /// Whether it is the same, not only one that is like it.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.segments, &other.segments)
    }

    /// The segments by name.
    pub(crate) fn segments(&self) -> &[Arc<Segment>] {
        &self.segments
    }

    /// The segments with what is kept of each.
    pub(crate) fn segments_and_kept(
        &self,
    ) -> impl ExactSizeIterator<Item = (&Arc<Segment>, Option<&KeptSegment>)> + Clone {
        self.segments.iter().zip(self.kept.iter().map(Option::as_ref))
    }

    /// The segment at this place, with what is kept of it.
    pub(crate) fn at(&self, place: usize) -> Option<(&Arc<Segment>, Option<&KeptSegment>)> {
        Some((self.segments.get(place)?, self.kept.get(place)?.as_ref()))
    }

    /// Goes through the segments in order, many at a time where `visit` passes over them.
    pub(crate) fn walk(&self, visit: &mut dyn FnMut(Place<'_>) -> Step) {
        self.regions.walk(visit);
    }

    /// What the segments of a region say that was never captured, with the thread of each.
    pub(crate) fn lost(&self, region: &Region) -> impl Iterator<Item = (u32, &Lost)> {
        self.regions.lost(region).filter_map(|at| {
            let segment = self.segments.get(at)?;
            Some((segment.thread(), segment.known_summary()?.lost.as_deref()?))
        })
    }

    /// Shows `each` the segments of which it is known that they may have packets of `times`. Opens nothing.
    pub(crate) fn known_within(&self, times: &TimeSet, each: &mut dyn FnMut(&Arc<Segment>)) {
        let may_hold = |(first, last)| times.overlaps(first, last);
        self.walk(&mut |place| match place {
            Place::Region(region) => match region.known() {
                Some((_, bounds)) if !bounds.is_some_and(may_hold) => Step::Over,
                _ => Step::Into,
            },
            Place::Segment(at) => {
                if let Some(segment) = self.segments.get(at)
                    && segment.known_times().is_some_and(may_hold)
                {
                    each(segment);
                }
                Step::Over
            }
        });
    }

    /// The segments that may hold packets of `span`, as runs of such that follow one another: by the times of their packets where
    /// these are known; else by their names, from which, and from that of the next, packets are no further than `slack_ns`.
    pub(super) fn runs(&self, span: TimeSpan, slack_ns: u64, runs: &mut Vec<(u32, RangeInclusive<SegmentId>)>) {
        let times = TimeSet::of(span);
        let mut run: Option<(usize, usize)> = None;
        let mut end = |(first, last): (usize, usize)| {
            if let (Some(first), Some(last)) = (self.segments.get(first), self.segments.get(last)) {
                runs.push((first.thread(), first.id()..=last.id()));
            }
        };
        self.walk(&mut |place| {
            let (places, may_hold) = match place {
                Place::Region(region) => match region.known() {
                    Some((_, Some((first, last)))) if times.covers(first, last) => (region.segments(), true),
                    Some((_, bounds)) if !bounds.is_some_and(|(first, last)| times.overlaps(first, last)) => {
                        (region.segments(), false)
                    }
                    _ => return Step::Into,
                },
                Place::Segment(at) => (at..at + 1, self.may_hold(at, &times, slack_ns)),
            };
            run = match (run, may_hold) {
                (Some((first, _)), true) => Some((first, places.end - 1)),
                (None, true) => Some((places.start, places.end - 1)),
                (ended, false) => {
                    ended.into_iter().for_each(&mut end);
                    None
                }
            };
            Step::Over
        });
        run.into_iter().for_each(end);
    }

    fn may_hold(&self, place: usize, times: &TimeSet, slack_ns: u64) -> bool {
        let Some(segment) = self.segments.get(place) else { return false };
        if let Some((first, last)) = segment.known_times() {
            return times.overlaps(first, last);
        }
        let next = self.segments.get(place + 1);
        let begins = segment.id().opened_at().saturating_sub_ns(slack_ns);
        let ends = next.map_or(TimestampNs::MAX, |next| next.id().opened_at().saturating_add_ns(slack_ns));
        times.overlaps(begins, ends)
    }
}
