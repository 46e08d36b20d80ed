//! Which segments a query has to look into, by the true times of their packets.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::Ipv6Addr,
    ops::ControlFlow,
    path::Path,
    sync::Arc,
};

use steno_core::{SegmentId, TimestampNs};
use steno_index::{AnyIndex, Attribute, Version2Index};

use super::{
    Asked, Lookup,
    datagrams::{Around, Datagrams, REASSEMBLY_NS},
    screen::Screen,
};
use crate::{
    TimeSet, TimeSpan,
    receipt::{Held, Receipt, Truncation, Unreadable, Unsealed},
    store::{Catalogue, Fault, KeptSegment, Now, OpenFile, Orphan, Segment},
};

/// The segments that may hold matches, and all that is known of the others.
#[derive(Debug)]
pub(crate) struct Selection {
    /// When a packet of the answer may have arrived.
    pub(crate) times: TimeSet,
    /// The segments to be looked into, by thread and name.
    pub(crate) selected: Vec<Selected>,
    /// Where first fragments are looked for.
    pub(crate) datagrams: Datagrams,
    /// The receipt as far as it can be filled in by now.
    pub(crate) receipt: Receipt,
    /// How far this is to get, of an answer that goes on.
    pub(crate) seen: Option<Seen>,
    /// Files that were named as such that cannot be searched, and have been by now: their other half has come.
    pub(crate) mended: Vec<String>,
    /// Whether the file that was found unreadable last had not been named before.
    named_now: bool,
    /// What a segment has to have.
    screen: Screen,
}

/// What an answer is made of, as far as it decides where to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    /// Packets, which are asked for their datagram only where the query looks at what that tells.
    Packets,
    /// Flows, of which all fragments of a datagram are.
    Flows,
}

/// A segment that may hold matches.
#[derive(Clone, Debug)]
pub(crate) struct Selected {
    pub(crate) segment: Arc<Segment>,
    /// No packet is earlier.
    pub(crate) first: TimestampNs,
    /// How many packets it has; `None` where that is not known.
    pub(crate) packets: Option<u32>,
    /// Packets that the kernel dropped in the time asked, as this segment tells.
    pub(crate) kernel_drops: u64,
    /// Where the blocks begin that are to be searched: those before it have been.
    pub(crate) from_bytes: u64,
    /// Whether its filter shows that it holds no match: it is not to be opened.
    pub(crate) is_screened_out: bool,
}

/// How far an answer that goes on has got.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Where the blocks of a packet file end that were searched.
    files: BTreeMap<(u32, SegmentId), u64>,
    /// Files that cannot be searched, and are named.
    named: BTreeSet<String>,
}

impl Seen {
    /// Whether nothing will be added to what was searched, or it is known that it cannot be.
    pub(crate) fn is_done(&self, thread: u32, id: SegmentId) -> bool {
        self.files.get(&(thread, id)) == Some(&u64::MAX) || self.named.contains(&format!("IDX{thread}/{id}"))
    }
}

/// What became of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Considered {
    /// It has been looked into before.
    Known,
    /// All of its packets are outside of the time asked.
    Outside,
    /// It is to be looked into.
    Within,
    /// It cannot be.
    Unreadable,
}

impl Selection {
    /// Of the segments of `catalogue`, those that `asked` may match, but for what was `seen` before. Where `interrupted` says to give up, the receipt is
    /// marked, and the segments that were not looked at are counted as not reached.
    pub(crate) fn of(
        catalogue: &Catalogue,
        asked: &Asked,
        answer: Of,
        seen: Option<Seen>,
        interrupted: &dyn Fn() -> Option<Truncation>,
    ) -> Self {
        let expr = asked.expr();
        let times = expr.may_match_times();
        let span = times.hull();
        let (query, scope) = (asked.query().to_string(), asked.within());
        let receipt = Receipt { query, scope, asked_from: span.from, asked_until: span.until, ..Receipt::default() };
        let joins = !times.is_empty() && (answer == Of::Flows || expr.looks_at_transport());
        let datagrams = Datagrams::default();
        let (selected, mended, screen) = (Vec::new(), Vec::new(), Screen::of(&Lookup::of(expr)));
        let mut selection = Self { times, selected, datagrams, receipt, seen, mended, named_now: false, screen };
        let mut around = joins.then(|| Surroundings::of(&span));
        for (at, (segment, kept)) in catalogue.segments_and_kept().enumerate() {
            if let Some(by) = interrupted() {
                selection.receipt.truncated_by = Some(by);
                let rest = (catalogue.segments().len() - at) as u64;
                selection.receipt.segments.total += rest;
                selection.receipt.segments.not_reached += rest;
                break;
            }
            let key = (segment.thread(), segment.id());
            selection.consider_parts(catalogue, key, (std::slice::from_ref(segment), kept), &mut around);
        }
        for orphan in catalogue.orphans() {
            selection.add_orphan(orphan);
        }
        for file in catalogue.open_files() {
            match catalogue.now(file.thread, file.id) {
                Some(now) => selection.consider_now(catalogue, (file.thread, file.id), &now, &mut around),
                None => selection.add_open_file(file),
            }
        }
        for (thread, id) in catalogue.begun_since() {
            // One that is not known any more is a segment of the time after the question.
            if let Some(now) = catalogue.now(thread, id) {
                selection.consider_now(catalogue, (thread, id), &now, &mut around);
            }
        }
        selection.selected.sort_by_key(|selected| (selected.segment.thread(), selected.segment.id()));
        selection.receipt.settle();
        if let Some(around) = around {
            selection.datagrams = around.into_datagrams();
        }
        let counts = &mut selection.receipt.segments;
        counts.considered = counts.total - counts.outside;
        selection
    }

    /// What an open file has become.
    fn consider_now(
        &mut self,
        catalogue: &Catalogue,
        key: (u32, SegmentId),
        Now { parts, untold }: &Now,
        around: &mut Option<Surroundings>,
    ) {
        self.consider_parts(catalogue, key, (parts, None), around);
        if let Some(file) = untold {
            self.add_open_file(file);
        }
    }

    /// A segment, which may come in parts while it is written, and what is kept of it otherwise.
    fn consider_parts(
        &mut self,
        catalogue: &Catalogue,
        key: (u32, SegmentId),
        (parts, kept): (&[Arc<Segment>], Option<&KeptSegment>),
        around: &mut Option<Surroundings>,
    ) {
        let searched = self.seen.as_ref().and_then(|seen| seen.files.get(&key).copied());
        let (mut all, mut until) = (Considered::Known, searched.unwrap_or(0));
        for part in parts {
            let end = part.end_bytes().unwrap_or(u64::MAX);
            let from_bytes = searched.map_or(0, |searched| if end <= searched { u64::MAX } else { searched });
            all = all.max(self.consider(catalogue, (part, kept), from_bytes, around));
            until = until.max(end);
        }
        let is_new = match all {
            Considered::Unreadable => self.named_now,
            _ => searched.is_none(),
        };
        let counts = &mut self.receipt.segments;
        counts.total += u64::from(is_new);
        counts.outside += u64::from(is_new && all <= Considered::Outside);
        // What cannot be read is tried again.
        if let Some(seen) = self.seen.as_mut().filter(|_| all != Considered::Unreadable) {
            let _before = seen.files.insert(key, until);
            let (thread, id) = key;
            let names = [format!("PKT{thread}/{id}"), format!("IDX{thread}/{id}")];
            self.mended.extend(names.into_iter().filter(|name| seen.named.remove(name)));
        }
    }

    /// Considers the blocks of a segment from `from_bytes` on; none of one that is known by now.
    fn consider(
        &mut self,
        catalogue: &Catalogue,
        (segment, kept): (&Arc<Segment>, Option<&KeptSegment>),
        from_bytes: u64,
        around: &mut Option<Surroundings>,
    ) -> Considered {
        match segment.summary(catalogue.room()) {
            Ok(summary) if from_bytes == u64::MAX => {
                if let (Some(around), Some((first, last))) = (around, summary.bounds) {
                    around.add(segment, first, last);
                }
                Considered::Known
            }
            Ok(summary) => {
                let lost = summary.lost.as_deref();
                if let Some(lost) = lost {
                    lost.add_to(&mut self.receipt, segment.thread(), &self.times);
                }
                let (Some((oldest, newest)), Some((first, last))) = (summary.times, summary.bounds) else {
                    return Considered::Outside;
                };
                let held = self.receipt.held.get_or_insert(Held { oldest, newest });
                held.oldest = held.oldest.min(oldest);
                held.newest = held.newest.max(newest);
                if let Some(around) = around {
                    around.add(segment, first, last);
                }
                if self.times.overlaps(first, last) {
                    self.receipt.segments.of_1_0_1 += u64::from(summary.of_1_0_1);
                    let kernel_drops = lost.map_or(0, |lost| lost.kernel_drops(&self.times));
                    let is_screened_out = self.screens_out(kept);
                    let (segment, packets) = (Arc::clone(segment), summary.packets);
                    let from = Selected { segment, first, packets, kernel_drops, from_bytes, is_screened_out };
                    self.selected.push(from);
                    return Considered::Within;
                }
                Considered::Outside
            }
            Err(fault) => {
                let is_lost = matches!(fault, Fault::DamagedPackets(_)) || holds_something(&segment.packet_file());
                let may_hold_matches = !self.times.is_empty() && is_lost;
                self.add_unreadable(segment.index_name(), &fault, may_hold_matches);
                Considered::Unreadable
            }
        }
    }

    /// Whether what is kept of a segment shows that nothing matches in it.
    fn screens_out(&self, kept: Option<&KeptSegment>) -> bool {
        self.screen != Screen::Open
            && kept.and_then(KeptSegment::filter).is_some_and(|filter| !self.screen.passes(filter))
    }

    fn add_orphan(&mut self, orphan: &Orphan) {
        let may_hold_matches = !self.times.is_empty()
            && match &orphan.fault {
                Fault::NoIndex => holds_something(&orphan.path),
                // The index still tells the times of what is missing.
                Fault::NoPackets => match AnyIndex::open(&orphan.path) {
                    Ok(AnyIndex::Native(index)) => self.overlaps(index.time_range()),
                    Ok(AnyIndex::Version2(index)) => match index.extra() {
                        Some(extra) => self.overlaps(extra.time_range),
                        None => has_attributes(&index),
                    },
                    Err(_) => true,
                },
                _ => true,
            };
        self.add_unreadable(orphan.name.clone(), &orphan.fault, may_hold_matches);
        self.receipt.segments.total += u64::from(self.named_now);
    }

    fn overlaps(&self, range: Option<(TimestampNs, TimestampNs)>) -> bool {
        range.is_some_and(|(first, last)| self.times.overlaps(first, last))
    }

    fn add_open_file(&mut self, file: &OpenFile) {
        self.receipt.unsealed.push(Unsealed {
            file: file.name.clone(),
            opened: file.id.opened_at(),
            bytes: file.bytes,
            may_hold_matches: file.bytes > 0 && self.times.overlaps(file.begins, TimestampNs::MAX),
        });
    }

    fn add_unreadable(&mut self, file: String, fault: &Fault, may_hold_matches: bool) {
        self.named_now = self.seen.as_mut().is_none_or(|seen| seen.named.insert(file.clone()));
        if self.named_now {
            self.receipt.unreadable.push(Unreadable { file, reason: fault.to_string(), may_hold_matches });
        }
    }
}

/// The segments that are near enough to the time asked for a datagram to begin in one and to end within that time.
#[derive(Debug)]
struct Surroundings {
    from: TimestampNs,
    until: TimestampNs,
    segments: Vec<Around>,
}

impl Surroundings {
    fn of(span: &TimeSpan) -> Self {
        let from = span.from.map_or(TimestampNs::MIN, |from| from.saturating_sub_ns(REASSEMBLY_NS));
        let until = span.until.map_or(TimestampNs::MAX, |until| until.saturating_add_ns(REASSEMBLY_NS));
        Self { from, until, segments: Vec::new() }
    }

    fn add(&mut self, segment: &Arc<Segment>, first: TimestampNs, last: TimestampNs) {
        if first <= self.until && last >= self.from {
            self.segments.push(Around { segment: Arc::clone(segment), first, last });
        }
    }

    fn into_datagrams(mut self) -> Datagrams {
        self.segments.sort_by_key(|around| (around.segment.thread(), around.segment.id()));
        Datagrams::new(self.segments)
    }
}

/// Whether an index of 1.0.1 tells of packets. On a quiet link each stop and start of 1.0.1 leaves one that does not, and no packet
/// file with it: the stop publishes the index alone, the start removes the hidden packet file.
fn has_attributes(index: &Version2Index) -> bool {
    let all = Attribute::Protocol(0)..=Attribute::V6(Ipv6Addr::from(u128::MAX));
    let mut any = false;
    let visited = index.each(all, &mut |_, _| {
        any = true;
        ControlFlow::Break(())
    });
    any || visited.is_err()
}

/// Whether a packet file may hold packets: stenographer 1.0.1 leaves empty ones. One that is gone held some.
fn holds_something(packet_file: &Path) -> bool {
    fs::metadata(packet_file).map_or(true, |metadata| metadata.len() > 0)
}
