//! Retention on real directories: budgets held, oldest first, nothing from under a query.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, UNIX_EPOCH},
};

use steno_core::{FixedClock, SegmentId, SystemClock, TimestampNs};
use steno_daemon::{
    capture::{Change, SegmentEvent, SegmentWatch, ThreadDirectories},
    retention::{Bounds, Keeper, NewestPacket, Pins, Reason, Retention, Run, ThreadRetention, ThreadStatus},
};

const KIB: u64 = 1024;

struct Store {
    root: tempfile::TempDir,
}

impl Store {
    fn new(threads: u32) -> Self {
        let root = tempfile::tempdir().unwrap();
        for thread in 0..threads {
            fs::create_dir(root.path().join(format!("p{thread}"))).unwrap();
            fs::create_dir(root.path().join(format!("i{thread}"))).unwrap();
        }
        Self { root }
    }

    fn directories(&self, thread: u32) -> ThreadDirectories {
        let path = |kind: &str| self.root.path().join(format!("{kind}{thread}"));
        ThreadDirectories { thread, packets: path("p"), index: path("i") }
    }

    fn with(&self, thread: u32, bounds: Bounds) -> ThreadRetention {
        ThreadRetention { directories: self.directories(thread), bounds }
    }

    fn keeper(&self, bounds: Bounds, pins: &Pins) -> Keeper {
        keeper(vec![self.with(0, bounds)], pins)
    }

    /// A segment of `kib` KiB of packets and a tenth of that of index, published as stenotype does.
    fn publish(&self, thread: u32, id: u64, kib: u64) {
        let directories = self.directories(thread);
        for (directory, kib) in [(&directories.packets, kib), (&directories.index, kib / 10)] {
            let hidden = directory.join(format!(".{id}"));
            write(&hidden, kib);
            fs::rename(hidden, directory.join(id.to_string())).unwrap();
        }
    }

    fn names(&self, thread: u32) -> Vec<u64> {
        let directories = self.directories(thread);
        let list = |path: &Path| {
            let mut names: Vec<u64> = fs::read_dir(path)
                .unwrap()
                .filter_map(|e| e.unwrap().file_name().to_str().unwrap().parse().ok())
                .collect();
            names.sort_unstable();
            names
        };
        assert_eq!(list(&directories.packets), list(&directories.index), "packets and index go as one");
        list(&directories.packets)
    }
}

fn write(path: &Path, kib: u64) {
    fs::write(path, vec![7u8; usize::try_from(kib * KIB).unwrap()]).unwrap();
    File::open(path).unwrap().sync_all().unwrap();
}

fn unknown() -> NewestPacket {
    Arc::new(|_| None)
}

fn keeper(threads: Vec<ThreadRetention>, pins: &Pins) -> Keeper {
    Keeper::new(threads, pins.clone(), Arc::new(SystemClock), unknown())
}

fn pass(keeper: &mut Keeper) -> ThreadStatus {
    keeper.pass(|| false);
    keeper.status().remove(0)
}

fn bytes(n: u64) -> Bounds {
    Bounds { max_bytes: Some(n), ..Bounds::default() }
}

fn files(n: u64) -> Bounds {
    Bounds { max_files: Some(n), ..Bounds::default() }
}

#[test]
fn a_budget_is_held_and_the_oldest_go_first() {
    let store = Store::new(1);
    let mut keeper = store.keeper(bytes(1024 * KIB), &Pins::new());
    for id in 1..=40 {
        store.publish(0, id, 100);
        let status = pass(&mut keeper);
        let used = status.packet_bytes + status.index_bytes + status.other_bytes;
        assert!(used <= 1024 * KIB, "{used} at {id}");
        assert!(used >= 800 * KIB || id < 9, "more went than had to: {used} at {id}");
        let names = store.names(0);
        assert_eq!(names, (names[0]..=id).collect::<Vec<_>>(), "what stays is the newest, without holes");
        assert_eq!((status.oldest, status.newest), (Some(SegmentId(names[0])), Some(SegmentId(id))));
        assert_eq!(status.removed.get(&Reason::MaxBytes).copied().unwrap_or(0), names[0] - 1);
    }
}

#[test]
fn the_file_being_written_counts_and_stays() {
    let store = Store::new(1);
    (1..=5).for_each(|id| store.publish(0, id, 100));
    let open = store.directories(0).packets.join(".6");
    let mut keeper = store.keeper(bytes(620 * KIB), &Pins::new());
    assert_eq!(pass(&mut keeper).removed.len(), 0);
    write(&open, 300);
    let status = pass(&mut keeper);
    assert!(status.other_bytes >= 300 * KIB);
    assert_eq!(store.names(0), [4, 5]);
    write(&open, 1000);
    let status = pass(&mut keeper);
    assert_eq!(status.stuck, Some(Reason::MaxBytes), "nothing is left but what is being written");
    assert!(open.exists() && store.names(0).is_empty());
}

#[test]
fn there_is_no_cap_on_files_that_nobody_configured() {
    let store = Store::new(1);
    let directories = store.directories(0);
    for id in 1..=30_050 {
        drop(File::create(directories.packets.join(id.to_string())).unwrap());
        drop(File::create(directories.index.join(id.to_string())).unwrap());
    }
    let mut keeper = store.keeper(Bounds::default(), &Pins::new());
    let status = pass(&mut keeper);
    assert_eq!((status.segments, status.removed.len()), (30_050, 0));
    let mut keeper = store.keeper(files(30_000), &Pins::new());
    let status = pass(&mut keeper);
    assert_eq!((status.segments, status.removed[&Reason::MaxFiles]), (30_000, 50));
    assert_eq!(store.names(0)[0], 51);
}

#[test]
fn a_disk_that_is_too_full_loses_its_oldest_only() {
    let store = Store::new(1);
    (1..=3).for_each(|id| store.publish(0, id, 10));
    let percent = |p| Bounds { disk_free_percent: Some(p), ..Bounds::default() };
    let free = pass(&mut store.keeper(Bounds::default(), &Pins::new())).disk.unwrap().free_percent();
    if free > 0 {
        assert!(pass(&mut store.keeper(percent(0), &Pins::new())).removed.is_empty());
        assert_eq!(store.names(0).len(), 3);
    }
    // No disk is more than all free: whatever may go goes, and then it says that it is stuck.
    let status = pass(&mut store.keeper(percent(100), &Pins::new()));
    assert_eq!((status.removed[&Reason::DiskFree], status.stuck), (3, Some(Reason::DiskFree)));
    assert!(store.names(0).is_empty());
}

#[test]
fn a_pinned_segment_stays_until_its_query_ends() {
    let store = Store::new(1);
    (1..=5).for_each(|id| store.publish(0, id, 10));
    let pins = Pins::new();
    let mut keeper = store.keeper(files(3), &pins);
    let pin = pins.pin(run(1, 2), |_, _| true).unwrap();
    let status = pass(&mut keeper);
    assert_eq!(store.names(0), [1, 2, 4, 5], "within one, the bound is held by the oldest that nobody reads");
    assert_eq!(status.pinned, 2);
    let publish = |keeper: &mut Keeper, id| {
        store.publish(0, id, 10);
        keeper.note(SegmentEvent { thread: 0, id: SegmentId(id), change: Change::Added });
    };
    publish(&mut keeper, 6);
    assert_eq!(pass(&mut keeper).pinned, 2, "each is counted once");
    assert_eq!(store.names(0), [1, 2, 5, 6]);
    assert!(keeper.is_waiting());
    drop(pin);
    publish(&mut keeper, 7);
    let _ = pass(&mut keeper);
    assert_eq!(store.names(0), [5, 6, 7]);
    assert!(!keeper.is_waiting());
    assert!(pins.pin(run(1, 1), |_, _| true).is_err(), "a query that still believes in it must be told");
    keeper.note(SegmentEvent { thread: 0, id: SegmentId(1), change: Change::Added });
    assert!(pins.pin(run(1, 1), |_, _| true).is_ok());
}

/// From a segment of thread 0 to another.
fn run(first: u64, last: u64) -> Vec<Run> {
    vec![(0, SegmentId(first)..=SegmentId(last))]
}

#[test]
fn all_pinned_is_stuck_and_nothing_goes() {
    let store = Store::new(1);
    (1..=3).for_each(|id| store.publish(0, id, 10));
    let pins = Pins::new();
    let _pin = pins.pin(run(1, 3), |_, _| true).unwrap();
    let status = pass(&mut store.keeper(files(0), &pins));
    assert_eq!((status.stuck, status.segments), (Some(Reason::MaxFiles), 3));
}

#[test]
fn old_packets_go_and_newer_ones_stay() {
    let store = Store::new(1);
    let second = 1_000_000;
    for (id, modified_s) in [(1000 * second, 1060), (1060 * second, 1120), (1120 * second, 1180)] {
        store.publish(0, id, 10);
        let file = File::options().write(true).open(store.directories(0).packets.join(id.to_string())).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_secs(modified_s)).unwrap();
    }
    let at = |s: u64, newest: NewestPacket| {
        let bounds = Bounds { max_age: Some(Duration::from_secs(100)), ..Bounds::default() };
        let clock = Arc::new(FixedClock(TimestampNs(s * 1_000_000_000)));
        let mut keeper = Keeper::new(vec![store.with(0, bounds)], Pins::new(), clock, newest);
        pass(&mut keeper).removed.get(&Reason::MaxAge).copied().unwrap_or(0)
    };
    assert_eq!(at(1160, unknown()), 0, "its last packet is just 100 s old");
    assert_eq!(at(1161, unknown()), 1);
    assert_eq!(store.names(0), [1060 * second, 1120 * second]);
    // What the index says counts more than the file's own time.
    assert_eq!(at(1180, Arc::new(|_| Some(TimestampNs(1_079_999_999_999)))), 1);
    assert_eq!(store.names(0), [1120 * second]);
}

#[test]
fn the_oldest_of_all_threads_goes_first() {
    let store = Store::new(2);
    [1, 4, 5].iter().for_each(|id| store.publish(0, *id, 10));
    [2, 3, 6].iter().for_each(|id| store.publish(1, *id, 10));
    let percent = Bounds { disk_free_percent: Some(100), ..Bounds::default() };
    let mut keeper = keeper(vec![store.with(0, percent), store.with(1, percent)], &Pins::new());
    let left = std::cell::Cell::new(4);
    keeper.pass(|| left.replace(left.get() - 1) == 0);
    assert_eq!((store.names(0), store.names(1)), (vec![5], vec![6]));
}

#[test]
fn a_refused_removal_is_counted_once_and_the_next_segment_goes() {
    let store = Store::new(1);
    (2..=4).for_each(|id| store.publish(0, id, 10));
    let directories = store.directories(0);
    // A directory in the index's place cannot be unlinked. Its packet file makes it look like a segment.
    fs::write(directories.packets.join("1"), "x").unwrap();
    fs::create_dir(directories.index.join("1")).unwrap();
    let old = File::options().write(true).open(directories.packets.join("1")).unwrap();
    old.set_modified(UNIX_EPOCH).unwrap();
    let mut keeper = store.keeper(files(2), &Pins::new());
    let status = pass(&mut keeper);
    assert_eq!((status.errors, status.removed[&Reason::MaxFiles]), (1, 2));
    assert!(status.error.clone().unwrap().contains("i0/1: "), "{status:?}");
    assert!(directories.packets.join("1").exists(), "packets whose index cannot go must stay");
    assert!(directories.index.join("4").exists() && !directories.index.join("3").exists());
    assert_eq!(pass(&mut keeper).errors, 1, "it is left alone for a while");
}

#[test]
fn a_directory_that_cannot_be_read_is_an_error_and_not_a_crash() {
    let store = Store::new(1);
    store.publish(0, 1, 10);
    let mut keeper = store.keeper(files(5), &Pins::new());
    assert_eq!(pass(&mut keeper).errors, 0);
    let gone = store.directories(0).index;
    fs::rename(&gone, store.root.path().join("away")).unwrap();
    let mut keeper = store.keeper(files(0), &Pins::new());
    let status = pass(&mut keeper);
    assert_eq!(status.errors, 2, "the look through it, and the measuring of its disk");
    assert!(status.error.as_ref().unwrap().contains("i0: "), "{status:?}");
    assert_eq!(status.removed, BTreeMap::new());
    fs::rename(store.root.path().join("away"), &gone).unwrap();
    let status = pass(&mut keeper);
    assert_eq!((status.error, status.removed[&Reason::MaxFiles]), (None, 1), "it goes well again");
}

#[test]
fn it_runs_by_itself_under_a_continuous_writer() {
    let store = Store::new(1);
    let budget = 2048 * KIB;
    let pins = Pins::new();
    let retention = Retention::start(store.keeper(bytes(budget), &pins)).unwrap();
    let watch =
        SegmentWatch::start(vec![store.directories(0)], Duration::from_secs(3600), retention.listener()).unwrap();
    let sealed = watch.on_sealed();
    let took = |path: PathBuf| -> u64 {
        use std::os::unix::fs::MetadataExt;
        fs::read_dir(path).unwrap().filter_map(|e| e.unwrap().metadata().ok()).map(|m| m.blocks() * 512).sum()
    };
    let segment = 110 * KIB;
    let begun = Instant::now();
    let mut most = 0;
    let mut id = 0;
    while begun.elapsed() < Duration::from_secs(3) {
        id += 1;
        store.publish(0, id, 100);
        sealed(0, SegmentId(id));
        std::thread::sleep(Duration::from_millis(20));
        most = most.max(took(store.directories(0).packets) + took(store.directories(0).index));
    }
    // On a busy machine some segments may come before the thread that removes gets its turn.
    assert!(id > 30 && most <= budget + 4 * segment, "{most} bytes after {id} segments");
    let status = retention.watcher().status().remove(0);
    assert!(status.removed_bytes + budget + 4 * segment >= id * 100 * KIB, "{status:?}");
    assert_eq!(status.errors, 0, "{status:?}");
    drop(watch);
    drop(retention);
    let names = store.names(0);
    assert_eq!(names, (names[0]..=id).collect::<Vec<_>>());
}
