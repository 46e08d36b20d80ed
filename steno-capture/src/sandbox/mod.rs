//! What the process may still do once packets are let in: no more than capture needs.
//!
//! Packets are written by whoever sends them. Should one of them ever get to run code of its own in here, it finds no
//! capability, no file but those of the capture's own directories, and no system call but those that the thread it is in has
//! a use for. [`confine`] does this for the process, on the only thread that there is by then; [`keep_to`] narrows it for
//! the threads that are started afterwards, each by its kind. What the kernel does not offer is told in the log, and left
//! out: a capture that is less confined is worth more than none.
//!
//! Which calls a kind of thread may make, and why, are tables in `calls`; nothing here knows what the threads do beyond
//! that. `docs/decisions/0010-what-a-capture-may-still-do.md` has the reasons.

mod calls;
mod confine;
mod files;

pub use calls::Role;
pub use confine::{confine, keep_to};
pub(crate) use files::{look_at, replaced};
