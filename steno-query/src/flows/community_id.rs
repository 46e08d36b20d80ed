//! The Community ID of a flow, version 1: the text by which Zeek, Suricata, Wireshark and others name the same flow.
//!
//! Source: the Community ID specification (github.com/corelight/community-id-spec), seed 0. The mapping of ICMP types to
//! ports is Zeek's, as the specification refers to it.

use std::{fmt, net::IpAddr, str::FromStr};

use sha1::{Digest, Sha1};
use steno_core::packet::ip_protocol::{ICMP, ICMPV6, SCTP, TCP, UDP};

/// The seed, which sites may choose to keep their IDs apart: all tools have 0 unless told otherwise.
const SEED: u16 = 0;
const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// A Community ID. Its `Display` is `1:` and 28 characters of base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CommunityId([u8; 20]);

/// What stands in the place of ports in the hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ports {
    /// Source and destination port of TCP, UDP or SCTP.
    Numbers(u16, u16),
    /// Type and code of ICMP or ICMPv6.
    Icmp {
        /// The type of the message.
        kind: u8,
        /// Its code.
        code: u8,
    },
    /// Nothing, or nothing that is known.
    None,
}

impl CommunityId {
    /// The ID of the flow from `src` to `dst`; that of the other direction is the same.
    ///
    /// `None` where the ID that other tools give cannot be told: addresses of two families; TCP, UDP or SCTP without
    /// ports (later fragments, cut headers); ICMP without type and code.
    pub fn of(src: IpAddr, dst: IpAddr, protocol: u8, ports: Ports) -> Option<Self> {
        if src.is_ipv4() != dst.is_ipv4() {
            return None;
        }
        // The pair of ports, and whether the two directions are one flow.
        let (ports, ordered) = match (protocol, ports) {
            (TCP | UDP | SCTP, Ports::Numbers(source, destination)) => (Some((source, destination)), true),
            (ICMP | ICMPV6, Ports::Icmp { kind, code }) => {
                let answer = answer_to(protocol, kind);
                (Some((u16::from(kind), u16::from(answer.unwrap_or(code)))), answer.is_some())
            }
            (TCP | UDP | SCTP | ICMP | ICMPV6, _) => return None,
            _ => (None, true),
        };
        let (source, destination) = ports.unwrap_or_default();
        let swap = ordered && (dst, destination) < (src, source);
        let (low, high) = if swap { ((dst, destination), (src, source)) } else { ((src, source), (dst, destination)) };
        let mut hash = Sha1::new();
        hash.update(SEED.to_be_bytes());
        for address in [low.0, high.0] {
            match address {
                IpAddr::V4(a) => hash.update(a.octets()),
                IpAddr::V6(a) => hash.update(a.octets()),
            }
        }
        hash.update([protocol, 0]);
        if ports.is_some() {
            hash.update(low.1.to_be_bytes());
            hash.update(high.1.to_be_bytes());
        }
        Some(Self(hash.finalize().into()))
    }
}

impl fmt::Display for CommunityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("1:")?;
        for group in self.0.chunks(3) {
            let bits = group.iter().chain([&0, &0]).take(3).fold(0u32, |bits, &byte| bits << 8 | u32::from(byte));
            for place in 0..4 {
                // RFC 4648, section 4: n bytes make n + 1 characters, filled up with `=`.
                let symbol = BASE64.get((bits >> (18 - 6 * place) & 0x3f) as usize).filter(|_| place <= group.len());
                write!(f, "{}", char::from(*symbol.unwrap_or(&b'=')))?;
            }
        }
        Ok(())
    }
}

/// A text that is no Community ID of version 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a Community ID: `1:` and 28 characters of base64")]
pub struct NotACommunityId;

impl FromStr for CommunityId {
    type Err = NotACommunityId;

    /// Reads what `Display` writes.
    fn from_str(text: &str) -> Result<Self, NotACommunityId> {
        let digits = text.strip_prefix("1:").and_then(|rest| rest.strip_suffix('=')).ok_or(NotACommunityId)?;
        let mut bytes = [0; 20];
        let (mut bits, mut known, mut places) = (0u32, 0u32, bytes.iter_mut());
        for symbol in digits.bytes() {
            let value = BASE64.iter().position(|&known| known == symbol).ok_or(NotACommunityId)?;
            bits = bits << 6 | u32::try_from(value).map_err(|_| NotACommunityId)?;
            known += 6;
            if known >= 8 {
                known -= 8;
                let [.., byte] = (bits >> known).to_be_bytes();
                *places.next().ok_or(NotACommunityId)? = byte;
                bits &= (1 << known) - 1;
            }
        }
        // Nothing is left over: 27 characters for 20 bytes, and 2 bits that are 0.
        let whole = places.next().is_none() && digits.len() == 27 && bits == 0;
        whole.then_some(Self(bytes)).ok_or(NotACommunityId)
    }
}

impl serde::Serialize for CommunityId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The type of the message that answers one of `kind`, or that it answers; `None` for messages that go one way.
fn answer_to(protocol: u8, kind: u8) -> Option<u8> {
    /// Echo, router discovery, timestamp, information, address mask (RFC 792, 950, 1256).
    const V4: &[(u8, u8)] = &[(8, 0), (10, 9), (13, 14), (15, 16), (17, 18)];
    /// Echo, listener discovery, router and neighbour discovery, who are you, home agent (RFC 4443, 2710, 4861, 6275).
    const V6: &[(u8, u8)] = &[(128, 129), (130, 131), (133, 134), (135, 136), (139, 140), (144, 145)];
    let pairs = if protocol == ICMP { V4 } else { V6 };
    pairs.iter().find_map(|&(request, reply)| match kind {
        _ if kind == request => Some(reply),
        _ if kind == reply => Some(request),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(src: &str, dst: &str, protocol: u8, ports: Ports) -> String {
        CommunityId::of(src.parse().unwrap(), dst.parse().unwrap(), protocol, ports).unwrap().to_string()
    }

    /// The values are those that the specification's reference implementation is tested with (pycommunityid).
    #[test]
    fn ids_are_those_of_the_reference_implementation() {
        let n = Ports::Numbers;
        for (src, dst, protocol, ports, expected) in [
            ("128.232.110.120", "66.35.250.204", TCP, n(34855, 80), "1:LQU9qZlK+B5F3KDmev6m5PMibrg="),
            ("66.35.250.204", "128.232.110.120", TCP, n(80, 34855), "1:LQU9qZlK+B5F3KDmev6m5PMibrg="),
            ("10.0.0.1", "10.0.0.2", TCP, n(10, 11569), "1:SXBGMX1lBOwhhoDrZynfROxnhnM="),
            ("192.168.1.52", "8.8.8.8", UDP, n(54585, 53), "1:d/FP5EW3wiY1vCndhwleRRKHowQ="),
            ("192.168.170.8", "192.168.170.56", SCTP, n(7, 80), "1:jQgCxbku+pNGw8WPbEc/TS/uTpQ="),
            ("10.1.24.4", "10.1.12.1", 46, Ports::None, "1:/nQI4Rh/TtY3mf0R2gJFBkVlgS4="),
            ("10.1.12.1", "10.1.24.4", 46, Ports::None, "1:/nQI4Rh/TtY3mf0R2gJFBkVlgS4="),
        ] {
            assert_eq!(id(src, dst, protocol, ports), expected, "{src} {dst} {protocol}");
        }
    }

    #[test]
    fn an_id_is_read_back_and_nothing_else_is() {
        for text in ["1:LQU9qZlK+B5F3KDmev6m5PMibrg=", "1:/nQI4Rh/TtY3mf0R2gJFBkVlgS4="] {
            assert_eq!(text.parse::<CommunityId>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "1:",
            "2:LQU9qZlK+B5F3KDmev6m5PMibrg=",
            "1:LQU9qZlK+B5F3KDmev6m5PMibrg",
            "1:LQU9qZlK+B5F3KDmev6m5PMibr=",
            "1:LQU9qZlK+B5F3KDmev6m5PMibrgA=",
            "1:LQU9qZlK+B5F3KDmev6m5PMibrh=",
            "1:LQU9qZlK-B5F3KDmev6m5PMibrg=",
        ] {
            assert_eq!(text.parse::<CommunityId>(), Err(NotACommunityId), "{text}");
        }
    }

    #[test]
    fn icmp_requests_and_replies_are_one_flow_and_one_way_messages_are_not() {
        let icmp = |kind, code| Ports::Icmp { kind, code };
        let echo = "1:X0snYXpgwiv9TZtqg64sgzUn6Dk=";
        assert_eq!(id("192.168.0.89", "192.168.0.1", ICMP, icmp(8, 0)), echo);
        assert_eq!(id("192.168.0.1", "192.168.0.89", ICMP, icmp(0, 20)), echo);
        let other = id("192.168.0.89", "192.168.0.1", ICMP, icmp(20, 1));
        assert_eq!(other, "1:tz/fHIDUHs19NkixVVoOZywde+I=");
        let (a, b) = ("fe80::200:86ff:fe05:80da", "fe80::260:97ff:fe07:69ea");
        assert_eq!(id(a, b, ICMPV6, icmp(135, 0)), "1:dGHyGvjMfljg6Bppwm3bg0LO8TY=");
        assert_eq!(id(b, a, ICMPV6, icmp(136, 0)), "1:dGHyGvjMfljg6Bppwm3bg0LO8TY=");
        let (c, d) = ("3ffe:507:0:1:260:97ff:fe07:69ea", "3ffe:507:0:1:200:86ff:fe05:80da");
        assert_eq!(id(c, d, ICMPV6, icmp(3, 0)), "1:NdobDX8PQNJbAyfkWxhtL2Pqp5w=");
        assert_eq!(id(d, c, ICMPV6, icmp(3, 0)), "1:/OGBt9BN1ofenrmSPWYicpij2Vc=");
    }

    #[test]
    fn what_other_tools_would_name_otherwise_has_no_id() {
        let (a, b) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        for protocol in [TCP, UDP, SCTP, ICMP, ICMPV6] {
            assert_eq!(CommunityId::of(a, b, protocol, Ports::None), None, "protocol {protocol}");
        }
        assert_eq!(CommunityId::of(a, "::1".parse().unwrap(), TCP, Ports::Numbers(1, 2)), None);
    }
}
