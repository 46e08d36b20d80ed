//! The rule: which segment must go next, if any.
//!
//! Pure. Whether a bound is broken is said by numbers that the caller measured; what may be removed (not pinned by a
//! query, not still being written) by a closure that the caller gives.

use std::{fmt, time::Duration};

use steno_core::{SegmentId, TimestampNs};

/// What a thread's directories may take. Each bound holds only where it is configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// `DiskFreePercentage`: remove while no more than so many whole percent of the disk are free, as 1.0.1 does, or less than
    /// what is to be written soon.
    pub disk_free_percent: Option<u64>,
    /// `MaxDirectoryFiles`: how many segments there may be.
    pub max_files: Option<u64>,
    /// `MaxBytes`: what packet files and indexes may take on the disk together, in bytes, files being written included.
    pub max_bytes: Option<u64>,
    /// `MaxAge`: how long a packet may be kept.
    pub max_age: Option<Duration>,
}

impl Bounds {
    /// Packets from before this moment are too old; none, where age does not count.
    pub fn cutoff(&self, now: TimestampNs) -> Option<TimestampNs> {
        let age = self.max_age?;
        Some(now.saturating_sub_ns(u64::try_from(age.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// The bounds that are kept as long as that costs the oldest segments: half of the largest segment below `max_bytes`, so
    /// that there is room to wait for a query that reads the oldest. No more than an eighth of `max_bytes` is left free.
    pub fn in_order(&self, candidates: &[Candidate]) -> Self {
        let largest = candidates.iter().map(|c| c.bytes).max().unwrap_or_default();
        Self { max_bytes: self.max_bytes.map(|bound| bound - (largest / 2).min(bound / 8)), ..*self }
    }

    /// The bounds that are kept at the cost of younger segments, while queries read the oldest: one segment more than
    /// `max_files`, and half of what is to be free on the disk.
    pub fn in_any_order(&self) -> Self {
        Self {
            disk_free_percent: self.disk_free_percent.map(|bound| bound / 2),
            max_files: self.max_files.map(|bound| bound.saturating_add(1)),
            ..*self
        }
    }
}

/// Which bound makes a segment go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Too little of the disk is free: for the configured percentage, or for what is written next.
    DiskFree,
    /// There are too many segments.
    MaxFiles,
    /// They take too much.
    MaxBytes,
    /// All of its packets are too old.
    MaxAge,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::DiskFree, Self::MaxFiles, Self::MaxBytes, Self::MaxAge];

    /// The name in metrics and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::DiskFree => "disk_free",
            Self::MaxFiles => "max_files",
            Self::MaxBytes => "max_bytes",
            Self::MaxAge => "max_age",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A segment, as far as the rule is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its name.
    pub id: SegmentId,
    /// What its files take on the disk, in bytes.
    pub bytes: u64,
    /// The time of its newest packet, or a later one where that is not known.
    pub newest: TimestampNs,
}

/// What is free where a thread writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// The whole percentage of the disk that is free, rounded down.
    pub free_percent: u64,
    /// Whether less is free than is to stay so for what is written next, whatever percentage that is.
    pub is_short: bool,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every bound is kept.
    Keep,
    /// This segment must go.
    Remove {
        /// Its place among the candidates.
        place: usize,
        /// The bound that is broken.
        reason: Reason,
    },
    /// A bound is broken, but nothing there may be removed.
    Stuck {
        /// The bound.
        reason: Reason,
    },
}

/// Decides what goes next.
///
/// `candidates` ascend by name, so that the oldest comes first. There is no `room` where it could not be measured. One segment
/// is named at a time: the caller removes it, measures again and asks again.
pub fn decide(
    candidates: &[Candidate],
    room: Option<Room>,
    bounds: &Bounds,
    now: TimestampNs,
    removable: impl Fn(&Candidate) -> bool,
) -> Verdict {
    let bytes = || candidates.iter().fold(0u64, |sum, c| sum.saturating_add(c.bytes));
    let is_full = |(bound, room): (u64, Room)| room.free_percent <= bound || room.is_short;
    let broken = if bounds.disk_free_percent.zip(room).is_some_and(is_full) {
        Some(Reason::DiskFree)
    } else if bounds.max_bytes.is_some_and(|bound| bytes() > bound) {
        Some(Reason::MaxBytes)
    } else if bounds.max_files.is_some_and(|bound| u64::try_from(candidates.len()).is_ok_and(|n| n > bound)) {
        Some(Reason::MaxFiles)
    } else {
        None
    };
    if let Some(reason) = broken {
        return match candidates.iter().position(&removable) {
            Some(place) => Verdict::Remove { place, reason },
            None => Verdict::Stuck { reason },
        };
    }
    let Some(cutoff) = bounds.cutoff(now) else { return Verdict::Keep };
    // Names ascend with the time of opening; the newest packets need not, after an import.
    let is_too_old = |c: &Candidate| c.newest < cutoff;
    match candidates.iter().position(|c| is_too_old(c) && removable(c)) {
        Some(place) => Verdict::Remove { place, reason: Reason::MaxAge },
        None if candidates.iter().any(is_too_old) => Verdict::Stuck { reason: Reason::MaxAge },
        None => Verdict::Keep,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: TimestampNs = TimestampNs(1_000_000_000_000);

    fn segment(id: u64, bytes: u64) -> Candidate {
        Candidate { id: SegmentId(id), bytes, newest: TimestampNs(id * 1_000_000_000) }
    }

    fn segments(n: u64) -> Vec<Candidate> {
        (1..=n).map(|i| segment(i, 10)).collect()
    }

    fn all(_: &Candidate) -> bool {
        true
    }

    fn free(free_percent: u64) -> Option<Room> {
        Some(Room { free_percent, is_short: false })
    }

    #[test]
    fn without_bounds_everything_is_kept() {
        assert_eq!(
            decide(&segments(50_000), Some(Room { free_percent: 0, is_short: true }), &Bounds::default(), NOW, all),
            Verdict::Keep
        );
    }

    #[test]
    fn free_space_is_1_0_1_s_rule() {
        let bounds = Bounds { disk_free_percent: Some(10), ..Bounds::default() };
        let reason = Reason::DiskFree;
        for (room, verdict) in [
            (free(11), Verdict::Keep),
            // 10.9 % free are 10 whole percent, which is not more than 10.
            (free(10), Verdict::Remove { place: 0, reason }),
            (free(0), Verdict::Remove { place: 0, reason }),
            (None, Verdict::Keep),
            // The half of a small disk that is written to fast.
            (Some(Room { free_percent: 50, is_short: true }), Verdict::Remove { place: 0, reason }),
        ] {
            assert_eq!(decide(&segments(3), room, &bounds, NOW, all), verdict, "{room:?}");
        }
        assert_eq!(decide(&[], free(5), &bounds, NOW, all), Verdict::Stuck { reason });
    }

    #[test]
    fn files_and_bytes_may_reach_their_bound() {
        let files = |n| Bounds { max_files: Some(n), ..Bounds::default() };
        assert_eq!(decide(&segments(3), None, &files(3), NOW, all), Verdict::Keep);
        let verdict = Verdict::Remove { place: 0, reason: Reason::MaxFiles };
        assert_eq!(decide(&segments(4), None, &files(3), NOW, all), verdict);
        let bytes = |n| Bounds { max_bytes: Some(n), ..Bounds::default() };
        assert_eq!(decide(&segments(3), None, &bytes(30), NOW, all), Verdict::Keep);
        let verdict = Verdict::Remove { place: 0, reason: Reason::MaxBytes };
        assert_eq!(decide(&segments(3), None, &bytes(29), NOW, all), verdict);
        assert_eq!(decide(&[segment(1, u64::MAX), segment(2, 9)], None, &bytes(29), NOW, all), verdict);
    }

    #[test]
    fn age_is_that_of_the_newest_packet() {
        let age = |s| Bounds { max_age: Some(Duration::from_secs(s)), ..Bounds::default() };
        // It is second 1000; the segments' newest packets are of seconds 1, 2 and 3.
        assert_eq!(decide(&segments(3), None, &age(999), NOW, all), Verdict::Keep);
        let verdict = Verdict::Remove { place: 0, reason: Reason::MaxAge };
        assert_eq!(decide(&segments(3), None, &age(998), NOW, all), verdict);
        // The oldest name holds newer packets than the next one.
        let mut mixed = segments(3);
        mixed[0].newest = NOW;
        let verdict = Verdict::Remove { place: 1, reason: Reason::MaxAge };
        assert_eq!(decide(&mixed, None, &age(990), NOW, all), verdict);
        assert_eq!(decide(&segments(3), None, &age(u64::MAX), NOW, all), Verdict::Keep);
    }

    #[test]
    fn what_may_not_go_is_passed_over() {
        let bounds = Bounds { max_files: Some(1), ..Bounds::default() };
        let reason = Reason::MaxFiles;
        let verdict = decide(&segments(3), None, &bounds, NOW, |c| c.id.0 > 2);
        assert_eq!(verdict, Verdict::Remove { place: 2, reason });
        assert_eq!(decide(&segments(3), None, &bounds, NOW, |_| false), Verdict::Stuck { reason });
    }

    #[test]
    fn there_is_room_to_wait_for_queries_that_read_the_oldest() {
        let bytes = |n| Bounds { max_bytes: Some(n), ..Bounds::default() };
        assert_eq!(bytes(1000).in_order(&segments(3)), bytes(995), "half of a segment");
        assert_eq!(bytes(24).in_order(&segments(3)), bytes(21), "an eighth of little");
        assert_eq!(bytes(1000).in_order(&[segment(1, u64::MAX)]), bytes(875));
        assert_eq!(bytes(0).in_order(&segments(3)), bytes(0));
        let all = Bounds {
            disk_free_percent: Some(11),
            max_files: Some(7),
            max_bytes: Some(9),
            max_age: Some(Duration::from_secs(1)),
        };
        let in_any_order = Bounds { disk_free_percent: Some(5), max_files: Some(8), ..all };
        assert_eq!(all.in_any_order(), in_any_order);
    }

    fn bounds() -> impl Strategy<Value = Bounds> {
        let age = proptest::option::of((0u64..1200).prop_map(Duration::from_secs));
        (proptest::option::of(0u64..101), proptest::option::of(0u64..40), proptest::option::of(0u64..4000), age)
            .prop_map(|(disk_free_percent, max_files, max_bytes, max_age)| Bounds {
                disk_free_percent,
                max_files,
                max_bytes,
                max_age,
            })
    }

    proptest! {
        /// Doing what the rule says until it says nothing more ends, keeps every bound or is stuck on what may not go,
        /// never removes what may not go, and never removes a segment while an older one that may go stays, but for age.
        #[test]
        fn the_rule_applied_to_its_end_keeps_every_bound(
            sizes in proptest::collection::vec((0u64..200, 0u64..1000, any::<bool>()), 0..40),
            disk in 1u64..10_000,
            bounds in bounds(),
        ) {
            let mut left: Vec<Candidate> = sizes
                .iter()
                .zip(1u64..)
                .map(|(&(bytes, newest, _), id)| Candidate {
                    id: SegmentId(id),
                    bytes,
                    newest: TimestampNs(newest * 1_000_000_000),
                })
                .collect();
            let may_go = |c: &Candidate| sizes[usize::try_from(c.id.0).unwrap() - 1].2;
            let mut rounds = 0;
            let verdict = loop {
                let used: u64 = left.iter().map(|c| c.bytes).sum();
                match decide(&left, free(100 * disk.saturating_sub(used) / disk), &bounds, NOW, may_go) {
                    Verdict::Remove { place, reason } => {
                        prop_assert!(may_go(&left[place]));
                        if reason == Reason::MaxAge {
                            prop_assert!(left[place].newest < bounds.cutoff(NOW).unwrap());
                        } else {
                            prop_assert!(!left[..place].iter().any(may_go), "an older one stays");
                        }
                        let _ = left.remove(place);
                    }
                    end => break end,
                }
                rounds += 1;
                prop_assert!(rounds <= sizes.len());
            };
            let used: u64 = left.iter().map(|c| c.bytes).sum();
            let free = 100 * disk.saturating_sub(used) / disk;
            let broken = bounds.disk_free_percent.is_some_and(|b| free <= b)
                || bounds.max_bytes.is_some_and(|b| used > b)
                || bounds.max_files.is_some_and(|b| left.len() as u64 > b)
                || bounds.cutoff(NOW).is_some_and(|cutoff| left.iter().any(|c| c.newest < cutoff));
            prop_assert_eq!(matches!(verdict, Verdict::Stuck { .. }), broken);
            if let Verdict::Stuck { reason } = verdict && reason != Reason::MaxAge {
                prop_assert!(!left.iter().any(may_go));
            }
        }
    }
}
