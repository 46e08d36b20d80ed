//! Captures and queries out of small pools, so that they meet often.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::{collection::vec, option, prelude::*, sample::select};
use steno_core::{
    TimestampNs,
    packet::VlanTag,
    testkit::{FrameBuilder, RecipePacket},
};
use steno_query::{AddrRange, Expr, NetworkKind, PortRange, Primitive, ScopeParts, Side, TimeSpan, Transport};

use crate::support::Shape;

/// The first time of a generated packet.
pub(crate) const EPOCH_NS: u64 = 1_700_000_000_000_000_000;
/// Times are this far apart, or equal.
pub(crate) const TICK_NS: u64 = 250_000_000;

const V4: [[u8; 4]; 4] = [[10, 0, 0, 1], [10, 0, 0, 2], [10, 0, 1, 1], [192, 168, 0, 9]];
const PORTS: [u16; 4] = [53, 80, 443, 40_000];
const VLANS: [u16; 3] = [5, 100, 4095];
const LABELS: [u32; 3] = [16, 29, 0xf_ffff];

fn v6(i: usize) -> [u8; 16] {
    let mut address = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    address[15] = u8::try_from(i).unwrap();
    address
}

/// A segment: its packets in ring order, and how it is written.
pub(crate) fn segment(packets: usize) -> impl Strategy<Value = (Vec<RecipePacket>, Shape)> {
    let shape = (select(vec![4096u32, 1 << 16, 1 << 20]), select(vec![1u32, 7, 40, u32::MAX]), any::<bool>())
        .prop_map(|(block_bytes, block_packets, crc)| Shape { block_bytes, block_packets, crc, ..Shape::default() });
    (vec(packet(), 0..packets), shape)
}

pub(crate) fn packet() -> impl Strategy<Value = RecipePacket> {
    let time = (0u64..40, 0u64..2).prop_map(|(tick, ns)| TimestampNs::new(EPOCH_NS + tick * TICK_NS + ns));
    (time, frame(), option::weighted(0.2, 0usize..90), any::<bool>(), 0u32..3).prop_map(
        |(time, frame, snap, strip, more)| {
            let mut bytes = frame;
            let mut stripped = None;
            if strip && bytes.len() >= 18 && matches!(bytes[12..14], [0x81, 0] | [0x88, 0xa8]) {
                let tag: Vec<u8> = bytes.drain(12..16).collect();
                let half = |at: usize| u16::from_be_bytes([tag[at], tag[at + 1]]);
                stripped = Some(VlanTag { tpid: half(0), tci: half(2) });
            }
            let wire_len = u32::try_from(bytes.len()).unwrap() + more;
            bytes.truncate(snap.unwrap_or(usize::MAX));
            RecipePacket { time, wire_len, bytes, stripped }
        },
    )
}

fn frame() -> impl Strategy<Value = Vec<u8>> {
    let tags = vec((select(vec![0x8100u16, 0x88a8]), select(&VLANS), 0u16..8), 0..3);
    let labels = vec(select(&LABELS), 0..3);
    let tags = prop_oneof![4 => Just(Vec::new()), 2 => tags];
    let labels = prop_oneof![4 => Just(Vec::new()), 1 => labels];
    (tags, labels, any::<bool>(), network(), payload()).prop_map(|(tags, labels, wire, network, payload)| {
        let mut frame = FrameBuilder::ethernet();
        for (tpid, id, priority) in tags {
            frame = frame.tag(tpid, priority << 13 | id);
        }
        let pseudowire = wire && !labels.is_empty();
        for label in labels {
            frame = frame.mpls(label);
        }
        if pseudowire {
            frame = frame.pseudowire(FrameBuilder::ethernet());
        }
        network.onto(frame).payload(&payload).build()
    })
}

/// Mostly little, now and then enough for blocks to fill.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![6 => 0usize..60, 1 => 1000usize..1400].prop_map(|len| (0..len).map(|i| i.to_le_bytes()[0]).collect())
}

#[derive(Clone, Debug)]
struct Layers {
    version: u8,
    src: usize,
    dst: usize,
    fragment: Option<(u32, u16, bool)>,
    options: u8,
    transport: u8,
    ports: (u16, u16),
    other: Option<u16>,
}

impl Layers {
    fn onto(&self, frame: FrameBuilder) -> FrameBuilder {
        if let Some(ether_type) = self.other {
            return frame.other(ether_type, &[1; 28]);
        }
        let mut frame = if self.version == 4 {
            frame.ipv4_with_options(V4[self.src], V4[self.dst], self.options * 4)
        } else {
            let frame = frame.ipv6(v6(self.src), v6(self.dst));
            if self.options > 0 {
                frame.extension([0, 43, 60, 135][usize::from(self.options % 4)], self.options)
            } else {
                frame
            }
        };
        if let Some((id, offset, more)) = self.fragment {
            frame = frame.fragment(id, offset, more);
        }
        match self.transport {
            6 => frame.tcp(self.ports.0, self.ports.1),
            17 => frame.udp(self.ports.0, self.ports.1),
            132 => {
                let [a, b] = [self.ports.0.to_be_bytes(), self.ports.1.to_be_bytes()];
                frame.protocol(132, &[a[0], a[1], b[0], b[1], 0, 0, 0, 0, 0, 0, 0, 0])
            }
            other => frame.protocol(other, &[8, 0, 0, 0, 0, 0, 0, 0]),
        }
    }
}

fn network() -> impl Strategy<Value = Layers> {
    let fragment = option::weighted(0.15, (0u32..3, select(vec![0u16, 0, 1, 185]), any::<bool>()));
    let transport = select(vec![6u8, 6, 17, 17, 132, 1, 58, 47, 50]);
    let other = option::weighted(0.1, select(vec![0x0806u16, 0x86dd, 0x0800, 0x88cc, 0x0000, 40]));
    (
        select(vec![4u8, 4, 6]),
        0usize..4,
        0usize..4,
        fragment,
        0u8..3,
        transport,
        (select(&PORTS), select(&PORTS)),
        other,
    )
        .prop_map(|(version, src, dst, fragment, options, transport, ports, other)| Layers {
            version,
            src,
            dst,
            fragment,
            options,
            transport,
            ports,
            other,
        })
}

/// Any expression over the pools that captures are made of.
pub(crate) fn expr() -> impl Strategy<Value = Expr> {
    primitive().prop_map(Expr::Is).prop_recursive(4, 12, 2, |inner| {
        prop_oneof![
            2 => (inner.clone(), inner.clone()).prop_map(|(a, b)| a.and(b)),
            2 => (inner.clone(), inner.clone()).prop_map(|(a, b)| a.or(b)),
            1 => inner.prop_map(Expr::negate),
        ]
    })
}

fn primitive() -> impl Strategy<Value = Primitive> {
    let side = select(vec![Side::Either, Side::Source, Side::Destination]);
    let transport = select(vec![None, None, Some(Transport::Tcp), Some(Transport::Udp), Some(Transport::Sctp)]);
    prop_oneof![
        4 => (side.clone(), addresses()).prop_map(|(side, ranges)| Primitive::Address { side, ranges }),
        3 => (side, transport, ports())
            .prop_map(|(side, transport, ranges)| Primitive::Port { side, transport, ranges }),
        2 => select(vec![1u8, 6, 17, 44, 47, 58, 132]).prop_map(Primitive::Protocol),
        1 => option::of(select(&VLANS)).prop_map(Primitive::Vlan),
        1 => option::of(select(&LABELS)).prop_map(Primitive::Mpls),
        1 => select(vec![NetworkKind::Ip, NetworkKind::Ip6, NetworkKind::Arp]).prop_map(Primitive::Network),
        3 => time_span().prop_map(Primitive::Time),
    ]
}

fn addresses() -> impl Strategy<Value = Vec<AddrRange>> {
    let v4 = |i: usize| IpAddr::V4(Ipv4Addr::from(V4[i]));
    let v6 = |i: usize| IpAddr::V6(Ipv6Addr::from(v6(i)));
    prop_oneof![
        (0usize..4).prop_map(move |i| vec![AddrRange::single(v4(i))]),
        (0usize..4).prop_map(move |i| vec![AddrRange::single(v6(i))]),
        Just(vec![AddrRange::prefix("10.0.0.0".parse().unwrap(), 24).unwrap()]),
        Just(vec![AddrRange::prefix("10.0.0.0".parse().unwrap(), 8).unwrap()]),
        Just(vec![AddrRange::prefix("2001:db8::".parse().unwrap(), 127).unwrap()]),
        Just(vec![AddrRange::single(v4(0)), AddrRange::single(v4(3)), AddrRange::single(v6(1))]),
    ]
}

fn ports() -> impl Strategy<Value = Vec<PortRange>> {
    prop_oneof![
        select(&PORTS).prop_map(|port| vec![PortRange::single(port)]),
        Just(vec![PortRange::between(50, 100)]),
        Just(vec![PortRange::single(53), PortRange::between(443, 50_000)]),
    ]
}

fn time_span() -> impl Strategy<Value = TimeSpan> {
    let moment = || option::of((0u64..42, 0u64..3).prop_map(|(t, ns)| TimestampNs::new(EPOCH_NS + t * TICK_NS + ns)));
    (moment(), moment()).prop_map(|(from, until)| TimeSpan::new(from, until))
}

/// What a scope may be made of: networks, VLANs and a time, each of them in two of three.
pub(crate) fn scope() -> impl Strategy<Value = ScopeParts> {
    let networks = option::weighted(0.66, addresses());
    let vlans = option::weighted(0.66, vec(select(&VLANS), 1..3));
    let from = (0u64..42, 0u64..3).prop_map(|(t, ns)| TimestampNs::new(EPOCH_NS + t * TICK_NS + ns));
    (networks, vlans, option::weighted(0.66, from)).prop_map(|(networks, vlans, from)| ScopeParts {
        networks,
        vlans,
        from,
    })
}
