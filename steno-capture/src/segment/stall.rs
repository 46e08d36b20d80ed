//! How long writes are under way and none of them ends.

use std::time::{Duration, Instant};

/// What a disk takes now and then without anything being the matter with it (`docs/format/index.md` section 5).
const LEAST: Duration = Duration::from_millis(100);

/// Follows the writes of a thread.
#[derive(Debug, Default)]
pub(super) struct WriteProgress {
    /// Since when writes are under way and none has ended.
    since: Option<Instant>,
}

impl WriteProgress {
    /// A write begins.
    pub(super) fn begins(&mut self, now: Instant) {
        let _ = self.since.get_or_insert(now);
    }

    /// A write has ended; `others` are under way, or none. How long none had ended, where that is long.
    pub(super) fn ended(&mut self, now: Instant, others: bool) -> Option<Duration> {
        let since = std::mem::replace(&mut self.since, others.then_some(now))?;
        Some(now.saturating_duration_since(since)).filter(|stood| *stood >= LEAST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_time_in_which_writes_are_under_way_and_none_ends_counts() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut progress = WriteProgress::default();
        progress.begins(at(0));
        progress.begins(at(90));
        assert_eq!(progress.ended(at(99), true), None);
        assert_eq!(progress.ended(at(199), false), Some(Duration::from_millis(100)), "since the last one ended");
        assert_eq!(progress.ended(at(500), false), None, "nothing was under way");
        progress.begins(at(1_000));
        assert_eq!(progress.ended(at(3_500), false), Some(Duration::from_millis(2_500)));
    }
}
