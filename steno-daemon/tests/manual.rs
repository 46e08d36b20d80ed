//! The manual page and the program agree.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeSet, fs, path::PathBuf, process::Command};

use steno_core::testkit::{ManualEntry, flags_in, manual_complaints, manual_entries, need};

fn page() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../man/stenographer.1")
}

fn text() -> String {
    fs::read_to_string(page()).unwrap()
}

fn entries() -> Vec<ManualEntry> {
    manual_entries(&text())
}

#[test]
fn the_manual_page_has_each_flag_and_no_other() {
    let help = Command::new(env!("CARGO_BIN_EXE_stenographer")).arg("-help").output().unwrap();
    // Each has a line of its own.
    let help = String::from_utf8([help.stdout, help.stderr].concat()).unwrap();
    let first_words =
        help.lines().filter(|line| line.starts_with("  -")).filter_map(|line| line.split_whitespace().next());
    let known: BTreeSet<String> = first_words.flat_map(flags_in).collect();
    assert!(known.len() > 5, "{help}");
    let told: BTreeSet<String> = entries().iter().flat_map(|entry| flags_in(&entry.tag)).collect();
    assert_eq!(told, known);
}

/// Words as `MaxDirectoryFiles`.
fn keys_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    let is_key = |word: &&str| {
        word.starts_with(|c: char| c.is_ascii_uppercase()) && word.contains(|c: char| c.is_ascii_lowercase())
    };
    words.filter(is_key).map(str::to_owned).collect()
}

/// The tables of the keys stand in two places of the source.
fn known_keys() -> BTreeSet<String> {
    let source = [include_str!("../src/config/read.rs"), include_str!("../src/config/access.rs")].concat();
    // However they are broken into lines.
    let source = source.split_whitespace().collect::<Vec<_>>().join(" ");
    let tables = source.split("KEYS: &[&str] = &[").skip(1).filter_map(|table| table.split("];").next());
    let known: BTreeSet<String> = tables.flat_map(keys_in).collect();
    assert!(known.len() > 30, "{known:?}");
    known
}

#[test]
fn the_guide_for_those_who_come_from_1_0_1_has_each_key_and_no_other() {
    let guide = fs::read_to_string(page().with_file_name("../docs/MIGRATING.md")).unwrap();
    let section = guide.split("## Keys of the configuration").nth(1).unwrap().split("\n## ").next().unwrap();
    let cells = section.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    let told: BTreeSet<String> = cells.flat_map(keys_in).collect();
    // What `Limits`, `Scrub` and `Access` have is no matter of 1.0.1's.
    let limits = ["MaxConcurrentQueries", "MaxQueriesPerClient", "MaxQueryBytes", "QueryDeadline", "MaxMemory"];
    let scrub = ["BytesPerSecond", "Every"];
    let rules = ["Rules", "Name", "Principals", "Nets", "Vlans", "Depth", "Methods"];
    let inner = [&limits[..], &scrub, &rules].concat();
    let within = known_keys().into_iter().filter(|key| !inner.contains(&key.as_str()));
    assert_eq!(told, within.collect());
}

#[test]
fn the_manual_page_has_each_key_and_no_other() {
    let text = text();
    let section = text.split(".SH CONFIGURATION").nth(1).unwrap().split(".SH").next().unwrap();
    let entries = manual_entries(section);
    let mut told: BTreeSet<String> = entries.iter().flat_map(|entry| keys_in(&entry.tag)).collect();
    // Objects tell the keys within.
    let within = entries.iter().filter(|entry| ["Rpc", "Limits", "Scrub", "Access"].contains(&entry.tag.as_str()));
    let words = ["Bounds", "Reads", "Off", "Who", "The", "Default"];
    told.extend(within.flat_map(|entry| keys_in(&entry.text)).filter(|key| !words.contains(&key.as_str())));
    assert_eq!(told, known_keys());
}

#[test]
fn the_manual_page_is_well_formed() {
    let complaints = manual_complaints(&page());
    if need(complaints.is_some(), "man") {
        assert_eq!(complaints.unwrap(), "");
    }
}
