//! Chores of the project, as `cargo xtask CHORE`: `demo` (also `cargo demo`), `fuzz`, `release` and `reproduce`.
//!
//! It builds and starts programs of this workspace and holds no logic of the product.

mod demo;
mod fuzz;
mod release;
mod workspace;

use std::ffi::OsString;
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask demo [ARGS]            build the programs in release and run `steno demo ARGS`
       cargo xtask fuzz SECONDS [TARGET]  build every fuzz target, run each (or TARGET) for SECONDS
       cargo xtask release DIR            build what is committed into DIR, as it is published (docs/RELEASING.md)
       cargo xtask reproduce              build what is committed in two places, and compare";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let chore = arguments.next();
    let rest: Vec<OsString> = arguments.collect();
    let result = match chore.as_ref().and_then(|chore| chore.to_str()) {
        Some("demo") => demo::run(&rest),
        Some("fuzz") => match fuzz::Request::parse(&rest) {
            Some(request) => fuzz::run(&request),
            None => return usage(),
        },
        Some("release") => release::release(&rest),
        Some("reproduce") => release::reproduce(),
        _ => return usage(),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: failed to {error:#}");
        ExitCode::FAILURE
    })
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}
