//! Recovery and repair of files that a test cut, emptied and mixed up.

use steno_core::{
    TimestampNs,
    block::{BlockWriter, Push},
    testkit::FrameBuilder,
};

use super::*;
use crate::{AnyIndex, Index, seal, seal_version2};

const BLOCK: u32 = 1 << 16;
const ID: SegmentId = SegmentId(1_700_000_000_000_000);

struct Bench {
    dir: tempfile::TempDir,
    paths: SegmentPaths,
}

fn bench() -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let [packets, index] = ["PKT0", "IDX0"].map(|name| dir.path().join(name));
    fs::create_dir(&packets).unwrap();
    fs::create_dir(&index).unwrap();
    let paths = SegmentPaths::new(&packets, &index, ID);
    Bench { dir, paths }
}

impl Bench {
    /// A packet file of ours that is being written.
    fn hidden(&self, bytes: impl AsRef<[u8]>) {
        fs::write(self.paths.hidden_packet_file(), bytes).unwrap();
        let _marked = mark(&OpenOptions::new().write(true).open(self.paths.hidden_packet_file()).unwrap());
    }

    fn left(&self) -> Vec<(SegmentId, Left)> {
        leftovers(&self.dir.path().join("PKT0"), &self.dir.path().join("IDX0")).unwrap()
    }

    fn recover(&self, left: Left) -> Recovered {
        let mut native = |log: &Log, facts: &Facts, mut out: &mut dyn Write| seal(log, facts, &mut out);
        recover(&self.paths, left, means(&Facts::default(), Some(&mut native))).unwrap()
    }

    fn index(&self) -> Index {
        Index::open(&self.paths.index_file()).unwrap()
    }
}

fn means<'a>(facts: &'a Facts, write_index: Option<WriteIndex<'a>>) -> Means<'a> {
    Means { facts, write_index, called_off: &|| false, remove_husks: true }
}

/// Blocks of 10 packets each.
fn blocks(count: u64) -> Vec<u8> {
    let frame = FrameBuilder::ethernet().ipv4([10, 0, 0, 1], [10, 0, 0, 2]).udp(53, 53).build();
    let (mut file, mut writer) = (Vec::new(), BlockWriter::new(BLOCK));
    for number in 0..count {
        for i in 0..10u32 {
            let time = TimestampNs::from_parts(100 + u32::try_from(number).unwrap(), i);
            assert!(matches!(writer.push(time, 60, &frame).unwrap(), Push::Stored { .. }));
        }
        file.extend_from_slice(writer.finish(number + 1));
        writer.clear();
    }
    file
}

#[test]
fn a_hidden_file_is_cut_behind_its_last_whole_block_and_published() {
    let whole = blocks(3);
    let used = 10 * 144 + 48;
    for (file_bytes, packets, length) in [
        (whole.len(), 30, whole.len()),
        // Written as far as it is used, and no further.
        (2 * BLOCK as usize + used, 30, whole.len()),
        (2 * BLOCK as usize + used / 2, 20, 2 * BLOCK as usize),
        (2 * BLOCK as usize + 40, 20, 2 * BLOCK as usize),
        (BLOCK as usize, 10, BLOCK as usize),
    ] {
        let bench = bench();
        bench.hidden(&whole[..file_bytes]);
        // As an attempt before this one may have left it.
        fs::write(bench.paths.hidden_index_file(), "part of an index").unwrap();
        assert_eq!(bench.left(), [(ID, Left::Hidden)]);
        let recovered = bench.recover(Left::Hidden);
        let cut_bytes = file_bytes.saturating_sub(length) as u64;
        assert_eq!(recovered, Recovered::Published { packets, cut_bytes, holes: 0 }, "{file_bytes} bytes");
        let mut expected = whole[..length].to_vec();
        expected.truncate(length);
        let got = fs::read(bench.paths.packet_file()).unwrap();
        assert_eq!(got.len(), length);
        assert_eq!(got[..file_bytes.min(length)], expected[..file_bytes.min(length)]);
        assert_eq!((bench.index().packets(), bench.index().facts().unwrap().block_bytes), (packets, BLOCK));
        assert_eq!(bench.left(), []);
        let report = crate::verify_segment(&bench.paths.packet_file(), &bench.paths.index_file());
        assert!(report.problems.is_empty(), "{report:?}");
    }
}

#[test]
fn room_that_was_set_aside_behind_the_only_block_is_given_back() {
    const FILE: u64 = 1 << 30;
    let bench = bench();
    bench.hidden(blocks(1));
    OpenOptions::new().write(true).open(bench.paths.hidden_packet_file()).unwrap().set_len(FILE).unwrap();
    let facts = Facts { block_bytes: BLOCK, ..Facts::default() };
    let mut native = |log: &Log, facts: &Facts, mut out: &mut dyn Write| seal(log, facts, &mut out);
    let recovered = recover(&bench.paths, Left::Hidden, means(&facts, Some(&mut native))).unwrap();
    assert_eq!(recovered, Recovered::Published { packets: 10, cut_bytes: FILE - u64::from(BLOCK), holes: 0 });
    assert_eq!(fs::read(bench.paths.packet_file()).unwrap(), blocks(1));
    assert_eq!(bench.index().facts().unwrap().block_bytes, BLOCK);
}

#[test]
fn whole_blocks_behind_one_that_was_never_written_are_kept() {
    let mut file = blocks(4);
    file[BLOCK as usize..2 * BLOCK as usize].fill(0);
    file.extend([0; 5000]);
    let bench = bench();
    bench.hidden(&file);
    let recovered = bench.recover(Left::Hidden);
    assert_eq!(recovered, Recovered::Published { packets: 30, cut_bytes: 5000, holes: 1 });
    assert_eq!((bench.index().packets(), bench.index().block_count()), (30, 3));
}

#[test]
fn a_published_packet_file_gets_its_index_and_stays_as_it_is() {
    let bench = bench();
    let mut file = blocks(2);
    file.truncate(BLOCK as usize + 100);
    fs::write(bench.paths.packet_file(), &file).unwrap();
    assert_eq!(bench.left(), [(ID, Left::WithoutIndex)]);
    assert!(matches!(bench.recover(Left::WithoutIndex), Recovered::Published { packets: 10, .. }));
    assert_eq!(fs::read(bench.paths.packet_file()).unwrap(), file);
    assert_eq!((bench.index().packets(), bench.left()), (10, vec![]));
    assert_eq!(bench.recover(Left::WithoutIndex), Recovered::InUse, "it has one by now");
}

#[test]
fn what_holds_nothing_whole_is_removed() {
    for (bytes, cut_bytes) in
        [(vec![], 0), (vec![1; 10], 10), (vec![0; 100_000], 100_000), (blocks(1)[..200].to_vec(), 200)]
    {
        let bench = bench();
        bench.hidden(bytes);
        assert_eq!(bench.recover(Left::Hidden), Recovered::Nothing { cut_bytes });
        assert_eq!(bench.left(), []);
    }
}

#[test]
fn a_file_that_is_being_written_and_one_whose_name_is_taken_are_left_alone() {
    let bench = bench();
    bench.hidden(blocks(1));
    let writer = File::open(bench.paths.hidden_packet_file()).unwrap();
    claim(&writer).unwrap();
    assert_eq!(bench.recover(Left::Hidden), Recovered::InUse);
    drop(writer);
    fs::write(bench.paths.packet_file(), "another").unwrap();
    let mut native = |log: &Log, facts: &Facts, mut out: &mut dyn Write| seal(log, facts, &mut out);
    let facts = Facts::default();
    let error = recover(&bench.paths, Left::Hidden, means(&facts, Some(&mut native))).unwrap_err();
    assert!(steno_core::chain(&error).contains("exists"), "{error:?}");
    assert_eq!(fs::read(bench.paths.packet_file()).unwrap(), b"another");
    assert_eq!(fs::read(bench.paths.hidden_packet_file()).unwrap(), blocks(1));
}

#[test]
fn it_can_be_called_off_and_done_in_either_format_or_without_an_index() {
    let bench = bench();
    bench.hidden(blocks(2));
    let facts = Facts { interface: "eth7".to_owned(), ..Facts::default() };
    let mut version2 = |log: &Log, facts: &Facts, mut out: &mut dyn Write| seal_version2(log, facts, &mut out);
    let recovered =
        recover(&bench.paths, Left::Hidden, Means { called_off: &|| true, ..means(&facts, Some(&mut version2)) })
            .unwrap();
    assert_eq!((recovered, bench.left()), (Recovered::CalledOff, vec![(ID, Left::Hidden)]));
    let recovered = recover(&bench.paths, Left::Hidden, means(&facts, Some(&mut version2))).unwrap();
    assert_eq!(recovered, Recovered::Published { packets: 20, cut_bytes: 0, holes: 0 });
    let AnyIndex::Version2(index) = AnyIndex::open(&bench.paths.index_file()).unwrap() else { panic!("native") };
    assert_eq!(index.extra().unwrap().facts.interface, "eth7");

    let bench = self::bench();
    bench.hidden(blocks(2));
    let recovered = recover(&bench.paths, Left::Hidden, means(&facts, None)).unwrap();
    assert_eq!(recovered, Recovered::Published { packets: 20, cut_bytes: 0, holes: 0 });
    assert_eq!(bench.left(), [(ID, Left::WithoutIndex)]);
}

/// A published segment of so many blocks, and its packet file.
fn published(count: u64, version2: bool) -> (Bench, Vec<u8>) {
    let bench = bench();
    let file = blocks(count);
    bench.hidden(&file);
    let facts = Facts { interface: "eth7".to_owned(), ..Facts::default() };
    let mut write = |log: &Log, facts: &Facts, mut out: &mut dyn Write| {
        if version2 { seal_version2(log, facts, &mut out) } else { seal(log, facts, &mut out) }
    };
    let recovered = recover(&bench.paths, Left::Hidden, means(&facts, Some(&mut write))).unwrap();
    assert!(matches!(recovered, Recovered::Published { .. }));
    (bench, file)
}

impl Bench {
    fn repair(&self) -> Repaired {
        let report = crate::verify_segment(&self.paths.packet_file(), &self.paths.index_file());
        assert!(!report.is_clean());
        let repaired = repair(&self.paths, &report, &Facts::default(), &|| false).unwrap();
        let report = crate::verify_segment(&self.paths.packet_file(), &self.paths.index_file());
        assert_eq!(report.is_clean(), matches!(repaired, Repaired::Reindexed { .. }), "{report:?}");
        repaired
    }

    fn facts(&self) -> Facts {
        match AnyIndex::open(&self.paths.index_file()).unwrap() {
            AnyIndex::Native(index) => index.facts().unwrap().clone(),
            AnyIndex::Version2(index) => index.extra().unwrap().facts.clone(),
        }
    }
}

#[test]
fn an_index_that_is_damaged_is_made_anew_in_its_format_and_the_old_one_is_kept() {
    for version2 in [false, true] {
        let (bench, file) = published(3, version2);
        let whole = fs::read(bench.paths.index_file()).unwrap();
        for (round, at) in [(0, whole.len() / 2), (1, 20)] {
            let mut bent = whole.clone();
            bent[at] ^= 1;
            fs::write(bench.paths.index_file(), &bent).unwrap();
            let Repaired::Reindexed { packets, set_aside, cut_bytes, holes } = bench.repair() else { panic!() };
            assert_eq!((packets, cut_bytes, holes), (30, 0, 0));
            assert_eq!(fs::read(&set_aside).unwrap(), bent);
            let name = set_aside.file_name().unwrap().to_str().unwrap();
            assert_eq!(name, format!("{ID}.damaged{}", if round == 0 { "" } else { ".1" }));
            let index = AnyIndex::open(&bench.paths.index_file()).unwrap();
            assert_eq!(matches!(index, AnyIndex::Version2(_)), version2);
            assert_eq!((fs::read(bench.paths.packet_file()).unwrap(), bench.left()), (file.clone(), vec![]));
        }
    }
}

#[test]
fn blocks_that_are_not_whole_any_more_become_gaps() {
    for (cut, hole, packets) in [(2 * BLOCK as usize + 300, None, 20), (4 * BLOCK as usize, Some(1), 30)] {
        let (bench, mut file) = published(4, false);
        file.truncate(cut);
        if let Some(hole) = hole {
            file[hole * BLOCK as usize + 100..(hole + 1) * BLOCK as usize].fill(0);
        }
        fs::write(bench.paths.packet_file(), &file).unwrap();
        let Repaired::Reindexed { packets: got, holes, .. } = bench.repair() else { panic!() };
        assert_eq!((got, holes), (packets, u32::from(hole.is_some())));
        let facts = bench.facts();
        let lost: Vec<u32> = hole.map_or_else(|| vec![102, 103], |hole| vec![100 + u32::try_from(hole).unwrap()]);
        let gaps: Vec<_> = facts.gaps.iter().map(|gap| (gap.from, gap.to)).collect();
        let at = |second| (TimestampNs::from_parts(second, 0), TimestampNs::from_parts(second, 9));
        assert_eq!(gaps, lost.into_iter().map(at).collect::<Vec<_>>());
        assert_eq!(facts.interface, "eth7");
    }
}

#[test]
fn packets_that_are_others_than_were_captured_are_not_indexed_anew() {
    let alter: [fn(&mut Vec<u8>); 2] = [
        // A payload; a time.
        |file| file[BLOCK as usize + 48 + 82 + 20] ^= 1,
        |file| file[48 + 8] ^= 1,
    ];
    for (alter, version2) in alter.iter().flat_map(|alter| [(alter, false), (alter, true)]) {
        let (bench, mut file) = published(2, version2);
        alter(&mut file);
        fs::write(bench.paths.packet_file(), &file).unwrap();
        let index = fs::read(bench.paths.index_file()).unwrap();
        let report = crate::verify_segment(&bench.paths.packet_file(), &bench.paths.index_file());
        if report.is_clean() {
            assert!(version2, "an index of version 2 knows no checksums of blocks");
            continue;
        }
        assert_eq!(bench.repair(), Repaired::Altered);
        assert_eq!(
            (fs::read(bench.paths.index_file()).unwrap(), fs::read(bench.paths.packet_file()).unwrap()),
            (index, file)
        );
    }
    // Another segment's packets.
    let (bench, _) = published(2, false);
    fs::write(bench.paths.packet_file(), blocks(3)).unwrap();
    assert_eq!(bench.repair(), Repaired::Altered);
    fs::write(bench.paths.packet_file(), [7; 5000]).unwrap();
    assert_eq!(bench.repair(), Repaired::NothingWhole);
}

#[test]
fn an_index_without_packets_is_set_aside() {
    let (bench, _) = published(1, false);
    fs::remove_file(bench.paths.packet_file()).unwrap();
    assert_eq!(bench.left(), [(ID, Left::WithoutPackets)]);
    let index = fs::read(bench.paths.index_file()).unwrap();
    let Recovered::SetAside(to) = bench.recover(Left::WithoutPackets) else { panic!() };
    assert_eq!((fs::read(to).unwrap(), bench.left()), (index, vec![]));
    assert_eq!(bench.recover(Left::WithoutPackets), Recovered::InUse);
}

#[test]
fn a_file_that_a_program_without_locks_writes_is_left_alone() {
    let bench = bench();
    bench.hidden(blocks(2));
    let writer = OpenOptions::new().append(true).open(bench.paths.hidden_packet_file()).unwrap();
    assert_eq!(bench.recover(Left::Hidden), Recovered::InUse);
    drop(writer);
    let file = OpenOptions::new().write(true).open(bench.paths.hidden_packet_file()).unwrap();
    // A program that another test starts has it until it is executed.
    while steno_core::is_written_elsewhere(&file).unwrap() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    drop(file);
    assert!(matches!(bench.recover(Left::Hidden), Recovered::Published { packets: 20, .. }));
}

#[test]
fn of_a_file_that_is_not_ours_nothing_is_changed_but_the_name() {
    let (bench, mut file) = (bench(), blocks(3));
    bench.hidden("");
    let attributes = mark(&OpenOptions::new().write(true).open(bench.paths.hidden_packet_file()).unwrap());
    if !steno_core::testkit::need(attributes.is_ok(), "extended attributes in the directory for temporary files") {
        return;
    }
    fs::remove_file(bench.paths.hidden_packet_file()).unwrap();
    file.truncate(2 * BLOCK as usize + 300);
    fs::write(bench.paths.hidden_packet_file(), &file).unwrap();
    let recovered = bench.recover(Left::Hidden);
    assert_eq!(recovered, Recovered::Published { packets: 20, cut_bytes: 0, holes: 0 });
    assert_eq!(fs::read(bench.paths.packet_file()).unwrap(), file);
    let report = crate::verify_segment(&bench.paths.packet_file(), &bench.paths.index_file());
    assert!(report.is_clean() && report.holes == 1, "{report:?}");

    for husk in [&b""[..], b"nothing whole"] {
        let bench = self::bench();
        fs::write(bench.paths.hidden_packet_file(), husk).unwrap();
        assert_eq!(bench.recover(Left::Hidden), Recovered::Nothing { cut_bytes: husk.len() as u64 });
        assert_eq!(fs::read(bench.paths.hidden_packet_file()).unwrap(), husk);
    }
}
