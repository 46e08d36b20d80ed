//! Crashes at every step of what a capture does to its disk, over a simulated one: after recovery every block that was
//! acknowledged is there, exactly once, and the store is clean.
//!
//! The capture of the simulation does what the real one does, in its order: blocks of a hidden packet file, several under way
//! at a time; then the index, the syncs and the renames of publishing. It is stopped before each step, in three ways: killed
//! (all that was done is there, what was under way is there in part), without power (what was not synced is there or not, each
//! piece for itself), and on a disk that refuses writes while it is recovered. Recovery itself is interrupted before it may
//! come to its end.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::{
    cell::Cell,
    collections::BTreeMap,
    fs,
    io::{self, Write},
    path::Path,
};

use steno_core::{
    SegmentId, TimestampNs,
    block::{Block, BlockWriter, Push},
    testkit::FrameBuilder,
};
use steno_index::{
    AnyIndex, Facts, IndexError, Log, Summary, index_packet_file, index_packet_file_version2,
    recover::{Means, Recovered, leftovers, mark, recover},
    seal, seal_version2,
    segment::{SegmentPaths, scan_dir},
    verify_segment,
};

const BLOCK: usize = 8192;
const BLOCK_BYTES: u32 = 8192;
/// A page of a block is written whole or not at all.
const PAGE: usize = 512;
const SEGMENTS: u64 = 3;
const FIRST: u64 = 1_700_000_000_000_000;

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap()
    }

    fn is(&mut self) -> bool {
        self.next().is_multiple_of(2)
    }
}

/// What is done to the disk.
#[derive(Clone, Debug)]
enum Step {
    /// The write of a block begins, or has ended.
    Begin {
        file: String,
        offset: usize,
        bytes: Vec<u8>,
    },
    End {
        file: String,
        offset: usize,
    },
    Append {
        file: String,
        bytes: Vec<u8>,
    },
    Sync {
        file: String,
    },
    Rename {
        from: String,
        to: String,
    },
    SyncNames,
}

/// How it is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    Kill,
    Power,
    KillThenRefuse,
}

/// The steps of a capture of several segments.
fn script(random: &mut Random, version2: bool) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut number = 1;
    for segment in 0..SEGMENTS {
        let id = FIRST + segment;
        let (packets, index) = (format!("PKT0/.{id}"), format!("IDX0/.{id}"));
        steps.push(Step::Append { file: packets.clone(), bytes: vec![] });
        let (mut file, mut under_way) = (Vec::new(), Vec::new());
        for sequence in 0..1 + random.below(5) as u64 {
            let bytes = block(random, &mut number, sequence + 1);
            let used = Block::parse(&bytes).unwrap().used().len().next_multiple_of(PAGE);
            let offset = file.len();
            file.extend_from_slice(&bytes);
            // Partly filled blocks are written as far as they are used.
            steps.push(Step::Begin { file: packets.clone(), offset, bytes: bytes[..used].to_vec() });
            under_way.push(offset);
            while under_way.len() > random.below(3) {
                let offset = under_way.remove(random.below(under_way.len()));
                steps.push(Step::End { file: packets.clone(), offset });
            }
        }
        for offset in under_way {
            steps.push(Step::End { file: packets.clone(), offset });
        }
        let (facts, mut bytes) = (Facts { block_bytes: BLOCK_BYTES, ..Facts::default() }, Vec::new());
        let _built = if version2 {
            index_packet_file_version2(&mut file.as_slice(), &facts, &mut bytes).unwrap()
        } else {
            index_packet_file(&mut file.as_slice(), &facts, &mut bytes).unwrap()
        };
        let half = bytes.split_off(bytes.len() / 2);
        steps.push(Step::Append { file: index.clone(), bytes });
        steps.push(Step::Append { file: index.clone(), bytes: half });
        steps.push(Step::Sync { file: packets.clone() });
        steps.push(Step::Sync { file: index.clone() });
        steps.push(Step::SyncNames);
        steps.push(Step::Rename { from: packets, to: format!("PKT0/{id}") });
        steps.push(Step::Rename { from: index, to: format!("IDX0/{id}") });
        steps.push(Step::SyncNames);
    }
    steps
}

/// A block of some packets, each of which bears a number.
fn block(random: &mut Random, number: &mut u32, sequence: u64) -> Vec<u8> {
    let mut writer = BlockWriter::new(BLOCK_BYTES);
    for _ in 0..1 + random.below(12) {
        let frame = FrameBuilder::ethernet().ipv4([10, 0, 0, 1], [10, 0, 0, 2]).udp(9, 53);
        let frame = frame.payload(&[&number.to_be_bytes()[..], &vec![7; random.below(300)]].concat()).build();
        let len = u32::try_from(frame.len()).unwrap();
        let pushed = writer.push(TimestampNs::from_parts(1_700_000_000, *number), len, &frame).unwrap();
        if matches!(pushed, Push::Full) {
            break;
        }
        *number += 1;
    }
    writer.finish(sequence).to_vec()
}

/// A file: what is on the disk for certain, and pieces of which each may be, in order.
#[derive(Clone, Debug, Default)]
struct SimFile {
    synced: Vec<u8>,
    pieces: Vec<(usize, Vec<u8>)>,
}

impl SimFile {
    fn content(&self, is_there: &mut dyn FnMut() -> bool) -> Vec<u8> {
        let mut content = self.synced.clone();
        for (offset, bytes) in self.pieces.iter().filter(|_| is_there()) {
            content.resize(content.len().max(offset + bytes.len()), 0);
            content[*offset..offset + bytes.len()].copy_from_slice(bytes);
        }
        content
    }
}

/// A disk as it is after some steps.
#[derive(Default)]
struct Disk {
    files: BTreeMap<u32, SimFile>,
    /// Names as programs see them, and as they are on the disk for certain.
    names: BTreeMap<String, u32>,
    synced_names: BTreeMap<String, u32>,
    /// Renames since, oldest first.
    renames: Vec<(String, String)>,
    under_way: BTreeMap<(String, usize), Vec<u8>>,
}

impl Disk {
    fn file(&mut self, name: &str) -> &mut SimFile {
        let next = u32::try_from(self.files.len()).unwrap();
        let number = *self.names.entry(name.to_owned()).or_insert(next);
        self.files.entry(number).or_default()
    }

    fn apply(&mut self, step: &Step) {
        match step.clone() {
            Step::Begin { file, offset, bytes } => drop(self.under_way.insert((file, offset), bytes)),
            Step::End { file, offset } => {
                let bytes = self.under_way.remove(&(file.clone(), offset)).unwrap();
                self.file(&file).pieces.push((offset, bytes));
            }
            Step::Append { file, bytes } => {
                let file = self.file(&file);
                let end = file.content(&mut || true).len();
                file.pieces.push((end, bytes));
            }
            Step::Sync { file } => {
                let file = self.file(&file);
                *file = SimFile { synced: file.content(&mut || true), pieces: vec![] };
            }
            Step::Rename { from, to } => {
                let number = self.names.remove(&from).unwrap();
                let _ = self.names.insert(to.clone(), number);
                self.renames.push((from, to));
            }
            Step::SyncNames => {
                self.synced_names = self.names.clone();
                self.renames.clear();
            }
        }
    }

    /// Packets that were acknowledged: in blocks of which the write has ended; without power, of which it was synced, and the
    /// name of the file, too.
    fn acknowledged(&self, stop: Stop) -> Vec<u32> {
        let is_there = |number: &u32| stop != Stop::Power || self.synced_names.values().any(|synced| synced == number);
        let packet_files = self.names.iter().filter(|(name, number)| name.starts_with("PKT0") && is_there(number));
        let of = |file: &SimFile| file.content(&mut || stop != Stop::Power);
        sorted(packet_files.flat_map(|(_, number)| numbers(&of(&self.files[number]))).collect())
    }

    /// What the stop leaves, as real files.
    fn leave(&self, stop: Stop, random: &mut Random, to: &Path) {
        for dir in ["PKT0", "IDX0"] {
            fs::create_dir(to.join(dir)).unwrap();
        }
        let mut files = self.files.clone();
        // Of what was under way any pages have come to the disk.
        for ((name, offset), bytes) in &self.under_way {
            let file = files.get_mut(&self.names[name]).unwrap();
            for (page, bytes) in (0..).zip(bytes.chunks(PAGE)).filter(|_| random.is()) {
                file.pieces.push((offset + page * PAGE, bytes.to_vec()));
            }
        }
        let mut names = self.names.clone();
        if stop == Stop::Power {
            names = self.synced_names.clone();
            // A file that was made since its directory was synced may be there; a rename may have happened, each for itself.
            for (name, number) in
                self.names.iter().filter(|(_, n)| !self.synced_names.values().any(|synced| synced == *n))
            {
                if random.is() {
                    let _ = names.insert(name.clone(), *number);
                }
            }
            for (from, to) in &self.renames {
                if random.is()
                    && let Some(number) = names.remove(from)
                {
                    let _ = names.insert(to.clone(), number);
                }
            }
        }
        for (name, number) in names {
            let content = files[&number].content(&mut || stop != Stop::Power || random.is());
            let path = to.join(&name);
            fs::write(&path, content).unwrap();
            if name.starts_with("PKT0") {
                let _marked = mark(&fs::OpenOptions::new().write(true).open(path).unwrap());
            }
        }
    }
}

fn sorted(mut numbers: Vec<u32>) -> Vec<u32> {
    numbers.sort_unstable();
    numbers
}

/// The numbers of the packets in the whole blocks of a packet file.
fn numbers(file: &[u8]) -> Vec<u32> {
    let whole = file.chunks(BLOCK).filter_map(|bytes| Block::parse(bytes).ok());
    let of_block = |block: Block<'_>| {
        let packets: Result<Vec<_>, _> = block.packets().collect();
        packets.unwrap_or_default().iter().map(|p| u32::from_be_bytes(p.bytes[42..46].try_into().unwrap())).collect()
    };
    whole.flat_map(|block| -> Vec<u32> { of_block(block) }).collect()
}

/// Writes so many bytes, and then nothing more.
struct Refusing<'a> {
    out: &'a mut dyn Write,
    left: usize,
}

impl Write for Refusing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let written = self.out.write(&bytes[..bytes.len().min(self.left)])?;
        self.left -= written;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Recovers all that is left, or fails on the way: by a disk that takes `takes` bytes of an index, or called off after `blocks`.
fn recover_all(dir: &Path, version2: bool, takes: usize, blocks: usize) {
    let (packets, index) = (dir.join("PKT0"), dir.join("IDX0"));
    let seen = Cell::new(0);
    let called_off = || {
        seen.set(seen.get() + 1);
        seen.get() > blocks
    };
    for (id, left) in leftovers(&packets, &index).unwrap() {
        let mut write = |log: &Log, facts: &Facts, out: &mut dyn Write| -> Result<Summary, IndexError> {
            let mut out = Refusing { out, left: takes };
            if version2 { seal_version2(log, facts, &mut out) } else { seal(log, facts, &mut out) }
        };
        let facts = Facts::default();
        let means = Means { facts: &facts, write_index: Some(&mut write), called_off: &called_off, remove_husks: true };
        match recover(&SegmentPaths::new(&packets, &index, id), left, means) {
            Ok(Recovered::InUse) => panic!("{id}: nobody uses it"),
            Ok(_) => {}
            Err(e) => assert!(takes < usize::MAX, "{id}: {e:?}"),
        }
    }
}

fn recovered(dir: &Path, what: &str) -> Vec<u32> {
    let (packets, index) = (dir.join("PKT0"), dir.join("IDX0"));
    let ((published, hidden), (indexes, _)) = (scan_dir(&packets).unwrap(), scan_dir(&index).unwrap());
    assert_eq!((&published, hidden), (&indexes, Vec::<SegmentId>::new()), "{what}");
    let mut found = Vec::new();
    for id in published {
        let paths = SegmentPaths::new(&packets, &index, id);
        let report = verify_segment(&paths.packet_file(), &paths.index_file());
        assert!(report.is_clean(), "{what}: {report:?}");
        let file = numbers(&fs::read(paths.packet_file()).unwrap());
        let packets = match AnyIndex::open(&paths.index_file()).unwrap() {
            AnyIndex::Native(index) => index.packets(),
            AnyIndex::Version2(index) => index.extra().unwrap().packets,
        };
        assert_eq!(packets as usize, file.len(), "{what}: the index has all that is whole");
        found.extend(file);
    }
    // Where a page with nothing but payload never came, the file has zeros: no chain of packets tells that, and of a block whose
    // write had ended it cannot be.
    found.retain(|number| *number != 0);
    let found = sorted(found);
    assert!(found.windows(2).all(|pair| pair[0] < pair[1]), "{what}: a packet is there twice");
    found
}

#[test]
fn whatever_is_acknowledged_is_there_once_after_a_crash_at_any_step() {
    let (mut points, mut acknowledged) = (0, 0);
    for seed in 0..16 {
        let mut random = Random(seed);
        let version2 = seed % 2 == 1;
        let steps = script(&mut random, version2);
        for end in 0..=steps.len() {
            let mut disk = Disk::default();
            steps[..end].iter().for_each(|step| disk.apply(step));
            for stop in [Stop::Kill, Stop::Power, Stop::KillThenRefuse] {
                let dir = tempfile::tempdir().unwrap();
                disk.leave(stop, &mut random, dir.path());
                let what = format!("seed {seed}, stopped by {stop:?} before step {end} of {}", steps.len());
                if stop == Stop::KillThenRefuse {
                    recover_all(dir.path(), version2, random.below(2_000), usize::MAX);
                    recover_all(dir.path(), version2, usize::MAX, random.below(4));
                }
                recover_all(dir.path(), version2, usize::MAX, usize::MAX);
                let found = recovered(dir.path(), &what);
                let expected = disk.acknowledged(stop);
                let lost: Vec<_> = expected.iter().filter(|number| found.binary_search(number).is_err()).collect();
                assert!(lost.is_empty(), "{what}: lost {lost:?}");
                // Again, it finds nothing to do.
                assert_eq!(leftovers(&dir.path().join("PKT0"), &dir.path().join("IDX0")).unwrap(), [], "{what}");
                points += 1;
                acknowledged += expected.len();
            }
        }
    }
    eprintln!("{points} crashes, {acknowledged} packets acknowledged, none lost");
    assert!(points >= 2_000 && acknowledged > 20_000, "{points} {acknowledged}");
}
