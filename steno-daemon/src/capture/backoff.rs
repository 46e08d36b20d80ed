//! How long to wait before a capture process that ended is started again.
//!
//! Pure: it knows neither clock nor process. A process that dies at once, every time, costs one start a minute.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    time::Duration,
};

/// The bounds of the wait.
#[derive(Clone, Copy, Debug)]
pub struct BackoffPolicy {
    /// The wait after a process that worked, and captured long enough that no failure before it counts.
    pub soon: Duration,
    /// The wait after the first failure; each further one doubles it.
    pub first: Duration,
    /// The longest wait, before jitter.
    pub longest: Duration,
    /// For each such time that a process captured before it failed, one doubling is taken back. So a process that
    /// captures for a while each time is soon at work again, whatever ends it, and only one that hardly captures waits.
    pub forgiven_after: Duration,
}

impl Default for BackoffPolicy {
    /// 1 s, doubled up to 60 s, halved again by each second of capture; a tenth of a second after one that worked.
    fn default() -> Self {
        Self {
            soon: Duration::from_millis(100),
            first: Duration::from_secs(1),
            longest: Duration::from_secs(60),
            forgiven_after: Duration::from_secs(1),
        }
    }
}

/// How often the process failed and was not forgiven, and the wait that follows from it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    policy: BackoffPolicy,
    failures: u32,
}

impl Backoff {
    /// No failure yet.
    pub(super) fn new(policy: BackoffPolicy) -> Self {
        Self { policy, failures: 0 }
    }

    /// How long to wait after a process that captured for `captured_for`.
    ///
    /// `jitter` spreads the restarts of several sensors that fail for one reason: a number in [0, 1), which makes the
    /// wait up to a fifth shorter or longer.
    pub(super) fn after_run(&mut self, captured_for: Duration, jitter: f64) -> Duration {
        let forgiven = captured_for.as_nanos() / self.policy.forgiven_after.as_nanos().max(1);
        self.failures = self.failures.saturating_sub(u32::try_from(forgiven).unwrap_or(u32::MAX));
        let doublings = self.failures.min(31);
        let wait = match self.failures == 0 && forgiven > 0 {
            true => self.policy.soon.min(self.policy.longest),
            false => self.policy.first.saturating_mul(1 << doublings).min(self.policy.longest),
        };
        // What the longest wait makes no longer need not be forgiven either.
        if wait < self.policy.longest {
            self.failures += 1;
        }
        wait.mul_f64(0.8 + 0.4 * jitter.clamp(0.0, 1.0))
    }
}

/// A number in [0, 1) that no other process draws too; good enough for jitter, for nothing else.
pub(super) fn jitter() -> f64 {
    // 32 bits are exact in a double.
    f64::from(u32::try_from(random() >> 32).unwrap_or(0)) / (f64::from(u32::MAX) + 1.0)
}

/// 64 bits that nobody needs to be unable to guess: what the standard library seeds its hash tables with.
pub(super) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const INSTANTLY: Duration = Duration::from_millis(3);

    /// In seconds; 0 for one that is shorter.
    fn waits(backoff: &mut Backoff, captured_for: Duration, times: usize) -> Vec<u64> {
        (0..times).map(|_| backoff.after_run(captured_for, 0.5).as_secs()).collect()
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        let mut backoff = Backoff::new(BackoffPolicy::default());
        assert_eq!(waits(&mut backoff, INSTANTLY, 9), [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(waits(&mut backoff, Duration::from_millis(999), 3), [60, 60, 60], "that is hardly capturing");
    }

    #[test]
    fn each_second_of_capture_takes_a_doubling_back() {
        let mut backoff = Backoff::new(BackoffPolicy::default());
        assert_eq!(waits(&mut backoff, Duration::from_secs(1), 30), [0; 30]);
        assert_eq!(backoff.after_run(Duration::from_secs(1), 0.5), Duration::from_millis(100), "it works");
        assert_eq!(waits(&mut backoff, INSTANTLY, 2), [2, 4]);
        assert_eq!(waits(&mut backoff, Duration::from_secs(1), 3), [4, 4, 4], "one more, one less");
        let _ = waits(&mut backoff, INSTANTLY, 100);
        assert_eq!(waits(&mut backoff, Duration::from_secs(3), 4), [8, 2, 0, 0], "a minute is soon forgotten");
        let _ = waits(&mut backoff, INSTANTLY, 100);
        assert_eq!(waits(&mut backoff, Duration::from_secs(6), 1), [0]);
        assert_eq!(waits(&mut backoff, Duration::MAX, 1), [0]);
    }

    #[test]
    fn a_year_of_failures_does_not_overflow() {
        let longest = Duration::MAX / 2;
        let policy = BackoffPolicy { longest, forgiven_after: Duration::ZERO, ..BackoffPolicy::default() };
        let mut backoff = Backoff::new(policy);
        for _ in 0..100 {
            let _ = backoff.after_run(Duration::ZERO, 0.0);
        }
        assert_eq!(backoff.after_run(Duration::ZERO, 0.5), Duration::from_secs(1 << 31));
    }

    #[test]
    fn jitter_stays_within_a_fifth() {
        for jitter in [0.0, 0.999, -3.0, 7.0] {
            let wait = Backoff::new(BackoffPolicy::default()).after_run(INSTANTLY, jitter).as_secs_f64();
            assert!((0.8..=1.2).contains(&wait), "{wait}");
        }
        let drawn: Vec<f64> = (0..64).map(|_| jitter()).collect();
        assert!(drawn.iter().all(|j| (0.0..1.0).contains(j)));
        assert!(drawn.iter().any(|j| *j != drawn[0]), "the same number every time is no jitter");
    }
}
