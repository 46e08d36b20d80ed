//! Any packets, indexed, against a linear scan of the same packets: conversations, sides, lists, look-ups, places.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::segments::{BLOCK_BYTES, PORTS, addresses, facts, index_of, packet_at, packet_file, packets_of};
use proptest::{collection::vec, prelude::*};
use steno_core::{
    PacketNo, TimestampNs,
    block::Block,
    packet::{Decoded, Fragment, Network, Tag, VlanTag, decode},
    testkit::{FrameBuilder, RecipePacket},
};
use steno_index::{Class, ConvNo, Conversation, Direction, Endpoint, Index, IndexError, NetworkKind, Side};

/// A conversation as a scan finds it: its packets by number, with time and length.
#[derive(Debug)]
struct Model {
    class: Class,
    a: Endpoint,
    b: Endpoint,
    lists: [Vec<(u32, TimestampNs, u32)>; 2],
}

/// Groups packets the naive way: a list of conversations that each packet is compared with.
fn scan(packets: &[RecipePacket]) -> Vec<Model> {
    let mut models: Vec<Model> = Vec::new();
    let mut tags = Vec::new();
    for (no, packet) in (0..).zip(packets) {
        let frame = packet.frame();
        let d = decode(&frame, &mut tags);
        let (class, src, dst) = (class_of(&d, &tags), end(&d, true), end(&d, false));
        let entry = (no, packet.time, packet.wire_len + frame.restored_bytes());
        let known = models.iter_mut().find(|m| m.class == class && [(m.a, m.b), (m.b, m.a)].contains(&(src, dst)));
        match known {
            Some(model) => model.lists[usize::from((src, dst) != (model.a, model.b))].push(entry),
            None => models.push(Model { class, a: src, b: dst, lists: [vec![entry], vec![]] }),
        }
    }
    models
}

fn class_of(d: &Decoded, tags: &[Tag]) -> Class {
    Class {
        network: match d.network {
            Network::None { ether_type } => NetworkKind::None { ether_type },
            Network::V4 { .. } => NetworkKind::V4,
            Network::V6 { .. } => NetworkKind::V6,
        },
        protocol: d.protocol,
        has_ports: d.ports.is_some(),
        later_fragments: d.fragment == Fragment::Later,
        tags: tags.to_vec(),
    }
}

fn end(d: &Decoded, source: bool) -> Endpoint {
    let addr = match d.network {
        Network::None { .. } => None,
        Network::V4 { src, dst } => Some(IpAddr::V4(if source { src } else { dst })),
        Network::V6 { src, dst } => Some(IpAddr::V6(if source { src } else { dst })),
    };
    Endpoint { addr, port: d.ports.map(|(src, dst)| if source { src } else { dst }) }
}

fn side(list: &[(u32, TimestampNs, u32)]) -> Side {
    Side {
        packets: u32::try_from(list.len()).unwrap(),
        bytes: list.iter().map(|&(_, _, len)| u64::from(len)).sum(),
        first: list.iter().map(|&(_, time, _)| time).min().unwrap_or_default(),
        last: list.iter().map(|&(_, time, _)| time).max().unwrap_or_default(),
    }
}

fn found(look_up: impl FnOnce(&mut Vec<ConvNo>) -> Result<(), IndexError>) -> Vec<u32> {
    let mut out = Vec::new();
    look_up(&mut out).unwrap();
    out.into_iter().map(|no| no.0).collect()
}

fn expected(models: &[Model], mut wanted: impl FnMut(&Model) -> bool) -> Vec<u32> {
    (0..).zip(models).filter(|(_, model)| wanted(model)).map(|(no, _)| no).collect()
}

fn check_conversations(index: &Index, models: &[Model]) -> Result<(), TestCaseError> {
    prop_assert_eq!(index.conversations() as usize, models.len());
    let all: Vec<Conversation> = index.iter().map(|c| c.unwrap().1).collect();
    let mut cursor = index.cursor();
    for (no, model) in (0..).map(ConvNo).zip(models) {
        let conversation = &all[no.0 as usize];
        prop_assert_eq!(&*conversation.class, &model.class);
        prop_assert_eq!((conversation.a, conversation.b), (model.a, model.b));
        prop_assert_eq!(conversation.sides, [side(&model.lists[0]), side(&model.lists[1])]);
        prop_assert_eq!(index.conversation(no).unwrap(), conversation.clone());
        let mut both = Vec::new();
        for (direction, list) in Direction::BOTH.into_iter().zip(&model.lists) {
            let mut packets = vec![PacketNo(99)];
            cursor.packets(no, direction, &mut packets).unwrap();
            let numbers: Vec<u32> = packets[1..].iter().map(|packet| packet.0).collect();
            prop_assert_eq!(&numbers, &list.iter().map(|&(no, _, _)| no).collect::<Vec<_>>());
            both.extend(numbers);
        }
        let mut packets = Vec::new();
        cursor.all_packets(no, &mut packets).unwrap();
        both.sort_unstable();
        prop_assert_eq!(packets.into_iter().map(|packet| packet.0).collect::<Vec<_>>(), both);
    }
    Ok(())
}

fn check_look_ups(index: &Index, models: &[Model]) -> Result<(), TestCaseError> {
    let addresses = addresses();
    for low in &addresses {
        for high in &addresses {
            let range = *low..=*high;
            let wanted = expected(models, |m| [m.a, m.b].iter().any(|e| e.addr.is_some_and(|a| range.contains(&a))));
            let postings = index.address_range(range.clone()).unwrap().postings;
            // By row groups, one may stand for many conversations.
            let least = if index.version() < (4, 0) { wanted.len() } else { usize::from(!wanted.is_empty()) };
            prop_assert!(postings >= least as u64 && postings <= 2 * wanted.len() as u64);
            prop_assert_eq!(found(|out| index.conversations_by_address(range, out)), wanted);
        }
    }
    for low in PORTS {
        for high in PORTS {
            let wanted = expected(models, |m| [m.a, m.b].iter().any(|e| e.port.is_some_and(|p| low <= p && p <= high)));
            prop_assert_eq!(found(|out| index.conversations_by_port(low..=high, out)), wanted);
        }
    }
    for protocol in 0..=255 {
        let wanted = expected(models, |m| m.class.protocol == Some(protocol));
        prop_assert_eq!(found(|out| index.conversations_by_protocol(protocol, out)), wanted);
    }
    for tag in [Tag::Vlan(1), Tag::Vlan(2), Tag::Mpls(3), Tag::Mpls(1 << 19)] {
        let wanted = expected(models, |m| m.class.tags.contains(&tag));
        prop_assert_eq!(found(|out| index.conversations_by_class(|c| c.tags.contains(&tag), out)), wanted);
    }
    Ok(())
}

fn check_places(index: &Index, file: &[u8]) -> Result<(), TestCaseError> {
    let packets = packets_of(file);
    prop_assert_eq!(index.packets() as usize, packets.len());
    let times = packets.iter().map(|(time, _)| *time);
    prop_assert_eq!(index.time_range(), times.clone().min().zip(times.max()));
    let mut locator = index.locator();
    // There and back, so that the locator has to turn.
    for no in (0..index.packets()).chain((0..index.packets()).rev()) {
        let anchor = locator.locate(PacketNo(no)).unwrap();
        prop_assert!(anchor.skip < 16);
        prop_assert_eq!(anchor.position.0 / BLOCK_BYTES, anchor.block);
        prop_assert_eq!(&packet_at(file, anchor), &packets[no as usize]);
    }
    let mut first = 0;
    for (no, bytes) in (0..).zip(file.chunks(BLOCK_BYTES as usize)) {
        let (info, block) = (index.block(no).unwrap(), Block::parse(bytes).unwrap());
        let times: Vec<TimestampNs> = block.packets().map(|p| p.unwrap().timestamp()).collect();
        prop_assert_eq!(info.offset_bytes, u64::from(no * BLOCK_BYTES));
        prop_assert_eq!((info.first_packet, info.packets as usize), (PacketNo(first), times.len()));
        prop_assert_eq!(
            (Some(info.min_time), Some(info.max_time)),
            (times.iter().copied().min(), times.iter().copied().max())
        );
        prop_assert_eq!((info.used_bytes, info.seq_num), (block.header().blk_len, block.header().seq_num));
        prop_assert_eq!(info.crc32c, Some(crc32c::crc32c(block.used())));
        first += info.packets;
    }
    prop_assert_eq!(index.block_count() as usize, file.len() / BLOCK_BYTES as usize);
    Ok(())
}

/// Frames of every kind, from few addresses, ports and tags, so that packets meet in conversations.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let stack = prop_oneof![
        4 => Just(vec![]),
        2 => (1u16..3).prop_map(|id| vec![Tag::Vlan(id)]),
        1 => vec((1u16..3).prop_map(Tag::Vlan), 0..12),
        1 => vec(prop_oneof![(1u16..3).prop_map(Tag::Vlan), Just(Tag::Mpls(3)), Just(Tag::Mpls(1 << 19))], 1..3),
    ];
    let port = prop_oneof![Just(53u16), Just(80), Just(443), Just(40_000), Just(65_535), Just(0)];
    (stack, 0u8..8, 0u8..3, 0u8..3, port.clone(), port, 0u8..4, any::<bool>()).prop_map(
        |(stack, kind, src, dst, src_port, dst_port, fragment, more)| {
            let mut frame = FrameBuilder::ethernet();
            for tag in stack {
                frame = match tag {
                    Tag::Vlan(id) => frame.tag(0x8100, id),
                    Tag::Mpls(label) => frame.mpls(label),
                };
            }
            frame = match kind {
                0 => return frame.other(0x0806, &[0; 28]).build(),
                1 => return frame.other(0x0800, &[0x45; 7]).build(),
                2 | 3 => {
                    let v6 = |host| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(host)).octets();
                    frame.ipv6(v6(src), v6(dst))
                }
                _ => {
                    let v4 = |host| Ipv4Addr::new(10, 0, 0, host).octets();
                    frame.ipv4(v4(src), v4(dst))
                }
            };
            if fragment < 2 {
                frame = frame.fragment(7, u16::from(fragment) * 9, more);
            }
            match kind {
                2 | 4 => frame.udp(src_port, dst_port),
                5 => frame.protocol(1, &[8; 30]),
                6 => frame.protocol(132, &[0; 12]),
                7 => frame.protocol(6, &[0; 19]),
                _ => frame.tcp(src_port, dst_port),
            }
            .build()
        },
    )
}

/// Times that mostly go on by little, sometimes by much, and sometimes back.
fn step() -> impl Strategy<Value = i64> {
    prop_oneof![8 => 0i64..3000, 1 => -5_000_000_000i64..0, 1 => 0i64..10_000_000_000, 1 => Just(1000)]
}

pub(crate) fn packets() -> impl Strategy<Value = Vec<RecipePacket>> {
    let packet = (frame(), step(), any::<bool>(), 0usize..120, 0u32..9000);
    vec(packet, 0..300).prop_map(|all| {
        let mut ns = 1_700_000_000_000_000_000i64;
        all.into_iter()
            .map(|(mut bytes, step, strip, cut, wire_len)| {
                ns += step;
                let mut stripped = None;
                if strip && bytes[12..14] == [0x81, 0] {
                    let tci = u16::from_be_bytes([bytes[14], bytes[15]]);
                    stripped = Some(VlanTag { tpid: 0x8100, tci });
                    drop(bytes.drain(12..16));
                }
                // One in six is cut short by the snaplen.
                if cut < 20 {
                    bytes.truncate(cut);
                }
                RecipePacket { time: TimestampNs::new(ns.cast_unsigned()), wire_len, bytes, stripped }
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn an_index_answers_as_a_scan_does(packets in packets()) {
        let file = packet_file(&packets);
        let index = Index::from_bytes(index_of(&file, &facts())).unwrap();
        let models = scan(&packets);
        prop_assert!(index.verify().is_ok(), "{:?}", index.verify());
        check_conversations(&index, &models)?;
        check_look_ups(&index, &models)?;
        check_places(&index, &file)?;
        let bytes: u64 = packets.iter().map(|p| u64::from(p.wire_len + p.frame().restored_bytes())).sum();
        prop_assert_eq!(index.wire_bytes(), bytes);
    }
}

/// So many others between the packets that what those have is rare, and posted by row groups; of ports that they have too,
/// and of some that nothing else has.
fn among_many(packets: &[RecipePacket]) -> Vec<RecipePacket> {
    let mut all = Vec::new();
    for (i, packet) in packets.iter().enumerate() {
        for j in 0..1200 / packets.len() {
            let no = u16::try_from(i * (1200 / packets.len()) + j).unwrap();
            let [high, low] = no.to_be_bytes();
            let frame = FrameBuilder::ethernet().ipv4([10, 1, high, low], [10, 2, 0, low % 5]);
            let bytes = frame.tcp(1000 + no % 700, if no % 3 == 0 { 80 } else { 81 }).build();
            all.push(RecipePacket { time: packet.time, wire_len: 60, bytes, stripped: None });
        }
        all.push(packet.clone());
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn what_is_rare_is_found_as_by_a_scan(packets in packets()) {
        let packets = among_many(packets.get(..60).unwrap_or(&packets));
        let index = Index::from_bytes(index_of(&packet_file(&packets), &facts())).unwrap();
        let models = scan(&packets);
        prop_assert!(packets.is_empty() || index.version() == (4, 0));
        prop_assert!(index.verify().is_ok(), "{:?}", index.verify());
        check_conversations(&index, &models)?;
        check_look_ups(&index, &models)?;
    }
}

/// Few conversations among many, found under more than one address: each once, and ascending.
#[test]
fn a_range_finds_few_of_many_once_each() {
    let many = (0..400).map(|i| format!("1 ip 10.0.0.1 > 10.1.{}.{} tcp 1 > 2\n", i / 200, i % 200));
    let few = ["10.9.0.2 > 10.9.0.1", "10.9.0.1 > 10.0.0.1", "10.0.0.1 > 10.9.0.0"];
    let lines: Vec<String> = few.iter().map(|ends| format!("1 ip {ends} tcp 1 > 2\n")).chain(many).collect();
    let packets = steno_core::testkit::recipe(&lines.concat()).unwrap();
    let index = Index::from_bytes(index_of(&packet_file(&packets), &facts())).unwrap();
    let (low, high) = ("10.9.0.0".parse().unwrap(), "10.9.255.255".parse().unwrap());
    assert_eq!(found(|out| index.conversations_by_address(low..=high, out)), [0, 1, 2]);
    let range = index.address_range(low..=high).unwrap();
    // Each is in one row group.
    assert_eq!((range.items, range.postings), (3, 3));
}
