//! Damaged and hostile index files: an answer is the right one or an error, whatever happened to the bytes; and what
//! right checksums hide, the check against the packets finds.

use std::{collections::BTreeSet, fs, ops::Range, path::PathBuf, sync::LazyLock};

use crate::segments::{Answer, ask, golden_facts_of, packet_file_of_blocks};
use proptest::{collection::vec, prelude::*};
use steno_core::testkit::recipe;
use steno_index::{Index, IndexError};

type Answers = Vec<(String, Result<Answer, IndexError>)>;

/// A packet file, its index, and what that answers.
type Segment = (Vec<u8>, Vec<u8>, Answers);

pub(crate) fn golden(name: &str) -> (Vec<u8>, Vec<u8>) {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let recipe = recipe(&fs::read_to_string(dir.join(name).with_extension("recipe")).unwrap()).unwrap();
    (
        packet_file_of_blocks(&recipe, golden_facts_of(name).block_bytes),
        fs::read(dir.join(name).with_extension("idx")).unwrap(),
    )
}

/// Every answer of `index` is an error that says "corrupt", or the one that the whole file gives. Says how many are
/// errors.
fn right_or_refused(index: &Index, whole: &Answers, what: &str) -> usize {
    let answers = ask(index);
    assert_eq!(answers.len(), whole.len(), "{what}");
    let mut refused = 0;
    for ((question, answer), (_, expected)) in answers.iter().zip(whole) {
        match answer {
            Ok(answer) => assert_eq!(Some(answer), expected.as_ref().ok(), "{what}: {question}"),
            Err(error) => {
                assert!(error.is_corrupt(), "{what}: {question}: {error}");
                refused += 1;
            }
        }
    }
    refused
}

#[test]
fn a_file_cut_at_any_length_is_refused() {
    for name in ["empty", "mixed", "groups", "rows", "pieces"] {
        let (_, bytes) = golden(name);
        for len in (0..bytes.len()).step_by(if name == "rows" { 7 } else { 1 }) {
            let error = Index::from_bytes(bytes[..len].to_vec()).unwrap_err();
            assert!(error.is_corrupt(), "{name} cut to {len}: {error}");
        }
        let longer = [&bytes[..], &[0; 8]].concat();
        assert!(Index::from_bytes(longer).is_err());
        // With a footer of its own at the end, the length tells.
        let longer = [&[0; 8], &bytes[..]].concat();
        assert!(matches!(Index::from_bytes(longer), Err(IndexError::Length { .. })));
    }
}

#[test]
fn no_flipped_bit_is_ever_used() {
    let (_, bytes) = golden("mixed");
    let whole = ask(&Index::from_bytes(bytes.clone()).unwrap());
    let mut seen = 0;
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 1 << (at % 8);
        let what = format!("byte {at}");
        match Index::from_bytes(bad) {
            Err(error) => assert!(error.is_corrupt() || matches!(error, IndexError::Version { .. }), "{what}: {error}"),
            Ok(index) => {
                seen += right_or_refused(&index, &whole, &what);
                assert!(matches!(index.verify(), Err(IndexError::Checksum { .. })), "{what} passed the check");
            }
        }
    }
    // All of this file's sections lie in its first page, which opening reads.
    assert_eq!(seen, 0);
}

#[test]
fn a_damaged_page_spoils_only_what_needs_it() {
    for (name, step) in [("groups", 61), ("rows", 611)] {
        let (_, bytes) = golden(name);
        let whole = ask(&Index::from_bytes(bytes.clone()).unwrap());
        let mut partly = 0;
        for at in (4096..bytes.len()).step_by(step) {
            let mut bad = bytes.clone();
            bad[at] ^= 0x10;
            if let Ok(index) = Index::from_bytes(bad) {
                let refused = right_or_refused(&index, &whole, &format!("{name}, byte {at}"));
                partly += usize::from(refused > 0 && refused < whole.len());
            }
        }
        assert!(partly > 10, "{partly} damaged files of {name} answered in part");
    }
}

/// Where the parts of a file lie: pages, table, table of contents.
struct Parts {
    table: usize,
    toc: usize,
    footer: usize,
}

impl Parts {
    fn of(bytes: &[u8]) -> Self {
        let footer = bytes.len() - 128;
        let at = |offset: usize| u64::from_le_bytes(bytes[footer + offset..footer + offset + 8].try_into().unwrap());
        Self { table: usize::try_from(at(32)).unwrap(), toc: usize::try_from(at(16)).unwrap(), footer }
    }

    /// Makes all checksums right again.
    fn reseal(&self, bytes: &mut [u8]) {
        let mut put = |at: usize, from: usize, to: usize| {
            let crc = crc32c::crc32c(&bytes[from..to]);
            bytes[at..at + 4].copy_from_slice(&crc.to_le_bytes());
        };
        for (no, start) in (0..self.table).step_by(4096).enumerate() {
            put(self.table + 4 * no, start, (start + 4096).min(self.table));
        }
        put(self.footer + 44, self.table, self.toc);
        put(self.footer + 28, self.toc, self.footer);
        put(self.footer, self.footer + 4, self.footer + 128);
    }
}

/// Opens a file that was changed and given right checksums. It may answer anything but must come back; and if the check
/// against the packets finds nothing, every answer but the facts must be right.
fn hostile(bytes: Vec<u8>, packets: &[u8], whole: &Answers, what: &str) -> bool {
    let Ok(index) = Index::from_bytes(bytes) else { return false };
    let answers = ask(&index);
    let report = index.verify_against(&mut &packets[..]);
    if !report.is_clean() {
        return false;
    }
    for ((question, answer), (_, expected)) in answers.iter().zip(whole) {
        let (Ok(answer), Ok(expected)) = (answer, expected) else { panic!("{what}: {question}: {answer:?}") };
        match (answer, expected) {
            (Answer::Facts(_), _) => {}
            // An index need not know the CRC of a block.
            (Answer::Block(a), Answer::Block(b)) if a.crc32c.is_none() => {
                assert_eq!((a.offset_bytes, a.packets, a.min_time), (b.offset_bytes, b.packets, b.min_time), "{what}");
            }
            // Nor any checksum of it, nor the running ones.
            (Answer::Checksums(None), Answer::Checksums(_)) => {}
            (Answer::Checksums(Some(a)), Answer::Checksums(Some(b))) if a.running().is_empty() => {
                assert_eq!(a.crc32c(), b.crc32c(), "{what}");
            }
            _ => assert_eq!(answer, expected, "{what}: {question}"),
        }
    }
    assert_eq!(answers.len(), whole.len());
    true
}

#[test]
fn what_right_checksums_hide_is_found_or_harmless() {
    let (packets, bytes) = golden("mixed");
    let (parts, whole) = (Parts::of(&bytes), ask(&Index::from_bytes(bytes.clone()).unwrap()));
    let mut same = bytes.clone();
    parts.reseal(&mut same);
    assert_eq!(same, bytes, "resealing a whole file changes nothing");
    let mut passed = 0;
    for at in 0..bytes.len() {
        for change in [0x01, 0xff] {
            let mut bad = bytes.clone();
            bad[at] ^= change;
            parts.reseal(&mut bad);
            passed += usize::from(hostile(bad, &packets, &whole, &format!("byte {at} ^ {change:#04x}")));
        }
    }
    // Facts, zeros that mean nothing, and checksums that resealing put right.
    assert!(passed < bytes.len(), "{passed} of {} changes passed", 2 * bytes.len());
}

/// The block table, the running checksums and the table of contents, which the packets are too many for to try all others.
#[test]
fn running_checksums_that_are_others_than_the_packets_have_are_found() {
    let (packets, bytes) = golden("pieces");
    let (parts, whole) = (Parts::of(&bytes), ask(&Index::from_bytes(bytes.clone()).unwrap()));
    let index = Index::from_bytes(bytes.clone()).unwrap();
    let place = |name: &str| {
        let section = index.sections().find(|section| section.name == name).unwrap();
        section.offset_bytes as usize..(section.offset_bytes + section.len_bytes) as usize
    };
    for at in place("running-checksums") {
        let mut bad = bytes.clone();
        bad[at] ^= 0x10;
        parts.reseal(&mut bad);
        let report = Index::from_bytes(bad).unwrap().verify_against(&mut &packets[..]);
        let said = report.problems.first().map(ToString::to_string).unwrap_or_default();
        assert!(said.ends_with("the index has another running CRC-32C"), "byte {at}: {said:?}");
    }
    let (mut passed, flags) = (0, place("blocks").start + 52);
    for at in place("blocks").chain(parts.toc..parts.footer) {
        for change in [0x01, 0x02, 0xff] {
            let mut bad = bytes.clone();
            bad[at] ^= change;
            parts.reseal(&mut bad);
            passed += usize::from(hostile(bad, &packets, &whole, &format!("byte {at} ^ {change:#04x}")));
        }
    }
    assert!(passed > 0, "unused bytes may be anything");
    // Without the bit that says that they are there, they are those of no block.
    let mut bad = bytes.clone();
    bad[flags] ^= 2;
    parts.reseal(&mut bad);
    let error = Index::from_bytes(bad).unwrap().verify().unwrap_err().to_string();
    assert!(error.contains("running checksums that are not its own"), "{error}");
}

/// Each bit flipped under right checksums, so that the checks behind them have to speak: every one of them does.
#[test]
fn every_check_behind_the_checksums_has_a_case() {
    let (_, mixed) = golden("mixed");
    let mut said = what_checks_say(&mixed, 0..mixed.len());
    let (_, groups) = golden("groups");
    let index = Index::from_bytes(groups.clone()).unwrap();
    let starts = index.sections().find(|section| section.name == "port-starts").unwrap();
    let starts = starts.offset_bytes as usize..(starts.offset_bytes + starts.len_bytes) as usize;
    said.append(&mut what_checks_say(&groups, starts));
    let (_, pieces) = golden("pieces");
    let index = Index::from_bytes(pieces.clone()).unwrap();
    let blocks = index.sections().find(|section| section.name == "blocks").unwrap();
    let blocks = blocks.offset_bytes as usize..(blocks.offset_bytes + blocks.len_bytes) as usize;
    said.append(&mut what_checks_say(&pieces, blocks));
    let silent: Vec<_> = CHECKS.iter().filter(|check| !said.contains(*check)).collect();
    assert!(silent.is_empty(), "no damage made these speak: {silent:#?}");
}

fn what_checks_say(bytes: &[u8], range: Range<usize>) -> BTreeSet<&'static str> {
    let parts = Parts::of(bytes);
    let mut said = BTreeSet::new();
    for (at, bit) in range.flat_map(|at| (0..8).map(move |bit| (at, bit))) {
        let mut bad = bytes.to_vec();
        bad[at] ^= 1 << bit;
        parts.reseal(&mut bad);
        if let Err(IndexError::Corrupt { what, .. }) = Index::from_bytes(bad).and_then(|index| index.verify()) {
            let _ = said.insert(what);
        }
    }
    said
}

const CHECKS: &[&str] = &[
    // Opening.
    "does not start with the magic of an index",
    "the version is not that of the footer",
    "the page size is not 4096",
    "the parts of the file do not fill it",
    "section ids do not ascend",
    "a section lies outside of its place",
    "sections overlap",
    "a section is missing",
    "the length is not that of the count",
    "the count is at odds with those of other sections",
    "impossible counts of packets and conversations",
    "the earliest time is after the latest",
    // Decoding.
    "a value of the wrong form",
    "the section ends within a tag",
    "the section ends within a value",
    "bytes behind the last tag",
    "the section ends within a class",
    "an unknown network layer",
    "a tag out of range",
    "a base of more than 8 bytes",
    "widths of more than 64 bits",
    "more exceptions than values",
    "a block whose length is not that of its values",
    "the directory does not ascend within the section",
    "a row group whose length is not that of its fields",
    "a value that is not there",
    "an item that is not there",
    "a class that is not there",
    "a number that is too large",
    "a time before 1970 or after 2554",
    // Checking.
    "blocks overlap",
    "a block that ends past 4 GiB",
    "more packets than a packet file can hold",
    "packets or anchors do not go on where the block before ended",
    "packets or anchors that are in no block",
    "anchors do not ascend within the block",
    "running checksums that are not its own",
    "running checksums that are of no block",
    "times at odds with those of the file",
    "items do not ascend",
    "an address or a port that its class does not have",
    "the low end is the higher one",
    "two directions between equal ends",
    "flags that it cannot have",
    "its packet list does not follow the one before",
    "a packet that another conversation has",
    "bytes that do not add up to those of the file",
    "starts do not begin with 0 and end with the count",
    "a conversation that does not have the item",
    "a conversation is not posted under what it has",
    "an item without postings",
];

#[test]
fn bytes_that_are_no_index_are_refused() {
    for bytes in [&b""[..], b"x", &[0; 4096], b"\x89STENOIX", b"XIONETS\x89", &[0xff; 300]] {
        assert!(matches!(Index::from_bytes(bytes.to_vec()), Err(IndexError::NotAnIndex { .. })));
    }
    let mut sst = vec![0; 200];
    sst.extend_from_slice(&0xdb47_7524_8b80_fb57u64.to_le_bytes());
    let error = Index::from_bytes(sst).unwrap_err().to_string();
    assert!(error.starts_with("not an index: it ends in [57, fb"), "{error}");
}

#[test]
fn another_major_version_is_refused_and_a_minor_one_is_not() {
    let (_, bytes) = golden("mixed");
    let parts = Parts::of(&bytes);
    let with = |offset: usize, version: u8| {
        let mut other = bytes.clone();
        other[parts.footer + offset] = version;
        other[8 + offset - 4] = version;
        parts.reseal(&mut other);
        Index::from_bytes(other)
    };
    let error = with(4, 5).unwrap_err();
    assert_eq!(error.to_string(), "the index has version 5.1, this program reads version 4");
    assert!(matches!(with(4, 2), Err(IndexError::Version { got_major: 2, .. })));
    let index = with(4, 4).unwrap();
    assert_eq!(index.version(), (4, 1), "so few conversations look the same in both versions");
    index.verify().unwrap();
    let index = with(6, 9).unwrap();
    assert_eq!(index.version(), (3, 9));
    index.verify().unwrap();
}

#[test]
fn unknown_sections_are_passed_over() {
    let (_, bytes) = golden("mixed");
    let parts = Parts::of(&bytes);
    // Section 1000, of no bytes, goes to the end of the table of contents.
    let mut entry = [0; 40];
    entry[..8].copy_from_slice(&1000u64.to_le_bytes());
    entry[8..16].copy_from_slice(&16u64.to_le_bytes());
    let mut other = [&bytes[..parts.footer], &entry, &bytes[parts.footer..]].concat();
    let footer = parts.footer + 40;
    let (len, entries) = (other.len() as u64, other[footer + 24] + 1);
    other[footer + 8..footer + 16].copy_from_slice(&len.to_le_bytes());
    other[footer + 24] = entries;
    Parts { footer, ..parts }.reseal(&mut other);
    let index = Index::from_bytes(other).unwrap();
    index.verify().unwrap();
    assert_eq!(ask(&index).len(), ask(&Index::from_bytes(bytes).unwrap()).len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn random_bytes_are_no_index(bytes in vec(any::<u8>(), 0..2000)) {
        prop_assert!(Index::from_bytes(bytes).is_err());
    }

    #[test]
    fn hostile_files_of_several_row_groups_come_back(
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        run in 1usize..9,
        by_rows in any::<bool>(),
    ) {
        static FILES: LazyLock<[Segment; 2]> = LazyLock::new(|| {
            ["groups", "rows"].map(|name| {
                let (packets, bytes) = golden(name);
                (packets, bytes.clone(), ask(&Index::from_bytes(bytes).unwrap()))
            })
        });
        let (packets, bytes, whole) = &FILES[usize::from(by_rows)];
        let parts = Parts::of(bytes);
        let mut bad = bytes.clone();
        for (at, value) in changes {
            let at = at.index(bad.len());
            bad.iter_mut().skip(at).take(run).for_each(|byte| *byte = value);
        }
        parts.reseal(&mut bad);
        let _ = hostile(bad, packets, whole, "several changes");
    }
}
