//! Where the log goes, and how much of it: set up once from `-v` and `-syslog`, before anything else happens.
//!
//! Everything that runs in the daemon logs through `tracing`; lines of the capture process appear under the target
//! `stenotype`. Nothing on a path that is walked for each packet logs.

mod setup;
mod syslog;

pub use setup::{Destination, FORMAT_VARIABLE, Format, LogError, LogSettings, init};
