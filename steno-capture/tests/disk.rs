//! Disks that fill with nobody to make room: the ring is drained, what cannot be kept is counted, and writing goes on by itself.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{fs, path::Path, time::Duration};

use steno_core::testkit::{FrameBuilder, LoopDisk};
use steno_index::{Cause, Index};
use support::{Stenotype, Wire, names};

const DISK_BYTES: u64 = 48 << 20;
/// Frames of a thousand bytes, of which twice the disk's are sent.
const FRAMES: u32 = 100_000;
const MORE: u32 = 2_000;

fn frames(count: u32) -> Vec<Vec<u8>> {
    let frame = |i: u32| {
        let [a, b, c, d] = i.to_be_bytes();
        FrameBuilder::ethernet().ipv4([10, a, b, c], [10, 9, 9, d]).udp(7, 9).payload(&[5; 958]).build()
    };
    (0..count).map(frame).collect()
}

fn published(dir: &Path) -> Vec<Index> {
    let index_dir = dir.join("IDX0");
    let names = names(&index_dir).into_iter().filter(|name| !name.starts_with('.'));
    names.map(|name| Index::open(&index_dir.join(name)).unwrap()).collect()
}

fn a_disk_fills(mkfs: &[&str]) {
    let Some(wire) = Wire::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = LoopDisk::new(dir.path(), mkfs, DISK_BYTES).unwrap() else { return };
    let store = disk.path().join("store");
    let command = wire.stenotype(&store, &["--filesize_mb=4", "--fileage_sec=60", "--blocks=64"]);
    let mut capture = Stenotype::start_with_log(command, &store, &dir.path().join("log"));
    capture.wait_for("capturing from");
    wire.send(dir.path(), &frames(FRAMES), 25_000);
    capture.wait_for("packets are dropped and counted");
    assert!(capture.log().contains("No space left") || capture.log().contains("no space left"), "{}", capture.log());
    assert!(capture.is_running());
    // Room is made as an operator would: the oldest go.
    let mut removed = 0;
    for name in names(&store.join("IDX0")).into_iter().filter(|name| !name.starts_with('.')).take(4) {
        removed += u64::from(Index::open(&store.join("IDX0").join(&name)).unwrap().packets());
        ["IDX0", "PKT0"].iter().for_each(|kind| fs::remove_file(store.join(kind).join(&name)).unwrap());
    }
    assert!(removed > 0);
    // It is tried again each second.
    std::thread::sleep(Duration::from_millis(2_500));
    wire.send(dir.path(), &frames(MORE), 10_000);
    capture.wait_for("packets could not be written, of the time");
    assert_eq!(capture.stop().0, 0);
    let indexes = published(&store);
    let stored: u64 = indexes.iter().map(|index| u64::from(index.packets())).sum();
    let (mut not_written, mut dropped, mut gaps) = (0, 0, 0);
    for facts in indexes.iter().map(|index| index.facts().unwrap()) {
        let of_cause = facts.losses.iter().filter(|loss| loss.cause == Cause::NotWritten);
        not_written += of_cause.map(|loss| loss.count).sum::<u64>();
        dropped += facts.drops.iter().map(|drops| drops.packets).sum::<u64>();
        gaps += facts.gaps.iter().filter(|gap| gap.reason.ends_with("packets could not be written")).count();
    }
    eprintln!("{}: {stored} stored, {removed} removed, {not_written} not written, {dropped} dropped", mkfs.join(" "));
    assert_eq!(stored + removed + not_written + dropped, u64::from(FRAMES + MORE), "each packet has its account");
    assert!(not_written > 1_000 && gaps > 0, "{not_written} packets in {gaps} gaps");
    assert!(dropped < u64::from(FRAMES) / 10, "the ring does not wait for a full disk: {dropped} dropped");
    // The last ones came to the disk.
    assert!(indexes.last().unwrap().packets() >= MORE);
    // They are maps of its files.
    drop(indexes);
    drop(disk);
}

#[test]
fn a_full_ext4_costs_what_comes_meanwhile_and_no_more() {
    a_disk_fills(&["mkfs.ext4", "-q"]);
}

#[test]
fn a_full_xfs_costs_what_comes_meanwhile_and_no_more() {
    // Later versions make no XFS of less than 300 MB unless told to.
    a_disk_fills(&["mkfs.xfs", "-q", "--unsupported"]);
}
