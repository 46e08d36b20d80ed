//! `steno verify --repair`: what can be made good without taking altered packets for true ones. Deletes nothing that is whole.

use std::sync::atomic::{AtomicBool, Ordering};

use steno_core::chain;
use steno_index::{
    Facts, Log, Report, Summary,
    recover::{Left, Means, Recovered, Repaired, leftovers, recover, repair},
    seal,
    segment::SegmentPaths,
};
use steno_query::store::ThreadDirs;

/// What became of a file or a segment.
pub(super) struct Told {
    pub(super) name: String,
    pub(super) text: String,
    pub(super) outcome: Outcome,
}

/// Whether something is still wrong.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Not any more.
    Mended,
    /// It could not be mended, or there was nothing to do; the check that follows says which.
    AsItWas,
    /// No check will say so.
    Failed,
}

/// Recovers what a capture has left unfinished in the directories of a thread.
pub(super) fn unfinished(dirs: &ThreadDirs, interrupted: &AtomicBool) -> Vec<Told> {
    let left = match leftovers(&dirs.packets, &dirs.index) {
        Ok(left) => left,
        Err(e) => {
            let text = format!("what is unfinished cannot be listed: {e}");
            return vec![Told { name: format!("PKT{}", dirs.thread), text, outcome: Outcome::Failed }];
        }
    };
    let called_off = || interrupted.load(Ordering::Relaxed);
    let one = |(id, left)| {
        let paths = SegmentPaths::new(&dirs.packets, &dirs.index, id);
        let name = match left {
            Left::Hidden => format!("PKT{}/.{id}", dirs.thread),
            Left::WithoutIndex => format!("PKT{}/{id}", dirs.thread),
            Left::WithoutPackets => format!("IDX{}/{id}", dirs.thread),
        };
        let mut native = |log: &Log, facts: &Facts, mut out: &mut dyn std::io::Write| -> Result<Summary, _> {
            seal(log, facts, &mut out)
        };
        let facts = Facts::default();
        let means =
            Means { facts: &facts, write_index: Some(&mut native), called_off: &called_off, remove_husks: false };
        let (text, outcome) = match recover(&paths, left, means) {
            Ok(Recovered::Published { packets, cut_bytes, holes }) => {
                (format!("recovered as {id}: {packets} packets{}", lost(cut_bytes, holes)), Outcome::Mended)
            }
            Ok(Recovered::Nothing { cut_bytes }) => {
                (format!("left alone: {cut_bytes} bytes without a whole block of packets"), Outcome::AsItWas)
            }
            Ok(Recovered::SetAside(to)) => (format!("has no packets, and is {} now", to.display()), Outcome::Mended),
            Ok(Recovered::InUse) => ("left alone: it is being written".to_owned(), Outcome::AsItWas),
            Ok(_) => return None,
            Err(e) => (format!("stays as it is: {}", chain(&e)), Outcome::Failed),
        };
        Some(Told { name, text, outcome })
    };
    left.into_iter().filter_map(one).collect()
}

/// Repairs a segment of which `report` says what is wrong.
pub(super) fn segment(name: &str, paths: &SegmentPaths, report: &Report, interrupted: &AtomicBool) -> Told {
    let called_off = || interrupted.load(Ordering::Relaxed);
    let (text, outcome) = match repair(paths, report, &Facts::default(), &called_off) {
        Ok(Repaired::Reindexed { packets, set_aside, cut_bytes, holes }) => {
            let lost = lost(cut_bytes, holes);
            let aside = set_aside.file_name().unwrap_or_default().to_string_lossy().into_owned();
            (format!("repaired: a new index of {packets} packets{lost}; the old one is {aside} now"), Outcome::Mended)
        }
        Ok(Repaired::Altered) => (
            "not repaired: its packets are not those that were captured, by an index that is sound".to_owned(),
            Outcome::AsItWas,
        ),
        Ok(Repaired::NothingWhole) => {
            ("not repaired: no block of its packet file is whole".to_owned(), Outcome::AsItWas)
        }
        Ok(_) => ("not repaired: called off".to_owned(), Outcome::AsItWas),
        Err(e) => (format!("not repaired: {}", chain(&e)), Outcome::AsItWas),
    };
    Told { name: name.to_owned(), text, outcome }
}

fn lost(cut_bytes: u64, holes: u32) -> String {
    match (cut_bytes, holes) {
        (0, 0) => String::new(),
        (cut, 0) => format!("; {cut} bytes behind the last whole block cut off"),
        (0, holes) => format!("; {holes} blocks are not whole"),
        (cut, holes) => format!("; {holes} blocks are not whole, {cut} bytes behind the last whole one cut off"),
    }
}
