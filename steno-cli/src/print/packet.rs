//! A packet as one line: the plain printer, for where tcpdump is not installed.

use std::fmt::Write as _;
use std::net::IpAddr;

use steno_core::{
    TimestampNs,
    packet::{Decoded, Fragment, Frame, Network, Tag, decode, ether_type, ip_protocol},
};

use steno_query::rfc3339;

/// Type fields below this are lengths (IEEE 802.3, section 3.2.6).
const ETHER_TYPE_MIN: u16 = 0x0600;

/// A packet as a line of text, without a line end: time, tags from the outermost on, addresses and ports as tcpdump joins
/// them, protocol, length on the wire, and how much of it was captured where that is less.
///
/// ```
/// # use steno_core::{TimestampNs, packet::Frame};
/// let bytes = [&[0xff; 12][..], &[0x08, 0x06], &[0; 28]].concat();
/// let line = steno_cli::print::packet_line(TimestampNs::from_parts(7, 5), 42, &Frame::new(&bytes));
/// assert_eq!(line, "1970-01-01T00:00:07.000000005Z ARP, 42 bytes");
/// ```
pub fn packet_line(time: TimestampNs, wire_len: u32, frame: &Frame<'_>) -> String {
    let mut tags = Vec::new();
    let decoded = decode(frame, &mut tags);
    let mut line = format!("{} ", rfc3339(time));
    for tag in tags {
        let _ = match tag {
            Tag::Vlan(id) => write!(line, "vlan {id} "),
            Tag::Mpls(label) => write!(line, "mpls {label} "),
        };
    }
    describe(&mut line, &decoded);
    let _ = write!(line, ", {wire_len} bytes");
    if (frame.len() as u64) < u64::from(wire_len) {
        let _ = write!(line, " ({} captured)", frame.len());
    }
    line
}

/// Writing to a string does not fail.
fn describe(line: &mut String, decoded: &Decoded) {
    let _ = match decoded.network {
        Network::V4 { src, dst } => addresses(line, "IP", src.into(), dst.into(), decoded),
        Network::V6 { src, dst } => addresses(line, "IP6", src.into(), dst.into(), decoded),
        Network::None { ether_type: None } => write!(line, "cut Ethernet header"),
        Network::None { ether_type: Some(ether_type::ARP) } => write!(line, "ARP"),
        Network::None { ether_type: Some(ether_type::IPV4) } => write!(line, "cut IP header"),
        Network::None { ether_type: Some(ether_type::IPV6) } => write!(line, "cut IP6 header"),
        Network::None { ether_type: Some(length) } if length < ETHER_TYPE_MIN => write!(line, "802.3"),
        Network::None { ether_type: Some(other) } => write!(line, "ethertype {other:#06x}"),
    };
}

fn addresses(line: &mut String, kind: &str, src: IpAddr, dst: IpAddr, decoded: &Decoded) -> std::fmt::Result {
    match decoded.ports {
        Some((from, to)) => write!(line, "{kind} {src}.{from} > {dst}.{to}: ")?,
        None => write!(line, "{kind} {src} > {dst}: ")?,
    }
    match decoded.protocol {
        Some(protocol) => match ip_protocol::name(protocol) {
            Some(name) => line.write_str(name)?,
            None => write!(line, "protocol {protocol}")?,
        },
        None => line.write_str("protocol not captured")?,
    }
    match decoded.fragment {
        Fragment::Whole => Ok(()),
        Fragment::First => write!(line, ", first fragment of id {}", decoded.identification),
        Fragment::Later => write!(line, ", later fragment of id {}", decoded.identification),
    }
}

#[cfg(test)]
mod tests {
    use steno_core::testkit::recipe;

    use super::*;

    /// A packet made from a recipe (see [`recipe`]), as a line without its time.
    fn line(text: &str) -> String {
        let packets = recipe(text).unwrap();
        let [packet] = packets.as_slice() else { panic!("one packet a recipe") };
        let wire_len = packet.wire_len + packet.frame().restored_bytes();
        let line = packet_line(packet.time, wire_len, &packet.frame());
        line.split_once("Z ").unwrap().1.to_owned()
    }

    #[test]
    fn headers_are_told_from_the_outermost_on() {
        assert_eq!(
            line("1 ip 10.0.0.1 > 10.0.0.2 tcp 1234 > 80 data 9"),
            "IP 10.0.0.1.1234 > 10.0.0.2.80: tcp, 63 bytes"
        );
        assert_eq!(
            line("1 vlan 7 qinq 8 ip 2001:db8::1 > 2001:db8::2 udp 53 > 99"),
            "vlan 7 vlan 8 IP6 2001:db8::1.53 > 2001:db8::2.99: udp, 70 bytes"
        );
        assert_eq!(
            line("1 vlan 7 ip 10.0.0.1 > 10.0.0.2 udp 5 > 6 stripped"),
            "vlan 7 IP 10.0.0.1.5 > 10.0.0.2.6: udp, 46 bytes"
        );
        assert_eq!(line("1 ip 10.0.0.1 > 10.0.0.2 proto 89 data 4"), "IP 10.0.0.1 > 10.0.0.2: ospf, 38 bytes");
        assert_eq!(line("1 ip 10.0.0.1 > 10.0.0.2 proto 253"), "IP 10.0.0.1 > 10.0.0.2: protocol 253, 34 bytes");
        assert_eq!(
            line("1 ip 10.0.0.1 > 10.0.0.2 frag 77 185 udp 1 > 2"),
            "IP 10.0.0.1 > 10.0.0.2: udp, later fragment of id 77, 42 bytes"
        );
    }

    #[test]
    fn what_is_cut_or_unknown_is_said_to_be() {
        assert_eq!(
            line("1 ip 10.0.0.1 > 10.0.0.2 tcp 1 > 2 data 100 snap 20"),
            "cut IP header, 154 bytes (20 captured)"
        );
        assert_eq!(line("1 ip 10.0.0.1 > 10.0.0.2 tcp 1 > 2 snap 9"), "cut Ethernet header, 54 bytes (9 captured)");
        assert_eq!(line("1 type 0x0806 data 28"), "ARP, 42 bytes");
        assert_eq!(line("1 type 0x88cc data 2"), "ethertype 0x88cc, 16 bytes");
        assert_eq!(line("1 type 0x0026 data 2"), "802.3, 16 bytes");
    }
}
