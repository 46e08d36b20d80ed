//! `steno demo`: the whole product in a few seconds, with no privileges, interface or configuration.
//!
//! In a user namespace and network namespaces of its own it makes a virtual cable, starts the real `stenographer` with the
//! real `stenotype` on one end, sends real TCP and UDP conversations across it, and asks the sensor for them over mutual TLS,
//! with the same client as every command. Nothing reaches the machine's real network.
//!
//! `run` is the order of the steps; `wire`, `daemon`, `traffic`, `questions` do one each; `client` asks the sensor, `stranger`
//! does so without a certificate; `check` compares what was sent with what was found; `watch` bounds every wait.

use std::path::PathBuf;

pub use error::DemoError;
pub use run::run;

mod check;
mod client;
mod daemon;
mod error;
mod folder;
mod peer;
mod questions;
mod run;
mod story;
mod stranger;
mod traffic;
mod watch;
mod wire;

/// The arguments of `steno demo`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct DemoArgs {
    /// Keep the packet files, indexes, certificates and the log in DIR, which must be new or empty, to query them afterwards
    /// (`steno read --store DIR`)
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
}
