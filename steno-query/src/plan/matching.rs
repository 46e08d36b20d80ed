//! Decides conversations: which packets of which side belong to the answer, exactly, before any packet is read.
//!
//! All packets that one side of a conversation sent have the same fields, so that a query is true of all of them at the
//! same times ([`Expr::times`]). Only fragments after the first have fields that are not those of their conversation but of their
//! datagram: where a query looks at those, they are decided one by one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use steno_core::packet::Network;
use steno_index::{
    Class, ConvNo, ConversationCursor, Direction, Endpoint, Ends, Index, IndexError, LaterFragment, LaterFragments,
    NetworkKind,
};

use super::{
    Lookup, Of,
    datagrams::{Batch, Datagrams, Fragment},
};
use crate::{
    Expr, Fields, Primitive, Side, TimeSet,
    receipt::{Receipt, Truncation},
    store::Fault,
};

/// Conversations that are decided between two looks at whether to go on.
const BETWEEN_LOOKS: usize = 4096;

/// Decides the conversations of one index after the other.
#[derive(Debug)]
pub(crate) struct Matcher {
    expr: Expr,
    lookup: Lookup,
    /// Whether the two sides of a conversation may differ.
    directional: bool,
    datagrams: Datagrams,
    answer: Of,
}

/// What matches.
#[derive(Debug)]
pub(crate) enum Matched<'a> {
    /// A conversation with packets that may belong to the answer.
    Conversation {
        /// Its number.
        number: ConvNo,
        /// When the packets of each direction belong to it; at least one of them ever does.
        times: &'a [TimeSet; 2],
    },
    /// A single fragment after the first, decided by the fields of its datagram.
    Fragment {
        /// What is known of it.
        fragment: &'a Fragment,
        /// Whether it belongs to the answer; if not, it would if the other end had sent it.
        matches: bool,
    },
}

/// What is done with fragments after the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fragments {
    /// Each is of the datagram of its first fragment, where that is known.
    Joined,
    /// Each has the fields that the index says.
    AsIndexed,
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
    /// For `expr`; `datagrams` are those of the selection that was made for the same answer.
    pub(crate) fn new(expr: Expr, answer: Of, datagrams: Datagrams) -> Self {
        let lookup = Lookup::of(&expr);
        let directional = expr.primitives().any(|primitive| {
            matches!(primitive, Primitive::Address { side, .. } | Primitive::Port { side, .. } if *side != Side::Either)
        });
        Self { expr, lookup, directional, datagrams, answer }
    }

    /// The expression.
    pub(crate) fn expr(&self) -> &Expr {
        &self.expr
    }

    /// The look-ups.
    pub(crate) fn lookup(&self) -> &Lookup {
        &self.lookup
    }

    /// Notes a segment whose packets are decided by what each has of its own.
    pub(crate) fn note_untold(&self) {
        if self.expr.looks_at_transport() {
            self.datagrams.note_untold();
        }
    }

    /// Adds to `receipt` what was met with in looking for first fragments.
    pub(crate) fn report(&self, receipt: &mut Receipt) {
        self.datagrams.report(receipt);
    }

    /// Calls `visit` for each conversation of `index` that matches at some time, ascending, and for each later fragment that is
    /// decided by itself.
    ///
    /// # Errors
    /// Those of the index and of `visit`, and what `interrupted` says.
    pub(crate) fn each(
        &self,
        index: &Index,
        fragments: Fragments,
        interrupted: &dyn Fn() -> Option<Truncation>,
        mut visit: impl FnMut(&mut ConversationCursor<'_>, &Matched<'_>) -> Result<(), IndexError>,
    ) -> Result<(), Stop> {
        let mut cursor = index.cursor();
        let mut apart = match fragments {
            Fragments::Joined => Some(Apart::of(self, index)),
            Fragments::AsIndexed => None,
        };
        let mut decide = |at: usize, number: ConvNo| {
            if at.is_multiple_of(BETWEEN_LOOKS)
                && let Some(by) = interrupted()
            {
                return Err(Stop::Interrupted(by));
            }
            let ends = cursor.ends(number)?;
            if ends.class.later_fragments
                && let Some(apart) = &mut apart
                && apart.take(&mut cursor, number, &ends)?
            {
                return apart.decide(&mut cursor, interrupted, &mut visit, false);
            }
            let times = self.decide(&ends);
            if times.iter().any(|set| !set.is_empty()) {
                visit(&mut cursor, &Matched::Conversation { number, times: &times })?;
            }
            Ok(())
        };
        match self.lookup.run(index)? {
            Some(found) => found.into_iter().enumerate().try_for_each(|(at, number)| decide(at, number))?,
            None => (0..index.conversations()).zip(0..).try_for_each(|(number, at)| decide(at, ConvNo(number)))?,
        }
        apart.map_or(Ok(()), |mut apart| apart.decide(&mut cursor, interrupted, &mut visit, true))
    }

    fn decide(&self, ends: &Ends) -> [TimeSet; 2] {
        let of = |direction| {
            let (from, to) = ends.from_to(direction);
            self.expr.times(&fields(&ends.class, from, to))
        };
        let forward = of(Direction::Forward);
        let reverse = if self.directional { of(Direction::Reverse) } else { forward.clone() };
        [forward, reverse]
    }
}

/// Later fragments of an index that are decided one by one.
struct Apart<'a> {
    matcher: &'a Matcher,
    index: &'a Index,
    laters: LaterFragments<'a>,
    batch: Batch,
    list: Vec<LaterFragment>,
    /// Whether the index was found not to tell them.
    untold: bool,
}

impl<'a> Apart<'a> {
    fn of(matcher: &'a Matcher, index: &'a Index) -> Self {
        let laters = index.later_fragments();
        Self { matcher, index, laters, batch: Batch::default(), list: Vec::new(), untold: false }
    }

    /// Takes the fragments of a conversation, if it depends on their first ones whether they match. `false`: the conversation is
    /// to be decided as it is.
    fn take(&mut self, cursor: &mut ConversationCursor<'_>, number: ConvNo, ends: &Ends) -> Result<bool, IndexError> {
        let Matcher { expr, answer, datagrams, .. } = self.matcher;
        let mut depends = false;
        for direction in Direction::BOTH {
            let (from, to) = ends.from_to(direction);
            let (surely, maybe) = expr.times_of_fragment(&fields(&ends.class, from, to));
            depends |= surely != maybe || *answer == Of::Flows && !maybe.is_empty();
        }
        if !depends {
            return Ok(false);
        }
        if !self.index.tells_fragments()? {
            if !self.untold {
                datagrams.note_untold();
                self.untold = true;
            }
            return Ok(false);
        }
        for direction in Direction::BOTH {
            self.list.clear();
            self.laters.of(cursor, number, direction, &mut self.list)?;
            self.batch.add(number, ends, direction, &self.list);
        }
        Ok(true)
    }

    /// Decides those that were taken, if they are enough, or the last.
    fn decide(
        &mut self,
        cursor: &mut ConversationCursor<'_>,
        interrupted: &dyn Fn() -> Option<Truncation>,
        visit: &mut dyn FnMut(&mut ConversationCursor<'_>, &Matched<'_>) -> Result<(), IndexError>,
        last: bool,
    ) -> Result<(), Stop> {
        if !last && !self.batch.is_full() {
            return Ok(());
        }
        let Matcher { expr, datagrams, .. } = self.matcher;
        datagrams.find(&mut self.batch, interrupted)?;
        for fragment in self.batch.drain() {
            let time = fragment.later.time;
            let matches = expr.matches(&fragment.fields(), time);
            if matches || self.matcher.directional && expr.matches(&fragment.fields_back(), time) {
                visit(cursor, &Matched::Fragment { fragment: &fragment, matches })?;
            }
        }
        self.batch.clear();
        Ok(())
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
