//! The status of a directory of files: what its indexes say of it.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::{Arc, atomic::AtomicBool},
};

use steno_core::{Clock as _, SystemClock};
use steno_query::{
    Expr, Options, Primitive, Query, Segment, Store, TimeSpan,
    receipt::{Gap, Unreadable, Unsealed},
};

use super::{
    super::CommandError,
    model::{Holdings, Moment, Report, Thread},
};

/// Opens every index, and reads of it what capture wrote down of its circumstances.
pub(super) fn report(dir: &Path, interrupted: &Arc<AtomicBool>) -> Result<Report, CommandError> {
    let store = Store::open(dir)?;
    let catalogue = store.catalogue();
    // A query that no packet can match: its receipt still says what is held, and what cannot be read.
    let nothing = Query { expr: Expr::Is(Primitive::Time(TimeSpan::NONE)) };
    let options = Options { cancel: Arc::clone(interrupted).into(), ..Options::default() };
    let receipt = store.explain(&nothing, &options).receipt;
    let mut threads: BTreeMap<u32, Thread> = BTreeMap::new();
    let mut gaps: Vec<Gap> = Vec::new();
    for segment in catalogue.segments() {
        if options.cancel.is_cancelled() {
            break;
        }
        let thread = threads.entry(segment.thread()).or_insert_with(|| thread(dir, segment.thread()));
        count(segment, thread, &mut gaps);
    }
    gaps.sort();
    gaps.dedup();
    let unreadable: Vec<Unreadable> =
        receipt.unreadable.into_iter().map(|file| Unreadable { may_hold_matches: true, ..file }).collect();
    let problem = unreadable.first().map(|first| {
        let files = crate::print::count(unreadable.len() as u64, "file");
        format!("{files} cannot be searched; the first is {}: {}", first.file, first.reason)
    });
    let sum = |bytes: fn(&Thread) -> u64| threads.values().map(bytes).fold(0, u64::saturating_add);
    let holdings = Holdings {
        oldest: receipt.held.map(|held| Moment(held.oldest)),
        newest: receipt.held.map(|held| Moment(held.newest)),
        segments: catalogue.segments().len() as u64,
        packet_bytes: sum(|thread| thread.packet_bytes),
        index_bytes: sum(|thread| thread.index_bytes),
        gaps,
        unsealed: receipt
            .unsealed
            .into_iter()
            .map(|file| Unsealed { may_hold_matches: file.bytes > 0, ..file })
            .collect(),
        unreadable,
    };
    Ok(Report {
        healthy: problem.is_none(),
        problems: problem.into_iter().collect(),
        now: Moment(SystemClock.now()),
        version: None,
        host: None,
        started: None,
        holdings,
        captures: None,
        threads: threads.into_values().collect(),
        queries: None,
        certificate_until: None,
        ca_until: None,
    })
}

fn thread(dir: &Path, number: u32) -> Thread {
    let packets_directory = dir.join(format!("PKT{number}"));
    let disk = rustix::fs::statvfs(&packets_directory).ok();
    Thread {
        thread: number,
        index_directory: dir.join(format!("IDX{number}")).display().to_string(),
        disk_bytes: disk.as_ref().map_or(0, |disk| disk.f_blocks.saturating_mul(disk.f_frsize)),
        disk_free_bytes: disk.as_ref().map_or(0, |disk| disk.f_bavail.saturating_mul(disk.f_frsize)),
        packets_directory: packets_directory.display().to_string(),
        ..Thread::default()
    }
}

/// Adds what a segment holds. One that cannot be read is named elsewhere.
fn count(segment: &Segment, thread: &mut Thread, gaps: &mut Vec<Gap>) {
    // Packet files have holes.
    let taken = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.blocks().saturating_mul(512));
    thread.segments += 1;
    thread.packet_bytes += taken(&segment.packet_file());
    thread.index_bytes += taken(&segment.index_file());
    let Ok(index) = segment.index() else { return };
    match index.packets() {
        Some(packets) => thread.packets += u64::from(packets),
        None => thread.segments_uncounted += 1,
    }
    let Ok(Some(facts)) = index.facts() else { return };
    thread.kernel_drops += facts.drops.iter().map(|drops| drops.packets).fold(0, u64::saturating_add);
    facts.losses.iter().for_each(|loss| thread.losses.add(loss.cause, loss.count));
    gaps.extend(facts.gaps.iter().map(|gap| Gap {
        from: gap.from,
        until: gap.to,
        thread: segment.thread(),
        reason: gap.reason.clone(),
    }));
}
