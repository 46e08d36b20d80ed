//! The built `stenographer` with a real stenotype below it, in network namespaces of the tests' own: what becomes of
//! capture, and of answers, when either of them is killed. Needs root, iproute2, and `stenotype` beside `stenographer`
//! (`cargo build --workspace --bins`).
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod audit;
mod either;
mod foreign;
mod fresh;
mod hostile;
mod kills;
mod life;
mod open_file;
#[path = "../process/random.rs"]
#[allow(dead_code, reason = "another binary of tests uses all of it")]
mod random;
mod support;
