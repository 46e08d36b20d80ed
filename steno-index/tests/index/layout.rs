//! Holds `docs/format/index.md` and the code together: offsets and sizes of the document, spelled out here as numbers,
//! are read from a golden file without a line of the crate's own decoding, and compared with what the crate answers.

use std::{collections::BTreeMap, fs, path::PathBuf};

use crate::segments::packet_file_of_blocks;
use steno_core::{
    PacketNo, Position, TimestampNs,
    packet::{Decoded, Fragment, Network, Tag},
};
use steno_index::{BlockChecksums, BlockNote, ConvNo, Direction, Index, IndexError, Log, NetworkKind};

fn file(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn golden() -> (Vec<u8>, Index) {
    let bytes = fs::read(file("tests/golden/groups.idx")).unwrap();
    (bytes.clone(), Index::from_bytes(bytes).unwrap())
}

fn int(bytes: &[u8], at: usize, size: usize) -> u64 {
    bytes[at..at + size].iter().rev().fold(0, |n, &byte| n << 8 | u64::from(byte))
}

fn size(n: u64) -> usize {
    usize::try_from(n).unwrap()
}

/// Offset, length, count and scale of a section, by id.
type Sections = BTreeMap<u64, (usize, usize, usize, u64)>;

fn toc(bytes: &[u8]) -> Sections {
    let footer = bytes.len() - 128;
    let toc = size(int(bytes, footer + 16, 8));
    let entry = |i: u64| {
        let at = toc + 40 * size(i);
        let field = |offset| size(int(bytes, at + offset, 8));
        assert_eq!(int(bytes, at + 4, 4), 0);
        (int(bytes, at, 4), (field(8), field(16), field(24), int(bytes, at + 32, 8)))
    };
    (0..int(bytes, footer + 24, 4)).map(entry).collect()
}

/// Section 3 of the document, by its letter. Gives the values and the length of the block.
fn block(bytes: &[u8], n: usize, scale: u64) -> (Vec<u64>, usize) {
    let (width, has_exceptions) = (usize::from(bytes[0] & 0x7f), bytes[0] & 0x80 != 0);
    if bytes[1] & 32 != 0 {
        let (value_bytes, listed) = (usize::from(bytes[1] & 15), usize::from(bytes[2]));
        let places = 3 + listed * value_bytes;
        let place = |i: usize| {
            let bit = |bit| bytes[places + (i * width + bit) / 8] >> ((i * width + bit) % 8) & 1;
            (0..width).fold(0, |n, at| n | usize::from(bit(at)) << at)
        };
        let values = (0..n).map(|i| int(bytes, 3 + place(i) * value_bytes, value_bytes).wrapping_mul(scale));
        return (values.collect(), places + (n * width).div_ceil(8));
    }
    let (base_bytes, running) = (usize::from(bytes[1] & 15), bytes[1] & 16 != 0);
    let (exceptions, high_width) = if has_exceptions { (usize::from(bytes[2]), usize::from(bytes[3])) } else { (0, 0) };
    let mut at = if has_exceptions { 4 } else { 2 };
    let base = int(bytes, at, base_bytes);
    at += base_bytes;
    let bits = |from: usize, width: usize, i: usize| {
        (0..width).fold(0u64, |n, bit| {
            let place = i * width + bit;
            n | u64::from(bytes[from + place / 8] >> (place % 8) & 1) << bit
        })
    };
    let mut packed: Vec<u64> = (0..n).map(|i| bits(at, width, i)).collect();
    at += (n * width).div_ceil(8);
    let slots = &bytes[at..at + exceptions];
    at += exceptions;
    for (i, &slot) in slots.iter().enumerate() {
        packed[usize::from(slot)] |= bits(at, high_width, i) << width;
    }
    at += (exceptions * high_width).div_ceil(8);
    let mut sum = base;
    let values = packed.into_iter().map(|p| {
        sum = sum.wrapping_add(p);
        (if running { sum } else { base.wrapping_add(p) }).wrapping_mul(scale)
    });
    (values.collect(), at)
}

fn column(bytes: &[u8], (offset, _, count, scale): (usize, usize, usize, u64)) -> Vec<u64> {
    let blocks = count.div_ceil(128);
    let mut values = Vec::new();
    for b in 0..blocks {
        let data = offset + 4 * (blocks + 1);
        let place = |i| data + size(int(bytes, offset + 4 * i, 4));
        let (of_block, len) = block(&bytes[place(b)..], (count - b * 128).min(128), scale);
        assert_eq!(place(b) + len, place(b + 1));
        values.extend(of_block);
    }
    values
}

#[test]
fn header_footer_and_checksums() {
    let (bytes, index) = golden();
    assert_eq!(bytes[..8], [0x89, 0x53, 0x54, 0x45, 0x4e, 0x4f, 0x49, 0x58]);
    assert_eq!((int(&bytes, 8, 2), int(&bytes, 10, 2), int(&bytes, 12, 4)), (3, 0, 4096));
    let footer = &bytes[bytes.len() - 128..];
    assert_eq!(footer[120..], [0x58, 0x49, 0x4f, 0x4e, 0x45, 0x54, 0x53, 0x89]);
    let sst = [0x57, 0xfb, 0x80, 0x8b, 0x24, 0x75, 0x47, 0xdb];
    assert_ne!(footer[120..], sst);
    assert_eq!(int(footer, 0, 4), u64::from(crc32c::crc32c(&footer[4..])));
    assert_eq!((int(footer, 4, 2), int(footer, 6, 2)), (3, 0));
    assert_eq!(int(footer, 8, 8), bytes.len() as u64);
    let (toc, entries) = (size(int(footer, 16, 8)), size(int(footer, 24, 4)));
    assert_eq!(int(footer, 28, 4), u64::from(crc32c::crc32c(&bytes[toc..toc + 40 * entries])));
    let (table, pages) = (size(int(footer, 32, 8)), size(int(footer, 40, 4)));
    assert_eq!((table + 4 * pages, toc + 40 * entries), (toc, bytes.len() - 128));
    assert_eq!(int(footer, 44, 4), u64::from(crc32c::crc32c(&bytes[table..toc])));
    assert_eq!(pages, table.div_ceil(4096));
    for (no, page) in bytes[..table].chunks(4096).enumerate() {
        assert_eq!(int(&bytes, table + 4 * no, 4), u64::from(crc32c::crc32c(page)));
    }
    assert_eq!(int(footer, 48, 4), u64::from(index.packets()));
    assert_eq!(int(footer, 52, 4), u64::from(index.conversations()));
    assert_eq!(int(footer, 56, 4), u64::from(index.block_count()));
    let range = (TimestampNs::new(int(footer, 64, 8)), TimestampNs::new(int(footer, 72, 8)));
    assert_eq!(Some(range), index.time_range());
    assert_eq!(int(footer, 80, 8), index.wire_bytes());
    assert_eq!(footer[60..64], [0; 4]);
    assert_eq!(footer[88..120], [0; 32]);
}

#[test]
fn the_documents_table_of_sections_is_the_files() {
    let document = fs::read_to_string(file("../docs/format/index.md")).unwrap();
    let rows = document.split("## 4. Sections").nth(1).unwrap().split("### ").next().unwrap();
    let mut documented = BTreeMap::new();
    for row in rows.lines().filter(|row| row.starts_with("| ") && !row.starts_with("| id")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        for (id, name) in cells[1].split(", ").zip(cells[2].split(", ")) {
            let _ = documented.insert(id.parse::<u64>().unwrap(), name.to_owned());
        }
    }
    // The one that has running checksums and fragments has all sections.
    let bytes = fs::read(file("tests/golden/pieces.idx")).unwrap();
    let (sections, index) = (toc(&bytes), Index::from_bytes(bytes).unwrap());
    assert_eq!(documented.keys().collect::<Vec<_>>(), sections.keys().collect::<Vec<_>>());
    for ((id, name), info) in documented.iter().zip(index.sections()) {
        let (offset, len, count, _) = sections[id];
        assert_eq!(name, info.name);
        assert_eq!((offset as u64, len as u64, count as u64), (info.offset_bytes, info.len_bytes, info.count));
        assert_eq!(offset % 8, 0, "{name} is not at a multiple of 8");
    }
}

#[test]
fn facts_of_losses() {
    let bytes = fs::read(file("tests/golden/losses.idx")).unwrap();
    let facts = Index::from_bytes(bytes.clone()).unwrap().facts().unwrap().clone();
    assert_eq!((int(&bytes, 8, 2), int(&bytes, 10, 2), int(&bytes, bytes.len() - 122, 2)), (3, 1, 1));
    let (mut at, len, count, _) = toc(&bytes)[&1];
    let end = at + len;
    let mut tags = Vec::new();
    for _ in 0..count {
        let (tag, len) = (int(&bytes, at, 2), size(int(&bytes, at + 4, 4)));
        assert_eq!(int(&bytes, at + 2, 2), 0);
        tags.push((tag, at + 8, len));
        at += 8 + len;
    }
    assert_eq!(at, end);
    let of = |wanted| tags.iter().filter(move |(tag, ..)| *tag == wanted).map(|&(_, at, len)| &bytes[at..at + len]);
    let losses: Vec<_> = of(12).flat_map(|value| value.chunks(24)).collect();
    assert_eq!(losses.len(), facts.losses.len());
    for (record, loss) in losses.iter().zip(&facts.losses) {
        let fields = (loss.second, u64::from(loss.cause.number()), 0, loss.count);
        assert_eq!((int(record, 0, 8), int(record, 8, 4), int(record, 12, 4), int(record, 16, 8)), fields);
    }
    let steps: Vec<_> = of(13).map(|value| (int(value, 0, 8), int(value, 8, 8))).collect();
    assert_eq!(steps, facts.clock_steps.iter().map(|s| (s.from.as_ns(), s.to.as_ns())).collect::<Vec<_>>());
    let ended: Vec<_> = of(14).map(|value| int(value, 0, 8)).collect();
    assert_eq!(ended, [facts.ended.unwrap().as_ns()]);
}

#[test]
fn blocks_and_anchors() {
    let (bytes, index) = golden();
    let sections = toc(&bytes);
    let anchors = column(&bytes, sections[&3]);
    for no in 0..index.block_count() {
        let (record, info) = (&bytes[sections[&2].0 + 64 * no as usize..], index.block(no).unwrap());
        assert_eq!(int(record, 0, 8), info.offset_bytes);
        assert_eq!((int(record, 8, 8), int(record, 16, 8)), (info.min_time.as_ns(), info.max_time.as_ns()));
        assert_eq!(int(record, 24, 8), info.seq_num);
        assert_eq!((int(record, 32, 4), int(record, 36, 4)), (u64::from(info.first_packet.0), u64::from(info.packets)));
        assert_eq!(int(record, 40, 4), u64::from(info.used_bytes));
        assert_eq!((int(record, 44, 4), int(record, 52, 4)), (u64::from(info.crc32c.unwrap()), 1));
        assert_eq!(int(record, 56, 8), 0);
        for packet in 0..info.packets {
            let anchor = index.locate(PacketNo(info.first_packet.0 + packet)).unwrap();
            let expected = anchors[size(int(record, 48, 4)) + packet as usize / 16];
            assert_eq!((u64::from(anchor.position.0), anchor.skip), (expected, packet % 16));
        }
    }
}

#[test]
fn running_checksums() {
    let bytes = fs::read(file("tests/golden/pieces.idx")).unwrap();
    let (sections, index) = (toc(&bytes), Index::from_bytes(bytes.clone()).unwrap());
    assert_eq!((int(&bytes, 8, 2), int(&bytes, 10, 2)), (3, 2));
    let recipe = fs::read_to_string(file("tests/golden/pieces.recipe")).unwrap();
    let packets = packet_file_of_blocks(&steno_core::testkit::recipe(&recipe).unwrap(), 1 << 18);
    let (offset, len, count, scale) = sections[&4];
    assert_eq!((len, count, scale), (40, 10, 1));
    let mut next = 0;
    for (no, block) in packets.chunks(1 << 18).enumerate() {
        let record = &bytes[sections[&2].0 + 64 * no..];
        let used = size(int(record, 40, 4));
        let pieces = used.div_ceil(49_152);
        let (flags, first) = if pieces > 1 { (3, next) } else { (1, 0) };
        assert_eq!((int(record, 52, 4), int(record, 56, 4), int(record, 60, 4)), (flags, first as u64, 0));
        for piece in 1..pieces {
            let expected = crc32c::crc32c(&block[..piece * 49_152]);
            assert_eq!(int(&bytes, offset + 4 * next, 4), u64::from(expected));
            next += 1;
        }
        assert_eq!(index.checksums(u32::try_from(no).unwrap()).unwrap(), Some(BlockChecksums::of(&block[..used])));
    }
    assert_eq!(next, count);
}

#[test]
fn row_groups_and_packet_lists() {
    let (bytes, index) = golden();
    assert_eq!(index.conversations(), 300);
    assert_eq!(row_groups(&bytes, &index), 0, "version 3 has no lists");
    let bytes = fs::read(file("tests/golden/rows.idx")).unwrap();
    let index = Index::from_bytes(bytes.clone()).unwrap();
    assert_eq!(index.conversations(), 958);
    assert!(row_groups(&bytes, &index) >= 7);
}

/// Holds all of a file's row groups against what is read of them. Says how many of their blocks have a list.
fn row_groups(bytes: &[u8], index: &Index) -> usize {
    let mut with_lists = 0;
    let sections = toc(bytes);
    let lists = column(bytes, sections[&64]);
    let (offset, _, count, scale) = sections[&48];
    assert_eq!(count, index.conversations() as usize);
    let groups = count.div_ceil(128);
    let (item4, item2) =
        (|no: u64| int(bytes, sections[&17].0 + 4 * size(no), 4), |no| int(bytes, sections[&19].0 + 2 * size(no), 2));
    let begin = index.time_range().unwrap().0.as_ns();
    for group in 0..groups {
        let data = offset + 4 * (groups + 1);
        let place = |i| data + size(int(bytes, offset + 4 * i, 4));
        let (start, end, n) = (place(group), place(group + 1), (count - group * 128).min(128));
        let mut list = size(int(bytes, start, 4));
        let mut at = start + 4;
        let mut field = |n: usize, scale: u64| {
            let (values, len) = block(&bytes[at..], n, scale);
            with_lists += usize::from(bytes[at + 1] & 32 != 0);
            at += len;
            values.into_iter()
        };
        // The last of the fields that all conversations have is a time.
        let dense: Vec<Vec<u64>> = (0..11).map(|no| field(n, if no == 10 { scale } else { 1 }).collect()).collect();
        let having = |field: usize, least: u64| dense[field].iter().filter(|&&v| v >= least).count();
        let mut forward_last = field(having(6, 1), scale);
        let mut reverse_bytes = field(having(7, 1), 1);
        let mut reverse_first = field(having(7, 1), scale);
        let mut reverse_last = field(having(7, 2), scale);
        assert_eq!(at, end);
        for (row, no) in (0..n).zip(u32::try_from(group * 128).unwrap()..) {
            let no = ConvNo(no);
            let conversation = index.conversation(no).unwrap();
            let v = |field: usize| dense[field][row];
            assert_eq!(*index.classes().unwrap()[size(v(0))], *conversation.class);
            let end = |address, port| format!("{}:{}", std::net::Ipv4Addr::from_bits(address), port);
            let address = |no| u32::try_from(item4(no)).unwrap();
            if conversation.class.network == NetworkKind::V4 && conversation.class.has_ports {
                let (low, high) = (end(address(v(1)), item2(v(3))), end(address(v(2)), item2(v(4))));
                let (a, b) = if v(5) & 1 == 0 { (low, high) } else { (high, low) };
                assert_eq!((a, b), (conversation.a.to_string(), conversation.b.to_string()));
            }
            let [forward, reverse] = conversation.sides;
            assert_eq!((v(6) + 1, v(7)), (u64::from(forward.packets), u64::from(reverse.packets)));
            assert_eq!(v(9), forward.bytes);
            let first = begin + v(10);
            let last = first + if v(6) > 0 { forward_last.next().unwrap() } else { 0 };
            assert_eq!((first, last), (forward.first.as_ns(), forward.last.as_ns()));
            if v(7) > 0 {
                assert_eq!(reverse_bytes.next().unwrap(), reverse.bytes);
                let apart = |from: u64, by: u64, bit: u64| if v(5) & bit != 0 { from - by } else { from + by };
                let first = apart(first, reverse_first.next().unwrap(), 4);
                let last = if v(7) > 1 { apart(last, reverse_last.next().unwrap(), 2) } else { first };
                assert_eq!((first, last), (reverse.first.as_ns(), reverse.last.as_ns()));
            }
            for (direction, packets) in Direction::BOTH.into_iter().zip([v(6), v(7)]) {
                let mut expected = if direction == Direction::Forward { vec![v(8)] } else { vec![] };
                let mut before = v(8);
                for _ in 0..packets {
                    before += lists[list] + 1;
                    list += 1;
                    expected.push(before);
                }
                let mut got = Vec::new();
                index.packets_of(no, direction, &mut got).unwrap();
                assert_eq!(got.iter().map(|p| u64::from(p.0)).collect::<Vec<_>>(), expected);
            }
        }
    }
    with_lists
}

#[test]
fn fragments() {
    let bytes = fs::read(file("tests/golden/mixed.idx")).unwrap();
    let (sections, index) = (toc(&bytes), Index::from_bytes(bytes.clone()).unwrap());
    let begin = index.time_range().unwrap().0.as_ns();
    let [first_ids, first_sides, first_times, sides, ids, times, lengths] =
        [72, 73, 74, 80, 81, 82, 83].map(|id| column(&bytes, sections[&id]));
    assert_eq!((&first_ids[..], first_sides.len(), first_times.len()), (&[77][..], 1, 1));
    let mut firsts = Vec::new();
    let found = index.first_fragments().each(77, |first| {
        firsts.push(first);
        Ok::<_, IndexError>(())
    });
    found.unwrap();
    let first = firsts[0];
    let side = u64::from(first.conversation.0) << 1 | u64::from(first.direction == Direction::Reverse);
    assert_eq!((side, first.time.as_ns()), (first_sides[0], begin + first_times[0]));
    assert_eq!(index.conversation(first.conversation).unwrap().b.to_string(), "10.0.0.2:5353");

    assert_eq!((sides.len(), &ids[..]), (2, &[77, 78][..]));
    let (mut cursor, mut laters, mut found) = (index.cursor(), index.later_fragments(), Vec::new());
    for side in &sides {
        let direction = if side % 2 == 0 { Direction::Forward } else { Direction::Reverse };
        laters.of(&mut cursor, ConvNo(u32::try_from(side / 2).unwrap()), direction, &mut found).unwrap();
    }
    for (at, later) in found.iter().enumerate() {
        let expected = (ids[at], begin + times[at], lengths[at]);
        assert_eq!((later.identification.into(), later.time.as_ns(), later.wire_len.into()), expected);
    }
    assert_eq!(found.iter().map(|later| later.packet).collect::<Vec<_>>(), [PacketNo(9), PacketNo(10)]);
}

/// Numbers that are stored as their distances.
fn ascending(steps: &[u64]) -> impl Iterator<Item = u32> {
    let mut next = 0;
    steps.iter().map(move |step| {
        let no = next + step;
        next = no + 1;
        u32::try_from(no).unwrap()
    })
}

/// What is found under an item of section 17 or 19.
fn having(index: &Index, dictionary: u64, value: u64) -> Vec<ConvNo> {
    let mut got = Vec::new();
    if dictionary == 17 {
        let address = std::net::IpAddr::V4(u32::try_from(value).unwrap().into());
        index.conversations_by_address(address..=address, &mut got).unwrap();
    } else {
        let port = u16::try_from(value).unwrap();
        index.conversations_by_port(port..=port, &mut got).unwrap();
    }
    got
}

#[test]
fn postings_by_row_groups() {
    let bytes = fs::read(file("tests/golden/rows.idx")).unwrap();
    let (sections, index) = (toc(&bytes), Index::from_bytes(bytes.clone()).unwrap());
    assert_eq!((int(&bytes, 8, 2), int(&bytes, 10, 2)), (4, 0));
    let groups = index.conversations().div_ceil(128);
    assert_eq!(groups, 8);
    let most = size(u64::from((groups / 4).min(16 + groups / 128)));
    let (mut by_groups, mut by_conversations) = (0, 0);
    for (dictionary, starts, item_bytes) in [(17, 34, 4), (19, 38, 2)] {
        let (offset, _, count, _) = sections[&dictionary];
        let (starts, postings) = (column(&bytes, sections[&starts]), column(&bytes, sections[&(starts + 1)]));
        for item in 0..count {
            let value = int(&bytes, offset + item * item_bytes, item_bytes);
            let list: Vec<u32> = ascending(&postings[size(starts[item])..size(starts[item + 1])]).collect();
            // Not by a look-up: what the conversations themselves say.
            let all = index.iter().map(|c| c.unwrap()).filter(|(_, conversation)| {
                [conversation.a, conversation.b].iter().any(|end| match (dictionary, end.addr) {
                    (17, Some(std::net::IpAddr::V4(addr))) => u64::from(addr.to_bits()) == value,
                    (17, _) => false,
                    _ => end.port.map(u64::from) == Some(value),
                })
            });
            let all: Vec<u32> = all.map(|(no, _)| no.0).collect();
            let mut of_groups: Vec<u32> = all.iter().map(|no| no / 128).collect();
            of_groups.dedup();
            if of_groups.len() <= most {
                assert_eq!(list, of_groups, "item {value} of section {dictionary}");
                by_groups += 1;
            } else {
                assert_eq!(list, all, "item {value} of section {dictionary}");
                by_conversations += 1;
            }
            assert_eq!(having(&index, dictionary, value).iter().map(|no| no.0).collect::<Vec<_>>(), all);
        }
    }
    assert!(by_groups > 1000 && by_conversations > 10, "{by_groups} and {by_conversations} items");
}

#[test]
fn dictionaries_and_postings() {
    let (bytes, index) = golden();
    let sections = toc(&bytes);
    for (dictionary, starts, item_bytes) in [(17, 34, 4), (19, 38, 2)] {
        let (offset, len, count, _) = sections[&dictionary];
        assert_eq!(len, count * item_bytes);
        let (starts, postings) = (column(&bytes, sections[&starts]), column(&bytes, sections[&(starts + 1)]));
        assert_eq!((starts[0], starts.len(), starts[count]), (0, count + 1, postings.len() as u64));
        for item in 0..count {
            let value = int(&bytes, offset + item * item_bytes, item_bytes);
            let list: Vec<ConvNo> =
                ascending(&postings[size(starts[item])..size(starts[item + 1])]).map(ConvNo).collect();
            assert_eq!(having(&index, dictionary, value), list);
        }
    }
    // IPv6 addresses are in network order, and ascend in it.
    let bytes = fs::read(file("tests/golden/mixed.idx")).unwrap();
    let (offset, len, count, _) = toc(&bytes)[&18];
    assert_eq!((len, count), (32, 2));
    let addresses: [u128; 2] =
        [0, 16].map(|at| u128::from_be_bytes(bytes[offset + at..offset + at + 16].try_into().unwrap()));
    assert_eq!(addresses, [0x2001_0db8 << 96 | 1, 0x2001_0db8 << 96 | 2]);
}

#[test]
fn classes() {
    let bytes = fs::read(file("tests/golden/mixed.idx")).unwrap();
    let (offset, len, count, _) = toc(&bytes)[&16];
    let mut records = Vec::new();
    let mut at = offset;
    while at < offset + len {
        let tags: Vec<u64> = (0..size(int(&bytes, at + 8, 4))).map(|i| int(&bytes, at + 12 + 4 * i, 4)).collect();
        records.push((bytes[at], bytes[at + 1], bytes[at + 2], int(&bytes, at + 4, 2), tags.clone()));
        at += 12 + 4 * tags.len();
    }
    assert_eq!(records.len(), count);
    let mpls = 0x8000_0000;
    assert!(records.contains(&(4, 1 | 2, 6, 0, vec![])), "IPv4, TCP, ports");
    assert!(records.contains(&(4, 1 | 2, 17, 0, vec![7, 8])), "the outermost tag comes first");
    assert!(records.contains(&(6, 1 | 2, 6, 0, vec![mpls + 29, mpls + 30])));
    assert!(records.contains(&(4, 1 | 4, 17, 0, vec![])), "fragments after the first");
    assert!(records.contains(&(1, 0, 0, 0x0806, vec![])), "ARP");
    assert!(records.contains(&(1, 0, 0, 0x0800, vec![5])), "IPv4 cut within its header");
}

#[test]
fn the_log() {
    let mut log = Log::new();
    let time = TimestampNs::new(0x1122_3344_5566_7788);
    let packet = |network, protocol, ports, fragment, identification| Decoded {
        network,
        protocol,
        ports,
        fragment,
        identification,
    };
    let v4 = Network::V4 { src: [1, 2, 3, 4].into(), dst: [5, 6, 7, 8].into() };
    let v6 = Network::V6 { src: [7; 16].into(), dst: [9; 16].into() };
    let mut note = |position, after, d: &Decoded, tags: &[Tag]| {
        log.note(Position(position), TimestampNs::new(time.as_ns() + after), 1514, d, tags);
    };
    note(48, 0, &packet(v4, Some(6), Some((1, 2)), Fragment::First, 0xabcd), &[Tag::Vlan(100)]);
    note(200, 5, &packet(v6, Some(44), None, Fragment::Later, 0x0102_0304), &[Tag::Vlan(1), Tag::Mpls(9)]);
    note(400, 6, &packet(Network::None { ether_type: Some(0x0806) }, None, None, Fragment::Whole, 0), &[]);
    log.end_block(BlockNote { offset_bytes: 0, used_bytes: 500, crc32c: Some(0xfeed), seq_num: 77 });
    let second = BlockNote { offset_bytes: 4096, used_bytes: 9 * 49_152, crc32c: Some(0xfeed), seq_num: 78 };
    log.end_block_with(second, &[11, 12, 13, 14, 15, 16, 17, 18]);
    let bytes = log.to_vec();
    let slot = |no: usize| &bytes[32 * no..32 * no + 32];

    assert_eq!((slot(0)[0], int(slot(0), 8, 8)), (5, time.as_ns()), "time base");
    let first = slot(1);
    assert_eq!(first[..4], [1, 1 | 2 | 1 << 2 | 1 << 4, 6, 0]);
    assert_eq!([4, 8, 12].map(|at| int(first, at, 4)), [48, 1514, 0]);
    assert_eq!([16, 20].map(|at| int(first, at, 4)), [0x0102_0304, 0x0506_0708]);
    assert_eq!([24, 26, 28, 30].map(|at| int(first, at, 2)), [1, 2, 100, 0xabcd]);

    assert_eq!(slot(2)[..4], [4, 1, 2, 0], "tags: a new stack of two");
    assert_eq!([4, 8].map(|at| int(slot(2), at, 4)), [1, 0x8000_0009]);
    assert_eq!(slot(3)[..4], [2, 1 | 2 << 2 | 2 << 4, 44, 0]);
    assert_eq!([4, 8, 12, 16].map(|at| int(slot(3), at, 4)), [200, 1514, 5, 0x0102_0304]);
    assert_eq!((&slot(4)[..16], &slot(4)[16..]), (&[7; 16][..], &[9; 16][..]));

    assert_eq!((slot(5)[0], slot(5)[1], int(slot(5), 30, 2)), (3, 1 << 6, 0x0806));
    let block = slot(6);
    assert_eq!((block[0], block[1], int(block, 4, 4)), (6, 1, 500));
    assert_eq!([0, 77], [int(block, 8, 8), int(block, 16, 8)]);
    assert_eq!([3, 0xfeed], [int(block, 24, 4), int(block, 28, 4)]);
    assert_eq!([time.as_ns(), time.as_ns() + 6], [int(slot(7), 0, 8), int(slot(7), 8, 8)]);
    for (no, values) in [(8, &[11, 12, 13, 14, 15, 16, 17][..]), (9, &[18, 0, 0, 0, 0, 0, 0])] {
        let count = values.iter().filter(|value| **value > 0).count();
        assert_eq!(slot(no)[..4], [7, 0, u8::try_from(count).unwrap(), 0], "running checksums");
        let got: Vec<u64> = (1..8).map(|i| int(slot(no), 4 * i, 4)).collect();
        assert_eq!(got, values);
    }
    assert_eq!((slot(10)[0], int(slot(10), 8, 8)), (6, 4096));
    assert_eq!(bytes.len(), 12 * 32);
}
