//! `stenotype`: from a network interface to packet files and index files (steps 1 to 5 of the data flow,
//! `docs/ARCHITECTURE.md`).
//!
//! ```text
//! interface -> ring/ (packet and AF_XDP sockets, blocks, packet threads) -> segment/ (log, rotation, index threads) -> published files
//!                                                            \-> io/ (writes out of the ring)
//! ```
//! `run/` puts these together and watches them (`watchdog`), `ledger/` counts what nobody captured, `flags` is the command line, `sys/` is the operating system. Each packet
//! thread has a socket, a ring, files and an index thread of its own, and shares nothing with the others but the request to
//! stop and the budget of `--count`. Nothing here answers queries, and no other crate links this one: the daemon and the
//! demo run the program.

#![deny(unsafe_code)]

mod console;
mod control;
mod counters;
mod error;
mod filter;
mod flags;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod io;
mod ledger;
mod ring;
mod run;
pub mod sandbox;
mod segment;
mod sys;
mod usage;
mod watchdog;

pub use error::CaptureError;
pub use flags::{Flags, IndexFormat, IoChoice, Pin, Seccomp, SourceChoice, Switch};
pub use run::{complain, run};

/// The command line, for help texts, completions and man pages.
pub fn command() -> clap::Command {
    <Flags as clap::CommandFactory>::command()
}
