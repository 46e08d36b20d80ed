//! Which look-ups find, in any index, at least the conversations that a query matches.
//!
//! They are worked out once a query. What they find is decided exactly afterwards (`matching`), so that a look-up may find
//! too much, never too little: a primitive under `not`, and the time, narrow nothing.

use std::fmt::{self, Display, Formatter};

use steno_index::{Class, ConvNo, Endpoint, Index, IndexError};

use super::matching::fields;
use crate::{AddrRange, Expr, PortRange, Primitive, Transport};

/// Conversations at which narrowing down further costs more than deciding each.
const FEW: usize = 256;
/// Postings that are read in the time that it takes to decide one conversation.
const DECIDING: u64 = 32;

/// A look-up, or a combination of some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// Every conversation.
    All,
    /// In all of these, none of them [`Lookup::All`]; those that mostly find least first. At least two.
    And(Vec<Lookup>),
    /// In any of these. At least two.
    Or(Vec<Lookup>),
    /// With an address in one of the ranges at either end.
    Addresses(Vec<AddrRange>),
    /// With a port in one of the ranges at either end. A native index has the ports of all transports in one table.
    Ports {
        /// The transport that the query names; `None` for TCP and UDP.
        transport: Option<Transport>,
        /// The ranges.
        ranges: Vec<PortRange>,
    },
    /// Whose class a primitive holds for.
    Class(Primitive),
}

impl Lookup {
    /// The look-ups for a query.
    pub(crate) fn of(expr: &Expr) -> Self {
        Self::signed(expr, false)
    }

    /// For `expr`, or for its negation.
    fn signed(expr: &Expr, negated: bool) -> Self {
        match expr {
            Expr::Not(inner) => Self::signed(inner, !negated),
            Expr::And(left, right) | Expr::Or(left, right) => {
                let both = [Self::signed(left, negated), Self::signed(right, negated)];
                if matches!(expr, Expr::Or(..)) ^ negated { Self::any(both) } else { Self::every(both) }
            }
            Expr::Is(_) if negated => Self::All,
            Expr::Is(Primitive::Address { ranges, .. }) => Self::Addresses(ranges.clone()),
            Expr::Is(Primitive::Port { transport, ranges, .. }) => {
                Self::Ports { transport: *transport, ranges: ranges.clone() }
            }
            Expr::Is(Primitive::Time(_)) => Self::All,
            Expr::Is(primitive) => Self::Class(primitive.clone()),
        }
    }

    fn every(both: [Self; 2]) -> Self {
        let mut parts = Vec::new();
        for part in both {
            match part {
                Self::All => {}
                Self::And(inner) => parts.extend(inner),
                other => parts.push(other),
            }
        }
        parts.sort_by_key(Self::rank);
        parts.dedup();
        match parts.len() {
            0 => Self::All,
            1 => parts.swap_remove(0),
            _ => Self::And(parts),
        }
    }

    fn any(both: [Self; 2]) -> Self {
        let mut parts = Vec::new();
        for part in both {
            match part {
                Self::All => return Self::All,
                Self::Or(inner) => parts.extend(inner),
                other => parts.push(other),
            }
        }
        parts.dedup();
        if parts.len() == 1 { parts.swap_remove(0) } else { Self::Or(parts) }
    }

    /// The fewer conversations it can be expected to find, the lower.
    fn rank(&self) -> u8 {
        match self {
            Self::Addresses(ranges) if ranges.iter().all(|r| r.low() == r.high()) => 0,
            Self::Addresses(_) => 1,
            Self::Ports { .. } => 2,
            Self::Class(Primitive::Vlan(Some(_)) | Primitive::Mpls(Some(_))) => 3,
            Self::Class(Primitive::Network(_)) => 5,
            Self::Class(_) => 4,
            Self::And(parts) => parts.iter().map(Self::rank).min().unwrap_or(0),
            Self::Or(parts) => parts.iter().map(Self::rank).max().unwrap_or(0),
            Self::All => 6,
        }
    }

    /// The most conversations that it finds in `index`, as far as that is told without reading any.
    fn most(&self, index: &Index) -> Result<u64, IndexError> {
        let mut most = 0u64;
        match self {
            Self::All | Self::Class(_) => most = u64::from(index.conversations()),
            Self::Addresses(ranges) => {
                for range in ranges {
                    most += index.address_range(range.low()..=range.high())?.postings;
                }
            }
            Self::Ports { ranges, .. } => {
                for range in ranges {
                    most += index.port_range(range.low..=range.high)?.postings;
                }
            }
            Self::Or(parts) => {
                for part in parts {
                    most = most.saturating_add(part.most(index)?);
                }
            }
            Self::And(parts) => {
                most = u64::MAX;
                for part in parts {
                    most = most.min(part.most(index)?);
                }
            }
        }
        Ok(most)
    }

    /// What all of `parts` find, or more where deciding what is left is cheaper than narrowing it down. The part that finds
    /// least in this index goes first.
    fn run_all(parts: &[Self], index: &Index) -> Result<Vec<ConvNo>, IndexError> {
        let mut order = Vec::with_capacity(parts.len());
        for part in parts {
            order.push((part.most(index)?, part));
        }
        order.sort_by_key(|(most, part)| (*most, part.rank()));
        let mut found: Option<Vec<ConvNo>> = None;
        for (most, part) in order {
            if found.as_ref().is_some_and(|found| found.len() <= FEW || found.len() as u64 * DECIDING < most) {
                break;
            }
            let Some(more) = part.run(index)? else { continue };
            found = Some(match found {
                Some(found) => intersect(&found, &more),
                None => more,
            });
        }
        // No part is `All`, so that the first one has found something, or nothing.
        Ok(found.unwrap_or_default())
    }

    /// The conversations of `index` that it finds, ascending; `None` for all of them.
    ///
    /// # Errors
    /// Those of the index.
    pub(crate) fn run(&self, index: &Index) -> Result<Option<Vec<ConvNo>>, IndexError> {
        let mut found = Vec::new();
        match self {
            Self::All => return Ok(None),
            Self::And(parts) => return Self::run_all(parts, index).map(Some),
            Self::Or(parts) => {
                for part in parts {
                    let Some(more) = part.run(index)? else { return Ok(None) };
                    found.extend(more);
                }
            }
            Self::Addresses(ranges) => {
                for range in ranges {
                    index.conversations_by_address(range.low()..=range.high(), &mut found)?;
                }
            }
            Self::Ports { ranges, .. } => {
                for range in ranges {
                    index.conversations_by_port(range.low..=range.high, &mut found)?;
                }
                // Those may be of a datagram with such a port.
                index.conversations_by_class(|class| class.later_fragments, &mut found)?;
            }
            Self::Class(primitive) => index.conversations_by_class(
                |class| holds(primitive, class) || class.later_fragments && is_of_first_fragment(primitive, class),
                &mut found,
            )?,
        }
        found.sort_unstable();
        found.dedup();
        Ok(Some(found))
    }
}

/// Whether a primitive that looks at nothing but the class holds for one.
fn holds(primitive: &Primitive, class: &Class) -> bool {
    let nowhere = Endpoint::default();
    fields(class, nowhere, nowhere).test(primitive).unwrap_or(true)
}

/// Whether a primitive looks at what only the first fragments of datagrams tell, where `class` is that of later ones.
fn is_of_first_fragment(primitive: &Primitive, class: &Class) -> bool {
    let nowhere = Endpoint::default();
    fields(class, nowhere, nowhere).is_of_first_fragment(primitive)
}

/// The members of both, which are ascending.
pub(super) fn intersect<T: Copy + Ord>(a: &[T], b: &[T]) -> Vec<T> {
    let (small, large) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    let mut rest = large;
    let mut both = Vec::new();
    for &member in small {
        rest = rest.get(rest.partition_point(|&other| other < member)..).unwrap_or_default();
        if rest.first() == Some(&member) {
            both.push(member);
        }
    }
    both
}

/// As it is said to people, parts of a combination in the order in which they are looked up.
impl Display for Lookup {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("every conversation"),
            Self::And(parts) => joined(f, parts, "and"),
            Self::Or(parts) => joined(f, parts, "or"),
            Self::Addresses(ranges) => {
                f.write_str("address")?;
                let text = ranges.iter().map(|r| match (r.prefix_bits(), r.low(), r.high()) {
                    (_, low, high) if low == high => low.to_string(),
                    (Some(bits), low, _) => format!("{low}/{bits}"),
                    (None, low, high) => format!("{low} to {high}"),
                });
                listed(f, text)
            }
            Self::Ports { ranges, .. } => {
                f.write_str("port")?;
                listed(
                    f,
                    ranges
                        .iter()
                        .map(|r| if r.low == r.high { r.low.to_string() } else { format!("{}-{}", r.low, r.high) }),
                )
            }
            Self::Class(primitive) => write!(f, "class `{}`", Expr::Is(primitive.clone())),
        }
    }
}

/// Items of a list that are written out.
const WRITTEN: usize = 8;

fn listed(f: &mut Formatter<'_>, items: impl ExactSizeIterator<Item = String>) -> fmt::Result {
    let more = items.len().saturating_sub(WRITTEN);
    for (i, item) in items.take(WRITTEN).enumerate() {
        write!(f, "{}{item}", if i == 0 { " " } else { ", " })?;
    }
    if more > 0 { write!(f, " and {more} more") } else { Ok(()) }
}

fn joined(f: &mut Formatter<'_>, parts: &[Lookup], word: &str) -> fmt::Result {
    for (i, part) in parts.iter().enumerate() {
        if i > 0 {
            write!(f, " {word} ")?;
        }
        match part {
            Lookup::And(_) | Lookup::Or(_) => write!(f, "({part})")?,
            _ => write!(f, "{part}")?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use steno_core::{
        Position, TimestampNs,
        packet::{Frame, decode},
        testkit::FrameBuilder,
    };
    use steno_index::{BlockNote, Direction, Facts, Log, seal};

    use super::*;
    use crate::parse;

    fn said(query: &str) -> String {
        Lookup::of(&parse(query, TimestampNs::MAX).unwrap().expr).to_string()
    }

    #[test]
    fn conjunctions_start_with_what_finds_least() {
        assert_eq!(
            said("tcp and port 80 and net 10.0.0.0/8 and host 10.0.0.1"),
            "address 10.0.0.1 and address 10.0.0.0/8 and port 80 and class `tcp`"
        );
        assert_eq!(
            said("tcp and (host 10.0.0.1 or port 53)"),
            "(port 53 or address 10.0.0.1) and class `tcp`"
                .replace("port 53 or address 10.0.0.1", "address 10.0.0.1 or port 53")
        );
    }

    #[test]
    fn what_cannot_narrow_falls_away() {
        assert_eq!(said("not host 10.0.0.1"), "every conversation");
        assert_eq!(said("host 10.0.0.1 or not tcp"), "every conversation");
        assert_eq!(said("host 10.0.0.1 and not tcp and before 2026-01-01T00:00:00Z"), "address 10.0.0.1");
        assert_eq!(said("not (not host 10.0.0.1 or tcp)"), "address 10.0.0.1");
        assert_eq!(said("not not port 53"), "port 53");
        assert_eq!(said("udp and udp"), "class `udp`");
    }

    /// An index of 3,000 conversations: TCP and UDP from 10.0.x.y to two servers, each on one of three ports.
    fn index() -> Index {
        let (mut log, mut tags) = (Log::new(), Vec::new());
        for i in 0..3000u16 {
            let [high, low] = i.to_be_bytes();
            let frame = FrameBuilder::ethernet().ipv4([10, 0, high, low], [192, 168, 0, (i % 2) as u8]);
            let port = [53, 80, 443][usize::from(i % 3)];
            let frame = if i % 5 == 0 { frame.udp(40_000 + i, port) } else { frame.tcp(40_000 + i, port) };
            let bytes = frame.build();
            let decoded = decode(&Frame::new(&bytes), &mut tags);
            log.note(Position(48 + 160 * u32::from(i)), TimestampNs::new(u64::from(i)), 60, &decoded, &tags);
        }
        log.end_block(BlockNote { offset_bytes: 0, used_bytes: 48 + 160 * 3000, crc32c: None, seq_num: 1 });
        let mut file = Vec::new();
        let _sealed = seal(&log, &Facts::default(), &mut file).unwrap();
        Index::from_bytes(file).unwrap()
    }

    #[test]
    fn look_ups_find_all_that_matches_and_little_else() {
        let index = index();
        for (query, most) in [
            ("host 10.0.1.2", 1),
            ("host 192.168.0.1 and port 53 and tcp", 500),
            ("udp and port 443", 200),
            ("tcp and udp", 0),
            ("net 10.0.0.0/24 or host 10.0.11.1", 257),
            ("(port 53 or port 80) and (host 192.168.0.0 or host 10.0.0.1) and net 10.0.0.0/16", 1001),
            ("dst host 192.168.0.1 and not udp", 1500),
            ("not port 53", 3000),
        ] {
            let expr = parse(query, TimestampNs::MAX).unwrap().expr;
            let found = Lookup::of(&expr).run(&index).unwrap();
            let found = found.unwrap_or_else(|| (0..index.conversations()).map(ConvNo).collect());
            assert!(found.is_sorted_by(|a, b| a < b), "{query}");
            let mut cursor = index.cursor();
            let matching = (0..index.conversations()).map(ConvNo).filter(|&no| {
                let ends = cursor.ends(no).unwrap();
                Direction::BOTH.into_iter().any(|direction| {
                    let (from, to) = ends.from_to(direction);
                    expr.matches(&fields(&ends.class, from, to), TimestampNs::MIN)
                })
            });
            let matching: Vec<ConvNo> = matching.collect();
            assert!(matching.iter().all(|no| found.binary_search(no).is_ok()), "{query}");
            assert!(found.len() <= most, "{query}: found {}", found.len());
        }
    }

    #[test]
    fn intersections_are_those_of_sets() {
        let list = |numbers: &[u32]| numbers.iter().copied().map(ConvNo).collect::<Vec<_>>();
        assert_eq!(intersect(&list(&[1, 3, 5, 9]), &list(&[0, 3, 4, 5, 10])), list(&[3, 5]));
        assert_eq!(intersect(&list(&[]), &list(&[1])), list(&[]));
        assert_eq!(intersect(&list(&[7]), &list(&[7])), list(&[7]));
    }
}
