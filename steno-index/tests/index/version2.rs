//! Index files of version 2: what is written of any packets is what a scan of them finds, for our reader and for another;
//! what another writes, ours reads.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Cursor,
    net::{Ipv4Addr, Ipv6Addr},
    ops::{ControlFlow, RangeInclusive},
};

use crate::{
    model::packets,
    segments::{BLOCK_BYTES, facts, golden_facts, index_of, packet_file},
    tables::{Entries, VERSION, read_by_other, value, written_by_other},
};
use proptest::{collection::vec, prelude::*};
use steno_core::{
    block::Block,
    packet::{Network, Tag, decode, ip_protocol},
    testkit::recipe,
};
use steno_index::{AnyIndex, Attribute, Facts, Index, Version2Index, index_packet_file_version2};

/// Every attribute that there can be.
pub(crate) const ALL: RangeInclusive<Attribute> =
    Attribute::Protocol(0)..=Attribute::V6(Ipv6Addr::from_bits(u128::MAX));

/// Attributes with the positions of their packets.
type Model = BTreeMap<Attribute, Vec<u32>>;

pub(crate) fn version2_of(packet_file: &[u8], facts: &Facts) -> Vec<u8> {
    let mut bytes = Vec::new();
    let built = index_packet_file_version2(&mut &packet_file[..], facts, &mut bytes).unwrap();
    assert_eq!(built.damage, None);
    assert_eq!(built.summary.file_bytes, bytes.len() as u64);
    bytes
}

/// What a scan of the packets finds.
fn scan(packet_file: &[u8]) -> Model {
    let (mut model, mut tags) = (Model::new(), Vec::new());
    for (number, bytes) in (0..).zip(packet_file.chunks(BLOCK_BYTES as usize)) {
        for packet in Block::parse(bytes).unwrap().packets() {
            let packet = packet.unwrap();
            let d = decode(&packet.frame(), &mut tags);
            let mut of_packet: BTreeSet<Attribute> = tags
                .iter()
                .map(|tag| match *tag {
                    Tag::Vlan(id) => Attribute::Vlan(id),
                    Tag::Mpls(label) => Attribute::Mpls(label),
                })
                .collect();
            of_packet.extend(d.protocol.map(Attribute::Protocol));
            match d.network {
                Network::None { .. } => {}
                Network::V4 { src, dst } => of_packet.extend([src, dst].map(Attribute::V4)),
                Network::V6 { src, dst } => of_packet.extend([src, dst].map(Attribute::V6)),
            }
            if d.protocol != Some(ip_protocol::SCTP) {
                of_packet.extend(d.ports.iter().flat_map(|&(src, dst)| [src, dst]).map(Attribute::Port));
            }
            for attribute in of_packet {
                model.entry(attribute).or_default().push(number * BLOCK_BYTES + packet.offset_bytes);
            }
        }
    }
    model
}

/// What the index has in a range.
pub(crate) fn each(index: &Version2Index, range: RangeInclusive<Attribute>) -> Model {
    let mut found = Model::new();
    let visited = index.each(range, &mut |attribute, positions| {
        let positions: Vec<u32> = positions.iter().map(|p| p.0).collect();
        assert_eq!(found.insert(attribute, positions), None);
        ControlFlow::Continue(())
    });
    visited.unwrap();
    found
}

fn positions(index: &Version2Index, attribute: Attribute) -> Option<Vec<u32>> {
    let positions = index.positions(attribute).unwrap()?;
    assert_eq!(positions.iter().len(), positions.len());
    Some(positions.iter().map(|p| p.0).collect())
}

/// The key of an attribute, by `docs/format/version2.md`.
fn key(attribute: Attribute) -> Vec<u8> {
    match attribute {
        Attribute::Protocol(number) => vec![1, number],
        Attribute::Port(port) => [&[2][..], &port.to_be_bytes()].concat(),
        Attribute::Vlan(id) => [&[3][..], &id.to_be_bytes()].concat(),
        Attribute::V4(address) => [&[4][..], &address.octets()].concat(),
        Attribute::Mpls(label) => [&[5][..], &label.to_be_bytes()].concat(),
        Attribute::V6(address) => [&[6][..], &address.octets()].concat(),
    }
}

fn entries(model: &Model) -> Entries {
    let mut entries: Entries = model.iter().map(|(a, positions)| (key(*a), value(positions))).collect();
    let _none = entries.insert(vec![0], VERSION.to_vec());
    entries
}

/// Attributes few enough to meet, with positions.
fn model() -> impl Strategy<Value = Model> {
    let attribute = prop_oneof![
        any::<u8>().prop_map(Attribute::Protocol),
        (0u16..600).prop_map(Attribute::Port),
        (0u16..20).prop_map(Attribute::Vlan),
        (0u32..3000).prop_map(|n| Attribute::V4((n << 7).into())),
        (0u32..20).prop_map(Attribute::Mpls),
        (0u128..50).prop_map(|n| Attribute::V6((n << 99).into())),
    ];
    let positions = prop_oneof![
        9 => vec(any::<u32>(), 1..20).boxed(),
        1 => (1000u32..3000).prop_map(|n| (0..n).map(|i| i * 1000).collect()).boxed(),
    ];
    vec((attribute, positions), 0..200).prop_map(|pairs| {
        let sorted = |positions: Vec<u32>| positions.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
        pairs.into_iter().map(|(attribute, positions)| (attribute, sorted(positions))).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_written_is_what_a_scan_finds_for_our_reader_and_another(packets in packets(), a in any::<u16>(), b in any::<u16>()) {
        let file = packet_file(&packets);
        let model = scan(&file);
        let bytes = version2_of(&file, &golden_facts());
        prop_assert_eq!(read_by_other(&bytes), entries(&model));
        let index = Version2Index::from_bytes(bytes).unwrap();
        index.verify().unwrap();
        prop_assert_eq!(&each(&index, ALL), &model);
        for (attribute, expected) in &model {
            prop_assert_eq!(positions(&index, *attribute), Some(expected.clone()));
        }
        let range = Attribute::Port(a.min(b))..=Attribute::Port(a.max(b));
        let expected: Model = model.range(range.clone()).map(|(a, p)| (*a, p.clone())).collect();
        prop_assert_eq!(each(&index, range), expected);
        let extra = index.extra().unwrap();
        let native = Index::from_bytes(index_of(&file, &golden_facts())).unwrap();
        prop_assert_eq!(&extra.facts, native.facts().unwrap());
        prop_assert_eq!((extra.packets, extra.blocks), (native.packets(), native.block_count()));
        prop_assert_eq!((extra.wire_bytes, extra.time_range), (native.wire_bytes(), native.time_range()));
    }

    #[test]
    fn what_another_writes_is_read(model in model(), snappy in any::<bool>(), block_bytes in 40usize..5000, absent in any::<u16>()) {
        let index = Version2Index::from_bytes(written_by_other(&entries(&model), snappy, block_bytes)).unwrap();
        prop_assert_eq!((index.version(), index.extra()), ((2, 0), None));
        index.verify().unwrap();
        prop_assert_eq!(&each(&index, ALL), &model);
        for (attribute, expected) in &model {
            prop_assert_eq!(positions(&index, *attribute), Some(expected.clone()));
        }
        prop_assert_eq!(positions(&index, Attribute::Port(absent)), model.get(&Attribute::Port(absent)).cloned());
    }
}

#[test]
fn a_large_value_is_lent_and_small_ones_around_it_are_found() {
    let many: Vec<u32> = (0..2_000_000).map(|i| i * 8).collect();
    let model: Model = [
        (Attribute::Protocol(6), many.clone()),
        (Attribute::Protocol(17), vec![4]),
        (Attribute::Port(80), many),
        (Attribute::Port(81), vec![12]),
    ]
    .into();
    let index = Version2Index::from_bytes(written_by_other(&entries(&model), false, 4096)).unwrap();
    // Both look-ups at once, of 8 MB each.
    let found = [Attribute::Protocol(6), Attribute::Port(80)].map(|a| index.positions(a).unwrap().unwrap());
    assert!(found.iter().all(|positions| positions.len() == 2_000_000));
    assert_eq!(each(&index, ALL), model);
    assert_eq!(each(&index, Attribute::Port(81)..=Attribute::Port(81)).len(), 1);
    // A visit that has seen enough.
    let mut seen = 0;
    let stopped = index.each(ALL, &mut |_, _| {
        seen += 1;
        if seen == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    stopped.unwrap();
    assert_eq!(seen, 2);
}

#[test]
fn a_file_is_told_by_its_end() {
    let file = packet_file(&recipe("1700000000 ip 10.0.0.1 > 10.0.0.2 tcp 40000 > 80").unwrap());
    assert!(matches!(AnyIndex::from_bytes(index_of(&file, &facts())), Ok(AnyIndex::Native(_))));
    assert!(matches!(AnyIndex::from_bytes(version2_of(&file, &facts())), Ok(AnyIndex::Version2(_))));
    assert!(AnyIndex::from_bytes(vec![7; 100]).is_err());
}

#[test]
fn without_packets_there_is_the_version_alone() {
    let bytes = version2_of(&[], &facts());
    assert_eq!(read_by_other(&bytes), entries(&Model::new()));
    let index = Version2Index::from_bytes(bytes).unwrap();
    assert_eq!(each(&index, ALL), Model::new());
    let extra = index.extra().unwrap();
    assert_eq!((extra.packets, extra.time_range), (0, None));
}

#[test]
fn the_two_faults_of_1_0_1_are_not_repeated() {
    let file = packet_file(
        &recipe(
            "1700000000 vlan 100 ip 10.0.0.1 > 10.0.0.2 tcp 40000 > 80 stripped\n\
             1700000001 ip 10.0.0.1 > 10.0.0.2 frag 77 185 proto 17 data 20",
        )
        .unwrap(),
    );
    let index = Version2Index::from_bytes(version2_of(&file, &facts())).unwrap();
    assert_eq!(positions(&index, Attribute::Vlan(100)).map(|p| p.len()), Some(1));
    let ports = each(&index, Attribute::Port(0)..=Attribute::Port(u16::MAX));
    assert_eq!(ports.into_keys().collect::<Vec<_>>(), [Attribute::Port(80), Attribute::Port(40_000)]);
    assert_eq!(positions(&index, Attribute::V4(Ipv4Addr::new(10, 0, 0, 1))).map(|p| p.len()), Some(2));
}

/// The packet file on a disk, for a check.
fn on_disk(packet_file: &[u8]) -> std::fs::File {
    let mut file = tempfile::tempfile().unwrap();
    let _len = std::io::copy(&mut Cursor::new(packet_file), &mut file).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    file
}

#[test]
fn a_segment_is_held_against_its_packets() {
    let text = "1700000000 vlan 100 ip 10.0.0.1 > 10.0.0.2 tcp 40000 > 80 stripped\n\
                1700000001 ip 10.0.0.1 > 10.0.0.2 frag 77 185 udp 9 > 7";
    let file = packet_file(&recipe(text).unwrap());
    let index = Version2Index::from_bytes(version2_of(&file, &facts())).unwrap();
    let report = index.verify_against(&on_disk(&file));
    assert!(report.is_clean(), "{:?}", report.problems);
    assert_eq!((report.packets, report.blocks, report.attributes), (2, 1, 7));

    // As 1.0.1 would have it: no outer tag, and the payload of the fragment as ports.
    let mut old = scan(&file);
    assert!(old.remove(&Attribute::Vlan(100)).is_some());
    let fragment = old[&Attribute::Protocol(17)].clone();
    let with_ports = |model: &Model| {
        let mut model = model.clone();
        let _none = model.insert(Attribute::Port(9), fragment.clone());
        let _none = model.insert(Attribute::Port(7), fragment.clone());
        model
    };
    let check = |model: &Model| {
        let index = Version2Index::from_bytes(written_by_other(&entries(model), false, 4096)).unwrap();
        let report = index.verify_against(&on_disk(&file));
        report.problems.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(check(&with_ports(&old)), [""; 0]);
    assert_eq!(
        check(&old),
        ["port 7", "port 9"]
            .map(|port| format!("{port}: the packets say 1, the index says 0; 1 are of one of them alone"))
    );
    // Past the end of the packet file, and at no packet.
    for wrong in [1 << 30, 50] {
        let mut model = with_ports(&old);
        let _none = model.insert(Attribute::Protocol(200), vec![wrong]);
        assert_eq!(check(&model), ["ip proto 200: the packets say 0, the index says 1; 1 are of one of them alone"]);
    }
    // Another time, told of in the meta block alone.
    let later = packet_file(&recipe(&text.replace("1700000001", "1700000002")).unwrap());
    let report = index.verify_against(&on_disk(&later));
    assert!(report.problems.iter().any(|p| p.to_string().starts_with("latest time")), "{:?}", report.problems);
}
