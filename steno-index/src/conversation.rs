//! What an index says about a conversation: its class, its two ends, and what went each way.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use steno_core::{
    TimestampNs,
    packet::{Tag, ip_protocol},
};

/// The number of a conversation in its index, from 0, in the order of first packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConvNo(pub u32);

/// The number of a class in its index, from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClassNo(pub u32);

/// Which way a packet of a conversation went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// From end a, which sent the first packet, to end b.
    Forward,
    /// From end b to end a.
    Reverse,
}

impl Direction {
    /// Both, in the order of [`Conversation::sides`].
    pub const BOTH: [Self; 2] = [Self::Forward, Self::Reverse];
}

/// The network layer of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NetworkKind {
    /// Not IP, or an IP header that was cut.
    None {
        /// The last type field that was read, if any was.
        ether_type: Option<u16>,
    },
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// What a conversation has besides its two ends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Class {
    /// The network layer.
    pub network: NetworkKind,
    /// The IP protocol; `None` without IP, or where the header that names it was cut.
    pub protocol: Option<u8>,
    /// Whether the packets have ports (TCP, UDP or SCTP with a whole header).
    pub has_ports: bool,
    /// Whether these are fragments after the first, which have no ports of their own. Whole packets and first fragments
    /// share a class.
    pub later_fragments: bool,
    /// VLAN tags and MPLS labels, outermost first.
    pub tags: Vec<Tag>,
}

/// One end of a conversation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// The address; `None` without IP.
    pub addr: Option<IpAddr>,
    /// The port; `None` where the class has none.
    pub port: Option<u16>,
}

/// The class and the ends of a conversation: all that decides whether it matches a predicate on headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ends {
    /// What it has besides its ends.
    pub class: Arc<Class>,
    /// The end that sent the first packet.
    pub a: Endpoint,
    /// The other end.
    pub b: Endpoint,
}

impl Ends {
    /// Who sends and who receives in a direction.
    pub fn from_to(&self, direction: Direction) -> (Endpoint, Endpoint) {
        match direction {
            Direction::Forward => (self.a, self.b),
            Direction::Reverse => (self.b, self.a),
        }
    }
}

/// What went one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Side {
    /// Packets.
    pub packets: u32,
    /// Bytes on the wire, link-layer headers and tags included.
    pub bytes: u64,
    /// The earliest time of a packet; [`TimestampNs::MIN`] without packets.
    pub first: TimestampNs,
    /// The latest time of a packet; [`TimestampNs::MIN`] without packets.
    pub last: TimestampNs,
}

/// A conversation: packets of one class between the same two ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversation {
    /// What it has besides its ends.
    pub class: Arc<Class>,
    /// The end that sent the first packet.
    pub a: Endpoint,
    /// The other end.
    pub b: Endpoint,
    /// From a to b, and from b to a.
    pub sides: [Side; 2],
}

impl Conversation {
    /// What went one way.
    pub fn side(&self, direction: Direction) -> &Side {
        let [forward, reverse] = &self.sides;
        match direction {
            Direction::Forward => forward,
            Direction::Reverse => reverse,
        }
    }

    /// Packets both ways.
    pub fn packets(&self) -> u64 {
        self.sides.iter().map(|side| u64::from(side.packets)).sum()
    }

    /// Bytes on the wire, both ways.
    pub fn bytes(&self) -> u64 {
        self.sides.iter().fold(0, |sum, side| sum.saturating_add(side.bytes))
    }

    /// The earliest and the latest time of a packet, either way.
    pub fn time_range(&self) -> (TimestampNs, TimestampNs) {
        let [forward, reverse] = &self.sides;
        if reverse.packets == 0 {
            return (forward.first, forward.last);
        }
        (forward.first.min(reverse.first), forward.last.max(reverse.last))
    }
}

/// `10.0.0.1:40000`, `[2001:db8::1]:53`, `10.0.0.1`, or `-` without an address.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.addr, self.port) {
            (Some(addr), Some(port)) => SocketAddr::new(addr, port).fmt(f),
            (Some(addr), None) => addr.fmt(f),
            (None, _) => f.write_str("-"),
        }
    }
}

/// The layers from the outside in, as `vlan 5 ip tcp`.
impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for tag in &self.tags {
            match tag {
                Tag::Vlan(id) => write!(f, "vlan {id} ")?,
                Tag::Mpls(label) => write!(f, "mpls {label} ")?,
            }
        }
        match self.network {
            NetworkKind::None { ether_type: None } => f.write_str("cut")?,
            NetworkKind::None { ether_type: Some(ether_type) } => write!(f, "type {ether_type:#06x}")?,
            NetworkKind::V4 => f.write_str("ip")?,
            NetworkKind::V6 => f.write_str("ip6")?,
        }
        match (self.protocol, self.protocol.and_then(ip_protocol::name)) {
            (_, Some(name)) => write!(f, " {name}")?,
            (Some(number), None) => write!(f, " proto {number}")?,
            (None, None) => {}
        }
        f.write_str(if self.later_fragments { " fragments" } else { "" })
    }
}

/// One line: class, ends, packets and bytes each way.
impl fmt::Display for Conversation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [forward, reverse] = &self.sides;
        write!(f, "{} {} > {}", self.class, self.a, self.b)?;
        write!(f, " {} packets {} bytes", forward.packets, forward.bytes)?;
        write!(f, ", back {} packets {} bytes", reverse.packets, reverse.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_prints_its_layers_and_ends() {
        let class = Class {
            network: NetworkKind::V4,
            protocol: Some(6),
            has_ports: true,
            later_fragments: false,
            tags: vec![Tag::Vlan(5), Tag::Mpls(70)],
        };
        let end = |host, port| Endpoint { addr: Some(IpAddr::from([10, 0, 0, host])), port: Some(port) };
        let side = Side { packets: 3, bytes: 180, ..Side::default() };
        let c =
            Conversation { class: Arc::new(class), a: end(1, 40_000), b: end(2, 80), sides: [side, Side::default()] };
        assert_eq!(
            c.to_string(),
            "vlan 5 mpls 70 ip tcp 10.0.0.1:40000 > 10.0.0.2:80 3 packets 180 bytes, back 0 packets 0 bytes"
        );
    }
}
