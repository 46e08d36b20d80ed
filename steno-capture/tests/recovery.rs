//! What a capture that was killed had on the disk is found by the next one, and published beside its own.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::{collections::BTreeSet, fs, path::Path, thread, time::Duration};

use rustix::process::Signal;
use steno_core::{block::Block, testkit::FrameBuilder};
use steno_index::{AnyIndex, verify_segment};
use support::{Wire, frames, names};

fn numbered(from: u32, count: u32) -> Vec<Vec<u8>> {
    let frame =
        |i: u32| FrameBuilder::ethernet().ipv4(i.to_be_bytes(), [10, 0, 0, 1]).udp(9, 53).payload(&[5; 400]).build();
    (from..from + count).map(frame).collect()
}

/// The frames in the whole blocks of a hidden packet file.
fn on_disk(dir: &Path) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for name in names(&dir.join("PKT0")).iter().filter(|name| name.starts_with('.')) {
        let file = fs::read(dir.join("PKT0").join(name)).unwrap();
        for block in file.chunks(1 << 20).filter_map(|bytes| Block::parse(bytes).ok()) {
            found.extend(block.packets().map_while(Result::ok).map(|packet| packet.frame().to_vec()));
        }
    }
    found
}

/// What a frame of [`numbered`] bears, in its source address.
fn number(frame: Vec<u8>) -> u32 {
    u32::from_be_bytes(frame[26..30].try_into().unwrap())
}

/// Every segment is whole: both files, of which the index says what is in the packet file.
fn all_whole(dir: &Path) {
    let [packets, index] = ["PKT0", "IDX0"].map(|kind| names(&dir.join(kind)));
    assert_eq!(packets, index);
    for name in packets {
        assert!(!name.starts_with('.'), "{name}");
        let report = verify_segment(&dir.join("PKT0").join(&name), &dir.join("IDX0").join(&name));
        assert!(report.is_clean(), "{name}: {report:?}");
    }
}

#[test]
fn what_reached_the_disk_before_a_kill_is_published_by_the_next_capture() {
    let Some(wire) = Wire::new() else { return };
    // More of them by hand: `STENO_KILLS=100 cargo test -p steno-capture --test recovery`.
    let kills = std::env::var("STENO_KILLS").map_or(4, |kills| kills.parse().unwrap());
    for flags in [&[][..], &["--index_format=leveldb"]] {
        let dir = tempfile::tempdir().unwrap();
        // What one capture left may still be there when the next one is killed.
        let mut kept = BTreeSet::new();
        for round in 0..kills {
            let mut capture = wire.capture(dir.path(), flags);
            wire.send(dir.path(), &numbered(round << 16, 4000), 40_000);
            // Into a block or between two, and some while the one before is being recovered.
            thread::sleep(Duration::from_millis(u64::from(round * 130 % 700)));
            capture.signal(Signal::KILL);
            assert_eq!(capture.wait(), -1);
            kept.extend(on_disk(dir.path()).into_iter().map(number));
        }
        assert!(!kept.is_empty(), "nothing was on the disk before any kill");
        eprintln!("{} packets were on the disk before {kills} kills", kept.len());
        let capture = wire.capture(dir.path(), flags);
        capture.wait_for("recovery of thread 0 is done: ");
        assert_eq!(capture.stop().0, 0);
        let mut found: Vec<u32> = frames(dir.path(), 0).into_iter().map(number).collect();
        found.sort_unstable();
        assert!(found.iter().eq(&kept), "{flags:?}: {} of {} packets found", found.len(), kept.len());
        all_whole(dir.path());
        for name in names(&dir.path().join("IDX0")) {
            let index = AnyIndex::open(&dir.path().join("IDX0").join(name)).unwrap();
            assert_eq!(matches!(index, AnyIndex::Version2(_)), !flags.is_empty());
        }
    }
}

#[test]
fn the_file_of_a_capture_that_runs_is_left_alone() {
    let Some(wire) = Wire::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    let first = wire.capture(dir.path(), &[]);
    wire.send(dir.path(), &numbered(0, 100), 10_000);
    thread::sleep(Duration::from_millis(700));
    // Another one on the same directories, with a log of its own.
    let mut second = wire.stenotype(dir.path(), &[]);
    let _ = second.arg("-v");
    let second = support::Stenotype::start(second, other.path());
    second.wait_for("capturing from");
    thread::sleep(Duration::from_millis(500));
    assert_eq!(second.stop().0, 0);
    wire.send(dir.path(), &numbered(1000, 100), 10_000);
    assert_eq!(first.stop().0, 0);
    assert_eq!(frames(dir.path(), 0).len(), 200, "none lost, and none twice");
    all_whole(dir.path());
}

#[test]
fn packet_files_without_an_index_get_one_unless_none_are_wanted() {
    let Some(wire) = Wire::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let capture = wire.capture(dir.path(), &["--no_index"]);
    wire.send(dir.path(), &numbered(0, 50), 10_000);
    assert_eq!(capture.stop().0, 0);
    let capture = wire.capture(dir.path(), &["--no_index"]);
    assert_eq!(capture.stop().0, 0);
    assert_eq!((names(&dir.path().join("PKT0")).len(), names(&dir.path().join("IDX0")).len()), (1, 0));
    let capture = wire.capture(dir.path(), &[]);
    capture.wait_for("recovery of thread 0 is done: 1 of 1 files published");
    assert_eq!(capture.stop().0, 0);
    assert_eq!(frames(dir.path(), 0).len(), 50);
    all_whole(dir.path());
}
