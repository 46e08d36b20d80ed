//! Golden damage: what is done to files that are pinned, and what the check says of them, word for word.
//!
//! `golden/damaged.tsv` has a line for each: a golden segment, which of its files, what is done to that, and what `verify_segment` says: the
//! first problem, and how many more.
//! The files themselves are never stored: the golden ones and these lines make them.

use std::fs;

use crate::damage::golden;
use steno_index::verify_segment;

/// Does to a file what a line says: `flip OFFSET BIT`, `zero OFFSET LENGTH`, `cut LENGTH`, `copy FROM TO LENGTH`, `none`. Offsets may
/// be from the end: `-8`.
fn injure(bytes: &mut Vec<u8>, what: &str) {
    let words: Vec<&str> = what.split(' ').collect();
    let place = |text: &str| -> usize {
        match text.strip_prefix('-') {
            Some(back) => bytes.len() - back.parse::<usize>().unwrap(),
            None => text.parse().unwrap(),
        }
    };
    match words.as_slice() {
        ["none"] => {}
        ["flip", at, bit] => {
            let at = place(at);
            bytes[at] ^= 1 << bit.parse::<u32>().unwrap();
        }
        ["zero", at, len] => {
            let at = place(at);
            bytes[at..at + len.parse::<usize>().unwrap()].fill(0);
        }
        ["cut", len] => {
            let len = place(len);
            bytes.truncate(len);
        }
        ["copy", from, to, len] => {
            let (from, to) = (place(from), place(to));
            bytes.copy_within(from..from + len.parse::<usize>().unwrap(), to);
        }
        _ => panic!("{what:?}"),
    }
}

#[test]
fn damage_that_is_pinned_is_told_in_the_words_that_are_pinned() {
    let table = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/damaged.tsv");
    let (mut lines, mut differing) = (0, Vec::new());
    for line in fs::read_to_string(table).unwrap().lines().filter(|line| !line.starts_with('#')) {
        let [name, file, what, expected] = <[&str; 4]>::try_from(line.split('\t').collect::<Vec<_>>()).unwrap();
        let (mut packets, mut index) = golden(name);
        injure(if file == "packets" { &mut packets } else { &mut index }, what);
        let dir = tempfile::tempdir().unwrap();
        let [packet_file, index_file] = ["packets", "index"].map(|name| dir.path().join(name));
        fs::write(&packet_file, packets).unwrap();
        fs::write(&index_file, index).unwrap();
        let report = verify_segment(&packet_file, &index_file);
        let said: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
        let said = match said.as_slice() {
            [] => "clean".to_owned(),
            [one] => one.clone(),
            [first, more @ ..] => format!("{first}; and {} more", more.len()),
        };
        let said = said.replace(&format!("{}/", dir.path().display()), "");
        if said != expected {
            differing.push(format!("{name}\t{file}\t{what}\t{said}"));
        }
        lines += 1;
    }
    assert!(differing.is_empty(), "otherwise than pinned:\n{}", differing.join("\n"));
    assert!(lines >= 25, "{lines} lines");
}
