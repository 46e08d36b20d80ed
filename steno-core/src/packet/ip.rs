//! IPv4 (RFC 791), IPv6 with its extension headers (RFC 8200), and the ports of TCP, UDP and SCTP behind them.

use pnet_packet::{ipv4::Ipv4Packet, ipv6::Ipv6Packet, tcp::TcpPacket, udp::UdpPacket};

use super::{
    Decoded, Fragment, Network,
    ip_protocol::{IPV6_DESTINATION, IPV6_FRAGMENT, IPV6_HOP_BY_HOP, IPV6_MOBILITY, IPV6_ROUTING, SCTP, TCP, UDP},
    walk::rest,
};

/// "More fragments" among the three flag bits of IPv4.
const MORE_FRAGMENTS: u8 = 0b001;
/// Bytes of SCTP's common header (RFC 9260, section 3.1).
const SCTP_HEADER_BYTES: usize = 12;

/// An IPv4 packet; `None` where the fixed header is cut. The version field is not looked at: the type field has said it.
/// `PAYLOAD_AS_PORTS`: a later fragment has the ports that its payload would be.
#[inline]
pub(super) fn ipv4<const PAYLOAD_AS_PORTS: bool>(bytes: &[u8]) -> Option<Decoded> {
    let ip = Ipv4Packet::new(bytes)?;
    let network = Network::V4 { src: ip.get_source(), dst: ip.get_destination() };
    let mut decoded = Decoded::of(network);
    let header_bytes = usize::from(ip.get_header_length()) * 4;
    if header_bytes < Ipv4Packet::minimum_packet_size() {
        return Some(decoded);
    }
    let protocol = ip.get_next_level_protocol().0;
    decoded.protocol = Some(protocol);
    let later = ip.get_fragment_offset() > 0;
    if later || ip.get_flags() & MORE_FRAGMENTS != 0 {
        decoded.identification = u32::from(ip.get_identification());
        decoded.fragment = if later { Fragment::Later } else { Fragment::First };
    }
    if !later || PAYLOAD_AS_PORTS && protocol != SCTP {
        decoded.ports = ports(protocol, rest(bytes, header_bytes));
    }
    Some(decoded)
}

/// An IPv6 packet; `None` where the fixed header is cut.
pub(super) fn ipv6(bytes: &[u8]) -> Option<Decoded> {
    let ip = Ipv6Packet::new(bytes)?;
    let network = Network::V6 { src: ip.get_source(), dst: ip.get_destination() };
    let mut decoded = Decoded::of(network);
    let mut protocol = ip.get_next_header().0;
    let mut behind = rest(bytes, Ipv6Packet::minimum_packet_size());
    loop {
        match protocol {
            IPV6_FRAGMENT => {
                let Some(&[_, _, offset_high, offset_low, id @ ..]) = behind.first_chunk::<8>() else {
                    return Some(decoded);
                };
                decoded.identification = u32::from_be_bytes(id);
                if u16::from_be_bytes([offset_high, offset_low]) & 0xfff8 != 0 {
                    decoded.fragment = Fragment::Later;
                    decoded.protocol = Some(protocol);
                    return Some(decoded);
                }
                decoded.fragment = Fragment::First;
            }
            IPV6_HOP_BY_HOP | IPV6_ROUTING | IPV6_DESTINATION | IPV6_MOBILITY => {}
            _ => break,
        }
        // Next header, and the length in units of 8 bytes beyond the first 8 (a fragment header's is reserved, and 0).
        let Some(&[next, length]) = behind.first_chunk::<2>() else { return Some(decoded) };
        protocol = next;
        behind = rest(behind, (usize::from(length) + 1) * 8);
    }
    decoded.protocol = Some(protocol);
    decoded.ports = ports(protocol, behind);
    Some(decoded)
}

/// Source and destination port, where the protocol has them and its fixed header is whole.
#[inline]
fn ports(protocol: u8, bytes: &[u8]) -> Option<(u16, u16)> {
    match protocol {
        TCP => TcpPacket::new(bytes).map(|tcp| (tcp.get_source(), tcp.get_destination())),
        UDP => UdpPacket::new(bytes).map(|udp| (udp.get_source(), udp.get_destination())),
        SCTP if bytes.len() >= SCTP_HEADER_BYTES => match *bytes.first_chunk()? {
            [s0, s1, d0, d1] => Some((u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1]))),
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        packet::{Frame, decode, decode_as_indexed},
        testkit::FrameBuilder,
    };

    const A: [u8; 4] = [10, 0, 0, 1];
    const B: [u8; 4] = [10, 0, 0, 2];

    fn decoded(frame: &FrameBuilder) -> Decoded {
        decode(&Frame::new(&frame.build()), &mut Vec::new())
    }

    #[test]
    fn ipv4_options_are_skipped() {
        let d = decoded(&FrameBuilder::ethernet().ipv4_with_options(A, B, 40).tcp(443, 50_000));
        assert_eq!(d.network, Network::V4 { src: A.into(), dst: B.into() });
        assert_eq!((d.protocol, d.ports), (Some(TCP), Some((443, 50_000))));
    }

    #[test]
    fn an_ipv4_header_length_below_five_ends_the_walk_behind_the_addresses() {
        let mut bytes = FrameBuilder::ethernet().ipv4(A, B).tcp(1, 2).build();
        bytes[14] = 0x44;
        let d = decode(&Frame::new(&bytes), &mut Vec::new());
        assert_eq!((d.protocol, d.ports), (None, None));
        assert!(matches!(d.network, Network::V4 { .. }));
    }

    #[test]
    fn only_the_first_ipv4_fragment_has_ports() {
        let fragment =
            |offset, more| decoded(&FrameBuilder::ethernet().ipv4(A, B).fragment(77, offset, more).udp(53, 1000));
        assert_eq!(fragment(0, false).fragment, Fragment::Whole);
        let first = fragment(0, true);
        assert_eq!((first.fragment, first.ports, first.identification), (Fragment::First, Some((53, 1000)), 77));
        for more in [false, true] {
            let later = fragment(185, more);
            assert_eq!((later.fragment, later.ports, later.protocol), (Fragment::Later, None, Some(UDP)));
            assert_eq!(later.identification, 77);
        }
    }

    #[test]
    fn as_indexed_by_1_0_1_the_payload_of_a_later_ipv4_fragment_is_read_as_ports() {
        let as_indexed = |frame: &FrameBuilder| decode_as_indexed(&Frame::new(&frame.build()), &mut Vec::new());
        let later = |protocol, payload: &[u8]| {
            as_indexed(&FrameBuilder::ethernet().ipv4(A, B).fragment(77, 185, true).protocol(protocol, payload))
        };
        let udp = later(UDP, &[0, 53, 3, 232, 0, 0, 0, 0]);
        assert_eq!((udp.fragment, udp.ports, udp.identification), (Fragment::Later, Some((53, 1000)), 77));
        assert_eq!(later(UDP, &[0; 7]).ports, None, "cut");
        assert_eq!(later(TCP, &[0; 19]).ports, None, "cut");
        assert_eq!(later(TCP, &[0; 20]).ports, Some((0, 0)));
        assert_eq!(later(SCTP, &[0; 20]).ports, None, "1.0.1 knows no ports of SCTP");
        let v6 = FrameBuilder::ethernet().ipv6([1; 16], [2; 16]).fragment(7, 1, true).udp(5, 6);
        assert_eq!(as_indexed(&v6), decoded(&v6), "later fragments of IPv6 have none there either");
        for whole in [
            FrameBuilder::ethernet().ipv4(A, B).tcp(1, 2),
            FrameBuilder::ethernet().ipv4(A, B).fragment(7, 0, true).udp(5, 6),
        ] {
            assert_eq!(as_indexed(&whole), decoded(&whole));
        }
    }

    #[test]
    fn ipv6_extension_headers_are_skipped_but_for_later_fragments() {
        for header in [IPV6_HOP_BY_HOP, IPV6_ROUTING, IPV6_DESTINATION, IPV6_MOBILITY] {
            let d = decoded(&FrameBuilder::ethernet().ipv6([1; 16], [2; 16]).extension(header, 2).tcp(5, 6));
            assert_eq!((d.protocol, d.ports), (Some(TCP), Some((5, 6))), "header {header}");
        }
        let fragment = |offset| {
            decoded(&FrameBuilder::ethernet().ipv6([1; 16], [2; 16]).fragment(0x0102_0304, offset, true).udp(5, 6))
        };
        let (first, later) = (fragment(0), fragment(1));
        assert_eq!((first.fragment, first.protocol, first.ports), (Fragment::First, Some(UDP), Some((5, 6))));
        assert_eq!((later.fragment, later.protocol, later.ports), (Fragment::Later, Some(IPV6_FRAGMENT), None));
        assert_eq!((first.identification, later.identification), (0x0102_0304, 0x0102_0304));
    }

    #[test]
    fn authentication_and_encryption_headers_end_the_walk() {
        for header in [50, 51] {
            let d = decoded(&FrameBuilder::ethernet().ipv6([1; 16], [2; 16]).extension(header, 1).tcp(5, 6));
            assert_eq!((d.protocol, d.ports), (Some(header), None));
        }
    }

    #[test]
    fn sctp_has_ports_and_icmp_has_none() {
        let mut sctp = vec![0; 12];
        sctp[..4].copy_from_slice(&[0, 80, 0x80, 0x44]);
        assert_eq!(decoded(&FrameBuilder::ethernet().ipv4(A, B).protocol(SCTP, &sctp)).ports, Some((80, 0x8044)));
        assert_eq!(decoded(&FrameBuilder::ethernet().ipv4(A, B).protocol(SCTP, &sctp[..11])).ports, None);
        assert_eq!(decoded(&FrameBuilder::ethernet().ipv4(A, B).protocol(1, &[8; 40])).ports, None);
    }
}
