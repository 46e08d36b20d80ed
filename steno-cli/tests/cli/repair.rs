//! `steno verify --repair`.

use std::fs;

use crate::support::{
    ALL, Run, TestStore,
    captures::{Pcap, Sample},
};
use steno_core::testkit::FrameBuilder;

/// Three blocks of packets of 1,000 bytes, of the ports 1 to 2,000.
fn samples() -> Vec<Sample> {
    let frame =
        |i: u16| FrameBuilder::ethernet().ipv4([10, 0, 0, 1], [10, 0, 0, 2]).udp(i, 53).payload(&[7; 958]).build();
    let sample =
        |i: u16| Sample { ns: 1_700_000_000_000_000_000 + u64::from(i) * 1_000_000, wire_len: 1_000, data: frame(i) };
    (1..=2_000).map(sample).collect()
}

fn store() -> TestStore {
    TestStore::of(&[Pcap::NANOSECONDS.file(&samples())])
}

fn repair(store: &TestStore) -> Run {
    store.run(&["verify", "--repair"])
}

/// All is well, whoever asks.
fn is_well(store: &TestStore, packets: usize) {
    let again = repair(store);
    assert!(again.status == Some(0) && again.err.contains(" 0 mended, 0 findings"), "{again:?}");
    assert_eq!(store.run(&["verify"]).status, Some(0));
    let (run, found) = store.read(ALL, &[]);
    assert_eq!((run.status, found.len()), (Some(0), packets), "{run:?}");
}

#[test]
fn a_damaged_index_is_made_anew() {
    let store = store();
    is_well(&store, 2_000);
    // Beside the index there is a catalogue file by now.
    let name = store.names("PKT0").remove(0);
    let index = store.path().join("IDX0").join(&name);
    let mut bent = fs::read(&index).unwrap();
    // In the first page, which every answer needs.
    bent[300] ^= 0x10;
    fs::write(&index, &bent).unwrap();
    assert_eq!(store.read(ALL, &[]).0.status, Some(3));
    let run = repair(&store);
    assert_eq!(run.status, Some(0), "{run:?}");
    assert!(run.out.contains(&format!("PKT0/{name}: index: ")), "{run:?}");
    let aside = format!("{name}.damaged");
    assert!(
        run.out.contains(&format!("repaired: a new index of 2000 packets; the old one is {aside} now\n")),
        "{run:?}"
    );
    assert!(run.err.contains("1 segment checked, 1 mended, 0 findings"), "{run:?}");
    assert_eq!(fs::read(store.path().join("IDX0").join(aside)).unwrap(), bent);
    is_well(&store, 2_000);
}

#[test]
fn a_packet_file_that_was_cut_keeps_its_whole_blocks_and_the_rest_is_a_gap() {
    let store = store();
    let packet_file = store.path().join("PKT0").join(store.names("PKT0").remove(0));
    let file = fs::read(&packet_file).unwrap();
    fs::write(&packet_file, &file[..(1 << 20) + 5_000]).unwrap();
    let run = repair(&store);
    assert_eq!(run.status, Some(0), "{run:?}");
    assert!(run.out.contains("; 5000 bytes behind the last whole block cut off"), "{run:?}");
    let (run, found) = store.read(ALL, &[]);
    assert!(run.status == Some(0) && (500..1_500).contains(&found.len()), "{run:?}");
    assert!(run.err.contains("gap") && run.err.contains("is not whole any more"), "{run:?}");
    is_well(&store, found.len());
}

#[test]
fn what_a_capture_left_is_finished_and_nothing_is_deleted() {
    let store = store();
    let name = store.names("PKT0").remove(0);
    let [packets, index] = ["PKT0", "IDX0"].map(|dir| store.path().join(dir));
    let file = fs::read(packets.join(&name)).unwrap();
    let hidden = |id: &str| packets.join(format!(".{id}"));
    // As after a kill; without an index; without packets; without anything.
    fs::write(hidden("1700000100000000"), &file[..(2 << 20) - 700_000]).unwrap();
    let _ = fs::copy(packets.join(&name), packets.join("1700000200000000")).unwrap();
    fs::write(index.join("1700000300000000"), "an index").unwrap();
    fs::write(hidden("1700000400000000"), "no packets").unwrap();
    let run = repair(&store);
    assert_eq!(run.status, Some(0), "{run:?}");
    for told in [
        "PKT0/.1700000100000000: recovered as 1700000100000000: ",
        "PKT0/1700000200000000: recovered as 1700000200000000: 2000 packets\n",
        "IDX0/1700000300000000: has no packets, and is ",
        "PKT0/.1700000400000000: left alone: 10 bytes without a whole block of packets\n",
    ] {
        assert!(run.out.contains(told), "{told}: {run:?}");
    }
    assert_eq!(store.names("PKT0").iter().filter(|name| !name.starts_with('.')).count(), 3);
    assert_eq!(fs::read(hidden("1700000400000000")).unwrap(), b"no packets");
    assert_eq!(fs::read(index.join("1700000300000000.without-packets")).unwrap(), b"an index");
    let run = store.run(&["verify"]);
    assert!(run.status == Some(0) && run.err.contains("3 segments checked, 0 findings"), "{run:?}");
}

#[test]
fn packets_that_were_altered_stay_a_finding() {
    let store = store();
    let packet_file = store.path().join("PKT0").join(store.names("PKT0").remove(0));
    let mut file = fs::read(&packet_file).unwrap();
    let payload = file.windows(50).position(|bytes| bytes == [7; 50]).unwrap();
    file[payload] = 8;
    fs::write(&packet_file, &file).unwrap();
    let run = repair(&store);
    assert_eq!(run.status, Some(1), "{run:?}");
    assert!(run.out.contains("not repaired: its packets are not those that were captured"), "{run:?}");
    assert_eq!(fs::read(&packet_file).unwrap(), file);
    assert_eq!(store.names("IDX0").iter().filter(|name| !name.starts_with('.')).count(), 1);
    assert_eq!(store.run(&["verify"]).status, Some(1));
}
