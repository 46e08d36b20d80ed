//! Catalogue files: whatever becomes of one, and of the indexes that it tells of, answers are those of a linear scan.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt,
    path::PathBuf,
    thread::sleep,
    time::Duration,
};

use proptest::{collection::vec, prelude::*};
use steno_core::testkit::{RecipePacket, recipe};
use steno_index::{Cause, FORMAT_MAJOR, FORMAT_MINOR, Facts, Gap, Loss};
use steno_query::{
    Options, Query, Store,
    receipt::Receipt,
    store::{CATALOGUE_FILE, Kept, KeptError},
};

use crate::{
    generate::{EPOCH_NS, expr, segment},
    support::{IndexKind, Shape, TestStore, assert_scan, everything, query, settle, take},
};

/// Some packets between 10.0.`net`.x and a server.
fn packets(net: u64) -> Vec<RecipePacket> {
    let line = |i: u64| {
        let (host, time) = (i % 5, format!("{}.{i:03}", 100 + net));
        match i % 3 {
            0 => format!("{time} ip 10.0.{net}.{host} > 10.1.0.1 tcp {} > 80 data 9\n", 1000 + host),
            1 => format!("{time} ip 2001:db8::{net}:{host} > 2001:db8::1 udp {} > 53\n", 1000 + host),
            _ => format!("{time} type 0x0806 data 28\n"),
        }
    };
    recipe(&(0..30).map(line).collect::<String>()).unwrap()
}

/// One segment for each of three networks, so old that they are settled.
fn store() -> TestStore {
    let mut store = TestStore::new();
    for net in 0..3 {
        store.add(0, (100 + net) * 1_000_000, &packets(net), &Shape::default());
    }
    settle();
    store
}

fn keep(store: &TestStore) {
    store.open().keep_catalogue().unwrap();
    assert_eq!(store.open().catalogue().not_kept(), 0, "all of them are settled");
}

fn catalogue_file(store: &TestStore) -> PathBuf {
    store.path().join("IDX0").join(CATALOGUE_FILE)
}

/// Queries that filters decide, and such that they do not.
const QUERIES: [&str; 9] = [
    "host 10.0.1.3",
    "host 10.9.9.9",
    "host 10.0.0.1 or host 2001:db8::2:1",
    "src host 10.0.2.2 and tcp",
    "net 10.0.1.0/30",
    "net 10.0.0.0/8",
    "not host 10.0.1.3",
    "port 80 and host 10.1.0.1",
    "host in {10.0.0.1, 10.0.2.0/30} and not udp",
];

/// What matters of a receipt.
fn said(receipt: &Receipt) -> String {
    format!("{receipt}")
}

#[test]
fn answers_and_receipts_are_the_same_with_it_and_without() {
    let mut store = store();
    store.add(0, 200_000_000, &packets(7), &Shape { index: IndexKind::Leveldb, ..Shape::default() });
    store.add(1, 200_000_000, &packets(8), &Shape { index: IndexKind::Old, ..Shape::default() });
    settle();
    let without = store.open();
    store.open().keep_catalogue().unwrap();
    let with = store.open();
    assert_eq!(with.catalogue().not_kept(), 2, "of indexes of version 2 nothing is kept that were not opened");
    for text in QUERIES {
        let _packets = assert_scan(&store, text);
        assert_eq!(everything(&with, text), everything(&without, text), "{text}");
    }
    assert_eq!(with.catalogue().not_kept(), 0, "and nothing can be");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_answer_is_that_of_a_linear_scan(
        segments in vec(segment(30), 1..6),
        exprs in vec(expr(), 12),
    ) {
        let mut store = TestStore::new();
        for (name, (packets, shape)) in (0..).zip(segments) {
            store.add(0, EPOCH_NS / 1_000 + name, &packets, &shape);
        }
        settle();
        keep(&store);
        let opened = store.open();
        for expr in exprs {
            let query = Query { expr };
            let mut answer = opened.answer(&query, Options::default());
            prop_assert_eq!(take(&mut answer), store.scan(&query.expr), "{}", query);
            prop_assert!(answer.receipt().is_complete(), "{}", answer.receipt());
        }
    }
}

#[test]
fn what_was_lost_is_told_without_opening_an_index() {
    let mut store = TestStore::new();
    let at = steno_core::TimestampNs::from_parts;
    let gap = Gap { from: at(99, 0), to: at(100, 0), reason: "stopped".to_owned() };
    let losses = vec![Loss { second: 100, cause: Cause::RingFull, count: 3 }];
    let facts = Facts { gaps: vec![gap], losses, ..Facts::default() };
    store.add(0, 100_000_000, &packets(0), &Shape { facts, ..Shape::default() });
    settle();
    let asked = query("host 9.9.9.9");
    let receipt = |store: &Store| {
        let mut answer = store.answer(&asked, Options::default());
        assert_eq!(take(&mut answer), []);
        answer.receipt()
    };
    let without = receipt(&store.open());
    keep(&store);
    let with = receipt(&store.open());
    assert_eq!((with.gaps.len(), with.losses.ring_freezes), (1, 3));
    assert_eq!(said(&with), said(&without));
}

/// The file by the numbers of `docs/format/catalogue.md`.
#[test]
fn the_file_is_laid_out_as_it_is_documented() {
    let store = store();
    keep(&store);
    let bytes = fs::read(catalogue_file(&store)).unwrap();
    let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    assert_eq!(bytes[..8], *b"\x89STENOCT");
    assert_eq!((bytes[8..12].to_vec(), u32_at(12)), (vec![1, 0, 1, 0], 3));
    assert_eq!(u64_at(16), bytes.len() as u64);
    let table = usize::try_from(u64_at(24)).unwrap();
    assert_eq!(table + 3 * 96, bytes.len());
    assert_eq!(u32_at(32), crc32c::crc32c(&bytes[table..]));
    let version = u32::from(FORMAT_MAJOR) << 16 | u32::from(FORMAT_MINOR);
    assert_eq!([u32_at(36), u32_at(40)], [version, u32::try_from(Cause::ALL.len()).unwrap()]);
    assert_eq!((u32_at(44), u64_at(48), u32_at(56)), (0, table as u64, 0), "no groups");
    assert_eq!(u32_at(60), crc32c::crc32c(&bytes[..60]));
    for (net, entry) in (0u64..3).zip((table..).step_by(96)) {
        let segment = (100 + net) * 1_000_000;
        assert_eq!(u64_at(entry), segment);
        assert_eq!(u64_at(entry + 16), fs::metadata(store.index_file(0, segment)).unwrap().len());
        assert_eq!(u64_at(entry + 40), (100 + net) * 1_000_000_000);
        assert_eq!(u64_at(entry + 48), (100 + net) * 1_000_000_000 + 29_000_000);
        assert_eq!((u32_at(entry + 56), u32_at(entry + 60)), (30, 0), "packets, and facts of losses");
        assert_eq!((u64_at(entry + 64), u32_at(entry + 72)), (0, 0), "nothing was lost");
        let (filter, filter_bytes) = (usize::try_from(u64_at(entry + 80)).unwrap(), u32_at(entry + 88) as usize);
        // Twelve addresses: five of each family, and two servers.
        assert_eq!(filter_bytes, 32);
        assert_eq!(u32_at(entry + 92), crc32c::crc32c(&bytes[filter..filter + filter_bytes]));
    }
}

/// A filter of nothing, with all checksums right: then nothing is found, for the index is not asked.
#[test]
fn a_segment_without_the_address_is_not_opened() {
    let store = store();
    keep(&store);
    let path = catalogue_file(&store);
    let mut bytes = fs::read(&path).unwrap();
    let table = usize::try_from(u64::from_le_bytes(bytes[24..32].try_into().unwrap())).unwrap();
    let entry = table + 96;
    let filter = usize::try_from(u64::from_le_bytes(bytes[entry + 80..entry + 88].try_into().unwrap())).unwrap();
    bytes[filter..filter + 32].fill(0);
    let crc = crc32c::crc32c(&[0; 32]);
    bytes[entry + 92..entry + 96].copy_from_slice(&crc.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[table..]);
    bytes[32..36].copy_from_slice(&crc.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..60]);
    bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    let mut answer = store.open().answer(&query("host 10.0.1.3"), Options::default());
    assert_eq!(take(&mut answer), []);
    let segments = answer.receipt().segments;
    assert_eq!((segments.considered, segments.skipped, segments.read), (3, 3, 0));
    assert_eq!(assert_scan(&store, "port 80 and tcp"), 30, "what filters do not tell is looked up");
}

#[test]
fn wherever_it_is_cut_or_flipped_the_answer_stands() {
    let store = store();
    keep(&store);
    let path = catalogue_file(&store);
    let whole = fs::read(&path).unwrap();
    for len in 0..whole.len() {
        let refused = Kept::from_bytes(whole[..len].to_vec());
        match refused.map(drop) {
            Err(KeptError::NotACatalogue { .. }) => assert!(len < 64, "cut to {len}"),
            Err(KeptError::Length { expected, got }) => {
                assert_eq!((expected, got), (whole.len() as u64, len as u64));
            }
            other => panic!("cut to {len}: {other:?}"),
        }
    }
    let table = whole.len() - 3 * 96;
    for at in 0..whole.len() {
        let mut bad = whole.clone();
        bad[at] ^= 1 << (at % 8);
        let read = Kept::from_bytes(bad.clone());
        // A filter is held against its checksum when it is asked, and what fills up behind it is nobody's.
        assert_eq!(read.is_ok(), (64..table).contains(&at), "byte {at}: {:?}", read.err());
        fs::write(&path, bad).unwrap();
        for text in ["host 10.0.1.3", "host 2001:db8::2:1"] {
            let found = assert_scan(&store, text);
            assert!(found > 0, "byte {at}");
        }
    }
    fs::write(&path, []).unwrap();
    let _found = assert_scan(&store, "host 10.0.1.3");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let _found = assert_scan(&store, "host 10.0.1.3");
    assert!(store.open().keep_catalogue().is_err(), "a directory has the name");
    let left = fs::read_dir(store.path().join("IDX0")).unwrap().count();
    assert_eq!(left, 4, "and nothing is left behind");
}

#[test]
fn lies_under_good_checksums_are_refused() {
    let store = store();
    keep(&store);
    let whole = fs::read(catalogue_file(&store)).unwrap();
    let table = whole.len() - 3 * 96;
    let with = |at: usize, value: &[u8]| {
        let mut bytes = whole.clone();
        bytes[at..at + value.len()].copy_from_slice(value);
        let crc = crc32c::crc32c(&bytes[table..]);
        bytes[32..36].copy_from_slice(&crc.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..64].copy_from_slice(&crc.to_le_bytes());
        Kept::from_bytes(bytes).map(drop)
    };
    let far = u64::MAX.to_le_bytes();
    for (at, value, what, number) in [
        (12, &u32::MAX.to_le_bytes()[..], "the entries do not fill the file", u32::MAX),
        (24, &far[..], "the entries do not fill the file", 3),
        (table, &far[..], "the segments do not ascend", 1),
        (table + 96 + 40, &far[..], "the earliest time is after the latest", 1),
        (table + 80, &far[..], "a part outside of the file", 0),
        (table + 88, &u32::MAX.to_le_bytes()[..], "a part outside of the file", 0),
        (table + 80, &(table as u64).to_le_bytes()[..], "a part outside of the file", 0),
        (table + 88, &[31][..], "a filter of no possible size", 0),
    ] {
        match with(at, value) {
            Err(KeptError::Corrupt { what: got, entry }) => assert_eq!((got, entry), (what, number), "at {at}"),
            other => panic!("{what}: {other:?}"),
        }
    }
    assert!(matches!(with(8, &[2]), Err(KeptError::Version { got: 2, expected: 1 })));
    // One who knew fewer causes of losses left the others out.
    for (at, value) in [(36, 0x0003_0001u32), (36, 0), (40, 7), (40, 99)] {
        assert!(matches!(with(at, &value.to_le_bytes()), Err(KeptError::OtherKnowledge { .. })));
    }
    assert!(matches!(with(0, b"\x89STENOIX"), Err(KeptError::NotACatalogue { .. })));
    assert!(matches!(with(16, &[0]), Err(KeptError::Length { .. })));
    with(60, &[]).unwrap();
}

#[test]
fn an_index_that_changed_is_not_believed_to_be_the_one_before() {
    // Each in a store of its own, with what becomes of the second segment.
    let damaged = |store: &TestStore, change: &dyn Fn(&TestStore)| {
        keep(store);
        let before = store.open();
        settle();
        change(store);
        before.refresh().unwrap();
        for opened in [store.open(), before] {
            let mut answer = opened.answer(&query("host 10.0.9.9"), Options::default());
            assert_eq!(take(&mut answer), []);
            let receipt = answer.receipt();
            assert!(!receipt.is_complete(), "{receipt}");
            assert!(receipt.unreadable.iter().any(|file| file.file.ends_with("/101000000")), "{receipt}");
        }
    };
    let index = |store: &TestStore| store.index_file(0, 101_000_000);
    damaged(&store(), &|store| fs::remove_file(index(store)).unwrap());
    damaged(&store(), &|store| fs::remove_file(store.packet_file(0, 101_000_000)).unwrap());
    // The same length, in another file of the name.
    damaged(&store(), &|store| {
        let (bytes, path) = (fs::read(index(store)).unwrap(), index(store));
        let other = path.with_file_name("other");
        fs::write(&other, vec![7; bytes.len()]).unwrap();
        fs::rename(other, path).unwrap();
    });
}

#[test]
fn an_index_that_was_damaged_in_its_place_is_noticed_at_the_next_opening() {
    let store = store();
    keep(&store);
    let path = store.index_file(0, 101_000_000);
    let (mut bytes, modified) = (fs::read(&path).unwrap(), fs::metadata(&path).unwrap().modified().unwrap());
    let at = bytes.len() - 60;
    bytes[at] ^= 1;
    fs::write(&path, bytes).unwrap();
    OpenOptions::new().write(true).open(&path).unwrap().set_modified(modified).unwrap();
    let mut answer = store.open().answer(&query("host 10.0.9.9"), Options::default());
    assert_eq!(take(&mut answer), []);
    assert!(!answer.receipt().is_complete(), "{}", answer.receipt());
}

/// An index stays open between two questions; what becomes of its bytes meanwhile is noticed.
#[test]
fn an_index_that_is_damaged_while_it_is_open_is_noticed() {
    let store = store();
    let opened = store.open();
    let asked = query("port 1003 and tcp");
    let ask = |opened: &Store| {
        let mut answer = opened.answer(&asked, Options::default());
        (take(&mut answer), answer.receipt())
    };
    let (expected, receipt) = ask(&opened);
    assert!(expected == store.scan(&asked.expr) && receipt.is_complete(), "{receipt}");
    let path = store.index_file(0, 101_000_000);
    let whole = fs::read(&path).unwrap();
    for at in (0..whole.len()).step_by(7) {
        settle_a_tick();
        let mut bad = whole.clone();
        bad[at] ^= 0x55;
        // In its place, as a program writes that knows nothing of names.
        OpenOptions::new().write(true).open(&path).unwrap().write_all_at(&bad, 0).unwrap();
        let (got, receipt) = ask(&opened);
        assert!(got == expected || !receipt.is_complete(), "byte {at}: {receipt}");
    }
}

/// What two changes within the same tick of a clock would leave.
fn settle_a_tick() {
    sleep(Duration::from_millis(10));
}

#[test]
fn a_segment_that_was_replaced_is_searched_as_it_is_now() {
    let mut store = store();
    keep(&store);
    let opened = store.open();
    settle();
    store.forget(0, 101_000_000);
    // Of the same length, and by other files of the name, as a repair does it.
    let new = packets(9);
    let away = |path: PathBuf| fs::remove_file(path).unwrap();
    away(store.index_file(0, 101_000_000));
    away(store.packet_file(0, 101_000_000));
    store.add(0, 101_000_000, &new, &Shape::default());
    opened.refresh().unwrap();
    for store_now in [opened, store.open()] {
        for (text, packets) in [("host 10.0.9.3", 2), ("host 10.0.1.3", 0), ("host 10.0.2.3", 2)] {
            let query = query(text);
            let mut answer = store_now.answer(&query, Options::default());
            assert_eq!(take(&mut answer), store.scan(&query.expr), "{text}");
            assert_eq!(answer.receipt().packets, packets, "{text}");
        }
    }
}

#[test]
fn the_file_of_another_directory_is_worth_nothing_and_harms_nothing() {
    let (one, mut other) = (store(), TestStore::new());
    keep(&one);
    // The same names, and addresses that the other does not have.
    for net in 0..3 {
        other.add(0, (100 + net) * 1_000_000, &packets(50 + net), &Shape::default());
    }
    let _copied = fs::copy(catalogue_file(&one), catalogue_file(&other)).unwrap();
    assert_eq!(other.open().catalogue().not_kept(), 3);
    assert_eq!(assert_scan(&other, "host 10.0.51.3"), 2);
    assert_eq!(assert_scan(&other, "host 10.0.1.3"), 0);
}

#[test]
fn what_was_added_since_is_found_and_kept_with_the_next() {
    let mut store = store();
    keep(&store);
    let opened = store.open();
    store.add(0, 150_000_000, &packets(9), &Shape::default());
    opened.refresh().unwrap();
    assert_eq!(opened.catalogue().not_kept(), 1);
    let found = |opened: &Store| take(&mut opened.answer(&query("host 10.0.9.3"), Options::default())).len();
    assert_eq!(found(&opened), 2);
    settle();
    opened.keep_catalogue().unwrap();
    opened.refresh().unwrap();
    assert_eq!(opened.catalogue().not_kept(), 0);
    assert_eq!((found(&opened), found(&store.open())), (2, 2));
    // With nothing to be added, nothing is written.
    let written = fs::metadata(catalogue_file(&store)).unwrap().modified().unwrap();
    settle();
    opened.keep_catalogue().unwrap();
    assert_eq!(fs::metadata(catalogue_file(&store)).unwrap().modified().unwrap(), written);
}

#[test]
fn writers_at_once_leave_a_whole_file_and_nothing_else() {
    let store = store();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let _writer = scope.spawn(|| {
                for _ in 0..20 {
                    // Each writes all of it again.
                    let path = catalogue_file(&store);
                    let opened = store.open();
                    let _other_may_be_first = fs::remove_file(path);
                    opened.refresh().unwrap();
                    opened.keep_catalogue().unwrap();
                }
            });
        }
        for _ in 0..40 {
            assert_eq!(assert_scan(&store, "host 10.0.1.3"), 2);
        }
    });
    let mut names: Vec<_> = fs::read_dir(store.path().join("IDX0")).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, [CATALOGUE_FILE, "100000000", "101000000", "102000000"]);
    let kept = Kept::from_bytes(fs::read(catalogue_file(&store)).unwrap()).unwrap();
    let segments: Vec<_> = kept.segments().map(|(id, packets)| (id.0, packets)).collect();
    assert_eq!(segments, [(100_000_000, 30), (101_000_000, 30), (102_000_000, 30)]);
    assert_eq!(kept.may_hold(1, "10.0.1.3".parse().unwrap()), Some(true));
    assert_eq!(kept.may_hold(3, "10.0.1.3".parse().unwrap()), None);
}
