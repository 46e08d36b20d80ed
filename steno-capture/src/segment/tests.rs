//! Segments over a clock and a disk that do as they are told, in real directories, with a real index thread.

use std::{
    collections::VecDeque,
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use steno_core::{
    Clock, SegmentId, TimestampNs,
    block::{Block, BlockWriter},
    testkit::{block_of, recipe},
};
use steno_index::{Attribute, Cause, Drops, Facts, Index, Pause, Version2Index, verify_segment};

use super::{writer::PATIENCE, *};
use crate::{
    IndexFormat,
    control::Control,
    counters::Counters,
    io::{BlockSink, BlockWrite, Ended, SyncSink},
    ledger::Balance,
    ring::Stop,
    run::clock::{ClockWatch, Reading},
    sys::{AlignedBuffer, BlockMemory},
    watchdog::Pulse,
};

const BLOCK: u32 = 1 << 16;
const START: u64 = 1_700_000_000_000_000_000;

struct TestClock(AtomicU64);

impl TestClock {
    fn advance(&self, time: Duration) {
        let _ = self.0.fetch_add(u64::try_from(time.as_nanos()).unwrap(), Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now(&self) -> TimestampNs {
        TimestampNs::new(self.0.load(Ordering::Relaxed))
    }
}

/// What the disk does.
#[derive(Default)]
struct Disk {
    /// For each write in turn the error that it gets; none beyond the end.
    errors: VecDeque<Option<i32>>,
    /// The error that every write gets.
    broken: Option<i32>,
    /// Writes come back last first, and only when they are waited for.
    lazy: bool,
}

/// A sink that writes, or fails, as [`Disk`] says.
struct TestSink {
    disk: Arc<Mutex<Disk>>,
    ended: VecDeque<Ended>,
    waited: bool,
}

impl BlockSink for TestSink {
    fn start(&mut self, write: BlockWrite) {
        let mut disk = self.disk.lock().unwrap();
        let error = disk.errors.pop_front().flatten().or(disk.broken);
        let ended = match error {
            Some(errno) => {
                let BlockWrite { ticket, memory, .. } = write;
                Ended { ticket, memory, result: Err(std::io::Error::from_raw_os_error(errno)) }
            }
            None => {
                let mut sink = SyncSink::default();
                sink.start(write);
                sink.ended().unwrap()
            }
        };
        self.ended.push_back(ended);
    }

    fn in_flight(&self) -> usize {
        self.ended.len()
    }

    fn wait(&mut self, most: Option<Duration>) {
        self.waited = most.is_some();
    }

    fn ended(&mut self) -> Option<Ended> {
        match (self.disk.lock().unwrap().lazy, self.waited) {
            (false, _) => self.ended.pop_front(),
            (true, true) => self.ended.pop_back(),
            (true, false) => None,
        }
    }
}

struct TestLosses(Mutex<Losses>);

impl LossSource for Arc<TestLosses> {
    fn take(&self) -> Losses {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// A pause that does not wait, and how often it was taken.
fn counted_pause() -> (Pause, Arc<AtomicU64>) {
    let taken = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&taken);
    let pause = Pause::new(move || {
        let _ = counted.fetch_add(1, Ordering::Relaxed);
    });
    (pause, taken)
}

/// A writer with everything around it.
struct Bench {
    dir: tempfile::TempDir,
    clock: Arc<TestClock>,
    disk: Arc<Mutex<Disk>>,
    counters: Arc<Counters>,
    losses: Arc<TestLosses>,
    writer: Option<SegmentWriter>,
    blocks: u64,
    /// Pauses of the index thread.
    pauses: Arc<AtomicU64>,
}

impl Bench {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut WriterOptions)) -> Self {
        Self::in_format(IndexFormat::Native, change)
    }

    fn in_format(format: IndexFormat, change: impl FnOnce(&mut WriterOptions)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let place = Place { packets_dir: dir.path().join("PKT0"), index_dir: dir.path().join("IDX0") };
        fs::create_dir(&place.packets_dir).unwrap();
        fs::create_dir(&place.index_dir).unwrap();
        let mut options = WriterOptions {
            rotation: Rotation { block_bytes: BLOCK, blocks_max: 4, after: Duration::from_secs(60) },
            preallocate_bytes: 0,
            block_crc: true,
            with_index: true,
            sign_of_life: None,
            in_flight_max: 8,
            shares: None,
            facts: Facts { block_bytes: BLOCK, interface: "test0".to_owned(), ..Facts::default() },
        };
        change(&mut options);
        let clock = Arc::new(TestClock(AtomicU64::new(START)));
        let disk = Arc::new(Mutex::new(Disk::default()));
        let counters = Arc::new(Counters::default());
        let losses = Arc::new(TestLosses(Mutex::default()));
        let open = OpenSegment::first(&place, &*clock).unwrap();
        let (pause, pauses) = counted_pause();
        let means = Means {
            sink: Box::new(TestSink { disk: Arc::clone(&disk), ended: VecDeque::new(), waited: false }),
            sealer: Sealer::start(Sealing {
                thread: 0,
                nice_level: 0,
                index: options.with_index.then_some(format),
                counters: Arc::clone(&counters),
                pause,
                balance: Arc::new(Balance::before(open.paths.id())),
                control: Control::default(),
            })
            .unwrap(),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            counters: Arc::clone(&counters),
            losses: Box::new(Arc::clone(&losses)),
        };
        let writer = Some(SegmentWriter::new(place, options, open, means));
        Self { dir, clock, disk, counters, losses, writer, blocks: 0, pauses }
    }

    fn writer(&mut self) -> &mut SegmentWriter {
        self.writer.as_mut().unwrap()
    }

    /// Takes one block more: two packets from a host with the block's number.
    fn take(&mut self) {
        let (n, secs) = (self.blocks + 1, self.clock.now().secs());
        self.take_of(&format!(
            "{secs}.0000000{n:02} ip 10.0.0.{n} > 10.9.9.9 tcp {n} > 80 data 100\n\
             {secs}.1000000{n:02} ip 10.9.9.9 > 10.0.0.{n} tcp 80 > {n} data 200"
        ));
    }

    /// Takes one block more, of these packets.
    fn take_of(&mut self, text: &str) {
        self.blocks += 1;
        let (n, packets) = (self.blocks, recipe(text).unwrap());
        let mut writer = BlockWriter::new(BLOCK);
        assert_eq!(block_of(&mut writer, &packets), Ok(packets.len()));
        let mut memory = AlignedBuffer::new(BLOCK as usize);
        memory.bytes_mut().copy_from_slice(writer.finish(n));
        self.writer().take(BlockMemory::Copy(memory));
    }

    /// Ends the capture, and says which blocks each segment has, after holding its index against its packets.
    fn finish(&mut self) -> Vec<Vec<u64>> {
        let ended = self.clock.now();
        self.writer.take().unwrap().finish(ended);
        self.published().iter().map(|id| self.blocks_of(*id)).collect()
    }

    fn names(&self, dir: &str) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path().join(dir)).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn published(&self) -> Vec<SegmentId> {
        self.names("PKT0").iter().filter_map(|name| name.parse().ok()).collect()
    }

    /// Waits until the index thread has published so many segments.
    fn wait_for(&mut self, segments: u64) {
        while self.counters.segments.get() < segments {
            // One that waits for the index thread is handed over when the packet thread comes around.
            self.writer().tick();
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn index(&self, id: SegmentId) -> Index {
        Index::open(&self.dir.path().join("IDX0").join(id.to_string())).unwrap()
    }

    /// Sequence numbers of a segment's blocks.
    fn blocks_of(&self, id: SegmentId) -> Vec<u64> {
        let [packets, index] = ["PKT0", "IDX0"].map(|dir| self.dir.path().join(dir).join(id.to_string()));
        if index.exists() {
            let report = verify_segment(&packets, &index);
            assert!(report.is_clean(), "{report:?}");
        }
        let bytes = fs::read(&packets).unwrap();
        assert_eq!(bytes.len() % BLOCK as usize, 0, "whole blocks");
        bytes.chunks(BLOCK as usize).map(|b| Block::parse(b).unwrap().header().seq_num).collect()
    }

    fn sleep(&self, secs: u64) {
        self.clock.advance(Duration::from_secs(secs));
    }
}

#[test]
fn blocks_become_a_published_segment_with_its_circumstances() {
    let mut bench = Bench::new();
    bench.take();
    bench.take();
    bench.losses.0.lock().unwrap().dropped(7, 3);
    assert_eq!(bench.finish(), [[1, 2]]);
    let id = bench.published()[0];
    assert_eq!(id, SegmentId(START / 1_000));
    assert_eq!((bench.names("PKT0").len(), bench.names("IDX0").len()), (1, 1), "nothing hidden stays");
    let index = bench.index(id);
    assert_eq!((index.packets(), index.conversations()), (4, 2));
    let facts = index.facts().unwrap();
    assert_eq!((facts.interface.as_str(), facts.drops.as_slice()), ("test0", &[Drops { second: 7, packets: 3 }][..]));
    assert!(index.block(1).unwrap().crc32c.is_some());
    assert_eq!((bench.counters.packets.get(), bench.counters.blocks.get(), bench.counters.segments.get()), (4, 2, 1));
}

#[test]
fn long_blocks_have_running_checksums_unless_there_are_to_be_none() {
    for block_crc in [true, false] {
        let mut bench = Bench::with(|options| options.block_crc = block_crc);
        let long = "100 ip 10.0.0.1 > 10.9.9.9 tcp 7 > 80 data 1300\n".repeat(40);
        bench.take_of(&long);
        bench.take();
        bench.take_of(&long);
        assert_eq!(bench.finish(), [[1, 2, 3]]);
        let index = bench.index(bench.published()[0]);
        let running = |no| index.checksums(no).unwrap().map(|checksums| checksums.running().len());
        let expected = if block_crc { [1, 0, 1].map(Some) } else { [None; 3] };
        assert_eq!([0, 1, 2].map(running), expected);
    }
}

#[test]
fn a_full_file_makes_room_at_once() {
    let mut bench = Bench::new();
    (0..9).for_each(|_| bench.take());
    assert_eq!(bench.finish(), [vec![1, 2, 3, 4], vec![5, 6, 7, 8], vec![9]]);
    let ended = bench.published().into_iter().map(|id| bench.index(id).facts().unwrap().ended);
    assert_eq!(ended.collect::<Vec<_>>(), [None, None, Some(bench.clock.now())], "in the last one");
}

#[test]
fn until_when_an_earlier_capture_ran_is_known_from_what_it_left() {
    let second = |n: u64| TimestampNs::new(START + n * 1_000_000_000);
    let place =
        |bench: &Bench| Place { packets_dir: bench.dir.path().join("PKT0"), index_dir: bench.dir.path().join("IDX0") };
    let mut bench = Bench::new();
    let place = place(&bench);
    bench.take();
    // Killed: the file that it was writing tells.
    let written = fs::File::open(bench.dir.path().join("PKT0").join(&bench.names("PKT0")[0])).unwrap();
    written.set_modified(std::time::UNIX_EPOCH + Duration::from_nanos(second(7).as_ns())).unwrap();
    assert_eq!(earlier::captured_until(&place, second(9)), Some(second(7)));
    assert_eq!(earlier::captured_until(&place, second(6)), None, "the clock was set back");
    bench.sleep(30);
    let _segments = bench.finish();
    assert_eq!(earlier::captured_until(&place, second(99)), Some(second(30)), "it ended in order");
    let gap = earlier::gap(second(30), second(99)).unwrap();
    assert_eq!((gap.from, gap.to), (second(30), second(99)));
    assert_eq!(earlier::gap(second(30), second(30)), None);
    fs::remove_file(bench.dir.path().join("IDX0").join(&bench.names("IDX0")[0])).unwrap();
    assert_eq!(earlier::captured_until(&place, second(99)), None, "nothing tells");
}

#[test]
fn a_daemon_that_waits_for_files_is_shown_an_empty_one_now_and_then() {
    for (sign_of_life, shown) in [(Some(Duration::from_secs(120)), 2), (None, 0)] {
        let mut bench = Bench::in_format(IndexFormat::Leveldb, |options| options.sign_of_life = sign_of_life);
        // Five rotations: the second and the fourth are long enough after the start, or the last file.
        for _ in 0..5 {
            bench.sleep(60);
            bench.writer().tick();
        }
        bench.wait_for(shown);
        assert_eq!(bench.names("IDX0").len() as u64, shown);
        bench.take();
        let blocks = bench.finish();
        assert_eq!(blocks.iter().filter(|blocks| blocks.is_empty()).count() as u64, shown);
        assert_eq!(blocks.last(), Some(&vec![1]), "what has packets comes on its own");
        let ids = bench.published();
        assert_eq!(bench.names("IDX0").len(), ids.len());
        for id in ids {
            let index = Version2Index::open(&bench.dir.path().join("IDX0").join(id.to_string())).unwrap();
            assert_eq!(index.version(), (2, 0));
        }
    }
}

#[test]
fn an_old_file_is_closed_and_an_empty_one_gets_a_new_name() {
    let mut bench = Bench::new();
    let first = bench.names("PKT0");
    bench.sleep(59);
    bench.writer().tick();
    assert_eq!(bench.names("PKT0"), first);
    bench.sleep(1);
    bench.writer().tick();
    let second = bench.names("PKT0");
    assert_eq!(second, [format!(".{}", START / 1_000 + 60_000_000)]);
    bench.take();
    bench.sleep(60);
    assert_eq!(bench.writer().wait(), Duration::ZERO);
    bench.writer().tick();
    bench.wait_for(1);
    assert_eq!(bench.names("PKT0").iter().filter(|name| name.starts_with('.')).count(), 1, "the next one is open");
    // A block that comes late is not put into an old file either.
    bench.take();
    bench.sleep(61);
    bench.take();
    assert_eq!(bench.finish(), [[1], [2], [3]]);
}

#[test]
fn names_stay_apart_when_the_clock_stands_still() {
    let mut bench = Bench::with(|options| options.rotation.blocks_max = 1);
    (0..3).for_each(|_| bench.take());
    assert_eq!(bench.finish(), [[1], [2], [3]]);
    let ids = bench.published();
    assert_eq!(ids, [0, 1, 2].map(|i| SegmentId(START / 1_000 + i)));
}

#[test]
fn names_ascend_when_the_clock_is_set_back() {
    let mut bench = Bench::with(|options| options.rotation.blocks_max = 1);
    bench.take();
    bench.clock.0.store(START - 3_600_000_000_000, Ordering::Relaxed);
    bench.take();
    // The file that is open now is empty, and from the future: it is renamed, and stays in its place.
    bench.writer().tick();
    bench.take();
    assert_eq!(bench.finish(), [[1], [2], [3]], "in the order of their names");
    assert!(bench.published().iter().all(|id| id.0 >= START / 1_000));
}

#[test]
fn packets_that_were_cut_are_counted_in_their_seconds() {
    for with_index in [true, false] {
        let mut bench = Bench::with(|options| options.with_index = with_index);
        for second in [7, 8] {
            let mut writer = BlockWriter::new(BLOCK);
            let times = [second * 10, second * 10 + second % 2];
            for (n, (at, wire_len)) in (0..).zip([(times[0], 60), (times[0], 1_500), (times[1], 61), (times[1], 60)]) {
                let time = TimestampNs::new(at * 1_000_000_000 + n);
                let _pushed = writer.push(time, wire_len, &[0; 60]).unwrap();
            }
            let mut memory = AlignedBuffer::new(BLOCK as usize);
            memory.bytes_mut().copy_from_slice(writer.finish(second));
            bench.writer().take(BlockMemory::Copy(memory));
        }
        let _segments = bench.finish();
        assert_eq!((bench.counters.cut_packets.get(), bench.counters.bytes.get()), (4, 480));
        if with_index {
            let losses = bench.index(bench.published()[0]).facts().unwrap().losses.clone();
            let losses: Vec<_> = losses.iter().map(|loss| (loss.second, loss.cause, loss.count)).collect();
            assert_eq!(losses, [(70, Cause::Cut, 1), (71, Cause::Cut, 1), (80, Cause::Cut, 2)]);
        }
    }
}

#[test]
fn writes_that_stand_still_are_told() {
    let mut bench = Bench::new();
    bench.disk.lock().unwrap().lazy = true;
    bench.take();
    std::thread::sleep(Duration::from_millis(120));
    bench.writer().settle(Some(PATIENCE));
    let told = bench.counters.write_stall_ns.get();
    assert!(told >= 120_000_000, "{told} ns");
    assert_eq!(bench.finish(), [[1]]);
    let losses = bench.index(bench.published()[0]).facts().unwrap().losses.clone();
    assert!(losses.iter().all(|loss| loss.cause == Cause::WriteStall), "{losses:?}");
    assert_eq!(losses.iter().map(|loss| loss.count).sum::<u64>(), told);
}

/// Steps of an hour either way, within a file and between two.
#[test]
fn blocks_have_the_true_times_of_their_packets_however_the_clock_is_set() {
    const HOUR: u64 = 3_600_000_000_000;
    let mut bench = Bench::with(|options| options.rotation.blocks_max = 3);
    let mut since_boot = 0;
    let mut watch = ClockWatch::new(Reading { of_day: bench.clock.now(), since_boot_ns: since_boot });
    let mut steps = Vec::new();
    for step in [0, 1, -1, -1, 0, 1, 1, -1, 0] {
        bench.sleep(1);
        since_boot += 1_000_000_000;
        let now = bench.clock.now().as_ns();
        let set = if step < 0 { now - HOUR } else { now + HOUR * u64::from(step > 0) };
        bench.clock.0.store(set, Ordering::Relaxed);
        let seen = watch.look(Reading { of_day: bench.clock.now(), since_boot_ns: since_boot });
        assert_eq!(seen.map(|seen| (seen.from.as_ns(), seen.to.as_ns())), (step != 0).then_some((now, set)));
        if let Some(seen) = seen {
            bench.losses.0.lock().unwrap().clock_step(seen);
            steps.push(seen);
        }
        bench.take();
    }
    let blocks: Vec<u64> = bench.finish().concat();
    assert_eq!(blocks, (1..=9).collect::<Vec<_>>(), "names ascend");
    let mut told = Vec::new();
    for id in bench.published() {
        let index = bench.index(id);
        told.extend_from_slice(&index.facts().unwrap().clock_steps);
        let bytes = fs::read(bench.dir.path().join("PKT0").join(id.to_string())).unwrap();
        let mut all = Vec::new();
        for (number, bytes) in (0..).zip(bytes.chunks(BLOCK as usize)) {
            let block = Block::parse(bytes).unwrap();
            let times: Vec<_> = block.packets().map(|packet| packet.unwrap().timestamp()).collect();
            let noted = index.block(number).unwrap();
            assert_eq!((noted.min_time, noted.max_time), (times[0], times[1]));
            all.extend(times);
        }
        assert_eq!(index.time_range(), all.iter().min().copied().zip(all.iter().max().copied()));
    }
    assert_eq!(told, steps, "each once");
}

#[test]
fn nothing_captured_leaves_nothing() {
    let mut bench = Bench::new();
    assert_eq!(bench.finish(), Vec::<Vec<u64>>::new());
    assert_eq!((bench.names("PKT0").len(), bench.names("IDX0").len()), (0, 0));
}

#[test]
fn writes_that_end_in_any_order_make_the_same_file() {
    let mut bench = Bench::with(|options| options.in_flight_max = 3);
    bench.disk.lock().unwrap().lazy = true;
    (0..7).for_each(|_| bench.take());
    assert!(bench.writer().in_flight() < 3);
    assert_eq!(bench.finish(), [vec![1, 2, 3, 4], vec![5, 6, 7]]);
}

#[test]
fn a_block_that_fails_once_and_those_behind_it_go_to_a_new_file() {
    for lazy in [false, true] {
        let mut bench = Bench::with(|options| options.rotation.blocks_max = 8);
        {
            let mut disk = bench.disk.lock().unwrap();
            disk.errors = [None, Some(libc::EIO)].into();
            disk.lazy = lazy;
        }
        (0..4).for_each(|_| bench.take());
        bench.writer().settle(Some(Duration::ZERO));
        assert_eq!(bench.finish(), [vec![1], vec![2, 3, 4]], "lazy: {lazy}");
        assert_eq!((bench.counters.write_errors.get(), bench.counters.lost_packets.get()), (1, 0));
    }
}

#[test]
fn a_file_without_a_whole_block_is_removed() {
    let mut bench = Bench::new();
    bench.disk.lock().unwrap().errors = [Some(libc::EIO)].into();
    bench.take();
    assert_eq!(bench.finish(), [[1]]);
    assert_eq!(bench.names("PKT0").len(), 1);
}

#[test]
fn a_disk_that_takes_nothing_costs_what_comes_meanwhile_and_is_told_in_the_next_index() {
    // Full, over quota, mounted read-only, broken.
    [libc::ENOSPC, libc::EDQUOT, libc::EROFS, libc::EIO].into_iter().for_each(a_disk_that_takes_nothing);
}

fn a_disk_that_takes_nothing(error: i32) {
    let mut bench = Bench::new();
    bench.take();
    bench.disk.lock().unwrap().broken = Some(error);
    // The first of these fails twice, the second once beside it; the third is not even tried.
    (0..3).for_each(|_| bench.take());
    assert_eq!((bench.counters.write_errors.get(), bench.counters.lost_packets.get()), (3, 6));
    assert_eq!(bench.writer().in_flight(), 0, "the ring gets its blocks back");
    bench.sleep(1);
    bench.take();
    assert_eq!((bench.counters.write_errors.get(), bench.counters.lost_packets.get()), (4, 8), "one attempt a second");
    bench.disk.lock().unwrap().broken = None;
    bench.take();
    assert_eq!(bench.counters.lost_packets.get(), 10, "not before the second is over");
    bench.sleep(1);
    bench.take();
    assert_eq!(bench.finish(), [vec![1], vec![7]]);
    let facts = bench.index(bench.published()[1]).facts().unwrap().clone();
    let [gap] = facts.gaps.as_slice() else { panic!("one gap was expected: {:?}", facts.gaps) };
    assert_eq!(gap.from, TimestampNs::new(START + 2));
    assert_eq!(gap.to, TimestampNs::new(START + 1_100_000_006));
    assert_eq!(gap.reason, "10 packets could not be written");
    let not_written: Vec<_> = facts.losses.iter().map(|loss| (loss.second, loss.cause, loss.count)).collect();
    let second = START / 1_000_000_000;
    assert_eq!(not_written, [(second, Cause::NotWritten, 6), (second + 1, Cause::NotWritten, 4)]);
    let bytes = 7 * (14 + 20 + 20 + 100 + 14 + 20 + 20 + 200);
    assert_eq!(bench.counters.bytes.get(), bytes, "each packet once, however often it was given a place");
    assert_eq!(bench.counters.packets.get(), 14);
}

#[test]
fn a_directory_that_goes_away_is_waited_for() {
    let mut bench = Bench::with(|options| options.rotation.blocks_max = 1);
    bench.take();
    let packets = bench.dir.path().join("PKT0");
    // Once the first file is published; the second one is removed below it.
    bench.wait_for(1);
    bench.sleep(100);
    let moved = bench.dir.path().join("moved");
    fs::rename(&packets, &moved).unwrap();
    bench.take();
    bench.take();
    assert!(bench.counters.lost_packets.get() >= 2);
    fs::rename(&moved, &packets).unwrap();
    bench.sleep(1);
    bench.writer().tick();
    bench.take();
    let published = bench.finish();
    assert_eq!(published.first(), Some(&vec![1]));
    assert_eq!(published.last(), Some(&vec![4]));
}

#[test]
fn an_index_that_cannot_be_written_keeps_its_packets_hidden() {
    let mut bench = Bench::new();
    bench.take();
    fs::remove_dir(bench.dir.path().join("IDX0")).unwrap();
    let ended = bench.clock.now();
    bench.writer.take().unwrap().finish(ended);
    assert_eq!(bench.counters.unpublished.get(), 1);
    let names = bench.names("PKT0");
    assert!(matches!(names.as_slice(), [name] if name.starts_with('.')), "{names:?}");
    let bytes = fs::read(bench.dir.path().join("PKT0").join(&names[0])).unwrap();
    assert_eq!(Block::parse(&bytes).unwrap().header().seq_num, 1);
}

#[test]
fn what_could_not_be_published_is_tried_again() {
    let mut bench = Bench::with(|options| options.rotation.blocks_max = 1);
    let index = bench.dir.path().join("IDX0");
    fs::remove_dir(&index).unwrap();
    bench.take();
    bench.writer().tick();
    std::thread::sleep(Duration::from_millis(50));
    fs::create_dir(&index).unwrap();
    bench.take();
    assert_eq!(bench.finish(), [[1], [2]]);
    assert_eq!((bench.counters.unpublished.get(), bench.counters.segments.get()), (0, 2));
}

#[test]
fn without_an_index_the_packet_file_is_published_alone() {
    let mut bench = Bench::with(|options| options.with_index = false);
    (0..5).for_each(|_| bench.take());
    assert_eq!(bench.finish(), [vec![1, 2, 3, 4], vec![5]]);
    assert_eq!(bench.names("IDX0").len(), 0);
}

#[test]
fn an_index_without_its_log_is_read_back_from_the_packets() {
    read_back(IndexFormat::Native, |path| Index::open(path).unwrap().facts().unwrap().clone());
    read_back(IndexFormat::Leveldb, |path| Version2Index::open(path).unwrap().extra().unwrap().facts.clone());
}

fn read_back(format: IndexFormat, facts: impl Fn(&std::path::Path) -> Facts) {
    let mut bench = Bench::in_format(format, |_| {});
    for _ in 0..4 {
        bench.take();
        bench.sleep(1);
    }
    let _ = bench.finish();
    let id = bench.published()[0];
    let path = bench.dir.path().join("IDX0").join(id.to_string());
    let (with_log, facts_with_log) = (fs::read(&path).unwrap(), facts(&path));
    let packets = fs::read(bench.dir.path().join("PKT0").join(id.to_string())).unwrap();
    assert_eq!(packets.len() as u64, 4 * u64::from(BLOCK));

    // The same file sealed as the index thread does it when too many wait; what a disk has damaged by then is told.
    let second = |n: u64, ns: u64| TimestampNs::new(START + n * 1_000_000_000 + ns);
    let one = "1 blocks of the packet file are not whole";
    for (number, damaged, whole, gaps) in [
        (1, None, 8, vec![]),
        (2, Some(1), 6, vec![(second(0, 100_000_001), second(2, 3), one)]),
        (3, Some(3), 6, vec![(second(2, 100_000_003), second(4, 0), one)]),
    ] {
        let dirs = [format!("PKT{number}"), format!("IDX{number}")].map(|name| bench.dir.path().join(name));
        dirs.iter().for_each(|dir| fs::create_dir(dir).unwrap());
        let [packets_dir, index_dir] = dirs;
        let again = OpenSegment::first(&Place { packets_dir, index_dir }, &TestClock(AtomicU64::new(START))).unwrap();
        let mut bytes = packets.clone();
        if let Some(damaged) = damaged {
            bytes[damaged * BLOCK as usize..][..4096].fill(0);
        }
        fs::write(again.paths.hidden_packet_file(), bytes).unwrap();
        let last_written = std::time::UNIX_EPOCH + Duration::from_nanos(second(4, 0).as_ns());
        again.file.file().set_modified(last_written).unwrap();
        let facts_with_log = facts_with_log.clone();
        let job = SealJob { paths: again.paths, file: again.file, blocks: 4, log: None, facts: facts_with_log };
        let (pause, reads) = counted_pause();
        let mut indexer = Indexer::new(format, Pause::default());
        let summary = job.run(Some(&mut indexer), &pause, &Pulse::default()).unwrap().unwrap();
        assert!(reads.load(Ordering::Relaxed) >= 4, "a pause for each block that is read");
        assert_eq!(summary.packets, whole, "block {damaged:?} is damaged");
        let index = job.paths.index_file();
        let told = facts(&index).gaps;
        let told: Vec<_> = told.iter().map(|gap| (gap.from, gap.to, gap.reason.as_str())).collect();
        assert_eq!(told, gaps);
        if damaged.is_none() {
            assert_eq!(fs::read(index).unwrap(), with_log);
        } else {
            let report = verify_segment(&job.paths.packet_file(), &index);
            assert!(report.is_clean() && report.holes == 1, "{report:?}");
        }
    }
}

#[test]
fn an_index_thread_can_give_way_between_blocks() {
    for format in [IndexFormat::Native, IndexFormat::Leveldb] {
        let mut bench = Bench::in_format(format, |_| {});
        (0..4).for_each(|_| bench.take());
        assert_eq!(bench.finish(), [[1, 2, 3, 4]]);
        assert!(bench.pauses.load(Ordering::Relaxed) >= 4, "{format:?}");
    }
}

#[test]
fn a_recovery_can_give_way_between_blocks() {
    let mut bench = Bench::new();
    (0..4).for_each(|_| bench.take());
    let _ = bench.finish();
    let id = bench.published()[0];
    let [packets_dir, index_dir] = ["PKT0", "IDX0"].map(|dir| bench.dir.path().join(dir));
    let index = index_dir.join(id.to_string());
    fs::remove_file(&index).unwrap();
    let (pause, pauses) = counted_pause();
    let facts = Facts { block_bytes: BLOCK, ..Facts::default() };
    let recovery = Recovery::start(RecoveryPlan {
        threads: vec![(Place { packets_dir, index_dir }, facts)],
        index: Some(IndexFormat::Native),
        pause,
        stop: Arc::new(Stop::new().unwrap()),
        control: Control::default(),
        first: vec![SegmentId(u64::MAX)],
        recovered: None,
    });
    recovery.unwrap().finish();
    assert_eq!((index.exists(), bench.index(id).packets()), (true, 8));
    let pauses = pauses.load(Ordering::Relaxed);
    assert!(pauses >= 8, "{pauses} pauses while four blocks are read, and while they are indexed");
}

#[test]
fn an_index_for_1_0_1_is_sealed_of_every_file() {
    let mut bench = Bench::in_format(IndexFormat::Leveldb, |_| {});
    (0..5).for_each(|_| bench.take());
    // Both are held against their packets.
    assert_eq!(bench.finish(), [vec![1, 2, 3, 4], vec![5]]);
    let id = bench.published()[1].to_string();
    let index = Version2Index::open(&bench.dir.path().join("IDX0").join(id)).unwrap();
    let packets = |attribute| index.positions(attribute).unwrap().map_or(0, |positions| positions.len());
    assert_eq!([Attribute::Port(80), Attribute::Port(5), Attribute::Port(4)].map(packets), [2, 2, 0]);
    assert_eq!(index.extra().unwrap().facts.interface, "test0");
}

#[test]
fn every_file_has_its_disk_space_set_aside_and_gives_back_what_it_does_not_need() {
    let mut bench = Bench::with(|options| options.preallocate_bytes = 1 << 20);
    let hidden = bench.dir.path().join("PKT0").join(&bench.names("PKT0")[0]);
    // Where the file system can: nothing else changes where it can't.
    if steno_core::testkit::need(fs::metadata(&hidden).unwrap().len() > 0, "a file system with fallocate(2)") {
        assert_eq!(fs::metadata(&hidden).unwrap().len(), 1 << 20, "the first file");
        (0..5).for_each(|_| bench.take());
        let hidden = bench.names("PKT0").into_iter().rfind(|name| name.starts_with('.')).unwrap();
        assert_eq!(fs::metadata(bench.dir.path().join("PKT0").join(hidden)).unwrap().len(), 1 << 20, "the next one");
        assert_eq!(bench.finish(), [vec![1, 2, 3, 4], vec![5]]);
    }
}

#[test]
fn hostile_and_empty_blocks_are_not_stored() {
    let mut bench = Bench::new();
    let mut garbage = AlignedBuffer::new(BLOCK as usize);
    garbage.bytes_mut().fill(0xa5);
    bench.writer().take(BlockMemory::Copy(garbage));
    let mut empty = AlignedBuffer::new(BLOCK as usize);
    empty.bytes_mut().copy_from_slice(BlockWriter::new(BLOCK).finish(1));
    bench.writer().take(BlockMemory::Copy(empty));
    let mut broken = AlignedBuffer::new(BLOCK as usize);
    let mut writer = BlockWriter::new(BLOCK);
    let packets = recipe("1 ip 10.0.0.1 > 10.0.0.2 tcp 1 > 2\n2 ip 10.0.0.1 > 10.0.0.2 tcp 1 > 2").unwrap();
    assert_eq!(block_of(&mut writer, &packets), Ok(2));
    broken.bytes_mut().copy_from_slice(writer.finish(2));
    broken.bytes_mut()[48] = 1;
    bench.writer().take(BlockMemory::Copy(broken));
    bench.take();
    assert_eq!(bench.finish(), [[1]]);
}
