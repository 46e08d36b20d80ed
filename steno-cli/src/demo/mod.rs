//! `steno demo`: the whole product in a few seconds, with no privileges, interface or configuration.
//!
//! In a user namespace and network namespaces of its own it makes a virtual cable, starts the real
//! `stenotype` on one end, sends real TCP and UDP conversations across it, and asks the store that
//! results. It goes through the same public interfaces as any user of steno-query: nothing here
//! reads a packet file by another way, and nothing reaches the machine's real network.
//!
//! `run` is the order of the steps; `wire`, `sensor`, `traffic`, `questions` do one each; `check` compares what was
//! sent with what was found; `watch` bounds every wait.

use std::path::PathBuf;

pub use error::DemoError;
pub use run::run;

mod check;
mod error;
mod folder;
mod peer;
mod questions;
mod run;
mod sensor;
mod story;
mod traffic;
mod watch;
mod wire;

/// The arguments of `steno demo`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct DemoArgs {
    /// Keep the packet files and indexes in DIR, which must be new or empty, to query them afterwards
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
}
