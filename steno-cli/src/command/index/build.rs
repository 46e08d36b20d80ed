//! `steno index build`: an index from the packets alone.

use std::{fs::File, path::Path, sync::atomic::AtomicBool};

use steno_core::BLOCK_BYTES;
use steno_index::{Facts, detect_block_bytes};

use super::{
    super::{CommandError, chain},
    output::Output,
};
use crate::{args::BuildArgs, exit::Exit};

/// Builds it.
pub(in super::super) fn build(args: &BuildArgs, interrupted: &AtomicBool) -> Result<Exit, CommandError> {
    let output = Output::new(&args.output)?;
    let packets = open(&args.packets)?;
    let facts = bare_facts(&packets, &args.packets)?;
    let Some(built) = output.write((&packets, &args.packets), args.format, &facts, interrupted)? else {
        return Ok(Exit::Interrupted);
    };
    let Some(damage) = built.damage else { return Ok(Exit::Done) };
    eprintln!(
        "{}: the block at byte {}: {}: the index ends before it",
        args.packets.display(),
        damage.offset_bytes,
        chain(&damage.error)
    );
    Ok(Exit::Failed)
}

pub(super) fn open(path: &Path) -> Result<File, CommandError> {
    File::open(path).map_err(|source| CommandError::Read { path: path.to_owned(), source })
}

/// What a packet file tells of the circumstances of its capture.
pub(super) fn bare_facts(packets: &File, path: &Path) -> Result<Facts, CommandError> {
    let block_bytes =
        detect_block_bytes(packets).map_err(|source| CommandError::Index { path: path.to_owned(), source })?;
    Ok(Facts {
        block_bytes: block_bytes.unwrap_or(BLOCK_BYTES),
        software: concat!("steno ", env!("CARGO_PKG_VERSION")).to_owned(),
        ..Facts::default()
    })
}
