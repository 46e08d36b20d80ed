//! What the tests and benches of every crate share: frames by layers, packets by recipe, manual pages, small disks, and how a test
//! says that it cannot run here. Not part of a normal build (feature `testkit`).

mod disk;
mod frames;
mod manual;
mod patience;
mod process;
mod recipe;
mod require;

pub use disk::LoopDisk;
pub use frames::FrameBuilder;
pub use manual::{ManualEntry, flags_in, manual_complaints, manual_entries};
pub use patience::{PATIENCE, until};
pub use process::is_gone;
pub use recipe::{RecipeError, RecipePacket, block_of, recipe};
pub use require::{need, shared_dir};
