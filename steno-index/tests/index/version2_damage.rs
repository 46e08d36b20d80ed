//! Damaged and hostile index files of version 2: an answer is the right one or an error that says what is wrong.

use std::sync::LazyLock;

use crate::{
    segments::{facts, packet_file},
    tables::{Entries, VERSION, block, footer, stored, table, value, varint, written_by_other},
    version2::{ALL, each, version2_of},
};
use proptest::{collection::vec, prelude::*};
use steno_core::testkit::recipe;
use steno_index::{Attribute, IndexError, Version2Index};

/// A file of several blocks.
static WHOLE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let lines: Vec<String> = (0..150u32)
        .map(|i| {
            let (a, b, port) = (i / 100, i % 100, 1000 + i);
            format!("17000000{:02}.{i:09} vlan {b} ip 10.0.{a}.{b} > 10.9.0.9 tcp {port} > 80 data 40", i / 10)
        })
        .collect();
    version2_of(&packet_file(&recipe(&lines.join("\n")).unwrap()), &facts())
});

fn opened(bytes: &[u8]) -> Result<Version2Index, IndexError> {
    Version2Index::from_bytes(bytes.to_vec())
}

/// What is wrong with a file, wherever it shows.
fn fault(bytes: &[u8]) -> IndexError {
    match opened(bytes) {
        Err(error) => error,
        Ok(index) => index.verify().unwrap_err(),
    }
}

fn all(index: &Version2Index) -> Result<Vec<(Attribute, Vec<u32>)>, IndexError> {
    let mut found = Vec::new();
    index.each(ALL, &mut |attribute, positions| {
        found.push((attribute, positions.iter().map(|p| p.0).collect()));
        std::ops::ControlFlow::Continue(())
    })?;
    Ok(found)
}

#[test]
fn a_file_cut_at_any_length_is_refused() {
    for len in (0..WHOLE.len()).step_by(7).chain(WHOLE.len() - 60..WHOLE.len()) {
        let error = opened(&WHOLE[..len]).unwrap_err();
        assert!(error.is_corrupt(), "cut to {len}: {error}");
    }
}

#[test]
fn no_flipped_bit_is_ever_used() {
    let right = all(&opened(&WHOLE).unwrap()).unwrap();
    for at in 0..WHOLE.len() {
        let mut bad = WHOLE.clone();
        bad[at] ^= 1 << (at % 8);
        match opened(&bad) {
            Err(IndexError::Version { .. }) => assert!(at < 16, "byte {at}"),
            Err(error) => assert!(error.is_corrupt(), "byte {at}: {error}"),
            Ok(index) => {
                // The padding of the footer means nothing. All else is covered by a checksum.
                let footer = WHOLE.len() - 48;
                if let Err(error) = index.verify() {
                    assert!(error.is_corrupt(), "byte {at}: {error}");
                } else {
                    assert!(at >= footer, "byte {at} passed the check");
                }
                if let Ok(found) = all(&index) {
                    assert_eq!(found, right, "byte {at}");
                }
            }
        }
    }
}

#[test]
fn another_major_version_is_refused_and_a_minor_one_is_not() {
    let with = |major: u8, minor: u8| {
        let record: &[u8] = &[0, 0, 0, major, 0, 0, 0, minor];
        opened(&table(&[(&[0], &[(&[0], record)])]))
    };
    assert_eq!(with(2, 0).unwrap().version(), (2, 0));
    assert_eq!(with(2, 7).unwrap().version(), (2, 7));
    for major in [0, 1, 3, 200] {
        let error = with(major, 1).unwrap_err().to_string();
        assert_eq!(error, format!("the index has version {major}.1, this program reads version 2"));
    }
    // From before versions were written down: no record of it, and a key for each packet, the same ones again and again.
    let old = table(&[(&[1, 6], &[(&[1, 6], &[0, 0, 0, 48]), (&[1, 6], &[0, 0, 0, 200])])]);
    assert!(matches!(opened(&old), Err(IndexError::Version { expected_major: 2, .. })));
    for short in [&[0, 0, 0, 2][..], &[], &[0, 0, 0, 2, 0, 0, 0, 0, 0]] {
        let error = opened(&table(&[(&[0], &[(&[0], short)])])).unwrap_err();
        assert!(error.is_corrupt() && error.to_string().contains("version"), "{error}");
    }
}

#[test]
fn keys_out_of_order_are_refused() {
    let (zero, one): (&[u8], &[u8]) = (&[0], &[0, 0, 0, 1]);
    let version = (zero, VERSION.as_slice());
    let port = |number: u8| -> [u8; 3] { [2, 0, number] };
    let (p1, p2, p3) = (port(1), port(2), port(3));
    let right = table(&[(&p1, &[version, (&p1, one)]), (&p3, &[(&p2, one), (&p3, one)])]);
    assert_eq!(each(&opened(&right).unwrap(), ALL).len(), 3);
    for (what, wrong) in [
        ("within a block", table(&[(&p3, &[version, (&p2, one), (&p1, one), (&p3, one)])])),
        ("twice", table(&[(&p3, &[version, (&p2, one), (&p2, one)])])),
        ("past the key of its block", table(&[(&p1, &[version, (&p2, one)]), (&p3, &[(&p3, one)])])),
        ("before its block", table(&[(&p2, &[version, (&p2, one)]), (&p3, &[(&p1, one), (&p3, one)])])),
        ("blocks", table(&[(&p3, &[version, (&p3, one)]), (&p1, &[(&p1, one)])])),
        ("of unknown kinds", table(&[(&[9, 9], &[version, (&[9, 9], one), (&[8, 8], one)])])),
    ] {
        let error = fault(&wrong);
        assert!(error.is_corrupt() && error.to_string().contains("out of order"), "{what}: {error}");
    }
}

#[test]
fn unknown_kinds_of_keys_are_passed_over() {
    let version: (&[u8], &[u8]) = (&[0], &VERSION);
    let odd: &[u8] = &[1, 2, 3];
    let bytes =
        table(&[(&[200], &[version, (&[1, 6], &[0, 0, 0, 48]), (&[1, 6, 0], odd), (&[7, 1], odd), (&[200], odd)])]);
    let index = opened(&bytes).unwrap();
    index.verify().unwrap();
    assert_eq!(each(&index, ALL).into_iter().collect::<Vec<_>>(), [(Attribute::Protocol(6), vec![48])]);
}

#[test]
fn values_that_are_no_positions_are_refused() {
    for (positions, told) in [
        (&[0, 0, 0, 48, 0][..], "multiple of four"),
        (&[0, 0, 0], "multiple of four"),
        (&[0, 0, 1, 0, 0, 0, 0, 48], "not ascending"),
        (&[0, 0, 0, 48, 0, 0, 0, 48], "not ascending"),
    ] {
        let index =
            opened(&table(&[(&[3, 0, 7], &[(&[0], &VERSION), (&[1, 6], positions), (&[3, 0, 7], &[])])])).unwrap();
        for error in [index.verify().unwrap_err(), index.positions(Attribute::Protocol(6)).unwrap_err()] {
            assert!(error.is_corrupt() && error.to_string().contains(told), "{error}");
        }
        assert_eq!(index.positions(Attribute::Vlan(7)).unwrap().map(|p| p.len()), Some(0));
    }
}

#[test]
fn a_wrong_checksum_is_told_with_its_place() {
    let mut bad = WHOLE.clone();
    bad[300] ^= 4;
    let index = opened(&bad).unwrap();
    let error = index.verify().unwrap_err();
    assert!(matches!(error, IndexError::Checksum { offset_bytes: 0, expected, got, .. } if expected != got), "{error}");
    assert!(index.positions(Attribute::Protocol(6)).is_err());
    // What lies in other blocks is still answered.
    let far = Attribute::V4([10, 9, 0, 9].into());
    assert_eq!(index.positions(far).unwrap().map(|p| p.len()), Some(150));
}

#[test]
fn lengths_from_outside_are_not_believed() {
    let huge = {
        let mut handle = Vec::new();
        varint(&mut handle, 0);
        varint(&mut handle, u64::MAX);
        handle
    };
    let mut files = Vec::new();
    // A footer, the index of blocks, and the metaindex that lead out of the file.
    let mut file = Vec::new();
    footer(&mut file, &[huge.clone(), huge.clone()].concat());
    files.push(file);
    let mut file = Vec::new();
    let meta = block(&mut file, &[], 0);
    let index = block(&mut file, &[(&[9], &huge)], 0);
    footer(&mut file, &[meta, index].concat());
    files.push(file);
    let mut file = Vec::new();
    let data = block(&mut file, &[(&[0], &VERSION)], 0);
    let meta = block(&mut file, &[(b"steno", &huge)], 0);
    let index = block(&mut file, &[(&[9], &data)], 0);
    footer(&mut file, &[meta, index].concat());
    files.push(file);
    // Blocks whose restart points, entries or compressed lengths are more than they hold, or of an unknown compression.
    let claims: [(&[u8], u8); 6] = [
        (&[0xff; 4], 0),
        (&[], 0),
        (&[0, 0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0, 0, 0, 1, 0, 0, 0], 0),
        (&[0xff, 0xff, 0xff, 0xff, 0x0f, 1, 2, 3], 1),
        (&[], 1),
        (&[0, 0, 0, 0, 1, 0, 0, 0], 4),
    ];
    for (bytes, compression) in claims {
        let mut file = Vec::new();
        let data = stored(&mut file, bytes, compression);
        let meta = block(&mut file, &[], 0);
        let index = block(&mut file, &[(&[9], &data)], 0);
        footer(&mut file, &[meta, index].concat());
        files.push(file);
    }
    for file in files {
        let error = fault(&file);
        assert!(error.is_corrupt(), "{error}");
    }
}

fn compressed() -> Vec<u8> {
    let mut entries: Entries =
        (0..2000u16).map(|n| ([&[2][..], &n.to_be_bytes()].concat(), value(&[48, 96]))).collect();
    let _none = entries.insert(vec![0], VERSION.to_vec());
    written_by_other(&entries, true, 4096)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn random_changes_are_answered_rightly_or_refused(
        snappy in any::<bool>(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        run in 1usize..9,
    ) {
        static SNAPPY: LazyLock<Vec<u8>> = LazyLock::new(compressed);
        let whole: &[u8] = if snappy { &SNAPPY } else { &WHOLE };
        let right = all(&opened(whole).unwrap()).unwrap();
        let mut bad = whole.to_vec();
        for (at, value) in changes {
            let at = at.index(bad.len());
            bad.iter_mut().skip(at).take(run).for_each(|byte| *byte = value);
        }
        if let Ok(index) = opened(&bad)
            && let Ok(found) = all(&index)
        {
            prop_assert_eq!(found, right);
        }
    }

    #[test]
    fn random_bytes_before_a_footer_come_back(bytes in vec(any::<u8>(), 0..300), handles in vec(0u64..300, 4)) {
        let mut file = bytes;
        let mut numbers = Vec::new();
        handles.iter().for_each(|&n| varint(&mut numbers, n));
        footer(&mut file, &numbers);
        let _any = opened(&file).map(|index| (index.verify(), all(&index)));
    }
}
