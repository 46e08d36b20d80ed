//! What a wrong command line, or a place that can't be captured in, gets: one clear sentence, and nothing left behind.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{fs, process::Command};

use support::{Wire, names, output};

fn stenotype(flags: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stenotype"));
    let _ = command.args(flags);
    let output = output(command);
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn every_flag_of_1_0_1_is_known_in_both_spellings() {
    let output = output({
        let mut help = Command::new(env!("CARGO_BIN_EXE_stenotype"));
        let _ = help.arg("--help");
        help
    });
    assert_eq!(output.status.code(), Some(0));
    let help = String::from_utf8(output.stdout).unwrap();
    for flag in [
        "iface",
        "dir",
        "count",
        "blocks",
        "aiops",
        "filesize_mb",
        "threads",
        "fileage_sec",
        "fanout_type",
        "fanout_id",
        "uid",
        "gid",
        "no_index",
        "index_nicelevel",
        "filter",
        "seccomp",
        "preallocate_file_mb",
        "no_watchdogs",
        "testimony",
        "blockage_sec",
        "blocksize_kb",
        "no_promisc",
        "stats_blocks",
        "stats_sec",
        "index_format",
        "block_crc",
        "io",
    ] {
        assert!(help.contains(&format!("--{flag}")), "--{flag} is not in the help");
    }
    for spelling in [&["--blocks=x"][..], &["--blocks", "x"]] {
        let (status, text) = stenotype(spelling);
        assert_eq!(status, Some(2));
        assert!(text.contains("--blocks"), "{text}");
    }
}

#[test]
fn wrong_flags_are_named() {
    for (flag, expected) in [
        ("--blokcs=5", "--blocks"),
        ("--blocks=0", "--blocks"),
        ("--blocksize_kb=1000", "power of two"),
        ("--filesize_mb=5000", "--filesize_mb"),
        ("--io=magic", "uring"),
        ("--filter=0011", "16 hexadecimal digits"),
        ("--seccomp=maybe", "kill"),
        ("--fileage_sec=0", "--fileage_sec"),
        ("--iface=lo", "--dir"),
    ] {
        let (status, text) = stenotype(&[flag]);
        assert_eq!(status, Some(2), "{flag}: {text}");
        assert!(text.contains(expected), "{flag}: {text}");
    }
}

#[test]
fn what_cannot_be_captured_is_said_in_a_sentence_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let at = format!("--dir={}", dir.path().display());
    let missing = format!("--dir={}/no/such", dir.path().display());
    for (flags, expected) in [
        (&[at.as_str(), "--testimony=/x"][..], "with --iface".to_owned()),
        (&[at.as_str(), "--index_format=leveldb"], "native".to_owned()),
        (&[at.as_str(), "--uid=nosuchuser"], "no such account".to_owned()),
        (&[missing.as_str(), "--uid=0", "--gid=0"], "failed to make the directory".to_owned()),
    ] {
        let (status, text) = stenotype(flags);
        assert_eq!(status, Some(1), "{flags:?}: {text}");
        assert!(text.contains(&expected), "{flags:?}: {text}");
        assert_eq!(text.lines().count(), 1, "{text}");
        assert_eq!(names(dir.path()), Vec::<String>::new(), "{flags:?}");
    }
}

#[test]
fn a_missing_interface_and_an_unwritable_directory_leave_nothing() {
    let Some(wire) = Wire::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    // The flags of the wire name v1 before; the last one counts.
    let result = output(wire.stenotype(dir.path(), &["--iface=nosuch0", "-q"]));
    let text = String::from_utf8(result.stderr).unwrap();
    assert_eq!(result.status.code(), Some(1), "{text}");
    assert!(text.contains("no interface \"nosuch0\"") && text.lines().count() == 1, "{text}");
    assert_eq!(names(dir.path()), Vec::<String>::new());
    // Directories that are there, but not nobody's.
    for name in ["PKT0", "IDX0"] {
        fs::create_dir(dir.path().join(name)).unwrap();
    }
    let mut command = wire.command(env!("CARGO_BIN_EXE_stenotype"));
    let _ = command.arg(format!("--dir={}", dir.path().display())).args(["--iface=v1", "--blocks=8"]);
    let result = output(command);
    let text = String::from_utf8(result.stderr).unwrap();
    assert_eq!(result.status.code(), Some(1), "{text}");
    assert!(text.contains("writable for the user of --uid"), "{text}");
    assert_eq!(names(&dir.path().join("PKT0")), Vec::<String>::new());
}
