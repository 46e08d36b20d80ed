//! Sets of moments: what a predicate leaves of time once everything but the time is known.

use std::cmp::Ordering;

use steno_core::TimestampNs;

use crate::syntax::TimeSpan;

/// A set of moments, as the sorted moments at which it begins or stops to hold. The empty set and the set of all
/// moments take no memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimeSet {
    /// Whether [`TimestampNs::MIN`] belongs to it.
    holds_first: bool,
    /// Strictly ascending, above [`TimestampNs::MIN`]; membership changes at each and stays until the next.
    changes: Vec<TimestampNs>,
}

impl TimeSet {
    /// No moment.
    pub const NONE: Self = Self { holds_first: false, changes: Vec::new() };
    /// Every moment.
    pub const ALL: Self = Self { holds_first: true, changes: Vec::new() };

    /// Every moment if `holds`, else none.
    pub const fn constant(holds: bool) -> Self {
        if holds { Self::ALL } else { Self::NONE }
    }

    /// The moments of a span.
    pub fn of(span: TimeSpan) -> Self {
        let from = span.from.unwrap_or(TimestampNs::MIN);
        if span.until.is_some_and(|until| until <= from) {
            return Self::NONE;
        }
        let start = Some(from).filter(|&from| from > TimestampNs::MIN);
        Self { holds_first: start.is_none(), changes: start.into_iter().chain(span.until).collect() }
    }

    /// Whether it holds no moment.
    pub fn is_empty(&self) -> bool {
        !self.holds_first && self.changes.is_empty()
    }

    /// Whether it holds every moment.
    pub fn is_all(&self) -> bool {
        self.holds_first && self.changes.is_empty()
    }

    /// Whether `time` belongs to it.
    pub fn contains(&self, time: TimestampNs) -> bool {
        let passed = self.changes.partition_point(|&change| change <= time);
        self.holds_first ^ (passed % 2 == 1)
    }

    /// Whether any moment from `first` to `last`, both included, belongs to it.
    pub fn overlaps(&self, first: TimestampNs, last: TimestampNs) -> bool {
        if first > last {
            return false;
        }
        // A change after `first` and up to `last` means that both values occur.
        self.contains(first)
            || self.changes.get(self.changes.partition_point(|&change| change <= first)).is_some_and(|&c| c <= last)
    }

    /// Whether every moment from `first` to `last`, both included, belongs to it.
    pub fn covers(&self, first: TimestampNs, last: TimestampNs) -> bool {
        !self.clone().complement().overlaps(first, last)
    }

    /// The smallest span that holds all of it; [`TimeSpan::NONE`] of the empty set.
    pub fn hull(&self) -> TimeSpan {
        let holds_last = self.holds_first ^ (self.changes.len() % 2 == 1);
        let from = if self.holds_first { None } else { self.changes.first().copied() };
        let until = if holds_last { None } else { self.changes.last().copied() };
        if self.is_empty() { TimeSpan::NONE } else { TimeSpan { from, until } }
    }

    /// Its stretches in order, each as long as can be, none touching the next.
    pub fn spans(&self) -> impl Iterator<Item = TimeSpan> + '_ {
        let open = self.holds_first.then_some(TimeSpan { from: None, until: self.changes.first().copied() });
        let rest = self.changes.get(usize::from(self.holds_first)..).unwrap_or_default();
        let closed = rest.chunks(2).map(|pair| TimeSpan { from: pair.first().copied(), until: pair.get(1).copied() });
        open.into_iter().chain(closed)
    }

    /// The moments at which membership changes.
    #[cfg(test)]
    pub(super) fn changes(&self) -> &[TimestampNs] {
        &self.changes
    }

    /// The moments that do not belong to it.
    #[must_use]
    pub fn complement(mut self) -> Self {
        self.holds_first = !self.holds_first;
        self
    }

    /// The moments of either.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        if self.is_all() || other.is_empty() {
            return self;
        }
        if self.is_empty() || other.is_all() {
            return other;
        }
        self.merge(&other, |a, b| a || b)
    }

    /// The moments of both.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        if self.is_empty() || other.is_all() {
            return self;
        }
        if self.is_all() || other.is_empty() {
            return other;
        }
        self.merge(&other, |a, b| a && b)
    }

    /// One sweep over the changes of both.
    fn merge(&self, other: &Self, holds: impl Fn(bool, bool) -> bool) -> Self {
        let (mut in_a, mut in_b) = (self.holds_first, other.holds_first);
        let holds_first = holds(in_a, in_b);
        let mut holding = holds_first;
        let mut changes = Vec::with_capacity(self.changes.len() + other.changes.len());
        let (mut a, mut b) = (self.changes.iter().peekable(), other.changes.iter().peekable());
        loop {
            let (order, at) = match (a.peek(), b.peek()) {
                (Some(&&x), Some(&&y)) => (x.cmp(&y), x.min(y)),
                (Some(&&x), None) => (Ordering::Less, x),
                (None, Some(&&y)) => (Ordering::Greater, y),
                (None, None) => break,
            };
            if order.is_le() {
                in_a = !in_a;
                let _passed = a.next();
            }
            if order.is_ge() {
                in_b = !in_b;
                let _passed = b.next();
            }
            if holds(in_a, in_b) != holding {
                holding = !holding;
                changes.push(at);
            }
        }
        Self { holds_first, changes }
    }
}
