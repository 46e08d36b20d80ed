//! How much of a disk stays free ahead of those who write to it.
//!
//! Pure: it is told what was measured, and when. What counts is what the disk lost, whoever wrote it. A disk that fills
//! faster than segments are removed refuses the newest packets, so the room for what comes until the next passes is made
//! before it comes.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// For how long the room is to last at the measured rate: several passes and the removals in them.
const AHEAD_SECONDS: u64 = 5;
/// The rate is that of the faster of these times. The longer one remembers a burst; neither is so short that a file system
/// which frees in the background (XFS) makes a rate of what was removed.
const WINDOWS: [Duration; 2] = [Duration::from_secs(3), Duration::from_secs(10)];
/// What stays free before there is a rate, and below a slow writer: a ring's worth.
const LEAST_BYTES: u64 = 64 << 20;
/// No more than this part of a disk stays free for this reason.
const MOST_PART: u64 = 8;

/// What is known of a disk.
#[derive(Debug, Default)]
pub(super) struct Reserve {
    /// What was removed from it, ever.
    removed_bytes: u64,
    /// Oldest first; all but the first from within the longest window.
    samples: VecDeque<Sample>,
}

/// How much was written up to a moment, from a beginning that does not matter.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Instant,
    written_bytes: i128,
}

impl Reserve {
    /// Segments of so many bytes were removed.
    pub(super) fn removed(&mut self, bytes: u64) {
        self.removed_bytes = self.removed_bytes.saturating_add(bytes);
    }

    /// So much is free now.
    pub(super) fn measured(&mut self, at: Instant, available_bytes: u64) {
        let [_, longest] = WINDOWS;
        while self.samples.get(1).is_some_and(|second| at.duration_since(second.at) >= longest) {
            let _ = self.samples.pop_front();
        }
        let written_bytes = i128::from(self.removed_bytes) - i128::from(available_bytes);
        self.samples.push_back(Sample { at, written_bytes });
    }

    /// What is to stay free of a disk of `total_bytes`.
    pub(super) fn bytes(&self, total_bytes: u64) -> u64 {
        let rate = WINDOWS.into_iter().map(|window| self.rate(window)).max().unwrap_or(0);
        rate.saturating_mul(AHEAD_SECONDS).max(LEAST_BYTES).min(total_bytes / MOST_PART)
    }

    /// Bytes a second, on the average of the samples that lie within `window` and the one before them.
    fn rate(&self, window: Duration) -> u64 {
        let Some(now) = self.samples.back() else { return 0 };
        let before = self.samples.iter().rev().find(|sample| now.at.duration_since(sample.at) >= window);
        let Some(from) = before.or_else(|| self.samples.front()) else { return 0 };
        // Not of a moment: two measurements in one pass would make any rate.
        let millis = now.at.duration_since(from.at).as_millis().max(1_000);
        let written = u128::try_from(now.written_bytes - from.written_bytes).unwrap_or(0);
        u64::try_from(written.saturating_mul(1_000) / millis).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const TIB: u64 = 1 << 40;

    /// A disk that is measured once a second, and written to at these rates in MiB a second.
    fn after(rates: &[u64]) -> Reserve {
        let (begin, mut reserve, mut free) = (Instant::now(), Reserve::default(), TIB);
        reserve.measured(begin, free);
        for (second, rate) in (1..).zip(rates) {
            free -= rate * MIB;
            reserve.measured(begin + Duration::from_secs(second), free);
        }
        reserve
    }

    #[test]
    fn five_seconds_of_what_is_written_stay_free() {
        assert_eq!(after(&[]).bytes(TIB), LEAST_BYTES, "nothing is known");
        assert_eq!(after(&[1; 20]).bytes(TIB), LEAST_BYTES, "a slow writer");
        assert_eq!(after(&[100; 20]).bytes(TIB), 500 * MIB);
        assert_eq!(after(&[100; 20]).bytes(800 * MIB), 100 * MIB, "an eighth of the disk at most");
        assert_eq!(after(&[100; 20]).bytes(0), 0);
        assert_eq!(Reserve::default().bytes(TIB), LEAST_BYTES);
    }

    #[test]
    fn a_burst_counts_at_once_and_is_remembered_for_a_while() {
        assert_eq!(after(&[0, 0, 0, 0, 0, 300, 300, 300]).bytes(TIB), 1_500 * MIB, "three seconds make a rate");
        let mut rates = vec![300; 10];
        rates.extend([0; 5]);
        assert_eq!(after(&rates).bytes(TIB), 750 * MIB, "half of the last ten seconds");
        rates.extend([0; 5]);
        assert_eq!(after(&rates).bytes(TIB), LEAST_BYTES);
    }

    #[test]
    fn what_is_removed_is_no_rate_even_where_it_is_freed_late() {
        let (begin, mut reserve) = (Instant::now(), Reserve::default());
        for second in 0..30_u64 {
            // 50 MiB are written and removed each second; what was removed is free two seconds later.
            let late = second.saturating_sub(2);
            reserve.measured(begin + Duration::from_secs(second), TIB - 50 * MIB * second + 50 * MIB * late);
            reserve.removed(50 * MIB);
        }
        assert!((250..=254).contains(&(reserve.bytes(TIB) / MIB)), "{} MiB", reserve.bytes(TIB) / MIB);
        // Nothing is written, much is removed.
        let mut idle = Reserve::default();
        for second in 0..20 {
            idle.measured(begin + Duration::from_secs(second), TIB / 2 + 500 * MIB * second);
            idle.removed(500 * MIB);
        }
        assert_eq!(idle.bytes(TIB), LEAST_BYTES);
    }

    #[test]
    fn samples_do_not_pile_up() {
        let reserve = after(&[1; 1_000]);
        assert!(reserve.samples.len() <= 12, "{}", reserve.samples.len());
    }
}
