//! The fields that primitives look at, and the decision of one primitive.

use std::net::IpAddr;

use steno_core::packet::{Decoded, Network, Tag, ether_type};

use crate::syntax::{AddrRange, NetworkKind, PortRange, Primitive, Side, Transport};

/// What is known of a packet but for its time: of one decoded packet, or of all the packets that one side of a
/// conversation sent. Source and destination are as on the wire.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    /// The network layer.
    pub network: Network,
    /// The IP protocol.
    pub protocol: Option<u8>,
    /// Source and destination port.
    pub ports: Option<(u16, u16)>,
    /// VLAN tags and MPLS labels, in any order.
    pub tags: &'a [Tag],
}

impl<'a> Fields<'a> {
    /// Of a packet that [`decode`](steno_core::packet::decode) has read.
    pub const fn of(decoded: &Decoded, tags: &'a [Tag]) -> Self {
        Self { network: decoded.network, protocol: decoded.protocol, ports: decoded.ports, tags }
    }

    /// Whether a primitive holds; `None` for one that looks at the time. What a packet does not have matches nothing.
    pub fn test(&self, primitive: &Primitive) -> Option<bool> {
        Some(match primitive {
            Primitive::Address { side, ranges } => self.has_address(*side, ranges),
            Primitive::Port { side, transport, ranges } => self.has_port(*side, *transport, ranges),
            Primitive::Protocol(number) => self.protocol == Some(*number),
            Primitive::Vlan(wanted) => self.tags.iter().any(|tag| match *tag {
                Tag::Vlan(id) => wanted.is_none_or(|wanted| wanted == id),
                Tag::Mpls(_) => false,
            }),
            Primitive::Mpls(wanted) => self.tags.iter().any(|tag| match *tag {
                Tag::Mpls(label) => wanted.is_none_or(|wanted| wanted == label),
                Tag::Vlan(_) => false,
            }),
            Primitive::Network(kind) => self.network_kind() == Some(*kind),
            Primitive::Time(_) => return None,
        })
    }

    /// Whether a primitive looks at what only the first fragment of a datagram tells, where these are the fields of a later one:
    /// the ports that its protocol has, and over IPv6 the protocol.
    pub(crate) fn is_of_first_fragment(&self, primitive: &Primitive) -> bool {
        let over_ipv6 = matches!(self.network, Network::V6 { .. });
        match primitive {
            Primitive::Port { transport, .. } => {
                over_ipv6 || self.protocol.is_some_and(|protocol| Transport::accepts(*transport, protocol))
            }
            Primitive::Protocol(_) => over_ipv6,
            _ => false,
        }
    }

    /// The network protocol by its decoded header, or, where that is cut, by the type field before it.
    fn network_kind(&self) -> Option<NetworkKind> {
        match self.network {
            Network::V4 { .. } | Network::None { ether_type: Some(ether_type::IPV4) } => Some(NetworkKind::Ip),
            Network::V6 { .. } | Network::None { ether_type: Some(ether_type::IPV6) } => Some(NetworkKind::Ip6),
            Network::None { ether_type: Some(ether_type::ARP) } => Some(NetworkKind::Arp),
            Network::None { .. } => None,
        }
    }

    fn has_address(&self, side: Side, ranges: &[AddrRange]) -> bool {
        let (src, dst): (IpAddr, IpAddr) = match self.network {
            Network::V4 { src, dst } => (src.into(), dst.into()),
            Network::V6 { src, dst } => (src.into(), dst.into()),
            Network::None { .. } => return false,
        };
        on_side(side, || addresses_hold(ranges, src), || addresses_hold(ranges, dst))
    }

    fn has_port(&self, side: Side, transport: Option<Transport>, ranges: &[PortRange]) -> bool {
        let (Some((src, dst)), Some(protocol)) = (self.ports, self.protocol) else { return false };
        Transport::accepts(transport, protocol) && on_side(side, || ports_hold(ranges, src), || ports_hold(ranges, dst))
    }
}

fn on_side(side: Side, source: impl FnOnce() -> bool, destination: impl FnOnce() -> bool) -> bool {
    match side {
        Side::Either => source() || destination(),
        Side::Source => source(),
        Side::Destination => destination(),
    }
}

/// By bisection: the ranges are sorted and disjoint, so only the last one that starts at or below can hold it.
fn addresses_hold(ranges: &[AddrRange], address: IpAddr) -> bool {
    let after = ranges.partition_point(|range| range.low() <= address);
    after.checked_sub(1).and_then(|i| ranges.get(i)).is_some_and(|range| range.contains(address))
}

fn ports_hold(ranges: &[PortRange], port: u16) -> bool {
    let after = ranges.partition_point(|range| range.low <= port);
    after.checked_sub(1).and_then(|i| ranges.get(i)).is_some_and(|range| range.contains(port))
}
