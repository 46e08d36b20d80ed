//! The commands, each in a file of its own: from parsed arguments to an exit status.
//!
//! Data goes to standard output, all else to standard error. A reader of standard output that goes away ends a command
//! with success: it has all that it wanted.

mod audit;
mod deliver;
mod error;
mod explain;
mod export;
mod flows;
mod generate;
mod help;
mod import;
mod index;
mod keys;
mod output;
mod progress;
mod read;
mod repair;
mod run;
mod source;
mod status;
mod stdout;
mod stenoread;
mod to_file;
mod turns;
mod verify;

pub use error::CommandError;
pub use run::run;
use run::{milliseconds, store_dir};
pub(crate) use status::page as status_page;
use stdout::to_stdout;
pub(crate) use steno_core::chain;
pub use stenoread::stenoread;
