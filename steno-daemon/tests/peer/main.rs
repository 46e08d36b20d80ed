//! `stenographer` and `stenotype` beside those of stenographer 1.0.1, in network namespaces of the tests' own: either half in
//! the place of the other's, the same files under both, 1.0.1's scripts against both. Needs root, iproute2, tcpreplay, Python
//! with numpy, Debian's packages `stenographer` and `stenographer-client`, `../shared`, and `stenotype` and `steno` beside
//! `stenographer` (`cargo build --workspace --bins`).
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod bench;
mod captured;
mod client;
mod daemon;
mod language;
#[path = "../process/random.rs"]
mod random;
mod universe;

mod damage;
mod differential;
mod scripts;
mod table;
mod two_by_two;
mod under_theirs;
