//! `stenotype`, the capture program: parses its arguments, and leaves the rest to the library.

use std::process::ExitCode;

use steno_capture::Flags;

fn main() -> ExitCode {
    let flags = match Flags::read(std::env::args_os()) {
        Ok(flags) => flags,
        Err(e) => e.exit(),
    };
    if flags.usage {
        println!("{}", steno_capture::command().render_usage());
        return ExitCode::SUCCESS;
    }
    match steno_capture::run(&flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            steno_capture::complain(&e);
            ExitCode::FAILURE
        }
    }
}
