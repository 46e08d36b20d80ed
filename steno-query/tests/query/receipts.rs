//! Whatever a store holds that cannot be searched is named in the receipt, and counts where it may matter.

use std::{fs, sync::Barrier, thread};

use crate::{
    old_index,
    support::{Shape, TestStore, assert_scan, query, take},
};
use steno_core::testkit::{RecipePacket, recipe};
use steno_query::{Options, Receipt, Store, StoreError};

/// One UDP packet in each of `seconds`.
fn udp(seconds: &[u64]) -> Vec<RecipePacket> {
    let line = |s: &u64| format!("{s} ip 10.0.0.1 > 10.0.0.2 udp 1000 > 53 data 9\n");
    recipe(&seconds.iter().map(line).collect::<String>()).unwrap()
}

fn two_segments() -> TestStore {
    let mut store = TestStore::new();
    store.add(0, 100_000_000, &udp(&[100, 101]), &Shape::default());
    store.add(0, 200_000_000, &udp(&[200, 201]), &Shape::default());
    store
}

fn ask(store: &TestStore, text: &str) -> (usize, Receipt) {
    let mut answer = store.open().answer(&query(text), Options::default());
    let packets = take(&mut answer).len();
    (packets, answer.receipt())
}

fn named(receipt: &Receipt) -> Vec<(String, String, bool)> {
    receipt.unreadable.iter().map(|u| (u.file.clone(), u.reason.clone(), u.may_hold_matches)).collect()
}

/// An index of version 2 with an empty table before its end: blocks of nothing, and no checksums.
fn damaged_table() -> Vec<u8> {
    let mut bytes = vec![0; 97];
    bytes.extend_from_slice(&[0x57, 0xfb, 0x80, 0x8b, 0x24, 0x75, 0x47, 0xdb]);
    bytes
}

#[test]
fn a_whole_store_says_what_was_searched() {
    let store = two_segments();
    let (packets, receipt) = ask(&store, "udp and after 1970-01-01T00:03:20.5Z");
    assert_eq!(packets, 1);
    assert!(receipt.is_complete());
    let s = receipt.segments;
    assert_eq!((s.total, s.outside, s.considered, s.read, s.skipped), (2, 1, 1, 1, 0));
    let held = receipt.held.unwrap();
    assert_eq!((held.oldest.secs(), held.newest.secs()), (100, 201));
    assert_eq!(receipt.asked_from.unwrap().to_string(), "200.500000000");
    assert_eq!(receipt.asked_until, None);
    let (_, receipt) = ask(&store, "tcp");
    assert_eq!((receipt.segments.skipped, receipt.segments.read), (2, 0));
    let reparsed = query(&receipt.query);
    assert_eq!(reparsed, query("tcp"));
}

#[test]
fn a_packet_file_without_an_index_is_named() {
    let store = two_segments();
    fs::remove_file(store.index_file(0, 100_000_000)).unwrap();
    let (packets, receipt) = ask(&store, "udp");
    assert_eq!(packets, 2);
    assert!(!receipt.is_complete());
    let reason = "it has no index (`steno verify --repair` makes one)".to_owned();
    assert_eq!(named(&receipt), [("PKT0/100000000".to_owned(), reason, true)]);
    // Nothing is known of its times, so that it may matter whatever is asked.
    assert!(!ask(&store, "after 1970-01-01T00:03:20Z").1.is_complete());
}

#[test]
fn an_index_without_packets_matters_where_its_times_do() {
    let store = two_segments();
    fs::remove_file(store.packet_file(0, 100_000_000)).unwrap();
    let (packets, receipt) = ask(&store, "udp");
    assert_eq!((packets, receipt.is_complete()), (2, false));
    assert_eq!(named(&receipt), [("IDX0/100000000".to_owned(), "its packet file is missing".to_owned(), true)]);
    let (packets, receipt) = ask(&store, "after 1970-01-01T00:03:20Z");
    assert_eq!((packets, receipt.is_complete()), (2, true));
    assert!(!named(&receipt)[0].2);
}

#[test]
fn an_index_that_cannot_be_read_matters_only_where_there_are_packets() {
    let store = two_segments();
    let paths = store.paths(1, 100_000_000);
    fs::write(paths.index_file(), damaged_table()).unwrap();
    fs::write(paths.packet_file(), "").unwrap();
    let (packets, receipt) = ask(&store, "udp");
    assert_eq!((packets, receipt.is_complete()), (4, true), "an empty packet file holds nothing");
    let (file, reason, may_hold_matches) = named(&receipt).swap_remove(0);
    assert_eq!((file.as_str(), may_hold_matches), ("IDX1/100000000", false));
    assert!(reason.starts_with("damaged index: checksum of a block of keys at offset 0 is "), "{reason}");
    fs::write(paths.packet_file(), vec![0; 1 << 20]).unwrap();
    let (packets, receipt) = ask(&store, "udp");
    assert_eq!((packets, receipt.is_complete()), (4, false));
    assert_eq!(named(&receipt), [("IDX1/100000000".to_owned(), reason, true)]);
}

#[test]
fn open_files_are_named_and_matter_from_their_opening_on() {
    let store = two_segments();
    let paths = store.paths(0, 300_000_000);
    fs::write(paths.hidden_packet_file(), "").unwrap();
    let (_, receipt) = ask(&store, "udp");
    assert!(receipt.is_complete(), "an empty one holds nothing yet");
    assert_eq!(receipt.unsealed.len(), 1);
    fs::write(paths.hidden_packet_file(), "data").unwrap();
    let (packets, receipt) = ask(&store, "udp");
    assert_eq!((packets, receipt.is_complete()), (4, false));
    let file = &receipt.unsealed[0];
    assert_eq!((file.file.as_str(), file.bytes, file.opened.secs()), ("PKT0/.300000000", 4, 300));
    // The file was opened at 300 s; packets of a block that filled for ten seconds may be ten seconds older.
    for (text, complete) in [
        ("before 1970-01-01T00:04:49Z", true),
        ("before 1970-01-01T00:04:55Z", false),
        ("after 1970-01-01T01:00:00Z", false),
    ] {
        let (_, receipt) = ask(&store, text);
        assert_eq!((receipt.is_complete(), receipt.unsealed.len()), (complete, 1), "{text}");
    }
}

#[test]
fn an_index_beside_a_hidden_packet_file_is_no_more_than_that_one() {
    let store = two_segments();
    let paths = store.paths(0, 300_000_000);
    let index = fs::read(store.index_file(0, 100_000_000)).unwrap();
    for (packets, complete) in [("", true), ("data", false)] {
        fs::write(paths.hidden_packet_file(), packets).unwrap();
        fs::write(paths.index_file(), &index).unwrap();
        let (found, receipt) = ask(&store, "udp");
        assert_eq!((found, receipt.is_complete(), named(&receipt)), (4, complete, vec![]), "{packets:?}");
        assert_eq!(receipt.unsealed[0].file, "PKT0/.300000000");
    }
    fs::remove_file(paths.hidden_packet_file()).unwrap();
    let (_, receipt) = ask(&store, "udp");
    assert_eq!(named(&receipt), [("IDX0/300000000".to_owned(), "its packet file is missing".to_owned(), true)]);
}

#[test]
fn an_index_of_1_0_1_that_tells_of_nothing_lacks_no_packets() {
    let store = two_segments();
    let version = (vec![0], vec![0, 0, 0, 2, 0, 0, 0, 0]);
    let paths = store.paths(0, 300_000_000);
    for (more, complete) in [(None, true), (Some((vec![1, 17], vec![0, 0, 0, 48])), false)] {
        let keys = std::iter::once(version.clone()).chain(more).collect();
        fs::write(paths.index_file(), old_index::write(&keys)).unwrap();
        let (found, receipt) = ask(&store, "udp");
        assert_eq!((found, receipt.is_complete()), (4, complete));
        let reason = "its packet file is missing".to_owned();
        assert_eq!(named(&receipt), [("IDX0/300000000".to_owned(), reason, !complete)]);
    }
}

#[test]
fn of_an_open_file_that_was_named_before_the_clock_was_set_back_no_time_is_known() {
    let store = two_segments();
    let micros = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_micros();
    let paths = store.paths(0, u64::try_from(micros).unwrap() + 3_600_000_000);
    fs::write(paths.hidden_packet_file(), "data").unwrap();
    for text in ["before 1970-01-01T00:04:49Z", "last 1m"] {
        assert!(!ask(&store, text).1.is_complete(), "{text}");
    }
}

#[test]
fn what_vanishes_after_the_listing_is_named() {
    let mut store = two_segments();
    let opened = store.open();
    let asked = query("udp");
    fs::remove_file(store.packet_file(0, 100_000_000)).unwrap();
    let mut answer = opened.answer(&asked, Options::default());
    assert_eq!(take(&mut answer).len(), 2);
    let receipt = answer.receipt();
    assert!(!receipt.is_complete());
    assert_eq!(named(&receipt)[0].1, "gone since the store was listed");
    fs::remove_file(store.index_file(0, 100_000_000)).unwrap();
    let second = store.open().answer(&asked, Options::default());
    assert_eq!(second.receipt().segments.total, 1, "a new listing does not know it any more");
    opened.refresh().unwrap();
    store.forget(0, 100_000_000);
    assert_eq!(take(&mut opened.answer(&asked, Options::default())), store.scan(&asked.expr));
}

#[test]
fn what_goes_away_while_the_store_is_listed_is_missed_by_nobody() {
    let store = two_segments();
    let opened = store.open();
    let asked = query("udp");
    // An empty file that a killed capture left, as recovery takes it away: sooner or later within the listing.
    for (round, paths) in (0..3_000u64).map(|round| (round, store.paths(0, 300_000_000 + round))) {
        fs::write(paths.hidden_packet_file(), "").unwrap();
        let refreshing = Barrier::new(2);
        thread::scope(|scope| {
            let _removing = scope.spawn(|| {
                let _met = refreshing.wait();
                (0..round % 256 * 16).for_each(|_| std::hint::spin_loop());
                fs::remove_file(paths.hidden_packet_file()).unwrap();
            });
            let _met = refreshing.wait();
            opened.refresh().unwrap();
        });
        let receipt = opened.answer(&asked, Options::default()).receipt();
        assert_eq!(named(&receipt), [], "in round {round}");
    }
}

#[test]
fn a_refresh_finds_what_was_published_since() {
    let mut store = two_segments();
    let opened = store.open();
    store.add(3, 300_000_000, &udp(&[300]), &Shape::default());
    let asked = query("udp");
    assert_eq!(take(&mut opened.answer(&asked, Options::default())).len(), 4);
    opened.refresh().unwrap();
    let mut answer = opened.answer(&asked, Options::default());
    assert_eq!(take(&mut answer), store.scan(&asked.expr));
    assert!(answer.receipt().is_complete());
}

#[test]
fn an_index_that_was_built_again_is_used_after_a_refresh() {
    let store = two_segments();
    let good = fs::read(store.index_file(0, 100_000_000)).unwrap();
    let mut bad = good.clone();
    // Within the sections, behind the header: found when a look-up touches it, not when the file is opened.
    bad[20..200].fill(0xff);
    let path = store.index_file(0, 100_000_000);
    fs::remove_file(&path).unwrap();
    fs::write(&path, bad).unwrap();
    let opened = store.open();
    let asked = query("udp");
    let mut answer = opened.answer(&asked, Options::default());
    assert_eq!(take(&mut answer).len(), 2);
    assert!(answer.receipt().unreadable[0].reason.starts_with("damaged index: checksum"), "{}", answer.receipt());
    let mended = path.with_file_name("mended");
    fs::write(&mended, good).unwrap();
    fs::rename(&mended, &path).unwrap();
    opened.refresh().unwrap();
    let mut answer = opened.answer(&asked, Options::default());
    assert_eq!(take(&mut answer), store.scan(&asked.expr));
    assert!(answer.receipt().is_complete());
}

#[test]
fn directories_may_be_links_and_any_numbers() {
    let store = two_segments();
    let elsewhere = TestStore::new();
    for (kind, number) in [("PKT", 0), ("IDX", 0)] {
        let link = elsewhere.path().join(format!("{kind}17"));
        std::os::unix::fs::symlink(store.path().join(format!("{kind}{number}")), link).unwrap();
    }
    let mut answer = elsewhere.open().answer(&query("udp"), Options::default());
    let got = take(&mut answer);
    assert_eq!(got.len(), 4);
    assert!(got.iter().all(|p| p.place.0 == 17));
}

#[test]
fn a_thread_that_cannot_be_listed_is_named() {
    let store = two_segments();
    std::os::unix::fs::symlink("/nonexistent/packets", store.path().join("PKT5")).unwrap();
    fs::create_dir(store.path().join("IDX5")).unwrap();
    let (packets, receipt) = ask(&store, "udp");
    assert_eq!((packets, receipt.is_complete()), (4, false));
    assert_eq!(receipt.unreadable[0].file, "PKT5");
    fs::remove_dir(store.path().join("IDX5")).unwrap();
    let (_, receipt) = ask(&store, "udp");
    let files: Vec<_> = receipt.unreadable.iter().map(|u| u.file.as_str()).collect();
    assert_eq!(files, ["IDX5", "PKT5"]);
}

#[test]
fn a_directory_that_is_no_store_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let error = Store::open(dir.path()).unwrap_err();
    assert!(matches!(error, StoreError::NotAStore { .. }), "{error:?}");
    assert!(error.to_string().contains(dir.path().to_str().unwrap()));
    let error = Store::open(dir.path().join("none")).unwrap_err();
    assert!(matches!(error, StoreError::List { .. }), "{error:?}");
    fs::create_dir(dir.path().join("PKT00")).unwrap();
    assert!(Store::open(dir.path()).is_err(), "one spelling a number");
    fs::create_dir(dir.path().join("PKT0")).unwrap();
    fs::create_dir(dir.path().join("IDX0")).unwrap();
    let mut answer = Store::open(dir.path()).unwrap().answer(&query("udp"), Options::default());
    assert!(answer.next_packet().is_none());
    let receipt = answer.receipt();
    assert!(receipt.is_complete() && receipt.held.is_none());
}

#[test]
fn a_query_that_asks_for_no_time_needs_no_file() {
    let store = two_segments();
    fs::remove_file(store.index_file(0, 100_000_000)).unwrap();
    let none = "udp and after 2000-01-01T00:00:00Z and before 1990-01-01T00:00:00Z";
    let (packets, receipt) = ask(&store, none);
    assert_eq!((packets, receipt.is_complete(), receipt.segments.considered), (0, true, 1));
    assert_eq!(assert_scan(&two_segments(), none), 0);
}
