//! `--count`: how many packets all threads together may still take.

use std::sync::atomic::{AtomicU64, Ordering};

/// Packets that may still be taken.
#[derive(Debug)]
pub(crate) struct Budget(Option<AtomicU64>);

impl Budget {
    /// So many packets; any number for a negative `count`.
    pub(crate) fn new(count: i64) -> Self {
        Self(u64::try_from(count).ok().map(AtomicU64::new))
    }

    /// Takes up to `packets`, and says how many.
    pub(crate) fn take(&self, packets: u32) -> u32 {
        let Some(left) = &self.0 else { return packets };
        let taken = |left: u64| left.saturating_sub(packets.into());
        let before = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(taken(left)));
        let before = before.unwrap_or_else(|left| left);
        u32::try_from(before).unwrap_or(u32::MAX).min(packets)
    }

    /// Whether nothing is left.
    pub(crate) fn is_spent(&self) -> bool {
        self.0.as_ref().is_some_and(|left| left.load(Ordering::Relaxed) == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_together_take_no_more_than_there_is() {
        let budget = Budget::new(10);
        assert_eq!((budget.take(4), budget.take(5), budget.is_spent()), (4, 5, false));
        assert_eq!((budget.take(7), budget.is_spent(), budget.take(1)), (1, true, 0));
        assert!(Budget::new(0).is_spent());
    }

    #[test]
    fn without_a_count_there_is_no_end() {
        let budget = Budget::new(-1);
        assert_eq!((budget.take(u32::MAX), budget.is_spent()), (u32::MAX, false));
    }
}
