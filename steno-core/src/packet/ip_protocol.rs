//! IP protocol numbers (IANA, "Assigned Internet Protocol Numbers") and their names as `pcap-filter(7)` takes them.

/// ICMP.
pub const ICMP: u8 = 1;
/// TCP.
pub const TCP: u8 = 6;
/// UDP.
pub const UDP: u8 = 17;
/// ICMP for IPv6.
pub const ICMPV6: u8 = 58;
/// SCTP.
pub const SCTP: u8 = 132;
/// IPv6 hop-by-hop options.
pub const IPV6_HOP_BY_HOP: u8 = 0;
/// IPv6 routing header.
pub const IPV6_ROUTING: u8 = 43;
/// IPv6 fragment header.
pub const IPV6_FRAGMENT: u8 = 44;
/// IPv6 destination options.
pub const IPV6_DESTINATION: u8 = 60;
/// IPv6 mobility header.
pub const IPV6_MOBILITY: u8 = 135;

/// Every name with its number, by number. The first name of a number is the one that is printed.
pub const NAMES: &[(&str, u8)] = &[
    ("icmp", ICMP),
    ("igmp", 2),
    ("ipip", 4),
    ("tcp", TCP),
    ("egp", 8),
    ("igrp", 9),
    ("udp", UDP),
    ("ipv6", 41),
    ("rsvp", 46),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("icmp6", ICMPV6),
    ("ipv6-icmp", ICMPV6),
    ("eigrp", 88),
    ("ospf", 89),
    ("pim", 103),
    ("vrrp", 112),
    ("carp", 112),
    ("l2tp", 115),
    ("sctp", SCTP),
    ("udplite", 136),
];

/// The number of a protocol name, in lower case.
pub fn number(name: &str) -> Option<u8> {
    NAMES.iter().find(|(known, _)| *known == name).map(|&(_, number)| number)
}

/// The name of a protocol number, where it has one here.
pub fn name(number: u8) -> Option<&'static str> {
    NAMES.iter().find(|&&(_, known)| known == number).map(|&(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_agree() {
        assert_eq!((number("icmp6"), name(58)), (Some(58), Some("icmp6")));
        assert_eq!((number("tcp"), name(132), name(200), number("no")), (Some(6), Some("sctp"), None, None));
        assert!(NAMES.is_sorted_by_key(|&(_, number)| number));
    }
}
