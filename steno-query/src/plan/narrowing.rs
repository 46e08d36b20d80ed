//! Which packets an index of version 2 leads to: at least those that a query matches.
//!
//! Such an index knows packets by single attributes, and neither times nor directions nor which attributes belong together.
//! So what it leads to is a superset, which is decided packet by packet once the packets are read.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::{ControlFlow, RangeInclusive},
};

use steno_core::packet::{Network, Tag, ip_protocol};
use steno_index::{Attribute, IndexError, Version2Index};

use super::lookup::{Lookup, intersect};
use crate::{AddrRange, Fields, Primitive, Transport};

/// Positions of a look-up that are kept: 16 MiB. What leads to more is decided by reading all packets.
const MOST: usize = 4 << 20;
/// Packets up to which reading them costs no more than looking up a protocol, which many packets have.
const FEW: usize = 4096;

/// Look-ups in an index of version 2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Narrowing {
    /// Every packet.
    All,
    /// In all of these, none of them [`Narrowing::All`].
    And(Vec<Self>),
    /// In any of these, none of them [`Narrowing::All`].
    Or(Vec<Self>),
    /// With an attribute in one of the ranges.
    Keys(Vec<RangeInclusive<Attribute>>),
}

impl Narrowing {
    /// What `lookup` comes to. `has_outer_tags`: whether the index tells of the tag that the kernel takes out of a frame.
    pub(crate) fn of(lookup: &Lookup, has_outer_tags: bool) -> Self {
        let each = |parts: &[Lookup]| parts.iter().map(|part| Self::of(part, has_outer_tags)).collect::<Vec<_>>();
        match lookup {
            Lookup::All => Self::All,
            Lookup::And(parts) => {
                let mut parts = each(parts);
                parts.retain(|part| *part != Self::All);
                if parts.is_empty() { Self::All } else { Self::And(parts) }
            }
            Lookup::Or(parts) => {
                let parts = each(parts);
                if parts.contains(&Self::All) { Self::All } else { Self::Or(parts) }
            }
            Lookup::Addresses(ranges) => Self::Keys(ranges.iter().flat_map(addresses).collect()),
            // Ports of SCTP are not in there.
            Lookup::Ports { transport: Some(Transport::Sctp), .. } => only(Attribute::Protocol(ip_protocol::SCTP)),
            Lookup::Ports { ranges, .. } => {
                Self::Keys(ranges.iter().map(|r| Attribute::Port(r.low)..=Attribute::Port(r.high)).collect())
            }
            Lookup::Class(Primitive::Protocol(number)) => only(Attribute::Protocol(*number)),
            Lookup::Class(Primitive::Vlan(Some(id))) if has_outer_tags => only(Attribute::Vlan(*id)),
            Lookup::Class(Primitive::Vlan(None)) if has_outer_tags => {
                Self::Keys(vec![Attribute::Vlan(0)..=Attribute::Vlan(u16::MAX)])
            }
            Lookup::Class(Primitive::Mpls(Some(label))) => only(Attribute::Mpls(*label)),
            Lookup::Class(Primitive::Mpls(None)) => Self::Keys(vec![Attribute::Mpls(0)..=Attribute::Mpls(u32::MAX)]),
            Lookup::Class(_) => Self::All,
        }
    }

    /// Where the headers of the packets lie that `index` leads to, ascending, and the look-ups that lead to exactly those: all
    /// of them, or those that were worth their cost. `None` for all packets, and where there are too many.
    ///
    /// # Errors
    /// Those of the index.
    pub(crate) fn run(self, index: &Version2Index) -> Result<(Option<Vec<u32>>, Self), IndexError> {
        match self {
            Self::All => Ok((None, Self::All)),
            Self::Keys(ranges) => Ok(match keys(&ranges, index)? {
                Some(found) => (Some(found), Self::Keys(ranges)),
                None => (None, Self::All),
            }),
            Self::Or(parts) => {
                let (mut found, mut ran) = (Vec::new(), Vec::new());
                for part in parts {
                    let (Some(more), part) = part.run(index)? else { return Ok((None, Self::All)) };
                    found.extend(more);
                    ran.push(part);
                    if found.len() > MOST {
                        return Ok((None, Self::All));
                    }
                }
                Ok((Some(ascending(found)), Self::Or(ran)))
            }
            Self::And(mut parts) => {
                let (mut found, mut ran): (Option<Vec<u32>>, _) = (None, Vec::new());
                parts.sort_by_key(Self::is_common);
                for part in parts {
                    if part.is_common() && found.as_ref().is_some_and(|found| found.len() <= FEW) {
                        continue;
                    }
                    let (Some(more), part) = part.run(index)? else { continue };
                    ran.push(part);
                    found = Some(match found {
                        Some(found) => intersect(&found, &more),
                        None => more,
                    });
                }
                Ok((found, if ran.is_empty() { Self::All } else { Self::And(ran) }))
            }
        }
    }

    /// Whether a packet with these fields is one that the look-ups lead to.
    pub(crate) fn holds(&self, fields: &Fields<'_>) -> bool {
        match self {
            Self::All => true,
            Self::And(parts) => parts.iter().all(|part| part.holds(fields)),
            Self::Or(parts) => parts.iter().any(|part| part.holds(fields)),
            Self::Keys(ranges) => {
                attributes(fields).any(|attribute| ranges.iter().any(|range| range.contains(&attribute)))
            }
        }
    }

    /// Whether it leads to a large part of all packets, as a rule.
    fn is_common(&self) -> bool {
        match self {
            Self::All => true,
            Self::Keys(ranges) => ranges
                .iter()
                .any(|range| matches!(range.start(), Attribute::Protocol(ip_protocol::TCP | ip_protocol::UDP))),
            Self::And(parts) => parts.iter().all(Self::is_common),
            Self::Or(parts) => parts.iter().any(Self::is_common),
        }
    }
}

fn only(attribute: Attribute) -> Narrowing {
    Narrowing::Keys(vec![attribute..=attribute])
}

/// The keys of an address range, which may begin in one family and end in the other.
fn addresses(range: &AddrRange) -> Vec<RangeInclusive<Attribute>> {
    let (last_v4, first_v6) = (Ipv4Addr::BROADCAST, Ipv6Addr::UNSPECIFIED);
    match (range.low(), range.high()) {
        (IpAddr::V4(low), IpAddr::V4(high)) => vec![Attribute::V4(low)..=Attribute::V4(high)],
        (IpAddr::V6(low), IpAddr::V6(high)) => vec![Attribute::V6(low)..=Attribute::V6(high)],
        (IpAddr::V4(low), IpAddr::V6(high)) => {
            vec![Attribute::V4(low)..=Attribute::V4(last_v4), Attribute::V6(first_v6)..=Attribute::V6(high)]
        }
        (IpAddr::V6(_), IpAddr::V4(_)) => Vec::new(),
    }
}

/// What an index of version 2 has of a packet with these fields.
fn attributes<'a>(fields: &Fields<'a>) -> impl Iterator<Item = Attribute> + use<'a> {
    let addresses = match fields.network {
        Network::None { .. } => [None, None],
        Network::V4 { src, dst } => [Some(Attribute::V4(src)), Some(Attribute::V4(dst))],
        Network::V6 { src, dst } => [Some(Attribute::V6(src)), Some(Attribute::V6(dst))],
    };
    let has_ports = fields.protocol.is_some_and(|protocol| Transport::accepts(None, protocol));
    let ports = fields.ports.filter(|_| has_ports);
    let ports = [ports.map(|(src, _)| Attribute::Port(src)), ports.map(|(_, dst)| Attribute::Port(dst))];
    let tags = fields.tags.iter().map(|tag| match *tag {
        Tag::Vlan(id) => Attribute::Vlan(id),
        Tag::Mpls(label) => Attribute::Mpls(label),
    });
    let rest = addresses.into_iter().chain(ports).flatten();
    fields.protocol.map(Attribute::Protocol).into_iter().chain(rest).chain(tags)
}

/// The positions behind all keys in `ranges`; `None` where there are too many.
fn keys(ranges: &[RangeInclusive<Attribute>], index: &Version2Index) -> Result<Option<Vec<u32>>, IndexError> {
    let (mut found, mut keys, mut too_many) = (Vec::new(), 0u32, false);
    for range in ranges {
        index.each(range.clone(), &mut |_, positions| {
            keys = keys.saturating_add(1);
            too_many = found.len() + positions.len() > MOST;
            if too_many {
                return ControlFlow::Break(());
            }
            found.extend(positions.iter().map(|position| position.0));
            ControlFlow::Continue(())
        })?;
        if too_many {
            return Ok(None);
        }
    }
    Ok(Some(if keys > 1 { ascending(found) } else { found }))
}

fn ascending(mut positions: Vec<u32>) -> Vec<u32> {
    positions.sort_unstable();
    positions.dedup();
    positions
}

#[cfg(test)]
mod tests {
    use steno_core::{
        Position, TimestampNs,
        packet::{Frame, decode},
        testkit::FrameBuilder,
    };
    use steno_index::{BlockNote, Facts, Log, seal_version2};

    use super::*;
    use crate::parse;

    /// 10,000 packets of UDP port 53 from hosts 10.0.x.y, 64 bytes apart; every hundredth is TCP port 80 instead.
    fn index() -> Version2Index {
        let (mut log, mut tags) = (Log::new(), Vec::new());
        for i in 0u32..10_000 {
            let [_, _, high, low] = i.to_be_bytes();
            let frame = FrameBuilder::ethernet().ipv4([10, 0, high, low], [10, 9, 9, 9]);
            let frame = if i % 100 == 0 { frame.tcp(80, 80) } else { frame.udp(53, 53) }.build();
            let decoded = decode(&Frame::new(&frame), &mut tags);
            log.note(Position(48 + 64 * i), TimestampNs::from_parts(100, i), 60, &decoded, &tags);
        }
        let note = BlockNote { offset_bytes: 0, used_bytes: 1 << 20, crc32c: None, seq_num: 1 };
        log.end_block(note);
        let mut file = Vec::new();
        let _summary = seal_version2(&log, &Facts::default(), &mut file).unwrap();
        Version2Index::from_bytes(file).unwrap()
    }

    fn found(index: &Version2Index, query: &str, has_outer_tags: bool) -> (Option<usize>, Narrowing) {
        let lookup = Lookup::of(&parse(query, TimestampNs::MAX).unwrap().expr);
        let (positions, ran) = Narrowing::of(&lookup, has_outer_tags).run(index).unwrap();
        assert!(positions.iter().flatten().is_sorted_by(|a, b| a < b));
        (positions.map(|positions| positions.len()), ran)
    }

    #[test]
    fn look_ups_lead_to_the_packets_with_the_attributes() {
        let index = index();
        for (query, expected) in [
            ("port 53", Some(9_900)),
            ("tcp", Some(100)),
            ("port 80 or host 10.0.0.1", Some(101)),
            ("src net 10.0.1.0/24 and udp port 53", Some(253)),
            ("host 10.0.0.0 and not tcp", Some(1)),
            ("sctp port 53", Some(0)),
            ("host 1.1.1.1 and tcp", Some(0)),
            ("mpls", Some(0)),
            ("ip", None),
            ("not host 10.0.0.1", None),
            ("port 80 or arp", None),
            ("last 5m", None),
            ("vlan 5", Some(0)),
            ("vlan", Some(0)),
        ] {
            assert_eq!(found(&index, query, true).0, expected, "{query}");
        }
        // Where outer tags are not among the keys, any packet may have one.
        for query in ["vlan 5", "vlan", "vlan 5 or tcp"] {
            assert_eq!(found(&index, query, false).0, None, "{query}");
        }
        assert_eq!(found(&index, "vlan 5 and tcp", false).0, Some(100));
    }

    #[test]
    fn few_packets_are_read_rather_than_narrowed_down_by_what_is_common() {
        let index = index();
        let (positions, ran) = found(&index, "host 10.0.0.1 and tcp", true);
        assert_eq!(positions, Some(1), "which is UDP, and decided when it is read");
        let frame = FrameBuilder::ethernet().ipv4([10, 0, 0, 1], [10, 9, 9, 9]).udp(53, 53).build();
        let (mut tags, frame) = (Vec::new(), Frame::new(&frame));
        let decoded = decode(&frame, &mut tags);
        assert!(ran.holds(&Fields::of(&decoded, &tags)), "what it says of the packets is what led to them");
        let (positions, ran) = found(&index, "net 10.0.0.0/16 and tcp", true);
        assert_eq!(positions, Some(100));
        assert!(!ran.holds(&Fields::of(&decoded, &tags)));
    }
}
