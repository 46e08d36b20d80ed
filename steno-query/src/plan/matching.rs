//! Decides conversations: which packets of which side belong to the answer, exactly, before any packet is read.
//!
//! All packets that one side of a conversation sent have the same fields, so that a query is true of all of them at the
//! same times ([`Expr::times`]).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use steno_core::packet::Network;
use steno_index::{Class, ConvNo, ConversationCursor, Direction, Endpoint, Index, IndexError, NetworkKind};

use super::Lookup;
use crate::{Expr, Fields, Primitive, Side, TimeSet, receipt::Truncation, store::Fault};

/// Conversations that are decided between two looks at whether to go on.
const BETWEEN_LOOKS: usize = 4096;

/// Decides the conversations of one index after the other.
#[derive(Debug)]
pub(crate) struct Matcher {
    expr: Expr,
    lookup: Lookup,
    /// Whether the two sides of a conversation may differ.
    directional: bool,
}

/// A conversation with packets that may belong to the answer.
#[derive(Debug)]
pub(crate) struct Matched<'a> {
    /// Its number.
    pub(crate) number: ConvNo,
    /// When the packets of each direction belong to it; at least one of them ever does.
    pub(crate) times: &'a [TimeSet; 2],
}

/// Why a look-up ended before its end.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The index failed.
    Index(IndexError),
    /// The packet file, which had to be looked into, cannot be read.
    Packets(Fault),
    /// The caller had to give up.
    Interrupted(Truncation),
}

impl From<IndexError> for Stop {
    fn from(error: IndexError) -> Self {
        Self::Index(error)
    }
}

impl Matcher {
    /// For `expr`.
    pub(crate) fn new(expr: Expr) -> Self {
        let lookup = Lookup::of(&expr);
        let directional = expr.primitives().any(|primitive| {
            matches!(primitive, Primitive::Address { side, .. } | Primitive::Port { side, .. } if *side != Side::Either)
        });
        Self { expr, lookup, directional }
    }

    /// The expression.
    pub(crate) fn expr(&self) -> &Expr {
        &self.expr
    }

    /// The look-ups.
    pub(crate) fn lookup(&self) -> &Lookup {
        &self.lookup
    }

    /// Calls `visit` for each conversation of `index` that matches at some time, ascending.
    ///
    /// # Errors
    /// Those of the index and of `visit`, and what `interrupted` says.
    pub(crate) fn each(
        &self,
        index: &Index,
        interrupted: &dyn Fn() -> Option<Truncation>,
        mut visit: impl FnMut(&mut ConversationCursor<'_>, &Matched<'_>) -> Result<(), IndexError>,
    ) -> Result<(), Stop> {
        let mut cursor = index.cursor();
        let mut decide = |at: usize, number: ConvNo| {
            if at.is_multiple_of(BETWEEN_LOOKS)
                && let Some(by) = interrupted()
            {
                return Err(Stop::Interrupted(by));
            }
            let times = self.decide(&mut cursor, number)?;
            if times.iter().any(|set| !set.is_empty()) {
                visit(&mut cursor, &Matched { number, times: &times })?;
            }
            Ok(())
        };
        match self.lookup.run(index)? {
            Some(found) => found.into_iter().enumerate().try_for_each(|(at, number)| decide(at, number)),
            None => (0..index.conversations()).zip(0..).try_for_each(|(number, at)| decide(at, ConvNo(number))),
        }
    }

    fn decide(&self, cursor: &mut ConversationCursor<'_>, number: ConvNo) -> Result<[TimeSet; 2], IndexError> {
        let ends = cursor.ends(number)?;
        let of = |direction| {
            let (from, to) = ends.from_to(direction);
            self.expr.times(&fields(&ends.class, from, to))
        };
        let forward = of(Direction::Forward);
        let reverse = if self.directional { of(Direction::Reverse) } else { forward.clone() };
        Ok([forward, reverse])
    }
}

/// What is known of the packets of a class that one end sends to another.
pub(super) fn fields(class: &Class, from: Endpoint, to: Endpoint) -> Fields<'_> {
    let network = match class.network {
        NetworkKind::None { ether_type } => Network::None { ether_type },
        NetworkKind::V4 => Network::V4 { src: v4(from), dst: v4(to) },
        NetworkKind::V6 => Network::V6 { src: v6(from), dst: v6(to) },
    };
    let ports = from.port.zip(to.port).filter(|_| class.has_ports);
    Fields { network, protocol: class.protocol, ports, tags: &class.tags }
}

/// The index gives an address of the family of the class.
fn v4(end: Endpoint) -> Ipv4Addr {
    match end.addr {
        Some(IpAddr::V4(address)) => address,
        _ => Ipv4Addr::UNSPECIFIED,
    }
}

fn v6(end: Endpoint) -> Ipv6Addr {
    match end.addr {
        Some(IpAddr::V6(address)) => address,
        _ => Ipv6Addr::UNSPECIFIED,
    }
}
