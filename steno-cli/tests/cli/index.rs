//! `steno index`: look into one, build one, convert one.

use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use crate::support::{ALL, Run, TestStore, captures::Sample, steno};
use steno_core::{
    block::BlockWriter,
    testkit::{RecipePacket, block_of, recipe},
};
use steno_index::verify_segment;

/// A tag that the kernel took out, a tag in the frame, both directions, a fragment, no IP.
const RECIPE: &str = "
1700000000.000000001 vlan 7 ip 10.0.0.1 > 10.0.0.2 tcp 40000 > 80 data 9 stripped
1700000001.000000002 vlan 7 ip 10.0.0.2 > 10.0.0.1 tcp 80 > 40000 data 90 stripped
1700000002.000000003 vlan 9 ip 2001:db8::1 > 2001:db8::2 udp 5353 > 53 data 20 snap 70
1700000003.000000004 type 0x0806 data 28
1700000004.000000005 ip 10.0.0.1 > 10.0.0.3 udp 9 > 10 data 9
";
const NAME: &str = "1700000000000000";
const BLOCK_BYTES: u32 = 64 << 10;

const QUERIES: [&str; 12] = [
    ALL,
    "tcp",
    "vlan",
    "vlan 7",
    "vlan 9",
    "src host 10.0.0.2",
    "net 10.0.0.0/30",
    "port 53",
    "src port 80",
    "not ip",
    "host 2001:db8::2 and udp",
    "after 2023-11-14T22:13:21Z and before 2023-11-14T22:13:24Z",
];

/// A store with one packet file of two blocks, and no index.
fn packets_alone() -> TestStore {
    let store = TestStore::new();
    for dir in ["PKT0", "IDX0"] {
        fs::create_dir_all(store.path().join(dir)).unwrap();
    }
    let packets: Vec<RecipePacket> = recipe(RECIPE).unwrap();
    let (mut file, mut writer) = (Vec::new(), BlockWriter::new(BLOCK_BYTES));
    for (seq, some) in (1..).zip([packets.get(..3).unwrap(), packets.get(3..).unwrap()]) {
        assert_eq!(block_of(&mut writer, some).unwrap(), some.len());
        file.extend_from_slice(writer.finish(seq));
        writer.clear();
    }
    fs::write(store.path().join("PKT0").join(NAME), file).unwrap();
    store
}

fn packet_file(store: &TestStore) -> PathBuf {
    store.path().join("PKT0").join(NAME)
}

fn index_file(store: &TestStore) -> PathBuf {
    store.path().join("IDX0").join(NAME)
}

/// `steno index COMMAND FILE -w OUT MORE`.
fn index(command: &str, file: &Path, out: &Path, more: &[&str]) -> Run {
    let words = [OsStr::new("index"), OsStr::new(command), file.as_os_str(), OsStr::new("-w"), out.as_os_str()];
    let words: Vec<&OsStr> = words.into_iter().chain(more.iter().map(OsStr::new)).collect();
    steno(&words)
}

fn built(format: &str) -> TestStore {
    let store = packets_alone();
    let run = index("build", &packet_file(&store), &index_file(&store), &["--format", format]);
    assert_eq!(run.status, Some(0), "{run:?}");
    assert!(run.out.is_empty() && run.err.contains("of 5 packets in 2 blocks"), "{run:?}");
    store
}

fn answers(store: &TestStore) -> Vec<(Option<i32>, Vec<Sample>)> {
    QUERIES
        .iter()
        .map(|query| {
            let (run, packets) = store.read(query, &[]);
            (run.status, packets)
        })
        .collect()
}

#[test]
fn an_index_of_either_format_is_built_from_the_packets_alone() {
    let (native, version2) = (built("native"), built("leveldb"));
    for store in [&native, &version2] {
        let report = verify_segment(&packet_file(store), &index_file(store));
        assert!(report.is_clean(), "{:?}", report.problems);
        assert_eq!(store.run(&["verify"]).status, Some(0));
        assert_eq!(fs::metadata(index_file(store)).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(store.names("IDX0"), [NAME], "nothing is left beside it");
        let out = store.dir.path().join("exported");
        let run = store.run(&["export", NAME, "-w", out.to_str().unwrap()]);
        assert!(run.status == Some(0) && run.err.contains("5 packets exported"), "{run:?}");
    }
    let (of_native, of_version2) = (answers(&native), answers(&version2));
    assert_eq!(of_native, of_version2);
    assert!(of_native.iter().all(|(status, _)| *status == Some(0)));
    let counts: Vec<usize> = of_native.iter().map(|(_, packets)| packets.len()).collect();
    assert_eq!(counts, [5, 2, 3, 2, 1, 1, 3, 1, 1, 2, 1, 3]);
}

#[test]
fn there_and_back_again_every_byte_is_the_same() {
    for (from, to) in [("native", "leveldb"), ("leveldb", "native")] {
        let store = built(from);
        let before = answers(&store);
        let (there, back) = (store.dir.path().join("there"), store.dir.path().join("back"));
        let run = index("convert", &index_file(&store), &there, &[]);
        assert_eq!(run.status, Some(0), "{run:?}");
        assert_eq!(run.err.contains("no conversations and no directions"), to == "leveldb", "{run:?}");
        let (original, other) = (fs::read(index_file(&store)).unwrap(), fs::read(&there).unwrap());
        assert_ne!(original, other);
        fs::rename(&there, index_file(&store)).unwrap();
        assert_eq!(answers(&store), before);
        let packets = packet_file(&store);
        let run = index("convert", &index_file(&store), &back, &["--to", from, "--packets", packets.to_str().unwrap()]);
        assert_eq!(run.status, Some(0), "{run:?}");
        assert_eq!(fs::read(&back).unwrap(), original);
    }
}

#[test]
fn a_file_that_is_there_stays_unless_it_is_to_be_replaced() {
    let store = built("native");
    let (packets, place) = (packet_file(&store), index_file(&store));
    let before = fs::read(&place).unwrap();
    for run in [index("build", &packets, &place, &[]), index("convert", &place, &place, &[])] {
        assert_eq!(run.status, Some(1), "{run:?}");
        assert!(run.err.contains("is there already") && run.err.contains("--replace"), "{run:?}");
        assert_eq!(fs::read(&place).unwrap(), before);
    }
    let run = index("convert", &place, &place, &["--replace"]);
    assert_eq!(run.status, Some(0), "{run:?}");
    assert_ne!(fs::read(&place).unwrap(), before);
    assert_eq!(store.names("IDX0"), [NAME]);
    assert_eq!(store.run(&["verify"]).status, Some(0));
    let run = index("build", &packets, Path::new("-"), &[]);
    assert_eq!(run.status, Some(2), "{run:?}");
}

#[test]
fn an_index_that_disagrees_with_its_packets_is_not_converted() {
    for format in ["native", "leveldb"] {
        let (store, out) = (built(format), |store: &TestStore| store.dir.path().join("out"));
        let mut packets = fs::read(packet_file(&store)).unwrap();
        // The last octet of an address in the first frame: behind both headers, Ethernet, and 15 bytes of IP.
        let at = packets.windows(8).position(|bytes| bytes == [10, 0, 0, 1, 10, 0, 0, 2]).unwrap();
        *packets.get_mut(at + 3).unwrap() = 77;
        fs::write(packet_file(&store), packets).unwrap();
        let run = index("convert", &index_file(&store), &out(&store), &[]);
        assert_eq!(run.status, Some(1), "{run:?}");
        assert!(run.err.contains("does not agree") && run.err.contains("steno index build"), "{run:?}");
        assert!(!out(&store).exists());
        let run = store.run(&["verify"]);
        assert_eq!(run.status, Some(1), "{run:?}");
        let told =
            if format == "native" { "conversations: the packets say 5" } else { "host 10.0.0.77: the packets say 1" };
        assert!(run.out.contains(told), "{run:?}");
    }
}

#[test]
fn what_cannot_be_built_or_converted_is_said_and_leaves_nothing() {
    let store = built("native");
    let (dir, out) = (store.dir.path(), store.dir.path().join("out"));
    let stray = dir.join("stray");
    let _bytes = fs::copy(index_file(&store), &stray).unwrap();
    let text = store.file("text", &[b'x'; 200]);
    for (command, file, more, status, told) in [
        ("build", &text, &[][..], 1, "cannot use"),
        ("build", &dir.join("absent"), &[], 1, "cannot read"),
        ("convert", &text, &[], 1, "not an index"),
        ("convert", &stray, &[], 2, "--packets"),
        ("convert", &index_file(&store), &["--to", "native"], 2, "nothing to convert"),
        ("convert", &index_file(&store), &["--packets", "/nonexistent/packets"], 1, "cannot read"),
        ("build", &packet_file(&store), &["--format", "sst"], 2, "leveldb"),
    ] {
        let run = index(command, file, &out, more);
        assert_eq!(run.status, Some(status), "{command} {file:?}: {run:?}");
        assert!(run.err.contains(told), "{command} {file:?}: {run:?}");
        let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["store", "stray", "text"], "{command} {file:?}");
    }
}

#[test]
fn an_index_ends_before_a_damaged_block() {
    let store = packets_alone();
    let mut packets = fs::read(packet_file(&store)).unwrap();
    packets.truncate(BLOCK_BYTES as usize + 60);
    fs::write(packet_file(&store), packets).unwrap();
    for format in ["native", "leveldb"] {
        let run = index("build", &packet_file(&store), &index_file(&store), &["--format", format, "--replace"]);
        assert_eq!(run.status, Some(1), "{run:?}");
        assert!(run.err.contains("block at byte 65536") && run.err.contains("of 3 packets in 1 block"), "{run:?}");
        let (run, found) = store.read("tcp", &[]);
        assert_eq!(found.len(), 2, "{run:?}");
    }
}

#[test]
fn an_index_of_version_2_is_dumped_as_text() {
    let store = built("leveldb");
    let file = index_file(&store);
    let dump = |more: &[&str]| {
        let words = [OsStr::new("index"), OsStr::new("dump"), file.as_os_str()];
        steno(&words.into_iter().chain(more.iter().map(OsStr::new)).collect::<Vec<_>>())
    };
    let run = dump(&["--keys"]);
    assert_eq!(run.status, Some(0), "{run:?}");
    let lines: Vec<String> = run.out.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for told in [
        "packets 5, 394 bytes on the wire",
        "blocks 2",
        "times 2023-11-14T22:13:20.000000001Z to 2023-11-14T22:13:24.000000005Z",
        "block bytes 65536",
        "protocols 2 4",
        "VLAN ids 2 3",
        "ip proto 6 2",
        "port 80 2",
        "vlan 7 2",
        "vlan 9 1",
        "host 10.0.0.1 3",
        "host 2001:db8::2 1",
    ] {
        assert!(lines.iter().any(|line| line == told), "{told:?} is not in {}", run.out);
    }
    for flag in ["--blocks", "--conversations"] {
        let run = dump(&[flag]);
        assert!(run.status == Some(2) && run.err.contains("--keys"), "{run:?}");
    }
}
