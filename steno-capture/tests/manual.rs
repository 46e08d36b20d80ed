//! The manual page, the guide for those who come from 1.0.1, and the program agree.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeSet, fs, path::PathBuf};

use steno_core::testkit::{ManualEntry, flags_in, manual_complaints, manual_entries, need};

fn page() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../man/stenotype.1")
}

fn entries() -> Vec<ManualEntry> {
    manual_entries(&fs::read_to_string(page()).unwrap())
}

fn known() -> BTreeSet<String> {
    let command = steno_capture::command();
    let mut known = BTreeSet::new();
    for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
        known.extend(arg.get_long().map(|name| format!("--{name}")));
        let shorts = arg.get_short().into_iter().chain(arg.get_all_short_aliases().unwrap_or_default());
        known.extend(shorts.map(|letter| format!("-{letter}")));
    }
    // The version is the parser's own.
    known.extend(["--version", "-V"].map(str::to_owned));
    known
}

#[test]
fn the_manual_page_has_each_flag_and_no_other() {
    let told: BTreeSet<String> = entries().iter().flat_map(|entry| flags_in(&entry.tag)).collect();
    assert_eq!(told, known());
}

#[test]
fn the_manual_page_tells_the_defaults() {
    let entries = entries();
    let mut checked = 0;
    for arg in steno_capture::command().get_arguments().filter(|arg| arg.get_action().takes_values()) {
        let ([default], Some(name)) = (arg.get_default_values(), arg.get_long()) else { continue };
        let flag = format!("--{name}");
        let entry = entries.iter().find(|entry| flags_in(&entry.tag).contains(&flag)).unwrap();
        let said = format!("Default: {}", default.to_str().unwrap());
        let follows = entry.text.split(&said).nth(1).unwrap_or_else(|| panic!("{flag}: not {said:?}: {}", entry.text));
        assert!(follows.starts_with(['.', ',']), "{flag}: {said:?}, then {follows:?}");
        checked += 1;
    }
    assert!(checked > 10, "{checked} defaults");
}

/// The first column of the table of flags.
fn flags_of_the_guide() -> BTreeSet<String> {
    let guide = fs::read_to_string(page().with_file_name("../docs/MIGRATING.md")).unwrap();
    let section = guide.split("## Flags of stenotype").nth(1).unwrap().split("\n## ").next().unwrap();
    let cells = section.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    cells.flat_map(flags_in).collect()
}

#[test]
fn the_guide_for_those_who_come_from_1_0_1_has_each_flag_and_no_other() {
    let known = known();
    // Spellings of `--help`.
    let besides: BTreeSet<String> = ["-?", "-h", "-V"].map(str::to_owned).into();
    assert_eq!(flags_of_the_guide(), &known - &besides);
}

#[test]
fn the_manual_page_is_well_formed() {
    let complaints = manual_complaints(&page());
    if need(complaints.is_some(), "man") {
        assert_eq!(complaints.unwrap(), "");
    }
}
