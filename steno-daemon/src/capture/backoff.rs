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
    /// The wait after the first failure; each further one doubles it.
    pub first: Duration,
    /// The longest wait, before jitter.
    pub longest: Duration,
    /// A process that ran for so long was healthy: the next wait is `first` again.
    pub healthy_after: Duration,
}

impl Default for BackoffPolicy {
    /// 1 s, doubled up to 60 s, reset by a healthy minute.
    fn default() -> Self {
        Self { first: Duration::from_secs(1), longest: Duration::from_secs(60), healthy_after: Duration::from_secs(60) }
    }
}

/// How often in a row the process failed, and the wait that follows from it.
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

    /// How long to wait after a process that ran for `ran_for`.
    ///
    /// `jitter` spreads the restarts of several sensors that fail for one reason: a number in [0, 1), which makes the
    /// wait up to a fifth shorter or longer.
    pub(super) fn after_run(&mut self, ran_for: Duration, jitter: f64) -> Duration {
        if ran_for >= self.policy.healthy_after {
            self.failures = 0;
        }
        let doublings = self.failures.min(31);
        self.failures = self.failures.saturating_add(1);
        let wait = self.policy.first.saturating_mul(1 << doublings).min(self.policy.longest);
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

    #[test]
    fn waits_double_up_to_the_longest_and_start_again_after_health() {
        let mut backoff = Backoff::new(BackoffPolicy::default());
        let waits: Vec<u64> = (0..9).map(|_| backoff.after_run(INSTANTLY, 0.5).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(backoff.after_run(Duration::from_secs(59), 0.5).as_secs(), 60, "59 s is no healthy minute");
        assert_eq!(backoff.after_run(Duration::from_secs(60), 0.5).as_secs(), 1);
        assert_eq!(backoff.after_run(INSTANTLY, 0.5).as_secs(), 2);
    }

    #[test]
    fn a_year_of_failures_does_not_overflow() {
        let mut backoff = Backoff::new(BackoffPolicy { longest: Duration::MAX / 2, ..BackoffPolicy::default() });
        for _ in 0..100 {
            let _ = backoff.after_run(INSTANTLY, 0.0);
        }
        assert_eq!(backoff.after_run(INSTANTLY, 0.5), Duration::from_secs(1 << 31));
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
