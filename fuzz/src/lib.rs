//! What several fuzz targets, or a target and its seeds, have in common.

pub mod authority;
pub mod served;
