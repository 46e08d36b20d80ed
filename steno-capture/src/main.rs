//! `stenotype`: see `steno_capture`.

use std::process::ExitCode;

use clap::Parser;
use steno_capture::Flags;

fn main() -> ExitCode {
    let flags = Flags::parse();
    match steno_capture::run(&flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("stenotype: {e:#}");
            ExitCode::FAILURE
        }
    }
}
