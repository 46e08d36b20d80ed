//! What people read: packets, one line each, and tables of conversations. No files are read or written here.

mod flows;
mod packet;

pub use flows::{flows_as_csv, flows_as_json, flows_as_table};
pub use packet::packet_line;

/// A number of things: `1 packet`, `2 packets`.
pub(crate) fn count(number: u64, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}
