//! The parts that a packet file and an index are made of, by name and place, and what can be done to each.

use std::ops::Range;

use steno_core::block::Block;
use steno_index::{Index, SectionInfo};

/// Some bytes of a file that mean one thing.
#[derive(Clone, Debug)]
pub(crate) struct Region {
    pub(crate) name: String,
    pub(crate) range: Range<usize>,
}

/// What is done to a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Injury {
    /// One bit of one of its bytes, by its place in the region, is another.
    Flip(usize),
    /// The file ends where it starts.
    CutBefore,
    /// The file ends in the middle of it.
    CutWithin,
    /// It is zeros.
    Zero,
    /// It is noise.
    Noise,
    /// It is what another file of its kind has at the same place.
    Swap,
}

/// `struct tpacket_block_desc`: fields, by name and length, in their order.
const BLOCK_FIELDS: [(&str, usize); 11] = [
    ("version", 4),
    ("offset_to_priv", 4),
    ("block_status", 4),
    ("num_pkts", 4),
    ("offset_to_first_pkt", 4),
    ("blk_len", 4),
    ("seq_num", 8),
    ("ts_first sec", 4),
    ("ts_first nsec", 4),
    ("ts_last sec", 4),
    ("ts_last nsec", 4),
];

/// `struct tpacket3_hdr` and what follows it up to the frame.
const PACKET_FIELDS: [(&str, usize); 12] = [
    ("tp_next_offset", 4),
    ("tp_sec", 4),
    ("tp_nsec", 4),
    ("tp_snaplen", 4),
    ("tp_len", 4),
    ("tp_status", 4),
    ("tp_mac", 2),
    ("tp_net", 2),
    ("tp_rxhash", 4),
    ("tp_vlan_tci", 4),
    ("tp_vlan_tpid", 2),
    ("padding of the header", 10),
];

/// The footer of a native index, by the numbers of `docs/format/index.md` section 1.
const FOOTER_FIELDS: [(&str, usize); 17] = [
    ("crc", 4),
    ("major", 2),
    ("minor", 2),
    ("file_bytes", 8),
    ("toc", 8),
    ("toc entries", 4),
    ("toc crc", 4),
    ("page_table", 8),
    ("pages", 4),
    ("page table crc", 4),
    ("packets", 4),
    ("conversations", 4),
    ("blocks", 4),
    ("zero", 4),
    ("times and bytes", 24),
    ("zeros", 32),
    ("magic", 8),
];

/// The regions of a packet file: of its first and its last block the header, field by field, some packets likewise,
/// and what is between and behind them.
pub(crate) fn of_packet_file(file: &[u8], block_bytes: usize) -> Vec<Region> {
    let mut regions = vec![Region { name: "file".into(), range: 0..file.len() }];
    let blocks = file.len().div_ceil(block_bytes);
    for block in [0, blocks - 1] {
        let start = block * block_bytes;
        let whole = start..(start + block_bytes).min(file.len());
        let parsed = Block::parse(&file[whole.clone()]).unwrap();
        let used_end = start + parsed.used().len();
        regions.push(Region { name: format!("block {block}"), range: whole.clone() });
        regions.extend(fields(&format!("block {block}"), start, &BLOCK_FIELDS));
        let packets: Vec<_> = parsed.packets().map(Result::unwrap).collect();
        for number in [0, 1, 16, packets.len() - 1] {
            let header = start + packets[number].offset_bytes as usize;
            let frame = header + usize::from(packets[number].header.mac);
            let frame_end = frame + packets[number].bytes.len();
            let next = packets.get(number + 1).map_or(used_end, |next| start + next.offset_bytes as usize);
            let name = format!("block {block} packet {number}");
            regions.push(Region { name: name.clone(), range: header..next });
            regions.extend(fields(&name, header, &PACKET_FIELDS));
            // As recipes make them: Ethernet, then 20 or 40 bytes of IP, then ports; what is behind is payload.
            let headers_end = (frame + 34).min(frame_end);
            for (part, range) in [
                ("sockaddr_ll", header + 48..frame),
                ("frame headers", frame..headers_end),
                ("frame payload", headers_end..frame_end),
                ("padding", frame_end..next),
            ] {
                regions.push(Region { name: format!("{name} {part}"), range });
            }
        }
        regions.push(Region { name: format!("block {block} unused"), range: used_end..whole.end });
    }
    regions.retain(|region| !region.range.is_empty());
    regions
}

/// The regions of a native index.
pub(crate) fn of_index(file: &[u8]) -> Vec<Region> {
    let index = Index::from_bytes(file.to_vec()).unwrap();
    let mut regions = vec![
        Region { name: "file".into(), range: 0..file.len() },
        Region { name: "header magic".into(), range: 0..8 },
        Region { name: "header version".into(), range: 8..12 },
        Region { name: "header page size".into(), range: 12..16 },
    ];
    for SectionInfo { name, offset_bytes, len_bytes, .. } in index.sections() {
        let start = usize::try_from(offset_bytes).unwrap();
        let range = start..start + usize::try_from(len_bytes).unwrap();
        regions.push(Region { name: format!("section {name}"), range });
    }
    let footer = file.len() - 128;
    let at = |offset: usize| {
        let bytes = file[footer + offset..footer + offset + 8].try_into().unwrap();
        usize::try_from(u64::from_le_bytes(bytes)).unwrap()
    };
    let (toc, page_table) = (at(16), at(32));
    regions.push(Region { name: "page table".into(), range: page_table..toc });
    regions.push(Region { name: "table of contents".into(), range: toc..footer });
    regions.extend(fields("footer", footer, &FOOTER_FIELDS));
    regions.retain(|region| !region.range.is_empty());
    regions
}

/// The regions of an index of version 2: as many pieces, and the parts of the footer.
pub(crate) fn of_table(file: &[u8]) -> Vec<Region> {
    const PIECES: usize = 40;
    let footer = file.len() - 48;
    let piece = |n: usize| Region {
        name: format!("piece {n} of {PIECES}"),
        range: footer * n / PIECES..footer * (n + 1) / PIECES,
    };
    let mut regions: Vec<_> = (0..PIECES).map(piece).collect();
    regions.push(Region { name: "file".into(), range: 0..file.len() });
    regions.push(Region { name: "footer".into(), range: footer..file.len() });
    regions.extend(fields("footer", footer, &[("handles", 16), ("zeros", 24), ("magic", 8)]));
    regions
}

/// What can be done to a region. Of a long one some bytes are flipped, of a short one all.
pub(crate) fn injuries(region: &Region) -> Vec<Injury> {
    let len = region.range.len();
    let places: Vec<usize> = if len <= 4 { (0..len).collect() } else { vec![0, len / 3, len - 1] };
    let others = [Injury::CutBefore, Injury::CutWithin, Injury::Zero, Injury::Noise, Injury::Swap];
    places.into_iter().map(Injury::Flip).chain(others).collect()
}

/// `file` with the injury; `None` where that changes nothing.
pub(crate) fn injure(file: &[u8], other: &[u8], region: &Region, injury: Injury) -> Option<Vec<u8>> {
    let mut bytes = file.to_vec();
    let range = region.range.clone();
    match injury {
        Injury::Flip(at) => bytes[range.start + at] ^= 1 << ((range.start + at) % 8),
        Injury::CutBefore => bytes.truncate(range.start),
        Injury::CutWithin => bytes.truncate(range.start + range.len() / 2),
        Injury::Zero => bytes[range].fill(0),
        Injury::Noise => {
            // SplitMix64's mixing of the place: the same at every run.
            let noise = |at: usize| {
                let z = (at as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                ((z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 56).to_le_bytes()[0]
            };
            range.for_each(|at| bytes[at] = noise(at));
        }
        Injury::Swap if region.name == "file" => bytes = other.to_vec(),
        Injury::Swap => {
            let theirs = &other[range.start.min(other.len())..range.end.min(other.len())];
            bytes[range.start..range.start + theirs.len()].copy_from_slice(theirs);
        }
    }
    (bytes != file).then_some(bytes)
}

fn fields(name: &str, start: usize, fields: &[(&str, usize)]) -> Vec<Region> {
    let mut at = start;
    let field = |(field, len): &(&str, usize)| {
        let range = at..at + len;
        at += len;
        Region { name: format!("{name} {field}"), range }
    };
    fields.iter().map(field).collect()
}
