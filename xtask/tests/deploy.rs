//! What `deploy/` holds is taken by the programs that it is for.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use steno_core::testkit::need;

/// The unit as systemd checks it, in a folder of its own and with a program that is there. It prints what it does not like; a
/// key that it does not know is no error to it.
#[test]
fn the_service_is_taken_by_systemd() {
    if systemd().is_none() {
        return;
    }
    let unit = fs::read_to_string(unit()).expect("the unit");
    let program = "/usr/sbin/stenographer";
    assert!(unit.contains(&format!("ExecStart={program} ")), "{unit}");
    let folder = tempfile::tempdir().expect("a folder");
    let copy = folder.path().join("stenographer.service");
    fs::write(&copy, unit.replace(program, "/bin/sh")).expect("a copy");
    let output = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&copy).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    // It speaks of other units of the machine, too.
    let complaints: Vec<&str> = said.lines().filter(|line| line.contains("stenographer.service")).collect();
    assert!(output.status.success() && complaints.is_empty(), "{said}");
}

/// How exposed a service is that a system runs with this unit, from 0 to 10: no more than docs/OPERATING.md tells.
#[test]
fn the_service_is_no_more_exposed_than_is_told() {
    let Some(version) = systemd() else { return };
    let page = fs::read_to_string(root().join("docs/OPERATING.md")).expect("docs/OPERATING.md");
    let told = page.split_once("exposure level ").and_then(|(_, rest)| rest.split_once(" by systemd "));
    let (told, rest) = told.expect("the page tells the score");
    let (told, by): (f64, String) =
        (told.parse().expect("a number"), rest.chars().take_while(char::is_ascii_digit).collect());
    let output =
        Command::new("systemd-analyze").args(["security", "--offline=true", "--no-pager"]).arg(unit()).output();
    let output = output.expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let score = said.lines().find_map(|line| line.split_once("Overall exposure level for ")?.1.split_once(": "));
    let (_, score) = score.unwrap_or_else(|| panic!("{said}{}", String::from_utf8_lossy(&output.stderr)));
    let score: f64 = score.split(' ').next().and_then(|score| score.parse().ok()).expect("a number");
    // Other versions look at other things.
    let room = if version == by { 0.0 } else { 0.5 };
    assert!(score <= told + room, "{score} by systemd {version}, and {told} by {by} is told\n{said}");
}

/// The version of systemd, where it is there; else the test is skipped.
fn systemd() -> Option<String> {
    let output = Command::new("systemd-analyze").arg("--version").output();
    if !need(output.is_ok(), "systemd-analyze (Debian package systemd)") {
        return None;
    }
    let text = String::from_utf8(output.ok()?.stdout).ok()?;
    text.split_whitespace().nth(1).map(|version| version.chars().take_while(char::is_ascii_digit).collect())
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn unit() -> PathBuf {
    root().join("deploy/stenographer.service")
}
