//! The manual page of `stenoread` and the program agree.

use std::{collections::BTreeSet, fs, path::PathBuf, process::Command};

use steno_core::testkit::{flags_in, manual_complaints, manual_entries, need};

fn page() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../man/stenoread.1")
}

#[test]
fn the_manual_page_has_each_flag_and_no_other() {
    let help = Command::new(env!("CARGO_BIN_EXE_stenoread")).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let options = help.split("Options:").nth(1).unwrap().split("Examples:").next().unwrap();
    let lines = options.lines().filter(|line| line.trim_start().starts_with('-'));
    let known: BTreeSet<String> = lines.flat_map(flags_in).collect();
    assert!(known.contains("--limit-packets"), "{help}");
    let entries = manual_entries(&fs::read_to_string(page()).unwrap());
    let told: BTreeSet<String> = entries.iter().flat_map(|entry| flags_in(&entry.tag)).collect();
    assert_eq!(told, known);
}

#[test]
fn the_manual_page_is_well_formed() {
    let complaints = manual_complaints(&page());
    if need(complaints.is_some(), "man") {
        assert_eq!(complaints.unwrap(), "");
    }
}
