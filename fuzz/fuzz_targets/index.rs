//! Index files: [`steno_index::Index`].
//!
//! The input is read as it is, and once more with all its checksums made right, so that mutations reach what lies behind
//! them. Every look-up ends, with an answer or an error. Where `verify` finds nothing wrong, every look-up succeeds and
//! says the same as the conversations do when they are read one after the other.

#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use libfuzzer_sys::fuzz_target;
use steno_core::PacketNo;
use steno_index::{ConvNo, Conversation, Direction, Endpoint, Index, IndexError};

/// So many conversations and packets of an index are looked at: a small file may claim very many.
const LOOKED_AT: u32 = 300;

/// `docs/format/index.md`, section 1.
const FOOTER_BYTES: usize = 128;
const PAGE_BYTES: usize = 4096;

fuzz_target!(|input: &[u8]| {
    look(input.to_vec());
    let mut repaired = input.to_vec();
    if repair(&mut repaired).is_some() {
        look(repaired);
    }
});

fn look(bytes: Vec<u8>) {
    let Ok(index) = Index::from_bytes(bytes) else { return };
    // Damage is an expected answer here; what matters is that there is one.
    let _ = look_up(&index);
    let _ = read_on(&index);
    if index.verify().is_ok() && index.packets() <= LOOKED_AT && index.conversations() <= LOOKED_AT {
        compare(&index).expect("what verify found right can be read");
    }
}

/// Every kind of look-up, each for itself.
fn look_up(index: &Index) -> Result<(), IndexError> {
    let mut found = Vec::new();
    let everything = IpAddr::V4(Ipv4Addr::UNSPECIFIED)..=IpAddr::V6(Ipv6Addr::from_bits(u128::MAX));
    let results = [
        index.conversations_by_address(everything.clone(), &mut found),
        index.conversations_by_port(0..=u16::MAX, &mut found),
        index.conversations_by_protocol(6, &mut found),
        index.conversations_by_class(|class| class.tags.is_empty(), &mut found),
        index.address_range(everything).map(drop),
        index.port_range(80..=443).map(drop),
        index.facts().map(drop),
        index.verify(),
    ];
    assert!(found.len() as u64 <= 4 * u64::from(index.conversations()), "a look-up gives a conversation twice");
    results.into_iter().collect()
}

/// Conversations, their packets, blocks, and the places of packets.
fn read_on(index: &Index) -> Result<(), IndexError> {
    let mut cursor = index.cursor();
    let mut packets = Vec::new();
    for no in (0..index.conversations().min(LOOKED_AT)).map(ConvNo) {
        for direction in Direction::BOTH {
            packets.clear();
            if cursor.packets(no, direction, &mut packets).is_ok() {
                assert!(packets.is_sorted_by(|a, b| a < b), "packets do not ascend");
                assert!(packets.last().is_none_or(|last| last.0 < index.packets()), "a packet that is not there");
            }
        }
        let _ = cursor.conversation(no);
    }
    read_fragments(index);
    for no in 0..index.block_count().min(LOOKED_AT) {
        let _ = index.block(no);
        if let Ok(Some(checksums)) = index.checksums(no) {
            let _ = checksums.check(0, &[]);
            assert!(checksums.running().len() as u64 <= index.file_bytes() / 4, "more running checksums than bytes");
        }
    }
    let mut locator = index.locator();
    for no in (0..index.packets().min(LOOKED_AT)).map(PacketNo) {
        let _ = locator.locate(no);
    }
    let past = ConvNo(index.conversations());
    assert!(cursor.conversation(past).is_err() && index.block(index.block_count()).is_err());
    Ok(())
}

/// First fragments of a few identifications, and the later ones of conversations.
fn read_fragments(index: &Index) {
    let (mut firsts, mut seen) = (index.first_fragments(), 0);
    for identification in [77, 1, 0, 77, u32::MAX] {
        let _ = firsts.each(identification, |first| {
            assert!(first.conversation.0 < index.conversations());
            seen += 1;
            // A small file may claim very many.
            if seen > LOOKED_AT { Err(IndexError::NoSuch { what: "fragment", got: 0, count: 0 }) } else { Ok(()) }
        });
    }
    let (mut cursor, mut laters, mut found) = (index.cursor(), index.later_fragments(), Vec::new());
    for no in (0..index.conversations().min(LOOKED_AT)).map(ConvNo) {
        for direction in Direction::BOTH {
            found.clear();
            let read = laters.of(&mut cursor, no, direction, &mut found);
            assert!(read.is_ok() || found.is_empty(), "fragments behind an error");
        }
    }
}

/// Look-ups against the conversations themselves.
fn compare(index: &Index) -> Result<(), IndexError> {
    let conversations: Vec<Conversation> =
        index.iter().map(|each| each.map(|(_, conversation)| conversation)).collect::<Result<_, _>>()?;
    assert_eq!(conversations.len(), index.conversations() as usize);
    let matching = |wanted: &dyn Fn(&Conversation) -> bool| -> Vec<ConvNo> {
        let all = (0..).map(ConvNo).zip(&conversations);
        all.filter(|(_, each)| wanted(each)).map(|(no, _)| no).collect()
    };
    let (mut found, mut seen) = (Vec::new(), vec![false; index.packets() as usize]);
    let mut packets = Vec::new();
    for (no, conversation) in (0..).map(ConvNo).zip(&conversations) {
        for Endpoint { addr, port } in [conversation.a, conversation.b] {
            if let Some(addr) = addr {
                found.clear();
                index.conversations_by_address(addr..=addr, &mut found)?;
                assert_eq!(found, matching(&|each| [each.a.addr, each.b.addr].contains(&Some(addr))), "{addr}");
            }
            if let Some(port) = port {
                found.clear();
                index.conversations_by_port(port..=port, &mut found)?;
                assert_eq!(found, matching(&|each| [each.a.port, each.b.port].contains(&Some(port))), "port {port}");
            }
        }
        found.clear();
        index.conversations_by_class(|class| *class == *conversation.class, &mut found)?;
        assert_eq!(found, matching(&|each| each.class == conversation.class), "{:?}", conversation.class);
        packets.clear();
        index.cursor().all_packets(no, &mut packets)?;
        assert_eq!(packets.len() as u64, conversation.sides.iter().map(|side| u64::from(side.packets)).sum::<u64>());
        for packet in &packets {
            let was_seen = std::mem::replace(&mut seen[packet.0 as usize], true);
            assert!(!was_seen, "packet {} is in two conversations", packet.0);
            let anchor = index.locate(*packet)?;
            assert!(anchor.block < index.block_count() && anchor.skip < 16);
        }
    }
    assert!(seen.iter().all(|seen| *seen), "a packet that is in no conversation");
    Ok(())
}

/// Makes every checksum of the file right, innermost first, as the footer says where they are.
fn repair(file: &mut [u8]) -> Option<()> {
    let footer = file.len().checked_sub(FOOTER_BYTES)?;
    let toc = usize::try_from(u64_at(file, footer + 16)?).ok()?;
    let page_table = usize::try_from(u64_at(file, footer + 32)?).ok()?;
    if page_table > toc || toc > footer {
        return None;
    }
    for page in 0..page_table.div_ceil(PAGE_BYTES) {
        let start = page * PAGE_BYTES;
        let sum = sum(file, start..page_table.min(start + PAGE_BYTES))?;
        put(file, page_table + page * 4, sum)?;
    }
    for (at, range) in [(28, toc..footer), (44, page_table..toc), (0, footer + 4..file.len())] {
        let sum = sum(file, range)?;
        put(file, footer + at, sum)?;
    }
    Some(())
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().copied().map(u64::from_le_bytes)
}

fn sum(file: &[u8], range: Range<usize>) -> Option<u32> {
    file.get(range).map(crc32c::crc32c)
}

fn put(file: &mut [u8], at: usize, sum: u32) -> Option<()> {
    file.get_mut(at..)?.get_mut(..4)?.copy_from_slice(&sum.to_le_bytes());
    Some(())
}
