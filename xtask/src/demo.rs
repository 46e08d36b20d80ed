//! `cargo demo`: builds the programs as a release and runs `steno demo`.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::Context;

use crate::workspace::{cargo, exit_code, root, target_dir};

/// Builds, then becomes `steno demo`: Ctrl-C and the exit code are the demo's own.
pub(crate) fn run(arguments: &[OsString]) -> anyhow::Result<ExitCode> {
    let mut build = cargo();
    let _ = build.args(["build", "--release", "--locked", "--workspace", "--bins", "--manifest-path"]);
    let status = build.arg(root().join("Cargo.toml")).status().context("start cargo")?;
    if !status.success() {
        return Ok(exit_code(status));
    }
    let program = target_dir().join("release/steno");
    let error = Command::new(&program).arg("demo").args(arguments).exec();
    Err(error).with_context(|| format!("start {}", program.display()))
}
