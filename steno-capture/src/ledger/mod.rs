//! How many packets nobody captured (`docs/format/ledger.md`): those in the ring of a capture that was killed, and those that passed
//! until the next one.
//!
//! A capture that is killed can tell nobody what its ring held. But the interface counts all packets: a capture keeps down, each
//! second, what the interface had counted beyond what its sockets received, and how many packets it has accounted for. The next one
//! finds that [`Entry`], counts what came to the disk, and tells the rest as lost. [`Keeper`] is the thread that does both; a
//! disk that stands still holds up nothing else.

mod balance;
mod entry;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod keeper;
mod missing;

pub(crate) use balance::{Accounted, Balance};
pub(crate) use entry::{Entry, Identity};
pub(crate) use keeper::{Keeper, LedgerPlan};
