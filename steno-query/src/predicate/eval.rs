//! The evaluation of a whole expression.
//!
//! A query is a chain of operators that nests to the left as deep as it is long, so evaluation walks down the left
//! operand in a loop and recurses only into the right one, whose depth the parser bounds
//! ([`MAX_NESTING`](crate::syntax::MAX_NESTING)). `not` is carried down as a sign: under it `and` and `or` change
//! places.

use steno_core::TimestampNs;

use super::{Fields, TimeSet};
use crate::syntax::{Expr, Primitive};

impl Expr {
    /// Whether a packet with these fields that arrived at `time` belongs to the answer. Allocates nothing.
    pub fn matches(&self, fields: &Fields<'_>, time: TimestampNs) -> bool {
        self.decide(false, &|primitive| match primitive {
            Primitive::Time(span) => span.contains(time),
            other => fields.test(other).unwrap_or(false),
        })
    }

    /// Exactly the times at which a packet with these fields belongs to the answer. Without a time primitive that is
    /// always or never, and nothing is allocated.
    pub fn times(&self, fields: &Fields<'_>) -> TimeSet {
        self.sweep(false, &|primitive, negated| match primitive {
            Primitive::Time(span) => signed(TimeSet::of(*span), negated),
            other => TimeSet::constant(fields.test(other).unwrap_or(false) ^ negated),
        })
    }

    /// The times at which a fragment after the first belongs to the answer whatever its first fragment is, and those at which it
    /// may, if that is a certain one. `fields` are its own.
    pub(crate) fn times_of_fragment(&self, fields: &Fields<'_>) -> (TimeSet, TimeSet) {
        let of = |unknown: bool| {
            self.sweep(false, &|primitive, negated| match primitive {
                Primitive::Time(span) => signed(TimeSet::of(*span), negated),
                other if fields.is_of_first_fragment(other) => TimeSet::constant(unknown),
                other => TimeSet::constant(fields.test(other).unwrap_or(false) ^ negated),
            })
        };
        (of(false), of(true))
    }

    /// Whether it looks at what a fragment after the first does not have of its own.
    pub(crate) fn looks_at_transport(&self) -> bool {
        self.primitives().any(|primitive| matches!(primitive, Primitive::Port { .. } | Primitive::Protocol(_)))
    }

    /// The times at which some packet may belong to the answer, whatever its fields: never less than that, and no more
    /// than can be told without knowing them. A segment without a packet in it need not be opened.
    pub fn may_match_times(&self) -> TimeSet {
        self.sweep(false, &|primitive, negated| match primitive {
            Primitive::Time(span) => signed(TimeSet::of(*span), negated),
            _ => TimeSet::ALL,
        })
    }

    /// Whether it looks at the time at all.
    pub fn has_time(&self) -> bool {
        self.primitives().any(|primitive| matches!(primitive, Primitive::Time(_)))
    }

    /// Every primitive, in the order in which they are written.
    pub fn primitives(&self) -> impl Iterator<Item = &Primitive> {
        let mut pending = vec![self];
        std::iter::from_fn(move || {
            while let Some(expr) = pending.pop() {
                match expr {
                    Self::And(left, right) | Self::Or(left, right) => pending.extend([&**right, &**left]),
                    Self::Not(inner) => pending.push(inner),
                    Self::Is(primitive) => return Some(primitive),
                }
            }
            None
        })
    }

    /// Truth of the expression, or of its negation, by the truth of its primitives.
    fn decide(&self, negated: bool, holds: &impl Fn(&Primitive) -> bool) -> bool {
        let (mut expr, mut negated) = (self, negated);
        loop {
            expr = match expr {
                Self::Is(primitive) => return holds(primitive) ^ negated,
                Self::Not(inner) => {
                    negated = !negated;
                    inner
                }
                // The right operand decides alone when it is false under "and", true under "or".
                Self::And(left, right) | Self::Or(left, right) => {
                    let is_or = matches!(expr, Self::Or(..)) ^ negated;
                    if right.decide(negated, holds) == is_or {
                        return is_or;
                    }
                    left
                }
            };
        }
    }

    /// The same in sets of times. What is still to be evaluated is the left operand `x`, and the result so far is
    /// `(x ∩ within) ∪ also`.
    fn sweep(&self, negated: bool, leaf: &impl Fn(&Primitive, bool) -> TimeSet) -> TimeSet {
        let (mut expr, mut negated) = (self, negated);
        let (mut within, mut also) = (TimeSet::ALL, TimeSet::NONE);
        loop {
            if within.is_empty() {
                return also;
            }
            expr = match expr {
                Self::Is(primitive) => return leaf(primitive, negated).intersection(within).union(also),
                Self::Not(inner) => {
                    negated = !negated;
                    inner
                }
                Self::And(left, right) | Self::Or(left, right) => {
                    let operand = right.sweep(negated, leaf);
                    if matches!(expr, Self::Or(..)) ^ negated {
                        also = also.union(operand.clone().intersection(within.clone()));
                        within = within.intersection(operand.complement());
                    } else {
                        within = within.intersection(operand);
                    }
                    left
                }
            };
        }
    }
}

fn signed(set: TimeSet, negated: bool) -> TimeSet {
    if negated { set.complement() } else { set }
}
