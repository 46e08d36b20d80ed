//! `steno index convert`: the same segment's index in the other format.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use steno_index::{AnyIndex, Facts, Report};

use super::{
    super::CommandError,
    build::{bare_facts, open},
    output::Output,
};
use crate::{
    args::{ConvertArgs, IndexFormat},
    exit::Exit,
};

/// Problems that are named where an index does not agree with its packets.
const MOST_PROBLEMS: usize = 5;

/// Converts it: holds it against its packets, then makes one of the packets.
pub(in super::super) fn convert(args: &ConvertArgs, interrupted: &AtomicBool) -> Result<Exit, CommandError> {
    let output = Output::new(&args.output)?;
    let index_error = |source| CommandError::Index { path: args.index.clone(), source };
    let index = AnyIndex::open(&args.index).map_err(index_error)?;
    let to = target(&index, args)?;
    let packet_path = packet_file(args)?;
    let mut packets = open(&packet_path)?;
    let (facts, report) = match &index {
        AnyIndex::Native(index) => (index.facts().map_err(index_error)?.clone(), index.verify_against(&mut packets)),
        AnyIndex::Version2(index) => match index.extra() {
            Some(extra) => (extra.facts.clone(), index.verify_against(&packets)),
            None => (bare_facts(&packets, &packet_path)?, index.verify_against(&packets)),
        },
    };
    drop(packets);
    if interrupted.load(Ordering::Relaxed) {
        return Ok(Exit::Interrupted);
    }
    agrees(&report, &args.index, &packet_path)?;
    match to {
        IndexFormat::Leveldb => eprintln!(
            "an index of version 2 has no conversations and no directions: these are lost, and read from the packets where they are asked for"
        ),
        IndexFormat::Native => {}
    }
    write(output, &packet_path, to, &facts, interrupted)
}

fn write(
    output: Output<'_>,
    packet_path: &Path,
    to: IndexFormat,
    facts: &Facts,
    interrupted: &AtomicBool,
) -> Result<Exit, CommandError> {
    let packets: File = open(packet_path)?;
    let built = output.write((&packets, packet_path), to, facts, interrupted)?;
    // It is whole, for it has just been read; a file that changes meanwhile is none of a store's.
    match built {
        None => Ok(Exit::Interrupted),
        Some(built) if built.damage.is_some() => Ok(Exit::Failed),
        Some(_) => Ok(Exit::Done),
    }
}

/// The format to write.
fn target(index: &AnyIndex, args: &ConvertArgs) -> Result<IndexFormat, CommandError> {
    let (has, other, mended) = match index {
        AnyIndex::Native(_) => (IndexFormat::Native, IndexFormat::Leveldb, false),
        AnyIndex::Version2(index) => (IndexFormat::Leveldb, IndexFormat::Native, index.extra().is_none()),
    };
    match args.to {
        Some(to) if to == has && !mended => {
            let text = format!("{} has that format already: there is nothing to convert", args.index.display());
            Err(CommandError::Usage(text))
        }
        to => Ok(to.unwrap_or(other)),
    }
}

/// The packet file that the index describes.
fn packet_file(args: &ConvertArgs) -> Result<PathBuf, CommandError> {
    if let Some(path) = &args.packets {
        return Ok(path.clone());
    }
    beside(&args.index).ok_or_else(|| {
        let text = format!("which packet file is {} the index of? name it with --packets FILE", args.index.display());
        CommandError::Usage(text)
    })
}

/// `PKT<i>/NAME` for `IDX<i>/NAME`.
fn beside(index: &Path) -> Option<PathBuf> {
    let dir = index.parent().filter(|dir| !dir.as_os_str().is_empty());
    // A directory may have another name where it is entered.
    let dir = dir.unwrap_or(Path::new(".")).canonicalize().ok()?;
    let thread = dir.file_name()?.to_str()?.strip_prefix("IDX")?;
    Some(dir.with_file_name(format!("PKT{thread}")).join(index.file_name()?))
}

fn agrees(report: &Report, index: &Path, packets: &Path) -> Result<(), CommandError> {
    if report.is_clean() {
        return Ok(());
    }
    for problem in report.problems.iter().take(MOST_PROBLEMS) {
        eprintln!("{}: {problem}", index.display());
    }
    let (index, packets) = (index.display(), packets.display());
    Err(CommandError::Program(format!(
        "{index} does not agree with {packets}: nothing is converted (`steno index build` makes an index from the packets alone)"
    )))
}
