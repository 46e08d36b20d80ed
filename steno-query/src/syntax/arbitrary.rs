//! Random queries in the form that the parser makes, for the tests of this crate.
//!
//! Addresses, ports and times are drawn from few values, so that a random query and a random packet often meet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::{collection::vec, option, prelude::*, sample::select};
use steno_core::TimestampNs;

use super::ast::{
    AddrRange, Expr, NetworkKind, PortRange, Primitive, Side, TimeSpan, Transport, join_addresses, join_ports,
    normalise,
};

/// Any query of up to some twenty primitives.
pub(crate) fn expr() -> impl Strategy<Value = Expr> {
    primitive().prop_map(Expr::Is).prop_recursive(6, 24, 2, |inner| {
        prop_oneof![
            2 => (inner.clone(), inner.clone()).prop_map(|(a, b)| a.and(b)),
            2 => (inner.clone(), inner.clone()).prop_map(|(a, b)| a.or(b)),
            1 => inner.prop_map(Expr::negate),
        ]
    })
}

/// Any primitive.
pub(crate) fn primitive() -> impl Strategy<Value = Primitive> {
    let side = || select(vec![Side::Either, Side::Source, Side::Destination]);
    let transport = option::of(select(vec![Transport::Tcp, Transport::Udp, Transport::Sctp]));
    prop_oneof![
        3 => (side(), vec(addr_range(), 1..4)).prop_map(|(side, mut ranges)| {
            normalise(&mut ranges, join_addresses);
            Primitive::Address { side, ranges }
        }),
        3 => (side(), transport, vec(port_range(), 1..4)).prop_map(|(side, transport, mut ranges)| {
            normalise(&mut ranges, join_ports);
            Primitive::Port { side, transport, ranges }
        }),
        2 => protocol().prop_map(Primitive::Protocol),
        1 => option::of(prop_oneof![4 => 0_u16..4, 1 => any::<u16>()]).prop_map(Primitive::Vlan),
        1 => option::of(prop_oneof![4 => 0_u32..4, 1 => 0_u32..1 << 20]).prop_map(Primitive::Mpls),
        1 => select(vec![NetworkKind::Ip, NetworkKind::Ip6, NetworkKind::Arp]).prop_map(Primitive::Network),
        3 => (option::of(time()), option::of(time())).prop_map(|(a, b)| Primitive::Time(TimeSpan::new(a, b))),
    ]
}

/// A protocol number, mostly one with ports.
pub(crate) fn protocol() -> impl Strategy<Value = u8> {
    prop_oneof![4 => select(vec![1_u8, 6, 17, 58, 132]), 1 => any::<u8>()]
}

/// A port, mostly one of few.
pub(crate) fn port() -> impl Strategy<Value = u16> {
    prop_oneof![4 => 0_u16..6, 1 => any::<u16>()]
}

/// An IPv4 address, mostly one of few.
pub(crate) fn v4() -> impl Strategy<Value = Ipv4Addr> {
    prop_oneof![4 => 0x0a00_0000_u32..0x0a00_0008, 1 => any::<u32>()].prop_map(Ipv4Addr::from)
}

/// An IPv6 address, mostly one of few; some are IPv4-mapped.
pub(crate) fn v6() -> impl Strategy<Value = Ipv6Addr> {
    prop_oneof![
        4 => (0x2001_0db8_u128 << 96..(0x2001_0db8_u128 << 96) + 8).prop_map(Ipv6Addr::from),
        1 => any::<u128>().prop_map(Ipv6Addr::from),
        1 => v4().prop_map(|a| a.to_ipv6_mapped()),
    ]
}

/// A moment, mostly one of few.
pub(crate) fn time() -> impl Strategy<Value = TimestampNs> {
    prop_oneof![4 => 0_u64..8, 1 => any::<u64>(), 1 => Just(u64::MAX)].prop_map(TimestampNs::new)
}

fn port_range() -> impl Strategy<Value = PortRange> {
    prop_oneof![port().prop_map(PortRange::single), (port(), port()).prop_map(|(a, b)| PortRange::between(a, b))]
}

fn addr_range() -> impl Strategy<Value = AddrRange> {
    let v4 = || v4().prop_map(IpAddr::V4);
    let v6 = || v6().prop_map(IpAddr::V6);
    let prefix = |(a, bits): (IpAddr, u8)| AddrRange::prefix(a, bits).unwrap();
    let between = |(a, b): (IpAddr, IpAddr)| AddrRange::between(a.min(b), a.max(b)).unwrap();
    let masked = |(a, mask): (IpAddr, IpAddr)| AddrRange::masked(a, mask).unwrap();
    prop_oneof![
        v4().prop_map(AddrRange::single),
        v6().prop_map(AddrRange::single),
        (v4(), 0..=32_u8).prop_map(prefix),
        (v6(), 0..=128_u8).prop_map(prefix),
        (v4(), v4()).prop_map(between),
        (v6(), v6()).prop_map(between),
        (v4(), v4()).prop_map(masked),
        (v6(), v6()).prop_map(masked),
    ]
}
