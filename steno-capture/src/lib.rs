//! `stenotype`: from a network interface to packet files and index files (steps 1 to 5 of the data flow).
#![deny(unsafe_code)]
mod counters;
mod filter;
mod flags;
mod io;
mod log;
mod packet_thread;
mod run;
mod segment;
mod sys;

pub use filter::Filter;
pub use flags::{Flags, IndexFormat, IoChoice, Seccomp, Switch};
pub use run::run;

/// The command line, for help texts and man pages.
pub fn command() -> clap::Command {
    <Flags as clap::CommandFactory>::command()
}
