//! Makes a golden file of `tests/golden/` from its recipe. Only for a new recipe or a new version of the format: a
//! golden file that exists stays as it is, and no test writes one. `cargo run -p steno-index --example golden_index --
//! RECIPE OUT.idx`

use std::{env, error::Error, fs, path::Path};

#[path = "../tests/index/segments.rs"]
#[expect(dead_code, clippy::unwrap_used, clippy::indexing_slicing, reason = "what the tests need besides")]
mod segments;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = env::args().skip(1);
    let (Some(recipe), Some(out)) = (args.next(), args.next()) else {
        return Err("usage: golden_index RECIPE OUT.idx".into());
    };
    let packets = steno_core::testkit::recipe(&fs::read_to_string(recipe)?)?;
    let name = Path::new(&out).file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let facts = segments::golden_facts_of(&name);
    let index = segments::index_of(&segments::packet_file_of_blocks(&packets, facts.block_bytes), &facts);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).open(&out)?;
    std::io::Write::write_all(&mut file, &index)?;
    Ok(())
}
