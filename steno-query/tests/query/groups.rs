//! Groups of segments in catalogue files: answers and receipts are those that one segment after the other would give, whatever
//! comes between the segments of a group, goes from among them, or is done to the file.

use std::{fs, ops::Range, path::PathBuf};

use proptest::{collection::vec, prelude::*, sample::Index};
use steno_core::{
    TimestampNs,
    pcap::Format,
    testkit::{RecipePacket, recipe},
};
use steno_index::{Cause, Facts, Gap, Loss};
use steno_query::{
    Options, Query, Store,
    store::{CATALOGUE_FILE, Kept, KeptError},
};

use crate::support::{IndexKind, Shape, TestStore, assert_scan, everything, query, settle, take, take_bytes};

/// Segments of a group of the first level: `docs/format/catalogue.md`, section 5.
const GROUP_OF: u64 = 32;

/// One packet from an address of the segment's own to a server, in the second of this number.
fn packets(number: u64, second: u64) -> Vec<RecipePacket> {
    let (high, low) = (number / 256, number % 256);
    recipe(&format!("{second}.000 ip 10.{high}.{low}.1 > 10.200.0.1 tcp 1000 > 80 data 9\n")).unwrap()
}

fn small() -> Shape {
    Shape { block_bytes: 4096, ..Shape::default() }
}

/// Adds the segments of these numbers to thread 0, each a second after the one before.
fn add(store: &mut TestStore, numbers: Range<u64>) {
    for number in numbers {
        store.add(0, name(number), &packets(number, 1_000 + number), &small());
    }
}

fn name(number: u64) -> u64 {
    (1_000 + number) * 1_000_000
}

/// So many segments that they make groups, all of them kept.
fn grouped(segments: u64) -> TestStore {
    let mut store = TestStore::new();
    add(&mut store, 0..segments);
    settle();
    store.open().keep_catalogue().unwrap();
    assert_eq!(store.open().catalogue().not_kept(), 0, "all of them are settled");
    store
}

fn catalogue_file(store: &TestStore) -> PathBuf {
    store.path().join("IDX0").join(CATALOGUE_FILE)
}

fn kept(store: &TestStore) -> Kept {
    Kept::from_bytes(fs::read(catalogue_file(store)).unwrap()).unwrap()
}

/// The places of the first and the last segment of each group.
fn groups(store: &TestStore) -> Vec<(u32, u32)> {
    let kept = kept(store);
    let members = (0..).map_while(|group| Some(kept.group_may_hold(group, [10, 200, 0, 1].into())?.0));
    members.map(|members| (members.start, members.end - 1)).collect()
}

#[test]
fn answers_and_receipts_are_the_same_with_groups_and_without() {
    let mut store = TestStore::new();
    let at = |second: u64| TimestampNs::from_parts(u32::try_from(second).unwrap(), 0);
    // More than a group of the second level, among them such without packets, such that tell of losses, and one of version 2.
    for number in 0..1_200 {
        let second = 1_000 + number;
        let mut shape = small();
        if number % 100 == 7 {
            let gap = Gap { from: at(second - 1), to: at(second), reason: "stopped".to_owned() };
            let loss = Loss { second, cause: Cause::RingFull, count: number };
            shape.facts = Facts { gaps: vec![gap], losses: vec![loss], ..Facts::default() };
        }
        if number == 1_111 {
            shape.index = IndexKind::Leveldb;
        }
        let packets = if number % 90 == 50 { Vec::new() } else { packets(number, second) };
        store.add(0, name(number), &packets, &shape);
    }
    // Another thread, with a clock that went back.
    for number in 0..40 {
        store.add(1, name(number), &packets(2_000 + number, 3_000 - number), &small());
    }
    settle();
    let without = store.open();
    store.open().keep_catalogue().unwrap();
    let with = store.open();
    let groups = groups(&store);
    assert!(groups.contains(&(0, 31)) && groups.contains(&(0, 1023)), "{groups:?}");
    for text in [
        "host 10.0.5.1",
        "host 10.99.0.1",
        "host 10.99.0.1 and port 80",
        "host 10.0.5.1 or host 10.4.100.1",
        "host 10.7.210.1 or host 10.4.87.1",
        "host 10.200.0.1 and after 1970-01-01T00:30:00Z and before 1970-01-01T00:31:00Z",
        "host 10.99.0.1 and after 1970-01-01T00:30:00Z and before 1970-01-01T00:31:00Z",
        "host 10.99.0.1 and after 1970-01-01T00:20:00.5Z",
        "host 10.99.0.1 and (before 1970-01-01T00:18:00Z or after 1970-01-01T00:34:00Z)",
        "tcp and before 1970-01-01T00:16:45Z",
        "net 10.0.16.0/30",
        "not tcp",
        "after 1971-01-01T00:00:00Z",
    ] {
        let _packets = assert_scan(&store, text);
        assert_eq!(everything(&with, text), everything(&without, text), "{text}");
        // It tells how much each interface got and lost in the time asked.
        let options = Options { format: Format::PcapNg, ..Options::default() };
        let file = |store: &Store| take_bytes(&mut store.answer(&query(text), options.clone()));
        assert!(file(&with) == file(&without), "{text}");
    }
}

/// With the filters of all groups empty, and all checksums right, nothing is found: one filter stands for all of its segments, whose own
/// are not asked.
#[test]
fn where_the_filter_of_a_group_lets_nothing_pass_nothing_of_it_is_asked() {
    let store = grouped(70);
    assert_eq!(groups(&store), [(0, 31), (32, 63)]);
    let path = catalogue_file(&store);
    let mut bytes = fs::read(&path).unwrap();
    let table = Tables::of(&bytes);
    for group in table.groups.clone().step_by(32) {
        let filter = table.filter(&bytes, group);
        assert!(!filter.is_empty());
        bytes[filter.clone()].fill(0);
        let crc = crc32c::crc32c(&bytes[filter]).to_le_bytes();
        bytes[group + 24..group + 28].copy_from_slice(&crc);
    }
    table.make_right(&mut bytes);
    fs::write(&path, bytes).unwrap();
    let asked = |number: u64| {
        let text = format!("host 10.0.{number}.1");
        let mut answer = store.open().answer(&query(&text), Options::default());
        let found = take(&mut answer).len();
        let segments = answer.receipt().segments;
        assert_eq!((segments.total, segments.considered, segments.skipped + segments.read), (70, 70, 70));
        found
    };
    assert_eq!([asked(0), asked(31), asked(63), asked(64), asked(69)], [0, 0, 0, 1, 1]);
    assert_eq!(assert_scan(&store, "port 80 and tcp"), 70, "what filters do not tell is looked up");
    // A segment more among the first, and their group is not theirs any more.
    let mut store = store;
    store.add(0, name(3) + 1, &packets(900, 1_003), &small());
    for (number, found) in [(0, 1), (31, 1), (40, 0)] {
        let text = format!("host 10.0.{number}.1");
        assert_eq!(take(&mut store.open().answer(&query(&text), Options::default())).len(), found, "{text}");
    }
}

/// Where the tables of a file are.
struct Tables {
    groups: Range<usize>,
    entries: usize,
}

impl Tables {
    fn of(bytes: &[u8]) -> Self {
        let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let [entries, groups] = [24, 48].map(|at| usize::try_from(u64_at(at)).unwrap());
        Self { groups: groups..entries, entries }
    }

    /// Where the filter of the group is whose row is here.
    fn filter(&self, bytes: &[u8], group: usize) -> Range<usize> {
        let len = u32::from_le_bytes(bytes[group + 12..group + 16].try_into().unwrap()) as usize;
        let at = usize::try_from(u64::from_le_bytes(bytes[group + 16..group + 24].try_into().unwrap())).unwrap();
        assert!(at + len <= self.entries);
        at..at + len
    }

    /// Makes the checksums of the tables and of the header right.
    fn make_right(&self, bytes: &mut [u8]) {
        let groups_at = usize::try_from(u64::from_le_bytes(bytes[48..56].try_into().unwrap())).unwrap();
        let crc = crc32c::crc32c(&bytes[self.entries..]);
        bytes[32..36].copy_from_slice(&crc.to_le_bytes());
        let crc = crc32c::crc32c(bytes.get(groups_at..self.entries).unwrap_or_default());
        bytes[56..60].copy_from_slice(&crc.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    }
}

#[test]
fn wherever_a_group_is_flipped_the_answer_stands() {
    let store = grouped(GROUP_OF + 1);
    assert_eq!(groups(&store), [(0, 31)]);
    let path = catalogue_file(&store);
    let whole = fs::read(&path).unwrap();
    let table = Tables::of(&whole);
    let row = table.entries - 32;
    let filter = table.filter(&whole, row);
    assert_eq!(filter.end, row, "the last of the parts");
    for at in filter.start..table.entries {
        let mut bad = whole.clone();
        bad[at] ^= 1 << (at % 8);
        let read = Kept::from_bytes(bad.clone());
        assert_eq!(read.is_ok(), at < row, "byte {at}: {:?}", read.err());
        fs::write(&path, bad).unwrap();
        for (text, packets) in [("host 10.0.3.1", 1), ("host 10.0.32.1", 1), ("host 10.0.99.1", 0)] {
            assert_eq!(assert_scan(&store, text), packets, "byte {at}");
        }
    }
}

#[test]
fn lies_about_groups_under_good_checksums_are_refused() {
    let store = grouped(2 * GROUP_OF);
    let whole = fs::read(catalogue_file(&store)).unwrap();
    let table = Tables::of(&whole);
    let rows = table.entries - 2 * 32;
    let with = |at: usize, value: &[u8]| {
        let mut bytes = whole.clone();
        bytes[at..at + value.len()].copy_from_slice(value);
        table.make_right(&mut bytes);
        Kept::from_bytes(bytes).map(drop)
    };
    let far = u64::MAX.to_le_bytes();
    for (at, value, what, number) in [
        (44, &[3][..], "the groups do not lie before the entries", 3),
        (48, &far[..], "the groups do not lie before the entries", 2),
        (48, &[0; 8][..], "the groups do not lie before the entries", 2),
        (rows, &[65][..], "a group of entries that are not there", 0),
        (rows, &[1][..], "the groups do not ascend", 1),
        (rows + 4, &[0][..], "a group of entries that are not there", 0),
        (rows + 4, &far[..4], "a group of entries that are not there", 0),
        (rows + 4, &[33][..], "the groups do not ascend", 1),
        (rows + 8, &[0][..], "a group of no possible level", 0),
        (rows + 8, &[7][..], "a group of no possible level", 0),
        (rows + 8, &[2][..], "the groups do not ascend", 1),
        (rows + 12, &far[..4], "a part outside of the file", 0),
        (rows + 12, &[31][..], "a filter of no possible size", 0),
        (rows + 16, &far[..], "a part outside of the file", 0),
    ] {
        match with(at, value) {
            Err(KeptError::Corrupt { what: got, entry }) => assert_eq!((got, entry), (what, number), "at {at}"),
            other => panic!("{what}: {other:?}"),
        }
    }
    with(60, &[]).unwrap();
    // What version 1.0 had, where zeros are.
    let mut bytes = whole.clone();
    bytes[10] = 0;
    bytes[44..60].fill(0);
    let crc = crc32c::crc32c(&bytes[..60]);
    bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    let old = Kept::from_bytes(bytes).unwrap();
    assert_eq!((old.segments().count(), old.group_may_hold(0, [10, 0, 0, 1].into())), (64, None));
}

/// The file by the numbers of `docs/format/catalogue.md`.
#[test]
fn groups_are_laid_out_as_is_documented() {
    let store = grouped(2 * GROUP_OF + 5);
    let bytes = fs::read(catalogue_file(&store)).unwrap();
    let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    assert_eq!((bytes[8..12].to_vec(), u32_at(12), u32_at(44)), (vec![1, 0, 1, 0], 69, 2));
    let [entries, groups] = [24, 48].map(|at| usize::try_from(u64_at(at)).unwrap());
    assert_eq!((groups + 2 * 32, entries + 69 * 96), (entries, bytes.len()));
    assert_eq!(u32_at(56), crc32c::crc32c(&bytes[groups..entries]));
    for (number, row) in (0..2).zip((groups..).step_by(32)) {
        assert_eq!((u32_at(row), u32_at(row + 4), u32_at(row + 8)), (32 * number, 32, 1));
        let (filter, len) = (usize::try_from(u64_at(row + 16)).unwrap(), u32_at(row + 12) as usize);
        // 33 addresses that differ of 64: 50 bytes, in a power of two of blocks.
        assert_eq!((len, bytes[row + 28..row + 32].to_vec()), (64, vec![0; 4]));
        assert_eq!(u32_at(row + 24), crc32c::crc32c(&bytes[filter..filter + len]));
    }
}

#[test]
fn a_group_stays_with_its_segments_until_the_last_of_them_goes() {
    let mut store = grouped(GROUP_OF);
    let opened = store.open();
    let keep = |opened: &Store| {
        settle();
        opened.refresh().unwrap();
        opened.keep_catalogue().unwrap();
        opened.refresh().unwrap();
    };
    // The oldest go, as retention takes them, and others come.
    for number in 0..30 {
        remove(&mut store, name(number));
    }
    add(&mut store, 40..50);
    keep(&opened);
    assert_eq!(groups(&store), [(0, 1)]);
    let kept_now = kept(&store);
    let (_, gone) = kept_now.group_may_hold(0, [10, 0, 3, 1].into()).unwrap();
    assert!(gone, "its filter is that of before");
    for (number, found) in [(3, 0), (30, 1), (31, 1), (45, 1)] {
        assert_eq!(assert_scan(&store, &format!("host 10.0.{number}.1")), found);
    }
    for number in 30..32 {
        remove(&mut store, name(number));
    }
    add(&mut store, 50..52);
    keep(&opened);
    assert_eq!(groups(&store), []);
    // Those that were waiting for one another are one now.
    add(&mut store, 52..72);
    keep(&opened);
    assert_eq!(groups(&store), [(0, 31)]);
    assert_eq!(assert_scan(&store, "host 10.0.71.1"), 1);
}

/// Removes a segment as retention does.
fn remove(store: &mut TestStore, name: u64) {
    fs::remove_file(store.index_file(0, name)).unwrap();
    fs::remove_file(store.packet_file(0, name)).unwrap();
    store.forget(0, name);
}

/// What becomes of a store.
#[derive(Clone, Debug)]
enum Event {
    /// The segment with this one of all names goes.
    Gone(Index),
    /// One comes whose name lies behind that of this one.
    Between(Index),
    /// One comes behind all of them.
    New,
    /// One is replaced by another of its name.
    Replaced(Index),
    /// The catalogue file is written.
    Kept,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => any::<Index>().prop_map(Event::Gone),
        1 => any::<Index>().prop_map(Event::Between),
        3 => Just(Event::New),
        1 => any::<Index>().prop_map(Event::Replaced),
        2 => Just(Event::Kept),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn whatever_comes_and_goes_answers_are_those_of_a_linear_scan(events in vec(event(), 1..14)) {
        let mut store = grouped(66);
        let opened = store.open();
        let mut names: Vec<u64> = (0..66).map(name).collect();
        let mut next = 100;
        for event in events {
            match event {
                Event::Gone(at) => {
                    let name = names.remove(at.index(names.len()));
                    remove(&mut store, name);
                }
                Event::Replaced(at) => {
                    let name = names[at.index(names.len())];
                    remove(&mut store, name);
                    store.add(0, name, &packets(next, name / 1_000_000), &small());
                }
                Event::Between(at) => {
                    let at = at.index(names.len());
                    let name = names[at] + 1;
                    if names.get(at + 1).is_none_or(|next| *next != name) {
                        names.insert(at + 1, name);
                        store.add(0, name, &packets(next, name / 1_000_000), &small());
                    }
                }
                Event::New => {
                    names.push(name(next));
                    store.add(0, name(next), &packets(next, 1_000 + next), &small());
                }
                Event::Kept => {
                    settle();
                    opened.refresh().unwrap();
                    opened.keep_catalogue().unwrap();
                }
            }
            next += 1;
            opened.refresh().unwrap();
            // What has come last, what there was, and what there may be no more.
            for number in [next - 1, next - 2, 0, 31, 40, 65] {
                let Query { expr } = query(&format!("host 10.0.{number}.1"));
                for store_now in [&opened, &store.open()] {
                    let mut answer = store_now.answer(&Query { expr: expr.clone() }, Options::default());
                    prop_assert_eq!(take(&mut answer), store.scan(&expr), "{}", number);
                    let receipt = answer.receipt();
                    prop_assert!(receipt.is_complete(), "{}", receipt);
                    prop_assert_eq!(receipt.segments.considered, names.len() as u64);
                }
            }
        }
    }
}
