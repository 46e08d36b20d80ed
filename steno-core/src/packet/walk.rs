//! The walk over a frame's headers, outermost first.
//!
//! What is read and where it stops is what stenographer 1.0.1 indexes (`stenotype/index.cc`), without its two faults: the
//! tag that the kernel took out is the outermost one, and a fragment after the first has no ports. [`decode_as_indexed`]
//! keeps the second fault, for packets that 1.0.1's own index leads to.

use std::net::{Ipv4Addr, Ipv6Addr};

use pnet_packet::{ethernet::EthernetPacket, vlan::VlanPacket};

use super::{
    Frame,
    ip::{ipv4, ipv6},
};

/// Type fields of Ethernet and VLAN headers (IANA, "IEEE 802 Numbers").
pub mod ether_type {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// ARP.
    pub const ARP: u16 = 0x0806;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
    /// MPLS with downstream-assigned labels.
    pub const MPLS: u16 = 0x8847;
    /// MPLS with upstream-assigned labels.
    pub const MPLS_UPSTREAM: u16 = 0x8848;
    /// No type: another Ethernet header follows, as 1.0.1 reads it and as a pseudowire announces it.
    pub const ETHERNET_AGAIN: u16 = 0;

    /// Whether a VLAN tag follows: 802.1Q, 802.1ad, and the three that were used for stacked tags before it.
    pub const fn is_vlan(ether_type: u16) -> bool {
        matches!(ether_type, 0x8100 | 0x88a8 | 0x9100 | 0x9200 | 0x9300)
    }
}

/// A VLAN tag or an MPLS label, as far as queries know them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tag {
    /// A VLAN id, 0 to 4095.
    Vlan(u16),
    /// An MPLS label, 20 bits.
    Mpls(u32),
}

/// The network layer of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Network {
    /// Not IP, or an IP header that is cut.
    None {
        /// The last type field read; `None` where not even the Ethernet header is whole. Values below 0x0600 are lengths
        /// (IEEE 802.3).
        ether_type: Option<u16>,
    },
    /// An IPv4 header of at least 20 bytes.
    V4 {
        /// Source address.
        src: Ipv4Addr,
        /// Destination address.
        dst: Ipv4Addr,
    },
    /// An IPv6 header.
    V6 {
        /// Source address.
        src: Ipv6Addr,
        /// Destination address.
        dst: Ipv6Addr,
    },
}

/// Whether a packet is a fragment of a datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Fragment {
    /// It is not.
    #[default]
    Whole,
    /// The first one, with the headers behind IP.
    First,
    /// A later one, with bytes of the middle of the datagram: it has no ports of its own.
    Later,
}

/// The fields of a packet, but for its tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// The network layer.
    pub network: Network,
    /// The IP protocol (IANA); `None` without IP, or where the header that names it is cut. For an IPv6 fragment after
    /// the first: 44.
    pub protocol: Option<u8>,
    /// Source and destination port of TCP, UDP or SCTP, where that header is whole.
    pub ports: Option<(u16, u16)>,
    /// Whether it is a fragment.
    pub fragment: Fragment,
    /// The identification that the fragments of a datagram share; 0 where it is none.
    pub identification: u32,
}

impl Decoded {
    /// A packet without IP.
    fn without_ip(ether_type: Option<u16>) -> Self {
        Self::of(Network::None { ether_type })
    }

    /// A packet of which the network layer is known, and nothing else yet.
    pub(super) fn of(network: Network) -> Self {
        Self { network, protocol: None, ports: None, fragment: Fragment::Whole, identification: 0 }
    }
}

/// Decodes the outermost headers of `frame`. `tags` is cleared and gets its VLAN tags and MPLS labels in wire order, the
/// one that the kernel took out included; it belongs to the caller so that its memory can be used again.
#[inline]
pub fn decode(frame: &Frame<'_>, tags: &mut Vec<Tag>) -> Decoded {
    decode_by::<false>(frame, tags)
}

/// As [`decode`], but for later fragments of IPv4: where their protocol is TCP or UDP, what lies behind the IP header is
/// read as ports, although it is payload. So `stenotype` 1.0.1 reads them, and so its index files tell of them.
pub fn decode_as_indexed(frame: &Frame<'_>, tags: &mut Vec<Tag>) -> Decoded {
    decode_by::<true>(frame, tags)
}

#[inline]
fn decode_by<const PAYLOAD_AS_PORTS: bool>(frame: &Frame<'_>, tags: &mut Vec<Tag>) -> Decoded {
    tags.clear();
    let Some(ethernet) = EthernetPacket::new(frame.captured()) else {
        // Cut within the header, with or without a tag to put back.
        let ether_type = frame.stripped().map(|tag| tag.tpid);
        return Decoded::without_ip(ether_type);
    };
    if let Some(tag) = frame.stripped() {
        if !ether_type::is_vlan(tag.tpid) {
            return decode_restored::<PAYLOAD_AS_PORTS>(frame, tags);
        }
        tags.push(Tag::Vlan(tag.id()));
    }
    let behind = rest(frame.captured(), EthernetPacket::minimum_packet_size());
    walk::<PAYLOAD_AS_PORTS>(ethernet.get_ethertype().0, behind, tags)
}

/// Decodes a frame whose stripped "tag" has a type field that is none of a tag's: the kernel writes no such thing, a
/// damaged file may hold it. The frame's meaning is that of its bytes with those four put back.
#[cold]
fn decode_restored<const PAYLOAD_AS_PORTS: bool>(frame: &Frame<'_>, tags: &mut Vec<Tag>) -> Decoded {
    decode_by::<PAYLOAD_AS_PORTS>(&Frame::new(&frame.to_vec()), tags)
}

/// Walks on behind a type field. Each turn takes bytes, so that it ends.
fn walk<const PAYLOAD_AS_PORTS: bool>(mut kind: u16, mut bytes: &[u8], tags: &mut Vec<Tag>) -> Decoded {
    loop {
        match kind {
            ether_type::IPV4 => {
                return ipv4::<PAYLOAD_AS_PORTS>(bytes).unwrap_or_else(|| Decoded::without_ip(Some(kind)));
            }
            ether_type::IPV6 => return ipv6(bytes).unwrap_or_else(|| Decoded::without_ip(Some(kind))),
            ether_type::ETHERNET_AGAIN => {
                let Some(ethernet) = EthernetPacket::new(bytes) else { return Decoded::without_ip(Some(kind)) };
                kind = ethernet.get_ethertype().0;
                bytes = rest(bytes, EthernetPacket::minimum_packet_size());
            }
            ether_type::MPLS | ether_type::MPLS_UPSTREAM => match labels(bytes, tags) {
                Some((next, behind)) => (kind, bytes) = (next, behind),
                None => return Decoded::without_ip(Some(kind)),
            },
            _ if ether_type::is_vlan(kind) => {
                let Some(tag) = VlanPacket::new(bytes) else { return Decoded::without_ip(Some(kind)) };
                tags.push(Tag::Vlan(tag.get_vlan_identifier()));
                kind = tag.get_ethertype().0;
                bytes = rest(bytes, VlanPacket::minimum_packet_size());
            }
            _ => return Decoded::without_ip(Some(kind)),
        }
    }
}

/// Reads a label stack (RFC 3032) to its bottom. What follows is told by the next nibble, as there is no field for it:
/// IPv4, IPv6, or a control word (RFC 4385) and Ethernet. `None` where the stack is cut or something else follows.
fn labels<'a>(mut bytes: &'a [u8], tags: &mut Vec<Tag>) -> Option<(u16, &'a [u8])> {
    loop {
        let (entry, behind) = bytes.split_first_chunk::<4>()?;
        let next = *behind.first()?;
        let entry = u32::from_be_bytes(*entry);
        tags.push(Tag::Mpls(entry >> 12));
        bytes = behind;
        if entry & 0x100 != 0 {
            return match next >> 4 {
                0 => Some((ether_type::ETHERNET_AGAIN, rest(bytes, 4))),
                4 => Some((ether_type::IPV4, bytes)),
                6 => Some((ether_type::IPV6, bytes)),
                _ => None,
            };
        }
    }
}

/// `bytes` from `at` on; nothing where it ends before.
#[inline]
pub(super) fn rest(bytes: &[u8], at: usize) -> &[u8] {
    bytes.get(at..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        packet::{VlanTag, ip_protocol},
        testkit::FrameBuilder,
    };

    fn decoded(bytes: &[u8]) -> (Decoded, Vec<Tag>) {
        let mut tags = vec![Tag::Vlan(1)];
        (decode(&Frame::new(bytes), &mut tags), tags)
    }

    #[test]
    fn tag_stacks_are_read_outermost_first() {
        for tpid in [0x8100, 0x88a8, 0x9100, 0x9200, 0x9300] {
            let frame =
                FrameBuilder::ethernet().tag(tpid, 0x6005).tag(0x8100, 6).ipv4([10, 0, 0, 1], [10, 0, 0, 2]).udp(53, 9);
            let (d, tags) = decoded(&frame.build());
            assert_eq!(tags, [Tag::Vlan(5), Tag::Vlan(6)], "TPID {tpid:#x}");
            assert_eq!((d.protocol, d.ports), (Some(ip_protocol::UDP), Some((53, 9))));
        }
    }

    #[test]
    fn a_stripped_tag_decodes_as_if_it_had_stayed() {
        let whole = FrameBuilder::ethernet()
            .tag(0x88a8, 0x2064)
            .tag(0x8100, 7)
            .ipv4([1, 2, 3, 4], [5, 6, 7, 8])
            .tcp(1, 2)
            .build();
        let stripped: Vec<u8> = [&whole[..12], &whole[16..]].concat();
        let tag = VlanTag { tpid: 0x88a8, tci: 0x2064 };
        for len in 0..=stripped.len() {
            let frame = Frame::with_stripped(&stripped[..len], tag);
            let mut tags = Vec::new();
            let d = decode(&frame, &mut tags);
            assert_eq!((d, tags), decoded(&frame.to_vec()), "captured {len} bytes");
        }
    }

    /// Found by fuzzing.
    #[test]
    fn a_stripped_tag_of_any_type_decodes_as_the_frame_with_it_put_back() {
        let ip = FrameBuilder::ethernet().ipv4([1, 2, 3, 4], [5, 6, 7, 8]).tcp(1, 2).build();
        for tpid in [ether_type::ETHERNET_AGAIN, ether_type::IPV4, ether_type::IPV6, ether_type::MPLS, 0x88cc] {
            let frame = Frame::with_stripped(&ip, VlanTag { tpid, tci: 0x0100 });
            let mut tags = Vec::new();
            let d = decode(&frame, &mut tags);
            assert_eq!((d, tags), decoded(&frame.to_vec()), "TPID {tpid:#06x}");
        }
    }

    #[test]
    fn labels_lead_to_ip_or_to_a_pseudowire() {
        let (d, tags) = decoded(
            &FrameBuilder::ethernet().mpls(29).mpls(1_048_575).ipv4([1, 1, 1, 1], [2, 2, 2, 2]).tcp(80, 81).build(),
        );
        assert_eq!(tags, [Tag::Mpls(29), Tag::Mpls(1_048_575)]);
        assert_eq!(d.ports, Some((80, 81)));
        let inner = FrameBuilder::ethernet().tag(0x8100, 3).ipv6([1; 16], [2; 16]).udp(7, 8);
        let (d, tags) = decoded(&FrameBuilder::ethernet().mpls(16).pseudowire(inner).build());
        assert_eq!(tags, [Tag::Mpls(16), Tag::Vlan(3)]);
        assert_eq!(d.ports, Some((7, 8)));
        assert!(matches!(d.network, Network::V6 { .. }));
    }

    #[test]
    fn what_is_not_ip_keeps_its_type() {
        let (d, _) = decoded(&FrameBuilder::ethernet().other(0x0806, &[0; 28]).build());
        assert_eq!(d, Decoded::without_ip(Some(ether_type::ARP)));
        assert_eq!(decoded(&[0; 13]).0, Decoded::without_ip(None));
        assert_eq!(decoded(&[]).0, Decoded::without_ip(None));
        // 14 zero bytes announce another Ethernet header, which is not there.
        assert_eq!(decoded(&[0; 14]).0, Decoded::without_ip(Some(0)));
    }

    #[test]
    fn a_frame_cut_anywhere_has_no_field_past_the_cut() {
        let whole =
            FrameBuilder::ethernet().tag(0x8100, 9).mpls(4).ipv4([1, 1, 1, 1], [2, 2, 2, 2]).tcp(80, 81).build();
        let seen = |len: usize| {
            let (d, tags) = decoded(&whole[..len]);
            (tags.len(), matches!(d.network, Network::V4 { .. }), d.protocol.is_some(), d.ports.is_some())
        };
        // Ethernet 14, VLAN 4, MPLS 4 and a byte to tell what follows, IPv4 20, TCP 20.
        for (len, expected) in [
            (17, (0, false, false, false)),
            (18, (1, false, false, false)),
            (22, (1, false, false, false)),
            (23, (2, false, false, false)),
            (41, (2, false, false, false)),
            (42, (2, true, true, false)),
            (61, (2, true, true, false)),
            (62, (2, true, true, true)),
        ] {
            assert_eq!(seen(len), expected, "cut to {len} bytes");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_decode(bytes in proptest::collection::vec(any::<u8>(), 0..200), start in 0usize..4) {
            // Half of the cases start with a header that leads further in than noise would.
            let prefix: &[u8] = [&[][..], &[0; 12][..], b"ddddddssssss\x08\x00\x45", b"ddddddssssss\x86\xdd\x60"][start];
            let frame = [prefix, &bytes].concat();
            let (d, tags) = decoded(&frame);
            prop_assert!(tags.len() <= frame.len() / 4);
            prop_assert!(d.ports.is_none() || d.protocol.is_some());
        }
    }
}
