//! `steno import`: each file in turn, a line of report for each.

use std::{path::Path, sync::atomic::AtomicBool};

use crate::{
    args::ImportArgs,
    command::{CommandError, chain, store_dir},
    exit::Exit,
    import::{ImportError, Imported, import_file},
    print::count,
};
use steno_query::rfc3339;

/// Imports them all, also those behind one that fails.
pub(super) fn import(args: &ImportArgs, interrupted: &AtomicBool) -> Result<Exit, CommandError> {
    let store = store_dir(&args.store)?;
    let mut exit = Exit::Done;
    for file in &args.files {
        match import_file(file, store, interrupted) {
            Ok(imported) => {
                report(file, &imported);
                if !imported.is_complete() {
                    exit = Exit::Failed;
                }
            }
            Err(error) => {
                eprintln!("{}: not imported: {}", file.display(), chain(&error));
                if matches!(error, ImportError::Interrupted) {
                    return Ok(Exit::Interrupted);
                }
                exit = Exit::Failed;
            }
        }
    }
    Ok(exit)
}

fn report(file: &Path, imported: &Imported) {
    let file = file.display();
    match (imported.time_range, imported.segments.as_slice()) {
        (Some((first, last)), segments) => {
            let into = match segments {
                [segment] => format!("segment {segment}"),
                several => count(several.len() as u64, "segment"),
            };
            let packets = count(imported.packets, "packet");
            eprintln!("{file}: {packets} imported into {into}, {} to {}", rfc3339(first), rfc3339(last));
        }
        (None, _) => eprintln!("{file}: no packets in it, nothing to import"),
    }
    if imported.skipped.packets() > 0 {
        eprintln!("{file}: {} skipped: {}", count(imported.skipped.packets(), "packet"), imported.skipped);
    }
    if let Some(oddity) = &imported.oddity {
        eprintln!("{file}: {oddity}");
    }
    if let Some(stopped) = &imported.stopped {
        eprintln!("{file}: {}; what comes before is imported", chain(stopped));
    }
}
