//! Segments for the tests of this crate: packet files from packets, their indexes, and all that an index answers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use steno_core::{
    PacketNo, TimestampNs,
    block::{Block, BlockWriter},
    testkit::{RecipePacket, block_of},
};
use steno_index::{
    Anchor, BlockChecksums, BlockInfo, Cause, Class, ClockStep, ConvNo, Conversation, Direction, Drops, Facts,
    FirstFragment, Gap, Index, IndexError, LaterFragment, Loss, index_packet_file,
};

/// Bytes of a block in the tests: small, so that few packets make many blocks.
pub(crate) const BLOCK_BYTES: u32 = 4096;

/// Facts that say so.
pub(crate) fn facts() -> Facts {
    Facts { block_bytes: BLOCK_BYTES, interface: "test0".to_owned(), ..Facts::default() }
}

/// The facts of the golden files of version 3.0: every tag of it once or more.
pub(crate) fn golden_facts() -> Facts {
    Facts {
        interface: "eth0".to_owned(),
        link_type: 1,
        snaplen: 65_535,
        filter: "not port 22".to_owned(),
        host: "sensor".to_owned(),
        kernel: "Linux 6.18.0".to_owned(),
        software: "steno 0.1.0".to_owned(),
        thread: 2,
        block_bytes: BLOCK_BYTES,
        drops: vec![Drops { second: 1_700_000_000, packets: 12 }, Drops { second: 1_700_000_004, packets: 1 }],
        gaps: vec![Gap {
            from: TimestampNs::from_parts(1_700_000_005, 0),
            to: TimestampNs::from_parts(1_700_000_006, 500),
            reason: "restart".to_owned(),
        }],
        ..Facts::default()
    }
}

/// The facts of a golden file: every tag of version 3.1 once or more for that of losses, with the causes that there were then;
/// for that of pieces, blocks that have some.
pub(crate) fn golden_facts_of(name: &str) -> Facts {
    match name {
        "losses" => {}
        "pieces" => return Facts { block_bytes: 1 << 18, ..golden_facts() },
        _ => return golden_facts(),
    }
    let at = |secs| TimestampNs::from_parts(secs, 250);
    let loss = |(i, cause): (u64, Cause)| Loss { second: 1_700_000_001 + i / 2, cause, count: 1 << (9 * i) };
    Facts {
        losses: (0..7).zip(Cause::ALL).map(loss).collect(),
        clock_steps: vec![
            ClockStep { from: at(1_700_000_002), to: at(1_700_003_602) },
            ClockStep { from: at(1_700_003_603), to: at(1_700_000_003) },
        ],
        ended: Some(at(1_700_000_004)),
        ..golden_facts()
    }
}

/// The packet file of some packets.
pub(crate) fn packet_file(packets: &[RecipePacket]) -> Vec<u8> {
    packet_file_of_blocks(packets, BLOCK_BYTES)
}

/// The same, of blocks of so many bytes.
pub(crate) fn packet_file_of_blocks(packets: &[RecipePacket], block_bytes: u32) -> Vec<u8> {
    let (mut file, mut rest, mut seq) = (Vec::new(), packets, 0);
    let mut writer = BlockWriter::new(block_bytes);
    while !rest.is_empty() {
        let taken = block_of(&mut writer, rest).unwrap();
        assert!(taken > 0, "a packet fits no block");
        rest = &rest[taken..];
        seq += 1;
        file.extend_from_slice(writer.finish(seq));
        writer.clear();
    }
    file
}

/// The index of a packet file.
pub(crate) fn index_of(packet_file: &[u8], facts: &Facts) -> Vec<u8> {
    let mut bytes = Vec::new();
    let built = index_packet_file(&mut &packet_file[..], facts, &mut bytes).unwrap();
    assert_eq!(built.damage, None);
    assert_eq!(built.summary.file_bytes, bytes.len() as u64);
    bytes
}

/// The packet that an anchor leads to, as time and frame.
pub(crate) fn packet_at(packet_file: &[u8], anchor: Anchor) -> (TimestampNs, Vec<u8>) {
    let mut at = anchor.position.0;
    for _ in 0..anchor.skip {
        at += steno_core::block::packet_at(packet_file, at).unwrap().header.next_offset;
    }
    let packet = steno_core::block::packet_at(packet_file, at).unwrap();
    (packet.timestamp(), packet.frame().to_vec())
}

/// The packets of a packet file in ring order, as time and frame.
pub(crate) fn packets_of(packet_file: &[u8]) -> Vec<(TimestampNs, Vec<u8>)> {
    let blocks = packet_file.chunks(BLOCK_BYTES as usize).map(|block| Block::parse(block).unwrap());
    blocks.flat_map(|block| block.packets().map(|p| p.unwrap())).map(|p| (p.timestamp(), p.frame().to_vec())).collect()
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    Facts(Facts),
    Classes(Vec<Class>),
    Block(BlockInfo),
    Checksums(Option<BlockChecksums>),
    Place(Anchor),
    Conversation(Conversation),
    Packets(Vec<PacketNo>),
    First(Vec<FirstFragment>),
    Later(Vec<LaterFragment>),
    Found(Vec<ConvNo>),
}

/// Asks an index for everything: each question with its answer, or the error.
pub(crate) fn ask(index: &Index) -> Vec<(String, Result<Answer, IndexError>)> {
    let mut all = Vec::new();
    let mut put = |question: String, answer: Result<Answer, IndexError>| all.push((question, answer));
    put("facts".to_owned(), index.facts().cloned().map(Answer::Facts));
    let classes = index.classes().map(|classes| classes.iter().map(|class| (**class).clone()).collect());
    put("classes".to_owned(), classes.map(Answer::Classes));
    for no in 0..index.block_count() {
        put(format!("block {no}"), index.block(no).map(Answer::Block));
        put(format!("checksums of block {no}"), index.checksums(no).map(Answer::Checksums));
    }
    for no in 0..index.packets() {
        put(format!("place of {no}"), index.locate(PacketNo(no)).map(Answer::Place));
    }
    for no in (0..index.conversations()).map(ConvNo) {
        put(format!("conversation {no:?}"), index.conversation(no).map(Answer::Conversation));
        for direction in Direction::BOTH {
            let mut out = vec![PacketNo(9)];
            let read = index.packets_of(no, direction, &mut out);
            assert_eq!(out.remove(0), PacketNo(9));
            assert!(read.is_ok() || out.is_empty(), "packets behind an error");
            put(format!("packets of {no:?} {direction:?}"), read.map(|()| Answer::Packets(out)));
        }
    }
    if index.tells_fragments().is_ok_and(|tells| tells) {
        for identification in [0, 1, 76, 77, 78, u32::MAX] {
            let mut out = Vec::new();
            let found = index.first_fragments().each(identification, |first| {
                out.push(first);
                Ok(())
            });
            put(format!("fragments {identification}"), found.map(|()| Answer::First(out)));
        }
        let (mut cursor, mut laters) = (index.cursor(), index.later_fragments());
        for no in (0..index.conversations()).map(ConvNo) {
            if !index.conversation(no).is_ok_and(|conversation| conversation.class.later_fragments) {
                continue;
            }
            for direction in Direction::BOTH {
                let mut out = Vec::new();
                let read = laters.of(&mut cursor, no, direction, &mut out);
                assert!(read.is_ok() || out.is_empty(), "fragments behind an error");
                put(format!("fragments of {no:?} {direction:?}"), read.map(|()| Answer::Later(out)));
            }
        }
    }
    for (question, found) in look_ups(index) {
        put(question, found.map(Answer::Found));
    }
    all
}

/// Addresses that the tests' packets have, and some that they have not.
pub(crate) fn addresses() -> Vec<IpAddr> {
    let v4 = (0..6).map(|host| IpAddr::V4(Ipv4Addr::new(10, 0, 0, host)));
    let v6 = (0..4).map(|host| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, host)));
    v4.chain(v6).collect()
}

/// Ports likewise.
pub(crate) const PORTS: [u16; 6] = [0, 53, 80, 443, 40_000, 65_535];

fn look_ups(index: &Index) -> Vec<(String, Result<Vec<ConvNo>, IndexError>)> {
    let mut all = Vec::new();
    let mut put = |question: String, look_up: &dyn Fn(&mut Vec<ConvNo>) -> Result<(), IndexError>| {
        // What is there before must stay, and an error must add nothing.
        let mut out = vec![ConvNo(7)];
        let found = look_up(&mut out);
        assert_eq!(out.remove(0), ConvNo(7));
        assert!(found.is_ok() || out.is_empty(), "conversations behind an error");
        let found = found.map(|()| out);
        all.push((question, found));
    };
    let addresses = addresses();
    for low in &addresses {
        for high in addresses.iter().filter(|high| high >= &low) {
            let range = *low..=*high;
            put(format!("addresses {low} to {high}"), &|out| index.conversations_by_address(range.clone(), out));
        }
    }
    for low in PORTS {
        for high in PORTS.into_iter().filter(|high| *high >= low) {
            put(format!("ports {low} to {high}"), &|out| index.conversations_by_port(low..=high, out));
        }
    }
    for protocol in [1, 6, 17, 44, 132] {
        put(format!("protocol {protocol}"), &|out| index.conversations_by_protocol(protocol, out));
    }
    put("any tag".to_owned(), &|out| index.conversations_by_class(|class| !class.tags.is_empty(), out));
    all
}
