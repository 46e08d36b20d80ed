//! What a wrong command line, or a place that can't be captured in, gets: one clear sentence, and nothing left behind.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use steno_core::testkit::need;
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
        ("--blocksize_kb=10", "multiple of 4"),
        ("--filesize_mb=5000", "--filesize_mb"),
        ("--io=magic", "uring"),
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
    fs::write(dir.path().join("file"), "").unwrap();
    let below_file = format!("--dir={}/file/store", dir.path().display());
    for (flags, expected) in [
        (&[at.as_str(), "--testimony=/x"][..], "with --iface"),
        (&[at.as_str(), "--uid=nosuchuser"], "no such user"),
        (&[at.as_str(), "--gid=nosuchgroup"], "no such group"),
        (&[at.as_str(), "--filter=0006000000000000000600000000000"], "no multiple"),
        (&[at.as_str(), "--filter=0015050500000000"], "jumps past"),
    ] {
        let (status, text) = stenotype(flags);
        assert_eq!(status, Some(1), "{flags:?}: {text}");
        assert!(text.contains(expected), "{flags:?}: {text}");
        assert_eq!(text.lines().count(), 1, "{text}");
        assert_eq!(names(dir.path()), ["file"], "{flags:?}");
    }
    if rustix::process::geteuid().is_root() {
        let (status, text) = stenotype(&[&below_file, "--iface=lo", "--blocks=8", "--uid=0", "--gid=0"]);
        assert_eq!(status, Some(1), "{text}");
        assert!(text.contains("failed to make the directory") && text.contains("file/store"), "{text}");
        assert_eq!(names(dir.path()), ["file"]);
    }
}

#[test]
fn a_plain_filter_needs_no_tcpdump_and_another_says_that_it_does() {
    let dir = tempfile::tempdir().unwrap();
    let said = |filter: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stenotype"));
        let _ = command.env("PATH", "/nonexistent").args(["--iface=nosuch0", "--blocks=8", filter]);
        let _ = command.arg(format!("--dir={}", dir.path().display()));
        let output = output(command);
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let text = said("--filter=host 10.0.0.1 and tcp port 80 or 443");
    assert!(text.contains("nosuch0") || text.contains("CAP_NET_RAW"), "it goes on behind the filter: {text}");
    let text = said("--filter=vlan 7 and tcp[13] & 2 != 0");
    assert!(
        text.contains("without tcpdump (`[` is not of the plain part") && text.contains("install tcpdump"),
        "{text}"
    );
    assert_eq!(text.lines().count(), 1, "{text}");
}

#[test]
fn without_privileges_it_says_which() {
    let root = rustix::process::geteuid().is_root();
    let setpriv = Command::new("setpriv").arg("--version").output().is_ok();
    if !need(!root || setpriv, "setpriv, to be someone without privileges") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(if root { "setpriv" } else { env!("CARGO_BIN_EXE_stenotype") });
    if root {
        let _ = command.args(["--reuid=65534", "--regid=65534", "--clear-groups", env!("CARGO_BIN_EXE_stenotype")]);
    }
    let _ = command.args(["--iface=lo", "--blocks=8"]).arg(format!("--dir={}/store", dir.path().display()));
    let output = output(command);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("CAP_NET_RAW") && text.lines().count() == 1, "{text}");
    assert_eq!(names(dir.path()), Vec::<String>::new());
}

#[test]
fn usage_is_short_and_the_version_is_told() {
    for (flag, expected) in [("--usage", "Usage: stenotype"), ("--version", "stenotype "), ("-?", "--iface")] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stenotype"));
        let _ = command.arg(flag);
        let output = output(command);
        assert_eq!(output.status.code(), Some(0), "{flag}");
        assert!(String::from_utf8(output.stdout).unwrap().contains(expected), "{flag}");
    }
}

#[test]
fn what_is_no_ethernet_is_refused() {
    let Some(wire) = Wire::new() else { return };
    let made = wire.command("ip").args(["tuntap", "add", "t0", "mode", "tun"]).status().unwrap().success();
    if !need(made, "tun interfaces") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let result = output(wire.stenotype(dir.path(), &["--iface=t0", "-q"]));
    let text = String::from_utf8(result.stderr).unwrap();
    assert_eq!(result.status.code(), Some(1), "{text}");
    assert!(text.contains("t0 does not carry Ethernet"), "{text}");
    assert_eq!(names(dir.path()), Vec::<String>::new());
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
    let refused = |dir: &Path| {
        let mut command = wire.command(env!("CARGO_BIN_EXE_stenotype"));
        let _ = command.arg(format!("--dir={}", dir.display())).args(["--iface=v1", "--blocks=8"]);
        let result = output(command);
        let text = String::from_utf8(result.stderr).unwrap();
        assert_eq!(result.status.code(), Some(1), "{text}");
        assert!(text.contains("let the user `nobody` write there") && text.lines().count() == 1, "{text}");
    };
    // A place that nobody can't even get to: what root had made for nobody is taken back.
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
    refused(dir.path());
    assert_eq!(names(dir.path()), Vec::<String>::new());
    // Directories that are there, but not nobody's.
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for name in ["PKT0", "IDX0"] {
        fs::create_dir(dir.path().join(name)).unwrap();
    }
    refused(dir.path());
    assert_eq!(names(&dir.path().join("PKT0")), Vec::<String>::new());
}
