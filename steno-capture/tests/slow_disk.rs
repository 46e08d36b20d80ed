//! A disk that stands still for a while: the ring bridges it as long as it has room, and loses no more than what comes after.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{fs, process::Command, thread, time::Duration};

use steno_core::testkit::{FrameBuilder, LoopDisk};
use steno_index::Index;
use support::{Wire, frames_of_blocks, names};

const BLOCK_BYTES: usize = 64 << 10;
/// Frames that a block has room for: each takes 8056 + 86 bytes, rounded up to 8.
const FRAMES_PER_BLOCK: usize = 8;

/// Stops the writes of a file system until it goes out of scope.
struct Frozen<'a>(&'a LoopDisk);

impl<'a> Frozen<'a> {
    fn new(disk: &'a LoopDisk) -> Self {
        assert!(Command::new("fsfreeze").arg("-f").arg(disk.path()).status().unwrap().success());
        Self(disk)
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        let thawed = Command::new("fsfreeze").arg("-u").arg(self.0.path()).status();
        assert!(thread::panicking() || thawed.is_ok_and(|status| status.success()));
    }
}

fn large_frames(count: usize) -> Vec<Vec<u8>> {
    let frame = |i: usize| {
        let port = u16::try_from(i).unwrap();
        FrameBuilder::ethernet().ipv4([1, 1, 1, 1], [2, 2, 2, 2]).udp(port, 9).payload(&[7; 8000]).build()
    };
    (0..count).map(frame).collect()
}

#[test]
fn what_the_disk_does_not_take_waits_in_the_ring_and_only_what_finds_none_is_lost() {
    const BLOCKS: usize = 64;
    let Some(wire) = Wire::that_keeps_tags() else { return };
    // Fewer than the ring has room for, and twice as many. With four writes under way, and by default.
    for (source, aiops) in [("af_packet", Some("--aiops=4")), ("af_packet", None), ("af_xdp", None)] {
        for blocks_sent in [BLOCKS * 3 / 4, BLOCKS * 2] {
            let dir = tempfile::tempdir().unwrap();
            let Some(disk) = LoopDisk::new(dir.path(), &["mkfs.ext4", "-q"], 128 << 20).unwrap() else { return };
            let source = format!("--source={source}");
            let mut flags = vec!["--blocks=64", "--blocksize_kb=64", &source];
            flags.extend(aiops);
            let log = dir.path().join("log");
            let capture = support::Stenotype::start(wire.stenotype(disk.path(), &flags), dir.path());
            capture.wait_for("capturing from");
            let frozen = Frozen::new(&disk);
            let sent = large_frames(blocks_sent * FRAMES_PER_BLOCK);
            wire.send(dir.path(), &sent, 2_000);
            thread::sleep(Duration::from_millis(700));
            drop(frozen);
            assert_eq!(capture.stop().0, 0, "{}", fs::read_to_string(&log).unwrap());
            let stored = frames_of_blocks(disk.path(), 0, BLOCK_BYTES);
            let Some(name) = names(&disk.path().join("IDX0")).pop() else { panic!("one segment was expected") };
            let index = Index::open(&disk.path().join("IDX0").join(&name)).unwrap();
            let dropped: u64 = index.facts().unwrap().drops.iter().map(|drops| drops.packets).sum();
            let what = format!("{source} {aiops:?}: {} of {} stored, {dropped} dropped", stored.len(), sent.len());
            assert_eq!(stored.len() as u64 + dropped, sent.len() as u64, "{what}");
            assert_eq!(stored, sent[..stored.len()], "{what}");
            // One block is being filled, one may have been ended by its timer: these are not counted upon.
            let bridged = (BLOCKS - 2).min(blocks_sent) * FRAMES_PER_BLOCK;
            assert!(stored.len() >= bridged, "{what}");
            assert_eq!(dropped == 0, blocks_sent < BLOCKS || !source.ends_with("packet"), "{what}");
        }
    }
}
