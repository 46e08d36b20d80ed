//! What `deploy/` holds is taken by the programs that it is for.

use std::{fs, path::Path, process::Command};

use steno_core::testkit::need;

/// The unit as systemd checks it, in a folder of its own and with a program that is there. It prints what it does not like; a
/// key that it does not know is no error to it.
#[test]
fn the_service_is_taken_by_systemd() {
    if !need(
        Command::new("systemd-analyze").arg("--version").output().is_ok(),
        "systemd-analyze (Debian package systemd)",
    ) {
        return;
    }
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    let unit = fs::read_to_string(deploy.join("stenographer.service")).expect("the unit");
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
