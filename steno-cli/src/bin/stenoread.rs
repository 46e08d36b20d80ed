//! The binary `stenoread`: passes its arguments to the library and ends with the status that comes back.

use std::process::ExitCode;

fn main() -> ExitCode {
    steno_cli::command::stenoread(std::env::args_os())
}
