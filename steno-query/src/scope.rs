//! What part of a store is in reach of who asks: which packets an answer may be made of, whatever the query.
//!
//! A scope is a predicate of the query language, and it is joined to the query with `and`, as a tree and not as a text
//! ([`Asked`](crate::plan::Asked)), before anything is looked up. So no `or`, `not` or parenthesis of a query leads out of it,
//! and a packet is in a scope by just the fields that a query would look at.
//!
//! Its primitives look at both ends of a packet alike. A conversation is therefore wholly in a scope or wholly outside, but
//! for its time; where that divides a segment, flows and explanations count the packets themselves.

use steno_core::TimestampNs;

use crate::{AddrRange, Expr, Primitive, Side, TimeSpan};

/// The packets that an answer may be made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    name: String,
    expr: Expr,
    from: Option<TimestampNs>,
}

/// What a scope is made of. What is left out does not restrict it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScopeParts {
    /// Networks: a packet is in the scope if its source or its destination, or both, lie in one of them, as with `net`; one
    /// without an IP header is not. None, but not left out: no packet is.
    pub networks: Option<Vec<AddrRange>>,
    /// VLANs: a packet is in the scope if one of its tags, whichever, has one of these ids, as with `vlan`. None, but not left
    /// out: no packet is.
    pub vlans: Option<Vec<u16>>,
    /// A packet is in the scope if it arrived at this time or later, as with `after`.
    pub from: Option<TimestampNs>,
}

impl Scope {
    /// Of the packets for which all of `parts` hold, called `name` in receipts. `None`: no packet is left out.
    pub fn new(name: impl Into<String>, parts: ScopeParts) -> Option<Self> {
        let nothing = || Expr::Is(Primitive::Time(TimeSpan::NONE));
        let ScopeParts { networks, vlans, from } = parts;
        let networks = networks.map(|ranges| match ranges.is_empty() {
            true => nothing(),
            false => Expr::Is(Primitive::addresses(Side::Either, ranges)),
        });
        let vlans = vlans.map(|mut ids| {
            ids.sort_unstable();
            ids.dedup();
            any_vlan(&ids).unwrap_or_else(nothing)
        });
        let time = from.map(|from| Expr::Is(Primitive::Time(TimeSpan::new(Some(from), None))));
        let expr = [networks, vlans, time].into_iter().flatten().reduce(Expr::and)?;
        Some(Self { name: name.into(), expr, from })
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is true of its packets.
    pub fn expr(&self) -> &Expr {
        &self.expr
    }

    /// No packet in it is earlier.
    pub fn from(&self) -> Option<TimestampNs> {
        self.from
    }
}

/// `vlan A or vlan B ..`, as a tree that is no deeper than it must be.
fn any_vlan(ids: &[u16]) -> Option<Expr> {
    match ids {
        [] => None,
        [id] => Some(Expr::Is(Primitive::Vlan(Some(*id)))),
        several => {
            let (low, high) = several.split_at(several.len() / 2);
            Some(any_vlan(low)?.or(any_vlan(high)?))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Query, parse};

    #[test]
    fn what_it_says_is_what_the_query_language_means_by_it() {
        let net = |a: &str, bits| AddrRange::prefix(a.parse().unwrap(), bits).unwrap();
        let from = Some(TimestampNs::from_parts(60, 0));
        let nets = || Some(vec![net("2001:db8::", 32), net("10.1.0.0", 16), net("10.0.0.0", 8)]);
        let of = |networks, vlans, from| Scope::new("x", ScopeParts { networks, vlans, from });
        assert_eq!(of(None, None, None), None);
        for (scope, text) in [
            (of(nets(), None, None), "net in {10.0.0.0/8, 2001:db8::/32}"),
            (of(None, Some(vec![7, 5, 7, 6]), None), "vlan 5 or (vlan 6 or vlan 7)"),
            (of(None, None, from), "after 1970-01-01T00:01:00Z"),
            (
                of(nets(), Some(vec![5]), from),
                "net in {10.0.0.0/8, 2001:db8::/32} and vlan 5 and after 1970-01-01T00:01:00Z",
            ),
        ] {
            let expr = scope.unwrap().expr().clone();
            assert_eq!(expr, parse(text, TimestampNs::MIN).unwrap().expr, "{}", Query { expr: expr.clone() });
        }
        for nothing in [of(Some(Vec::new()), None, None), of(None, Some(Vec::new()), from)] {
            assert!(nothing.unwrap().expr().may_match_times().is_empty());
        }
        let all = of(None, Some((0..4096).collect()), None).unwrap();
        assert_eq!(all.expr().primitives().count(), 4096);
    }
}
