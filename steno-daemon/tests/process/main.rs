//! `stenographer` as a process, with clients over mutual TLS: who is let in, what many clients at once leave behind, how a
//! stop treats those who are being answered, how the disks are kept while packets come, and what the log is told.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod access;
mod bystanders;
mod certificates;
mod clients;
mod daemon;
mod full_disk;
mod load;
mod namespace;
mod random;
mod reload;
mod retention;
mod stop;
mod store;
mod told;
mod traffic;
mod wire;
