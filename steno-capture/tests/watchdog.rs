//! A thread that is stuck ends the process; a quiet link, and a process that was stopped, do not.
//!
//! What gets stuck is a write to a file system that the test freezes (fsfreeze(8)).
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{
    fs,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use steno_core::testkit::{FrameBuilder, LoopDisk};
use support::{Wire, frames};

fn some_frames(count: u16) -> Vec<Vec<u8>> {
    let frame = |i: u16| FrameBuilder::ethernet().ipv4([10, 1, 1, 1], [10, 2, 2, 2]).udp(i, 53).build();
    (0..count).map(frame).collect()
}

fn succeeds(program: &str, args: &[&str]) -> bool {
    Command::new(program).args(args).output().is_ok_and(|output| output.status.success())
}

/// A file system that can be frozen.
struct Disk {
    disk: LoopDisk,
    _image: tempfile::TempDir,
}

impl Disk {
    fn new() -> Option<Self> {
        let image = tempfile::tempdir().unwrap();
        let disk = LoopDisk::new(image.path(), &["mkfs.ext4", "-q"], 64 << 20).unwrap()?;
        Some(Self { disk, _image: image })
    }

    fn path(&self) -> &Path {
        self.disk.path()
    }

    fn freeze(&self) -> Frozen<'_> {
        assert!(succeeds("fsfreeze", &["-f", self.path().to_str().unwrap()]), "fsfreeze fails");
        Frozen(self)
    }
}

/// Until it goes out of scope; before the capture does, whose end would be waited for in vain.
struct Frozen<'a>(&'a Disk);

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        let thawed = succeeds("fsfreeze", &["-u", self.0.path().to_str().unwrap()]);
        assert!(thawed || thread::panicking(), "the disk stays frozen");
    }
}

#[test]
fn a_write_that_does_not_end_ends_the_process() {
    let Some(wire) = Wire::new() else { return };
    for way in ["--io=sync", "--io=uring"] {
        let Some(disk) = Disk::new() else { return };
        let dir = tempfile::tempdir().unwrap();
        let mut command = wire.stenotype(&disk.path().join("store"), &[way, "--watchdog_sec=3"]);
        let log = dir.path().join("log");
        let mut child = command.stderr(fs::File::create(&log).unwrap()).spawn().unwrap();
        let log = || fs::read_to_string(&log).unwrap();
        let wait_for = |text: &str| {
            let begun = Instant::now();
            while !log().contains(text) {
                assert!(begun.elapsed() < Duration::from_secs(40), "{way}: {text:?} is not in {}", log());
                thread::sleep(Duration::from_millis(20));
            }
        };
        wait_for("capturing from");
        // Quiet for longer than a thread may be stuck.
        thread::sleep(Duration::from_secs(5));
        assert!(child.try_wait().unwrap().is_none(), "{way}: {}", log());
        let frozen = disk.freeze();
        wire.send(dir.path(), &some_frames(10), 10_000);
        wait_for("watchdog: thread packet0 has not got on for 3 s, writing packets");
        assert!(log().contains("is the disk stuck?"), "{way}: it is told before: {}", log());
        // Only then the call can come back that the process hangs in.
        drop(frozen);
        let status = child.wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(6), "{way}: {status}: {}", log());
    }
}

#[test]
fn an_index_that_cannot_be_written_ends_the_process_too() {
    let Some(wire) = Wire::new() else { return };
    let Some(disk) = Disk::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    // Indexes have a disk of their own, as 1.0.1 advises: only that one is stuck.
    fs::create_dir(disk.path().join("index")).unwrap();
    std::os::unix::fs::symlink(disk.path().join("index"), dir.path().join("IDX0")).unwrap();
    let capture = wire.capture(dir.path(), &["--watchdog_sec=3", "--fileage_sec=1"]);
    let frozen = disk.freeze();
    wire.send(dir.path(), &some_frames(10), 10_000);
    capture.wait_for("thread index0 has not got on for 15 s, bringing a segment to the disk");
    drop(frozen);
}

#[test]
fn without_watchdogs_it_waits_as_long_as_it_takes() {
    let Some(wire) = Wire::new() else { return };
    let Some(disk) = Disk::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let store = disk.path().join("store");
    fs::create_dir(&store).unwrap();
    let mut capture = wire.capture(&store, &["--no_watchdogs", "--watchdog_sec=3"]);
    let sent = some_frames(10);
    let frozen = disk.freeze();
    wire.send(dir.path(), &sent, 10_000);
    thread::sleep(Duration::from_secs(6));
    drop(frozen);
    assert!(capture.is_running());
    assert_eq!(capture.stop().0, 0);
    assert_eq!(frames(&store, 0), sent);
}

#[test]
fn neither_a_quiet_link_nor_a_stopped_process_is_stuck() {
    let Some(wire) = Wire::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut capture = wire.capture(dir.path(), &["--watchdog_sec=3", "--fileage_sec=1", "--threads=2"]);
    thread::sleep(Duration::from_secs(5));
    assert!(capture.is_running(), "{}", capture.log());
    capture.signal(Signal::STOP);
    thread::sleep(Duration::from_secs(5));
    capture.signal(Signal::CONT);
    thread::sleep(Duration::from_secs(3));
    let log = capture.log();
    assert!(capture.is_running() && !log.contains("has not got on"), "{log}");
    assert_eq!(capture.stop().0, 0);
}
