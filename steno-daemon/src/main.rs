//! `stenographer`: the daemon of a sensor (`steno_daemon`).
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    steno_daemon::run::run()
}
