//! `steno verify`: every segment of a store, a line for each and one for each thing found; with `--repair`, what came of that.

use std::{
    io::{self, Write as _},
    sync::atomic::{AtomicBool, Ordering},
};

use steno_index::{Report, verify_segment};
use steno_query::Store;

use super::{
    CommandError,
    repair::{self, Outcome, Told},
    store_dir,
};
use crate::{args::VerifyArgs, exit::Exit, print::count};

/// Checks, and changes nothing unless that is asked for.
pub(super) fn verify(args: &VerifyArgs, interrupted: &AtomicBool) -> Result<Exit, CommandError> {
    let store = Store::open(store_dir(&args.store)?)?;
    let mut found = Findings::default();
    if args.repair {
        for dirs in store.threads()? {
            for told in repair::unfinished(&dirs, interrupted) {
                found.told(told);
                if !found.print()? {
                    return Ok(Exit::Done);
                }
            }
        }
        store.refresh()?;
    }
    let catalogue = store.catalogue();
    for segment in catalogue.segments() {
        if interrupted.load(Ordering::Relaxed) {
            eprintln!("interrupted after {} of {}", count(found.segments, "segment"), catalogue.segments().len());
            return Ok(Exit::Interrupted);
        }
        let report = verify_segment(&segment.packet_file(), &segment.index_file());
        let name = segment.packet_name();
        if args.repair && !report.is_clean() {
            for problem in &report.problems {
                found.lines.push(format!("{name}: {problem}"));
            }
            found.told(repair::segment(&name, &segment.paths(), &report, interrupted));
            // What is left to be found.
            found.segment(&name, &verify_segment(&segment.packet_file(), &segment.index_file()));
        } else {
            found.segment(&name, &report);
        }
        if !found.print()? {
            return Ok(Exit::Done);
        }
    }
    for orphan in catalogue.orphans() {
        found.add(&orphan.name, orphan.fault.to_string());
    }
    for file in catalogue.open_files() {
        found.lines.push(format!("{}: not sealed: being written, or left by a crash; not checked", file.name));
    }
    let _ = found.print()?;
    if args.repair {
        store.refresh()?;
        // Nothing is lost without.
        if let Err(e) = store.keep_catalogue() {
            eprintln!("the catalogue file is not written: {e}");
        }
    }
    let mended = if args.repair { format!(", {} mended", found.mended) } else { String::new() };
    eprintln!("{} checked{mended}, {}", count(found.segments, "segment"), count(found.findings, "finding"));
    Ok(if found.findings == 0 { Exit::Done } else { Exit::Failed })
}

/// What has been found, and the lines that are yet to be printed.
#[derive(Default)]
struct Findings {
    segments: u64,
    findings: u64,
    mended: u64,
    lines: Vec<String>,
}

impl Findings {
    fn segment(&mut self, name: &str, report: &Report) {
        self.segments += 1;
        for problem in &report.problems {
            self.add(name, problem.to_string());
        }
        if report.more_problems > 0 {
            self.findings += report.more_problems;
            self.lines.push(format!("{name}: and {} more findings", report.more_problems));
        }
        if report.is_clean() {
            let Report { blocks, holes, packets, conversations, attributes, .. } = report;
            let by = match attributes {
                0 => format!("{conversations} conversations"),
                keys => format!("an index of version 2 with {keys} keys"),
            };
            let holes = match holes {
                0 => String::new(),
                holes => format!("; {holes} blocks more are not whole, and not in the index"),
            };
            self.lines.push(format!("{name}: ok, {packets} packets in {blocks} blocks, {by}{holes}"));
        }
    }

    /// What a repair says.
    fn told(&mut self, told: Told) {
        self.mended += u64::from(told.outcome == Outcome::Mended);
        self.findings += u64::from(told.outcome == Outcome::Failed);
        self.lines.push(format!("{}: {}", told.name, told.text));
    }

    fn add(&mut self, name: &str, text: String) {
        self.findings += 1;
        self.lines.push(format!("{name}: {text}"));
    }

    /// Prints the lines; `false` where nobody reads them.
    fn print(&mut self) -> Result<bool, CommandError> {
        let mut out = io::stdout().lock();
        for line in self.lines.drain(..) {
            match writeln!(out, "{line}") {
                Err(e) if e.kind() == io::ErrorKind::BrokenPipe => return Ok(false),
                written => written.map_err(CommandError::Stdout)?,
            }
        }
        Ok(true)
    }
}
