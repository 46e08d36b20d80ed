//! Files that are being written are answered from as if they were sealed, as far as their captures tell.

use std::{
    collections::BTreeMap,
    fs,
    sync::{Arc, Mutex},
};

use proptest::prelude::*;
use steno_core::{
    SegmentId,
    packet::{Fragment, decode},
    pcap::Format,
    testkit::recipe,
};
use steno_index::log::OpenPart;
use steno_query::{
    Answer, Options, Query, Store, Truncation,
    store::{OpenContents, OpenLogs, ThreadDirs},
};

use crate::{
    generate::{expr, segment},
    support::{Got, Shape, TestStore, open_parts, query, take},
};

/// What captures tell, given by a test.
#[derive(Debug, Default)]
struct Told(Mutex<BTreeMap<(u32, SegmentId), OpenContents>>);

impl OpenLogs for Told {
    fn contents(&self, thread: u32, id: SegmentId) -> Option<OpenContents> {
        self.0.lock().unwrap().get(&(thread, id)).cloned()
    }

    fn files(&self) -> Vec<(u32, SegmentId)> {
        self.0.lock().unwrap().keys().copied().collect()
    }
}

const LAST: u64 = 200_000_000;

impl Told {
    fn tell(&self, thread: u32, parts: Vec<OpenPart>, writer_has_ended: bool) {
        let contents = OpenContents { parts, writer_has_ended };
        let _ = self.0.lock().unwrap().insert((thread, SegmentId(LAST)), contents);
    }

    /// Has a sealed segment be one that is being written.
    fn unseal(&self, store: &TestStore, thread: u32, parts: Vec<OpenPart>) {
        let paths = store.paths(thread, LAST);
        self.tell(thread, parts, false);
        fs::remove_file(paths.index_file()).unwrap();
        fs::rename(paths.packet_file(), paths.hidden_packet_file()).unwrap();
    }
}

fn open(store: &TestStore, told: &Arc<Told>) -> Store {
    let dirs = |thread| {
        let [packets, index] = ["PKT", "IDX"].map(|kind| store.path().join(format!("{kind}{thread}")));
        ThreadDirs { thread, packets, index }
    };
    Store::of_capture((0..2).map(dirs).collect(), Some(Arc::clone(told) as Arc<dyn OpenLogs>))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Before it is sealed, listed or not when it was begun, and after.
    #[test]
    fn an_open_file_is_answered_from_as_a_scan_would(
        sealed in segment(20),
        (packets, shape) in segment(40),
        other in segment(10),
        exprs in proptest::collection::vec(expr(), 1..4),
        blocks_each in 1usize..6,
    ) {
        let mut store = TestStore::new();
        store.add(0, 100_000_000, &sealed.0, &sealed.1);
        store.add(1, 100_000_000, &other.0, &other.1);
        let told = Arc::new(Told::default());
        let early = open(&store, &told);
        store.add(0, LAST, &packets, &shape);
        let index = fs::read(store.index_file(0, LAST)).unwrap();
        let parts = open_parts(&packets, &shape, blocks_each);
        told.unseal(&store, 0, parts.clone());
        let late = open(&store, &told);
        for expr in exprs {
            let query = Query { expr };
            let expected = store.scan(&query.expr);
            let mut answers = Vec::new();
            for (store, name) in [(&early, "begun since"), (&late, "listed")] {
                let mut answer = store.answer(&query, Options::default());
                prop_assert_eq!(take(&mut answer), expected.clone(), "{}", name);
                let receipt = answer.receipt();
                prop_assert!(receipt.is_complete() && receipt.unsealed.is_empty(), "{}: {}", name, receipt);
                answers.push(receipt.segments);
            }
            prop_assert_eq!(answers[0].total, 3);
            prop_assert_eq!(answers[1].total, 3);
            // It is sealed between the plan and the first read.
            let mut answer = late.answer(&query, Options::default());
            let paths = store.paths(0, LAST);
            fs::rename(paths.hidden_packet_file(), paths.packet_file()).unwrap();
            fs::write(paths.index_file(), &index).unwrap();
            prop_assert_eq!(take(&mut answer), expected.clone());
            // And between the listing and the plan.
            let kept = told.0.lock().unwrap().remove(&(0, SegmentId(LAST)));
            let mut answer = late.answer(&query, Options::default());
            prop_assert_eq!(take(&mut answer), expected.clone());
            prop_assert!(answer.receipt().is_complete(), "{}", answer.receipt());
            // Nobody has pinned it: retention may take it before the first read.
            let mut answer = late.answer(&query, Options::default());
            let whole = fs::read(paths.packet_file()).unwrap();
            fs::remove_file(paths.index_file()).unwrap();
            fs::remove_file(paths.packet_file()).unwrap();
            prop_assert_eq!(take(&mut answer), expected);
            prop_assert!(answer.receipt().is_complete(), "{}", answer.receipt());
            fs::write(paths.packet_file(), whole).unwrap();
            fs::write(paths.index_file(), &index).unwrap();
            drop(kept);
            told.unseal(&store, 0, parts.clone());
        }
    }
}

/// The running checksums come with the log: what is damaged behind the writer's back costs its piece.
#[test]
fn an_open_file_is_held_against_its_checksums_by_pieces() {
    let mut store = TestStore::new();
    let line = |i: u32| {
        let host = if i % 1000 == 500 { 9 } else { 1 };
        format!("300.{i:06} ip 10.0.0.{host} > 10.0.0.2 udp 1000 > 53 data 200\n")
    };
    let packets = recipe(&(0..5000).map(line).collect::<String>()).unwrap();
    store.add(0, LAST, &packets, &Shape::default());
    fs::create_dir_all(store.path().join("PKT1")).unwrap();
    fs::create_dir_all(store.path().join("IDX1")).unwrap();
    let told = Arc::new(Told::default());
    told.unseal(&store, 0, open_parts(&packets, &Shape::default(), 1));
    let path = store.paths(0, LAST).hidden_packet_file();
    let whole = fs::read(&path).unwrap();
    // Packets of 328 bytes: those of the host lie at 164,048, 492,048 and so on.
    for (at, expected) in [(300_000, 5), (164_200, 4), (47, 5), (492_100, 4)] {
        let mut bad = whole.clone();
        bad[at] ^= 1;
        fs::write(&path, bad).unwrap();
        let mut answer = open(&store, &told).answer(&query("host 10.0.0.9"), Options::default());
        let got = take(&mut answer).len();
        assert_eq!((got, answer.receipt().is_complete()), (expected, expected == 5), "byte {at}");
    }
}

#[test]
fn a_file_of_which_nothing_is_told_is_named() {
    let mut store = TestStore::new();
    let lines = "300 ip 10.0.0.1 > 10.0.0.2 udp 1000 > 53\n301 ip 10.0.0.1 > 10.0.0.2 udp 1000 > 53\n";
    let packets = recipe(lines).unwrap();
    store.add(0, LAST, &packets, &Shape::default());
    let told = Arc::new(Told::default());
    told.unseal(&store, 0, open_parts(&packets, &Shape::default(), 1));
    fs::create_dir_all(store.path().join("PKT1")).unwrap();
    fs::create_dir_all(store.path().join("IDX1")).unwrap();
    let asked = |told: &Arc<Told>| {
        let mut answer = open(&store, told).answer(&query("udp"), Options::default());
        let packets = take(&mut answer).len();
        (packets, answer.receipt().is_complete(), answer.receipt().unsealed.len())
    };
    assert_eq!(asked(&told), (2, true, 0));
    told.0.lock().unwrap().clear();
    assert_eq!(asked(&told), (0, false, 1));
}

/// One that ends by a signal has blocks on the disk of which it had no time to tell.
#[test]
fn what_a_writer_that_has_ended_did_not_tell_of_is_missing() {
    let mut store = TestStore::new();
    let lines = "300 ip 10.0.0.1 > 10.0.0.2 udp 1000 > 53\n301 ip 10.0.0.1 > 10.0.0.2 udp 1000 > 53\n";
    let packets = recipe(lines).unwrap();
    let shape = Shape { block_packets: 1, ..Shape::default() };
    store.add(0, LAST, &packets, &shape);
    let index = fs::read(store.index_file(0, LAST)).unwrap();
    let told = Arc::new(Told::default());
    let parts = open_parts(&packets, &shape, 1);
    told.unseal(&store, 0, parts.clone());
    fs::create_dir_all(store.path().join("PKT1")).unwrap();
    fs::create_dir_all(store.path().join("IDX1")).unwrap();
    let opened = open(&store, &told);
    let asked = |of: &str| {
        let mut answer = opened.answer(&query(of), Options::default());
        (take(&mut answer).len(), answer.receipt())
    };
    for (known, has_ended, is_missing) in
        [(0, false, false), (1, false, false), (0, true, true), (1, true, true), (2, true, false)]
    {
        told.tell(0, parts[..known].to_vec(), has_ended);
        let (packets, receipt) = asked("udp");
        let case = format!("{known} of 2 blocks, ended: {has_ended}: {receipt}");
        assert_eq!((packets, receipt.is_complete()), (known, !is_missing), "{case}");
        let missing: Vec<_> = receipt.unsealed.iter().map(|file| (file.file.clone(), file.bytes)).collect();
        let block = u64::from(shape.block_bytes);
        let expected = is_missing.then(|| (format!("PKT0/.{LAST}"), block * (2 - known as u64)));
        assert_eq!(missing, Vec::from_iter(expected), "{case}");
        // Of before the file was opened.
        assert!(asked("udp and before 1970-01-01T00:00:01Z").1.is_complete(), "{case}");
    }
    // Once it is recovered, what was told of it before does not count.
    told.tell(0, parts[..1].to_vec(), true);
    let paths = store.paths(0, LAST);
    fs::rename(paths.hidden_packet_file(), paths.packet_file()).unwrap();
    fs::write(paths.index_file(), &index).unwrap();
    let (packets, receipt) = asked("udp");
    assert_eq!((packets, receipt.is_complete(), receipt.unsealed.len()), (2, true, 0), "{receipt}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// What is stored, then what arrives: each packet once, whatever becomes of its file meanwhile.
    #[test]
    fn a_following_answer_gives_each_packet_once(
        sealed in segment(20),
        (packets, shape) in segment(40),
        late in segment(20),
        expr in expr(),
        blocks_each in 1usize..6,
        format in prop::sample::select(vec![Format::PcapNs, Format::PcapNg]),
    ) {
        let (mut sealed, mut packets, mut late) = (sealed, packets, late);
        for each in [&mut sealed.0, &mut packets, &mut late.0] {
            // Which datagram a later fragment is of may be known only once it has been passed over.
            each.retain(|packet| decode(&packet.frame(), &mut Vec::new()).fragment == Fragment::Whole);
        }
        let mut store = TestStore::new();
        store.add(0, 100_000_000, &sealed.0, &sealed.1);
        let told = Arc::new(Told::default());
        store.add(0, LAST, &packets, &shape);
        let index = fs::read(store.index_file(0, LAST)).unwrap();
        let parts = open_parts(&packets, &shape, blocks_each);
        told.unseal(&store, 0, Vec::new());
        fs::create_dir_all(store.path().join("PKT1")).unwrap();
        fs::create_dir_all(store.path().join("IDX1")).unwrap();
        let opened = open(&store, &told);
        let query = Query { expr };
        let mut answer = opened.follow(&query, Options::default());
        let mut bytes = opened.follow(&query, Options { format, ..Options::default() });
        let (mut got, mut file, mut chunk) = (take(&mut answer), Vec::new(), Vec::new());
        let mut go_on = |answer: &mut Answer, bytes: &mut Answer, got: &mut Vec<Got>| {
            while bytes.next_chunk(&mut chunk) {
                file.extend_from_slice(&chunk);
            }
            opened.refresh().unwrap();
            answer.go_on(&opened);
            bytes.go_on(&opened);
            let more = take(answer);
            assert!(more.is_sorted_by_key(|packet| packet.time));
            got.extend(more);
        };
        for known in 1..=parts.len() {
            told.tell(0, parts[..known].to_vec(), false);
            go_on(&mut answer, &mut bytes, &mut got);
            // Nothing new.
            go_on(&mut answer, &mut bytes, &mut got);
        }
        let paths = store.paths(0, LAST);
        fs::rename(paths.hidden_packet_file(), paths.packet_file()).unwrap();
        fs::write(paths.index_file(), &index).unwrap();
        let _kept = told.0.lock().unwrap().remove(&(0, SegmentId(LAST)));
        go_on(&mut answer, &mut bytes, &mut got);
        store.add(1, 300_000_000, &late.0, &late.1);
        go_on(&mut answer, &mut bytes, &mut got);
        go_on(&mut answer, &mut bytes, &mut got);
        let mut expected = store.scan(&query.expr);
        expected.sort_by_key(|packet| packet.place);
        got.sort_by_key(|packet| packet.place);
        prop_assert_eq!(&got, &expected);
        prop_assert_eq!(answer.receipt().packets, got.len() as u64);
        prop_assert!(!answer.has_ended() && !bytes.has_ended());
        let receipt = bytes.receipt();
        prop_assert_eq!((receipt.packets, receipt.segments.total), (got.len() as u64, 3));
        prop_assert_eq!(receipt.truncated_by, Some(Truncation::Unfinished));
        let _rest = bytes.next_chunk(&mut chunk);
        file.extend_from_slice(&chunk);
        prop_assert_eq!(receipt.blake3.is_some(), !file.is_empty());
    }
}

#[test]
fn a_following_answer_ends_by_its_limit_and_its_deadline() {
    let mut store = TestStore::new();
    let lines = "300 ip 10.0.0.1 > 10.0.0.2 udp 1000 > 53\n301 ip 10.0.0.1 > 10.0.0.2 udp 1000 > 53\n";
    store.add(0, 300_000_000, &recipe(lines).unwrap(), &Shape::default());
    let opened = store.open();
    let mut answer = opened.follow(&query("udp"), Options { limit_packets: Some(3), ..Options::default() });
    assert_eq!((take(&mut answer).len(), answer.has_ended()), (2, false));
    store.add(0, 400_000_000, &recipe(&lines.replace("30", "40")).unwrap(), &Shape::default());
    opened.refresh().unwrap();
    answer.go_on(&opened);
    assert_eq!((take(&mut answer).len(), answer.has_ended()), (1, true));
    assert_eq!(answer.receipt().truncated_by, Some(Truncation::LimitPackets));
    answer.go_on(&opened);
    assert!(answer.next_packet().is_none());

    let soon = std::time::Instant::now() + std::time::Duration::from_millis(5);
    let mut answer = opened.follow(&query("udp"), Options { deadline: Some(soon), ..Options::default() });
    while !answer.has_ended() {
        let _some = take(&mut answer);
        answer.go_on(&opened);
    }
    assert_eq!(answer.receipt().truncated_by, Some(Truncation::Deadline));
}

/// As 1.0.1 publishes: the index comes some time after its packet file.
#[test]
fn a_following_answer_does_not_lack_what_was_only_half_there() {
    let mut store = TestStore::new();
    let lines = "300 ip 10.0.0.1 > 10.0.0.2 udp 1000 > 53\n";
    store.add(0, 300_000_000, &recipe(lines).unwrap(), &Shape::default());
    store.add(0, 400_000_000, &recipe(lines).unwrap(), &Shape::default());
    let (path, index) = (store.index_file(0, 400_000_000), fs::read(store.index_file(0, 400_000_000)).unwrap());
    fs::remove_file(&path).unwrap();
    let opened = store.open();
    let mut answer = opened.follow(&query("udp"), Options { limit_packets: Some(2), ..Options::default() });
    assert_eq!((take(&mut answer).len(), answer.receipt().unreadable.len()), (1, 1));
    fs::write(&path, index).unwrap();
    opened.refresh().unwrap();
    answer.go_on(&opened);
    assert_eq!((take(&mut answer).len(), answer.receipt().unreadable.len()), (1, 0), "{}", answer.receipt());
}
