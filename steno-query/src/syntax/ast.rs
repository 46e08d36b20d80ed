//! What a query means: the tree that the parser builds, that is displayed, planned and evaluated.
//!
//! It owns the shape and the range types. How it is written is `display.rs`, what it is true of is `predicate/`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use steno_core::{TimestampNs, packet::ip_protocol};

/// A parsed query: a predicate on a packet. Its `Display` parses back to an equal query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// The predicate.
    pub expr: Expr,
}

/// A predicate on a packet.
///
/// The parser nests at most [`MAX_NESTING`](super::MAX_NESTING) levels to the right; to the left a chain of operators
/// nests as deep as there are primitives, at most [`MAX_PRIMITIVES`](super::MAX_PRIMITIVES). Whoever builds a tree by
/// hand keeps to the same: clone, comparison and drop follow the tree by recursion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expr {
    /// Both hold.
    And(Box<Expr>, Box<Expr>),
    /// At least one holds.
    Or(Box<Expr>, Box<Expr>),
    /// It does not hold.
    Not(Box<Expr>),
    /// A primitive holds.
    Is(Primitive),
}

impl Expr {
    /// `self and other`.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self::And(Box::new(self), Box::new(other))
    }

    /// `self or other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self::Or(Box::new(self), Box::new(other))
    }

    /// `not self`.
    #[must_use]
    pub fn negate(self) -> Self {
        Self::Not(Box::new(self))
    }
}

impl From<Primitive> for Expr {
    fn from(primitive: Primitive) -> Self {
        Self::Is(primitive)
    }
}

/// One test on a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Primitive {
    /// An IP address of the packet lies in one of the ranges.
    Address {
        /// Which end's address.
        side: Side,
        /// Sorted, disjoint, not empty.
        ranges: Vec<AddrRange>,
    },
    /// A port of the packet lies in one of the ranges.
    Port {
        /// Which end's port.
        side: Side,
        /// The protocol the port belongs to; `None` is TCP or UDP (`docs/decisions/0002`).
        transport: Option<Transport>,
        /// Sorted, disjoint, not empty.
        ranges: Vec<PortRange>,
    },
    /// The IP protocol, behind IPv4 or IPv6.
    Protocol(u8),
    /// A VLAN tag anywhere in the stack, with this id or with any. Ids are below 4096: one above is true of no packet.
    Vlan(Option<u16>),
    /// An MPLS label anywhere in the stack, this one or any.
    Mpls(Option<u32>),
    /// The network protocol.
    Network(NetworkKind),
    /// The time of arrival.
    Time(TimeSpan),
}

impl Primitive {
    /// An IP address of the packet lies in one of `ranges`, which are not empty, and in whatever order.
    pub fn addresses(side: Side, mut ranges: Vec<AddrRange>) -> Self {
        normalise(&mut ranges, join_addresses);
        Self::Address { side, ranges }
    }
}

/// The end of a packet that a primitive looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// One of the two, or both.
    #[default]
    Either,
    /// The sender.
    Source,
    /// The receiver.
    Destination,
}

/// A protocol with ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Transport {
    /// Its IP protocol number.
    pub const fn protocol(self) -> u8 {
        match self {
            Self::Tcp => ip_protocol::TCP,
            Self::Udp => ip_protocol::UDP,
            Self::Sctp => ip_protocol::SCTP,
        }
    }

    /// Whether a packet of IP protocol `protocol` has ports that a primitive with `wanted` looks at.
    pub fn accepts(wanted: Option<Self>, protocol: u8) -> bool {
        match wanted {
            Some(transport) => transport.protocol() == protocol,
            None => protocol == ip_protocol::TCP || protocol == ip_protocol::UDP,
        }
    }
}

/// A network protocol that a query can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NetworkKind {
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
    /// ARP.
    Arp,
}

/// Addresses from `low` to `high`, both included, in numeric order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AddrRange {
    /// IPv4.
    V4 {
        /// First address.
        low: Ipv4Addr,
        /// Last address.
        high: Ipv4Addr,
    },
    /// IPv6.
    V6 {
        /// First address.
        low: Ipv6Addr,
        /// Last address.
        high: Ipv6Addr,
    },
}

impl AddrRange {
    /// One address.
    pub const fn single(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(a) => Self::V4 { low: a, high: a },
            IpAddr::V6(a) => Self::V6 { low: a, high: a },
        }
    }

    /// From `a` to `b`; `None` where they are of two families or `a` is above `b`.
    pub fn between(a: IpAddr, b: IpAddr) -> Option<Self> {
        match (a, b) {
            (IpAddr::V4(low), IpAddr::V4(high)) if low <= high => Some(Self::V4 { low, high }),
            (IpAddr::V6(low), IpAddr::V6(high)) if low <= high => Some(Self::V6 { low, high }),
            _ => None,
        }
    }

    /// From `a & mask` to `a | !mask`, as stenographer 1.0.1 reads `net A mask M`: a mask with holes gives the whole
    /// range, not only the addresses that agree on the mask's bits. `None` where they are of two families.
    pub fn masked(a: IpAddr, mask: IpAddr) -> Option<Self> {
        match (a, mask) {
            (IpAddr::V4(a), IpAddr::V4(m)) => Some(Self::V4 { low: a & m, high: a | !m }),
            (IpAddr::V6(a), IpAddr::V6(m)) => Some(Self::V6 { low: a & m, high: a | !m }),
            _ => None,
        }
    }

    /// The network of `a` with the first `prefix_bits` bits set; bits of `a` past them are masked off. `None` where the
    /// prefix is longer than the address.
    pub fn prefix(a: IpAddr, prefix_bits: u8) -> Option<Self> {
        let host_bits = family_bits(a).checked_sub(prefix_bits)?;
        let mask = match a {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from(u32::MAX.checked_shl(host_bits.into()).unwrap_or(0))),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from(u128::MAX.checked_shl(host_bits.into()).unwrap_or(0))),
        };
        Self::masked(a, mask)
    }

    /// The first address.
    pub const fn low(&self) -> IpAddr {
        match *self {
            Self::V4 { low, .. } => IpAddr::V4(low),
            Self::V6 { low, .. } => IpAddr::V6(low),
        }
    }

    /// The last address.
    pub const fn high(&self) -> IpAddr {
        match *self {
            Self::V4 { high, .. } => IpAddr::V4(high),
            Self::V6 { high, .. } => IpAddr::V6(high),
        }
    }

    /// Whether `address` is of this family and within.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.low() <= address && address <= self.high()
    }

    /// The length of the prefix that these are all the addresses of, if there is one.
    pub fn prefix_bits(&self) -> Option<u8> {
        let bits = family_bits(self.low());
        (0..=bits).find(|&length| Self::prefix(self.low(), length).as_ref() == Some(self))
    }
}

/// Bits of an address of the family of `a`.
const fn family_bits(a: IpAddr) -> u8 {
    match a {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// Ports from `low` to `high`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    /// First port.
    pub low: u16,
    /// Last port.
    pub high: u16,
}

impl PortRange {
    /// One port.
    pub const fn single(port: u16) -> Self {
        Self { low: port, high: port }
    }

    /// The ports between two, whichever is the lower.
    pub fn between(a: u16, b: u16) -> Self {
        Self { low: a.min(b), high: a.max(b) }
    }

    /// Whether `port` is within.
    pub const fn contains(&self, port: u16) -> bool {
        self.low <= port && port <= self.high
    }
}

/// Moments from `from`, included, up to `until`, not included. A missing end is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TimeSpan {
    /// The first moment; `None` for the beginning of time. Never `Some(TimestampNs::MIN)` out of the parser.
    pub from: Option<TimestampNs>,
    /// The first moment past the end; `None` for no end. `Some(TimestampNs::MIN)` makes the span empty.
    pub until: Option<TimestampNs>,
}

impl TimeSpan {
    /// Every moment.
    pub const ALL: Self = Self { from: None, until: None };
    /// No moment.
    pub const NONE: Self = Self { from: None, until: Some(TimestampNs::MIN) };

    /// From `from`, included, to `until`, not included, in the one form that the parser makes: a start at the epoch is
    /// no bound, a span that ends before it starts is [`TimeSpan::NONE`].
    pub fn new(from: Option<TimestampNs>, until: Option<TimestampNs>) -> Self {
        match (from.filter(|&f| f > TimestampNs::MIN), until) {
            (Some(f), Some(u)) if f > u => Self::NONE,
            (from, until) => Self { from, until },
        }
    }

    /// Whether `time` is within.
    pub fn contains(&self, time: TimestampNs) -> bool {
        self.from.is_none_or(|from| from <= time) && self.until.is_none_or(|until| time < until)
    }
}

/// Sorts ranges and joins those that overlap, so that at most one holds a given value and it can be found by bisection.
/// Ranges that merely touch stay apart, so that a list is displayed much as it was written.
pub(super) fn normalise<R: Copy + Ord>(ranges: &mut Vec<R>, join: impl Fn(&R, &R) -> Option<R>) {
    ranges.sort_unstable();
    ranges.dedup_by(|next, kept| match join(kept, next) {
        Some(joined) => {
            *kept = joined;
            true
        }
        None => false,
    });
}

/// Both address ranges in one, where they overlap. `a` must not start after `b`.
pub(super) fn join_addresses(a: &AddrRange, b: &AddrRange) -> Option<AddrRange> {
    match (*a, *b) {
        (AddrRange::V4 { low, high }, AddrRange::V4 { low: low_b, high: high_b }) if low_b <= high => {
            Some(AddrRange::V4 { low, high: high.max(high_b) })
        }
        (AddrRange::V6 { low, high }, AddrRange::V6 { low: low_b, high: high_b }) if low_b <= high => {
            Some(AddrRange::V6 { low, high: high.max(high_b) })
        }
        _ => None,
    }
}

/// Both port ranges in one, where they overlap. `a` must not start after `b`.
pub(super) fn join_ports(a: &PortRange, b: &PortRange) -> Option<PortRange> {
    (b.low <= a.high).then(|| PortRange { low: a.low, high: a.high.max(b.high) })
}
