//! The tests of the command line: of the binary as users run it, and of the capture-file reader behind `steno import`.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod audit;
mod capture_files;
mod commands;
mod corpus;
mod import;
mod index;
mod keys;
mod repair;
mod support;
