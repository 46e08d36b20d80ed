//! The command line against a sensor: one that a test plays, for all that can go wrong on the way, and the real one, whose
//! answers are held against those from files. Nothing leaves loopback, and every wait is bounded.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod answers;
mod fake;
mod handshake;
mod real;
mod run;
