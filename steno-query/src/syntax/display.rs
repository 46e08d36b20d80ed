//! How a query is written, so that it parses back to an equal one.

use std::{fmt, net::IpAddr};

use steno_core::packet::ip_protocol;

use super::{
    ast::{AddrRange, Expr, NetworkKind, PortRange, Primitive, Query, Side, TimeSpan, Transport},
    time::rfc3339,
};

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.expr.fmt(f)
    }
}

/// With the fewest parentheses: operators have equal precedence and group to the left, so only a right operand and what
/// is negated need them.
impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        enum Piece<'a> {
            Text(&'static str),
            Node(&'a Expr),
            /// In parentheses if it is an operator.
            Operand(&'a Expr),
        }
        // A stack of what is still to be written: a chain of operators is too deep for recursion to be safe everywhere.
        let mut pending = vec![Piece::Node(self)];
        while let Some(piece) = pending.pop() {
            match piece {
                Piece::Text(text) => f.write_str(text)?,
                Piece::Node(Self::And(left, right)) => {
                    pending.extend([Piece::Operand(right), Piece::Text(" and "), Piece::Node(left)]);
                }
                Piece::Node(Self::Or(left, right)) => {
                    pending.extend([Piece::Operand(right), Piece::Text(" or "), Piece::Node(left)]);
                }
                Piece::Node(Self::Not(inner)) => pending.extend([Piece::Operand(inner), Piece::Text("not ")]),
                Piece::Node(Self::Is(primitive)) => primitive.fmt(f)?,
                Piece::Operand(expr @ (Self::And(..) | Self::Or(..))) => {
                    pending.extend([Piece::Text(")"), Piece::Node(expr), Piece::Text("(")]);
                }
                Piece::Operand(expr) => pending.push(Piece::Node(expr)),
            }
        }
        Ok(())
    }
}

impl fmt::Display for Primitive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { side, ranges } => write_addresses(f, *side, ranges),
            Self::Port { side, transport, ranges } => write_ports(f, *side, *transport, ranges),
            Self::Protocol(ip_protocol::TCP) => f.write_str("tcp"),
            Self::Protocol(ip_protocol::UDP) => f.write_str("udp"),
            Self::Protocol(ip_protocol::ICMP) => f.write_str("icmp"),
            Self::Protocol(ip_protocol::SCTP) => f.write_str("sctp"),
            Self::Protocol(number) => write!(f, "ip proto {number}"),
            Self::Vlan(None) => f.write_str("vlan"),
            Self::Vlan(Some(id)) => write!(f, "vlan {id}"),
            Self::Mpls(None) => f.write_str("mpls"),
            Self::Mpls(Some(label)) => write!(f, "mpls {label}"),
            Self::Network(kind) => kind.fmt(f),
            Self::Time(span) => span.fmt(f),
        }
    }
}

impl fmt::Display for NetworkKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
            Self::Arp => "arp",
        })
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

/// As a query that is true of these times: `after T`, `before T` or `between T and T`.
impl fmt::Display for TimeSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.from, self.until) {
            (Some(from), Some(until)) => write!(f, "between {} and {}", rfc3339(from), rfc3339(until)),
            (None, Some(until)) => write!(f, "before {}", rfc3339(until)),
            (from, None) => write!(f, "after {}", rfc3339(from.unwrap_or_default())),
        }
    }
}

/// As an item of a list: an address, a network, or two addresses with a dash.
impl fmt::Display for AddrRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.prefix_bits() {
            _ if has_mapped_end(self) => write!(f, "{}-{}", self.low(), self.high()),
            Some(_) if self.low() == self.high() => self.low().fmt(f),
            Some(bits) => write!(f, "{}/{bits}", self.low()),
            None => write!(f, "{}-{}", self.low(), self.high()),
        }
    }
}

/// As an item of a list: a port, or two with a dash.
impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.low == self.high { self.low.fmt(f) } else { write!(f, "{}-{}", self.low, self.high) }
    }
}

/// The prefix that names a side.
fn side_prefix(side: Side) -> &'static str {
    match side {
        Side::Either => "",
        Side::Source => "src ",
        Side::Destination => "dst ",
    }
}

fn write_addresses(f: &mut fmt::Formatter<'_>, side: Side, ranges: &[AddrRange]) -> fmt::Result {
    f.write_str(side_prefix(side))?;
    if let [range] = ranges
        && !has_mapped_end(range)
    {
        if range.low() == range.high() {
            return write!(f, "host {}", range.low());
        }
        if range.prefix_bits().is_some() {
            return write!(f, "net {range}");
        }
    }
    write_list(f, "host", ranges)
}

fn write_ports(
    f: &mut fmt::Formatter<'_>,
    side: Side,
    transport: Option<Transport>,
    ranges: &[PortRange],
) -> fmt::Result {
    if let Some(transport) = transport {
        write!(f, "{transport} ")?;
    }
    f.write_str(side_prefix(side))?;
    match ranges {
        [range] if range.low == range.high => write!(f, "port {range}"),
        [range] => write!(f, "portrange {range}"),
        _ => write_list(f, "port", ranges),
    }
}

fn write_list(f: &mut fmt::Formatter<'_>, kind: &str, items: &[impl fmt::Display]) -> fmt::Result {
    write!(f, "{kind} in {{")?;
    for (i, item) in items.iter().enumerate() {
        write!(f, "{}{item}", if i == 0 { "" } else { ", " })?;
    }
    f.write_str("}")
}

/// Whether an end of an IPv6 range is an IPv4-mapped address. Alone such an address is read as IPv4, as 1.0.1 does; in
/// a range it stays as it is written.
fn has_mapped_end(range: &AddrRange) -> bool {
    is_mapped(range.low()) || is_mapped(range.high())
}

fn is_mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(a) if a.to_ipv4_mapped().is_some())
}
