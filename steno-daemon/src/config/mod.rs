//! What the daemon is told: its command line, its configuration file, and the default for those who have none.
//!
//! - [`Flags`] are the arguments, read as Go's `flag` reads them, for 1.0.1's are.
//! - [`Config`] is the file: 1.0.1's JSON with some keys more. `fields` finds keys as Go's
//!   `encoding/json` does; `read` turns them into a [`Config`] and says everything that is wrong with them at once.
//! - [`Config::check`] holds it against the machine: directories, programs, certificates.
//! - [`embedded`] makes a configuration out of an interface and a directory.
//!
//! Nothing here runs anything. What a key does is the business of who is told it.

mod access;
mod check;
pub mod embedded;
mod fields;
mod flags;
mod interfaces;
mod model;
mod nearest;
mod problem;
mod read;
mod units;
mod write;

pub use check::Checked;
pub use flags::{Flags, FlagsError, USAGE};
pub use model::{Config, DEFAULT_PORT, IndexFormat, Limits, RpcConfig, ThreadConfig};
pub use problem::{ConfigError, Problem};
pub use read::{Loaded, parse};

#[cfg(test)]
mod tests;
