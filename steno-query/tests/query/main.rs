//! The tests of stores and answers, in one program: stores are built in temporary directories, asked, and held against a
//! linear scan of what was put into them.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "the helpers of a test fail as tests do")]

mod damage;
mod everywhere;
mod flows;
mod fragments;
mod generate;
mod groups;
mod kept;
mod losses;
mod model;
mod old_index;
mod open;
mod order_and_limits;
mod receipts;
mod regions;
mod scope;
mod support;
mod version2;
