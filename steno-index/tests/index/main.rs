//! The tests of the index as others see it: its bytes, its answers, and what damage does to both.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "the helpers of a test fail as tests do"
)]

mod damage;
mod damaged;
mod flows;
mod golden;
mod layout;
mod log;
mod model;
mod pauses;
mod segments;
mod size;
mod tables;
mod verify;
mod version2;
mod version2_damage;
