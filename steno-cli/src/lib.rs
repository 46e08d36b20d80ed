//! The command line of Steno: what the binary `steno` does, as a library, so that `main.rs` only passes arguments on.
//!
//! Step 14 of the data flow (`docs/ARCHITECTURE.md`). [`args`] defines the command line, [`command`] runs it, [`exit`]
//! is the table of exit statuses. [`sensor`] asks a sensor over the network. [`import`] reads capture files, [`mod@print`] shows
//! packets and conversations, [`demo`] is the demonstration. Packet files, indexes and queries belong to the crates below: nothing here decodes them.

#![deny(unsafe_code)]

pub mod args;
pub mod command;
pub mod demo;
pub mod exit;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
pub mod import;
mod interrupt;
pub mod print;
pub mod sensor;
mod sys;
