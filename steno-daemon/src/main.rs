//! `stenographer`.

fn main() {}
