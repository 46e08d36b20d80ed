//! Every region of a packet file and of an index flipped, cut, zeroed, overwritten and swapped: an answer is exact, or its
//! receipt names the segment. Where there are no checksums this holds for all but the packets' own bytes.

use std::{collections::BTreeMap, fs};

use steno_core::testkit::{RecipePacket, recipe};
use steno_query::{Options, Query, receipt::Receipt};

use crate::{
    regions::{Injury, Region, injure, injuries, of_index, of_packet_file, of_table},
    support::{Got, IndexKind, Shape, TestStore, query, take},
};

const BLOCK_BYTES: u32 = 1 << 17;
/// Packets of a block; a multiple of 160, after which the packets of the rare host come again.
const BLOCK_PACKETS: u32 = 320;
const SEGMENT: u64 = 100_000_000;

/// Packets of several protocols, three blocks of them. The rare host has those whose bytes are damaged, and no others but few.
fn packets(shift: u64) -> Vec<RecipePacket> {
    let line = |i: u64| {
        let time = format!("{}.{:03}", 100 + i / 1000, i % 1000);
        let rare = matches!(i % 160, 0 | 1 | 15 | 16) || i % u64::from(BLOCK_PACKETS) == 319;
        let (host, i) = ((i + shift) % 23, i + shift);
        let host = if rare { "9.9".to_owned() } else { format!("0.{host}") };
        match i % 4 {
            _ if rare => format!("{time} ip 10.0.{host} > 10.0.1.1 udp {} > 9 data {}\n", 2000 + i % 7, 60 + i % 31),
            0 => format!("{time} ip 10.0.{host} > 10.0.1.1 tcp {} > 80 data {}\n", 1000 + i % 23, i % 90),
            1 => format!("{time} vlan 7 ip 10.0.{host} > 10.0.1.1 udp {} > 53 data 30 stripped\n", 1000 + i % 23),
            2 => format!("{time} ip 2001:db8::{} > 2001:db8::1 tcp {} > 443 data 40\n", i % 23, 1000 + i % 23),
            _ => format!("{time} type 0x0806 data 28\n"),
        }
    };
    recipe(&(0..3 * u64::from(BLOCK_PACKETS)).map(line).collect::<String>()).unwrap()
}

/// Queries that want few packets of a block, which are read singly, and such that want many, for which it is read whole.
const QUERIES: [&str; 5] = [
    "host 10.0.9.9",
    "host 10.0.9.9 and after 1970-01-01T00:01:40.160Z and before 1970-01-01T00:01:40.650Z",
    "tcp or udp or arp",
    "net 10.0.0.0/24 and not port 53",
    "udp port 1009 or after 1970-01-01T00:01:40.900Z",
];

/// A store with a segment that is damaged, and one that is not.
struct Bench {
    store: TestStore,
    index: IndexKind,
    has_checksums: bool,
    /// What the files of the segment are, and those of another.
    packet_file: [Vec<u8>; 2],
    index_file: [Vec<u8>; 2],
    asked: Vec<Asked>,
}

struct Asked {
    query: Query,
    expected: Vec<Got>,
    flows: Vec<String>,
}

impl Bench {
    fn new(index: IndexKind, crc: bool) -> Self {
        let shape = Shape { block_bytes: BLOCK_BYTES, block_packets: BLOCK_PACKETS, crc, index, ..Shape::default() };
        let files = |store: &TestStore| {
            let read = |path| fs::read(path).unwrap();
            (read(store.packet_file(0, SEGMENT)), read(store.index_file(0, SEGMENT)))
        };
        let (mut store, mut other) = (TestStore::new(), TestStore::new());
        store.add(0, SEGMENT, &packets(0), &shape);
        store.add(1, SEGMENT, &packets(5)[..100], &shape);
        other.add(0, SEGMENT, &packets(1), &shape);
        let ((ours, our_index), (theirs, their_index)) = (files(&store), files(&other));
        let ask = |text: &&str| {
            let query = query(text);
            let flows = store.open().flows(&query, &Options::default());
            assert!(flows.receipt().is_complete());
            let flows = flows.iter().map(|flow| format!("{flow:?}")).collect();
            Asked { expected: store.scan(&query.expr), query, flows }
        };
        let asked: Vec<_> = QUERIES.iter().map(ask).collect();
        Self {
            index,
            has_checksums: crc,
            packet_file: [ours, theirs],
            index_file: [our_index, their_index],
            asked,
            store,
        }
    }

    /// Does all injuries to all regions of the packet file; what is said of those that are neither found nor harmless.
    fn damage_packets(&self) -> Vec<String> {
        let regions = of_packet_file(&self.packet_file[0], BLOCK_BYTES as usize);
        self.damage(&regions, &self.packet_file, &self.store.packet_file(0, SEGMENT), false)
    }

    /// The same for the index.
    fn damage_index(&self) -> Vec<String> {
        let regions = if self.index == IndexKind::Native { of_index } else { of_table }(&self.index_file[0]);
        self.damage(&regions, &self.index_file, &self.store.index_file(0, SEGMENT), true)
    }

    fn damage(
        &self,
        regions: &[Region],
        [file, other]: &[Vec<u8>; 2],
        path: &std::path::Path,
        of_index: bool,
    ) -> Vec<String> {
        let (mut faults, mut injured) = (Vec::new(), 0);
        for region in regions {
            for injury in injuries(region) {
                let Some(bad) = injure(file, other, region, injury) else { continue };
                let is_vouched_for = self.is_vouched_for(region, injury, of_index);
                injured += 1;
                // Of the others some, for what must not happen whatever the bytes are.
                if !is_vouched_for && injured % 8 != 0 {
                    continue;
                }
                fs::write(path, bad).unwrap();
                let mut found = Vec::new();
                self.ask(region, injury, &mut found);
                if is_vouched_for {
                    faults.append(&mut found);
                }
            }
        }
        fs::write(path, file).unwrap();
        faults
    }

    /// Whether anything is there to tell: without a checksum nothing knows what the bytes of a packet were.
    fn is_vouched_for(&self, region: &Region, injury: Injury, of_index: bool) -> bool {
        if of_index {
            // That of another capture with packets at the same places is as good.
            return self.index == IndexKind::Native || (&region.name[..], injury) != ("file", Injury::Swap);
        }
        let of_whole = region.name == "file" || region.name.split(' ').count() == 2;
        let of_packets = region.name.contains("packet") || of_whole && matches!(injury, Injury::Flip(_) | Injury::Swap);
        self.has_checksums || !of_packets
    }

    fn ask(&self, region: &Region, injury: Injury, faults: &mut Vec<String>) {
        let store = self.store.open();
        for asked in &self.asked {
            let mut answer = store.answer(&asked.query, Options::default());
            let got = take(&mut answer);
            let said = judge(&answer.receipt(), got == asked.expected);
            let wrong = wrong(&got, &asked.expected);
            if wrong > 0 || said.is_err() {
                let (of, text, said) = (asked.expected.len(), &asked.query, said.err().unwrap_or_default());
                faults.push(format!(
                    "{}: {injury:?}: {text}: {wrong} wrong, {} of {of}; {said}",
                    region.name,
                    got.len()
                ));
            }
            let flows = store.flows(&asked.query, &Options::default());
            let got: Vec<_> = flows.iter().map(|flow| format!("{flow:?}")).collect();
            if let Err(said) = judge(flows.receipt(), got == asked.flows) {
                faults.push(format!("{}: {injury:?}: flows of {}: {said}", region.name, asked.query));
            }
        }
    }
}

/// Packets that are not those of the scan.
fn wrong(got: &[Got], expected: &[Got]) -> usize {
    if got == expected {
        return 0;
    }
    let right: BTreeMap<_, _> = expected.iter().map(|packet| (packet.place, packet)).collect();
    got.iter().filter(|packet| right.get(&packet.place) != Some(packet)).count()
}

/// Whether an answer is exact, or its receipt says that it may not be and why.
fn judge(receipt: &Receipt, exact: bool) -> Result<(), String> {
    let named = receipt.unreadable.iter().any(|file| file.file.ends_with("0/100000000") && !file.reason.is_empty());
    match (receipt.is_complete(), named) {
        (true, _) if exact => Ok(()),
        (false, true) => Ok(()),
        _ => Err(format!("exact {exact}, {receipt}")),
    }
}

fn show(faults: &[String]) -> String {
    let mut by: BTreeMap<String, (usize, &str)> = BTreeMap::new();
    for f in faults {
        let region = f.split(": ").next().unwrap();
        let key: String = region.split(' ').filter(|w| w.parse::<u32>().is_err()).collect::<Vec<_>>().join(" ");
        by.entry(key).or_insert((0, f)).0 += 1;
    }
    by.iter().map(|(k, (n, f))| format!("{n:5} {k}: {f}")).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_packet_file_whose_blocks_have_checksums() {
    let faults = Bench::new(IndexKind::Native, true).damage_packets();
    assert!(faults.is_empty(), "{} {}", faults.len(), show(&faults));
}

#[test]
fn a_packet_file_whose_blocks_have_none() {
    let faults = Bench::new(IndexKind::Native, false).damage_packets();
    assert!(faults.is_empty(), "{} {}", faults.len(), show(&faults));
}

#[test]
fn a_native_index() {
    let faults = Bench::new(IndexKind::Native, true).damage_index();
    assert!(faults.is_empty(), "{} {}", faults.len(), show(&faults));
}

#[test]
fn a_packet_file_with_an_index_of_version_2() {
    let faults = Bench::new(IndexKind::Leveldb, false).damage_packets();
    assert!(faults.is_empty(), "{} {}", faults.len(), show(&faults));
}

#[test]
fn an_index_of_version_2() {
    let faults = Bench::new(IndexKind::Leveldb, false).damage_index();
    assert!(faults.is_empty(), "{} {}", faults.len(), show(&faults));
}

#[test]
fn a_packet_file_of_1_0_1() {
    let faults = Bench::new(IndexKind::Old, false).damage_packets();
    assert!(faults.is_empty(), "{} {}", faults.len(), show(&faults));
}

#[test]
fn an_index_of_1_0_1() {
    let faults = Bench::new(IndexKind::Old, false).damage_index();
    assert!(faults.is_empty(), "{} {}", faults.len(), show(&faults));
}
