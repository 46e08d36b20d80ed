//! The log: what is noted is read back, foreign bytes never harm, and a log that contradicts itself is not sealed.

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::{collection::vec, prelude::*};
use steno_core::{
    Position, TimestampNs,
    packet::{Decoded, Fragment, Network, Tag},
};
use steno_index::{
    BlockNote, Facts, IndexError, Log, PIECE_BYTES,
    log::{BlockEntry, Entries, Entry, LogError, PacketNote, SLOT_BYTES, decode},
    seal,
};

/// What a test notes: packets and blocks.
#[derive(Clone, Debug)]
enum Noted {
    Packet(Position, TimestampNs, u32, Decoded, Vec<Tag>),
    Block(BlockNote, Vec<u32>),
}

fn decoded() -> impl Strategy<Value = Decoded> {
    let network = prop_oneof![
        any::<Option<u16>>().prop_map(|ether_type| Network::None { ether_type }),
        any::<[u32; 2]>().prop_map(|[a, b]| Network::V4 { src: Ipv4Addr::from(a), dst: Ipv4Addr::from(b) }),
        any::<[u128; 2]>().prop_map(|[a, b]| Network::V6 { src: Ipv6Addr::from(a), dst: Ipv6Addr::from(b) }),
    ];
    let fragment = prop_oneof![Just(Fragment::Whole), Just(Fragment::First), Just(Fragment::Later)];
    (network, any::<Option<u8>>(), any::<Option<(u16, u16)>>(), fragment, any::<u32>()).prop_map(
        |(network, protocol, ports, fragment, id)| {
            let (fragment, identification) = match network {
                Network::None { .. } => (Fragment::Whole, 0),
                Network::V4 { .. } => (fragment, id & 0xffff),
                Network::V6 { .. } => (fragment, id),
            };
            Decoded { network, protocol, ports, fragment, identification }
        },
    )
}

fn noted() -> impl Strategy<Value = Noted> {
    let tag = prop_oneof![any::<u16>().prop_map(Tag::Vlan), (0u32..1 << 20).prop_map(Tag::Mpls)];
    let tags = prop_oneof![Just(vec![]), Just(vec![Tag::Vlan(7), Tag::Mpls(7)]), vec(tag, 0..17)];
    let time = prop_oneof![any::<u64>(), 5_000_000_000u64..20_000_000_000, Just(u64::MAX), Just(0)];
    let used = prop_oneof![0..PIECE_BYTES * 30, Just(PIECE_BYTES), Just(8 * PIECE_BYTES), Just(8 * PIECE_BYTES + 1)];
    prop_oneof![
        5 => (any::<u32>(), time, any::<u32>(), decoded(), tags)
            .prop_map(|(p, t, len, d, tags)| Noted::Packet(Position(p), TimestampNs::new(t), len, d, tags)),
        1 => (any::<u64>(), used, any::<Option<u32>>(), any::<u64>(), any::<bool>()).prop_map(
            |(offset_bytes, used_bytes, crc32c, seq_num, in_pieces)| {
                let pieces = if in_pieces && crc32c.is_some() { used_bytes.saturating_sub(1) / PIECE_BYTES } else { 0 };
                let running = (1..=pieces.min(100)).map(|no| no.wrapping_mul(0x9e37_79b9)).collect();
                Noted::Block(BlockNote { offset_bytes, used_bytes, crc32c, seq_num }, running)
            }
        ),
    ]
}

fn note(log: &mut Log, noted: &Noted) {
    match noted {
        Noted::Packet(position, time, len, d, tags) => log.note(*position, *time, *len, d, tags),
        Noted::Block(block, running) => log.end_block_with(*block, running),
    }
}

fn check(entries: Entries<'_>, all: &[Noted]) -> Result<(), TestCaseError> {
    let (mut entries, mut open) = (entries, Vec::new());
    for noted in all {
        let entry = entries.next().unwrap().unwrap();
        match (noted, entry) {
            (Noted::Packet(position, time, wire_len, decoded, tags), Entry::Packet(packet)) => {
                let expected = PacketNote {
                    position: *position,
                    time: *time,
                    wire_len: *wire_len,
                    decoded: *decoded,
                    tags: packet.tags.clone(),
                };
                prop_assert_eq!(packet.tags.as_slice(), &tags[..]);
                prop_assert_eq!(packet, expected);
                open.push(*time);
            }
            (Noted::Block(note, running), Entry::Block(block)) => {
                prop_assert_eq!(entries.running_checksums(), running);
                let expected = BlockEntry {
                    offset_bytes: note.offset_bytes,
                    used_bytes: note.used_bytes,
                    crc32c: note.crc32c,
                    seq_num: note.seq_num,
                    packets: u32::try_from(open.len()).unwrap(),
                    min_time: open.iter().copied().min().unwrap_or_default(),
                    max_time: open.iter().copied().max().unwrap_or_default(),
                };
                prop_assert_eq!(block, expected);
                open.clear();
            }
            (noted, entry) => prop_assert!(false, "{noted:?} came back as {entry:?}"),
        }
    }
    prop_assert!(entries.next().is_none());
    Ok(())
}

proptest! {
    #[test]
    fn what_is_noted_is_read_back(first in vec(noted(), 0..40), all in vec(noted(), 0..40)) {
        // Through a log that was used before.
        let mut log = Log::new();
        first.iter().for_each(|noted| note(&mut log, noted));
        log.clear();
        all.iter().for_each(|noted| note(&mut log, noted));
        let packets = all.iter().filter(|noted| matches!(noted, Noted::Packet(..))).count();
        prop_assert_eq!(log.packets() as usize, packets);
        check(log.entries(), &all)?;
        let bytes = log.to_vec();
        prop_assert_eq!(bytes.len() as u64, log.bytes());
        check(decode(&bytes), &all)?;
    }

    #[test]
    fn any_bytes_decode_to_entries_or_an_error(
        mut bytes in vec(any::<u8>(), 0..600),
        kinds in vec((0u8..8, 0u8..64, 0u8..9), 20),
    ) {
        // Records of known kinds more often than noise would have them.
        for (slot, (kind, flags, third)) in bytes.chunks_mut(SLOT_BYTES).zip(kinds) {
            slot[0] = kind;
            if slot.len() == SLOT_BYTES {
                (slot[1], slot[2]) = (flags, third);
                slot[7] = 0;
            }
        }
        let mut entries = decode(&bytes);
        let count = entries.by_ref().count();
        prop_assert!(count <= bytes.len() / SLOT_BYTES + 1);
        prop_assert!(entries.next().is_none());
    }

    #[test]
    fn a_log_cut_anywhere_is_read_up_to_there(all in vec(noted(), 1..12), cut in any::<prop::sample::Index>()) {
        let mut log = Log::new();
        all.iter().for_each(|noted| note(&mut log, noted));
        let bytes = log.to_vec();
        let len = cut.index(bytes.len());
        let whole: Vec<_> = decode(&bytes).collect();
        let part: Vec<_> = decode(&bytes[..len]).collect();
        let entries = part.iter().filter(|entry| entry.is_ok()).count();
        prop_assert_eq!(&part[..entries], &whole[..entries]);
        let torn = len % SLOT_BYTES != 0;
        let says_so = matches!(part.last(), Some(Err(LogError::Cut { .. })));
        prop_assert!(says_so || !torn);
    }
}

fn tcp() -> Decoded {
    Decoded {
        network: Network::V4 { src: [10, 0, 0, 1].into(), dst: [10, 0, 0, 2].into() },
        protocol: Some(6),
        ports: Some((40_000, 80)),
        fragment: Fragment::Whole,
        identification: 0,
    }
}

fn at(ns: u64) -> TimestampNs {
    TimestampNs::new(1_700_000_000_000_000_000 + ns)
}

#[test]
fn a_packet_of_one_tag_or_none_takes_one_slot() {
    let mut log = Log::new();
    log.note(Position(0), at(0), 60, &tcp(), &[]);
    assert_eq!(log.bytes(), 2 * 32, "the first one brings a time base");
    log.note(Position(0), at(u64::from(u32::MAX)), 60, &tcp(), &[Tag::Vlan(4095)]);
    assert_eq!(log.bytes(), 3 * 32);
    log.note(Position(0), at(1 << 32), 60, &tcp(), &[]);
    assert_eq!(log.bytes(), 5 * 32, "a new base after 4.3 s");
    log.note(Position(0), at(0), 60, &tcp(), &[]);
    assert_eq!(log.bytes(), 7 * 32, "and for a step back");
    let stack = [Tag::Vlan(1), Tag::Vlan(2)];
    for _ in 0..3 {
        log.note(Position(0), at(1), 60, &tcp(), &stack);
    }
    assert_eq!(log.bytes(), 11 * 32, "a stack is stored once for all packets that follow with it");
}

#[test]
fn records_lie_across_chunks() {
    let mut log = Log::new();
    let v6 = Network::V6 { src: [1; 16].into(), dst: [2; 16].into() };
    let d = Decoded { network: v6, ..tcp() };
    // After the time base, two slots each: one packet lies across the end of a chunk of 32,768 slots.
    for i in 0..40_000 {
        log.note(Position(i), at(u64::from(i)), 80, &d, &[]);
    }
    assert_eq!(log.bytes(), (1 + 80_000) * 32);
    for (i, entry) in (0..).zip(log.entries()) {
        let Entry::Packet(packet) = entry.unwrap() else { panic!("packet {i}") };
        assert_eq!((packet.position, packet.time, packet.decoded), (Position(i), at(u64::from(i)), d));
    }
    log.clear();
    assert_eq!((log.bytes(), log.packets(), log.entries().count()), (0, 0, 0));
}

#[test]
fn contradictions_in_foreign_bytes_are_named() {
    let error = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut log = Log::new();
        log.note(Position(48), at(0), 60, &tcp(), &[Tag::Mpls(5)]);
        log.end_block(BlockNote { offset_bytes: 0, used_bytes: 200, crc32c: None, seq_num: 0 });
        let mut bytes = log.to_vec();
        change(&mut bytes);
        decode(&bytes).find_map(Result::err)
    };
    let bad = |slot, what| Some(LogError::Bad { slot, what });
    assert_eq!(error(&|_| {}), None);
    assert_eq!(error(&|b| b[0] = 0), Some(LogError::UnknownKind { slot: 0, got: 0 }));
    assert_eq!(error(&|b| drop(b.drain(..32))), bad(1, "a packet without a time base"));
    let late = |b: &mut Vec<u8>| {
        b[8..16].fill(0xff);
        b[64 + 12] = 1;
    };
    assert_eq!(error(&late), bad(2, "a time past the year 2554"));
    assert_eq!(error(&|b| b[32 + 2] = 8), bad(1, "more tags than a slot has room for"));
    assert_eq!(error(&|b| b[32 + 6] = 0xf0), bad(1, "a tag out of range"));
    assert_eq!(error(&|b| b[64 + 1] |= 3 << 4), bad(2, "an unknown kind of tags"));
    assert_eq!(error(&|b| b[64 + 1] |= 3 << 2), bad(2, "an unknown kind of fragment"));
    // A packet that is not IP, and a fragment all the same.
    assert_eq!(error(&|b| (b[64], b[64 + 1]) = (3, 1 << 2)), bad(2, "a fragment of no IP packet"));
    let blocks = "a count or times that are not those of the packets before it";
    // The last moment there is, is one: only the block's times are wrong then.
    assert_eq!(error(&|b| b[8..16].fill(0xff)), bad(4, blocks));
    assert_eq!(error(&|b| b[96 + 24] = 2), bad(4, blocks));
    assert_eq!(error(&|b| b[128] ^= 1), bad(4, blocks));
    assert_eq!(error(&|b| b.truncate(128)), Some(LogError::Cut { slot: 3 }));
    // Running checksums: of the block behind them, as many as it has pieces but one, and none without the whole one.
    let with = |records: &[[u8; 4]], used_bytes: u32, crc: bool| {
        let records = records.to_vec();
        error(&move |b: &mut Vec<u8>| {
            b[96 + 1] = u8::from(crc);
            b[96 + 4..96 + 8].copy_from_slice(&used_bytes.to_le_bytes());
            let slots: Vec<u8> = records.iter().flat_map(|head| [&head[..], &[9; 28]].concat()).collect();
            drop(b.splice(96..96, slots));
        })
    };
    let of_two = 2 * PIECE_BYTES;
    assert_eq!(with(&[[7, 0, 1, 0]], of_two, true), None);
    assert_eq!(with(&[[7, 0, 7, 0], [7, 0, 1, 0]], 9 * PIECE_BYTES, true), None);
    assert_eq!(with(&[[7, 0, 8, 0]], of_two, true), bad(3, "more running checksums than a slot has room for"));
    let cannot = "running checksums before it that it cannot have";
    for (count, used_bytes, crc) in [(1, of_two, false), (2, of_two, true), (1, of_two + 1, true), (1, 200, true)] {
        assert_eq!(with(&[[7, 0, count, 0]], used_bytes, crc), bad(5, cannot), "{count} of {used_bytes}");
    }
    let endless = vec![[7, 0, 7, 0]; 87_381 / 7 + 1];
    assert_eq!(with(&endless, u32::MAX, true), bad(3 + 87_381 / 7, "more running checksums than a block can have"));
    // A stack must not grow once a packet has it: that would be copied for each packet.
    let grown = |b: &mut Vec<u8>| {
        let mut more = b[32..64].to_vec();
        more[1] = 0;
        drop(b.splice(96..96, more));
    };
    assert_eq!(error(&grown), bad(3, "more tags for a stack that packets already have"));
}

#[test]
fn a_log_that_contradicts_itself_is_not_sealed() {
    let block = |offset_bytes, used_bytes| BlockNote { offset_bytes, used_bytes, crc32c: None, seq_num: 0 };
    let refused = |fill: &dyn Fn(&mut Log)| {
        let mut log = Log::new();
        fill(&mut log);
        match seal(&log, &Facts::default(), &mut Vec::new()) {
            Err(IndexError::Corrupt { section: "log", what, .. }) => what,
            other => panic!("{other:?}"),
        }
    };
    let packet = |log: &mut Log, position| log.note(Position(position), at(0), 60, &tcp(), &[]);
    assert_eq!(refused(&|log| packet(log, 48)), "packets behind the last block");
    let descend = |log: &mut Log| [200, 48].into_iter().for_each(|position| packet(log, position));
    assert_eq!(refused(&descend), "positions do not ascend");
    for (offset, used) in [(100, 900), (0, 48), (1, 900)] {
        let outside = |log: &mut Log| {
            packet(log, 48);
            log.end_block(block(offset, used));
        };
        assert_eq!(refused(&outside), "a packet outside of its block");
    }
    let overlap = "a block that overlaps the one before, or ends past 4 GiB";
    let two = |log: &mut Log| [block(0, 200), block(100, 48)].into_iter().for_each(|block| log.end_block(block));
    assert_eq!(refused(&two), overlap);
    assert_eq!(refused(&|log| log.end_block(block((1 << 32) - 47, 48))), overlap);
}

#[test]
fn running_checksums_that_a_block_cannot_have_are_not_sealed() {
    for (crc32c, running, good) in [(Some(1), 2, true), (Some(1), 1, false), (Some(1), 3, false), (None, 2, false)] {
        let mut log = Log::new();
        let note = BlockNote { offset_bytes: 0, used_bytes: 3 * PIECE_BYTES, crc32c, seq_num: 0 };
        log.end_block_with(note, &vec![5; running]);
        let sealed = seal(&log, &Facts::default(), &mut Vec::new());
        assert!(matches!(sealed, Ok(_) | Err(IndexError::Log(LogError::Bad { slot: 2, .. }))), "{sealed:?}");
        assert_eq!(sealed.is_ok(), good, "{running} of {note:?}");
    }
}

#[test]
fn a_writer_that_fails_is_an_error() {
    let mut log = Log::new();
    log.note(Position(48), at(0), 60, &tcp(), &[]);
    log.end_block(BlockNote { offset_bytes: 0, used_bytes: 200, crc32c: None, seq_num: 0 });
    let error = seal(&log, &Facts::default(), &mut &mut [0; 100][..]).unwrap_err();
    assert!(matches!(error, IndexError::Write { .. }), "{error}");
    assert!(!error.is_corrupt());
}
