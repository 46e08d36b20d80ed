//! Applies the rule to directories: measure, decide, remove one segment, measure again.
//!
//! Synchronous, and driven from outside: [`super::Retention`] calls it each second, tests call it when they like. What a
//! disk refuses is counted, said once, and tried again later; it never stops the removal of other segments.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use steno_core::{Clock, SegmentId, TimestampNs};
use tracing::{debug, info, warn};

use super::{
    Bounds, Candidate, Disk, Pins, Reason, Room, Space, ThreadStatus, Verdict, decide,
    inventory::{Inventory, Size},
    remove::remove,
    reserve::Reserve,
};
use crate::capture::{Change, SegmentEvent, ThreadDirectories};

/// How long a segment whose removal failed is left alone.
const RETRY_AFTER: Duration = Duration::from_secs(60);
/// How often the directories are looked through.
const SCAN_EVERY: Duration = Duration::from_secs(10);
/// Up to so many names, a thread with a budget in bytes is looked through in every pass: its open file grows unseen else.
const FEW_NAMES: usize = 5_000;

/// Tells the time of the newest packet of the segment whose index file this is, if the index knows it.
pub type NewestPacket = Arc<dyn Fn(&Path) -> Option<TimestampNs> + Send + Sync>;

/// A thread's directories and what they may take.
#[derive(Clone, Debug)]
pub struct ThreadRetention {
    /// The directories.
    pub directories: ThreadDirectories,
    /// What they may take.
    pub bounds: Bounds,
}

/// Keeps the directories of all threads within their bounds, whenever [`Keeper::pass`] is called.
pub struct Keeper {
    threads: Vec<Kept>,
    pins: Pins,
    clock: Arc<dyn Clock>,
    newest: NewestPacket,
    ledger: Ledger,
}

struct Kept {
    bounds: Bounds,
    inventory: Inventory,
    status: ThreadStatus,
    scanned: Option<Instant>,
    /// Segments whose removal failed, and until when they are left alone.
    refused: BTreeMap<SegmentId, Instant>,
    /// Segments that should have gone but for a query.
    awaited: BTreeSet<SegmentId>,
    /// The oldest of them are to go as soon as their query ends.
    waiting: bool,
    /// What goes wrong at present, so that each is said once.
    wrong: BTreeMap<Doing, String>,
}

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Doing {
    Look,
    Measure,
    Remove,
}

/// The disks.
#[derive(Default)]
struct Ledger {
    devices: BTreeMap<u64, Device>,
}

/// What was measured at the start of a pass, and what was removed since: a file system may say later than a removal
/// that the space is free (XFS frees in the background), and too much would go if it were believed.
#[derive(Default)]
struct Device {
    /// None: not in this pass yet.
    before: Option<u64>,
    removed: u64,
    reserve: Reserve,
}

impl Ledger {
    fn begin_pass(&mut self) {
        for device in self.devices.values_mut() {
            (device.before, device.removed) = (None, 0);
        }
    }

    fn space(&mut self, directory: &Path) -> std::io::Result<Space> {
        let device = fs::metadata(directory)?.dev();
        let stat = rustix::fs::statvfs(directory)?;
        let total_bytes = stat.f_blocks.saturating_mul(stat.f_frsize);
        let measured = stat.f_bavail.saturating_mul(stat.f_frsize);
        let device = self.devices.entry(device).or_default();
        if device.before.is_none() {
            device.reserve.measured(Instant::now(), measured);
        }
        let expected = device.before.get_or_insert(measured).saturating_add(device.removed).min(total_bytes);
        let available_bytes = measured.max(if device.removed > 0 { expected } else { 0 });
        Ok(Space { total_bytes, available_bytes, reserve_bytes: device.reserve.bytes(total_bytes) })
    }

    fn removed(&mut self, directory: &Path, bytes: u64) {
        let device = fs::metadata(directory).map(|m| m.dev());
        if let Some(device) = device.ok().and_then(|d| self.devices.get_mut(&d)) {
            device.removed = device.removed.saturating_add(bytes);
            device.reserve.removed(bytes);
        }
    }
}

impl Keeper {
    /// Nothing is looked at before the first pass.
    pub fn new(threads: Vec<ThreadRetention>, pins: Pins, clock: Arc<dyn Clock>, newest: NewestPacket) -> Self {
        let kept = |thread: ThreadRetention| Kept {
            bounds: thread.bounds,
            status: ThreadStatus { thread: thread.directories.thread, ..ThreadStatus::default() },
            inventory: Inventory::new(thread.directories),
            scanned: None,
            refused: BTreeMap::new(),
            awaited: BTreeSet::new(),
            waiting: false,
            wrong: BTreeMap::new(),
        };
        Self { threads: threads.into_iter().map(kept).collect(), pins, clock, newest, ledger: Ledger::default() }
    }

    /// Takes note of a segment that came or went, so that it counts before the next look at the directories.
    pub fn note(&mut self, event: SegmentEvent) {
        let thread = self.threads.iter_mut().find(|t| t.status.thread == event.thread);
        let Some(thread) = thread else { return };
        match event.change {
            Change::Added => {
                self.pins.appeared(event.thread, event.id);
                thread.inventory.measure(event.id);
            }
            Change::Removed => thread.inventory.forget(event.id),
        }
    }

    /// Removes segments, one at a time, until every bound is kept or nothing may go, or `stop` says so. Among threads
    /// that all have something to remove, the oldest segment of all goes first.
    pub fn pass(&mut self, stop: impl Fn() -> bool) {
        self.ledger.begin_pass();
        let mut candidates: Vec<Vec<Candidate>> = Vec::with_capacity(self.threads.len());
        let now = self.clock.now();
        for thread in &mut self.threads {
            thread.look();
            candidates.push(thread.inventory.candidates(thread.bounds.cutoff(now), &self.newest));
        }
        while !stop() {
            let verdicts: Vec<Verdict> = self
                .threads
                .iter_mut()
                .zip(&candidates)
                .map(|(thread, candidates)| thread.decide(candidates, &mut self.ledger, &self.pins, now))
                .collect();
            let places = verdicts.iter().zip(&candidates).enumerate();
            let oldest = places.filter_map(|(which, (verdict, candidates))| match verdict {
                Verdict::Remove { place, reason } => Some((candidates.get(*place)?.id, which, *place, *reason)),
                Verdict::Keep | Verdict::Stuck { .. } => None,
            });
            let Some((id, which, place, reason)) = oldest.min_by_key(|(id, ..)| *id) else { break };
            let (Some(thread), Some(list)) = (self.threads.get_mut(which), candidates.get_mut(which)) else { break };
            if thread.remove(id, reason, &self.pins, &mut self.ledger) {
                let _ = list.remove(place);
            }
        }
        for thread in &mut self.threads {
            thread.inventory.report(&mut thread.status);
        }
    }

    /// Whether the last pass has left something to be removed as soon as a query ends.
    pub fn is_waiting(&self) -> bool {
        self.threads.iter().any(|thread| thread.waiting)
    }

    /// What is known now, by thread.
    pub fn status(&self) -> Vec<ThreadStatus> {
        self.threads.iter().map(|t| t.status.clone()).collect()
    }
}

impl Kept {
    /// Looks through the directories, where it is time to.
    fn look(&mut self) {
        let often = self.bounds.max_bytes.is_some() && self.inventory.len() <= FEW_NAMES;
        if !often && self.scanned.is_some_and(|at| at.elapsed() < SCAN_EVERY) {
            return;
        }
        let scan = self.inventory.scan();
        if scan.is_ok() {
            self.scanned = Some(Instant::now());
        }
        self.went(Doing::Look, scan);
        let now = Instant::now();
        self.refused.retain(|_, until| *until > now);
    }

    fn decide(&mut self, candidates: &[Candidate], ledger: &mut Ledger, pins: &Pins, now: TimestampNs) -> Verdict {
        let directories = self.inventory.directories();
        let thread = directories.thread;
        let disk = ledger
            .space(&directories.packets)
            .and_then(|packets| Ok(Disk { packets, index: ledger.space(&directories.index)? }));
        self.status.disk = disk.as_ref().ok().copied();
        self.went(Doing::Measure, disk.map(|_| ()).map_err(|e| format!("cannot measure the disk: {e}")));
        let awaited = RefCell::new(Vec::new());
        let removable = |c: &Candidate| {
            let wanted = self.inventory.is_settled(c.id, now) && !self.refused.contains_key(&c.id);
            let pinned = wanted && pins.is_pinned(thread, c.id);
            if pinned {
                awaited.borrow_mut().push(c.id);
            }
            wanted && !pinned
        };
        let room = |disk: Disk| Room { free_percent: disk.free_percent(), is_short: disk.is_short() };
        let in_order = self.bounds.in_order(candidates);
        let mut verdict = decide(candidates, self.status.disk.map(room), &in_order, now, removable);
        // A query that is over in a moment is not to cost the newest packets in place of the oldest.
        let in_turn = match verdict {
            Verdict::Keep => true,
            Verdict::Stuck { .. } => false,
            // All that are looked at before it are older.
            Verdict::Remove { .. } => awaited.borrow().is_empty(),
        };
        self.waiting = !in_turn && !awaited.borrow().is_empty();
        if !in_turn {
            let (bounds, disk) = if self.waiting {
                (self.bounds.in_any_order(), self.status.disk.map(Disk::with_half_the_reserve))
            } else {
                (self.bounds, self.status.disk)
            };
            verdict = decide(candidates, disk.map(room), &bounds, now, removable);
        }
        let awaited = awaited.into_inner();
        for id in awaited {
            if self.awaited.insert(id) {
                self.status.pinned += 1;
                debug!(thread, %id, "a running query has pinned a segment that should go");
            }
        }
        self.stuck(if let Verdict::Stuck { reason } = verdict { Some(reason) } else { None });
        verdict
    }

    /// Removes a segment. False: it is still a candidate, though not one that may go now.
    fn remove(&mut self, id: SegmentId, reason: Reason, pins: &Pins, ledger: &mut Ledger) -> bool {
        let thread = self.status.thread;
        // Pinned since it was looked at: the next look sees that.
        let Some(claim) = pins.claim(thread, id) else { return false };
        let size = self.inventory.size(id);
        let directories = self.inventory.directories().clone();
        let removed = {
            let _alone = pins.files();
            remove(&directories, id)
        };
        if removed.is_ok() {
            claim.removed();
            self.inventory.forget(id);
            let _ = self.awaited.remove(&id);
            self.count(size, reason);
            ledger.removed(&directories.packets, size.packets);
            ledger.removed(&directories.index, size.index);
            info!(thread, %id, %reason, bytes = size.packets + size.index, "segment removed");
        } else {
            let _ = self.refused.insert(id, Instant::now() + RETRY_AFTER);
            self.inventory.measure(id);
        }
        let done = removed.is_ok();
        self.went(Doing::Remove, removed);
        done
    }

    fn count(&mut self, size: Size, reason: Reason) {
        *self.status.removed.entry(reason).or_default() += 1;
        self.status.removed_bytes += size.packets + size.index;
    }

    /// Counts a failure, and says it once until something else happens.
    fn went<E: ToString>(&mut self, doing: Doing, result: Result<(), E>) {
        match result {
            Err(e) => {
                self.status.errors += 1;
                let text = e.to_string();
                if self.wrong.get(&doing) != Some(&text) {
                    warn!(thread = self.status.thread, "retention: {text}");
                    let _ = self.wrong.insert(doing, text);
                }
            }
            // One refused segment is not forgotten because the next one could be removed.
            Ok(()) if doing == Doing::Remove && !self.refused.is_empty() => {}
            Ok(()) => {
                let _ = self.wrong.remove(&doing);
            }
        }
        self.status.error = self.wrong.values().next().cloned();
    }

    fn stuck(&mut self, reason: Option<Reason>) {
        if let Some(reason) = reason.filter(|_| self.status.stuck != reason) {
            warn!(
                thread = self.status.thread,
                "the bound {reason} is exceeded, and there is no segment that may be removed"
            );
        }
        self.status.stuck = reason;
    }
}
