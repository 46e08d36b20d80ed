//! Has stenotype started, signalled and reaped by another process, the *launcher*, so that the daemon itself can give up what
//! that takes.
//!
//! stenotype needs privileges as it starts, and the daemon starts it again for as long as it runs. Whoever takes the daemon over
//! is not to have them. So the daemon starts its own program again, before it has a second thread, reads what a client sends, or
//! opens what was captured, and confines itself ([`crate::confine`]) once that runs:
//!
//! ```text
//!   stenographer ──"start 1"──> launcher ──fork, exec──> stenotype
//!        ^ └──── control socket, output: descriptors beside it ────^
//!        └──"started 0 4711"─────┘
//! ```
//!
//! The launcher is told at its start which command lines there are, and which processes an earlier daemon left. After that a
//! request names one of them by its number, or a process that the launcher has started; there is nothing else to be asked for.
//! It reads nothing but these requests from one socket, and ends when that is closed. stenotype goes on then.
//!
//! [`Launcher`] is the daemon's end, [`run`] the process. When what is started is to be started is decided in
//! [`crate::capture`].

mod launcher;
mod message;
mod process;
mod socket;

pub use launcher::Launcher;
pub(crate) use launcher::Started;
pub use process::run;

/// The one argument with which `stenographer` is a launcher, and its standard input the socket.
pub const ARGUMENT: &str = "-launcher";
