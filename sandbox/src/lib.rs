//! The means by which a process gives up what it has no use for: capabilities, files, system calls.
//!
//! What a process needs is for it to say: `stenotype` and `stenographer` have their own lists, of threads, directories and calls
//! with a reason each. Nothing here is decided for them, or logged.

#![forbid(unsafe_code)]

mod calls;
mod files;
mod privileges;

pub use calls::{Call, Filter, Only, Otherwise};
pub use files::{Others, Use, only, reach};
/// The numbers of calls, and those of their arguments.
pub use libc;
pub use privileges::{CapabilitySet, bound, give_up, hide, owns};
