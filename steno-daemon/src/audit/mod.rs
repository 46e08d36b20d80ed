//! Writes down who asked for what, before anything of an answer leaves, and how the answer ended
//! (`docs/format/audit.md`; the lines themselves are [`steno_proto::audit`]).
//!
//! ```text
//!   answers ──Entry──> AuditLog ──orders──> writer, one thread ──lines──> file, fsynced
//!      ^                                      │
//!      └── may begin, or why not <────────────┘ of all that came meanwhile, together
//! ```
//!
//! - [`AuditLog`] is what requests are told to; [`Entry`] is one that is being answered.
//! - `writer` is the one place where the chain is continued. What comes while the disk is at work goes to it in one piece.
//! - `file` is the file: what it ends with, what of a line could be written, and where it has got to, which stands beside it.
//!
//! Capture knows nothing of it.

mod file;
mod log;
#[cfg(test)]
mod tests;
mod writer;

pub use log::{AuditError, AuditLog, AuditSettings, Entry, OnFailure, Outcome};
