//! Keeps the disks within their bounds: what must go, and when (the second half of step 6).
//!
//! - [`decide`] is the rule alone: segments, free space and bounds in, one segment or none out. It touches nothing.
//! - [`Keeper`] applies it to directories: it knows what every file takes, removes one segment at a time, oldest first
//!   over all threads that share a disk, and counts what it did.
//! - [`Retention`] runs a keeper on a thread of its own, each second and with each segment that is sealed.
//! - `reserve` says how much of a disk stays free ahead of the writers, from how fast it fills.
//! - [`Pins`] holds what a running query reads: that is not removed before the query ends.
//!
//! A segment's index goes first and its packet file after, each followed by a sync of its directory. That is the order of
//! publishing backwards, so that at every moment, and after a crash at every moment, an index that can be seen has its
//! packets beside it. A crash between the two leaves a packet file without an index: whole, true, and given an index
//! again by `steno verify --repair`. The other order would leave an index that promises packets which are not there.
//!
//! Only files with segments' names are touched, in the configured directories only.

mod inventory;
mod keeper;
mod pins;
mod policy;
mod remove;
mod reserve;
mod service;
mod status;

pub use keeper::{Keeper, NewestPacket, ThreadRetention};
pub use pins::{Gone, Pin, Pins, Run};
pub use policy::{Bounds, Candidate, Reason, Room, Verdict, decide};
pub use remove::RemoveError;
pub use service::{Retention, RetentionWatcher};
pub use status::{Disk, Space, ThreadStatus};
