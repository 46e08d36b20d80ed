//! What the tests and benches of every crate share: frames by layers, packets by recipe, and how a test says that it
//! cannot run here. Not part of a normal build (feature `testkit`).

mod frames;
mod recipe;
mod require;

pub use frames::FrameBuilder;
pub use recipe::{RecipeError, RecipePacket, block_of, recipe};
pub use require::{need, shared_dir};
