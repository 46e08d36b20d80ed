//! `stenotype`, the capture program: parses its arguments, and leaves the rest to the library.

use std::process::ExitCode;

use clap::Parser;
use steno_capture::Flags;

fn main() -> ExitCode {
    let flags = Flags::parse();
    if flags.usage {
        println!("{}", steno_capture::command().render_usage());
        return ExitCode::SUCCESS;
    }
    if let Err(e) = flags.check() {
        e.exit();
    }
    match steno_capture::run(&flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            steno_capture::complain(&e);
            ExitCode::FAILURE
        }
    }
}
